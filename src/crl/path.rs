use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::X509Certificate;

use super::CrlError;
use super::ca_info::CaInfo;
use super::certificate::CertificateInfo;
use super::constraints::Subtrees;
use super::der::{self, Malformed, Reader};
use super::key::Key;
use super::no_rev_avail::NoRevAvail;
use crate::identity::{DistinguishedName, Fingerprints};
use crate::util::bounded_cache::BoundedCache;

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
#[derive(Debug)]
pub(crate) struct Issuers {
    certificates: Mutex<BoundedCache<Box<[u8]>, Arc<CertificateInfo>>>,
    /// As they were given, since to read one takes long.
    anchors: Mutex<Vec<(TrustAnchor<'static>, Arc<Anchor>)>>,
}

/// How many CAs are remembered, at most.
const ISSUERS: usize = 512;

/// Where a path begins: a name and a key that the operator trusts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) subject: DistinguishedName,
    pub(super) key: Key,
    /// What rules name it by, and whether it may sign CRLs (RFC 5280 §4.2.1.3), as far as that is known.
    pub(super) ca: CaInfo,
    /// What names those beneath it may have.
    pub(super) subtrees: Option<Result<Subtrees, Malformed>>,
}

impl CertPath {
    /// Reads the certificates of a path: the end entity's certificate, those of the CAs between in the order
    /// of the path, and the anchor that issued the last.
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
    ) -> Result<Self, CrlError> {
        Self::up_to(end_entity, intermediates, Anchor::new(anchor, None))
    }

    /// Reads a path as [`CertPath::new`], with the certificate of the anchor: a list that it signed does not
    /// count if it has a key usage without cRLSign (RFC 5280 §4.2.1.3).
    ///
    /// # Errors
    /// A certificate that cannot be read, or a CA that may not sign certificates.
    pub fn with_anchor_certificate(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: &CertificateDer<'_>,
    ) -> Result<Self, CrlError> {
        let ca = CaInfo::of(&CertificateInfo::read(anchor)?);
        let anchor = anchor_from_trusted_cert(anchor)
            .map_err(|error| CrlError::MalformedCertificate(error.to_string()))?;
        Self::up_to(end_entity, intermediates, Anchor::new(&anchor, Some(&ca)))
    }

    fn up_to(
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchor: Anchor,
    ) -> Result<Self, CrlError> {
        let own = CertificateInfo::parse(end_entity)?;
        let issuers = intermediates
            .iter()
            .map(|der| CertificateInfo::parse(der).map(Arc::new));
        Self::of(own, issuers, Arc::new(anchor))
    }

    /// As [`CertPath::new`], with the end entity's certificate read and hashed already.
    pub(crate) fn with_issuers<'a>(
        end_entity: &X509Certificate<'_>,
        fingerprints: Fingerprints,
        intermediates: impl Iterator<Item = CertificateDer<'a>>,
        anchor: &TrustAnchor<'_>,
        known: &Issuers,
    ) -> Result<Self, CrlError> {
        let issuers: Vec<_> = intermediates.map(|der| known.info(&der)).collect();
        let anchor = known.anchor(anchor);
        let issuer = match issuers.first() {
            Some(Ok(issuer)) => &issuer.subject,
            _ => &anchor.subject,
        };
        let own = CertificateInfo::issued(end_entity, Some(issuer), fingerprints)?;
        Self::of(own, issuers.into_iter(), anchor)
    }

    fn of(
        own: CertificateInfo,
        issuers: impl Iterator<Item = Result<Arc<CertificateInfo>, CrlError>>,
        anchor: Arc<Anchor>,
    ) -> Result<Self, CrlError> {
        let certificates = std::iter::once(Ok(Arc::new(own)))
            .chain(issuers)
            .collect::<Result<Box<[_]>, _>>()?;
        if let Some(issuer) = certificates
            .iter()
            .skip(1)
            .find(|one| !one.signs_certificates)
        {
            return Err(CrlError::MayNotSign(issuer.subject.to_string()));
        }
        for one in &certificates {
            if let NoRevAvail::Contradicted(why) = one.no_rev_avail {
                let subject = one.subject.to_string();
                return Err(CrlError::NoRevAvail { subject, why });
            }
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
    /// Without its certificate it may sign CRLs, as far as is known.
    fn new(anchor: &TrustAnchor<'_>, ca: Option<&CaInfo>) -> Self {
        let subject = DistinguishedName::new(&der::encode(der::SEQUENCE, &anchor.subject));
        let spki = || der::encode(der::SEQUENCE, &anchor.subject_public_key_info);
        let ca = ca.cloned();
        Self {
            ca: ca.unwrap_or_else(|| CaInfo::of_anchor(subject.key(), &spki(), true)),
            subject,
            key: Key::new(&anchor.subject_public_key_info),
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

impl Issuers {
    /// Those below these client CAs. Of several certificates of one CA it is enough if one lets it sign CRLs
    /// (RFC 5280 §4.2.1.3).
    pub(crate) fn below<'a>(
        anchors: impl IntoIterator<Item = (&'a TrustAnchor<'a>, &'a CaInfo)>,
    ) -> Self {
        let (mut known, mut given) = (Vec::<Anchor>::new(), Vec::new());
        for (trusted, ca) in anchors {
            let anchor = Anchor::new(trusted, Some(ca));
            let at = known.iter().position(|known| known.is_of(&anchor));
            given.push((trusted.to_owned(), at.unwrap_or(known.len())));
            match at {
                Some(at) => known[at].ca.merge(ca),
                None => known.push(anchor),
            }
        }
        let known: Vec<_> = known.into_iter().map(Arc::new).collect();
        let given = given.into_iter();
        let anchors = given.map(|(trusted, at)| (trusted, Arc::clone(&known[at])));
        Self {
            certificates: Mutex::new(BoundedCache::new(ISSUERS)),
            anchors: Mutex::new(anchors.collect()),
        }
    }

    fn anchor(&self, trusted: &TrustAnchor<'_>) -> Arc<Anchor> {
        let mut known = self.anchors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, anchor)) = known.iter().find(|(given, _)| given == trusted) {
            return Arc::clone(anchor);
        }
        let new = Anchor::new(trusted, None);
        let same = known.iter().find(|(_, anchor)| anchor.is_of(&new));
        let same = same.map(|(_, anchor)| Arc::clone(anchor));
        let anchor = same.unwrap_or_else(|| Arc::new(new));
        // As many as there are client CAs.
        known.push((trusted.to_owned(), Arc::clone(&anchor)));
        anchor
    }

    fn info(&self, der: &[u8]) -> Result<Arc<CertificateInfo>, CrlError> {
        let certificates = &self.certificates;
        let known = || certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(info) = known().get(der) {
            return Ok(Arc::clone(info));
        }
        let info = Arc::new(CertificateInfo::parse(der)?);
        known().insert(der.into(), Arc::clone(&info));
        Ok(info)
    }
}
