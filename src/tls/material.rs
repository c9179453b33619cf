use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;

use super::expiry::Expiry;
use super::time;
use super::verifier::Verifier;

/// Everything that a TLS server needs, read at one time: certificates, client CAs, ticket keys.
///
/// Sessions are resumed only within one `Material`: the keys of its tickets are its own, so that no session
/// outlives a change of certificates or client CAs.
#[derive(Clone, Debug)]
pub struct Material {
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Option<Arc<Verifier>>,
    pub(super) expiries: Arc<[Expiry]>,
    pub(super) tls13_only: bool,
    /// The server's own certificates, in the order of their files.
    pub(super) own: Arc<[Arc<CertifiedKey>]>,
    /// Why the client CAs and CRLs are not those of the files.
    pub(super) withheld: Option<Arc<str>>,
}

impl Material {
    /// Returns the server configuration, for an acceptor that is not of this crate. Such an acceptor verifies
    /// full handshakes in the same way, but does not verify resumed sessions again.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// Returns when each server certificate and client CA ends.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// Returns whether the configuration is FIPS-approved, which its provider decides: a program that enables
    /// rustls's own feature `fips` has such a provider by the feature `aws-lc-rs`. A server whose provider came
    /// from [`Builder::with_provider`](super::Builder::with_provider) remembers sessions instead of sending
    /// tickets, unless the built-in provider is approved too.
    pub fn is_fips(&self) -> bool {
        self.config.fips()
    }

    pub(crate) fn is_tls13_only(&self) -> bool {
        self.tls13_only
    }

    /// Whether clients must have a certificate; `None` if they are not asked for one.
    pub(crate) fn client_certificate_needed(&self) -> Option<bool> {
        self.verifier
            .as_ref()
            .map(|verifier| verifier.is_mandatory())
    }

    /// How many client CAs are trusted, and how many certificates among them are not.
    pub(crate) fn client_cas(&self) -> Option<(usize, usize)> {
        let anchors = self.verifier.as_ref()?.anchors();
        Some((anchors.trusted.len(), anchors.left_out))
    }

    /// The subject of each client CA, with what rules of revocation name it by.
    #[cfg(feature = "crl")]
    pub(crate) fn ca_infos(&self) -> impl Iterator<Item = (&str, &crate::crl::CaInfo)> {
        let verifier = self.verifier.iter();
        verifier.flat_map(|verifier| verifier.anchors().infos())
    }

    #[cfg(feature = "crl")]
    pub(crate) fn revocation(&self) -> Option<&crate::crl::Revocation> {
        self.verifier.as_ref()?.revocation()
    }

    pub(crate) fn system_time(&self) -> Option<SystemTime> {
        self.now().map(time::system)
    }

    pub(super) fn now(&self) -> Option<UnixTime> {
        self.config.time_provider.current_time()
    }
}
