//! TOML with the place of each error: line, column and key, for the configuration, policies and credentials.

#[allow(clippy::module_inception, reason = "the one noun of this folder")]
mod document;
mod error;
mod key;
mod parse;
#[cfg(feature = "schema")]
pub(crate) mod schema;
mod values;
mod words;

pub(crate) use document::Document;
pub use error::DocumentError;
pub(crate) use key::Key;
pub use key::Place;
pub(crate) use parse::{parse, place, read};
pub(crate) use values::{Bytes, Span, Text};
