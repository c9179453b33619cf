use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
#[cfg(feature = "crl")]
use rustls::time_provider::TimeProvider;
use webpki::{EndEntityCert, VerifiedPath};
use x509_parser::prelude::X509Certificate;

use super::anchors::{Anchors, Known};
use super::chain::{self, ChainLimits};
use super::rejection::{Cause, Rejection};
use super::requirements::Requirements;
use super::search::{Budget, ClientAuth};
#[cfg(not(feature = "crl"))]
use super::time;
use super::verified::{Cache, ChainKey, Passed, Verified};
use crate::PeerIdentity;
#[cfg(feature = "crl")]
use crate::crl::{CertPath, Issuers, Tracked};
use crate::identity::IdentityError;

/// How many clients' chains are remembered as verified.
const REMEMBERED: usize = 2_048;
/// No longer chain is remembered, in octets: a client with a certificate may pad what it sends, and
/// memory is for the honest.
const LONGEST_REMEMBERED: usize = 16 * 1024;

/// Builds the path by webpki and has its revocation looked up.
#[derive(Debug)]
pub(super) struct Verifier {
    anchors: Arc<Anchors>,
    algorithms: WebPkiSupportedAlgorithms,
    mandatory: bool,
    requirements: Requirements,
    limits: ChainLimits,
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
        anchors: impl Into<Arc<Anchors>>,
        algorithms: WebPkiSupportedAlgorithms,
        mandatory: bool,
        requirements: Requirements,
    ) -> Self {
        let anchors = anchors.into();
        Self {
            #[cfg(feature = "crl")]
            issuers: anchors.issuers(),
            anchors,
            algorithms,
            mandatory,
            requirements,
            limits: ChainLimits::default(),
            cache: Cache::new(REMEMBERED),
            #[cfg(feature = "crl")]
            revocation: None,
            #[cfg(feature = "crl")]
            clock: None,
        }
    }

    /// One that asks for the same and trusts no client CA.
    pub(super) fn without_anchors(&self) -> Self {
        let verifier = Self::new(
            Anchors::default(),
            self.algorithms,
            self.mandatory,
            self.requirements.clone(),
        )
        .with_limits(self.limits);
        #[cfg(feature = "crl")]
        let verifier = verifier.with_revocation(self.revocation.clone(), self.clock.clone());
        verifier
    }

    pub(super) fn with_limits(mut self, limits: ChainLimits) -> Self {
        self.limits = limits;
        self
    }

    #[cfg(feature = "crl")]
    pub(super) fn require(&mut self, requirements: Requirements, limits: ChainLimits) {
        self.requirements = requirements;
        self.limits = limits;
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
    pub(super) fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// Whether this chain is good at this time: its path, what it says, its revocation. Of several paths
    /// one that is good is enough.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Passed, Rejection> {
        let rejected =
            |cause| Rejection::new(cause, end_entity, intermediates, Arc::clone(&self.anchors));
        let bounded = self.limits.check(end_entity, intermediates);
        bounded.map_err(|beyond| rejected(Cause::Chain(beyond)))?;
        let key = ChainKey::of(end_entity, intermediates);
        // A path that was good may be revoked now, and another not.
        if let Some(verified) = self.cache.get(key, now)
            && let Ok(passed) = self.unrevoked(verified)
        {
            return Ok(passed);
        }
        let passed = self
            .search(end_entity, intermediates, now)
            .map_err(rejected)?;
        if passed.verified.bytes() <= LONGEST_REMEMBERED {
            self.cache.insert(key, Arc::clone(&passed.verified));
        }
        Ok(passed)
    }

    /// Looks up the revocation of a path, and begins to follow it.
    #[cfg_attr(
        not(feature = "crl"),
        allow(
            clippy::unused_self,
            clippy::unnecessary_wraps,
            reason = "nothing is revoked without CRLs"
        )
    )]
    fn unrevoked(&self, verified: Arc<Verified>) -> Result<Passed, Cause> {
        #[cfg(feature = "crl")]
        let tracked = self.track(&verified);
        #[cfg(feature = "crl")]
        if let Some(tracked) = &tracked {
            let verdict = tracked.verdict();
            if verdict.refusal().is_some() {
                return Err(Cause::Revocation(verdict));
            }
        }
        Ok(Passed {
            verified,
            #[cfg(feature = "crl")]
            tracked,
        })
    }

    /// Searches for a path by webpki, which gives each that it finds to be checked for what it does not
    /// look at itself, and goes on where one is not good.
    fn search(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Passed, Cause> {
        let certificate = EndEntityCert::try_from(end_entity).map_err(Cause::Path)?;
        chain::check_names(end_entity, intermediates, self.anchors.most_subtrees())
            .map_err(Cause::Chain)?;
        let ordered = chain::ordered(&certificate, intermediates);
        let candidate = Candidate {
            verifier: self,
            end_entity,
            intermediates,
            now,
            parsed: OnceCell::new(),
        };
        let found: RefCell<Option<Result<Passed, Cause>>> = RefCell::new(None);
        let check = |path: &VerifiedPath<'_>| {
            let outcome = candidate.check(path);
            let is_good = outcome.is_ok();
            let mut found = found.borrow_mut();
            let is_less = match (&outcome, &*found) {
                (Err(cause), Some(Err(known))) => cause.weight() <= known.weight(),
                _ => false,
            };
            if !is_less {
                *found = Some(outcome);
            }
            // What it was is kept here: webpki has no words for it.
            is_good.then_some(()).ok_or(webpki::Error::UnknownIssuer)
        };
        let budget = Budget::new();
        let algorithms = budget.algorithms(self.algorithms.all);
        let algorithms: Vec<_> = algorithms.iter().map(|one| one as _).collect();
        let searched = certificate.verify_for_usage(
            &algorithms,
            &self.anchors.trusted,
            &ordered,
            now,
            ClientAuth(&budget),
            None,
            Some(&check),
        );
        let searched = searched.map(|_| ()).map_err(Cause::Path);
        match found.into_inner() {
            Some(outcome) => outcome,
            None => Err(searched
                .err()
                .unwrap_or(Cause::Path(webpki::Error::UnknownIssuer))),
        }
    }

    fn verified(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        certificate: &X509Certificate<'_>,
        path: &VerifiedPath<'_>,
        anchor: &Arc<Known>,
    ) -> Result<Verified, Cause> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|der| der.clone().into_owned()).collect();
        let name = Some(Arc::clone(&anchor.name));
        let identity = PeerIdentity::of(end_entity, certificate, name);
        let identity = identity.map_err(Cause::Identity)?;
        self.requirements.check(&identity)?;
        let issuers = path.intermediate_certificates().map(webpki::Cert::der);
        #[cfg(feature = "crl")]
        {
            let (fingerprints, known) = (*identity.fingerprints(), &self.issuers);
            let path =
                CertPath::with_issuers(certificate, fingerprints, issuers, path.anchor(), known)
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

/// One search, for its check of each path.
struct Candidate<'a> {
    verifier: &'a Verifier,
    end_entity: &'a CertificateDer<'a>,
    intermediates: &'a [CertificateDer<'a>],
    now: UnixTime,
    parsed: OnceCell<Result<X509Certificate<'a>, IdentityError>>,
}

