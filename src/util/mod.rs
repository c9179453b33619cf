//! What every part may stand on, and what stands on no part.

#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod bounded_cache;
pub(crate) mod calendar;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod file;
pub(crate) mod file_error;
#[cfg(any(feature = "auth", feature = "rate"))]
pub(crate) mod gcra;
#[cfg(feature = "tls")]
pub(crate) mod good_until;
pub(crate) mod hex;
pub(crate) mod patience;
#[cfg(feature = "tls")]
pub(crate) mod pem;
pub(crate) mod printable;
#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod text;
#[cfg(feature = "tls")]
pub(crate) mod x509_file;
