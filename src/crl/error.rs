use std::io;
use std::path::PathBuf;

use super::der::Malformed;
#[cfg(feature = "crl-fetch")]
use super::verdict::UnknownCause;
#[cfg(feature = "crl-fetch")]
use crate::fetch::HttpError;
use crate::util::pem_error::PemError;

/// Why CRLs cannot be used.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file or directory cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
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
        error: CrlError,
    },
    /// A file is PEM but not all of it can be read as such.
    #[error("{origin}:{line}: {problem}")]
    Pem {
        /// The file, or `bytes`.
        origin: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Box<str>,
    },
    /// A file is gzip but cannot be decompressed: it is cut short or damaged.
    #[error("{origin}: not gzip: {error}")]
    Gzip {
        /// The file, or `bytes`.
        origin: String,
        /// What is wrong.
        error: io::Error,
    },
    /// What a compressed file holds is larger than [`Options`](super::Options) allow.
    #[error("{origin}: it is larger than {max_size} bytes when it is decompressed")]
    TooLarge {
        /// The file, or `bytes`.
        origin: String,
        /// How large it may be.
        max_size: u64,
    },
    /// There is nothing in it.
    #[error("{origin}: there is no CRL, or no certificate of a signer, in it")]
    Empty {
        /// The file, the directory, or `bytes`.
        origin: String,
    },
    /// A file of CRLs holds others now, of other CAs or keys, or about less. What was in it before stays, because its CA is still known:
    /// without it the CA's revoked certificates would count as not revoked, or as unknown.
    #[error(
        "{origin}: the CRL of {issuer:?} was in it, and no file has one by this CA's key any more that is about as much: it \
         stays in force until its nextUpdate. Put the CA's list back, or remove the file, or the CA, if the list is to go"
    )]
    Displaced {
        /// The file.
        origin: String,
        /// The issuer of the CRL that is missing.
        issuer: String,
    },
    /// No file is named.
    #[error(
        "no file or folder of CRLs is named: name one, fetch lists, or give each client CA that publishes none a rule"
    )]
    NoFile,
    /// Some of the lists cannot be used; the active ones in their places stay.
    #[error("{0}")]
    Refused(String),
    /// A CRL is neither kept from before nor to be fetched.
    #[cfg(feature = "crl-fetch")]
    #[error("{origin}: {problem}")]
    Fetch {
        /// The URL without its query, or what the settings are about.
        origin: String,
        /// Why not, as the label `reason` of the metrics has it, or `configuration`.
        reason: &'static str,
        /// The same in words.
        problem: Box<str>,
    },
    /// A text names no CA.
    #[error(
        "a CA is named by its subject in RFC 4514 form, as \"CN=Nodes,O=Example\", or in hexadecimal by the \
         SHA-256 of its public key or by its key identifier"
    )]
    CaName,
    /// A certificate of a CA or a signer in a file cannot be used.
    #[error("{origin}:{line}: {error}")]
    Signer {
        /// The file.
        origin: String,
        /// The line of the certificate's first, from 1.
        line: usize,
        /// What is wrong with it.
        error: CrlError,
    },
    /// One of the authorities' certificates cannot be read.
    #[error(transparent)]
    Authority(#[from] CrlError),
}

