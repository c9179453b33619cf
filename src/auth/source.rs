use std::env;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::authorization::is_b64token;
use super::credential::Validity;
use super::digest::SecretDigest;
use super::generated::{is_damaged, is_generated};
#[cfg(feature = "passwords")]
use super::htpasswd;
use super::strength::is_strong;
use super::{Binding, Credential, CredentialError, Secret};
use crate::reload::Pinned;
#[cfg(feature = "passwords")]
use crate::util::file::DOCUMENT;
use crate::util::file::SECRET;
use crate::util::text;

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    origin: Origin,
    /// What a source of one secret says of it.
    template: Credential,
    validity: Validity,
    weak_allowed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Variable(String),
    File(PathBuf),
    Inline,
    SecretDirectory(PathBuf),
    #[cfg(feature = "passwords")]
    Htpasswd(PathBuf),
    #[cfg(feature = "config")]
    CredentialsFile(PathBuf),
}

impl CredentialSource {
    /// Reads a token in the environment variable `name`, or in the file that `name_FILE` names.
    ///
    /// The copy that is read is wiped once it is digested; the process's environment itself cannot be,
    /// and stays readable in `/proc/PID/environ` for who may trace the process. A file is better.
    pub fn variable(id: impl Into<Box<str>>, name: impl Into<String>) -> Self {
        Self::new(Credential::new(id), Origin::Variable(name.into()))
    }

    /// Reads a token from a file. One newline at the end does not belong to it.
    pub fn file(id: impl Into<Box<str>>, file: impl Into<PathBuf>) -> Self {
        Self::new(Credential::new(id), Origin::File(file.into()))
    }

    /// Tokens of which only SHA-256 digests are known, in hexadecimal.
    ///
    /// # Errors
    /// A text that is no digest.
    pub fn sha256<D: AsRef<str>>(
        id: impl Into<Box<str>>,
        digests: impl IntoIterator<Item = D>,
    ) -> Result<Self, CredentialError> {
        let mut credential = Credential::new(id);
        for text in digests {
            let digest =
                SecretDigest::read(text.as_ref()).map_err(|error| CredentialError::Digest {
                    id: credential.id.to_string(),
                    problem: error.to_string().into(),
                })?;
            credential = credential.with_secret(digest);
        }
        Ok(Self::credential(credential))
    }

    /// Takes a credential as it is.
    pub fn credential(credential: Credential) -> Self {
        Self::new(credential, Origin::Inline)
    }

    /// Reads the directory of a Kubernetes Secret of the type `kubernetes.io/basic-auth`: the files
    /// `username` and `password`.
    pub fn secret_directory(directory: impl Into<PathBuf>) -> Self {
        let origin = Origin::SecretDirectory(directory.into());
        Self::new(Credential::new(""), origin)
    }

    /// Reads an htpasswd file as distribution and zot read it: hashes of bcrypt, and of Argon2id. bcrypt takes no
    /// password of more than 71 bytes.
    #[cfg(feature = "passwords")]
    pub fn htpasswd(file: impl Into<PathBuf>) -> Self {
        Self::new(Credential::new(""), Origin::Htpasswd(file.into()))
    }

    /// Reads a credentials file; the [module](super) shows one.
    #[cfg(feature = "config")]
    pub fn credentials_file(file: impl Into<PathBuf>) -> Self {
        Self::new(Credential::new(""), Origin::CredentialsFile(file.into()))
    }

    fn new(template: Credential, origin: Origin) -> Self {
        Self {
            origin,
            template,
            validity: Validity::default(),
            weak_allowed: false,
        }
    }

