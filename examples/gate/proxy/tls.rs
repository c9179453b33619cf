use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis::Watched;
use portcullis::reload::{Load, Pinned, WatchOptions};
use portcullis::tls::{CertificateFiles, TlsError, certificates_in};
use rustls::client::{VerifierBuilderError, WebPkiServerVerifier};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// No CRL is larger.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The files by which the gate knows a registry, and shows itself to it. They are read again when they change.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// The CAs of the registry's certificate; the system's, if there is none.
    pub(crate) ca: Option<PathBuf>,
    /// The CRLs of these CAs, and of those between them and the registry's certificate. Where there are any, each
    /// certificate needs one that is not over and does not list it.
    pub(crate) crl: Vec<PathBuf>,
    /// The gate's own certificate with its intermediates, and its key. They can be one file.
    pub(crate) certificate: Option<(PathBuf, PathBuf)>,
    /// Whether HTTP/2 is offered. It has the host in `:authority`, by which connections are pooled: only where
    /// the registry is shown its own host do all requests share them.
    pub(crate) http2: bool,
}

/// What the files hold.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// By which open connections are verified again; the system's own verifies at handshakes only.
    pub(super) verifier: Option<Arc<WebPkiServerVerifier>>,
    /// The gate's own certificate.
    own: Option<Arc<CertifiedKey>>,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFilesError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", path.display())]
    Pem { path: PathBuf, reason: pem::Error },
    #[error("{}: there is no CRL in it", .0.display())]
    NoCrl(PathBuf),
    #[error("{0}")]
    Ca(Box<TlsError>),
    #[error("{0}")]
    Own(Box<TlsError>),
    #[error("a CRL needs the CAs that it is about: name them with --upstream-ca, or as `ca`")]
    CrlWithoutCa,
    #[error("the CAs or CRLs cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
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
    pub(crate) fn watch(self) -> Result<Watched<Tls>, TlsFilesError> {
        Watched::watch(self, WatchOptions::default())
    }

    fn tls(&self, previous: Option<&Tls>) -> Result<Tls, TlsFilesError> {
        let verifier = self.verifier()?;
        let builder = ClientConfig::builder();
        let builder = match &verifier {
            None => builder
                .with_platform_verifier()
                .map_err(TlsFilesError::System)?,
            Some(verifier) => builder.with_webpki_verifier(Arc::clone(verifier)),
        };
        let mut own = None;
        let mut config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let last = previous.and_then(|previous| previous.own.as_deref());
                let read = CertificateFiles::new(chain, key).certified_key(last);
                let read = read.map_err(|error| TlsFilesError::Own(Box::new(error)))?;
                let resolver = SingleCertAndKey::from(Arc::clone(&read));
                own = Some(read);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.http2 {
            config.alpn_protocols.insert(0, b"h2".to_vec());
        }
        Ok(Tls {
            config: Arc::new(config),
            verifier,
            own,
        })
    }

    fn verifier(&self) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsFilesError> {
        let Some(path) = &self.ca else {
            return if self.crl.is_empty() {
                Ok(None)
            } else {
                Err(TlsFilesError::CrlWithoutCa)
            };
        };
        let mut roots = RootCertStore::empty();
        let certificates = certificates_in(path);
        for certificate in certificates.map_err(|error| TlsFilesError::Ca(Box::new(error)))? {
            let added = roots.add(certificate);
            added.map_err(|source| TlsFilesError::unfit(path, source))?;
        }
        let mut builder = WebPkiServerVerifier::builder(Arc::new(roots));
        if !self.crl.is_empty() {
            let mut files = Pinned::new();
            let mut crls = Vec::new();
            for path in &self.crl {
                crls.extend(lists(&mut files, path)?);
            }
            builder = builder.with_crls(crls).enforce_revocation_expiration();
        }
        Ok(Some(builder.build()?))
    }
}

impl Load for TlsFiles {
    type Value = Tls;
    type Error = TlsFilesError;

    fn name(&self) -> &'static str {
        "upstream_tls"
    }

    fn paths(&self) -> Vec<PathBuf> {
        let own = self.certificate.iter();
        let own = own.flat_map(|(chain, key)| [chain.clone(), key.clone()]);
        let given = self.ca.iter().chain(&self.crl);
        given.cloned().chain(own).collect()
    }

    fn load(&mut self, previous: Option<&Self::Value>) -> Result<Self::Value, TlsFilesError> {
        self.tls(previous)
    }
}

impl TlsFilesError {
    /// Which of the keys `ca`, `crl` and `certificate` names what cannot be used.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Read { .. } | Self::Pem { .. } | Self::NoCrl(_) | Self::CrlWithoutCa => "crl",
            Self::Ca(_) | Self::Verifier(_) | Self::Unfit { .. } | Self::System(_) => "ca",
            Self::Own(_) => "certificate",
        }
    }

    fn unfit(path: &Path, source: rustls::Error) -> Self {
        let path = path.to_owned();
        Self::Unfit { path, source }
    }
}

/// The CRLs in a file, PEM, or the one in it, DER.
fn lists(
    files: &mut Pinned,
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsFilesError> {
    let read = files.read_at_most(path, LARGEST);
    let bytes = read.map_err(|source| TlsFilesError::Read {
        path: path.to_owned(),
        source,
    })?;
    // A SEQUENCE, as which no PEM begins.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.into()]);
    }
    let lists = CertificateRevocationListDer::pem_slice_iter(&bytes);
    let lists: Result<Vec<_>, _> = lists.collect();
    let lists = lists.map_err(|reason| TlsFilesError::Pem {
        path: path.to_owned(),
        reason,
    })?;
    if lists.is_empty() {
        return Err(TlsFilesError::NoCrl(path.to_owned()));
    }
    Ok(lists)
}
