use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;

use super::anchors::Anchors;
use super::chain::ChainLimits;
use super::rejection::Rejection;
use super::requirements::Requirements;
use super::verified::Verified;
use super::verifier::Verifier;
use super::{ClientCas, Reason, TlsError, explain, time};
use crate::PeerIdentity;
use crate::crl::{Finding, Revocation, Verdict};
use crate::crypto;
use crate::reload::Pinned;

/// Checks a client's certificate as a server does, by the code of its handshakes: which client CAs count,
/// whether a path leads to one, whether the certificate's name and key can be used, and whether it is revoked.
/// It is for operators' tools.
#[derive(Debug)]
pub struct ClientCheck {
    with_revocation: Verifier,
    without: Verifier,
    revocation: Revocation,
    requirements: Requirements,
    limits: ChainLimits,
    at: SystemTime,
}

/// The answer of a server to a client's certificate.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientAnswer {
    /// Why the certificate is refused; `None` if it is not.
    pub reason: Option<Reason>,
    /// The reason in an operator's words, or what makes the certificate good.
    pub why: String,
    /// The verdict of the CRLs on the path; `None` if there is no path.
    pub verdict: Option<Verdict>,
    /// The finding on each certificate of the path, the client's own first.
    pub findings: Vec<Finding>,
    /// The subject of the client CA that the path leads to, in RFC 4514 form.
    pub anchor: Option<String>,
}

/// A clock that stands still.
#[derive(Debug)]
struct Fixed(UnixTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

impl ClientCheck {
    /// Reads the client CAs as a server does that starts at this time.
    ///
    /// # Errors
    /// Returns what keeps a server from starting: a file that cannot be read, a certificate that is no CA's, no
    /// client CA that has not expired, no cryptography provider.
    pub fn new(cas: &ClientCas, revocation: Revocation, at: SystemTime) -> Result<Self, TlsError> {
        let provider = crate::crypto::provider();
        let verifier = || -> Result<Verifier, TlsError> {
            let anchors = Anchors::load(cas, &mut Pinned::new(), at)?;
            let algorithms = provider.signature_verification_algorithms;
            Ok(Verifier::new(
                anchors,
                algorithms,
                true,
                Requirements::default(),
            ))
        };
        let clock: Arc<dyn TimeProvider> = Arc::new(Fixed(time::unix(at)));
        Ok(Self {
            with_revocation: verifier()?.with_revocation(Some(revocation.clone()), Some(clock)),
            without: verifier()?,
            revocation,
            requirements: Requirements::default(),
            limits: ChainLimits::default(),
            at,
        })
    }

    /// Requires a SPIFFE ID and all else that makes an X.509-SVID, as [`Builder::with_strict_svids`].
    ///
    /// [`Builder::with_strict_svids`]: super::Builder::with_strict_svids
    #[must_use]
    pub fn with_strict_svids(mut self, strict: bool) -> Self {
        self.requirements.svid = strict;
        self.requiring()
    }

    /// Accepts SPIFFE IDs of this trust domain from these client CAs alone, as [`Builder::with_trust_domain`].
    ///
    /// [`Builder::with_trust_domain`]: super::Builder::with_trust_domain
    #[must_use]
    pub fn with_trust_domain<C: Into<Box<str>>>(
        mut self,
        domain: impl Into<Box<str>>,
        cas: impl IntoIterator<Item = C>,
    ) -> Self {
        let cas = cas.into_iter().map(Into::into).collect();
        self.requirements.trust_domains.insert(domain.into(), cas);
        self.requiring()
    }

    /// Refuses a chain with more intermediate certificates than this. Default: 5.
    #[must_use]
    pub fn with_max_intermediates(mut self, most: usize) -> Self {
        self.limits.intermediates = most;
        self.requiring()
    }

    /// Refuses certificates that have more than `bytes` bytes together. Default: 32 KiB.
    #[must_use]
    pub fn with_max_chain_size(mut self, bytes: usize) -> Self {
        self.limits.bytes = bytes;
        self.requiring()
    }

    fn requiring(mut self) -> Self {
        let requirements = self.requirements.clone();
        self.with_revocation.require(requirements, self.limits);
        self
    }

    /// Returns a server's answer to a client that sends these certificates, its own first.
    pub fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> ClientAnswer {
        let outcome = self
            .with_revocation
            .verify(end_entity, intermediates, time::unix(self.at));
        let refused = |rejection: &Rejection| (rejection.reason(), explain::words(rejection));
        let (refusal, verified) = match outcome {
            Ok(passed) => {
                let key = self.unsupported_key(end_entity);
                (key, Some(passed.verified))
            }
            Err(rejection) => {
                // The path that its revocation was asked of.
                let passed = self
                    .without
                    .verify(end_entity, intermediates, time::unix(self.at));
                (
                    Some(refused(&rejection)),
                    passed.ok().map(|passed| passed.verified),
                )
            }
        };
        self.answer(refusal, verified.as_deref())
    }

    fn answer(
        &self,
        refusal: Option<(Reason, String)>,
        verified: Option<&Verified>,
    ) -> ClientAnswer {
        let verdict = verified.map(|one| self.revocation.examine(&one.path, self.at));
        let (reason, why) = match (refusal, &verdict) {
            (Some((reason, why)), _) => (Some(reason), why),
            (None, Some(verdict)) => (None, verdict.to_string()),
            (None, None) => (None, String::new()),
        };
        ClientAnswer {
            reason,
            why,
            verdict,
            findings: verified
                .map_or_else(Vec::new, |one| self.revocation.explain(&one.path, self.at)),
            anchor: verified.map(|one| one.anchor.name.subject().to_owned()),
        }
    }

    /// A client proves by a signature that it holds its key, which cannot be checked by such a one.
    fn unsupported_key(&self, end_entity: &CertificateDer<'_>) -> Option<(Reason, String)> {
        let certificate = PeerIdentity::parse(end_entity).ok()?;
        let key = certificate.public_key().raw;
        let key = crypto::unsupported_key(key, self.with_revocation.algorithms())?;
        let subject = PeerIdentity::from_der(end_entity);
        let subject = subject.map_or_else(|_| String::new(), |one| one.subject().to_owned());
        let why = format!("the client's certificate `{subject}` has {key}, which is not supported");
        Some((Reason::UnsupportedAlgorithm, why))
    }
}
