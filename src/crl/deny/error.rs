use std::io;
use std::path::{Path, PathBuf};

use crate::identity::IdentityError;

/// Why a deny list cannot be used.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DenyError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is nothing in a file, not even a comment: a list that was cut off looks like that.
    #[error("{}: it is empty: where nothing is denied, write a line that begins with #", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A file is not UTF-8.
    #[error("{}:{line}: it is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A line is no entry.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong with it.
        problem: Box<str>,
    },
    /// A text is no entry.
    #[error("column {column}: {problem}")]
    Entry {
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong with it.
        problem: Box<str>,
    },
}

/// A line that is no entry of a deny list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DenyLineError {
    /// The column in characters, from 1.
    pub(super) column: usize,
    pub(super) problem: DenyProblem,
}

/// What is wrong with a line of a deny list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DenyProblem {
    /// It names nothing that can be denied.
    #[error(
        "{0:?} names no certificate: a line begins with fingerprint:HEX, key:HEX, serial:HEX issuer:\"NAME\" or \
         spiffe://DOMAIN/PATH"
    )]
    Subject(Box<str>),
    /// A digest of another length, or with other characters.
    #[error("a SHA-256 has 64 hexadecimal digits, with colons between two or without")]
    Digest,
    /// A serial number that is not hexadecimal.
    #[error("a serial number is written in hexadecimal, with colons between two digits or without")]
    Serial,
    /// A serial number without its issuer.
    #[error("a serial number is one of its issuer's: write issuer:\"NAME\" after it")]
    IssuerMissing,
    /// An issuer's name that cannot be read.
    #[error("{0:?} is no name in RFC 4514 form, such as issuer:\"CN=Nodes 2026,O=Example\"")]
    Issuer(Box<str>),
    /// Quotes that do not end.
    #[error("the quotes that begin here do not end")]
    Quotes,
    /// A text that is no SPIFFE ID.
    #[error(transparent)]
    SpiffeId(#[from] IdentityError),
    /// A whole trust domain.
    #[error("this is a trust domain, not a workload: to deny all of it remove its client CA")]
    TrustDomain,
    /// There is no date.
    #[error(
        "the date is missing: write 2026-11-30 or 2026-11-30T08:15:00Z, and the reason after it"
    )]
    DateMissing,
    /// A text that is no date, or one that does not exist.
    #[error("{0:?} is no date: write 2026-11-30 or 2026-11-30T08:15:00Z")]
    Date(Box<str>),
    /// An end before the beginning.
    #[error("the entry ends before it begins")]
    Until,
    /// There is no reason.
    #[error("the reason is missing: write it at the end of the line")]
    ReasonMissing,
    /// A reason that is longer than 512 characters, or has control characters.
    #[error("a reason has at most 512 characters, and no control characters")]
    Reason,
    /// The last line has no end.
    #[error("the last line has no end, as one that is written only in part: end it")]
    NoEnd,
}

impl DenyError {
    /// Returns the file that is wrong; `None` for a text that is in none.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::Empty { path }
            | Self::NotText { path, .. }
            | Self::Line { path, .. } => Some(path),
            Self::Entry { .. } => None,
        }
    }
}
