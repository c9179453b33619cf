use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::LoadError;
use super::authority::Authorities;
use super::entries::Entry;
use super::list::List;
use super::verdict::name;
use crate::reload::Fingerprint;

/// All CRLs in force, by the names of their issuers.
#[derive(Debug)]
pub struct Lists {
    /// Sorted by name.
    by_issuer: Vec<OfIssuer>,
    pub(super) authorities: Arc<Authorities>,
    /// The files that they are from.
    pub(super) files: HashMap<PathBuf, FromFile>,
    /// What could not be used when they were read.
    pub(super) refused: Vec<Arc<LoadError>>,
}

/// What was in a file.
#[derive(Debug, Default)]
pub(super) struct FromFile {
    /// `None` if it could not be read.
    pub(super) seen: Option<Fingerprint>,
    /// Those that are not in force any more are gone, here and below.
    pub(super) lists: Vec<Weak<List>>,
    /// Those from before that stay because of what could not be used.
    pub(super) kept: Vec<Weak<List>>,
    /// What could not be used.
    pub(super) refused: Vec<Arc<LoadError>>,
}

#[derive(Debug)]
struct OfIssuer {
    /// DER.
    name: Box<[u8]>,
    lists: Vec<Arc<List>>,
}

/// Whose a list is, and its time in seconds after 1970.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) issuer: String,
    pub(crate) this_update: u64,
    pub(crate) next_update: u64,
}

impl Lists {
    pub(super) fn new(authorities: Arc<Authorities>) -> Self {
        Self {
            by_issuer: Vec::new(),
            authorities,
            files: HashMap::new(),
            refused: Vec::new(),
        }
    }

    /// Adds a list. Of two of the same signer and scope the newer one stays: the other may be an old
    /// one replayed, from before a revocation. One whose time has not come at `now`, in seconds after
    /// 1970, answers for nobody yet, and stands beside the one that does.
    pub(super) fn insert(&mut self, list: Arc<List>, now: u64) {
        let of_issuer = self.by_or_new(&list.issuer);
        let other = of_issuer
            .iter_mut()
            .find(|other| other.is_begun(now) == list.is_begun(now) && other.is_of_scope_of(&list));
        match other {
            // The same file under two names.
            Some(other) if Arc::ptr_eq(other, &list) => {}
            Some(other) if list.comes_before(other) => refused_older(&list, other),
            Some(other) => *other = list,
            None => of_issuer.push(list),
        }
    }

    /// Takes back each list of `previous` in whose place an older one was put, or one whose time has
    /// not come at `now`, in seconds after 1970; and each of `unread`, in whose place nothing could be.
    pub(super) fn keep_newer_of(&mut self, previous: &Self, now: u64, unread: &[Arc<List>]) {
        let mut kept = Vec::new();
        for list in previous.all() {
            let in_its_place: Vec<_> = self
                .by(&list.issuer)
                .iter()
                .filter(|new| new.takes_place_of(list, &self.authorities))
                .collect();
            let is_begun = |new: &&&Arc<List>| new.is_begun(now);
            let is_as_new = |new: &&Arc<List>| !new.is_older_than(list);
            let Some(first) = in_its_place.first() else {
                if unread.iter().any(|one| Arc::ptr_eq(one, list)) {
                    kept.push(Arc::clone(list));
                }
                continue;
            };
            if !list.is_begun(now) || in_its_place.iter().filter(is_begun).any(is_as_new) {
                continue;
            }
            match in_its_place.iter().find(is_begun) {
                Some(older) => refused_older(older, list),
                None => refused_early(first, list),
            }
            kept.push(Arc::clone(list));
        }
        for list in kept {
            let of_issuer = self.by_or_new(&list.issuer);
            // What nobody is known to have signed takes nobody's place.
            of_issuer.retain(|new| {
                !(new.is_begun(now) && new.is_older_than(&list) && new.is_of_scope_of(&list))
            });
            of_issuer.push(list);
        }
    }

