use std::path::PathBuf;

use crate::Watched;
use crate::config::{Config, ConfigError, Document};
use crate::reload::Load;

/// Follows one section of the configuration file.
pub(super) fn follow<T: Send + Sync + 'static>(
    config: &Config,
    section: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
) -> Result<Watched<T>, ConfigError> {
    let section = Section::of(config, section, pick);
    Watched::watch(section, config.document.watch.clone())
}

/// One section of the configuration file, read again when the file changes.
pub(super) struct Section<T> {
    document: Document,
    /// Other files that it depends on.
    besides: Vec<PathBuf>,
    name: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
    /// Makes what takes its place when the file could not be used for too long.
    lapsed: fn() -> Option<T>,
}

impl<T> Section<T> {
    pub(super) fn of(
        config: &Config,
        name: &'static str,
        pick: fn(&Config) -> Result<Option<T>, ConfigError>,
    ) -> Self {
        Self {
            document: config.document.clone(),
            besides: Vec::new(),
            name,
            pick,
            lapsed: || None,
        }
    }

    /// Also reads the section again when one of these files changes.
    pub(super) fn depending_on(mut self, files: impl Iterator<Item = PathBuf>) -> Self {
        self.besides = files.collect();
        self
    }

    pub(super) fn lapsing(mut self, lapsed: fn() -> Option<T>) -> Self {
        self.lapsed = lapsed;
        self
    }
}

impl<T: Send + Sync + 'static> Load for Section<T> {
    type Value = T;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.name
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.besides.clone();
        paths.extend(self.document.file().map(PathBuf::from));
        paths
    }

    fn load(&mut self, _previous: Option<&T>) -> Result<T, ConfigError> {
        let config = Config::again(&self.document)?;
        (self.pick)(&config)?.ok_or_else(|| ConfigError::SectionGone {
            file: self.document.name().to_owned(),
            section: self.name,
        })
    }

    fn lapsed(&mut self, _: &T) -> Option<T> {
        (self.lapsed)()
    }
}
