use http::{Extensions, HeaderMap};

use super::Tokens;
use super::authorization::{self, Presented};
use crate::{Connection, PeerIdentity, Principal, Refusal, Watched};

/// What a caller must show.
#[derive(Clone, Debug)]
pub struct Authentication {
    tokens: Option<Watched<Tokens>>,
    certificate: Certificate,
    anonymous: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certificate {
    /// Says nothing about the caller.
    Ignored,
    /// Is enough.
    Enough,
    /// Is needed besides a token.
    Needed,
}

impl Authentication {
    /// A token.
    pub fn token(tokens: Watched<Tokens>) -> Self {
        Self::with(Some(tokens), Certificate::Ignored)
    }

    /// A client certificate. Credentials that come besides are not looked at.
    pub fn certificate() -> Self {
        Self::with(None, Certificate::Enough)
    }

    /// A token, or else a client certificate. A token that is wrong is refused all the same.
    pub fn token_or_certificate(tokens: Watched<Tokens>) -> Self {
        Self::with(Some(tokens), Certificate::Enough)
    }

    /// A token and a client certificate.
    pub fn token_and_certificate(tokens: Watched<Tokens>) -> Self {
        Self::with(Some(tokens), Certificate::Needed)
    }

    /// Lets who shows nothing be [`Principal::anonymous`], for the policy to judge.
    pub fn or_anonymous(mut self) -> Self {
        self.anonymous = true;
        self
    }

    fn with(tokens: Option<Watched<Tokens>>, certificate: Certificate) -> Self {
        Self {
            tokens,
            certificate,
            anonymous: false,
        }
    }

    /// Who asks.
    pub(super) fn identify(
        &self,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Principal, Refusal> {
        let peer = peer(extensions);
        let by_token = match &self.tokens {
            Some(tokens) => by_token(&tokens.load(), headers)?,
            None => None,
        };
        match (by_token, peer, self.certificate) {
            (Some(principal), Some(peer), _) => Ok(principal.on_peer(peer.clone())),
            (Some(_), None, Certificate::Needed) => Err(Refusal::CertificateMissing),
            (Some(principal), None, _) => Ok(principal),
            (None, Some(peer), Certificate::Enough) => Ok(Principal::from_peer(peer.clone())),
            (None, _, Certificate::Needed) => Err(Refusal::CredentialsMissing),
            (None, ..) if self.anonymous => Ok(Principal::anonymous()),
            (None, ..) if self.tokens.is_none() => Err(Refusal::CertificateMissing),
            (None, ..) => Err(Refusal::CredentialsMissing),
        }
    }
}

fn by_token(tokens: &Tokens, headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
    let shown = authorization::read(headers).map_err(|_| Refusal::CredentialsMalformed)?;
    let found = match &shown {
        None => return Ok(None),
        Some(Presented::Basic(pair)) => tokens.find(Some(pair.user()), pair.password()),
        Some(Presented::Bearer(token)) => tokens.find(None, token),
    };
    found.map(Some).ok_or(Refusal::CredentialsUnknown)
}

fn peer(extensions: &Extensions) -> Option<&PeerIdentity> {
    let own = extensions.get();
    own.or_else(|| Connection::of(extensions).and_then(Connection::identity))
}
