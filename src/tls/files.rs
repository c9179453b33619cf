use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;
use super::fitness::Given;
use crate::reload::Pinned;

/// Where a server certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Where the client CAs are: PEM files, or directories of `*.crt`, `*.cer` and `*.pem` files. Each is to
/// be fit to be one (RFC 5280 §6.1.4): a CA certificate that may sign certificates, also for clients, that
/// has no critical extension that is not understood, and that is valid. What is not is an error in a file
/// that is named here, and left out with a warning in a directory: that may be a Secret with the server's
/// certificate beside its CA. Expired CAs are left out, and those of X.509 version 1 count only where their
/// file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCas {
    pub(super) paths: Vec<PathBuf>,
}

impl CertificateFiles {
    /// A PEM file with the certificate first and its intermediates after, and one with the key.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            chain: chain.into(),
            key: key.into(),
        }
    }

    /// `tls.crt` and `tls.key` in the directory of a Kubernetes `kubernetes.io/tls` Secret.
    pub fn secret(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self::new(directory.join("tls.crt"), directory.join("tls.key"))
    }

    pub(super) fn chain(
        &self,
        pinned: &mut Pinned,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        certificates(pinned, &self.chain)
    }

    pub(super) fn key(&self, pinned: &mut Pinned) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = Zeroizing::new(read(pinned, &self.key)?);
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::NoKey {
                path: self.key.clone(),
            },
            // The parser's own words may quote the file, which is a secret.
            _ => TlsError::Pem {
                path: self.key.clone(),
                reason: "a section is not well-formed".to_owned(),
            },
        })
    }
}

impl ClientCas {
    /// All certificates in these files and directories.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
        }
    }

    /// Each certificate with the file it is in and how that was given.
    pub(super) fn read(
        &self,
        pinned: &mut Pinned,
    ) -> Result<Vec<(PathBuf, Given, CertificateDer<'static>)>, TlsError> {
        let mut found = Vec::new();
        for path in &self.paths {
            let (files, given) = if path.is_dir() {
                (listed(pinned, path)?, Given::InFolder)
            } else {
                (vec![path.clone()], Given::ByName)
            };
            for file in files {
                let certificates = certificates(pinned, &file)?;
                let certificates = certificates.into_iter();
                found.extend(certificates.map(|one| (file.clone(), given, one)));
            }
        }
        Ok(found)
    }
}

fn listed(pinned: &mut Pinned, directory: &Path) -> Result<Vec<PathBuf>, TlsError> {
    let mut files = pinned.list(directory).map_err(|source| TlsError::Read {
        path: directory.to_owned(),
        source,
    })?;
    files.retain(|file| {
        let extension = file.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("crt" | "cer" | "pem"))
    });
    if files.is_empty() {
        return Err(TlsError::NoCertificate {
            path: directory.to_owned(),
        });
    }
    Ok(files)
}

fn certificates(
    pinned: &mut Pinned,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(pinned, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| TlsError::Pem {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

fn read(pinned: &mut Pinned, path: &Path) -> Result<Vec<u8>, TlsError> {
    pinned.read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
