use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ProducesTickets;

use super::provider;

/// Lets sessions be resumed, under ticket keys that only this configuration has.
pub(super) fn install(
    resumption: bool,
    #[cfg(feature = "crl")] revocation: Option<crate::crl::Revocation>,
    config: &mut ServerConfig,
) {
    if !resumption {
        config.session_storage = provider::session_storage(true, 0);
        config.send_tls13_tickets = 0;
        return;
    }
    let ticketer = provider::ticketer(config.crypto_provider());
    config.session_storage = provider::session_storage(ticketer.is_some(), 1_024);
    if let Some(ticketer) = ticketer {
        config.ticketer = Arc::new(Tickets {
            world: World {
                #[cfg(feature = "crl")]
                revocation,
            },
            current: Mutex::new((0, ticketer)),
            provider: Arc::clone(config.crypto_provider()),
        });
    }
}

/// Ticket keys that are thrown away when the CRLs change, so that a client which was revoked makes a full
/// handshake and learns the cause from its alert; a resumption has no alert for it.
struct Tickets {
    world: World,
    current: Mutex<(u64, Arc<dyn ProducesTickets>)>,
    provider: Arc<CryptoProvider>,
}

/// What tickets depend on besides the configuration that they are part of.
struct World {
    #[cfg(feature = "crl")]
    revocation: Option<crate::crl::Revocation>,
}

impl World {
    #[cfg(feature = "crl")]
    fn generation(&self) -> u64 {
        let revocation = self.revocation.as_ref();
        revocation.map_or(0, crate::crl::Revocation::generation)
    }

    #[cfg(not(feature = "crl"))]
    #[allow(clippy::unused_self, reason = "nothing changes without CRLs")]
    fn generation(&self) -> u64 {
        0
    }
}

impl Tickets {
    fn current(&self) -> Arc<dyn ProducesTickets> {
        let generation = self.world.generation();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != generation {
            // Generations begin at 1: the first keys have opened no ticket yet.
            if current.0 != 0
                && let Some(ticketer) = provider::ticketer(&self.provider)
            {
                current.1 = ticketer;
            }
            current.0 = generation;
        }
        Arc::clone(&current.1)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.current().lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current().encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current().decrypt(cipher)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}
