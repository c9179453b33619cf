use std::io;
use std::path::PathBuf;

use super::der::Malformed;

/// Why CRLs cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// A CRL cannot be used.
    #[error("{origin}: CRL {number}: {error}")]
    List {
        /// The file, or `bytes`.
        origin: String,
        /// Which CRL in it, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        error: CrlError,
    },
    /// A file is PEM but cannot be read as such.
    #[error("{origin}: not PEM: {reason}")]
    Pem {
        /// The file, or `bytes`.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// There is no CRL.
    #[error("{origin}: there is no CRL in it")]
    Empty {
        /// The file, the directory, or `bytes`.
        origin: String,
    },
    /// There is no cryptography to check signatures with.
    #[error("no cryptography provider: turn on the feature `aws-lc-rs` or `ring`, or install one")]
    NoProvider,
}

/// What is wrong with one CRL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// Not a `CertificateList` (RFC 5280 §5.1).
    #[error("it is malformed")]
    Malformed,
    /// Not version 2.
    #[error("it is not of version 2")]
    Version,
    /// Without `nextUpdate`, which RFC 5280 §5.1.2.5 demands.
    #[error("it does not say when the next one comes (nextUpdate)")]
    NoNextUpdate,
    /// A critical extension that is not known here: what the list means is not known either (RFC
    /// 5280 §5.2).
    #[error("its critical extension {0} is unknown")]
    UnknownCritical(String),
    /// A delta CRL (RFC 5280 §5.2.4).
    #[error("it is a delta CRL, which is not supported")]
    Delta,
    /// An indirect CRL (RFC 5280 §5.2.5).
    #[error("it is an indirect CRL, which is not supported")]
    Indirect,
    /// A CRL for some reasons only (RFC 5280 §5.2.5).
    #[error("it is for some reasons only, which is not supported")]
    SomeReasons,
    /// A distribution point that is named relative to the issuer (RFC 5280 §5.2.5).
    #[error("its distribution point's name is relative to the issuer, which is not supported")]
    RelativeName,
    /// Larger than 4 GiB.
    #[error("it is larger than 4 GiB")]
    TooLarge,
}

/// A certificate of a path that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate of the path is malformed: {0}")]
pub struct PathError(pub(super) String);

impl From<Malformed> for CrlError {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}
