//! TOML documents: read whole or refused, every error with file, line, column and key. The configuration, the
//! policy and the credentials are such documents.

#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod document;
mod error;
mod key;
mod layout;
mod lines;
#[cfg(feature = "schema")]
pub(crate) mod schema;
mod values;
mod words;

pub(crate) use document::Document;
pub use error::ConfigError;
pub(crate) use error::{parse, read};
pub(crate) use key::Key;
pub use key::Place;
pub(crate) use lines::Lines;
pub(crate) use values::{ByteCount, HumanDuration, Text, paths, some_paths};
