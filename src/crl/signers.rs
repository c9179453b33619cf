//! RFC 5280 §6.3.3 (f) and (g): whose signature a list has to have.

use std::ptr;
use std::sync::Arc;

use super::UnknownCause;
use super::certificate::CertificateInfo;
use super::list::Crl;
use super::rules::{Question, Status};

/// How many CRL signers in a row are asked after because of one another.
const NESTED: usize = 3;

/// The signers that are being asked after: whether one is revoked may depend on a list of another.
#[derive(Debug)]
pub(super) struct Signers<'a> {
    own: &'a CertificateInfo,
    outer: Option<&'a Self>,
}

impl Signers<'_> {
    fn has(&self, signer: &CertificateInfo) -> bool {
        ptr::eq(self.own, signer) || self.outer.is_some_and(|outer| outer.has(signer))
    }

    fn count(&self) -> usize {
        1 + self.outer.map_or(0, Self::count)
    }
}

impl Question<'_> {
    /// Whether its signature is by a key that may sign CRLs in its issuer's name, under the anchor that
    /// the path has (RFC 5280 §4.2.1.3: the anchor's own key too must be one that may sign CRLs).
    pub(super) fn is_signed(&self, list: &Crl) -> bool {
        let authorities = &self.lists.authorities;
        let key_id = list.authority_key.as_deref();
        let is_by = |key| list.is_by(key, authorities);
        // The issuer of the certificate comes first: it is nearly always the signer.
        let mut on_path = self
            .above
            .iter()
            .filter(|one| one.subject == list.issuer && one.signs_crls && one.is_key(key_id));
        if on_path.any(|one| is_by(&one.key))
            || (self.anchor.ca.signs_crls
                && self.anchor.subject == list.issuer
                && is_by(&self.anchor.key))
        {
            return true;
        }
        authorities
            .crl_signers(&list.issuer, key_id)
            .any(|(number, signer)| is_by(&signer.key) && self.counts(number, signer))
    }

    /// Why a list is not [signed](Self::is_signed): what is nearest to a signature that counts.
    #[cold]
    pub(super) fn why_not_signed(&self, list: &Crl) -> UnknownCause {
        let authorities = &self.lists.authorities;
        let key_id = list.authority_key.as_deref();
        let is_by = |key: &_| list.is_by(key, authorities);
        let mut cause = authorities.why_not_signed(&list.issuer, key_id, is_by);
        let named = self.above.iter().filter(|one| one.subject == list.issuer);
        for one in named {
            let is_unsupported = !authorities.has_use_for(&one.key);
            cause = cause.max(one.why_not_signer(key_id, is_unsupported));
        }
        let anchor = self.anchor;
        if anchor.subject == list.issuer {
            cause = cause.max(if !authorities.has_use_for(&anchor.key) {
                UnknownCause::SignerUnsupported
            } else if !anchor.ca.signs_crls && is_by(&anchor.key) {
                UnknownCause::SignerMayNotSign
            } else {
                UnknownCause::NotSigned
            });
        }
        cause
    }

    /// Whether a signer that is not on the path counts: it is certified under the path's anchor, and
    /// neither it nor a CA above it is revoked, or of a status that the options refuse.
    fn counts(&self, number: usize, signer: &CertificateInfo) -> bool {
        // One that is being asked after is taken to count: its own list may be the one that lists
        // it, and if another does and revokes it, nothing that it signed counts in the end.
        if self.signers.is_some_and(|signers| signers.has(signer)) {
            return true;
        }
        if self.signers.map_or(0, Signers::count) >= NESTED {
            return false;
        }
        let found = |known: &(usize, bool)| known.0 == number;
        // Within the question after another signer it may be for the sake of that one only.
        let outermost = self.signers.is_none();
        if outermost && let Some((_, counts)) = self.asked.borrow().iter().find(|one| found(one)) {
            return *counts;
        }
        let authorities = &self.lists.authorities;
        let counts = authorities.is_certified(number, self.anchor, self.time, &|chain| {
            self.none_is_revoked(chain)
        });
        if outermost {
            self.asked.borrow_mut().push((number, counts));
        }
        counts
    }

    fn none_is_revoked(&self, chain: &[Arc<CertificateInfo>]) -> bool {
        let depth = if self.options.leaf_only {
            1
        } else {
            usize::MAX
        };
        let Some(own) = chain.first() else {
            return false;
        };
        let signers = Signers {
            own,
            outer: self.signers,
        };
        let mut asked = chain.iter().enumerate().take(depth);
        asked.all(|(at, certificate)| {
            let question = Question {
                certificate,
                above: &chain[at + 1..],
                signers: Some(&signers),
                ..*self
            };
            match question.status(|_| {}) {
                Status::Good => true,
                Status::Revoked(_) => false,
                Status::Unknown(cause) => {
                    question.exemption().is_some() || self.options.allow(cause)
                }
            }
        })
    }
}
