use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsError;
use super::fitness;
use crate::reload::{Given, Pinned};
use crate::util::file::{CERTIFICATES, PRIVATE_KEY};
use crate::util::left_out::{self, LeftOut};
use crate::util::pem_error::PemError;
use crate::util::x509_file::{self, Contents, Key, Sought};

/// Where a server certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
}

/// Where the client CAs are: files in PEM or DER, or directories of them, in which what holds no certificate (a
/// private key, a CRL) is left out, as is with a warning what is by its name a copy (`ca.crt~`, `ca.crt.bak`). Each certificate must be fit to be a trust anchor (RFC 5280 §6.1.4): a CA
/// certificate that may sign certificates, also for clients, that has no critical extension which is not
/// understood, and that is valid. A certificate that is not fit is an error in a file that is named here, and
/// left out with a warning in a directory: that may be a Secret with the server's certificate beside its CA.
/// Expired CAs are left out, and those of X.509 version 1 count only where their file is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCas {
    pub(super) paths: Vec<PathBuf>,
}

/// The certificates in the files of some client CAs.
#[derive(Debug, Default)]
pub(super) struct GivenCas {
    pub(super) certificates: Vec<GivenCa>,
    /// Files of directories in which there is none.
    pub(super) left_out: Vec<PathBuf>,
    /// What else is in the files with certificates.
    pub(super) others: Vec<(PathBuf, Vec<LeftOut>)>,
}

/// A certificate that may be a client CA's, with the place in which it was found.
#[derive(Debug)]
pub(super) struct GivenCa {
    pub(super) path: PathBuf,
    /// The line of its first, from 1.
    pub(super) line: usize,
    /// Whether the operator named the file, rather than its directory.
    pub(super) given: fitness::Given,
    pub(super) der: CertificateDer<'static>,
}

impl CertificateFiles {
    /// Names a PEM file with the certificate first and its intermediates after, and one with the key.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            chain: chain.into(),
            key: key.into(),
        }
    }

    /// Names `tls.crt` and `tls.key` in the directory of a Kubernetes `kubernetes.io/tls` Secret.
    pub fn secret(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self::new(directory.join("tls.crt"), directory.join("tls.key"))
    }

    /// Reads one PEM file with the key, the certificate and its intermediates, in any order: a credential bundle of
    /// Kubernetes' Pod Certificates, or a kubelet's `kubelet-client-current.pem`. Certificate and key are of one
    /// reading of it, which a second one confirms, and the signature of each certificate whose issuer is in it is
    /// verified: a file that is written only in part is not taken. Where the first reading meets a writer, the last
    /// certificates may be missing, or one whose issuer is not in the file be damaged, until the next.
    pub fn bundle(file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        Self::new(file.clone(), file)
    }

    /// Whether one file holds both.
    pub(super) fn is_bundle(&self) -> bool {
        self.chain == self.key
    }

    /// The files.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.chain.clone(), self.key.clone()];
        paths.dedup();
        paths
    }

    pub(super) fn chain(
        &self,
        pinned: &mut Pinned,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found = chain(&self.chain, &read(pinned, &self.chain, CERTIFICATES)?)?;
        left_out::warn(&self.chain, "a server's chain", &found.others, |_| false);
        Ok(found.ders())
    }

    pub(super) fn key(&self, pinned: &mut Pinned) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = Zeroizing::new(read(pinned, &self.key, PRIVATE_KEY)?);
        let (key, others) = private_key(&self.key, &text)?;
        left_out::warn(&self.key, "a private key", &others, |_| false);
        Ok(key)
    }
}

impl ClientCas {
    /// Takes all certificates in these files and directories.
    pub fn new<P: Into<PathBuf>>(paths: impl IntoIterator<Item = P>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
        }
    }

    /// Each certificate with the place it is in.
    pub(super) fn read(&self, pinned: &mut Pinned) -> Result<GivenCas, TlsError> {
        let mut given = GivenCas::default();
        for path in &self.paths {
            let unreadable = |source| TlsError::Read {
                path: path.clone(),
                source,
            };
            let files = match pinned.given(path).map_err(unreadable)? {
                Given::Named(file) => {
                    let content = read(pinned, &file, CERTIFICATES)?;
                    let found = certificates(&file, &content)?;
                    given.add(&file, fitness::Given::ByName, found);
                    continue;
                }
                Given::Folder(files) => files,
            };
            let before = given.certificates.len();
            for file in files {
                match certificates_in_folder(pinned, &file)? {
                    Some(certificates) => given.add(&file, fitness::Given::InFolder, certificates),
                    None => given.left_out.push(file),
                }
            }
            if given.certificates.len() == before {
                return Err(TlsError::NoCertificate { path: path.clone() });
            }
        }
        Ok(given)
    }
}

