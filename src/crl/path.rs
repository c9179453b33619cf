use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::extensions::KeyUsage;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};

use super::PathError;
use super::authority::Key;
use super::constraints::Subtrees;
use super::der::{self, Malformed, Reader};
use super::distinguished_name::DistinguishedName;
use super::scope::DistributionPoint;
use super::signed::Signed;

/// A path that webpki verified, as what revocation needs to know of it: enough to check it again
/// later without building it again. `Clone` costs an `Arc`.
#[derive(Clone, Debug)]
pub struct CertPath(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The client's own first; each is issued by the next, the last by the anchor.
    certificates: Box<[Arc<CertificateInfo>]>,
    anchor: Arc<Anchor>,
}

/// The CAs of paths made lately: all clients of one CA have the same, so each is read and kept once.
#[derive(Debug, Default)]
pub(crate) struct Issuers {
    certificates: Mutex<HashMap<Box<[u8]>, Arc<CertificateInfo>>>,
    anchors: Mutex<Vec<Arc<Anchor>>>,
}

/// How many CAs are remembered.
const ISSUERS: usize = 256;

/// Where a path begins: a name and a key that the operator trusts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) subject: DistinguishedName,
    pub(super) key: Key,
    /// Whether it may sign CRLs (RFC 5280 §4.2.1.3), as far as that is known.
    pub(super) signs_crls: bool,
    /// What names those beneath it may have.
    pub(super) subtrees: Option<Result<Subtrees, Malformed>>,
}

/// What revocation needs to know of a certificate.
#[derive(Clone, Debug)]
pub(super) struct CertificateInfo {
    pub(super) serial: Box<[u8]>,
    pub(super) issuer: DistinguishedName,
    pub(super) subject: DistinguishedName,
    pub(super) is_ca: bool,
    /// Those it names, and the implicit one.
    pub(super) points: Vec<DistributionPoint>,
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
    /// A [`TrustAnchor`] does not hold the key usage of the certificate that it was made of, so that
    /// whether the anchor may sign CRLs is taken for granted here, and looked up in
    /// [`CertPath::with_anchor_certificate`].
    ///
    /// # Errors
    /// A certificate that cannot be read, or a CA that may not sign certificates.
    pub fn new(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: &TrustAnchor<'_>,
    ) -> Result<Self, PathError> {
        Self::up_to(end_entity, intermediates, Anchor::new(anchor, true))
    }

    /// As [`CertPath::new`], with the certificate of the anchor: a list that it signed does not count if
    /// it has a key usage without cRLSign (RFC 5280 §4.2.1.3).
    ///
    /// # Errors
    /// A certificate that cannot be read, or a CA that may not sign certificates.
    pub fn with_anchor_certificate(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: &CertificateDer<'_>,
    ) -> Result<Self, PathError> {
        let signs_crls = CertificateInfo::parse(anchor)?.signs_crls;
        let anchor = anchor_from_trusted_cert(anchor)
            .map_err(|error| PathError::Malformed(error.to_string()))?;
        Self::up_to(end_entity, intermediates, Anchor::new(&anchor, signs_crls))
    }

    fn up_to(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: Anchor,
    ) -> Result<Self, PathError> {
        let own = CertificateInfo::parse(end_entity)?;
        let issuers = intermediates
            .iter()
            .map(|der| CertificateInfo::parse(der).map(Arc::new));
        Self::of(own, issuers, Arc::new(anchor))
    }

    /// As [`CertPath::new`], with the end entity's certificate read already.
    pub(crate) fn with_issuers<'a>(
        end_entity: &X509Certificate<'_>,
        intermediates: impl Iterator<Item = CertificateDer<'a>>,
        anchor: &TrustAnchor<'_>,
        known: &Issuers,
    ) -> Result<Self, PathError> {
        let own = CertificateInfo::of(end_entity)?;
        let issuers = intermediates.map(|der| known.info(&der));
        Self::of(own, issuers, known.anchor(anchor))
    }

    fn of(
        own: CertificateInfo,
        issuers: impl Iterator<Item = Result<Arc<CertificateInfo>, PathError>>,
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
            return Err(PathError::MayNotSign(issuer.subject.to_string()));
        }
        Ok(Self(Arc::new(Inner {
            certificates,
            anchor,
        })))
    }

    /// The certificates, the client's own first.
    pub(super) fn certificates(&self) -> &[Arc<CertificateInfo>] {
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
    fn new(anchor: &TrustAnchor<'_>, signs_crls: bool) -> Self {
        let subject = der::encode(der::SEQUENCE, &anchor.subject);
        Self {
            subject: DistinguishedName::new(&subject),
            key: Key::new(&anchor.subject_public_key_info),
            signs_crls,
            subtrees: anchor
                .name_constraints
                .as_ref()
                .map(|constraints| Subtrees::parse(Reader::new(constraints))),
        }
    }

    /// Whether it is the same CA.
    fn is_of(&self, other: &Self) -> bool {
        self.key == other.key && self.subject == other.subject && self.subtrees == other.subtrees
    }
}

