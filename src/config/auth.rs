use std::path::PathBuf;

use serde::Deserialize;

use super::Config;
use crate::auth::{Authentication, TokenError, TokenSpec, Tokens};

/// `[auth]`: what callers must show.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AuthSection {
    /// A token, a client certificate, either, or both.
    pub require: Requirement,
    /// Lets who shows nothing in as `anonymous`, for the policy to judge. Default false.
    #[serde(default)]
    pub anonymous: bool,
    /// The tokens.
    #[serde(default, rename = "token")]
    pub tokens: Vec<TokenEntry>,
}

/// What callers must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
    /// A token, or else a client certificate.
    TokenOrCertificate,
    /// A token and a client certificate.
    TokenAndCertificate,
}

/// `[[auth.token]]`: one caller's token, from exactly one of `env`, `file` and `sha256`.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Entry")]
pub struct TokenEntry {
    id: String,
    groups: Vec<String>,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Variable(String),
    File(PathBuf),
    Sha256(Vec<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default)]
    groups: Vec<String>,
    env: Option<String>,
    file: Option<PathBuf>,
    sha256: Option<Vec<String>>,
}

impl TryFrom<Entry> for TokenEntry {
    type Error = &'static str;

    fn try_from(entry: Entry) -> Result<Self, Self::Error> {
        let origin = match (entry.env, entry.file, entry.sha256) {
            (Some(name), None, None) => Origin::Variable(name),
            (None, Some(file), None) => Origin::File(file),
            (None, None, Some(digests)) => Origin::Sha256(digests),
            _ => return Err("a token has exactly one of `env`, `file` and `sha256`"),
        };
        Ok(Self {
            id: entry.id,
            groups: entry.groups,
            origin,
        })
    }
}

impl AuthSection {
    pub(crate) fn authentication(&self, config: &Config) -> Result<Authentication, TokenError> {
        let tokens = || {
            let specs = self.tokens.iter().map(|token| token.spec(config));
            Tokens::watch(specs, config.reload.options())
        };
        let authentication = match self.require {
            Requirement::Token => Authentication::token(tokens()?),
            Requirement::Certificate => Authentication::certificate(),
            Requirement::TokenOrCertificate => Authentication::token_or_certificate(tokens()?),
            Requirement::TokenAndCertificate => Authentication::token_and_certificate(tokens()?),
        };
        Ok(if self.anonymous {
            authentication.or_anonymous()
        } else {
            authentication
        })
    }
}

impl TokenEntry {
    fn spec(&self, config: &Config) -> TokenSpec {
        let id = self.id.as_str();
        let spec = match &self.origin {
            Origin::Variable(name) => TokenSpec::variable(id, name),
            Origin::File(file) => TokenSpec::file(id, config.resolve(file)),
            Origin::Sha256(digests) => TokenSpec::sha256(id, digests.iter().cloned()),
        };
        spec.in_groups(self.groups.iter().cloned())
    }
}
