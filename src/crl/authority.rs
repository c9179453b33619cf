use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::certificate::CertificateInfo;
use super::constraints::Constraints;
use super::der::Value;
use super::evaluation_time::EvaluationTime;
use super::key::Key;
use super::no_rev_avail::NoRevAvail;
use super::path::Anchor;
use super::signed::Signed;
use super::{CrlError, UnknownCause};
use crate::crypto;
use crate::identity::DistinguishedName;

/// The most certificates between a CRL's signer and the trust anchor.
const DEEPEST: usize = 6;

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
    info: Arc<CertificateInfo>,
    /// `None` if they cannot be read: then nothing is certified through it.
    constraints: Option<Constraints>,
    /// What its key is if no signature can be checked by it.
    unsupported: Option<String>,
    signed: Signed,
}

impl Authorities {
    pub(super) fn new(
        certificates: &[CertificateDer<'_>],
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Self, CrlError> {
        let known = certificates.iter().map(|der| -> Result<_, CrlError> {
            let certificate = CertificateInfo::read(der)?;
            let info = Arc::new(CertificateInfo::of(&certificate)?);
            Ok(Authority {
                unsupported: info.key.unsupported(&algorithms),
                info,
                constraints: Constraints::of(&certificate),
                signed: CertificateInfo::signed(der)?,
            })
        });
        Ok(Self {
            known: known.collect::<Result<_, _>>()?,
            algorithms,
            signed: Mutex::default(),
        })
    }

    /// No one.
    pub(super) fn none(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self {
            known: Vec::new(),
            algorithms,
            signed: Mutex::default(),
        }
    }

    /// The algorithms by which signatures can be checked.
    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    /// Those with this name.
    fn named<'a>(&'a self, name: &'a DistinguishedName) -> impl Iterator<Item = &'a Authority> {
        let known = self.known.iter();
        known.filter(move |one| one.info.subject == *name)
    }

    /// The key of the one with this name and, if it is given, this key identifier that may sign CRLs and
    /// of which `signed` says that it signed one; or why there is none.
    pub(super) fn signer(
        &self,
        name: &DistinguishedName,
        key_id: Option<&[u8]>,
        signed: impl Fn(&Key) -> bool,
    ) -> Result<Key, UnknownCause> {
        let mut cause = UnknownCause::SignerUnknown;
        for one in self.named(name) {
            let info = &one.info;
            if info.is_key(key_id) && info.signs_crls && signed(&info.key) {
                return Ok(info.key.clone());
            }
            cause = cause.max(info.why_not_signer(key_id, one.unsupported.is_some()));
        }
        Err(cause)
    }

    /// Whether one with this name has this key.
    pub(super) fn knows(&self, name: &DistinguishedName, key: &Key) -> bool {
        self.named(name).any(|one| one.info.key == *key)
    }

    /// Why none of those with this name signed a CRL that counts, if `signed` says of each key whether
    /// it signed it.
    pub(super) fn why_not_signed(
        &self,
        name: &DistinguishedName,
        key_id: Option<&[u8]>,
        signed: impl Fn(&Key) -> bool,
    ) -> UnknownCause {
        let found = self.signer(name, key_id, signed);
        // A signer that is there, and does not count under the anchor in question.
        found.map_or_else(|cause| cause, |_| UnknownCause::SignerNotTrusted)
    }

    /// What the key is of one with this name and key identifier, if no signature can be checked by it.
    pub(super) fn unsupported(
        &self,
        name: &DistinguishedName,
        key_id: Option<&[u8]>,
    ) -> Option<String> {
        let mut fitting = self.named(name).filter(|one| one.info.is_key(key_id));
        fitting.find_map(|one| one.unsupported.clone())
    }

    /// Whether signatures by this algorithm can be checked.
    pub(super) fn supports(&self, algorithm: &Value<'_>) -> Result<(), CrlError> {
        if crypto::is_supported(&self.algorithms, algorithm.content) {
            return Ok(());
        }
        let name = crypto::signature_name(algorithm.encoded);
        Err(CrlError::UnsupportedAlgorithm(name))
    }

    /// Whether signatures by this key can be checked.
    pub(super) fn has_use_for(&self, key: &Key) -> bool {
        key.unsupported(&self.algorithms).is_none()
    }

    /// Those with this name that may sign CRLs, each with its number.
    pub(super) fn crl_signers<'a>(
        &'a self,
        name: &'a DistinguishedName,
        key_id: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (usize, &'a CertificateInfo)> {
        let known = self.known.iter().map(|one| &*one.info).enumerate();
        known.filter(move |(_, info)| {
            info.subject == *name && info.signs_crls && info.is_key(key_id)
        })
    }

    /// Whether a chain leads to the authority of this number from the anchor, the same as that of the
    /// certificate in question (RFC 5280 §6.3.3 (f)), that is valid now, keeps to its CAs' constraints,
    /// and that `accepts` takes: the authority's own certificate first, without the anchor.
    pub(super) fn is_certified(
        &self,
        number: usize,
        anchor: &Anchor,
        time: &EvaluationTime,
        accepts: &dyn Fn(&[Arc<CertificateInfo>]) -> bool,
    ) -> bool {
        self.climb(&mut vec![number], anchor, time, accepts)
    }

    fn climb(
        &self,
        chain: &mut Vec<usize>,
        anchor: &Anchor,
        time: &EvaluationTime,
        accepts: &dyn Fn(&[Arc<CertificateInfo>]) -> bool,
    ) -> bool {
        // It begins with one.
        let Some(&top) = chain.last() else {
            return false;
        };
        let info = &self.known[top].info;
        if !time.has_come(info.not_before) || time.is_past(info.not_after) {
            return false;
        }
        // RFC 9608 §3: it is invalid.
        if let NoRevAvail::Contradicted(_) = info.no_rev_avail {
            return false;
        }
        if info.issuer == anchor.subject
            && self.is_signed_by(top, &anchor.key)
            && self.holds(chain, anchor)
        {
            let chain: Vec<_> = chain
                .iter()
                .map(|number| Arc::clone(&self.known[*number].info))
                .collect();
            if accepts(&chain) {
                return true;
            }
        }
        if chain.len() > DEEPEST {
            return false;
        }
        for (number, one) in self.known.iter().enumerate() {
            let ca = &one.info;
            if !chain.contains(&number)
                && ca.subject == info.issuer
                && ca.signs_certificates
                && !(ca.subject == anchor.subject && ca.key == anchor.key)
                && self.is_signed_by(top, &ca.key)
            {
                chain.push(number);
                if self.climb(chain, anchor, time, accepts) {
                    return true;
                }
                chain.pop();
            }
        }
        false
    }

    fn holds(&self, chain: &[usize], anchor: &Anchor) -> bool {
        let constraints: Option<Vec<_>> = chain
            .iter()
            .map(|number| self.known[*number].constraints.as_ref())
            .collect();
        let of_anchor = match &anchor.subtrees {
            None => None,
            Some(Ok(subtrees)) => Some(subtrees),
            Some(Err(_)) => return false,
        };
        constraints.is_some_and(|chain| Constraints::hold(&chain, of_anchor))
    }

    fn is_signed_by(&self, number: usize, key: &Key) -> bool {
        let question = (number, key.clone());
        let known = || self.signed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&question) {
            return *known;
        }
        let answer = self.known[number].signed.is_by(key, &self.algorithms);
        known().insert(question, answer);
        answer
    }
}
