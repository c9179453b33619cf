use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{Extensions, Request};

use super::authorization::{self, Pair, Presented};
use super::credentials::Circumstances;
use super::holder::Holders;
use super::passwords::Passwords;
use super::pending::Pending;
use super::throttle::Throttle;
use super::{Credentials, PasswordOptions, ThrottleOptions};
use crate::identity::Mapping;
use crate::oci::{Action, Route};
use crate::{ClientAddr, Connection, PeerIdentity, Principal, Refusal, Watched};

/// What a caller must show.
#[derive(Clone)]
pub struct Authentication {
    credentials: Option<Watched<Credentials>>,
    #[cfg(feature = "jwt")]
    signed: Option<super::jwt::Verifier>,
    certificate: Certificate,
    holders: Holders,
    anonymous: bool,
    token_for_writes: bool,
    throttle: Option<Throttle>,
    pub(super) passwords: Passwords,
    clock: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

/// What a certificate counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Says nothing about the caller.
    Ignored,
    /// Is enough.
    Enough,
    /// Is needed besides a credential.
    Needed,
}

/// What came of a request's head.
pub(super) enum Decision {
    Made(Result<Principal, Refusal>),
    /// A password is to be verified first.
    Pending(Pending),
}

/// What of a request a decision needs besides the credential.
#[derive(Clone)]
pub(super) struct Situation<P> {
    pub(super) client: Option<IpAddr>,
    pub(super) peer: Option<P>,
    pub(super) write: bool,
}

