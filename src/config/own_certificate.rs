use std::path::{Path, PathBuf};

use super::{ConfigError, Document, Key};
use crate::tls::CertificateFiles;

/// The keys of a table that name a certificate of the server's: `certificate` and `key`, or `bundle`.
pub(super) struct OwnCertificateKeys<'a> {
    /// The table.
    pub(super) table: Key,
    pub(super) certificate: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
    pub(super) bundle: Option<&'a Path>,
}

impl OwnCertificateKeys<'_> {
    /// Checks that they name one certificate.
    pub(super) fn check(&self, document: &Document) -> Result<(), ConfigError> {
        let key = |name| self.table.clone().key(name);
        let (at, message) = match (self.certificate, self.key, self.bundle) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => return Ok(()),
            (_, _, Some(_)) => (
                key("bundle"),
                "a bundle holds certificate and key: take out `certificate` and `key`, or `bundle`",
            ),
            (None, _, None) => (
                self.table.clone(),
                "missing field `certificate`: write `certificate` and `key`, or `bundle` for one file with both",
            ),
            (Some(_), None, None) => (
                self.table.clone(),
                "missing field `key`: write it beside `certificate`, or `bundle` alone for one file with both",
            ),
        };
        Err(document.invalid(at, message))
    }

    pub(super) fn files(&self, document: &Document) -> CertificateFiles {
        let resolve = |path: Option<&Path>| document.resolve(path.unwrap_or(Path::new("")));
        match self.bundle {
            Some(bundle) => CertificateFiles::bundle(document.resolve(bundle)),
            None => CertificateFiles::new(resolve(self.certificate), resolve(self.key)),
        }
    }

    /// The files with their keys.
    pub(super) fn named(&self, document: &Document) -> impl Iterator<Item = (Key, PathBuf)> {
        let named = [
            ("certificate", self.certificate),
            ("key", self.key),
            ("bundle", self.bundle),
        ];
        named.into_iter().filter_map(|(name, path)| {
            Some((self.table.clone().key(name), document.resolve(path?)))
        })
    }
}
