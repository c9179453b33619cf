use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache};

use super::TlsError;

/// The operator's choice, else the built-in one, else the process's.
pub(super) fn choose(chosen: Option<Arc<CryptoProvider>>) -> Result<Arc<CryptoProvider>, TlsError> {
    chosen.or_else(provider).ok_or(TlsError::NoProvider)
}

/// The built-in one, else the process's.
pub(crate) fn provider() -> Option<Arc<CryptoProvider>> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let provider = Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    let provider = CryptoProvider::get_default().cloned();
    provider
}

/// A new ticket key that nobody else has; `None` where no built-in provider makes one, or none that may
/// be used beside this one: tickets of a provider that is not FIPS-approved are no part of a server that
/// is, which then remembers sessions instead.
pub(super) fn ticketer(beside: &CryptoProvider) -> Option<Arc<dyn ProducesTickets>> {
    if beside.fips() && !provider().is_some_and(|built_in| built_in.fips()) {
        return None;
    }
    #[cfg(feature = "aws-lc-rs")]
    let made = rustls::crypto::aws_lc_rs::Ticketer::new();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let made = rustls::crypto::ring::Ticketer::new();
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    let made: Result<Arc<dyn ProducesTickets>, rustls::Error> =
        Err(rustls::Error::General("no provider is built in".into()));
    made.inspect_err(|error| tracing::warn!(%error, "no session tickets"))
        .ok()
}

/// Forces this many remembered sessions where tickets cannot be had.
pub(super) fn session_storage(
    tickets: bool,
    capacity: usize,
) -> Arc<dyn rustls::server::StoresServerSessions> {
    if tickets || capacity == 0 {
        Arc::new(NoServerSessionStorage {})
    } else {
        ServerSessionMemoryCache::new(capacity)
    }
}
