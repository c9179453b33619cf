use rustls::pki_types::CertificateDer;

use super::liveness::Liveness;
use crate::Connection;

impl Connection {
    /// Returns the certificates that the client sent and that were verified, its own first and then those between
    /// it and the client CA, in DER; `None` without a client certificate. A service that a proxy speaks to takes
    /// them in `Client-Cert` and `Client-Cert-Chain` (RFC 9440).
    pub fn client_chain(&self) -> Option<&[CertificateDer<'static>]> {
        self.state::<Liveness>().map(Liveness::chain)
    }
}
