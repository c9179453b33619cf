//! Which of two CRLs takes the place of the other.

use super::authority::Authorities;
use super::list::Crl;

impl Crl {
    /// Whether one of the two replaces the other: both are signed by the same key and have the same scope. A
    /// list without a known signer replaces nothing.
    pub(super) fn is_of_scope_of(&self, other: &Self) -> bool {
        self.has_scope_of(other)
            && self
                .signer()
                .is_some_and(|signer| other.signer() == Some(signer))
    }

    /// Whether it is of the same scope and by the same key, as far as that is known.
    pub(super) fn takes_place_of(&self, other: &Self, authorities: &Authorities) -> bool {
        let by_the_same = || match other.signer() {
            Some(signer) => self.is_by(&signer, authorities),
            None => true,
        };
        self.has_scope_of(other) && by_the_same()
    }

    pub(super) fn has_scope_of(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.scope == other.scope
            && self.base.is_some() == other.base.is_some()
    }

    /// Whether it may be what its issuer has made of `other`, with another scope.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn is_moved_from(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.base.is_some() == other.base.is_some()
    }

    /// Whether nothing that `other` of the same scope says is missing in it: a delta has what changed since its base
    /// (RFC 5280 §5.2.4), a complete list all.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (&self.base, &other.base) {
            (Some(base), Some(of_other)) => base <= of_other,
            _ => true,
        }
    }

    /// Whether it is a delta that can bring this complete list up to date, as far as numbers say (RFC 5280 §6.3.3
    /// (c)).
    pub(super) fn fits(&self, complete: &Self) -> bool {
        let numbers = (self.base.as_ref(), complete.number.as_ref());
        let is_reached = matches!(numbers, (Some(base), Some(number)) if base <= number);
        is_reached && complete.base.is_none() && self.scope == complete.scope
    }

    /// Whether it is older than `other` of the same scope, by its time or by its number: an issuer
    /// lets both grow (RFC 5280 §5.2.3), and does not go back by either.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.this_update < other.this_update || self.comes_before(other)
    }

    /// Whether it is older than `other` by one of the two and later by the other: a CA that was restored
    /// from a backup counts on from an old number, and one whose clock was wrong goes back in time. Two lists
    /// that are the same by both contradict each other too: neither takes back what the other revokes.
    pub(super) fn contradicts(&self, other: &Self) -> bool {
        if self.is_version_of(other) {
            return self.signature_value != other.signature_value;
        }
        let by_time = self.this_update.cmp(&other.this_update);
        let by_number = match (&self.number, &other.number) {
            (Some(number), Some(of_other)) => number.cmp(of_other),
            _ => return false,
        };
        by_time.is_ne() && by_number == by_time.reverse()
    }

    /// Whether it is the same version of a list of the same scope.
    pub(super) fn is_version_of(&self, other: &Self) -> bool {
        self.this_update == other.this_update && self.number == other.number
    }

    /// Whether it is the earlier of two of the same scope, by the number if both have one.
    pub(super) fn comes_before(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(number), Some(of_other)) if number != of_other => number < of_other,
            _ => self.this_update < other.this_update,
        }
    }
}