impl GivenCas {
    fn add(&mut self, path: &Path, given: fitness::Given, found: Found) {
        let certificates = found.certificates.into_iter().map(|(line, der)| GivenCa {
            path: path.to_owned(),
            line,
            given,
            der,
        });
        self.certificates.extend(certificates);
        self.others.push((path.to_owned(), found.others));
    }
}

/// What is in a file with certificates.
pub(super) struct Found {
    /// Each with its line.
    pub(super) certificates: Vec<(usize, CertificateDer<'static>)>,
    /// What else is in it.
    pub(super) others: Vec<LeftOut>,
}

impl Found {
    fn ders(self) -> Vec<CertificateDer<'static>> {
        self.certificates.into_iter().map(|(_, der)| der).collect()
    }
}

impl From<Contents<'_>> for Found {
    fn from(contents: Contents<'_>) -> Self {
        let wanted = contents.wanted.into_iter();
        Self {
            certificates: wanted
                .map(|item| (item.line, item.der.into_owned().into()))
                .collect(),
            others: contents.others,
        }
    }
}

/// Reads the certificates of a file as the server does: in PEM, with text between them or not, or one in DER.
///
/// # Errors
/// Returns an error if the file cannot be read whole or has no certificate.
pub fn certificates_in(file: impl AsRef<Path>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = file.as_ref();
    let content = read(&mut Pinned::new(), file, CERTIFICATES)?;
    Ok(certificates(file, &content)?.ders())
}

/// The private key in the content of a file, and what else is in it.
pub(super) fn private_key(
    path: &Path,
    content: &[u8],
) -> Result<(PrivateKeyDer<'static>, Vec<LeftOut>), TlsError> {
    let file = x509_file::private_key(content).map_err(|error| not_pem(path, &error))?;
    let key = match file.key {
        Some(Key::Pkcs8(key)) => PrivateKeyDer::Pkcs8(key.into_der().into()),
        Some(Key::Pkcs1(key)) => PrivateKeyDer::Pkcs1(key.into_der().into()),
        Some(Key::Sec1(key)) => PrivateKeyDer::Sec1(key.into_der().into()),
        None => {
            let path = path.to_owned();
            return Err(TlsError::NoKey { path });
        }
    };
    Ok((key, file.others))
}

fn certificates(path: &Path, content: &[u8]) -> Result<Found, TlsError> {
    some(path, x509_file::certificates(content))
}

/// Those of a server's chain.
pub(super) fn chain(path: &Path, content: &[u8]) -> Result<Found, TlsError> {
    some(path, x509_file::chain(content))
}

fn some(path: &Path, found: Result<Contents<'_>, PemError>) -> Result<Found, TlsError> {
    let found = found.map_err(|error| not_pem(path, &error))?;
    if found.wanted.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found.into())
}

/// Those of a directory's file; `None` if it is there for something else.
fn certificates_in_folder(pinned: &mut Pinned, file: &Path) -> Result<Option<Found>, TlsError> {
    let sought = Sought::Certificates;
    if Sought::are_never_in(file) {
        return Ok(None);
    }
    if Sought::is_copy(file) {
        left_out::warn_of_copy(file);
        return Ok(None);
    }
    let content = read(pinned, file, CERTIFICATES)?;
    if sought.leaves_out(file, &content) {
        return Ok(None);
    }
    let found = x509_file::certificates(&content).map_err(|error| not_pem(file, &error))?;
    if found.wanted.is_empty() && found.others.is_empty() {
        let path = file.to_owned();
        return Err(TlsError::NoCertificate { path });
    }
    Ok((!found.wanted.is_empty()).then(|| found.into()))
}

fn not_pem(path: &Path, error: &PemError) -> TlsError {
    TlsError::Pem {
        path: path.to_owned(),
        line: error.line,
        problem: error.problem.to_string().into(),
    }
}

pub(super) fn read(pinned: &mut Pinned, path: &Path, max: u64) -> Result<Vec<u8>, TlsError> {
    let read = pinned.read_at_most(path, max);
    read.map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
