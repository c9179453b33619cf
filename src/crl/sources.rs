use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;

use super::LoadError;
use super::list::List;
use super::store::Lists;
use crate::reload::{Load, Pinned};

/// CRLs in files and directories.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: Vec<PathBuf>,
}

impl Load for Files {
    type Value = Lists;
    type Error = LoadError;

    fn name(&self) -> &'static str {
        "crl"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.clone()
    }

    fn load(&mut self, previous: Option<&Lists>) -> Result<Lists, LoadError> {
        let mut pinned = Pinned::new();
        let mut lists = Lists::default();
        for path in &self.paths {
            let unreadable = |error| LoadError::Unreadable {
                path: path.clone(),
                error,
            };
            let files = if path.is_dir() {
                pinned.list(path).map_err(unreadable)?
            } else {
                vec![path.clone()]
            };
            if files.is_empty() {
                let origin = path.display().to_string();
                return Err(LoadError::Empty { origin });
            }
            for file in files {
                let bytes = pinned.read(&file).map_err(unreadable)?;
                read(&origin(&file), &bytes, &mut lists)?;
            }
        }
        if lists.is_empty() {
            let origin = "the list of files".to_owned();
            return Err(LoadError::Empty { origin });
        }
        if let Some(previous) = previous {
            lists.keep_newer_of(previous, |list| List::parse(list.der()).ok());
        }
        Ok(lists)
    }
}

/// CRLs from a program, each the content of a file.
pub(super) fn from_bytes<'a>(
    contents: impl IntoIterator<Item = &'a [u8]>,
    previous: Option<&Lists>,
) -> Result<Lists, LoadError> {
    let mut lists = Lists::default();
    for content in contents {
        read("bytes", content, &mut lists)?;
    }
    if lists.is_empty() {
        let origin = "bytes".to_owned();
        return Err(LoadError::Empty { origin });
    }
    if let Some(previous) = previous {
        lists.keep_newer_of(previous, |list| List::parse(list.der()).ok());
    }
    Ok(lists)
}

fn origin(file: &Path) -> String {
    file.display().to_string()
}

/// Reads the content of a file: one CRL in DER, or any number in PEM.
fn read(origin: &str, content: &[u8], lists: &mut Lists) -> Result<(), LoadError> {
    let refused = |number, error| LoadError::List {
        origin: origin.to_owned(),
        number,
        error,
    };
    if content.first() == Some(&super::der::SEQUENCE) {
        lists.insert(List::parse(content).map_err(|error| refused(1, error))?);
        return Ok(());
    }
    let mut found = 0;
    for der in CertificateRevocationListDer::pem_slice_iter(content) {
        let der = der.map_err(|error| LoadError::Pem {
            origin: origin.to_owned(),
            reason: error.to_string(),
        })?;
        found += 1;
        lists.insert(List::parse(&der).map_err(|error| refused(found, error))?);
    }
    if found == 0 {
        let origin = origin.to_owned();
        return Err(LoadError::Empty { origin });
    }
    Ok(())
}
