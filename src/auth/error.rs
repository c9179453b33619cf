use std::io;
use std::path::PathBuf;

/// Why tokens cannot be used. Never holds a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The id is empty, or has a colon or a control character, which no Basic user can have.
    #[error("token {id:?}: an id is not empty and has neither colons nor control characters")]
    Id {
        /// The id.
        id: String,
    },
    /// There is no such environment variable, and none with `_FILE` after its name.
    #[error("token {id:?}: neither ${name} nor ${name}_FILE is set")]
    NoVariable {
        /// The token's id.
        id: String,
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("token {id:?}: {}: {error}", file.display())]
    Unreadable {
        /// The token's id.
        id: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        error: io::Error,
    },
    /// The token is too short to be anything but guessable.
    #[error("token {id:?}: {found} characters are too few, use at least {least} random ones")]
    TooShort {
        /// The token's id.
        id: String,
        /// How long it is.
        found: usize,
        /// How long it must be.
        least: usize,
    },
    /// The token has characters that cannot stand in a header (RFC 6750 §2.1).
    #[error("token {id:?}: only letters, digits and -._~+/= can stand in a token")]
    Characters {
        /// The token's id.
        id: String,
    },
    /// Not a SHA-256 digest.
    #[error("token {id:?}: a digest is 64 hexadecimal digits")]
    Digest {
        /// The token's id.
        id: String,
    },
    /// The token has no digest at all.
    #[error("token {id:?}: the list of digests is empty")]
    NoDigest {
        /// The token's id.
        id: String,
    },
    /// Two ids have one token, so that it would not tell who asks.
    #[error("tokens {first:?} and {second:?} are the same")]
    Same {
        /// The one's id.
        first: String,
        /// The other's id.
        second: String,
    },
    /// No token at all: nobody could come in.
    #[error("no token is configured")]
    None,
}
