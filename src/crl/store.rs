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
use super::verdict::{date, time};
use super::{LoadError, Verdict};
use crate::identity::{DistinguishedName, NameKey};
use crate::reload::Fingerprint;
use crate::util::clock;

/// All active CRLs, by the names of their issuers.
#[derive(Clone, Debug)]
pub struct CrlSet {
    /// Sorted by the key of the name.
    by_issuer: Vec<OfIssuer>,
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
struct OfIssuer {
    name: NameKey,
    lists: Vec<Arc<Crl>>,
    /// Nearly always none.
    contradictions: Vec<Contradiction>,
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

    /// Adds a list. Of two of the same signer and scope the newer one stays: the other may be an old one
    /// replayed, from before a revocation. Where each is older by one measure, or neither by any, both stay, and one
    /// [waits](Contradiction). One whose time has not come at `now`, in seconds after 1970, answers for no
    /// certificate yet, and stands beside the one that does; so does a delta over an earlier base, since the base of the
    /// newer one may not be here.
    pub(super) fn insert(&mut self, list: Arc<Crl>, now: u64) {
        let of_issuer = self.by_or_new(&list.issuer);
        let is_like = |other: &Arc<Crl>| {
            let (newer, older) = if list.is_older_than(other) {
                (other, &list)
            } else {
                (&list, other)
            };
            other.is_begun(now) == list.is_begun(now)
                && other.is_of_scope_of(&list)
                && newer.covers(older)
        };
        let mut contradictions = Vec::new();
        for other in of_issuer.lists.iter().filter(|other| is_like(other)) {
            if Arc::ptr_eq(other, &list) {
                // The same file under two names.
                return;
            }
            if list.contradicts(other) {
                contradictions.push(Contradiction::between(other, &list));
            } else if list.is_older_than(other) {
                refused_older(&list, other);
                return;
            }
        }
        of_issuer.remove(|other| is_like(other) && !list.contradicts(other));
        of_issuer.lists.push(list);
        of_issuer.contradictions.append(&mut contradictions);
    }

    /// Takes back each list of `previous` in whose place an older one was put, or one whose time has
    /// not come at `now`, in seconds after 1970; and each of `unread`, in whose place nothing could be.
    pub(super) fn keep_newer_of(&mut self, previous: &Self, now: u64, unread: &[Arc<Crl>]) {
        let time = EvaluationTime::new(now);
        let mut kept = Vec::new();
        for list in previous.all() {
            let in_its_place: Vec<_> = self
                .by(&list.issuer)
                .iter()
                .filter(|new| new.is_older_than(list) || new.covers(list))
                .filter(|new| new.takes_place_of(list, &self.authorities))
                .collect();
            let Some(first) = in_its_place.first() else {
                let is_unread = unread.iter().any(|one| Arc::ptr_eq(one, list));
                if is_unread || self.has_orphan_after(list) {
                    kept.push(Arc::clone(list));
                }
                continue;
            };
            // A list that is not active holds up nothing.
            if !list.is_begun(now) || previous.standing(list, &time) != Standing::InForce {
                continue;
            }
            let is_newer = |new: &&Arc<Crl>| {
                // When the active one is over, a later one by one measure is enough.
                !new.is_older_than(list) && !new.contradicts(list)
                    || list.is_over(now) && new.contradicts(list) && !new.is_over(now)
            };
            let mut begun = in_its_place.iter().filter(|new| new.is_begun(now));
            if begun.clone().any(is_newer) {
                continue;
            }
            match begun.next() {
                Some(older) if older.contradicts(list) => {}
                Some(older) => refused_older(older, list),
                None => refused_early(first, list),
            }
            kept.push(Arc::clone(list));
        }
        for list in kept {
            self.remember(&list, previous);
            let of_issuer = self.by_or_new(&list.issuer);
            // A list without a known signer replaces no other.
            let is_like = |new: &Arc<Crl>| new.is_begun(now) && new.is_of_scope_of(&list);
            of_issuer
                .remove(|new| is_like(new) && new.is_older_than(&list) && !new.contradicts(&list));
            let waiting = of_issuer
                .lists
                .iter()
                .filter(|new| is_like(new) && new.contradicts(&list));
            let waiting: Vec<_> = waiting.map(Arc::clone).collect();
            of_issuer
                .contradictions
                .extend(waiting.into_iter().map(|waiting| Contradiction {
                    in_force: Arc::clone(&list),
                    waiting,
                }));
            of_issuer.lists.push(list);
        }
        self.resolve_as(previous, &time);
    }

