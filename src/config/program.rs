use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Config, ConfigError};
use crate::document::parse;

/// The file as the program around the guard reads it.
#[derive(Deserialize)]
struct Whole<T> {
    program: Option<T>,
}

impl Config {
    /// Reads the section `[program]`, which holds what the program around the guard sets for itself; `None` if
    /// there is none. The crate itself looks at nothing in it, so `T` should deny unknown fields.
    ///
    /// ```
    /// use portcullis::config::Config;
    ///
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Program {
    ///     greeting: String,
    /// }
    ///
    /// let config = Config::from_toml("[program]\ngreeting = \"hello\"\n", "/etc/gate")?;
    /// let program: Option<Program> = config.program()?;
    /// assert_eq!(program.unwrap().greeting, "hello");
    /// # Ok::<_, portcullis::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// Returns what of it is no `T`, with the place.
    pub fn program<T: DeserializeOwned>(&self) -> Result<Option<T>, ConfigError> {
        let whole: Whole<T> = parse(self.document.name(), self.document.text())?;
        Ok(whole.program)
    }

    /// The error about what `[program]` says under `key`, such as `program.peer[0].address`, with its place; of a key
    /// that is not there, the place of the nearest table around it.
    ///
    /// ```
    /// use portcullis::config::Config;
    ///
    /// let config = Config::from_toml("[program]\ncolour = \"blue\"\n", "/etc/gate")?;
    /// let error = config.unusable("program.colour", "there is no such colour");
    /// let expected = "configuration:2:10: program.colour: there is no such colour";
    /// assert_eq!(error.to_string(), expected);
    /// # Ok::<_, portcullis::config::ConfigError>(())
    /// ```
    #[must_use]
    pub fn unusable(
        &self,
        key: &str,
        error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ConfigError {
        self.document.unusable(key, error)
    }

    /// Returns `path` as the file means it: relative to the file's own folder.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.document.resolve(path.as_ref())
    }
}
