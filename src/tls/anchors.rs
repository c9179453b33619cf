use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::anchor_from_trusted_cert;
use x509_parser::prelude::X509Certificate;

use super::material::Expiry;
use super::{ClientCas, TlsError, time};
use crate::PeerIdentity;
use crate::identity::Anchor;
use crate::reload::Pinned;

/// The client CAs in force.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    pub(super) trusted: Vec<TrustAnchor<'static>>,
    /// The same in the same order, for connections to keep.
    known: Vec<Arc<Known>>,
    /// What a server tells clients that it accepts (RFC 8446 §4.2.4).
    pub(super) hints: Vec<DistinguishedName>,
    /// The subjects in RFC 4514 form, for explanations.
    pub(super) subjects: Vec<Box<str>>,
    pub(super) expiries: Vec<Expiry>,
}

/// A client CA with what webpki does not look at.
#[derive(Debug)]
pub(super) struct Known {
    trusted: TrustAnchor<'static>,
    pub(super) name: Arc<Anchor>,
    /// The last second, after 1970, at which it is valid.
    pub(super) not_after: u64,
    /// Whether it may sign CRLs (RFC 5280 §4.2.1.3).
    #[cfg(feature = "crl")]
    signs_crls: bool,
}

impl Known {
    pub(super) fn has_ended(&self, now: UnixTime) -> bool {
        self.not_after < now.as_secs()
    }

    fn is(&self, anchor: &TrustAnchor<'_>) -> bool {
        self.trusted.subject == anchor.subject
            && self.trusted.subject_public_key_info == anchor.subject_public_key_info
            && self.trusted.name_constraints == anchor.name_constraints
    }
}

impl Anchors {
    /// Reads the bundle. An expired CA is left out with a warning, since webpki would trust it
    /// still; without any other there is none to trust, which is an error.
    pub(super) fn load(
        cas: &ClientCas,
        pinned: &mut Pinned,
        now: SystemTime,
    ) -> Result<Self, TlsError> {
        let mut anchors = Self::default();
        let mut known = HashSet::new();
        let mut expired = None;
        for (path, der) in cas.read(pinned)? {
            if !known.insert(der.clone()) {
                continue;
            }
            let unusable = |source| TlsError::Certificate {
                path: path.clone(),
                source,
            };
            let certificate = PeerIdentity::parse(&der).map_err(unusable)?;
            let identity = PeerIdentity::of(&der, &certificate, None).map_err(unusable)?;
            if let Ok(since) = now.duration_since(identity.not_after()) {
                let ago = time::words(since);
                tracing::warn!(
                    file = %path.display(), subject = identity.subject(), ago,
                    "a client CA has expired and is not trusted"
                );
                expired.get_or_insert(TlsError::Expired {
                    path,
                    subject: identity.subject().to_owned(),
                    ago,
                });
                continue;
            }
            anchors.add(&path, &der, &identity, &certificate)?;
        }
        match (anchors.trusted.is_empty(), expired) {
            (true, Some(error)) => Err(error),
            (true, None) => Err(TlsError::NoCertificate {
                path: cas.paths.first().cloned().unwrap_or_default(),
            }),
            (false, _) => Ok(anchors),
        }
    }

    fn add(
        &mut self,
        path: &Path,
        der: &CertificateDer<'_>,
        identity: &PeerIdentity,
        certificate: &X509Certificate<'_>,
    ) -> Result<(), TlsError> {
        let anchor = anchor_from_trusted_cert(der).map_err(|error| TlsError::Anchor {
            path: path.to_owned(),
            subject: identity.subject().to_owned(),
            reason: error.to_string(),
        })?;
        self.hints
            .push(DistinguishedName::in_sequence(&anchor.subject));
        self.trusted.push(anchor.to_owned());
        self.known.push(Arc::new(Known {
            trusted: anchor.to_owned(),
            name: Arc::new(Anchor::of(certificate, identity.subject())),
            not_after: time::seconds(identity.not_after()),
            #[cfg(feature = "crl")]
            signs_crls: crate::crl::signs_crls(certificate),
        }));
        self.subjects.push(identity.subject().into());
        self.expiries.push(Expiry::new("client_ca", identity));
        Ok(())
    }

    /// What the lists of those below them are judged by.
    #[cfg(feature = "crl")]
    pub(super) fn issuers(&self) -> crate::crl::Issuers {
        let known = self.known.iter();
        crate::crl::Issuers::below(known.map(|known| (&known.trusted, known.signs_crls)))
    }

    /// What is known of a trusted one. Of several certificates of one CA the last to end counts.
    pub(super) fn find(&self, anchor: &TrustAnchor<'_>) -> Option<&Arc<Known>> {
        let same = self.known.iter().filter(|known| known.is(anchor));
        same.max_by_key(|known| known.not_after)
    }

    /// Whether this one, of an earlier bundle perhaps, is trusted at this time.
    pub(super) fn hold(&self, known: &Known, now: UnixTime) -> bool {
        let same = self.find(&known.trusted);
        same.is_some_and(|same| !same.has_ended(now))
    }

    /// Those that have not ended.
    pub(super) fn live(&self, now: UnixTime) -> Vec<TrustAnchor<'static>> {
        let live = self.known.iter().filter(|known| !known.has_ended(now));
        live.map(|known| known.trusted.clone()).collect()
    }
}
