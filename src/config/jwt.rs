use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Span};
use crate::Watched;
use crate::auth::CredentialError;
use crate::auth::jwt::{Issuer, KeySet, KeySetError};

/// `[[auth.jwt]]`: an issuer whose signed tokens are taken.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct JwtSection {
    /// What its tokens are.
    pub kind: JwtKind,
    /// Its name, the `iss` of its tokens.
    pub issuer: String,
    /// Who its tokens are for, one of which is in their `aud`: the `service` of a token server, or
    /// the audience of a projected service-account token.
    pub audiences: Vec<String>,
    /// Its public keys, a JWK Set (RFC 7517): a file, or with the feature `jwt-fetch` an `http://` or
    /// `https://` URL.
    pub keys: PathBuf,
    /// Put before its callers' ids, so that two issuers' are not confused. Default nothing.
    #[serde(default)]
    pub prefix: String,
    /// How far its clock may be off. Default `"1min"`.
    pub leeway: Option<Span>,
}

/// What an issuer's tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JwtKind {
    /// Registry tokens: their `access` is all that is allowed.
    Registry,
    /// Kubernetes service-account tokens: the policy decides.
    ServiceAccount,
}

/// `[auth.bearer]`: the challenge that sends clients to a token server.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct BearerSection {
    /// The URL of the token server.
    pub realm: String,
    /// The name of this registry there.
    pub service: String,
}

impl JwtSection {
    fn keys(&self, config: &Config) -> Result<Watched<KeySet>, KeySetError> {
        #[cfg(feature = "jwt-fetch")]
        if let Some(url) = self.keys.to_str().filter(|keys| keys.contains("://")) {
            return crate::auth::jwt::KeySetFetch::new(url).begin();
        }
        KeySet::watch(config.resolve(&self.keys), config.reload.options())
    }

    pub(super) fn issuer(&self, config: &Config) -> Result<Issuer, CredentialError> {
        let keys = self.keys(config)?;
        let issuer = match self.kind {
            JwtKind::Registry => Issuer::of_registry_tokens(&self.issuer, keys),
            JwtKind::ServiceAccount => Issuer::of_service_accounts(&self.issuer, keys),
        };
        let issuer = issuer
            .with_audiences(self.audiences.iter().cloned())?
            .with_subject_prefix(&self.prefix);
        Ok(match self.leeway {
            Some(Span(leeway)) => issuer.with_leeway(leeway),
            None => issuer,
        })
    }
}
