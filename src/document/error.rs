use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as KeyPath, Segment};

use super::{Lines, Place, words};
use crate::util::error_chain::chain;
use crate::util::file::{DOCUMENT, read_text};

/// A configuration file that cannot be used, with the place.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The file is not TOML, or a key in it is unknown, missing or has an impossible value.
    #[error("{}:{line}:{column}: {}{message}", file.display(), prefix(key))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// The key, as `table.key[index]`; empty at the top level.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A section was there when the server started and is not any more: a layer is turned off by a
    /// restart only.
    #[error("{}: [{section}] is gone: a restart turns it off, a reload does not", file.display())]
    SectionGone {
        /// The file.
        file: PathBuf,
        /// The section.
        section: &'static str,
    },
    /// A `[deny]` that nothing would ever look at.
    #[error(
        "{place}: a deny list is about client certificates: [tls] must have `client_ca`, and not \
         `client_auth = \"none\"`"
    )]
    NobodyToDeny {
        /// Where the section is.
        place: Place,
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
    #[error("{place}: {}", chain(&**error))]
    Unusable {
        /// Where the key is.
        place: Place,
        /// What is wrong with what it names.
        error: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads a TOML file, and gives its text too; the error names file, line, column and key.
pub(crate) fn read<T: DeserializeOwned>(file: &Path) -> Result<(T, String), ConfigError> {
    let text = read_text(file, DOCUMENT).map_err(|error| ConfigError::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    Ok((parse(file, &text)?, text))
}

/// [`read`] for a text that is already here.
pub(crate) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, ConfigError> {
    let invalid = |error: &toml::de::Error, key: String| {
        let span = error.span().unwrap_or_default();
        let (line, column) = Lines::of(text).position(text, span.start);
        let value = text.get(span).unwrap_or("");
        let message = words::plain(error.message(), value);
        let message = masked(&message, &key, value);
        ConfigError::Invalid {
            file: file.to_owned(),
            line,
            column,
            key,
            message,
        }
    };
    let deserializer = toml::Deserializer::parse(text).map_err(|error| {
        let twice = error.message() == "duplicate key";
        let key = error
            .span()
            .filter(|_| twice)
            .and_then(|span| text.get(span));
        invalid(&error, key.unwrap_or_default().to_owned())
    })?;
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| invalid(error.inner(), dotted(error.path())))
}

/// The message without the value that it quotes, where an operator may have written a secret: a token
/// in the place of its digest, say.
fn masked(message: &str, key: &str, value: &str) -> String {
    let near_secrets = ["auth", "credential", "limits.fleet"];
    let value = toml::de::ValueDeserializer::parse(value).ok();
    let value = value.and_then(|value| String::deserialize(value).ok());
    match value {
        // Shorter than any secret that is let in, and maybe a part of other words.
        Some(value) if value.len() < 8 => message.to_owned(),
        Some(value) if near_secrets.iter().any(|table| key.starts_with(table)) => message
            .replace(&value, "…")
            .replace(&value.escape_debug().to_string(), "…"),
        _ => message.to_owned(),
    }
}

/// Known segments only: the unknown ones are in the message already.
fn dotted(path: &KeyPath) -> String {
    let mut key = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                // Writing to a string cannot fail.
                let _ = write!(key, "[{index}]");
            }
            // How `toml::Spanned` asks for the place of a value.
            Segment::Map { key: name } if name.starts_with("$__serde_spanned") => {}
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(name);
            }
            Segment::Unknown => {}
        }
    }
    key
}

fn prefix(key: &str) -> String {
    if key.is_empty() {
        String::new()
    } else {
        format!("{key}: ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[allow(dead_code)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[allow(dead_code)]
        number: u8,
    }

    fn error(text: &str) -> String {
        parse::<Outer>(Path::new("gate.toml"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_error_names_file_line_column_and_key() {
        assert_eq!(
            error("[[inner]]\nnumber = 1\n[[inner]]\nnumber = \"é\"\n"),
            "gate.toml:4:10: inner[1].number: a whole number from 0 to 255 is expected, not the text \
             \"é\", without quotes"
        );
        assert_eq!(
            error("[[inner]]\nnumbre = 1\n"),
            "gate.toml:2:1: inner[0].numbre: unknown field `numbre`, expected `number`"
        );
        assert_eq!(
            error("# é\ninner = [{]\n").split(": ").next(),
            Some("gate.toml:2:11")
        );
        assert_eq!(error(""), "gate.toml:1:1: missing field `inner`");
        assert_eq!(
            error("[[inner]]\nnumber = 1\nnumber = 2\n"),
            "gate.toml:3:1: number: it is in its table twice: take one out"
        );
    }
}
