use std::path::PathBuf;
use std::time::Duration;

use super::{Credential, CredentialError, CredentialSource, Credentials};
use crate::Watched;
use crate::reload::{Load, WatchOptions};

impl Credentials {
    /// Reads the credentials of all sources now, and again whenever their files change.
    ///
    /// # Errors
    /// A credential that is missing, empty or not to be used.
    pub fn watch(
        sources: impl IntoIterator<Item = CredentialSource>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, CredentialError> {
        Watched::watch(Sources::new(sources.into_iter().collect(), None), options)
    }

    /// As [`Credentials::watch`], but use of a secret that expires within `warn_before` is logged and counted. The
    /// default is 14 days.
    ///
    /// # Errors
    /// Those of [`Credentials::watch`].
    pub fn watch_and_warn(
        sources: impl IntoIterator<Item = CredentialSource>,
        options: WatchOptions,
        warn_before: Duration,
    ) -> Result<Watched<Self>, CredentialError> {
        let sources = Sources::new(sources.into_iter().collect(), Some(warn_before));
        Watched::watch(sources, options)
    }
}

/// Reads all credentials of some sources.
pub(crate) struct Sources {
    all: Vec<CredentialSource>,
    /// What each of them held when it could be read last.
    known: Vec<Option<Vec<Credential>>>,
    /// Why some could not be read now. What was withdrawn in the others does not wait for them.
    wrong: Option<String>,
    warn_before: Duration,
    none_allowed: bool,
    /// The one that the newest load failed for, if it was one.
    culprit: Option<usize>,
}

impl Sources {
    pub(crate) fn new(sources: Vec<CredentialSource>, warn_before: Option<Duration>) -> Self {
        Self {
            known: vec![None; sources.len()],
            wrong: None,
            all: sources,
            warn_before: warn_before.unwrap_or(Duration::from_secs(14 * 24 * 60 * 60)),
            none_allowed: false,
            culprit: None,
        }
    }

    /// The number of the source that the newest load failed for.
    #[cfg(feature = "config")]
    pub(crate) fn culprit(&self) -> Option<usize> {
        self.culprit
    }

    /// Knows of each source that was there before what it held then: one that cannot be read now holds up no other
    /// that was taken out of the configuration.
    #[cfg(feature = "config")]
    pub(crate) fn following(mut self, before: &Self) -> Self {
        for (source, known) in self.all.iter().zip(&mut self.known) {
            let same = before.all.iter().position(|one| one == source);
            *known = same.and_then(|at| before.known[at].clone());
        }
        self
    }

    /// Accepts that there is no credential at all, because callers can come in otherwise.
    #[cfg(feature = "config")]
    pub(crate) fn with_none_allowed(mut self, allowed: bool) -> Self {
        self.none_allowed = allowed;
        self
    }
}

impl Load for Sources {
    type Value = Credentials;
    type Error = CredentialError;

    fn name(&self) -> &'static str {
        "tokens"
    }

    fn paths(&self) -> Vec<PathBuf> {
        let sources = self.all.iter();
        sources.filter_map(CredentialSource::path).collect()
    }

    fn load(&mut self, previous: Option<&Credentials>) -> Result<Credentials, CredentialError> {
        let mut all = Vec::new();
        let mut ids = Vec::new();
        let mut wrong = Vec::new();
        for (number, (source, known)) in self.all.iter().zip(&mut self.known).enumerate() {
            self.culprit = Some(number);
            match (source.read(), &*known, previous) {
                (Ok(read), ..) => {
                    let had = known.as_ref().map_or(0, Vec::len);
                    if read.is_empty()
                        && had > 0
                        && let Some(file) = source.path()
                    {
                        tracing::warn!(
                            file = %file.display(),
                            before = had,
                            "the file has no credential any more: all that were in it are refused from now on"
                        );
                    }
                    *known = Some(read);
                }
                (Err(error), Some(_), Some(_)) => wrong.push(error.to_string()),
                (Err(error), ..) => return Err(error),
            }
            for credential in known.iter().flatten() {
                ids.push((number, credential.id.clone()));
                all.push(credential.clone());
            }
        }
        self.culprit = None;
        self.wrong = (!wrong.is_empty()).then(|| wrong.join("; "));
        let all = if self.none_allowed {
            Credentials::or_none(all)
        } else {
            Credentials::new(all)
        };
        if let Some(id) = all.as_ref().err().and_then(CredentialError::id) {
            // Of two with one id it is the second that is one too many.
            let last = ids.iter().rev().find(|(_, known)| **known == *id);
            self.culprit = last.map(|(number, _)| *number);
        }
        all.map(|all| all.with_warning_before(self.warn_before))
    }

    fn refused(&self, _: &Credentials) -> Option<String> {
        self.wrong.clone()
    }

    fn lapsed(&mut self, _: &Credentials) -> Option<Credentials> {
        // None at all cannot be wrong.
        Credentials::or_none([]).ok()
    }
}

#[cfg(all(test, feature = "passwords"))]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_that_loses_all_its_users_at_a_reload_is_logged_once() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("htpasswd");
        let hash = "$2y$05$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u";
        std::fs::write(&file, format!("alice:{hash}\nbob:{hash}\n")).unwrap();
        let token = CredentialSource::sha256("ci", ["a".repeat(64)]);
        let users = CredentialSource::htpasswd(&file);
        let mut sources = Sources::new(vec![token.unwrap(), users], None);
        let first = sources.load(None).unwrap();
        let said = || String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert!(!said().contains("no credential any more"), "{}", said());
        std::fs::write(&file, "# all withdrawn\n").unwrap();
        let second = sources.load(Some(&first)).unwrap();
        assert_eq!((first.len(), second.len()), (3, 1));
        sources.load(Some(&second)).unwrap();
        assert_eq!(
            said().matches("no credential any more").count(),
            1,
            "{}",
            said()
        );
        assert!(said().contains("before=2"), "{}", said());
    }
}
