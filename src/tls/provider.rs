use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache};

use crate::crypto::provider;

/// The operator's choice, else the built-in one.
pub(super) fn choose(chosen: Option<Arc<CryptoProvider>>) -> Arc<CryptoProvider> {
    chosen.unwrap_or_else(provider)
}

/// Makes a new random ticket key; `None` where no built-in provider makes one, or none that may be used beside
/// this one: tickets of a provider that is not FIPS-approved are no part of a server that is, which then
/// remembers sessions instead.
#[cfg_attr(
    not(any(feature = "aws-lc-rs", feature = "ring")),
    allow(
        unreachable_code,
        unused_variables,
        reason = "the crate does not compile then"
    )
)]
pub(super) fn ticketer(beside: &CryptoProvider) -> Option<Arc<dyn ProducesTickets>> {
    if beside.fips() && !provider().fips() {
        return None;
    }
    #[cfg(feature = "aws-lc-rs")]
    let made = rustls::crypto::aws_lc_rs::Ticketer::new();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let made = rustls::crypto::ring::Ticketer::new();
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    let made: Result<Arc<dyn ProducesTickets>, rustls::Error> = unreachable!();
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
