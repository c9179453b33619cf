use std::io;
use std::path::PathBuf;

use super::super::{CrlError, LoadError, UnknownCause};
use crate::fetch::HttpError;

/// Why a CRL could not be fetched, or was not taken.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server gave no list.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// There is nothing to fetch: no URL is given, and none is in the CA certificates.
    #[error("no URL is given, and the CA certificates have no distribution point")]
    NoPoint,
    /// The answer cannot be read.
    #[error(transparent)]
    Content(Box<LoadError>),
    /// The answer is PEM, but not of one CRL alone.
    #[error("it holds {0} CRLs, not one")]
    NotOne(usize),
    /// The list cannot be used.
    #[error(transparent)]
    List(#[from] CrlError),
    /// No known CA signed the list, or none that may.
    #[error("it is not signed by a client CA or one of the further signers: {0}")]
    NotSigned(UnknownCause),
    /// The list begins in the future.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The list is older than the one in force.
    #[error("it is {came}, which is older than {in_force} that is in force")]
    Older {
        /// Its number in hexadecimal and its `thisUpdate`.
        came: String,
        /// Those of the list in force.
        in_force: String,
    },
    /// The list is older than the one in force by its number or its `thisUpdate`, and later by the other.
    #[error(
        "it is {came}, which contradicts {in_force} that is in force: one has the higher number and the \
         other the later thisUpdate, as where a CA was restored from a backup or its clock was wrong. It \
         is taken when the one in force is past its nextUpdate, {until}; to have it taken at once, let \
         the CA issue a CRL that is later by both, or remove the kept file and start anew"
    )]
    Contradicts {
        /// Its number in hexadecimal and its `thisUpdate`.
        came: String,
        /// Those of the list in force.
        in_force: String,
        /// When the list in force is over.
        until: String,
    },
    /// The list is about something else than the one in force, which is still current.
    #[error("it is of another issuer or scope than the one in force")]
    OtherScope,
    /// The list could not be kept.
    #[error("{}: {error}", path.display())]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

impl FetchError {
    /// As a closed-set label.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Http(error) => error.label(),
            Self::NoPoint => "configuration",
            Self::Content(_) | Self::NotOne(_) | Self::List(_) => "unusable",
            Self::NotSigned(_) => "not_signed",
            Self::NotYetValid => "not_yet_valid",
            Self::Older { .. } | Self::Contradicts { .. } => "older",
            Self::OtherScope => "other_scope",
            Self::Cache { .. } => "not_kept",
        }
    }
}