    /// Has the files that a list is from know of it, so that it is missed where they are written over once more.
    fn remember(&mut self, list: &Arc<Crl>, previous: &Self) {
        let has = |known: &FromFile| known.all().any(|one| Arc::ptr_eq(&one, list));
        for (file, _) in previous.files.iter().filter(|(_, known)| has(known)) {
            if let Some(known) = self.files.get_mut(file)
                && !has(known)
            {
                known.kept.push(Arc::downgrade(list));
            }
        }
    }

    /// Whether a delta came in the place of this one whose base is not here, so that this one goes on to count.
    fn has_orphan_after(&self, delta: &Crl) -> bool {
        let mut after = self.by(&delta.issuer).iter();
        after.any(|new| self.is_orphan(new) && new.takes_place_of(delta, &self.authorities))
    }

    /// Whether it is a delta beside a complete list of its scope, and over a later one.
    pub(super) fn is_orphan(&self, delta: &Crl) -> bool {
        let of_issuer = self.by(&delta.issuer).iter();
        let mut complete =
            of_issuer.filter(|list| list.base.is_none() && list.scope == delta.scope);
        let is_beside = complete.clone().next().is_some();
        delta.base.is_some() && is_beside && !complete.any(|list| delta.fits(list))
    }

    /// Of two lists that contradict each other the active one stays active.
    fn resolve_as(&mut self, previous: &Self, time: &EvaluationTime) {
        let was_in_force = |list: &Arc<Crl>| {
            let mut before = previous.by(&list.issuer).iter();
            before.any(|one| {
                one.is_of_scope_of(list)
                    && one.is_version_of(list)
                    && previous.standing(one, time) == Standing::InForce
            })
        };
        for of_issuer in &mut self.by_issuer {
            for one in &mut of_issuer.contradictions {
                if was_in_force(&one.waiting) && !was_in_force(&one.in_force) {
                    *one = one.clone().turned();
                }
            }
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

    fn by_or_new(&mut self, issuer: &DistinguishedName) -> &mut OfIssuer {
        let at = match self.place(issuer.key()) {
            Ok(at) => at,
            Err(at) => {
                let of_issuer = OfIssuer {
                    name: issuer.key(),
                    lists: Vec::new(),
                    contradictions: Vec::new(),
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

    fn of(&self, issuer: &DistinguishedName) -> Option<&OfIssuer> {
        let at = self.place(issuer.key()).ok()?;
        Some(&self.by_issuer[at])
    }

    fn place(&self, issuer: NameKey) -> Result<usize, usize> {
        self.by_issuer.binary_search_by_key(&issuer, |of| of.name)
    }
}

impl OfIssuer {
    /// Removes lists, and whatever they contradict.
    fn remove(&mut self, is_gone: impl Fn(&Arc<Crl>) -> bool) {
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

fn refused_early(early: &Crl, current: &Crl) {
    crate::telemetry::metrics::crl_refused("not_yet_valid");
    tracing::error!(
        issuer = %early.issuer,
        number = early.number_text(),
        this_update = date(early.this_update),
        in_force_number = current.number_text(),
        in_force = date(current.this_update),
        "a CRL came whose time has not come yet: the one before it stays in force beside it"
    );
}

fn refused_older(old: &Crl, new: &Crl) {
    crate::telemetry::metrics::crl_refused("older");
    tracing::error!(
        issuer = %old.issuer,
        number = old.number_text(),
        this_update = date(old.this_update),
        in_force_number = new.number_text(),
        in_force = date(new.this_update),
        "an older CRL came in the place of a newer one of the same issuer and scope: the newer one \
         stays in force"
    );
}
