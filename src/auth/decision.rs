//! Who asks, from the head of a request.

use std::net::IpAddr;
use std::time::SystemTime;

use http::{Extensions, Request};

use super::authentication::{Authentication, Certificate};
use super::authorization::{self, AuthorizationField, Malformed, PresentedCredentials, UserPass};
use super::credentials::{Credentials, Token};
use super::digest::HashName;
use super::password_check::PasswordCheck;
use super::situation::{Client, Situation, peer};
use super::throttle::{self, Guess};
use super::turns::Claim;
use super::validity::Circumstances;
use crate::middleware::wiring;
use crate::oci::{Action, Route, RouteError};
use crate::reload::Current;
use crate::util::clock;
use crate::{Principal, Refusal, Watched};

/// What came of a request's head.
pub(super) enum Decision {
    Made(Result<Principal, Refusal>),
    /// A password is to be verified first.
    Pending(PasswordCheck),
}

impl Authentication {
    /// Who asks. Looks at the head alone.
    pub(super) fn decide<B>(
        &self,
        request: &Request<B>,
        shown: AuthorizationField<'_>,
    ) -> Decision {
        let extensions = request.extensions();
        let write = match self.is_write(request) {
            Ok(write) => write,
            Err(refusal) => return Decision::Made(Err(refusal)),
        };
        let situation = Situation {
            client: Client::Of(extensions),
            peer: peer(extensions),
            write,
        };
        if !self.takes_tokens() {
            return Decision::Made(self.without_credential(&situation, extensions));
        }
        // Else all clients could guess as often as they like.
        if self.throttle.is_some()
            && let Err(refusal) = wiring::address(extensions)
        {
            return Decision::Made(Err(refusal));
        }
        // Before the token is looked at: without a certificate no caller learns which one is right.
        if self.certificate == Certificate::Needed && situation.peer.is_none() {
            return Decision::Made(Err(Refusal::CertificateMissing));
        }
        let mut buffer = None;
        let presented = match shown {
            AuthorizationField::Nothing => {
                return Decision::Made(self.without_credential(&situation, extensions));
            }
            AuthorizationField::One(value) => authorization::read(value, &mut buffer),
            AuthorizationField::Several => Err(Malformed),
        };
        // Of no form that a credential has, it is no guess at one: neighbours with one that can be guessed do not pay for it.
        let Ok(presented) = presented else {
            let checked = self.check(Guess::Token, &situation);
            return Decision::Made(checked.and(Err(Refusal::CredentialsMalformed)));
        };
        let (user, secret) = match &presented {
            PresentedCredentials::Basic(user_pass) => {
                (Some(user_pass.user()), user_pass.password())
            }
            PresentedCredentials::Bearer(token) => (None, *token),
        };
        // No credential is one, whatever a hash was made of.
        if secret.is_empty() {
            let guess = Guess::of(user.unwrap_or_default(), secret);
            return Decision::Made(self.wrong(Refusal::CredentialsUnknown, guess, &situation));
        }
        let current = self.credentials.as_ref().map(Watched::load);
        let own = current.as_deref();
        // Before the throttle is asked: a right credential that cannot be guessed passes, whatever others
        // behind the same address did.
        if let Some((own, token)) = own.and_then(|own| Some((own, own.token(user, secret)?))) {
            return Decision::Made(match self.admit(own, token, &situation) {
                Ok(principal) => self.let_in(principal, &situation),
                Err(refusal) => self.wrong(refusal, Guess::Token, &situation),
            });
        }
        if let Some(found) = self.by_signature(user, secret, request, &situation) {
            return Decision::Made(found);
        }
        if current.as_ref().is_some_and(Current::has_lapsed) {
            return Decision::Made(Err(Refusal::Unavailable));
        }
        match &presented {
            PresentedCredentials::Bearer(token) => {
                Decision::Made(self.by_weak_token(own, token, &situation))
            }
            PresentedCredentials::Basic(user_pass) => self.by_basic(own, user_pass, &situation),
        }
    }

