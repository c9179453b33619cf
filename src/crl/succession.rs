use std::sync::Arc;

use super::evaluation_time::EvaluationTime;
use super::list::Crl;

/// Two lists of one issuer, signer and scope of which each is older than the other by one measure, by
/// `thisUpdate` or by `CRLNumber`, or which are the same by both. The first that was taken is active while it is current, since the other may
/// be an old one replayed; when its time is over, the other one counts if it is current.
#[derive(Clone, Debug)]
pub(super) struct Contradiction {
    pub(super) in_force: Arc<Crl>,
    pub(super) waiting: Arc<Crl>,
}

/// What a list counts for beside the others of its issuer and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// For all that it says.
    InForce,
    /// For the revocations in it alone: it does not say of anyone that they are not revoked.
    Waiting,
    /// For nothing: the one that waited for its end has come into force.
    Replaced,
}

impl Contradiction {
    /// Of two lists of which neither is known to have been active: the one with the higher number is.
    pub(super) fn between(one: &Arc<Crl>, other: &Arc<Crl>) -> Self {
        let (in_force, waiting) = if one.comes_before(other) {
            (other, one)
        } else {
            (one, other)
        };
        Self {
            in_force: Arc::clone(in_force),
            waiting: Arc::clone(waiting),
        }
    }

    pub(super) fn turned(self) -> Self {
        Self {
            in_force: self.waiting,
            waiting: self.in_force,
        }
    }

    pub(super) fn has(&self, list: &Arc<Crl>) -> bool {
        Arc::ptr_eq(&self.in_force, list) || Arc::ptr_eq(&self.waiting, list)
    }

    /// Whether the one that waited is active.
    pub(super) fn is_resolved(&self, time: &EvaluationTime) -> bool {
        time.is_past(self.in_force.next_update)
            && time.has_come(self.waiting.this_update)
            && !time.is_past(self.waiting.next_update)
    }

    /// What it makes of a list, if anything.
    fn standing(&self, list: &Arc<Crl>, time: &EvaluationTime) -> Option<Standing> {
        if Arc::ptr_eq(list, &self.waiting) && !self.is_resolved(time) {
            Some(Standing::Waiting)
        } else if Arc::ptr_eq(list, &self.in_force) && self.is_resolved(time) {
            Some(Standing::Replaced)
        } else {
            None
        }
    }
}

impl Standing {
    pub(super) fn of(list: &Arc<Crl>, among: &[Contradiction], time: &EvaluationTime) -> Self {
        let mut standings = among.iter().filter_map(|one| one.standing(list, time));
        standings.next().unwrap_or(Self::InForce)
    }
}
