use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::own_certificate::OwnCertificateKeys;
use super::{ByteCount, CrlSection, Document, HumanDuration, Key};
use crate::Watched;
use crate::crl::{DenyList, Revocation};
#[cfg(feature = "schema")]
use crate::document::schema::Network;
use crate::document::some_paths;
use crate::tls::{Acceptor, Builder, CertificateFiles, ClientCas, TlsError, WantsClientAuth};

/// `[tls]`: the server's certificate and the client CAs.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("oneOf" = [{ "required": ["certificate", "key"] }, { "required": ["bundle"] }])))]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    /// PEM file of the server's certificate chain, its own certificate first.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub(crate) key: Option<PathBuf>,
    /// In place of `certificate` and `key`: one PEM file with both and the chain, in any order.
    pub(crate) bundle: Option<PathBuf>,
    /// Further certificates, for clients that ask for one of their names.
    #[serde(default)]
    pub(crate) sni: Vec<ServerCertificate>,
    /// PEM or DER files of the CAs that issue client certificates, or directories of them, in which files
    /// without a certificate are left out, and with a warning those that are copies by their names. A certificate that
    /// is not fit to be a CA is an error in a file, and left out with a warning in a directory.
    #[serde(default, deserialize_with = "some_paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<PathBuf>"))]
    pub(crate) client_ca: Vec<PathBuf>,
    /// Whether clients must have a certificate. Default: `"require"` with `client_ca`, else `"none"`.
    pub(crate) client_auth: Option<ClientAuthMode>,
    /// `"strict"` takes only client certificates that are X.509-SVIDs, with all that SPIFFE's
    /// specification wants of them. Default: any certificate of the client CAs.
    pub(crate) svid: Option<SvidMode>,
    /// Which client CAs may vouch for SPIFFE IDs of a trust domain: by trust domain the CAs' subjects in
    /// RFC 4514 form, or SHA-256 digests of their public keys in hexadecimal. Where any is named, SPIFFE
    /// IDs of others are refused. Default: every client CA for every trust domain.
    #[serde(default)]
    pub(crate) trust_domains: BTreeMap<String, Vec<String>>,
    /// Connections whose client CA is removed: `"recheck"` (default) or `"keep"`.
    #[serde(default)]
    pub(crate) removed_ca: RemovedCaPolicy,
    /// When connections are closed whose certificate is no longer good.
    #[serde(default)]
    pub(crate) ending: EndingSection,
    /// The lowest protocol version: `"1.2"` (default) or `"1.3"`.
    #[serde(default)]
    pub(crate) min_version: MinVersion,
    /// The application protocols that are offered, the preferred first. Default
    /// `["h2", "http/1.1"]`.
    pub(crate) alpn: Option<Vec<ApplicationProtocol>>,
    /// Whether requests are refused (421) whose host is not the name that the client asked for in the handshake
    /// (SNI). A client that asks for none passes. Default false.
    #[serde(default)]
    pub(crate) strict_host: bool,
    /// Whether sessions may be resumed. Default true.
    pub(crate) resumption: Option<bool>,
    /// How long a handshake may take, from `"100ms"` to ten minutes. Default `"10s"`.
    pub(crate) handshake_timeout: Option<HumanDuration>,
    /// How many handshakes may be in flight, at most 16,777,216. Default 1,024.
    pub(crate) max_handshakes: Option<NonZeroUsize>,
    /// How many certificates a client may send besides its own. Default 5.
    pub(crate) max_intermediates: Option<usize>,
    /// How many bytes a client's certificates may have together. Default `"32KiB"`; more than `"64KiB"` is
    /// never taken.
    pub(crate) max_chain_size: Option<ByteCount>,
    /// How many connections an IPv4 address or an IPv6 /64 may have. Default: no bound.
    pub(crate) max_connections_per_source: Option<NonZeroUsize>,
    /// Ends connections whose client takes nothing for this long while there is something to send, from
    /// `"100ms"` to a day.
    /// Default: none. A server without TLS puts `rate::StallTimeout` around its sockets.
    pub(crate) stall_timeout: Option<HumanDuration>,
    /// Networks from which every connection begins with a PROXY protocol header. Default: none.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub(crate) proxy_protocol: Vec<IpNet>,
    /// How long before the end of a certificate of the server's or a client CA's there is a warning.
    /// Default `["30days", "7days", "1day"]`.
    pub(crate) warn_before: Option<Vec<HumanDuration>>,
}

/// `[[tls.sni]]`: a further certificate.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("oneOf" = [{ "required": ["certificate", "key"] }, { "required": ["bundle"] }])))]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerCertificate {
    /// PEM file of the certificate chain, its own certificate first.
    pub(crate) certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    pub(crate) key: Option<PathBuf>,
    /// In place of `certificate` and `key`: one PEM file with both and the chain, in any order.
    pub(crate) bundle: Option<PathBuf>,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuthMode {
    /// No handshake without one.
    Require,
    /// Verified if it comes, but none is needed.
    Request,
    /// Not asked for.
    None,
}

/// Which client certificates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum SvidMode {
    /// X.509-SVIDs only.
    Strict,
}

/// An application protocol that runs over TLS. HTTP/3 does not: it has QUIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum ApplicationProtocol {
    /// HTTP/2 (RFC 9113).
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1 (RFC 9112).
    #[serde(rename = "http/1.1")]
    Http11,
    /// HTTP/1.0 (RFC 1945).
    #[serde(rename = "http/1.0")]
    Http10,
}

impl ApplicationProtocol {
    /// Its name in a handshake (RFC 7301 §6).
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Http2 => "h2",
            Self::Http11 => "http/1.1",
            Self::Http10 => "http/1.0",
        }
    }
}