impl Authentication {
    /// A token or password.
    pub fn token(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Ignored)
    }

    /// A token that one of these issuers signed.
    #[cfg(feature = "jwt")]
    pub fn signed(issuers: impl IntoIterator<Item = super::jwt::Issuer>) -> Self {
        Self::with(None, Certificate::Ignored).with_issuers(issuers)
    }

    /// A client certificate. Credentials that come besides are not looked at.
    pub fn certificate() -> Self {
        Self::with(None, Certificate::Enough)
    }

    /// A token, or else a client certificate. A token that is wrong is refused all the same.
    pub fn token_or_certificate(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Enough)
    }

    /// A token and a client certificate.
    pub fn token_and_certificate(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Needed)
    }

    /// Takes tokens that these issuers signed too, besides credentials of our own.
    #[cfg(feature = "jwt")]
    pub fn with_issuers(mut self, issuers: impl IntoIterator<Item = super::jwt::Issuer>) -> Self {
        self.signed = Some(super::jwt::Verifier::new(issuers));
        self
    }

    /// Lets who shows nothing be [`Principal::anonymous`], for the policy to judge.
    pub fn or_anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    /// Wants a token for whatever does not only read, where a certificate or nothing at all is
    /// enough to read.
    pub fn with_token_for_writes(mut self) -> Self {
        self.token_for_writes = true;
        self
    }

    /// Makes principals of certificates by these rules. Default: the certificate's own name, without
    /// groups.
    pub fn with_mapping(mut self, mapping: impl Into<Watched<Mapping>>) -> Self {
        self.holders = Holders::new(mapping.into());
        self
    }

    /// Throttles failures in this way; `None` does not. Default: [`ThrottleOptions::default`].
    pub fn with_throttle(mut self, options: Option<&ThrottleOptions>) -> Self {
        self.throttle = options.map(Throttle::new);
        self
    }

    /// Verifies passwords in this way. Default: [`PasswordOptions::default`].
    pub fn with_passwords(mut self, options: &PasswordOptions) -> Self {
        self.passwords = Passwords::new(options);
        self
    }

    /// Asks this clock whether a credential is good now. Default: the system's.
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Some(Arc::new(now));
        self
    }

    /// Whether a token or password is one of the things that may be shown.
    pub(crate) fn takes_tokens(&self) -> bool {
        #[cfg(feature = "jwt")]
        if self.signed.is_some() {
            return true;
        }
        self.credentials.is_some()
    }

    /// Those whose signed tokens are taken.
    #[cfg(feature = "jwt")]
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &super::jwt::Issuer> {
        self.signed.iter().flat_map(super::jwt::Verifier::issuers)
    }

    /// Whether a certificate says who calls.
    pub(crate) fn takes_certificates(&self) -> bool {
        self.certificate != Certificate::Ignored
    }

    /// Whether nobody is let in without a certificate.
    #[cfg(feature = "tls")]
    pub(crate) fn needs_certificate(&self) -> bool {
        match self.certificate {
            Certificate::Ignored => false,
            Certificate::Enough => !self.takes_tokens() && !self.anonymous,
            Certificate::Needed => !self.anonymous,
        }
    }

    pub(crate) fn needs_token_and_certificate(&self) -> bool {
        self.certificate == Certificate::Needed
    }

    pub(crate) fn lets_anonymous_in(&self) -> bool {
        self.anonymous
    }

    pub(crate) fn wants_token_for_writes(&self) -> bool {
        self.token_for_writes
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.throttle.is_some()
    }

    pub(crate) fn credentials(&self) -> Option<&Watched<Credentials>> {
        self.credentials.as_ref()
    }

    pub(crate) fn with(
        credentials: Option<Watched<Credentials>>,
        certificate: Certificate,
    ) -> Self {
        Self {
            credentials,
            #[cfg(feature = "jwt")]
            signed: None,
            certificate,
            holders: Holders::new(Mapping::default().into()),
            anonymous: false,
            token_for_writes: false,
            throttle: Some(Throttle::new(&ThrottleOptions::default())),
            passwords: Passwords::new(&PasswordOptions::default()),
            clock: None,
        }
    }

    /// Who asks. Looks at the head alone.
    pub(super) fn decide<B>(self: &Arc<Self>, request: &Request<B>) -> Decision {
        let extensions = request.extensions();
        let situation = Situation {
            client: ClientAddr::of(extensions).map(|client| client.ip()),
            peer: peer(extensions),
            write: self.token_for_writes && !only_reads(request),
        };
        if !self.takes_tokens() {
            return Decision::Made(self.without_credential(&situation, extensions));
        }
        let shown = match authorization::read(request.headers()) {
            Ok(None) => return Decision::Made(self.without_credential(&situation, extensions)),
            Ok(Some(shown)) => Ok(shown),
            Err(malformed) => Err(malformed),
        };
        if let Err(refusal) = self.check_source(situation.client) {
            return Decision::Made(Err(refusal));
        }
        let own = self.credentials.as_ref().map(Watched::load);
        let own = own.as_deref();
        let circumstances = self.circumstances(own, &situation);
        let found = match &shown {
            Err(_) => Err(Refusal::CredentialsMalformed),
            Ok(Presented::Bearer(token)) => {
                match own.and_then(|own| own.by_token(None, token, circumstances)) {
                    Some(found) => found,
                    None => return Decision::Made(self.by_signature(token, request, &situation)),
                }
            }
            Ok(Presented::Basic(pair)) => {
                let user = Some(pair.user());
                let found = own.and_then(|own| own.by_token(user, pair.password(), circumstances));
                match (found, own.filter(|own| own.has_passwords())) {
                    (Some(Ok(principal)), _) => Ok(principal),
                    // A token that is over takes as long as an unknown one.
                    (Some(Err(refusal)), Some(own)) => {
                        return self.by_password(own, pair, &situation, Some(refusal));
                    }
                    (None, Some(own)) => return self.by_password(own, pair, &situation, None),
                    (Some(found), None) => found,
                    (None, None) => Err(Refusal::CredentialsUnknown),
                }
            }
        };
        let claimed = match &shown {
            Ok(Presented::Basic(pair)) => Some(pair.user()),
            _ => None,
        };
        Decision::Made(self.settle(found, claimed, &situation))
    }

    /// By a token that is none of our own.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(unused_variables, reason = "nobody's signature counts")
    )]
    fn by_signature<B>(
        &self,
        token: &[u8],
        request: &Request<B>,
        situation: &Situation<&PeerIdentity>,
    ) -> Result<Principal, Refusal> {
        #[cfg(feature = "jwt")]
        if let Some(signed) = &self.signed {
            let verified = signed.verify(token, self.now());
            let verified = verified.as_ref().map_err(|refusal| *refusal);
            let principal = self.settle(verified, None, situation)?;
            return match principal.grants() {
                Some(grants) => grants.cover(request).map(|()| principal),
                None => Ok(principal),
            };
        }
        self.settle(Err(Refusal::CredentialsUnknown), None, situation)
    }

    fn by_password(
        self: &Arc<Self>,
        credentials: &Credentials,
        pair: &Pair,
        situation: &Situation<&PeerIdentity>,
        known: Option<Refusal>,
    ) -> Decision {
        let (user, password) = (pair.user(), pair.password());
        if let Err(refusal) = self.check_id(user, situation.client) {
            return Decision::Made(Err(refusal));
        }
        if let Some(hash) = self.passwords.recall(user, password) {
            let circumstances = self.circumstances(Some(credentials), situation);
            let found = credentials.by_password(user, &hash, circumstances);
            // A replaced hash and a password that is over take as long as a wrong one.
            if found.is_ok() {
                return Decision::Made(self.settle(found, Some(user), situation));
            }
        }
        Decision::Pending(Pending::new(
            Arc::clone(self),
            pair,
            credentials.candidates(user),
            situation,
            known,
        ))
    }

    /// Ends a verification: `hash` is what the password was proven to have.
    pub(super) fn proven(
        &self,
        user: &[u8],
        hash: Result<[u8; 32], Refusal>,
        situation: &Situation<&PeerIdentity>,
    ) -> Result<Principal, Refusal> {
        let credentials = self.credentials.as_ref().ok_or(Refusal::Unavailable)?;
        // Those in force now: they may have changed meanwhile.
        let credentials = credentials.load();
        let circumstances = self.circumstances(Some(&credentials), situation);
        let found = hash.and_then(|hash| credentials.by_password(user, &hash, circumstances));
        self.settle(found, Some(user), situation)
    }

    pub(super) fn check_source(&self, client: Option<IpAddr>) -> Result<(), Refusal> {
        let throttle = self.throttle.as_ref();
        throttle.map_or(Ok(()), |throttle| throttle.check_source(client))
    }

    pub(super) fn check_id(&self, id: &[u8], client: Option<IpAddr>) -> Result<(), Refusal> {
        let throttle = self.throttle.as_ref();
        throttle.map_or(Ok(()), |throttle| throttle.check_id(id, client))
    }

    fn circumstances<'a>(
        &self,
        credentials: Option<&Credentials>,
        situation: &Situation<&'a PeerIdentity>,
    ) -> Circumstances<'a> {
        Circumstances {
            now: credentials
                .is_some_and(Credentials::is_timed)
                .then(|| self.now()),
            client: situation.client,
            peer: situation.peer,
        }
    }

    fn now(&self) -> SystemTime {
        self.clock
            .as_ref()
            .map_or_else(SystemTime::now, |clock| clock())
    }

    /// Counts a failure, or puts the certificate to the principal.
    fn settle(
        &self,
        found: Result<&Principal, Refusal>,
        claimed: Option<&[u8]>,
        situation: &Situation<&PeerIdentity>,
    ) -> Result<Principal, Refusal> {
        let principal = found.inspect_err(|refusal| {
            let failed = !matches!(
                refusal,
                Refusal::AuthThrottled { .. } | Refusal::Unavailable
            );
            if let Some(throttle) = self.throttle.as_ref().filter(|_| failed) {
                throttle.failed(situation.client, claimed);
            }
        })?;
        match (situation.peer, self.certificate) {
            (Some(peer), _) => Ok(principal.clone().on_peer(peer.clone())),
            (None, Certificate::Needed) => Err(Refusal::CertificateMissing),
            (None, _) => Ok(principal.clone()),
        }
    }

    fn without_credential(
        &self,
        situation: &Situation<&PeerIdentity>,
        extensions: &Extensions,
    ) -> Result<Principal, Refusal> {
        match (situation.peer, self.certificate) {
            _ if situation.write => Err(Refusal::CredentialsMissing),
            (Some(peer), Certificate::Enough) => Ok(self.holders.principal(peer, extensions)),
            (_, Certificate::Needed) => Err(Refusal::CredentialsMissing),
            _ if self.anonymous => Ok(Principal::anonymous()),
            _ if !self.takes_tokens() => Err(Refusal::CertificateMissing),
            _ => Err(Refusal::CredentialsMissing),
        }
    }
}

/// Whether a request surely changes nothing.
fn only_reads<B>(request: &Request<B>) -> bool {
    let route = Route::parse_with_headers(request.method(), request.uri(), request.headers());
    route.is_ok_and(|route| match route.action() {
        Action::Probe | Action::Pull | Action::List | Action::Catalog => true,
        Action::Push | Action::Delete | Action::Extension => false,
        Action::Other => request.method().is_safe(),
    })
}

fn peer(extensions: &Extensions) -> Option<&PeerIdentity> {
    let own = extensions.get();
    own.or_else(|| Connection::of(extensions).and_then(Connection::identity))
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Authentication");
        #[cfg(feature = "jwt")]
        all.field("signed", &self.signed);
        all.field("credentials", &self.credentials)
            .field("certificate", &self.certificate)
            .field("anonymous", &self.anonymous)
            .field("token_for_writes", &self.token_for_writes)
            .finish_non_exhaustive()
    }
}