impl Candidate<'_> {
    /// What webpki does not look at: the anchor's own time and path length, what the certificate says,
    /// and revocation.
    fn check(&self, path: &VerifiedPath<'_>) -> Result<Passed, Cause> {
        let known = self.verifier.anchors.find(path.anchor());
        // It is one of those that the search was given.
        let anchor = known.ok_or(Cause::Path(webpki::Error::UnknownIssuer))?;
        if anchor.has_ended(self.now) {
            return Err(Cause::AnchorEnded(Arc::clone(anchor), self.now));
        }
        // RFC 5280 §4.2.1.9: those that are self-issued do not count.
        let cas = path.intermediate_certificates();
        let cas = cas.filter(|ca| ca.subject() != ca.issuer()).count();
        if !anchor.allows(cas) {
            return Err(Cause::Path(webpki::Error::PathLenConstraintViolated));
        }
        let parsed = self
            .parsed
            .get_or_init(|| PeerIdentity::parse(self.end_entity));
        let certificate = parsed
            .as_ref()
            .map_err(|error| Cause::Identity(error.clone()))?;
        let (end_entity, intermediates) = (self.end_entity, self.intermediates);
        let verifier = self.verifier;
        let found = verifier.verified(end_entity, intermediates, certificate, path, anchor)?;
        verifier.unrevoked(Arc::new(found))
    }
}

#[cfg(test)]
#[cfg(feature = "aws-lc-rs")]
mod tests {
    use std::time::SystemTime;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa,
        Issuer, KeyPair,
    };

    use super::*;
    use crate::reload::Pinned;
    use crate::tls::ClientCas;

    #[test]
    fn a_chain_is_searched_for_once_unless_it_is_too_long_to_be_remembered() {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let files = tempfile::tempdir().unwrap();
        let bundle = files.path().join("ca.crt");
        std::fs::write(&bundle, ca.self_signed(&key).unwrap().pem()).unwrap();
        let cas = ClientCas::new([bundle]);
        let anchors = Anchors::load(&cas, &mut Pinned::new(), SystemTime::now()).unwrap();
        let algorithms = crate::crypto::provider().signature_verification_algorithms;
        let verifier = Verifier::new(anchors, algorithms, true, Requirements::default());
        let issuer = Issuer::new(ca, key);
        for (padding, is_remembered) in [(0, true), (LONGEST_REMEMBERED, false)] {
            let mut own = CertificateParams::default();
            own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let padding = CustomExtension::from_oid_content(&[1, 2, 3], vec![0; padding]);
            own.custom_extensions = vec![padding];
            let own = own.signed_by(&KeyPair::generate().unwrap(), &issuer);
            let own = own.unwrap();
            let verify = || verifier.verify(own.der(), &[], UnixTime::now()).unwrap();
            let [first, second] = [verify(), verify()].map(|passed| passed.verified);
            assert_eq!(Arc::ptr_eq(&first, &second), is_remembered);
        }
    }
}