    fn by_or_new(&mut self, issuer: &[u8]) -> &mut Vec<Arc<List>> {
        let at = match self.place(issuer) {
            Ok(at) => at,
            Err(at) => {
                let of_issuer = OfIssuer {
                    name: issuer.into(),
                    lists: Vec::new(),
                };
                self.by_issuer.insert(at, of_issuer);
                at
            }
        };
        &mut self.by_issuer[at].lists
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

    /// What was read and could not be used: what such a list answers for is unknown.
    pub fn refused(&self) -> impl Iterator<Item = &LoadError> {
        self.refused.iter().map(Arc::as_ref)
    }

    /// How many lists there are.
    pub fn len(&self) -> usize {
        self.all().count()
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.by_issuer.is_empty()
    }

    /// How many revocations there are in all lists together.
    pub fn entries(&self) -> usize {
        self.all().map(|list| list.len()).sum()
    }

    /// How many bytes of memory the entries take.
    pub fn size(&self) -> usize {
        self.all().map(|list| list.size()).sum()
    }

    /// How many of the bytes of [`Lists::size`] a look-up reads from that finds nothing: the part that
    /// should fit into a cache.
    pub fn searched_size(&self) -> usize {
        self.all().map(|list| list.searched_size()).sum()
    }

    /// The first entry for a certificate in the lists of its issuer, whatever these are about and
    /// whoever signed them: to look things up, not to decide by. The issuer is a `Name`, DER; the
    /// serial number the content of an INTEGER.
    pub fn find(&self, issuer: &[u8], serial: &[u8]) -> Option<Entry> {
        let mut lists = self.by(issuer).iter();
        lists.find_map(|list| list.find(issuer, serial))
    }

    /// Whether there is a list that this issuer signs; a `Name`, DER.
    #[cfg(feature = "config")]
    pub(crate) fn has_of(&self, issuer: &[u8]) -> bool {
        !self.by(issuer).is_empty()
    }

    /// The first `nextUpdate` of all lists, in seconds after 1970.
    pub fn next_update(&self) -> Option<u64> {
        self.all().map(|list| list.next_update).min()
    }

    /// How many lists are past their `nextUpdate`, at a time in seconds after 1970.
    pub(crate) fn ended(&self, now: u64) -> usize {
        self.all().filter(|list| list.next_update < now).count()
    }

    /// Who issued each list, and for what time.
    pub(crate) fn terms(&self) -> Vec<Term> {
        let term = |list: &Arc<List>| Term {
            issuer: name(&list.issuer),
            this_update: list.this_update,
            next_update: list.next_update,
        };
        self.all().map(term).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<List>> {
        self.by_issuer.iter().flat_map(|of| &of.lists)
    }

    /// The lists of an issuer.
    pub(super) fn by(&self, issuer: &[u8]) -> &[Arc<List>] {
        match self.place(issuer) {
            Ok(at) => &self.by_issuer[at].lists,
            Err(_) => &[],
        }
    }

    fn place(&self, issuer: &[u8]) -> Result<usize, usize> {
        self.by_issuer.binary_search_by(|of| (*of.name).cmp(issuer))
    }
}

impl FromFile {
    /// All that were in it, whenever that was.
    pub(super) fn all(&self) -> impl Iterator<Item = Arc<List>> {
        let all = self.lists.iter().chain(&self.kept);
        all.filter_map(Weak::upgrade)
    }
}

fn refused_early(early: &List, current: &List) {
    crate::audit::metrics::crl_refused("not_yet_valid");
    tracing::error!(
        this_update = early.this_update,
        in_force = current.this_update,
        "a CRL came whose time has not come yet: the one before it stays in force beside it"
    );
}

fn refused_older(old: &List, new: &List) {
    crate::audit::metrics::crl_refused("older");
    tracing::error!(
        this_update = old.this_update,
        in_force = new.this_update,
        "an older CRL came in the place of a newer one of the same issuer and scope: the newer one \
         stays in force"
    );
}
