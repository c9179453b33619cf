use std::io;
use std::path::PathBuf;

use http::HeaderValue;
use portcullis::Watched;
use portcullis::reload::{Load, Pinned, WatchOptions};

/// A file with the whole value of the header `Authorization` that the registry is shown: `Basic …` or
/// `Bearer …`. It is read again when it changes, so a rotation here is none of the gate's own tokens.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizationFile(pub(crate) PathBuf);

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorizationError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{}: it is not the value of an Authorization header, one line as `Basic dXNlcjpzZWNyZXQ=` or `Bearer TOKEN`",
        .0.display()
    )]
    Form(PathBuf),
}

impl AuthorizationFile {
    /// Reads the file now, and whenever it changes.
    ///
    /// # Errors
    /// It cannot be read or is no such value.
    pub(crate) fn watch(self) -> Result<Watched<HeaderValue>, AuthorizationError> {
        Watched::watch(self, WatchOptions::default())
    }
}

impl Load for AuthorizationFile {
    type Value = HeaderValue;
    type Error = AuthorizationError;

    fn name(&self) -> &'static str {
        "upstream_authorization"
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn load(&mut self, _: Option<&HeaderValue>) -> Result<HeaderValue, AuthorizationError> {
        let path = || self.0.clone();
        let text = Pinned::new().read_at_most(&self.0, 16 * 1024);
        let text = text.map_err(|source| AuthorizationError::Read {
            path: path(),
            source,
        })?;
        let text = text.trim_ascii();
        let schemes: [&[u8]; 2] = [b"Basic ", b"Bearer "];
        let known = schemes.iter().any(|scheme| {
            text.get(..scheme.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let value = HeaderValue::from_bytes(text).ok().filter(|_| known);
        let mut value = value.ok_or_else(|| AuthorizationError::Form(path()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}
