use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Span};
use crate::crl::Revocation;
use crate::tls::{Acceptor, Builder, CertificateFiles, ClientCas, Ready, TlsError};

/// `[tls]`: the server's certificate and the client CAs.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsSection {
    /// PEM file of the server's certificate chain, its own certificate first.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key.
    pub key: PathBuf,
    /// PEM files of the CAs that issue client certificates.
    #[serde(default)]
    pub client_ca: Vec<PathBuf>,
    /// Whether clients must have a certificate. Default: `"require"` with `client_ca`, else `"none"`.
    pub client_auth: Option<ClientAuthMode>,
    /// The lowest protocol version: `"1.2"` (default) or `"1.3"`.
    #[serde(default)]
    pub min_version: MinVersion,
    /// How long a handshake may take. Default `"10s"`.
    pub handshake_timeout: Option<Span>,
    /// How many handshakes may be under way. Default 1,024.
    pub max_handshakes: Option<usize>,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum ClientAuthMode {
    /// No handshake without one.
    Require,
    /// Verified if it comes, but none is needed.
    Request,
    /// Not asked for.
    None,
}

/// The lowest TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}

impl TlsSection {
    pub(crate) fn acceptor(
        &self,
        config: &Config,
        revocation: Option<Revocation>,
    ) -> Result<Acceptor, TlsError> {
        let mut builder = self
            .builder(config)
            .with_tls13_only(self.min_version == MinVersion::Tls13);
        if let Some(revocation) = revocation {
            builder = builder.with_revocation(revocation);
        }
        let material = builder.watch(config.reload.options())?;
        let mut acceptor = Acceptor::new(material);
        if let Some(Span(timeout)) = self.handshake_timeout {
            acceptor = acceptor.with_handshake_timeout(timeout);
        }
        if let Some(handshakes) = self.max_handshakes {
            acceptor = acceptor.with_max_handshakes(handshakes);
        }
        Ok(acceptor)
    }

    fn builder(&self, config: &Config) -> Builder<Ready> {
        let certificate =
            CertificateFiles::new(config.resolve(&self.certificate), config.resolve(&self.key));
        let builder = Builder::new().with_certificate(certificate);
        let cas = ClientCas::new(self.client_ca.iter().map(|file| config.resolve(file)));
        match self.mode() {
            ClientAuthMode::Require => builder.require_client_certificates(cas),
            ClientAuthMode::Request => builder.request_client_certificates(cas),
            ClientAuthMode::None => builder.without_client_certificates(),
        }
    }

    /// Whether clients must have a certificate.
    pub fn mode(&self) -> ClientAuthMode {
        self.client_auth.unwrap_or(if self.client_ca.is_empty() {
            ClientAuthMode::None
        } else {
            ClientAuthMode::Require
        })
    }
}
