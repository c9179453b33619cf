use std::path::PathBuf;

use serde::Deserialize;

use super::{ConfigError, Document, Key};
use crate::Watched;
use crate::crl::DenyList;
use crate::document::paths;

/// `[deny]`: client certificates, keys and SPIFFE IDs that are denied, whatever their CA publishes.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(crate) struct DenySection {
    /// Text files with an entry a line: what is denied, since when, `until=` when if it ends, and why. They are
    /// read again when they change; a line that is no entry then takes nothing back.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    #[serde(deserialize_with = "paths")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<PathBuf>"))]
    pub(crate) files: Vec<PathBuf>,
}

impl DenySection {
    pub(super) fn check(&self, document: &Document) -> Result<(), ConfigError> {
        if self.files.is_empty() {
            let message = "no file is named: name one, or take the section out";
            return Err(document.invalid("deny.files", message));
        }
        Ok(())
    }

    /// The list, which follows its files.
    pub(crate) fn watch(&self, document: &Document) -> Result<Watched<DenyList>, ConfigError> {
        let files = || self.files.iter().map(|file| document.resolve(file));
        DenyList::watch(files(), document.watch.clone()).map_err(|error| {
            let index = files().position(|file| Some(&*file) == error.path());
            let key = Key::from("deny.files");
            document.unusable(
                index.map_or_else(|| key.clone(), |at| key.clone().at(at)),
                error,
            )
        })
    }
}
