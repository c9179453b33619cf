//! What every part may stand on, and what stands on no part.

#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod bounded_cache;
#[cfg(any(feature = "json-log", feature = "rate", feature = "x509"))]
pub(crate) mod calendar;
pub(crate) mod clock;
pub(crate) mod counted;
#[cfg(any(feature = "rate", feature = "serve", feature = "tls"))]
pub(crate) mod deadline;
#[cfg(feature = "x509")]
pub(crate) mod der;
pub(crate) mod descriptors;
pub(crate) mod error_chain;
#[cfg(feature = "reload")]
pub(crate) mod file;
#[cfg(feature = "reload")]
pub(crate) mod file_error;
#[cfg(any(feature = "auth", feature = "rate"))]
pub(crate) mod gcra;
#[cfg(feature = "tls")]
pub(crate) mod good_until;
pub(crate) mod hex;
pub(crate) mod inner_service;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "crl"),
    allow(dead_code, reason = "without CRLs no file is read for two things")
)]
pub(crate) mod left_out;
#[cfg(any(feature = "serve", feature = "tls"))]
pub(crate) mod on_wake;
#[cfg(feature = "reload")]
pub(crate) mod patience;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "of a key's server only CA certificates are read")
)]
pub(crate) mod pem;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "of a key's server only CA certificates are read")
)]
pub(crate) mod pem_error;
pub(crate) mod printable;
pub(crate) mod seldom;
#[cfg(any(feature = "auth", feature = "tls"))]
pub(crate) mod text;
#[cfg(feature = "x509")]
pub(crate) mod x509_error;
#[cfg(any(feature = "tls", feature = "jwt-fetch"))]
#[cfg_attr(
    not(feature = "tls"),
    allow(dead_code, reason = "of a key's server only CA certificates are read")
)]
pub(crate) mod x509_file;
