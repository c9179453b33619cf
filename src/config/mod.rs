//! The configuration file: TOML, validated whole before anything starts, every error with file, line,
//! column and key. Unknown keys are errors: a misspelt limit must not be no limit.
//!
//! ```no_run
//! use portcullis::Guard;
//! use portcullis::config::Config;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load("gate.toml")?;
//! let guard = Guard::from_config(&config)?;
//! guard.report().log();
//! # Ok(()) }
//! ```
//!
//! [`Config::from_toml`] reads a text that is in no file. An error's `Debug` is its `Display` with its causes,
//! so that a `main` which returns it prints a sentence.
//!
//! With the feature `schema`, `Config::json_schema` is its JSON Schema, for editors and checks before a
//! deployment.
//!
//! Relative paths in the file are relative to the file's own folder. Times are written like `"10s"`,
//! sizes like `"64KiB"` or `"10MB"`, rates as bytes a second like `"10MB"`.

mod auth;
mod bounds;
mod callers;
mod checks;
mod client_warnings;
mod credentials;
mod crl;
mod crl_authority;
mod deny;
#[cfg(feature = "digest-binding")]
mod digest_binding;
mod file;
mod fleet;
mod followed;
mod forwarded;
mod identity;
#[cfg(feature = "schema")]
mod json_schema;
#[cfg(feature = "jwt")]
mod jwt;
mod limits;
mod overview;
mod own_certificate;
mod policy;
mod program;
mod serve;
mod tls;

pub(crate) use crate::document::{ByteCount, Document, HumanDuration, Key, Text};
pub use crate::document::{ConfigError, Place};
pub(crate) use auth::AuthSection;
pub use auth::Requirement;
pub(crate) use client_warnings::ClientWarningsSection;
pub(crate) use credentials::{HtpasswdEntry, SecretEntry, TokenEntry};
pub(crate) use crl::CrlSection;
pub(crate) use crl_authority::CrlAuthoritySection;
pub(crate) use deny::DenySection;
#[cfg(feature = "digest-binding")]
pub(crate) use digest_binding::DigestBindingSection;
pub use file::Config;
pub(crate) use file::SourceSection;
pub(crate) use forwarded::{ForwardedSection, HeaderText};
pub(crate) use identity::IdentitySection;
#[cfg(feature = "jwt")]
pub(crate) use jwt::{BearerSection, JwtSection};
pub(crate) use limits::LimitsSection;
pub(crate) use policy::PolicyRules;
pub(crate) use policy::PolicySection;
pub(crate) use serve::ServeSection;
pub(crate) use tls::{ClientAuthMode, TlsSection};
