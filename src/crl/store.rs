use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use super::authority::Authorities;
use super::evaluation_time::EvaluationTime;
use super::list::Crl;
#[cfg(feature = "config")]
use super::scope::ALL_REASONS;
use super::succession::{Contradiction, Standing};
use super::verdict::time;
use super::{LoadError, Verdict};
use crate::identity::{DistinguishedName, NameKey};
use crate::reload::Fingerprint;
use crate::util::clock;

/// All active CRLs, by the names of their issuers.
#[derive(Clone, Debug)]
pub struct CrlSet {
    /// Sorted by the key of the name.
    pub(super) by_issuer: Vec<OfIssuer>,
    pub(super) authorities: Arc<Authorities>,
    /// The files that they are from.
    pub(super) files: HashMap<PathBuf, FromFile>,
    /// What could not be used when they were read.
    pub(super) refused: Vec<Arc<LoadError>>,
    /// Whether they could not be read for so long that they answer for nothing any more.
    pub(super) have_lapsed: bool,
}

/// What was in a file.
#[derive(Clone, Debug, Default)]
pub(super) struct FromFile {
    /// `None` if it could not be read.
    pub(super) seen: Option<Fingerprint>,
    /// Those that are not active any more are dropped, here and below.
    pub(super) lists: Vec<Weak<Crl>>,
    /// Those from before that stay because of what could not be used.
    pub(super) kept: Vec<Weak<Crl>>,
    /// Those from before that stay because the file holds those of other CAs now.
    pub(super) displaced: Vec<Weak<Crl>>,
    /// What could not be used.
    pub(super) refused: Vec<Arc<LoadError>>,
}

#[derive(Clone, Debug)]
pub(super) struct OfIssuer {
    pub(super) name: NameKey,
    pub(super) lists: Vec<Arc<Crl>>,
    /// Nearly always none.
    pub(super) contradictions: Vec<Contradiction>,
    /// The latest `thisUpdate` of all deltas that were kept no longer because they were too many: a complete list from
    /// before it does not prove that a certificate is not revoked.
    pub(super) forgotten: Option<u64>,
}

/// Whose a list is, and its time in seconds after 1970.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) issuer: String,
    pub(crate) this_update: u64,
    pub(crate) next_update: u64,
}

impl CrlSet {
    pub(super) fn new(authorities: Arc<Authorities>) -> Self {
        Self {
            by_issuer: Vec::new(),
            authorities,
            files: HashMap::new(),
            refused: Vec::new(),
            have_lapsed: false,
        }
    }

    /// The same lists, which answer for nothing any more: what was revoked since is not known.
    pub(crate) fn lapsed(&self) -> Self {
        Self {
            have_lapsed: true,
            ..self.clone()
        }
    }

    /// What a list of these counts for.
    pub(super) fn standing(&self, list: &Arc<Crl>, time: &EvaluationTime) -> Standing {
        let of_issuer = self.of(&list.issuer);
        let among = of_issuer.map_or(&[][..], |of_issuer| &of_issuer.contradictions);
        Standing::of(list, among, time)
    }

    /// Those of which one waits for the end of the other.
    pub(super) fn contradictions(&self) -> impl Iterator<Item = &Contradiction> {
        let of_issuers = self.by_issuer.iter();
        of_issuers.flat_map(|of_issuer| &of_issuer.contradictions)
    }

    /// Those that count for all that they say, at a time in seconds after 1970.
    pub(super) fn in_force(&self, now: u64) -> impl Iterator<Item = &Arc<Crl>> {
        let time = EvaluationTime::new(now);
        let all = self.all();
        all.filter(move |list| self.standing(list, &time) == Standing::InForce)
    }

    pub(super) fn by_or_new(&mut self, issuer: &DistinguishedName) -> &mut OfIssuer {
        let at = match self.place(issuer.key()) {
            Ok(at) => at,
            Err(at) => {
                let of_issuer = OfIssuer {
                    name: issuer.key(),
                    lists: Vec::new(),
                    contradictions: Vec::new(),
                    forgotten: None,
                };
                self.by_issuer.insert(at, of_issuer);
                at
            }
        };
        &mut self.by_issuer[at]
    }

    /// What of the files could not be used, if anything.
    pub(crate) fn refusal(&self) -> Option<String> {
        const MOST: usize = 5;
        let first = self.refused.iter().take(MOST);
        let mut told = first
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        if let Some(more @ 1..) = self.refused.len().checked_sub(MOST) {
            // Writing to a string cannot fail.
            let _ = write!(told, "; and {more} more");
        }
        (!self.refused.is_empty()).then_some(told)
    }

    /// Whether something could not be used for which a start would fail.
    pub(crate) fn is_broken(&self) -> bool {
        self.refused.iter().any(|error| error.is_broken())
    }

    /// Returns what was read and could not be used: what such a list answers for is unknown.
    pub fn refused(&self) -> impl Iterator<Item = &LoadError> {
        self.refused.iter().map(Arc::as_ref)
    }