    /// Puts the callers in these groups. A credentials file says that itself.
    pub fn in_groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.template = self.template.in_groups(groups);
        self
    }

    /// Accepts the credential from these networks only. A credentials file says that itself.
    pub fn within(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.template = self.template.within(networks);
        self
    }

    /// Accepts the credential on a connection with this certificate only, as [`Credential::bound_to`]. A
    /// credentials file says that itself.
    ///
    /// # Errors
    /// The text names no certificate.
    pub fn bound_to(self, certificate: &str) -> Result<Self, CredentialError> {
        Ok(self.with_binding(certificate.parse()?))
    }

    pub(crate) fn with_binding(mut self, binding: Binding) -> Self {
        self.template = self.template.with_binding(binding);
        self
    }

    /// Says in the operator's words what it is for. A credentials file says that itself.
    pub fn with_comment(mut self, comment: impl Into<Box<str>>) -> Self {
        self.template = self.template.with_comment(comment);
        self
    }

    /// Accepts the secret from this time on. A credentials file says that itself.
    pub fn not_before(mut self, moment: SystemTime) -> Self {
        self.validity.not_before = Some(moment);
        self
    }

    /// Accepts the secret until just before this time. A credentials file says that itself.
    pub fn expires(mut self, moment: SystemTime) -> Self {
        self.validity.expires = Some(moment);
        self
    }

    /// Takes a token or password that can be guessed, and throttles failures for it as for passwords. Default:
    /// a token that is neither generated nor of at least 22 characters, 10 of them different, is an error,
    /// since a fast digest is all that is kept of it; of a digest it says that it can be guessed.
    pub fn with_weak_allowed(mut self, allowed: bool) -> Self {
        self.weak_allowed = allowed;
        self
    }

    pub(crate) fn path(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::File(path) | Origin::SecretDirectory(path) => Some(path.clone()),
            #[cfg(feature = "passwords")]
            Origin::Htpasswd(path) => Some(path.clone()),
            #[cfg(feature = "config")]
            Origin::CredentialsFile(path) => Some(path.clone()),
            Origin::Variable(name) if env::var_os(name).is_none() => {
                env::var_os(format!("{name}_FILE")).map(PathBuf::from)
            }
            Origin::Variable(_) | Origin::Inline => None,
        }
    }

    pub(super) fn read(&self) -> Result<Vec<Credential>, CredentialError> {
        let mut files = Pinned::new();
        match &self.origin {
            Origin::Inline => {
                let mut credential = self.with_validity(self.template.clone());
                for secret in &mut credential.secrets {
                    secret.guessable |= self.weak_allowed;
                }
                Ok(vec![credential])
            }
            Origin::Variable(name) => {
                let token = match self.path() {
                    Some(file) => read(&mut files, &file, SECRET)?,
                    None => self.variable_value(name)?,
                };
                Ok(vec![self.with_token(self.template.clone(), &token)?])
            }
            Origin::File(file) => {
                let token = read(&mut files, file, SECRET)?;
                Ok(vec![self.with_token(self.template.clone(), &token)?])
            }
            Origin::SecretDirectory(directory) => {
                let user = read(&mut files, &directory.join("username"), SECRET)?;
                let password = read(&mut files, &directory.join("password"), SECRET)?;
                let user = str::from_utf8(trimmed(&user)).unwrap_or_default();
                let mut credential = self.template.clone();
                credential.id = user.into();
                Ok(vec![self.with_password(credential, &password)?])
            }
            #[cfg(feature = "passwords")]
            Origin::Htpasswd(file) => {
                let text = read(&mut files, file, DOCUMENT)?;
                htpasswd::warn_if_blank(file, &text);
                let users = htpasswd::read(&text).map_err(|(line, problem)| {
                    let file = file.clone();
                    CredentialError::Htpasswd {
                        file,
                        line,
                        problem: problem.to_string().into(),
                    }
                })?;
                Ok(users.into_iter().map(|user| self.templated(user)).collect())
            }
            #[cfg(feature = "config")]
            Origin::CredentialsFile(file) => super::file::read(file),
        }
    }

    fn variable_value(&self, name: &str) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
        // The process's own environment keeps its copy: nothing else may change it safely.
        let value = env::var(name).map_err(|_| CredentialError::NoVariable {
            id: self.template.id.to_string(),
            name: name.to_owned(),
        })?;
        Ok(Zeroizing::new(value.into_bytes()))
    }

    fn with_token(
        &self,
        credential: Credential,
        text: &[u8],
    ) -> Result<Credential, CredentialError> {
        let token = trimmed(text);
        if !token.is_empty() && !is_b64token(token) {
            let id = credential.id.into();
            return Err(CredentialError::Characters { id });
        }
        self.with_secret(credential, token)
    }

    fn with_password(
        &self,
        credential: Credential,
        text: &[u8],
    ) -> Result<Credential, CredentialError> {
        let password = trimmed(text);
        let printable = |text: &str| !text.contains(char::is_control);
        if !str::from_utf8(password).is_ok_and(printable) {
            let id = credential.id.into();
            return Err(CredentialError::Characters { id });
        }
        self.with_secret(credential, password)
    }

    fn with_secret(
        &self,
        credential: Credential,
        token: &[u8],
    ) -> Result<Credential, CredentialError> {
        let id = || credential.id.to_string();
        if token.is_empty() {
            return Err(CredentialError::Empty { id: id() });
        }
        if is_damaged(token) {
            return Err(CredentialError::Damaged { id: id() });
        }
        let generated = is_generated(token);
        if !generated && !self.weak_allowed && !is_strong(token) {
            return Err(CredentialError::TooWeak { id: id() });
        }
        let mut secret = Secret::new(SecretDigest::of_token(token));
        secret.guessable = self.weak_allowed && !generated;
        Ok(self.with_validity(credential.with_secret(secret)))
    }

    fn with_validity(&self, mut credential: Credential) -> Credential {
        if self.validity.is_bounded() {
            for secret in &mut credential.secrets {
                secret.validity = self.validity;
            }
        }
        credential
    }

    #[cfg(feature = "passwords")]
    fn templated(&self, mut credential: Credential) -> Credential {
        credential.groups.clone_from(&self.template.groups);
        credential.networks.clone_from(&self.template.networks);
        credential.binding.clone_from(&self.template.binding);
        credential.comment.clone_from(&self.template.comment);
        self.with_validity(credential)
    }
}

fn read(files: &mut Pinned, file: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, CredentialError> {
    let unreadable = |error| CredentialError::Unreadable {
        file: file.to_owned(),
        error,
    };
    let content = files.read_at_most(file, max);
    content.map(Zeroizing::new).map_err(unreadable)
}

/// Without the byte-order mark and the one newline that editors put before and after it.
fn trimmed(text: &[u8]) -> &[u8] {
    let text = text::unmarked(text);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}
