//! What every part may stand on, and what stands on no part.

pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod file;
#[cfg(any(feature = "auth", feature = "rate"))]
pub(crate) mod gcra;
pub(crate) mod patience;
#[cfg(feature = "tls")]
pub(crate) mod pem;
#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod text;
#[cfg(feature = "tls")]
pub(crate) mod x509_file;
