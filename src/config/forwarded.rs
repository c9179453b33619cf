use http::HeaderName;
use ipnet::IpNet;
use serde::Deserialize;

use super::Text;
#[cfg(feature = "schema")]
use crate::document::schema::Network;
use crate::source::ForwardedHeader;
use crate::tls::ForwardedForm;

/// `[forwarded]`: which proxies speak for clients, and in which headers. From anyone else, and
/// without this section from everyone, such headers are removed: `Forwarded`, all of `X-Forwarded-*`,
/// `X-Real-IP`, `X-Original-URL`, `X-Rewrite-URL`, `X-HTTP-Method-Override` and their kin.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardedSection {
    /// The networks of the proxies. Their `X-Forwarded-Host`, `-Proto` and the like reach the service: a
    /// proxy must replace what its clients send in them.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<Network>"))]
    pub(crate) proxies: Vec<IpNet>,
    /// The header that tells the client's address: `"x-forwarded-for"` or `"forwarded"` (RFC 7239).
    /// Default: none does.
    pub(crate) address: Option<AddressHeader>,
    /// The header that tells the client's certificate. Default: none does.
    pub(crate) certificate: Option<CertificateHeader>,
    /// Further headers that tell of a client, in a form of your own: removed from whatever comes, but for
    /// the one that `certificate` names where a proxy sends it.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub(crate) remove: Vec<HeaderText>,
}

/// The header that tells the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AddressHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The header that tells the client's certificate. It is verified as if the client had come itself.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "form", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum CertificateHeader {
    /// Envoy's `X-Forwarded-Client-Cert`.
    Xfcc {
        /// Believes its fields where it has no certificate. Nothing in them is verified, and they
        /// are never revoked. Default false.
        #[serde(default)]
        trusted_fields: bool,
    },
    /// `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    ClientCert {},
    /// The headers of an AWS Application Load Balancer with mutual TLS.
    Alb {
        /// The listener's mode: `"passthrough"`, in which it hands on the client's chain, or `"verify"`, in
        /// which it hands on the client's certificate alone.
        mode: AlbMode,
    },
    /// A header with nginx's `$ssl_client_escaped_cert` in it.
    Escaped {
        /// The header's name.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        header: HeaderText,
    },
}

/// What a load balancer's listener does with a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlbMode {
    /// It hands on the chain unverified: `X-Amzn-Mtls-Clientcert`.
    Passthrough,
    /// It verifies the chain, and hands on the certificate: `X-Amzn-Mtls-Clientcert-Leaf`.
    Verify,
}

/// A header's name.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct HeaderText(Text<HeaderName>);

impl HeaderText {
    pub(crate) fn name(&self) -> HeaderName {
        let Self(Text(name)) = self;
        name.clone()
    }
}

impl AddressHeader {
    pub(crate) fn header(self) -> ForwardedHeader {
        match self {
            Self::XForwardedFor => ForwardedHeader::XForwardedFor,
            Self::Forwarded => ForwardedHeader::Forwarded,
        }
    }
}

impl CertificateHeader {
    pub(crate) fn form(&self) -> ForwardedForm {
        match self {
            Self::Xfcc { .. } => ForwardedForm::Xfcc,
            Self::ClientCert {} => ForwardedForm::ClientCert,
            Self::Alb { mode } => match mode {
                AlbMode::Passthrough => ForwardedForm::AlbPassthrough,
                AlbMode::Verify => ForwardedForm::AlbVerify,
            },
            Self::Escaped { header } => ForwardedForm::Escaped(header.name()),
        }
    }

    pub(crate) fn trusts_fields(&self) -> bool {
        matches!(
            self,
            Self::Xfcc {
                trusted_fields: true
            }
        )
    }
}