/// What is wrong with one CRL, or with a certificate of a path, so that its revocation cannot be checked.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlError {
    /// The CA that it names as its issuer did not sign it: it is forged, or damaged.
    #[error(
        "it is not signed by the key of {issuer:?}, whose name it has: it is damaged or not that CA's"
    )]
    NotSigned {
        /// The issuer's name.
        issuer: String,
    },
    /// Not a `CertificateList` (RFC 5280 §5.1).
    #[error("it is malformed: {field} at byte {offset}")]
    Malformed {
        /// What cannot be read, by its name in RFC 5280.
        field: &'static str,
        /// How many bytes of the CRL's DER stand before it.
        offset: usize,
    },
    /// Not version 2.
    #[error("it is not of version 2")]
    Version,
    /// An extension that is there twice, of the list or of an entry.
    #[error("its extension {0}, or that of an entry, is there twice")]
    ExtensionTwice(String),
    /// Over before it begins.
    #[error("its nextUpdate is before its thisUpdate")]
    EndsBeforeItBegins,
    /// Without `nextUpdate`, which RFC 5280 §5.1.2.5 demands.
    #[error("it does not say when the next one comes (nextUpdate)")]
    NoNextUpdate,
    /// A critical extension that is not known here: what the list means is not known either (RFC
    /// 5280 §5.2).
    #[error("its critical extension {0} is unknown")]
    UnknownCritical(String),
    /// An entry names the issuer of its certificate though the list is not indirect (RFC 5280
    /// §5.3.3).
    #[error("an entry names another issuer, but the list is not indirect")]
    UnexpectedIssuer,
    /// It had not been issued at the time that is asked about, which is over.
    #[error("it had not been issued then")]
    NotIssuedThen,
    /// Signed by an algorithm that the cryptography provider does not support: its signer cannot be determined.
    #[error(
        "it is signed by {0}, which is not supported: have the CA sign it by another algorithm"
    )]
    UnsupportedAlgorithm(String),
    /// Signed by a known CA or signer whose key the cryptography provider does not support: the signature
    /// cannot be checked.
    #[error(
        "its signer `{signer}` has {key}, which is not supported: have it signed by another key"
    )]
    UnsupportedKey {
        /// The signer's subject.
        signer: String,
        /// What its key is.
        key: String,
    },
    /// Larger than 4 GiB.
    #[error("it is larger than 4 GiB")]
    TooLarge,
    /// A certificate of a path, of a CA or of a signer cannot be read.
    #[error("a certificate of the path is malformed: {0}")]
    MalformedCertificate(String),
    /// A certificate has more distribution points than are compared with each list.
    #[error(
        "a certificate of the path has more than 64 CRL distribution points, and no more are taken"
    )]
    TooManyPoints,
    /// A certificate signs others though its key usage does not let it (RFC 5280 §6.1.4 (n)), which
    /// webpki does not look at.
    #[error("{0} issued a certificate, but keyCertSign is missing in its key usage")]
    MayNotSign(String),
    /// A certificate says that there is no revocation information for it (noRevAvail) beside something that
    /// contradicts this: RFC 9608 §3 considers it invalid.
    #[error(
        "the certificate of {subject} says noRevAvail, but {why}: the CA must not issue that (RFC 9608)"
    )]
    NoRevAvail {
        /// The certificate's subject.
        subject: String,
        /// What contradicts it.
        why: &'static str,
    },
}

impl LoadError {
    pub(super) fn not_pem(origin: String, error: &PemError) -> Self {
        Self::Pem {
            origin,
            line: error.line,
            problem: error.problem.to_string().into(),
        }
    }

    #[cfg(feature = "crl-fetch")]
    pub(super) fn not_fetched(origin: String, error: &FetchError) -> Self {
        Self::Fetch {
            origin,
            reason: error.label(),
            problem: error.to_string().into(),
        }
    }

    pub(super) fn unreadable(path: &std::path::Path, error: std::io::Error) -> Self {
        Self::Unreadable {
            path: path.to_owned(),
            error,
        }
    }

    /// The file or directory that is wrong.
    pub(crate) fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Unreadable { path, .. } => Some(path),
            Self::List { origin, .. }
            | Self::Pem { origin, .. }
            | Self::Gzip { origin, .. }
            | Self::TooLarge { origin, .. }
            | Self::Displaced { origin, .. }
            | Self::Signer { origin, .. }
            | Self::Empty { origin } => Some(std::path::Path::new(origin)),
            _ => None,
        }
    }

    /// Whether a start fails for it. RFC 5280 §5.2: a list with an unknown critical extension must not
    /// be used, but is no mistake of who gives it.
    pub(super) fn is_broken(&self) -> bool {
        let error = match self {
            Self::List { error, .. } => Some(error),
            _ => None,
        };
        !matches!(
            error,
            Some(CrlError::UnknownCritical(_) | CrlError::NotIssuedThen)
        )
    }
}

impl From<Malformed> for CrlError {
    fn from(Malformed { field, offset }: Malformed) -> Self {
        Self::Malformed { field, offset }
    }
}

impl CrlError {
    /// The same, of bytes that so many others stand before.
    pub(super) fn after(self, bytes: usize) -> Self {
        match self {
            Self::Malformed { field, offset } => Malformed { field, offset }.after(bytes).into(),
            other => other,
        }
    }
}

/// Why a CRL could not be fetched, or was not taken.
#[cfg(feature = "crl-fetch")]
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
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
    /// The list is older than the active one.
    #[error("it is {came}, which is older than {in_force} that is in force")]
    Older {
        /// Its number in hexadecimal and its `thisUpdate`.
        came: String,
        /// Those of the active list.
        in_force: String,
    },
    /// The list is older than the active one by its number or its `thisUpdate`, and later by the other.
    #[error(
        "it is {came}, which contradicts {in_force} that is in force: one has the higher number and the \
         other the later thisUpdate, as where a CA was restored from a backup or its clock was wrong. It \
         is taken when the one in force is past its nextUpdate, {until}; to have it taken at once, let \
         the CA issue a CRL that is later by both, or remove the kept file and start anew"
    )]
    Contradicts {
        /// Its number in hexadecimal and its `thisUpdate`.
        came: String,
        /// Those of the active list.
        in_force: String,
        /// When the active list is over.
        until: String,
    },
    /// The list is about something else than the active one, which is still current.
    #[error("it is of another issuer or scope than the one in force")]
    OtherScope,
    /// The list could not be kept.
    #[error("{}: {error}", path.display())]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

#[cfg(feature = "crl-fetch")]
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
