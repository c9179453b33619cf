use std::sync::Arc;

use rustls::crypto::CryptoProvider;

/// The built-in provider; where both are compiled, aws-lc-rs.
#[cfg_attr(
    not(any(feature = "aws-lc-rs", feature = "ring")),
    allow(
        unreachable_code,
        unused_variables,
        reason = "the crate does not compile then"
    )
)]
pub(crate) fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "aws-lc-rs")]
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(all(feature = "ring", not(feature = "aws-lc-rs")))]
    let provider = rustls::crypto::ring::default_provider();
    // Without one the crate does not compile: `lib.rs` says what is missing, alone.
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    let provider: CryptoProvider = unreachable!();
    Arc::new(provider)
}
