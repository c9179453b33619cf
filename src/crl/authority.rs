use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::PathError;
use super::der::Reader;
use super::list::Signed;
use super::moment::Moment;
use super::path::{Anchor, Facts};

/// The most certificates between a CRL's signer and the trust anchor.
const DEEPEST: usize = 6;

/// A public key: `SubjectPublicKeyInfo`, the content of its SEQUENCE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Arc<[u8]>);

/// CA certificates and CRL signers that are known besides those on a path, and the cryptography to
/// check signatures with.
#[derive(Debug)]
pub(super) struct Authorities {
    known: Vec<Authority>,
    algorithms: WebPkiSupportedAlgorithms,
    /// Whether one of the known is signed by a key, each found out once.
    signed: Mutex<HashMap<(usize, Key), bool>>,
}

#[derive(Debug)]
struct Authority {
    facts: Facts,
    signed: Signed,
}

impl Key {
    pub(super) fn new(content: &[u8]) -> Self {
        Self(content.into())
    }

    /// A key that nothing is signed with.
    pub(super) fn nobody() -> Self {
        Self::new(&[])
    }

    pub(super) fn verifies(
        &self,
        algorithm: &[u8],
        message: &[u8],
        signature: &[u8],
        authorities: &Authorities,
    ) -> bool {
        let mut fields = Reader::new(&self.0);
        let (Ok(own), Ok(key)) = (fields.any(), fields.any()) else {
            return false;
        };
        let Ok(key) = key.octets() else {
            return false;
        };
        let all = authorities.algorithms.all.iter();
        let mut fitting = all.filter(|one| {
            *one.signature_alg_id() == *algorithm && *one.public_key_alg_id() == *own.content
        });
        fitting.any(|one| one.verify_signature(key, message, signature).is_ok())
    }
}

impl Authorities {
    pub(super) fn new(
        certificates: &[CertificateDer<'_>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, PathError> {
        let known = certificates.iter().map(|der| {
            Ok(Authority {
                facts: Facts::parse(der)?,
                signed: Facts::signed(der)?,
            })
        });
        Ok(Self {
            known: known.collect::<Result<_, _>>()?,
            algorithms,
            signed: Mutex::default(),
        })
    }

    /// The keys of those with this name and, if it is given, this key identifier.
    pub(super) fn keys_named<'a>(
        &'a self,
        name: &'a [u8],
        key_id: Option<&'a [u8]>,
    ) -> impl Iterator<Item = &'a Key> {
        let named = self
            .known
            .iter()
            .filter(move |one| *one.facts.subject == *name);
        named
            .filter(move |one| one.facts.is_key(key_id))
            .map(|one| &one.facts.key)
    }

    /// Those with this name that may sign CRLs and are certified under this anchor, the same as that
    /// of the certificate in question (RFC 5280 §6.3.3 (f)).
    pub(super) fn crl_signers<'a>(
        &'a self,
        name: &'a [u8],
        key_id: Option<&'a [u8]>,
        anchor: &'a Anchor,
        moment: &'a Moment,
    ) -> impl Iterator<Item = &'a Facts> {
        let known = self.known.iter().enumerate();
        let fitting = known.filter(move |(_, one)| {
            *one.facts.subject == *name && one.facts.signs_crls && one.facts.is_key(key_id)
        });
        fitting
            .filter(move |(number, _)| self.is_certified(*number, anchor, moment, DEEPEST))
            .map(|(_, one)| &one.facts)
    }

    /// Whether a chain of signatures leads from the anchor to this authority now.
    fn is_certified(&self, number: usize, anchor: &Anchor, moment: &Moment, steps: usize) -> bool {
        let facts = &self.known[number].facts;
        if !moment.has_come(facts.not_before) || moment.is_past(facts.not_after) {
            return false;
        }
        if facts.issuer == anchor.subject && self.is_signed_by(number, &anchor.key) {
            return true;
        }
        let Some(steps) = steps.checked_sub(1) else {
            return false;
        };
        let mut above = self.known.iter().enumerate().filter(|(other, one)| {
            *other != number
                && one.facts.subject == facts.issuer
                && one.facts.signs_certificates
                && self.is_signed_by(number, &one.facts.key)
        });
        above.any(|(other, _)| self.is_certified(other, anchor, moment, steps))
    }

    fn is_signed_by(&self, number: usize, key: &Key) -> bool {
        let question = (number, key.clone());
        let known = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&question) {
            return *known;
        }
        let answer = self.known[number].signed.is_by(key, self);
        known().insert(question, answer);
        answer
    }
}

impl Facts {
    /// Whether the key is the one with this identifier, as far as that can be told.
    pub(super) fn is_key(&self, key_id: Option<&[u8]>) -> bool {
        match (key_id, self.key_id.as_deref()) {
            (Some(named), Some(own)) => named == own,
            _ => true,
        }
    }
}
