use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::PeerIdentity;

/// Chooses the server certificate by the name that the client asks for (RFC 6066 §3): its exact
/// name, else the wildcard one label up (RFC 6125 §6.4.3), else the first certificate.
#[derive(Debug)]
pub(super) struct Resolver {
    first: Arc<CertifiedKey>,
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl Resolver {
    pub(super) fn new(first: Arc<CertifiedKey>) -> Self {
        Self {
            first,
            names: HashMap::new(),
        }
    }

    /// Serves `key` under the certificate's DNS names; an earlier certificate keeps its names.
    pub(super) fn add(&mut self, identity: &PeerIdentity, key: &Arc<CertifiedKey>) {
        for name in identity.dns_names() {
            self.names
                .entry(name.to_ascii_lowercase())
                .or_insert_with(|| Arc::clone(key));
        }
    }

    pub(super) fn choose(&self, server_name: Option<&str>) -> &Arc<CertifiedKey> {
        let by_name = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = self.names.get(&name);
            exact.or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.names.get(&format!("*.{parent}"))
            })
        });
        by_name.unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.choose(hello.server_name())))
    }
}
