use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};

use super::authority::Authorities;
use super::list::List;
use super::store::Lists;
use super::telling::tell;
use super::{CrlError, LoadError, der, gzip};
use crate::audit::metrics;
use crate::reload::{Load, Pinned};

/// CRLs in files and directories.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) paths: Vec<PathBuf>,
    /// The authorities that are in files.
    pub(super) signers: Vec<PathBuf>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// How many bytes a file may be decompressed to.
    pub(super) max_size: u64,
}

/// Lists being gathered.
struct Gathering {
    lists: Lists,
    /// Whether a list that cannot be used is an error, since there are others in force to stay.
    strict: bool,
    max_size: u64,
    /// Seconds after 1970.
    now: u64,
}

impl Load for Files {
    type Value = Lists;
    type Error = LoadError;

    fn name(&self) -> &'static str {
        "crl"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.iter().chain(&self.signers).cloned().collect()
    }

    fn load(&mut self, previous: Option<&Lists>) -> Result<Lists, LoadError> {
        let lists = self.read(&mut Pinned::new(), previous)?;
        tell(&lists, previous);
        Ok(lists)
    }
}

impl Files {
    /// Reads the files as `pinned` sees them. Whoever puts the lists in force tells of them.
    pub(crate) fn read(
        &self,
        pinned: &mut Pinned,
        previous: Option<&Lists>,
    ) -> Result<Lists, LoadError> {
        let began = Instant::now();
        let mut authorities = self.authorities.clone();
        read_authorities(&self.signers, pinned, &mut authorities)?;
        let authorities = Authorities::new(&authorities, self.algorithms)?;
        let mut gathering = Gathering {
            lists: Lists::new(Arc::new(authorities)),
            strict: previous.is_some(),
            max_size: self.max_size,
            now: UnixTime::now().as_secs(),
        };
        for path in &self.paths {
            let files = listed(pinned, path)?;
            for file in files {
                let content = pinned
                    .read(&file)
                    .map_err(|error| unreadable(&file, error))?;
                gathering.read(&file.display().to_string(), &content)?;
            }
        }
        let lists = gathering.finish("the list of files", previous)?;
        tracing::info!(
            lists = lists.len(),
            entries = lists.entries(),
            bytes = lists.size(),
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "CRLs loaded"
        );
        Ok(lists)
    }
}

/// CRLs from a program, each the content of a file.
pub(super) fn from_bytes<'a>(
    contents: impl IntoIterator<Item = &'a [u8]>,
    authorities: Arc<Authorities>,
    previous: Option<&Lists>,
    max_size: u64,
) -> Result<Lists, LoadError> {
    let mut gathering = Gathering {
        lists: Lists::new(authorities),
        strict: previous.is_some(),
        max_size,
        now: UnixTime::now().as_secs(),
    };
    for content in contents {
        gathering.read("bytes", content)?;
    }
    let lists = gathering.finish("bytes", previous)?;
    tell(&lists, previous);
    Ok(lists)
}

pub(super) fn read_authorities(
    files: &[PathBuf],
    pinned: &mut Pinned,
    authorities: &mut Vec<CertificateDer<'static>>,
) -> Result<(), LoadError> {
    for path in files {
        for file in listed(pinned, path)? {
            let content = pinned
                .read(&file)
                .map_err(|error| unreadable(&file, error))?;
            let known = authorities.len();
            for certificate in CertificateDer::pem_slice_iter(&content) {
                let certificate = certificate.map_err(|error| LoadError::Pem {
                    origin: file.display().to_string(),
                    reason: error.to_string(),
                })?;
                authorities.push(certificate);
            }
            if authorities.len() == known {
                let origin = file.display().to_string();
                return Err(LoadError::Empty { origin });
            }
        }
    }
    Ok(())
}

fn listed(pinned: &mut Pinned, path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files = pinned.list(path).map_err(|error| unreadable(path, error))?;
    if files.is_empty() {
        let origin = path.display().to_string();
        return Err(LoadError::Empty { origin });
    }
    Ok(files)
}

fn unreadable(path: &Path, error: std::io::Error) -> LoadError {
    LoadError::Unreadable {
        path: path.to_owned(),
        error,
    }
}

impl Gathering {
    /// Reads the content of a file: one CRL in DER, or any number in PEM, or either in gzip.
    fn read(&mut self, origin: &str, content: &[u8]) -> Result<(), LoadError> {
        if gzip::is_gzip(content) {
            let content = gzip::decompress(origin, content, self.max_size)?;
            return self.read_plain(origin, &content);
        }
        self.read_plain(origin, content)
    }

    fn read_plain(&mut self, origin: &str, content: &[u8]) -> Result<(), LoadError> {
        if content.first() == Some(&der::SEQUENCE) {
            return self.take(origin, 1, content);
        }
        let mut found = 0;
        for list in CertificateRevocationListDer::pem_slice_iter(content) {
            let list = list.map_err(|error| LoadError::Pem {
                origin: origin.to_owned(),
                reason: error.to_string(),
            })?;
            found += 1;
            self.take(origin, found, &list)?;
        }
        if found == 0 {
            let origin = origin.to_owned();
            return Err(LoadError::Empty { origin });
        }
        Ok(())
    }

    fn take(&mut self, origin: &str, number: usize, der: &[u8]) -> Result<(), LoadError> {
        match List::parse(der, &self.lists.authorities) {
            Ok(list) => self.lists.insert(Arc::new(list), self.now),
            // RFC 5280 §5.2: such a list must not be used; what it answers for is unknown then.
            Err(error @ CrlError::UnknownCritical(_)) if !self.strict => {
                metrics::crl_refused("unusable");
                tracing::error!(origin, number, %error, "a CRL is not used");
            }
            Err(error) => {
                return Err(LoadError::List {
                    origin: origin.to_owned(),
                    number,
                    error,
                });
            }
        }
        Ok(())
    }

    fn finish(mut self, origin: &str, previous: Option<&Lists>) -> Result<Lists, LoadError> {
        if let Some(previous) = previous {
            self.lists.keep_newer_of(previous, self.now);
        }
        if self.lists.is_empty() {
            let origin = origin.to_owned();
            return Err(LoadError::Empty { origin });
        }
        Ok(self.lists)
    }
}
