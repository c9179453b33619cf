//! What a file of certificates, CRLs or keys holds besides what its reader takes from it. It is no error, for one file
//! may be named for several readers, and must not pass for read where it is named for one alone.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

/// A section that a reader does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Where it begins, from 1.
    pub(crate) line: usize,
    pub(crate) block: Block,
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Block {
    Certificate,
    Crl,
    PrivateKey,
    /// Parameters of a key, which that has itself, or of a key exchange that TLS 1.3 does not have.
    Parameters,
    Other,
}

/// The most that is remembered as logged.
const MOST: usize = 1024;

/// What was logged.
static LOGGED: LazyLock<Mutex<HashSet<(PathBuf, usize, Block)>>> = LazyLock::new(Mutex::default);

impl Block {
    /// By the label of a PEM section.
    pub(crate) fn of(label: &str) -> Self {
        match label {
            "X509 CRL" => Self::Crl,
            _ if label.ends_with("PRIVATE KEY") => Self::PrivateKey,
            _ if label.ends_with("PARAMETERS") => Self::Parameters,
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Self::Certificate,
            _ => Self::Other,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Certificate => {
                "a certificate: a CA counts where `tls.client_ca` or `crl.signers` names its file, the server's own and \
                 its intermediates where `tls.certificate` does"
            }
            Self::Crl => "a CRL: it counts where `crl.files` names its file",
            Self::PrivateKey => {
                "a private key: the server's counts where `tls.key` names its file, and none belongs where others read"
            }
            Self::Parameters | Self::Other => "neither a certificate nor a CRL nor a private key",
        }
    }
}

/// Logs, once each, what a file holds besides what it is read for, unless it is `read_elsewhere`.
pub(crate) fn warn(
    file: &Path,
    read_for: &'static str,
    left_out: &[LeftOut],
    read_elsewhere: impl Fn(Block) -> bool,
) {
    for LeftOut { line, block } in left_out {
        let is_unused = *block != Block::Parameters && !read_elsewhere(*block);
        if is_unused && is_news(file, *line, *block) {
            tracing::warn!(
                file = %file.display(), line, read_for, left_out = block.advice(),
                "a part of this file is not used"
            );
        }
    }
}

/// Logs, once, that a file of a folder is left out for its name.
pub(crate) fn warn_of_copy(file: &Path) {
    if is_news(file, 0, Block::Other) {
        tracing::warn!(
            file = %file.display(),
            "by its name this file of a folder is a copy of another, and no CA in it is trusted: rename it, or remove it"
        );
    }
}

/// Notes what is logged. Returns whether it was not, as far as that is remembered.
fn is_news(file: &Path, line: usize, block: Block) -> bool {
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() >= MOST {
        logged.clear();
    }
    logged.insert((file.to_owned(), line, block))
}

/// Whether a file is one of these, or in a folder that is.
pub(crate) fn is_named(file: &Path, paths: &[PathBuf]) -> bool {
    paths.iter().any(|path| file.starts_with(path))
}
