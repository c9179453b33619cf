use std::io;
use std::path::PathBuf;

/// Why credentials cannot be used. Never holds a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The content of an issuer's key set.
    #[cfg(feature = "jwt")]
    #[error("{0}")]
    KeySet(Box<str>),
    /// The content of a file with an issuer's key set.
    #[cfg(feature = "jwt")]
    #[error("{}: {problem}", file.display())]
    KeySetFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with its content.
        problem: Box<str>,
    },
    /// An issuer's keys cannot be fetched.
    #[cfg(feature = "jwt-fetch")]
    #[error("{url}: {problem}")]
    Fetch {
        /// From where, without a query.
        url: String,
        /// Why not.
        problem: Box<str>,
    },
    /// An issuer's keys would be fetched without TLS: an attacker on the way would choose them.
    #[cfg(feature = "jwt-fetch")]
    #[error("{url}: keys are fetched over https, or from this machine")]
    InTheClear {
        /// From where, without a query.
        url: String,
    },
    /// There is no CA certificate in the file that is to have those of the server that keys are fetched from.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}: there is no PEM certificate in it that can be used", file.display())]
    NoCa {
        /// The file.
        file: PathBuf,
    },
    /// The file that is to have the CA certificates of the server that keys are fetched from is not what PEM
    /// allows.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}:{line}: {problem}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Box<str>,
    },
    /// The file with the token that keys are fetched with has none that can stand in a header.
    #[cfg(feature = "jwt-fetch")]
    #[error("{}: there is no token in it", file.display())]
    NoToken {
        /// The file.
        file: PathBuf,
    },
    /// There is no thread to fetch keys with.
    #[cfg(feature = "jwt-fetch")]
    #[error("no thread to fetch keys with: {0}")]
    Runtime(io::Error),
    /// An issuer without audiences: its tokens for any server would be good here.
    #[cfg(feature = "jwt")]
    #[error("the issuer {issuer:?} needs an audience")]
    NoAudience {
        /// The issuer.
        issuer: String,
    },
    /// The id is empty, or has a colon or a control character, which no Basic user can have.
    #[error("credential {id:?}: an id is not empty and has neither colons nor control characters")]
    Id {
        /// The id.
        id: String,
    },
    /// There is no such environment variable, and none with `_FILE` after its name.
    #[error(
        "credential {id:?}: the environment variable {name} is not set, nor {name}_FILE with the path of a \
         file: set one of them"
    )]
    NoVariable {
        /// The credential's id.
        id: String,
        /// The variable.
        name: String,
    },
    /// A file cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is nothing in the token's file or variable.
    #[error("credential {id:?}: the token is empty; make one with `portcullisctl token`")]
    Empty {
        /// The credential's id.
        id: String,
    },
    /// The token can be guessed: it is neither a generated one nor long and varied enough for a random one.
    #[error(
        "credential {id:?}: the token can be guessed: it needs at least 22 characters, 10 of them \
         different; make one with `portcullisctl token`, keep a password as a hash of `portcullisctl \
         hash`, or take it all the same with `weak = true`"
    )]
    TooWeak {
        /// The credential's id.
        id: String,
    },
    /// A generated token that lacks some characters or has others.
    #[error("credential {id:?}: the token's checksum is wrong: it was not copied whole")]
    Damaged {
        /// The credential's id.
        id: String,
    },
    /// The token has characters that cannot stand in a header (RFC 6750 §2.1), or, in a Secret
    /// directory, is not UTF-8 or has control characters.
    #[error("credential {id:?}: only letters, digits and -._~+/= can stand in a token")]
    Characters {
        /// The credential's id.
        id: String,
    },
    /// A digest that is not accepted.
    #[error("credential {id:?}: {problem}")]
    Digest {
        /// The credential's id.
        id: String,
        /// What is wrong with it.
        problem: Box<str>,
    },
    /// A text is no digest, or names no certificate. Does not hold the text of a digest.
    #[error("{0}")]
    Text(Box<str>),
    /// A line that is no entry of an htpasswd file.
    #[cfg(feature = "passwords")]
    #[error("{}:{line}: {problem}", file.display())]
    Htpasswd {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong in it.
        problem: Box<str>,
    },
    /// The credentials file is not as it must be.
    #[cfg(feature = "config")]
    #[error(transparent)]
    File(#[from] crate::document::ConfigError),
    /// The credential has no secret at all.
    #[error("credential {id:?} has no secret")]
    NoSecret {
        /// The credential's id.
        id: String,
    },
    /// A secret of the credential expires before it begins to be good.
    #[error(
        "credential {id:?}: a secret is good at no time: it must expire later than it begins to be good"
    )]
    NeverGood {
        /// The credential's id.
        id: String,
    },
    /// Two credentials have one id.
    #[error("there are two credentials with the id {id:?}: give each its own")]
    SameId {
        /// The id.
        id: String,
    },
    /// Two ids have one token, so that it would not tell who asks, or one has it twice.
    #[error(
        "credentials {first:?} and {second:?} have the same token: make one with `portcullisctl token`"
    )]
    SameSecret {
        /// The one's id.
        first: String,
        /// The other's id.
        second: String,
    },
    /// No credential at all: no caller could come in.
    #[error("no credential is configured")]
    None,
    /// No credential at all any more, and issuers that were not there at the start.
    #[cfg(feature = "jwt")]
    #[error("no credential is configured, and issuers come into force at a restart")]
    IssuersAtRestart,
}

impl CredentialError {
    /// The file of an issuer's keys that is wrong, if it is one.
    #[cfg(all(feature = "config", feature = "jwt"))]
    pub(crate) fn key_file(&self) -> Option<&std::path::Path> {
        match self {
            Self::Unreadable { file, .. } | Self::KeySetFile { file, .. } => Some(file),
            #[cfg(feature = "jwt-fetch")]
            Self::NoCa { file } | Self::Pem { file, .. } | Self::NoToken { file } => Some(file),
            _ => None,
        }
    }

    /// The id of the credential that is wrong; of two that do not go together, that of the second.
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Id { id }
            | Self::NoVariable { id, .. }
            | Self::Empty { id }
            | Self::TooWeak { id, .. }
            | Self::Damaged { id }
            | Self::Characters { id }
            | Self::Digest { id, .. }
            | Self::NoSecret { id }
            | Self::NeverGood { id }
            | Self::SameId { id } => Some(id),
            Self::SameSecret { second, .. } => Some(second),
            _ => None,
        }
    }
}