/// Whether a certificate lets its owner sign CRLs: it has no key usage, or one with cRLSign (RFC 5280
/// §4.2.1.3).
pub(crate) fn signs_crls(certificate: &X509Certificate<'_>) -> bool {
    match certificate.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    }
}

impl Issuers {
    /// Those below these client CAs, each with whether its certificate lets it sign CRLs (RFC 5280
    /// §4.2.1.3). Of several certificates of one CA it is enough if one does.
    pub(crate) fn below<'a>(
        anchors: impl IntoIterator<Item = (&'a TrustAnchor<'a>, bool)>,
    ) -> Self {
        let mut known: Vec<Arc<Anchor>> = Vec::new();
        for (anchor, signs_crls) in anchors {
            let anchor = Anchor::new(anchor, signs_crls);
            match known.iter_mut().find(|known| known.is_of(&anchor)) {
                Some(known) if signs_crls => *known = Arc::new(anchor),
                Some(_) => {}
                None => known.push(Arc::new(anchor)),
            }
        }
        Self {
            anchors: Mutex::new(known),
            ..Self::default()
        }
    }

    fn anchor(&self, anchor: &TrustAnchor<'_>) -> Arc<Anchor> {
        let anchor = Anchor::new(anchor, true);
        let mut known = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.iter().find(|known| known.is_of(&anchor)) {
            return Arc::clone(known);
        }
        // As many as there are client CAs.
        let anchor = Arc::new(anchor);
        known.push(Arc::clone(&anchor));
        anchor
    }

    fn info(&self, der: &[u8]) -> Result<Arc<CertificateInfo>, PathError> {
        let certificates = &self.certificates;
        let known = || certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(info) = known().get(der) {
            return Ok(Arc::clone(info));
        }
        let info = Arc::new(CertificateInfo::parse(der)?);
        let mut known = known();
        if known.len() >= ISSUERS {
            known.clear();
        }
        known.insert(der.into(), Arc::clone(&info));
        Ok(info)
    }
}

impl CertificateInfo {
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
        let issuer = DistinguishedName::new(certificate.issuer().as_raw());
        let mut points = Vec::new();
        let mut key_id = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(_) => {
                    points = DistributionPoint::parse_all(extension.value, &issuer)
                        .map_err(|error| malformed(&error))?;
                }
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(id.0.into()),
                _ => {}
            }
        }
        points.push(DistributionPoint::implicit(&issuer));
        let key = Reader::new(certificate.public_key().raw)
            .any()
            .map_err(|_| malformed(&"the public key is no DER"))?;
        let seconds = |time: i64| u64::try_from(time).unwrap_or(0);
        let allows = |usage_of: fn(&KeyUsage) -> bool| {
            usage.as_ref().is_none_or(|usage| usage_of(usage.value))
        };
        Ok(Self {
            serial: certificate.raw_serial().into(),
            issuer,
            subject: DistinguishedName::new(certificate.subject().as_raw()),
            is_ca,
            points,
            not_before: seconds(certificate.validity().not_before.timestamp()),
            not_after: seconds(certificate.validity().not_after.timestamp()),
            key: Key::new(key.content),
            key_id,
            signs_crls: signs_crls(certificate),
            signs_certificates: is_ca && allows(KeyUsage::key_cert_sign),
        })
    }

    pub(super) fn signed(der: &[u8]) -> Result<Signed, PathError> {
        let no_der = || PathError::Malformed("the certificate is no DER".to_owned());
        Signed::parse(der).map_err(|_| no_der())
    }
}
