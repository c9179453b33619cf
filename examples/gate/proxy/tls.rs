use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::Watched;
use portcullis::reload::{Load, Pinned, WatchOptions};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// No file of certificates is larger.
const LARGEST: u64 = 1024 * 1024;

/// The files by which the gate knows a registry, and shows itself to it. They are read again when they change.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// The CAs of the registry's certificate; the system's, if there is none.
    pub(crate) ca: Option<PathBuf>,
    /// The gate's own certificate with its intermediates, and its key. They can be one file.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Whether HTTP/2 is offered. It has the host in `:authority`, by which connections are pooled: only where
    /// the registry is shown its own host do all requests share them.
    pub(crate) http2: bool,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFilesError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Pem { path: PathBuf, reason: pem::Error },
    #[error("{}: there is no certificate in it", .0.display())]
    Empty(PathBuf),
    #[error("{}: {source}", path.display())]
    Unfit {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("the system's CAs cannot be used: {0}; name the registry's with --upstream-ca")]
    System(rustls::Error),
}

impl TlsFiles {
    /// Reads the files now, and whenever they change.
    ///
    /// # Errors
    /// They cannot be used.
    pub(crate) fn watch(self) -> Result<Watched<Arc<ClientConfig>>, TlsFilesError> {
        Watched::watch(self, WatchOptions::default())
    }

    fn config(&self) -> Result<ClientConfig, TlsFilesError> {
        let mut files = Pinned::new();
        let builder = ClientConfig::builder();
        let builder = match &self.ca {
            None => builder
                .with_platform_verifier()
                .map_err(TlsFilesError::System)?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(&mut files, path)? {
                    let added = roots.add(certificate);
                    added.map_err(|source| TlsFilesError::unfit(path, source))?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let certificates = certificates(&mut files, chain)?;
                let text = read(&mut files, key)?;
                let parsed = PrivateKeyDer::from_pem_slice(&text);
                let parsed = parsed.map_err(|reason| TlsFilesError::pem(key, reason))?;
                let config = builder.with_client_auth_cert(certificates, parsed);
                config.map_err(|source| TlsFilesError::unfit(key, source))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(config)
    }
}

impl Load for TlsFiles {
    type Value = Arc<ClientConfig>;
    type Error = TlsFilesError;

    fn name(&self) -> &'static str {
        "upstream_tls"
    }

    fn paths(&self) -> Vec<PathBuf> {
        let own = self.certificate.iter();
        let own = own.flat_map(|(chain, key)| [chain.clone(), key.clone()]);
        self.ca.iter().cloned().chain(own).collect()
    }

    fn load(&mut self, _: Option<&Self::Value>) -> Result<Self::Value, TlsFilesError> {
        self.config().map(Arc::new)
    }
}

impl TlsFilesError {
    fn pem(path: &Path, reason: pem::Error) -> Self {
        let path = path.to_owned();
        Self::Pem { path, reason }
    }

    fn unfit(path: &Path, source: rustls::Error) -> Self {
        let path = path.to_owned();
        Self::Unfit { path, source }
    }
}

fn certificates(
    files: &mut Pinned,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsFilesError> {
    let text = read(files, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let certificates = certificates.map_err(|reason| TlsFilesError::pem(path, reason))?;
    if certificates.is_empty() {
        return Err(TlsFilesError::Empty(path.to_owned()));
    }
    Ok(certificates)
}

fn read(files: &mut Pinned, path: &Path) -> Result<Vec<u8>, TlsFilesError> {
    files
        .read_at_most(path, LARGEST)
        .map_err(|source| TlsFilesError::Read {
            path: path.to_owned(),
            source,
        })
}
