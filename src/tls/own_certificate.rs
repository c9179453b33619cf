use std::path::PathBuf;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use super::certified_key::certified_key;
use super::{CertificateFiles, TlsError, provider, time};
use crate::Watched;
use crate::reload::{Health, Load, Pinned, WatchOptions};

/// A certificate with its chain and key that a program shows on connections that it makes itself, and that
/// follows its files. `Clone` costs an `Arc`; clones share the certificate.
///
/// It is a [`ResolvesClientCert`], so that a rustls client shows the newest one on each new connection. While
/// the files cannot be used, or the key in them is not that of the certificate, the last good one stays.
///
/// A session that is resumed shows no certificate again: for the server the connection has the identity of the session's
/// first handshake, also after another certificate has come. rustls resumes sessions of TLS 1.3 and 1.2 by default. Where
/// the server is to see the new one at once, `resumption` of the client's configuration is
/// [`Resumption::disabled`](rustls::client::Resumption::disabled), or a configuration with a session store of its own
/// is made when [`OwnCertificate::generation`] changes.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use portcullis::reload::WatchOptions;
/// use portcullis::tls::{CertificateFiles, OwnCertificate};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let roots = rustls::RootCertStore::empty();
/// let files = CertificateFiles::bundle("/var/lib/kubelet/pki/kubelet-client-current.pem");
/// let own = OwnCertificate::watch(files, WatchOptions::default())?;
/// let client = rustls::ClientConfig::builder()
///     .with_root_certificates(roots)
///     .with_client_cert_resolver(Arc::new(own));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OwnCertificate(Watched<Arc<CertifiedKey>>);

struct Files {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
}

impl OwnCertificate {
    /// Reads the files now and whenever they change, by the provider that servers use by default.
    ///
    /// # Errors
    /// What is wrong with the files now. Later errors leave the last good certificate in use.
    pub fn watch(files: CertificateFiles, options: WatchOptions) -> Result<Self, TlsError> {
        Self::watch_with(files, options, None)
    }

    /// Follows the files as [`OwnCertificate::watch`] does, by this provider.
    ///
    /// # Errors
    /// As of [`OwnCertificate::watch`].
    pub fn watch_with(
        files: CertificateFiles,
        options: WatchOptions,
        provider: Option<Arc<CryptoProvider>>,
    ) -> Result<Self, TlsError> {
        let provider = provider::choose(provider);
        Watched::watch(Files { files, provider }, options).map(Self)
    }

    /// Returns the certificate in use.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.load())
    }

    /// Counts the certificates so far, from 1.
    pub fn generation(&self) -> u64 {
        self.0.generation()
    }

    /// Returns how the last reload went.
    pub fn health(&self) -> Health {
        self.0.health()
    }
}

impl Load for Files {
    type Value = Arc<CertifiedKey>;
    type Error = TlsError;

    fn name(&self) -> &'static str {
        "own_certificate"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.files.paths()
    }

    fn load(
        &mut self,
        previous: Option<&Arc<CertifiedKey>>,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        read(&self.files, &self.provider, previous.map(AsRef::as_ref))
    }
}

impl CertificateFiles {
    /// Reads the files once, by the provider that servers use by default, for a program that follows them by itself;
    /// [`OwnCertificate`] follows them. `previous` is what they held the last time, by which a bundle that is written
    /// over in its place is recognised. Blocks for some milliseconds where they are a bundle.
    ///
    /// # Errors
    /// The files cannot be read, the key is not that of the certificate, or the certificate is not valid now.
    pub fn certified_key(
        &self,
        previous: Option<&CertifiedKey>,
    ) -> Result<Arc<CertifiedKey>, TlsError> {
        read(self, &provider::choose(None), previous)
    }
}

fn read(
    files: &CertificateFiles,
    provider: &CryptoProvider,
    previous: Option<&CertifiedKey>,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let now = DefaultTimeProvider.current_time().ok_or(TlsError::NoTime)?;
    let now = time::system(now);
    let (key, _) = certified_key(files, &mut Pinned::new(), provider, now, previous)?;
    Ok(key)
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let own = self.certified_key();
        own.key.choose_scheme(schemes).is_some().then_some(own)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
