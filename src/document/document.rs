use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use toml::de::{DeTable, DeValue};

use super::layout::Layout;
use super::{ConfigError, Key, Place};
use crate::reload::WatchOptions;

/// The text that a configuration was read from: what its relative paths are relative to, and where in it
/// each key is.
#[derive(Clone)]
pub(crate) struct Document {
    origin: Origin,
    text: Arc<str>,
    layout: Arc<OnceLock<Layout>>,
    /// How the files that it names are watched.
    pub(crate) watch: WatchOptions,
}

#[derive(Clone, Debug)]
enum Origin {
    File(PathBuf),
    /// A text without a file, and the folder that its paths are relative to.
    Text(PathBuf),
}

impl Document {
    pub(crate) fn of_file(file: &Path, text: String) -> Self {
        Self::new(Origin::File(file.to_owned()), text)
    }

    pub(crate) fn of_text(text: &str, base: &Path) -> Self {
        Self::new(Origin::Text(base.to_owned()), text.to_owned())
    }

    fn new(origin: Origin, text: String) -> Self {
        Self {
            origin,
            text: text.into(),
            layout: Arc::default(),
            watch: WatchOptions::default(),
        }
    }

    /// The file to follow, if there is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(file) => Some(file),
            Origin::Text(_) => None,
        }
    }

    /// What errors call it.
    pub(crate) fn name(&self) -> &Path {
        self.file().unwrap_or(Path::new("configuration"))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// `path` as the document means it: relative to its own folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        let folder = match &self.origin {
            Origin::File(file) => file.parent().unwrap_or(Path::new("")),
            Origin::Text(base) => base,
        };
        folder.join(path)
    }

    /// Where this key is; of one that is not there, the nearest table around it that is.
    pub(crate) fn place(&self, key: &Key) -> Place {
        let (key, offset) = self.layout().locate(key);
        let (line, column) = self.position(offset);
        Place {
            file: self.name().to_owned(),
            line,
            column,
            key: key.to_string(),
        }
    }

    /// Line and column of this byte of the text, from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        self.layout().lines.position(&self.text, offset)
    }

    fn layout(&self) -> &Layout {
        self.layout.get_or_init(|| Layout::of(&self.text))
    }

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

    /// What is written under this key cannot be meant.
    pub(crate) fn invalid(&self, key: impl Into<Key>, error: impl fmt::Display) -> ConfigError {
        let Place {
            file,
            line,
            column,
            key,
        } = self.place(&key.into());
        let message = error.to_string();
        ConfigError::Invalid {
            file,
            line,
            column,
            key,
            message,
        }
    }

    /// Refuses an empty text under one of these names, outside of what the program around the guard sets for itself.
    pub(crate) fn check_names(&self, names: &[&str]) -> Result<(), ConfigError> {
        let mut texts = self.texts().into_iter();
        let is_blank = |(key, text): &(Key, String)| {
            text.trim().is_empty()
                && key.name().is_some_and(|name| names.contains(&name))
                && !key.to_string().starts_with("program.")
        };
        match texts.find(is_blank) {
            Some((key, _)) => {
                Err(self.invalid(key, "it is empty: write what is meant, or take it out"))
            }
            None => Ok(()),
        }
    }

    /// Every text in it, with the key that it is under.
    pub(crate) fn texts(&self) -> Vec<(Key, String)> {
        let mut found = Vec::new();
        if let Ok(table) = DeTable::parse(&self.text) {
            collect(
                &DeValue::Table(table.into_inner()),
                &Key::default(),
                &mut found,
            );
        }
        found
    }
}

impl fmt::Debug for Document {
    // Not the text: an operator may have put a secret there by mistake.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

fn collect(value: &DeValue<'_>, key: &Key, found: &mut Vec<(Key, String)>) {
    match value {
        DeValue::String(text) => found.push((key.clone(), text.clone().into_owned())),
        DeValue::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                collect(value.get_ref(), &key.clone().at(index), found);
            }
        }
        DeValue::Table(table) => {
            for (name, value) in table {
                collect(value.get_ref(), &key.clone().key(name.get_ref()), found);
            }
        }
        _ => {}
    }
}
