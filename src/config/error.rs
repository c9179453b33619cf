use std::path::PathBuf;

use super::Place;
use crate::document::{Document, DocumentError, Key};

/// A configuration file that cannot be used, with the place.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read, is not TOML, or a key in it is unknown, missing or has an impossible value.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A section was there when the server started and is not any more: a layer is turned off by a
    /// restart only.
    #[error("{}: [{section}] is gone: a restart turns it off, a reload does not", file.display())]
    SectionGone {
        /// The file.
        file: PathBuf,
        /// The section.
        section: &'static str,
    },
    /// A `[crl]` that nothing would ever look at.
    #[error(
        "{place}: revocation needs client certificates: [tls] must have `client_ca`, and not \
         `client_auth = \"none\"`"
    )]
    NothingToRevoke {
        /// Where the section is.
        place: Place,
    },
    /// A rule of the policy names a class of byte rates that no limit is for.
    #[error(
        "{place}: the policy's rule {rule:?} names the rate class {class:?}: give a limit under \
         [[limits.limit]] `class = {class:?}`"
    )]
    RateClass {
        /// Where the rule is.
        place: Place,
        /// The rule's name.
        rule: Box<str>,
        /// The class.
        class: Box<str>,
    },
    /// Forwarded certificates are to be verified, but there are no client CAs to do it by.
    #[error(
        "{place}: verifying forwarded certificates needs client CAs: [tls] must have `client_ca`, and not \
         `client_auth = \"none\"`"
    )]
    NothingToVerifyBy {
        /// Where the key is.
        place: Place,
    },
    /// A service is to be asked about digests, but the program does not say how.
    #[error("{place}: this program has nobody to ask about digests: write \"refuse\"")]
    NobodyToAsk {
        /// Where the key is.
        place: Place,
    },
    /// A section needs a feature that this program was compiled without.
    #[error(
        "{place}: [{section}] needs the feature `{feature}` of portcullis, which this program was compiled \
         without"
    )]
    NoFeature {
        /// Where the section is.
        place: Place,
        /// The section.
        section: &'static str,
        /// The feature.
        feature: &'static str,
    },
    /// A number or a time that is too small or too large to be meant.
    #[error("{place}: {value} is not from {least} to {most}")]
    OutOfBounds {
        /// Where the value is.
        place: Place,
        /// The value.
        value: Box<str>,
        /// The least that is taken.
        least: Box<str>,
        /// The most that is taken.
        most: Box<str>,
    },
    /// The values are well formed but what they name, or what they mean together, cannot be used.
    #[error("{place}: {error}")]
    Unusable {
        /// Where the key is.
        place: Place,
        /// What is wrong with what it names.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Document {
    /// What this key names cannot be used.
    pub(crate) fn unusable(
        &self,
        key: impl Into<Key>,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ConfigError {
        ConfigError::Unusable {
            place: self.place(&key.into()),
            error: error.into(),
        }
    }
}
