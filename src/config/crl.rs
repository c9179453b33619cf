use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{ByteCount, CrlAuthoritySection, Document, HumanDuration, Key};
use crate::Watched;
use crate::crl::{self, DenyList, Options, Revocation};
#[cfg(feature = "crl-fetch")]
use crate::crl::{Fetch, LoadError};
use crate::document::paths;
use crate::tls;

/// `[crl]`: revocation of client certificates.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct CrlSection {
    /// PEM or DER files, compressed by gzip or not, or directories of them.
    #[serde(default, deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<PathBuf>"))]
    pub(crate) files: Vec<PathBuf>,
    /// PEM files of further CAs and CRL signers, besides the client CAs.
    #[serde(default, deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<PathBuf>"))]
    pub(crate) signers: Vec<PathBuf>,
    /// Which certificates of a path are checked: `"chain"` (default) or `"leaf"`.
    #[serde(default)]
    pub(crate) depth: CrlDepth,
    /// A certificate that no CRL of its issuer is about: `"refuse"` (default) or `"allow"`. One whose
    /// CRL is past its `nextUpdate` and the `grace` is refused all the same.
    #[serde(default)]
    pub(crate) unknown: CrlUnknown,
    /// Whether a request on a connection without a client certificate is refused, whatever else it
    /// shows.
    #[serde(default)]
    pub(crate) require_certificate: bool,
    /// How long a CRL past its `nextUpdate` still counts, at most ten years. Default: not at all.
    pub(crate) grace: Option<HumanDuration>,
    /// Certificates of clients whose whole validity is no longer than this pass though no CRL answers for
    /// them, from `"1s"` to 31 days. Default: none.
    pub(crate) short_lived: Option<HumanDuration>,
    /// What is required of the certificates under single client CAs. Of several rules for a client CA the
    /// strictest counts; one without a rule is held to `unknown`.
    #[serde(default)]
    pub(crate) authority: Vec<CrlAuthoritySection>,
    /// How long before the `nextUpdate` of an active CRL a warning is logged. Default `["1h"]`.
    pub(crate) warn_before: Option<Vec<HumanDuration>>,
    /// How large a file may be, and a fetched CRL, and either when it is decompressed, from `"1KiB"` to
    /// `"4GiB"`. Default `"256MiB"`.
    pub(crate) max_size: Option<ByteCount>,
    /// CRLs over HTTP.
    #[cfg(feature = "crl-fetch")]
    pub(crate) fetch: Option<CrlFetchSection>,
}

/// `[crl.fetch]`: CRLs from HTTP distribution points.
#[cfg(feature = "crl-fetch")]
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct CrlFetchSection {
    /// The folder that they are kept in, so that a restart without a network has them. This process's
    /// own.
    pub(crate) directory: PathBuf,
    /// `http://` or `https://` URLs that give one CRL each.
    #[serde(default)]
    pub(crate) urls: Vec<String>,
    /// Whether to fetch too from the distribution points in the certificates of the client CAs and
    /// the signers.
    #[serde(default)]
    pub(crate) from_ca_certificates: bool,
    /// Hosts that redirects may lead to besides those of the URLs, as `"name"` or `"name:port"`.
    #[serde(default)]
    pub(crate) allowed_hosts: Vec<String>,
    /// How often each is asked for, besides before its `nextUpdate`, from `"1s"` to 30 days. Default `"15m"`.
    pub(crate) interval: Option<HumanDuration>,
    /// How long an answer may take, from `"100ms"` to an hour. Default `"1m"`.
    pub(crate) timeout: Option<HumanDuration>,
    /// How long the start waits for lists of which no current one is kept. Default `"30s"`.
    pub(crate) start_timeout: Option<HumanDuration>,
}

/// Which certificates of a path are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum CrlDepth {
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
pub(crate) enum CrlUnknown {
    /// Nothing.
    #[default]
    Refuse,
    /// What a good one gets, which the log and the metrics tell.
    Allow,
}

impl CrlSection {
    /// Has client certificates of these client CAs checked by the lists in the files.
    pub(crate) fn check(
        &self,
        tls: tls::Builder,
        document: &Document,
        cas: &[PathBuf],
        denied: Option<Watched<DenyList>>,
    ) -> tls::Builder {
        let revocation = self.revocation(document, cas, denied);
        self.warned(tls).with_crls(revocation, self.paths(document))
    }

    /// Has client certificates checked by fetched lists too, which come in their own time, so that no
    /// certificate waits for them.
    #[cfg(feature = "crl-fetch")]
    pub(crate) fn check_fetched(
        &self,
        fetch: &CrlFetchSection,
        tls: tls::Builder,
        document: &Document,
        cas: &[PathBuf],
        denied: Option<Watched<DenyList>>,
    ) -> Result<tls::Builder, LoadError> {
        let revocation = self.revocation(document, cas, denied).fetching(
            &fetch.fetch(document),
            self.paths(document),
            document.watch.clone(),
        )?;
        Ok(self.warned(tls).with_revocation(revocation))
    }

    /// The files that it names, with their keys.
    pub(crate) fn named(&self, document: &Document) -> Vec<(Key, PathBuf)> {
        let all = [("files", &self.files), ("signers", &self.signers)];
        let named = all.into_iter().flat_map(|(name, files)| {
            let key = Key::from("crl").key(name);
            let files = files.iter().enumerate();
            files.map(move |(index, file)| (key.clone().at(index), document.resolve(file)))
        });
        named.collect()
    }

    fn warned(&self, tls: tls::Builder) -> tls::Builder {
        match &self.warn_before {
            Some(distances) => tls.with_crl_warnings(distances.iter().map(|span| span.0)),
            None => tls,
        }
    }

    fn paths(&self, document: &Document) -> impl Iterator<Item = PathBuf> {
        self.files.iter().map(|file| document.resolve(file))
    }

    fn revocation(
        &self,
        document: &Document,
        cas: &[PathBuf],
        denied: Option<Watched<DenyList>>,
    ) -> crl::Builder {
        let defaults = Options::default();
        let options = defaults
            .with_leaf_only(self.depth == CrlDepth::Leaf)
            .with_unknown_allowed(self.unknown == CrlUnknown::Allow)
            .with_grace(self.grace.map_or(Duration::ZERO, |span| span.0))
            .with_short_lived(self.short_lived.map(|span| span.0))
            .with_max_size(self.max_size.map_or(defaults.max_size, |size| size.0));
        // Each names a CA: that is checked where the file is read.
        let rules = self.authority.iter().filter_map(|one| one.rule().ok());
        let builder = Revocation::builder();
        let builder = match denied {
            Some(denied) => builder.with_denied(denied),
            None => builder,
        };
        builder
            .with_options(options)
            .with_rules(rules)
            .with_authority_files(
                cas.iter()
                    .chain(&self.signers)
                    .map(|file| document.resolve(file)),
            )
    }
}

#[cfg(feature = "crl-fetch")]
impl CrlFetchSection {
    fn fetch(&self, document: &Document) -> Fetch {
        let mut fetch = Fetch::into_directory(document.resolve(&self.directory))
            .with_urls(&self.urls)
            .with_allowed_hosts(&self.allowed_hosts);
        if self.from_ca_certificates {
            fetch = fetch.and_from_authorities();
        }
        if let Some(HumanDuration(interval)) = self.interval {
            fetch = fetch.with_interval(interval);
        }
        if let Some(HumanDuration(timeout)) = self.timeout {
            fetch = fetch.with_timeout(timeout);
        }
        if let Some(HumanDuration(timeout)) = self.start_timeout {
            fetch = fetch.with_start_timeout(timeout);
        }
        fetch
    }
}