    /// By a token that an issuer signed, as Bearer or as the password of Basic beside this user: a kubelet can
    /// send one only so.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(
            clippy::unused_self,
            unused_variables,
            reason = "no issuer's signature counts"
        )
    )]
    fn by_signature<B>(
        &self,
        user: Option<&[u8]>,
        token: &[u8],
        request: &Request<B>,
        situation: &Situation<'_>,
    ) -> Option<Result<Principal, Refusal>> {
        #[cfg(feature = "jwt")]
        return match self.signed.as_ref()?.verify(token, user, self.now()) {
            Ok(principal) => {
                Some(self.let_in(principal, situation).and_then(
                    |principal| match principal.grants() {
                        Some(grants) => super::coverage::cover(grants, request).map(|()| principal),
                        None => Ok(principal),
                    },
                ))
            }
            // With an issuer's signature it is no guess.
            Err(refusal @ (Refusal::CredentialsExpired | Refusal::CredentialsNotYetValid)) => {
                let checked = self.check(Guess::Token, situation);
                Some(checked.and(Err(refusal)))
            }
            // Its issuer's keys are not known now.
            Err(Refusal::Unavailable) => Some(Err(Refusal::Unavailable)),
            Err(_) => None,
        };
        #[cfg(not(feature = "jwt"))]
        None
    }

    /// Whether this has the form of a token that an issuer would have signed.
    #[cfg_attr(
        not(feature = "jwt"),
        expect(clippy::unused_self, unused_variables, reason = "there are no issuers")
    )]
    fn may_be_signed(&self, token: &[u8]) -> bool {
        #[cfg(feature = "jwt")]
        return self.signed.is_some() && super::jwt::Verifier::is_signed(token);
        #[cfg(not(feature = "jwt"))]
        false
    }

    /// By a token that can be guessed.
    fn by_weak_token(
        &self,
        own: Option<&Credentials>,
        token: &[u8],
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        self.check(Guess::Token, situation)?;
        let weak = own.and_then(|own| Some((own, own.weak_token(None, token)?)));
        let found = match weak {
            Some((own, token)) => self.admit(own, token, situation),
            None => Err(Refusal::CredentialsUnknown),
        };
        match found {
            Ok(principal) => self.let_in(principal, situation),
            Err(refusal) => self.failed(refusal, Guess::Token, situation),
        }
    }

    /// By a user and a secret that is none of the strong tokens.
    fn by_basic(
        &self,
        own: Option<&Credentials>,
        user_pass: &UserPass<'_>,
        situation: &Situation<'_>,
    ) -> Decision {
        let (user, password) = (user_pass.user(), user_pass.password());
        // As wrong as it is as Bearer: a signed token is no guess at a password, and is worth no hash.
        let signed = self.may_be_signed(password);
        let guess = if signed {
            Guess::Token
        } else {
            Guess::of(user, password)
        };
        let Some(own) = own.filter(|own| own.has_guessable()) else {
            let refusal = Refusal::CredentialsUnknown;
            return Decision::Made(self.wrong(refusal, Guess::Token, situation));
        };
        if let Err(refusal) = self.check(guess, situation) {
            return Decision::Made(Err(refusal));
        }
        let weak = own.weak_token(Some(user), password);
        let weak = weak.map(|token| self.admit(own, token, situation));
        let known = match weak {
            Some(Ok(principal)) => {
                self.succeeded(user, situation);
                return Decision::Made(self.let_in(principal, situation));
            }
            // A weak token that is over takes as long as an unknown one.
            Some(Err(refusal)) => refusal,
            None => Refusal::CredentialsUnknown,
        };
        if signed || !own.has_passwords() {
            return Decision::Made(self.failed(known, guess, situation));
        }
        if let Some(hash) = self.passwords.recall(user, password) {
            let circumstances = self.circumstances(situation);
            // A replaced hash and a password that is over take as long as a wrong one.
            if let Ok(principal) = own.by_password(user, &hash, &circumstances) {
                self.succeeded(user, situation);
                return Decision::Made(self.let_in(principal.clone(), situation));
            }
        }
        let claim = self.claim(situation.client.ip(), user);
        if let Err(refusal) = self.passwords.check_room(claim) {
            return Decision::Made(Err(refusal));
        }
        let candidates = own.candidates(user);
        Decision::Pending(PasswordCheck::new(
            self, user_pass, candidates, claim, situation, known,
        ))
    }

    /// Ends a verification: `hash` is what the password was proven to have.
    pub(super) fn proven(
        &self,
        user: &[u8],
        hash: Result<HashName, Refusal>,
        guess: Guess<'_>,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        let credentials = self.credentials.as_ref().ok_or(Refusal::Unavailable)?;
        // The present ones: they may have changed meanwhile.
        let credentials = credentials.load();
        if credentials.has_lapsed() {
            return Err(Refusal::Unavailable);
        }
        let circumstances = self.circumstances(situation);
        let found = hash.and_then(|hash| credentials.by_password(user, &hash, &circumstances));
        match found {
            Ok(principal) => {
                self.succeeded(user, situation);
                self.let_in(principal.clone(), situation)
            }
            Err(refusal @ (Refusal::AuthThrottled { .. } | Refusal::Unavailable)) => Err(refusal),
            Err(refusal) => self.failed(refusal, guess, situation),
        }
    }

    /// Whether the throttle lets this client guess.
    pub(super) fn check(&self, guess: Guess<'_>, situation: &Situation<'_>) -> Result<(), Refusal> {
        match &self.throttle {
            Some(throttle) => throttle.check(|| situation.client.ip(), guess),
            None => Ok(()),
        }
    }

    /// What the queue for the verification of passwords has to know of this client.
    fn claim(&self, client: Option<IpAddr>, user: &[u8]) -> Claim {
        match &self.throttle {
            Some(throttle) => throttle.claim(client, user),
            None => Claim::of(client.map(throttle::source)),
        }
    }

    /// Refuses what is wrong, as the throttle has it, and counts it.
    fn wrong(
        &self,
        refusal: Refusal,
        guess: Guess<'_>,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        self.check(guess, situation)?;
        self.failed(refusal, guess, situation)
    }

    /// Counts a failure.
    fn failed(
        &self,
        refusal: Refusal,
        guess: Guess<'_>,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        if let Some(throttle) = &self.throttle {
            throttle.failed(situation.client.ip(), guess);
        }
        Err(refusal)
    }

    fn succeeded(&self, user: &[u8], situation: &Situation<'_>) {
        if let Some(throttle) = &self.throttle {
            throttle.succeeded(situation.client.ip(), user);
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
        self.clock.as_ref().map_or_else(clock::now, |clock| clock())
    }

    /// The caller whose token this is, if it is good here and now.
    #[inline]
    fn admit(
        &self,
        own: &Credentials,
        token: &Token,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        own.admit(token, || self.circumstances(situation)).cloned()
    }

    /// Puts the certificate to the principal.
    #[inline]
    fn let_in(
        &self,
        principal: Principal,
        situation: &Situation<'_>,
    ) -> Result<Principal, Refusal> {
        match (situation.peer, self.certificate) {
            (Some(peer), _) => Ok(principal.on_peer(peer.clone())),
            (None, Certificate::Needed) => Err(Refusal::CertificateMissing),
            (None, _) => Ok(principal),
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
                Ok(self.owners.principal(peer, extensions))
            }
            (_, Certificate::Needed) => Err(Refusal::CredentialsMissing),
            _ if self.anonymous => Ok(Principal::anonymous()),
            _ if !self.takes_tokens() => Err(Refusal::CertificateMissing),
            _ => Err(Refusal::CredentialsMissing),
        }
    }
}

impl Authentication {
    /// Whether a request may change something, where that makes a difference.
    fn is_write<B>(&self, request: &Request<B>) -> Result<bool, Refusal> {
        if !self.token_for_writes {
            return Ok(false);
        }
        match Route::read(request) {
            Ok(route) => Ok(match route.action() {
                Action::Probe | Action::Pull | Action::List | Action::Catalog => false,
                Action::Push | Action::Delete | Action::Extension => true,
                Action::Other => !request.method().is_safe(),
            }),
            Err(error @ (RouteError::Host | RouteError::Stripped)) => Err(error.into()),
            // What cannot be read may be a write to the service.
            Err(_) => Ok(true),
        }
    }
}
