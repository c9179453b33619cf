//! How a set of CRLs takes the place of the one before it.

use std::sync::Arc;

use super::evaluation_time::EvaluationTime;
use super::list::Crl;
use super::store::{CrlSet, FromFile};
use super::succession::{Contradiction, Standing};
use super::verdict::date;
use crate::telemetry::metrics;

/// So many deltas of a scope stay while the base of the newest is not here.
const MOST_BEFORE_ORPHANS: usize = 64;

impl CrlSet {
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
        let (mut kept, mut before_orphans) = (Vec::new(), Vec::new());
        for list in previous.all() {
            let in_its_place: Vec<_> = self
                .by(&list.issuer)
                .iter()
                .filter(|new| new.is_older_than(list) || new.covers(list))
                .filter(|new| new.takes_place_of(list, &self.authorities))
                .collect();
            let Some(first) = in_its_place.first() else {
                if unread.iter().any(|one| Arc::ptr_eq(one, list)) {
                    kept.push(Arc::clone(list));
                } else if self.has_orphan_after(list) {
                    before_orphans.push(Arc::clone(list));
                }
                continue;
            };
            let standing = previous.standing(list, &time);
            if !list.is_begun(now) || standing != Standing::InForce {
                // It holds up nothing, but what it revokes is not taken back by what came before it.
                let waits = standing == Standing::Waiting;
                let is_left = |new: &&Arc<Crl>| {
                    if new.contradicts(list) {
                        waits
                    } else {
                        new.is_older_than(list)
                    }
                };
                if standing != Standing::Replaced && in_its_place.iter().all(is_left) {
                    kept.push(Arc::clone(list));
                }
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
        for list in kept.into_iter().chain(self.newest_of(before_orphans)) {
            self.remember(&list, previous);
            let of_issuer = self.by_or_new(&list.issuer);
            // A list without a known signer replaces no other.
            let is_like = |new: &Arc<Crl>| {
                new.is_begun(now) == list.is_begun(now) && new.is_of_scope_of(&list)
            };
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
        // Of lists that were kept, too.
        for of_issuer in &mut self.by_issuer {
            let place = previous.place(of_issuer.name);
            let before = place.ok().and_then(|at| previous.by_issuer[at].forgotten);
            of_issuer.forgotten = of_issuer.forgotten.max(before);
        }
        self.resolve_as(previous, &time);
    }

    /// The newest of these deltas, so that with those that are here no scope has too many.
    fn newest_of(&mut self, mut deltas: Vec<Arc<Crl>>) -> Vec<Arc<Crl>> {
        deltas.sort_by(|one, other| other.number.cmp(&one.number));
        let mut kept: Vec<Arc<Crl>> = Vec::new();
        for delta in deltas {
            let known = self.by(&delta.issuer).iter().chain(&kept);
            if known.filter(|one| one.has_scope_of(&delta)).count() <= MOST_BEFORE_ORPHANS {
                kept.push(delta);
            } else {
                log_forgotten(&delta);
                let of_issuer = self.by_or_new(&delta.issuer);
                of_issuer.forgotten = of_issuer.forgotten.max(Some(delta.this_update));
            }
        }
        kept
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

    /// Whether it is a delta over a complete list that is not here, nor a later one of its signer.
    pub(super) fn is_orphan(&self, delta: &Crl) -> bool {
        let is_base = |list: &Crl| delta.fits(list) && list.signer() == delta.signer();
        delta.base.is_some() && !self.by(&delta.issuer).iter().any(|list| is_base(list))
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
}

fn log_forgotten(delta: &Crl) {
    tracing::error!(
        issuer = %delta.issuer,
        number = delta.number_text(),
        most = MOST_BEFORE_ORPHANS,
        "a delta CRL is kept no longer, because so many came after it whose complete list is not here: no complete list from \
         before it proves anything now, so publish a later one"
    );
}

fn refused_early(early: &Crl, current: &Crl) {
    metrics::crl_refused("not_yet_valid");
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
    metrics::crl_refused("older");
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
