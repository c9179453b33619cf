//! Who asks, from the head of a request.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{Extensions, Request};

use super::authentication::{Authentication, Certificate};
use super::authorization::{self, Malformed, Pair, Presented, Shown};
use super::credentials::Credentials;
use super::pending::Pending;
use super::terms::Circumstances;
use crate::oci::{Action, Route};
use crate::{ClientAddr, Connection, PeerIdentity, Principal, Refusal, Watched};

/// What came of a request's head.
pub(super) enum Decision {
    Made(Result<Principal, Refusal>),
    /// A password is to be verified first.
    Pending(Pending),
}

/// What of a request a decision needs besides the credential.
pub(super) struct Situation<'a> {
    pub(super) client: Client<'a>,
    pub(super) peer: Option<&'a PeerIdentity>,
    pub(super) write: bool,
}

/// Where a request comes from, which is looked up when it is first asked for: mostly by nobody.
pub(super) enum Client<'a> {
    Of(&'a Extensions),
    At(Option<IpAddr>),
}

impl Client<'_> {
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Of(extensions) => ClientAddr::of(extensions).map(|client| client.ip()),
            Self::At(address) => *address,
        }
    }
}

impl Authentication {
    /// Who asks. Looks at the head alone.
    pub(super) fn decide<B>(&self, request: &Request<B>, shown: Shown<'_>) -> Decision {
        let extensions = request.extensions();
        let situation = Situation {
            client: Client::Of(extensions),
            peer: peer(extensions),
            write: self.token_for_writes && !only_reads(request),
        };
        if !self.takes_tokens() {
            return Decision::Made(self.without_credential(&situation, extensions));
        }
        // Before the token is looked at: nobody learns without a certificate which one is right.
        if self.certificate == Certificate::Needed && situation.peer.is_none() {
            return Decision::Made(Err(Refusal::CertificateMissing));
        }
        let mut room = None;
        let shown = match shown {
            Shown::Nothing => {
                return Decision::Made(self.without_credential(&situation, extensions));
            }
            Shown::One(value) => authorization::read(value, &mut room),
            Shown::Several => Err(Malformed),
        };
        if let Err(refusal) = self.check_source(&situation.client) {
            return Decision::Made(Err(refusal));
        }
        let own = self.credentials.as_ref().map(Watched::load);
        let own = own.as_deref();
        let by_token = |user: Option<&[u8]>, secret: &[u8]| {
            let own = own?;
            let token = own.token(user, secret)?;
            Some(own.admit(token, || self.circumstances(&situation)))
        };
        let found = match &shown {
            Err(_) => Err(Refusal::CredentialsMalformed),
            Ok(Presented::Bearer(token)) => match by_token(None, token) {
                Some(found) => found,
                None => return Decision::Made(self.by_signature(token, request, &situation)),
            },
            Ok(Presented::Basic(pair)) => {
                let found = by_token(Some(pair.user()), pair.password());
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
        Decision::Made(self.settle(found, None, &situation))
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
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        #[cfg(feature = "jwt")]
        if let Some(signed) = &self.signed {
            let verified = signed.verify(token, self.now());
            // Whoever has the issuer's signature does not guess.
            if let Err(refusal @ (Refusal::CredentialsExpired | Refusal::CredentialsNotYetValid)) =
                verified
            {
                return Err(refusal);
            }
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
        &self,
        credentials: &Credentials,
        pair: &Pair<'_>,
        situation: &Situation<'_>,
        known: Option<Refusal>,
    ) -> Decision {
        let (user, password) = (pair.user(), pair.password());
        if let Err(refusal) = self.check_id(user, &situation.client) {
            return Decision::Made(Err(refusal));
        }
        if let Some(hash) = self.passwords.recall(user, password) {
            let circumstances = self.circumstances(situation);
            let found = credentials.by_password(user, &hash, &circumstances);
            // A replaced hash and a password that is over take as long as a wrong one.
            if found.is_ok() {
                return Decision::Made(self.settle(found, Some(user), situation));
            }
        }
        if let Err(refusal) = self.passwords.check_room() {
            return Decision::Made(Err(refusal));
        }
        Decision::Pending(Pending::new(
            self,
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
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        let credentials = self.credentials.as_ref().ok_or(Refusal::Unavailable)?;
        // Those in force now: they may have changed meanwhile.
        let credentials = credentials.load();
        let circumstances = self.circumstances(situation);
        let found = hash.and_then(|hash| credentials.by_password(user, &hash, &circumstances));
        self.settle(found, Some(user), situation)
    }

    #[inline]
    pub(super) fn check_source(&self, client: &Client<'_>) -> Result<(), Refusal> {
        match &self.throttle {
            Some(throttle) if throttle.has_any() => throttle.check_source(client.ip()),
            _ => Ok(()),
        }
    }

    pub(super) fn check_id(&self, id: &[u8], client: &Client<'_>) -> Result<(), Refusal> {
        match &self.throttle {
            Some(throttle) if throttle.has_any() => throttle.check_id(id, client.ip()),
            _ => Ok(()),
        }
    }

    fn circumstances<'a>(&self, situation: &Situation<'a>) -> Circumstances<'a> {
        Circumstances {
            now: self.now(),
            client: situation.client.ip(),
            peer: situation.peer,
        }
    }

    fn now(&self) -> SystemTime {
        self.clock
            .as_ref()
            .map_or_else(SystemTime::now, |clock| clock())
    }

    pub(super) fn failed(&self, client: Option<IpAddr>, claimed: Option<&[u8]>) {
        if let Some(throttle) = &self.throttle {
            throttle.failed(client, claimed);
        }
    }

    /// Counts a failure, with a password for the `claimed` id too, or puts the certificate to the
    /// principal.
    #[inline]
    fn settle(
        &self,
        found: Result<&Principal, Refusal>,
        claimed: Option<&[u8]>,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        match found {
            Ok(principal) => match (situation.peer, self.certificate) {
                (Some(peer), _) => Ok(principal.clone().on_peer(peer.clone())),
                (None, Certificate::Needed) => Err(Refusal::CertificateMissing),
                (None, _) => Ok(principal.clone()),
            },
            Err(refusal @ (Refusal::AuthThrottled { .. } | Refusal::Unavailable)) => Err(refusal),
            Err(refusal) => {
                self.failed(situation.client.ip(), claimed);
                Err(refusal)
            }
        }
    }

    fn without_credential(
        &self,
        situation: &Situation<'_>,
        extensions: &Extensions,
    ) -> Result<Principal, Refusal> {
        match (situation.peer, self.certificate) {
            _ if situation.write => Err(Refusal::CredentialsMissing),
            (Some(peer), Certificate::Only | Certificate::Enough) => {
                Ok(self.holders.principal(peer, extensions))
            }
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

#[inline]
fn peer(extensions: &Extensions) -> Option<&PeerIdentity> {
    let own = extensions.get();
    own.or_else(|| Connection::of(extensions).and_then(Connection::identity))
}
