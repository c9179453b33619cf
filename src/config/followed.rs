//! The credentials of the configuration as its file and theirs change.

use std::path::PathBuf;

#[cfg(feature = "jwt")]
use super::Key;
use super::{AuthSection, Config, ConfigError, Document, Requirement};
use crate::Watched;
use crate::auth::{Authentication, Certificate, CredentialError, Credentials, Sources};
use crate::reload::{Fingerprint, Load};

impl AuthSection {
    pub(crate) fn authentication(
        &self,
        document: &Document,
    ) -> Result<Authentication, ConfigError> {
        let credentials = || Followed::watch(document, self).map(Some);
        let mut authentication = match self.require {
            Requirement::Certificate => Authentication::certificate(),
            Requirement::Token => Authentication::with(credentials()?, Certificate::Ignored),
            Requirement::TokenOrCertificate => {
                Authentication::with(credentials()?, Certificate::Enough)
            }
            Requirement::TokenAndCertificate => {
                Authentication::with(credentials()?, Certificate::Needed)
            }
        };
        #[cfg(feature = "jwt")]
        if !self.jwt.is_empty() {
            let issuers = self.jwt.iter().enumerate().map(|(index, section)| {
                let key = Key::from("auth.jwt").at(index);
                section.issuer(document).map_err(|error| {
                    let name = section.culprit(document, &error);
                    document.unusable(key.key(name), error)
                })
            });
            authentication = authentication.with_issuers(issuers.collect::<Result<Vec<_>, _>>()?);
        }
        if self.anonymous {
            authentication = authentication.or_anonymous();
        }
        if self.token_for_writes {
            authentication = authentication.with_token_for_writes();
        }
        Ok(authentication
            .with_passwords(&self.passwords.options())
            .with_throttle(self.throttle.options().as_ref()))
    }
}

/// The credentials that the configuration names now, and what the files hold that it names.
pub(super) struct Followed {
    document: Document,
    section: AuthSection,
    /// The configuration file's state when the sources were taken from it.
    seen: Option<Fingerprint>,
    sources: Sources,
    /// Whether there were issuers of signed tokens at the start. Other issuers let no caller in before the next
    /// start.
    issuers: bool,
    /// What is wrong with the configuration file. What the files of its last good version hold goes on to
    /// count: one that is withdrawn there must not stay because of a slip here.
    wrong: Option<String>,
}

impl Followed {
    /// Follows them from now on.
    pub(super) fn watch(
        document: &Document,
        section: &AuthSection,
    ) -> Result<Watched<Credentials>, ConfigError> {
        let followed = Self {
            seen: None,
            sources: section.sources(document)?,
            issuers: section.has_issuers(),
            wrong: None,
            document: document.clone(),
            section: section.clone(),
        };
        Watched::watch(followed, document.watch.clone())
    }

    /// What the configuration says now.
    fn newest(&self) -> Result<(Document, AuthSection, Sources), ConfigError> {
        let config = Config::again(&self.document)?;
        let gone = || ConfigError::SectionGone {
            file: self.document.name().to_owned(),
            section: "auth",
        };
        let section = config.auth.ok_or_else(gone)?;
        let document = config.document;
        let otherwise = self.issuers && section.has_issuers();
        if !otherwise && !section.has_credentials() {
            #[cfg(feature = "jwt")]
            if section.has_issuers() {
                return Err(document.unusable("auth.jwt", CredentialError::IssuersAtRestart));
            }
            return Err(document.unusable("auth", CredentialError::None));
        }
        let sources = section.sources(&document)?.with_none_allowed(otherwise);
        Ok((document, section, sources))
    }
}

impl Load for Followed {
    type Value = Credentials;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.sources.name()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.sources.paths();
        paths.extend(self.document.file().map(PathBuf::from));
        paths
    }

    fn load(&mut self, previous: Option<&Credentials>) -> Result<Credentials, ConfigError> {
        let file = self.document.file().map(PathBuf::from);
        let seen = Some(Fingerprint::of(file.as_slice()));
        // The sources of the same file stay, with what each held last.
        if self.seen != seen || self.wrong.is_some() {
            match self.newest() {
                Ok((document, section, sources)) => {
                    let sources = sources.following(&self.sources);
                    (self.document, self.section, self.sources) = (document, section, sources);
                    (self.seen, self.wrong) = (seen, None);
                }
                Err(error) if previous.is_none() => return Err(error),
                Err(error) => self.wrong = Some(error.to_string()),
            }
        }
        self.sources.load(previous).map_err(|error| {
            let key = self.section.culprit(self.sources.culprit(), &error);
            self.document.unusable(key, error)
        })
    }

    fn lapsed(&mut self, current: &Credentials) -> Option<Credentials> {
        self.sources.lapsed(current)
    }

    fn refused(&self, current: &Credentials) -> Option<String> {
        self.wrong.clone().or_else(|| self.sources.refused(current))
    }
}
