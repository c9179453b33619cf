use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use x509_parser::extensions::KeyUsage;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::PathError;
use super::authority::Key;
use super::constraints::Subtrees;
use super::der::{self, Malformed, Reader};
use super::scope::{MOST_POINTS, Point};
use super::signed::Signed;
use super::verdict::name;

/// A path that webpki verified, as what revocation needs to know of it: enough to check it again
/// later without building it again. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub struct CertPath(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The client's own first; each is issued by the next, the last by the anchor.
    certificates: Box<[Arc<Facts>]>,
    anchor: Arc<Anchor>,
}

/// The CAs of paths made lately: all clients of one CA have the same, so each is read and kept once.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    certificates: Mutex<HashMap<Box<[u8]>, Arc<Facts>>>,
    anchors: Mutex<Vec<Arc<Anchor>>>,
}

/// How many CAs are remembered.
const ISSUERS: usize = 256;

/// Where a path begins: a name and a key that the operator trusts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// DER.
    pub(super) subject: Box<[u8]>,
    pub(super) key: Key,
    /// What names those beneath it may have.
    pub(super) subtrees: Option<Result<Subtrees, Malformed>>,
}

/// What revocation needs to know of a certificate.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) serial: Box<[u8]>,
    /// DER.
    pub(super) issuer: Box<[u8]>,
    /// DER.
    pub(super) subject: Box<[u8]>,
    pub(super) is_ca: bool,
    /// Those it names, and the implicit one.
    pub(super) points: Vec<Point>,
    pub(super) not_before: u64,
    pub(super) not_after: u64,
    pub(super) key: Key,
    pub(super) key_id: Option<Box<[u8]>>,
    /// Whether it may sign CRLs (RFC 5280 §6.3.3 (f)).
    pub(super) signs_crls: bool,
    /// Whether it may sign certificates (RFC 5280 §6.1.4 (n)).
    pub(super) signs_certificates: bool,
}

impl CertPath {
    /// The facts of a path: the end entity's certificate, those of the CAs between in the order of
    /// the path, and the anchor that issued the last.
    ///
    /// # Errors
    /// A certificate that cannot be read, or a CA that may not sign certificates.
    pub fn new(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: &TrustAnchor<'_>,
    ) -> Result<Self, PathError> {
        let own = Facts::parse(end_entity)?;
        let issuers = intermediates
            .iter()
            .map(|der| Facts::parse(der).map(Arc::new));
        Self::of(own, issuers, Arc::new(Anchor::new(anchor)))
    }

    /// As [`CertPath::new`], with the end entity's certificate read already.
    pub(crate) fn with_issuers<'a>(
        end_entity: &X509Certificate<'_>,
        intermediates: impl Iterator<Item = CertificateDer<'a>>,
        anchor: &TrustAnchor<'_>,
        known: &Issuers,
    ) -> Result<Self, PathError> {
        let own = Facts::of(end_entity)?;
        let issuers = intermediates.map(|der| known.facts(&der));
        Self::of(own, issuers, known.anchor(anchor))
    }

    fn of(
        own: Facts,
        issuers: impl Iterator<Item = Result<Arc<Facts>, PathError>>,
        anchor: Arc<Anchor>,
    ) -> Result<Self, PathError> {
        let certificates = std::iter::once(Ok(Arc::new(own)))
            .chain(issuers)
            .collect::<Result<Box<[_]>, _>>()?;
        if let Some(issuer) = certificates
            .iter()
            .skip(1)
            .find(|one| !one.signs_certificates)
        {
            return Err(PathError::MayNotSign(name(&issuer.subject)));
        }
        Ok(Self(Arc::new(Inner {
            certificates,
            anchor,
        })))
    }

    /// The certificates, the client's own first.
    pub(super) fn certificates(&self) -> &[Arc<Facts>] {
        &self.0.certificates
    }

    pub(super) fn anchor(&self) -> &Anchor {
        &self.0.anchor
    }

    /// The first moment at which every certificate is valid.
    pub(crate) fn not_before(&self) -> u64 {
        let begins = self.certificates().iter().map(|one| one.not_before);
        begins.max().unwrap_or(u64::MAX)
    }

    /// The last moment at which every certificate is valid.
    pub(crate) fn not_after(&self) -> u64 {
        let ends = self.certificates().iter().map(|one| one.not_after);
        ends.min().unwrap_or(0)
    }
}

