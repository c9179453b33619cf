use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::crl::FetchError;
use crate::fetch::client::Validators;
use crate::util::{file, hex};

/// What a list that is being written is called at its beginning.
const UNFINISHED: &str = ".unfinished-";

/// Where the list of one URL is kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// The list, in DER.
    pub(super) file: PathBuf,
    /// What the server said of it.
    notes: PathBuf,
    url: String,
}

/// What is known of the list beside it.
#[derive(Debug, Serialize, Deserialize)]
struct Notes {
    url: String,
    /// Of the list: without it, these notes are of another one.
    sha256: String,
    #[serde(flatten)]
    validators: Validators,
}

/// Makes the directory, and removes what was not finished in it.
pub(super) fn prepare(directory: &Path) -> Result<(), FetchError> {
    let failed = |error| FetchError::Cache {
        path: directory.to_owned(),
        error,
    };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(failed)?;
    warn_if_open(directory);
    for entry in fs::read_dir(directory).map_err(failed)?.flatten() {
        let unfinished = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes());
        // A young one may be another process's, which is about to give way to this one.
        let is_old = |modified: SystemTime| {
            modified
                .elapsed()
                .is_ok_and(|age| age > Duration::from_secs(60 * 60))
        };
        if unfinished
            && entry
                .metadata()
                .and_then(|data| data.modified())
                .is_ok_and(is_old)
        {
            // The file is in no reader's way.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(unix)]
fn warn_if_open(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(directory).map_or(0, |data| data.permissions().mode());
    if mode & 0o002 != 0 {
        tracing::warn!(
            directory = %directory.display(),
            "everybody may write where CRLs are kept, and so put older ones there before a restart"
        );
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path) {}

impl Kept {
    pub(super) fn new(directory: &Path, url: &Url) -> Self {
        let digest = hex::encode(&Sha256::digest(url.as_str())[..8]);
        let host = url.host_str().unwrap_or_default();
        let host = host.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        Self {
            file: directory.join(format!("{host}-{digest}.crl")),
            notes: directory.join(format!(".{host}-{digest}.json")),
            url: url.as_str().to_owned(),
        }
    }

    /// The list, and what the server said of this very one.
    pub(super) fn read(&self, max_size: u64) -> io::Result<(Vec<u8>, Validators)> {
        let der = file::read(&self.file, max_size)?;
        let notes = file::read(&self.notes, file::SECRET).ok();
        let notes: Option<Notes> = notes.and_then(|notes| serde_json::from_slice(&notes).ok());
        let validators = match notes {
            Some(notes) if notes.url == self.url && notes.sha256 == digest(&der) => {
                notes.validators
            }
            _ => Validators::default(),
        };
        Ok((der, validators))
    }

    pub(super) fn is_there(&self) -> bool {
        self.file.is_file()
    }

    /// Keeps a list: whole or not at all, whatever happens meanwhile.
    pub(super) fn write(&self, der: &[u8], validators: &Validators) -> Result<(), FetchError> {
        put(&self.file, der)?;
        self.note(der, validators)
    }

    /// Keeps what the server said of the list that is kept.
    pub(super) fn note(&self, der: &[u8], validators: &Validators) -> Result<(), FetchError> {
        let notes = Notes {
            url: self.url.clone(),
            sha256: digest(der),
            validators: validators.clone(),
        };
        let notes = serde_json::to_vec(&notes).map_err(|error| FetchError::Cache {
            path: self.notes.clone(),
            error: error.into(),
        })?;
        put(&self.notes, &notes)
    }
}

fn digest(der: &[u8]) -> String {
    hex::encode(&Sha256::digest(der))
}

/// Writes a file in one step, for its owner alone to read and write.
fn put(path: &Path, content: &[u8]) -> Result<(), FetchError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(directory)?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The new name is to survive a power failure too.
        #[cfg(unix)]
        fs::File::open(directory)?.sync_all()?;
        Ok(())
    };
    write().map_err(|error| FetchError::Cache {
        path: path.to_owned(),
        error,
    })
}
