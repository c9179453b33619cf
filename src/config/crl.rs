use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Bytes, Config, Span};
use crate::crl::{Depth, LoadError, OnUnknown, Options, Revocation};

/// `[crl]`: revocation of client certificates.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CrlSection {
    /// PEM or DER files, compressed by gzip or not, or directories of them.
    pub files: Vec<PathBuf>,
    /// PEM files of further CAs and CRL signers, besides the client CAs.
    #[serde(default)]
    pub signers: Vec<PathBuf>,
    /// Which certificates of a path are checked: `"chain"` (default) or `"leaf"`.
    #[serde(default)]
    pub depth: CrlDepth,
    /// A certificate that no usable CRL answers for: `"refuse"` (default) or `"allow"`.
    #[serde(default)]
    pub unknown: CrlUnknown,
    /// How long a CRL past its `nextUpdate` still counts. Default: not at all.
    pub grace: Option<Span>,
    /// How large a compressed CRL may be when it is decompressed. Default `"256MiB"`.
    pub max_size: Option<Bytes>,
}

/// Which certificates of a path are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CrlDepth {
    /// Every one below the trust anchor.
    #[default]
    Chain,
    /// The client's own.
    Leaf,
}

/// What a certificate of unknown status gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum CrlUnknown {
    /// Nothing.
    #[default]
    Refuse,
    /// What a good one gets.
    Allow,
}

impl CrlSection {
    pub(crate) fn revocation(&self, config: &Config) -> Result<Revocation, LoadError> {
        let defaults = Options::default();
        let options = defaults
            .with_depth(match self.depth {
                CrlDepth::Chain => Depth::Chain,
                CrlDepth::Leaf => Depth::Leaf,
            })
            .with_unknown(match self.unknown {
                CrlUnknown::Refuse => OnUnknown::Refuse,
                CrlUnknown::Allow => OnUnknown::Allow,
            })
            .with_grace(self.grace.map_or(Duration::ZERO, |span| span.0))
            .with_max_size(self.max_size.map_or(defaults.max_size, |size| size.0));
        let files = self.files.iter().map(|file| config.resolve(file));
        let cas = config.tls.iter().flat_map(|tls| &tls.client_ca);
        Revocation::builder()
            .with_options(options)
            .with_authority_files(cas.chain(&self.signers).map(|file| config.resolve(file)))
            .from_files(files, config.reload.options())
    }
}