impl Anchor {
    fn new(anchor: &TrustAnchor<'_>) -> Self {
        Self {
            subject: der::encode(der::SEQUENCE, &anchor.subject).into(),
            key: Key::new(&anchor.subject_public_key_info),
            subtrees: anchor
                .name_constraints
                .as_ref()
                .map(|constraints| Subtrees::parse(Reader::new(constraints))),
        }
    }
}

impl Issuers {
    fn anchor(&self, anchor: &TrustAnchor<'_>) -> Arc<Anchor> {
        let anchor = Anchor::new(anchor);
        let mut known = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| ***known == anchor) {
            return Arc::clone(known);
        }
        // As many as there are client CAs.
        let anchor = Arc::new(anchor);
        known.push(Arc::clone(&anchor));
        anchor
    }

    fn facts(&self, der: &[u8]) -> Result<Arc<Facts>, PathError> {
        let certificates = &self.certificates;
        let known = || certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = known().get(der) {
            return Ok(Arc::clone(facts));
        }
        let facts = Arc::new(Facts::parse(der)?);
        let mut known = known();
        if known.len() >= ISSUERS {
            known.clear();
        }
        known.insert(der.into(), Arc::clone(&facts));
        Ok(facts)
    }
}

impl Facts {
    pub(super) fn parse(der: &[u8]) -> Result<Self, PathError> {
        Self::of(&Self::read(der)?)
    }

    pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, PathError> {
        let read = X509Certificate::from_der(der);
        let (_, certificate) = read.map_err(|error| PathError::Malformed(error.to_string()))?;
        Ok(certificate)
    }

    pub(super) fn of(certificate: &X509Certificate<'_>) -> Result<Self, PathError> {
        let malformed = |error: &dyn std::fmt::Display| PathError::Malformed(error.to_string());
        let usage = certificate.key_usage().map_err(|error| malformed(&error))?;
        let is_ca = certificate
            .basic_constraints()
            .map_err(|error| malformed(&error))?
            .is_some_and(|constraints| constraints.value.ca);
        let issuer = certificate.issuer().as_raw();
        let mut points = Vec::new();
        let mut key_id = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(_) => {
                    points = Point::parse_all(extension.value, issuer).map_err(|_| {
                        malformed(&format!(
                            "its distribution points are no DER, or more than {MOST_POINTS}"
                        ))
                    })?;
                }
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0.into()),
                _ => {}
            }
        }
        points.push(Point::implicit(issuer));
        let key = Reader::new(certificate.public_key().raw)
            .any()
            .map_err(|_| malformed(&"the public key is no DER"))?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let allows = |usage_of: fn(&KeyUsage) -> bool| {
            usage.as_ref().is_none_or(|usage| usage_of(usage.value))
        };
        Ok(Self {
            serial: certificate.raw_serial().into(),
            issuer: issuer.into(),
            subject: certificate.subject().as_raw().into(),
            is_ca,
            points,
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            key: Key::new(key.content),
            key_id,
            signs_crls: allows(KeyUsage::crl_sign),
            signs_certificates: is_ca && allows(KeyUsage::key_cert_sign),
        })
    }

    pub(super) fn signed(der: &[u8]) -> Result<Signed, PathError> {
        let no_der = || PathError::Malformed("the certificate is no DER".to_owned());
        Signed::parse(der).map_err(|_| no_der())
    }
}
