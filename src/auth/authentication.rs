use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::certificate_owner::CertificateOwners;
use super::passwords::{PasswordOptions, Passwords};
use super::throttle::Throttle;
use super::{Credentials, ThrottleOptions};
use crate::Watched;
use crate::identity::Mapping;

/// What a caller must show.
#[derive(Clone)]
pub struct Authentication {
    pub(super) credentials: Option<Watched<Credentials>>,
    #[cfg(feature = "jwt")]
    pub(super) signed: Option<super::jwt::Verifier>,
    pub(super) certificate: Certificate,
    pub(super) owners: CertificateOwners,
    pub(super) anonymous: bool,
    pub(super) token_for_writes: bool,
    pub(super) throttle: Option<Throttle>,
    pub(super) passwords: Passwords,
    pub(super) clock: Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>,
}

/// What a certificate counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Says nothing about the caller.
    Ignored,
    /// Is what is needed, and tokens are not looked at.
    Only,
    /// Is enough.
    Enough,
    /// Is needed besides a credential.
    Needed,
}

impl Authentication {
    /// Requires a token or password.
    pub fn token(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Ignored)
    }

    /// Requires a token that one of these issuers signed.
    #[cfg(feature = "jwt")]
    pub fn signed(issuers: impl IntoIterator<Item = super::jwt::Issuer>) -> Self {
        Self::with(None, Certificate::Ignored).with_issuers(issuers)
    }

    /// Requires a client certificate. Credentials that come besides are not looked at, signed tokens neither.
    pub fn certificate() -> Self {
        Self::with(None, Certificate::Only)
    }

    /// Requires a token, or else a client certificate. A token that is wrong is refused all the same.
    pub fn token_or_certificate(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Enough)
    }

    /// Requires a token and a client certificate.
    pub fn token_and_certificate(credentials: Watched<Credentials>) -> Self {
        Self::with(Some(credentials), Certificate::Needed)
    }

    /// Takes tokens that these issuers signed too, besides credentials of our own and as they are taken:
    /// where a certificate is needed with a token, it is with these.
    #[cfg(feature = "jwt")]
    pub fn with_issuers(mut self, issuers: impl IntoIterator<Item = super::jwt::Issuer>) -> Self {
        self.signed = Some(super::jwt::Verifier::new(issuers));
        self
    }

    /// Lets who shows nothing be [`Principal::anonymous`](crate::identity::Principal::anonymous), for the
    /// policy to judge; but not where a token and a certificate are needed.
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
        self.owners = CertificateOwners::new(mapping.into());
        self
    }

    /// Throttles failures in this way; `None` does not. Right credentials that cannot be guessed pass all
    /// the same. Default: [`ThrottleOptions::default`].
    pub fn with_throttle(mut self, options: Option<&ThrottleOptions>) -> Self {
        self.throttle = options.map(Throttle::new);
        self
    }

    /// Verifies passwords in this way. Default: [`PasswordOptions::default`].
    #[cfg(feature = "passwords")]
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
    #[inline]
    pub(crate) fn takes_tokens(&self) -> bool {
        if self.certificate == Certificate::Only {
            return false;
        }
        #[cfg(feature = "jwt")]
        if self.signed.is_some() {
            return true;
        }
        self.credentials.is_some()
    }

    /// Those whose signed tokens are taken.
    #[cfg(feature = "jwt")]
    pub(crate) fn issuers(&self) -> impl Iterator<Item = &super::jwt::Issuer> {
        let signed = self.signed.iter().filter(|_| self.takes_tokens());
        signed.flat_map(super::jwt::Verifier::issuers)
    }

    /// Whether a certificate says who calls.
    pub(crate) fn takes_certificates(&self) -> bool {
        self.certificate != Certificate::Ignored
    }

    /// Whether no caller is let in without a certificate.
    #[cfg(feature = "tls")]
    pub(crate) fn needs_certificate(&self) -> bool {
        match self.certificate {
            Certificate::Ignored => false,
            Certificate::Only => !self.anonymous,
            Certificate::Enough => !self.takes_tokens() && !self.anonymous,
            Certificate::Needed => true,
        }
    }

    pub(crate) fn needs_token_and_certificate(&self) -> bool {
        self.certificate == Certificate::Needed
    }

    pub(crate) fn lets_anonymous_in(&self) -> bool {
        self.anonymous && self.certificate != Certificate::Needed
    }

    pub(crate) fn wants_token_for_writes(&self) -> bool {
        self.token_for_writes
    }

    pub(crate) fn is_throttled(&self) -> bool {
        self.throttle.is_some()
    }

    /// Whether the throttle forgives all addresses of a family.
    pub(crate) fn throttles_nobody(&self) -> bool {
        let throttle = self.throttle.as_ref();
        throttle.is_some_and(Throttle::exempts_everyone)
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
            owners: CertificateOwners::new(Mapping::default().into()),
            anonymous: false,
            token_for_writes: false,
            throttle: Some(Throttle::new(&ThrottleOptions::default())),
            passwords: Passwords::new(&PasswordOptions::default()),
            clock: None,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Credential, Secret};

    fn credentials() -> Watched<Credentials> {
        let secret = Secret::of_token(b"token");
        let credential = Credential::new("ci").with_secret(secret);
        Watched::fixed(Credentials::new([credential]).unwrap())
    }

    #[test]
    fn what_is_taken_and_what_is_needed_is_said_of_each_requirement() {
        let without_tokens = |certificate| Authentication::with(None, certificate);
        for (authentication, tokens, certificates, needed) in [
            (Authentication::token(credentials()), true, false, false),
            (Authentication::certificate(), false, true, true),
            (
                Authentication::token_or_certificate(credentials()),
                true,
                true,
                false,
            ),
            (
                Authentication::token_and_certificate(credentials()),
                true,
                true,
                true,
            ),
            (without_tokens(Certificate::Ignored), false, false, false),
            (without_tokens(Certificate::Enough), false, true, true),
        ] {
            let both = authentication.certificate == Certificate::Needed;
            let said = format!("{authentication:?}");
            assert_eq!(authentication.takes_tokens(), tokens, "{said}");
            assert_eq!(authentication.takes_certificates(), certificates, "{said}");
            assert_eq!(authentication.needs_token_and_certificate(), both, "{said}");
            assert!(!authentication.lets_anonymous_in(), "{said}");
            assert!(!authentication.wants_token_for_writes(), "{said}");
            assert!(authentication.is_throttled(), "{said}");
            let other = authentication.clone().with_throttle(None).or_anonymous();
            let other = other.with_token_for_writes();
            assert_eq!(other.lets_anonymous_in(), !both, "{said}");
            assert!(other.wants_token_for_writes(), "{said}");
            assert!(!other.is_throttled(), "{said}");
            #[cfg(feature = "tls")]
            {
                assert_eq!(authentication.needs_certificate(), needed, "{said}");
                // Where a caller without anything is let in, none needs a certificate.
                assert_eq!(other.needs_certificate(), both, "{said}");
            }
            #[cfg(not(feature = "tls"))]
            let _ = needed;
        }
    }
}