/// What becomes of connections whose client CA is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(crate) enum RemovedCaPolicy {
    /// They end, unless another CA vouches for them.
    #[default]
    Recheck,
    /// They stay until the client ends them.
    Keep,
}

/// `tls.ending`: when connections are closed whose certificate is no longer good.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct EndingSection {
    /// Once nothing was written for so long, where a request may be in flight; an idle connection is closed at
    /// once. Default `"1s"`.
    pub(crate) idle: Option<HumanDuration>,
    /// After so long in any case. Default `"30s"`.
    pub(crate) drain: Option<HumanDuration>,
}

/// The lowest TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) enum MinVersion {
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
        document: &Document,
        crl: Option<&CrlSection>,
        denied: Option<Watched<DenyList>>,
    ) -> Result<Acceptor, TlsError> {
        let mut builder = self
            .builder(document)
            .with_tls13_only(self.min_version == MinVersion::Tls13)
            .with_strict_svids(self.svid == Some(SvidMode::Strict))
            .with_resumption(self.resumption.unwrap_or(true));
        for (domain, cas) in &self.trust_domains {
            builder = builder.with_trust_domain(&**domain, cas.iter().map(String::as_str));
        }
        if let Some(protocols) = &self.alpn {
            builder = builder.with_alpn(protocols.iter().map(|protocol| protocol.id()));
        }
        if let Some(intermediates) = self.max_intermediates {
            builder = builder.with_max_intermediates(intermediates);
        }
        if let Some(ByteCount(size)) = self.max_chain_size {
            builder = builder.with_max_chain_size(usize::try_from(size).unwrap_or(usize::MAX));
        }
        if let Some(distances) = &self.warn_before {
            builder = builder.with_expiry_warnings(distances.iter().map(|span| span.0));
        }
        if let Some(crl) = crl {
            #[cfg(feature = "crl-fetch")]
            if let Some(fetch) = &crl.fetch {
                builder = crl.check_fetched(fetch, builder, document, &self.client_ca, denied)?;
            } else {
                builder = crl.check(builder, document, &self.client_ca, denied);
            }
            #[cfg(not(feature = "crl-fetch"))]
            {
                builder = crl.check(builder, document, &self.client_ca, denied);
            }
        } else if let Some(denied) = denied {
            builder = builder.with_revocation(Revocation::denying(denied));
        }
        let material = builder.watch(document.watch.clone())?;
        let ending = self.ending;
        let mut acceptor = Acceptor::new(material)
            .with_proxy_protocol(self.proxy_protocol.iter().copied())
            .with_removed_ca_kept(self.removed_ca == RemovedCaPolicy::Keep)
            .with_ending(
                ending.idle.map_or(Duration::from_secs(1), |span| span.0),
                ending.drain.map_or(Duration::from_secs(30), |span| span.0),
            );
        if let Some(HumanDuration(timeout)) = self.handshake_timeout {
            acceptor = acceptor.with_handshake_timeout(timeout);
        }
        if let Some(handshakes) = self.max_handshakes {
            acceptor = acceptor.with_max_handshakes(handshakes.get());
        }
        if let Some(connections) = self.max_connections_per_source {
            acceptor = acceptor.with_max_connections_per_source(connections.get());
        }
        if let Some(HumanDuration(longest)) = self.stall_timeout {
            acceptor = acceptor.with_stall_timeout(longest);
        }
        Ok(acceptor)
    }

    fn builder(&self, document: &Document) -> Builder {
        let mut certificates = self.own_certificates();
        let files = certificates.next().map(|own| own.files(document));
        // The first is always there.
        let files = files.unwrap_or_else(|| CertificateFiles::bundle(""));
        let builder = Builder::with_certificate(files);
        let further = certificates.map(|own| own.files(document));
        let builder = further.fold(builder, WantsClientAuth::and_certificate);
        let cas = ClientCas::new(self.client_ca.iter().map(|file| document.resolve(file)));
        match self.mode() {
            ClientAuthMode::Require => builder.require_client_certificates(cas),
            ClientAuthMode::Request => builder.request_client_certificates(cas),
            ClientAuthMode::None => builder.without_client_certificates(),
        }
    }

    /// The files that it names, with their keys.
    pub(crate) fn files(&self, document: &Document) -> Vec<(Key, PathBuf)> {
        let tls = |name| Key::from("tls").key(name);
        let own = self.own_certificates();
        let mut files: Vec<_> = own
            .flat_map(|own| own.named(document).collect::<Vec<_>>())
            .collect();
        let cas = self.client_ca.iter().enumerate();
        files.extend(cas.map(|(index, file)| (tls("client_ca").at(index), document.resolve(file))));
        files
    }

    /// The server's certificates, that of clients which ask for no name first.
    pub(super) fn own_certificates(&self) -> impl Iterator<Item = OwnCertificateKeys<'_>> {
        let first = OwnCertificateKeys {
            table: "tls".into(),
            certificate: self.certificate.as_deref(),
            key: self.key.as_deref(),
            bundle: self.bundle.as_deref(),
        };
        let further = self.sni.iter().enumerate();
        let further = further.map(|(index, one)| OwnCertificateKeys {
            table: Key::from("tls.sni").at(index),
            certificate: one.certificate.as_deref(),
            key: one.key.as_deref(),
            bundle: one.bundle.as_deref(),
        });
        std::iter::once(first).chain(further)
    }

    /// Whether clients must have a certificate.
    pub(crate) fn mode(&self) -> ClientAuthMode {
        self.client_auth.unwrap_or(if self.client_ca.is_empty() {
            ClientAuthMode::None
        } else {
            ClientAuthMode::Require
        })
    }
}
