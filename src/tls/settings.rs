use std::fmt;
#[cfg(feature = "crl")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::chain::ChainLimits;
use super::requirements::Requirements;
use super::{CertificateFiles, ClientCas};

/// The settings of a server, as its [`Builder`](super::Builder) has them.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) certificates: Vec<CertificateFiles>,
    pub(super) client_auth: ClientAuth,
    pub(super) provider: Option<Arc<CryptoProvider>>,
    /// `None`: the system's.
    pub(super) clock: Option<Arc<dyn TimeProvider>>,
    pub(super) tls13_only: bool,
    pub(super) alpn: Vec<Vec<u8>>,
    pub(super) resumption: bool,
    pub(super) requirements: Requirements,
    pub(super) chain_limits: ChainLimits,
    pub(super) expiry_warnings: Vec<Duration>,
    #[cfg(feature = "crl")]
    pub(super) crl_warnings: Vec<Duration>,
    #[cfg(feature = "crl")]
    pub(super) revocation: Option<crate::crl::Revocation>,
    #[cfg(feature = "crl")]
    pub(super) crls: Option<(crate::crl::Builder, Vec<PathBuf>)>,
}

impl Settings {
    pub(super) fn clock(&self) -> Arc<dyn TimeProvider> {
        let given = self.clock.clone();
        given.unwrap_or_else(|| Arc::new(DefaultTimeProvider))
    }
}

#[derive(Clone, Debug)]
pub(super) enum ClientAuth {
    None,
    Request(ClientCas),
    Require(ClientCas),
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("certificates", &self.certificates)
            .field("client_auth", &self.client_auth)
            .field("tls13_only", &self.tls13_only)
            .field("resumption", &self.resumption)
            .finish_non_exhaustive()
    }
}
