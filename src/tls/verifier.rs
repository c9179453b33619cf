use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
#[cfg(feature = "crl")]
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::anchors::{Anchors, Known};
use super::rejection::{Cause, Rejection};
#[cfg(not(feature = "crl"))]
use super::time;
use super::verified::{Cache, ChainKey, Passed, Verified};
use super::wanted::Wanted;
use crate::PeerIdentity;
#[cfg(feature = "crl")]
use crate::crl::{CertPath, Issuers, Tracked};

/// How many clients' chains are remembered as verified.
const REMEMBERED: usize = 2_048;
/// No longer chain is remembered, in octets: a client with a certificate may pad what it sends, and
/// memory is for the honest.
const LONGEST_REMEMBERED: usize = 16 * 1024;

tokio::task_local! {
    /// Where the verifier leaves what it found for the acceptor that polls the handshake: rustls
    /// calls it inside that poll and has no other way to hand out more than yes or no.
    pub(super) static OUTCOME: RefCell<Option<Result<Passed, Rejection>>>;
}

/// Builds the path by webpki and has its revocation looked up.
#[derive(Debug)]
pub(super) struct Verifier {
    anchors: Arc<Anchors>,
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
    wanted: Wanted,
    cache: Cache,
    #[cfg(feature = "crl")]
    issuers: Issuers,
    #[cfg(feature = "crl")]
    revocation: Option<crate::crl::Revocation>,
    /// Of verdicts on open connections; `None`: the system's.
    #[cfg(feature = "crl")]
    clock: Option<Arc<dyn TimeProvider>>,
}

impl Verifier {
    pub(super) fn new(
        anchors: Anchors,
        algorithms: WebPkiSupportedAlgorithms,
        mandatory: bool,
        wanted: Wanted,
    ) -> Self {
        Self {
            #[cfg(feature = "crl")]
            issuers: anchors.issuers(),
            anchors: Arc::new(anchors),
            algorithms,
            mandatory,
            wanted,
            cache: Cache::new(REMEMBERED),
            #[cfg(feature = "crl")]
            revocation: None,
            #[cfg(feature = "crl")]
            clock: None,
        }
    }

    #[cfg(feature = "crl")]
    pub(super) fn with_revocation(
        mut self,
        revocation: Option<crate::crl::Revocation>,
        clock: Option<Arc<dyn TimeProvider>>,
    ) -> Self {
        self.revocation = revocation;
        self.clock = clock;
        self
    }

    /// Begins to follow the revocation of what it verified, if there are CRLs.
    #[cfg(feature = "crl")]
    fn track(&self, verified: &Verified) -> Option<Tracked> {
        let (revocation, path) = (self.revocation.clone()?, verified.path.clone());
        Some(Tracked::by_clock(revocation, path, self.clock.clone()))
    }

    #[cfg(feature = "crl")]
    pub(super) fn revocation(&self) -> Option<&crate::crl::Revocation> {
        self.revocation.as_ref()
    }

    #[cfg(feature = "crl")]
    pub(super) fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.algorithms
    }

    pub(super) fn anchors(&self) -> &Arc<Anchors> {
        &self.anchors
    }

    pub(super) fn is_mandatory(&self) -> bool {
        self.mandatory
    }

    /// What is asked of a certificate besides a path, of an identity that was not verified here.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Whether this chain is good at this time: its path, what it says, its revocation.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Passed, Rejection> {
        let rejected =
            |cause| Rejection::new(cause, end_entity, intermediates, Arc::clone(&self.anchors));
        let key = ChainKey::of(end_entity, intermediates);
        let verified = if let Some(verified) = self.cache.get(key, now) {
            verified
        } else {
            let verified = self
                .build(end_entity, intermediates, now)
                .map(Arc::new)
                .map_err(rejected)?;
            if verified.octets() <= LONGEST_REMEMBERED {
                self.cache.insert(key, Arc::clone(&verified));
            }
            verified
        };
        #[cfg(feature = "crl")]
        let tracked = self.track(&verified);
        #[cfg(feature = "crl")]
        if let Some(tracked) = &tracked {
            let verdict = tracked.verdict();
            if verdict.refusal().is_some() {
                return Err(rejected(Cause::Revocation(verdict)));
            }
        }
        Ok(Passed {
            verified,
            #[cfg(feature = "crl")]
            tracked,
        })
    }

    fn build(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verified, Cause> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(Cause::Path)?;
        let search = |anchors| {
            let usage = KeyUsage::client_auth();
            let algorithms = self.algorithms.all;
            certificate
                .verify_for_usage(algorithms, anchors, intermediates, now, usage, None, None)
                .map_err(Cause::Path)
        };
        let path = search(&self.anchors.trusted)?;
        let anchor = self.known(&path)?;
        if !anchor.has_ended(now) {
            return self.verified(end_entity, intermediates, &path, anchor);
        }
        // webpki does not look at an anchor's validity, and another may lead to the certificate too.
        let live = self.anchors.live(now);
        let ended = || Cause::AnchorEnded(Arc::clone(anchor), now);
        let path = search(&live).map_err(|_| ended())?;
        let anchor = self.known(&path)?;
        self.verified(end_entity, intermediates, &path, anchor)
    }

    fn known(&self, path: &VerifiedPath<'_>) -> Result<&Arc<Known>, Cause> {
        // It is one of those that the search was given.
        let known = self.anchors.find(path.anchor());
        known.ok_or(Cause::Path(webpki::Error::UnknownIssuer))
    }

    fn verified(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        path: &VerifiedPath<'_>,
        anchor: &Arc<Known>,
    ) -> Result<Verified, Cause> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        let certificate = PeerIdentity::parse(end_entity).map_err(Cause::Identity)?;
        let name = Some(Arc::clone(&anchor.name));
        let identity = PeerIdentity::of(end_entity, &certificate, name);
        let identity = identity.map_err(Cause::Identity)?;
        self.wanted.check(&identity)?;
        let issuers = path.intermediate_certificates().map(webpki::Cert::der);
        #[cfg(feature = "crl")]
        {
            let path = CertPath::with_issuers(&certificate, issuers, path.anchor(), &self.issuers)
                .map_err(Cause::RevocationPath)?;
            Ok(Verified {
                identity,
                chain,
                anchor: Arc::clone(anchor),
                not_before: path.not_before(),
                not_after: path.not_after().min(anchor.not_after),
                path,
            })
        }
        #[cfg(not(feature = "crl"))]
        {
            let mut not_before = time::seconds(identity.not_before());
            let mut not_after = time::seconds(identity.not_after());
            for issuer in issuers {
                let issuer = PeerIdentity::from_der(&issuer).map_err(Cause::Identity)?;
                not_before = not_before.max(time::seconds(issuer.not_before()));
                not_after = not_after.min(time::seconds(issuer.not_after()));
            }
            Ok(Verified {
                identity,
                chain,
                anchor: Arc::clone(anchor),
                not_before,
                not_after: not_after.min(anchor.not_after),
            })
        }
    }
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.anchors.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let outcome = self.verify(end_entity, intermediates, now);
        let answer = match &outcome {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(rejection) => Err(rejection.error()),
        };
        // Outside an acceptor of ours there is nobody to tell.
        let _ = OUTCOME.try_with(|slot| slot.replace(Some(outcome)));
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
