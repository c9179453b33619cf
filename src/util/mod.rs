//! What every part may stand on, and what stands on no part.

pub(crate) mod descriptors;
#[cfg(feature = "reload")]
pub(crate) mod file;
#[cfg(feature = "reload")]
pub(crate) mod patience;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "of a key's server only CA certificates are read")
)]
pub(crate) mod pem;
#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod text;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "of a key's server only CA certificates are read")
)]
pub(crate) mod x509_file;