    /// Returns how many lists there are.
    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// Returns whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.by_issuer.is_empty()
    }

    /// Returns how many revocations there are in all lists together.
    pub fn entries(&self) -> usize {
        self.all().map(|list| list.len()).sum()
    }

    /// Returns how many bytes of memory the entries take.
    pub fn size(&self) -> usize {
        self.all().map(|list| list.size()).sum()
    }

    /// Returns how many of the bytes of [`CrlSet::size`] a look-up reads from that finds nothing: the part
    /// that should fit into a cache.
    pub fn searched_size(&self) -> usize {
        self.all().map(|list| list.searched_size()).sum()
    }

    /// Returns [`Verdict::Revoked`] as the first list of its issuer that names a certificate has it, whatever the list is
    /// about and whatever its signer: to look things up, not to decide by. The issuer is a `Name`, DER, and is compared
    /// by RFC 5280 §7.1; the serial number is the content of an INTEGER.
    pub fn find(&self, issuer: &[u8], serial: &[u8]) -> Option<Verdict> {
        let issuer = DistinguishedName::new(issuer);
        let mut lists = self.by(&issuer).iter();
        lists.find_map(|list| Some(list.revoked(list.find(&issuer, serial)?, serial)))
    }

    /// Whether there is a list that this issuer signs; a `Name`, DER.
    #[cfg(feature = "config")]
    pub(crate) fn has_of(&self, issuer: &[u8]) -> bool {
        !self.by(&DistinguishedName::new(issuer)).is_empty()
    }

    /// Why no list of this issuer says of a user's certificate that it is not revoked, if there are lists and none
    /// does; an issuer is a `Name`, DER.
    #[cfg(feature = "config")]
    pub(crate) fn why_none_counts(&self, issuer: &[u8]) -> Option<&'static str> {
        let now = clock::seconds();
        let mut whys = self.by(&DistinguishedName::new(issuer)).iter().map(|list| {
            if list.signer().is_none() {
                Some("it is not signed by a CA or signer that is known and may sign CRLs (cRLSign)")
            } else if !list.is_begun(now) {
                Some("its thisUpdate is still to come")
            } else if list.base.is_some() {
                Some("it is a delta, and its base is not there")
            } else if !list.scope.is_about_users() {
                Some("it is about CAs or attribute certificates only")
            } else if list.scope.reasons != ALL_REASONS {
                Some("it is about some reasons only")
            } else {
                None
            }
        });
        let first = whys.next()??;
        whys.all(|why| why.is_some()).then_some(first)
    }

    /// Returns the first `nextUpdate` of all active lists.
    pub fn next_update(&self) -> Option<SystemTime> {
        let in_force = self.in_force(clock::seconds());
        in_force.map(|list| list.next_update).min().map(time)
    }

    /// How many lists count for all that they say, now.
    #[cfg(feature = "tls")]
    pub(crate) fn active(&self) -> usize {
        self.in_force(clock::seconds()).count()
    }

    /// How many active lists are past their `nextUpdate`, at a time in seconds after 1970.
    pub(crate) fn ended(&self, now: u64) -> usize {
        self.in_force(now).filter(|list| list.is_over(now)).count()
    }

    /// The issuer of each active list, and the time that it is for.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let term = |list: &Arc<Crl>| Term {
            issuer: list.issuer.to_string(),
            this_update: list.this_update,
            next_update: list.next_update,
        };
        self.in_force(clock::seconds()).map(term).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Crl>> {
        self.by_issuer.iter().flat_map(|of| &of.lists)
    }

    /// The lists of an issuer.
    pub(super) fn by(&self, issuer: &DistinguishedName) -> &[Arc<Crl>] {
        self.of(issuer).map_or(&[], |of_issuer| &of_issuer.lists)
    }

    pub(super) fn of(&self, issuer: &DistinguishedName) -> Option<&OfIssuer> {
        let at = self.place(issuer.key()).ok()?;
        Some(&self.by_issuer[at])
    }

    pub(super) fn place(&self, issuer: NameKey) -> Result<usize, usize> {
        self.by_issuer.binary_search_by_key(&issuer, |of| of.name)
    }
}

impl OfIssuer {
    /// Removes lists, and whatever they contradict.
    pub(super) fn remove(&mut self, is_gone: impl Fn(&Arc<Crl>) -> bool) {
        let (lists, contradictions) = (&mut self.lists, &mut self.contradictions);
        lists.retain(|list| {
            let goes = is_gone(list);
            if goes {
                contradictions.retain(|one| !one.has(list));
            }
            !goes
        });
    }
}

impl FromFile {
    /// All that were in it, whenever that was.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<Crl>> {
        let all = self.lists.iter().chain(&self.kept).chain(&self.displaced);
        all.filter_map(Weak::upgrade)
    }
}
