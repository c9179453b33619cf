//! A small PKI for tests: CAs, certificates, files, and a client that speaks TLS by them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    reason = "a support module: each test file uses its part of it"
)]

pub mod extended;
pub mod worst;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use portcullis::tls::{
    Accepted, Acceptor, Builder, CertificateFiles, ClientCas, HandshakeError, WantsClientAuth,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A CA that signs.
pub struct Ca {
    pub pem: String,
    pub der: CertificateDer<'static>,
    pub issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    pub der: CertificateDer<'static>,
    pub pem: String,
    pub key_pem: String,
    pub key_der: Vec<u8>,
}

/// Files in a directory of their own.
pub struct Files {
    pub directory: tempfile::TempDir,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = Self::params(name, change);
        let certificate = params.self_signed(&key).unwrap();
        Self::of(&certificate, params, key)
    }

    /// An intermediate CA under this one.
    pub fn sub(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (params, key) = Self::params(name, change);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self::of(&certificate, params, key)
    }

    /// An intermediate CA under this one with a key of this kind.
    pub fn sub_of(&self, algorithm: &'static rcgen::SignatureAlgorithm, name: &str) -> Self {
        let (params, _) = Self::params(name, |_| {});
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self::of(&certificate, params, key)
    }

    /// A store with this CA alone.
    pub fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        roots
    }

    /// The same CA with another certificate: its name and key stay.
    pub fn renewed(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> String {
        let (params, _) = Self::params(name, change);
        params.self_signed(self.issuer.key()).unwrap().pem()
    }

    fn params(
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        (params, KeyPair::generate().unwrap())
    }

    fn of(certificate: &rcgen::Certificate, params: CertificateParams, key: KeyPair) -> Self {
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A server's certificate for these names.
    pub fn server(&self, names: &[&str]) -> Leaf {
        self.leaf(names.first().unwrap_or(&"server"), |params| {
            params.subject_alt_names = names
                .iter()
                .map(|name| match name.parse() {
                    Ok(ip) => SanType::IpAddress(ip),
                    Err(_) => SanType::DnsName((*name).try_into().unwrap()),
                })
                .collect();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        })
    }

    /// A client's certificate with this common name.
    pub fn client(&self, name: &str) -> Leaf {
        self.client_with(name, |_| {})
    }

    pub fn client_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.leaf(name, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            change(params);
        })
    }

    pub fn leaf(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

impl Ca {
    /// A list of these serial numbers, from an hour ago to in a day.
    pub fn crl(&self, number: u64, revoked: &[u64]) -> CertificateRevocationList {
        self.crl_with(number, revoked, |_| {})
    }

    pub fn crl_with(
        &self,
        number: u64,
        revoked: &[u64],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> CertificateRevocationList {
        let now = time::OffsetDateTime::now_utc();
        let mut params = CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + time::Duration::DAY,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|&serial| RevokedCertParams {
                    serial_number: serial.into(),
                    revocation_time: now - time::Duration::HOUR,
                    reason_code: Some(RevocationReason::KeyCompromise),
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap()
    }
}

impl Leaf {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key_der.clone()).into()
    }
}

impl Files {
    pub fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn put(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// `tls.crt` and `tls.key`.
    pub fn pair(&self, leaf: &Leaf) -> CertificateFiles {
        self.put("tls.key", &leaf.key_pem);
        self.put("tls.crt", &leaf.pem);
        CertificateFiles::secret(self.directory.path())
    }

    pub fn server(&self, leaf: &Leaf) -> WantsClientAuth {
        Builder::with_certificate(self.pair(leaf))
    }

    pub fn requiring(&self, leaf: &Leaf, ca: &Ca) -> Builder {
        let bundle = self.put("ca.crt", &ca.pem);
        self.server(leaf)
            .require_client_certificates(ClientCas::new([bundle]))
    }
}

/// What Kubernetes makes of a Secret volume: a directory of a version, `..data` that points to it,
/// and a link through `..data` for each file.
pub fn swap_secret(volume: &Path, version: &str, files: &[(&str, impl AsRef<[u8]>)]) {
    use std::os::unix::fs::symlink;
    let directory = volume.join(format!("..{version}"));
    fs::create_dir_all(&directory).unwrap();
    for (name, text) in files {
        fs::write(directory.join(name), text).unwrap();
    }
    let old = fs::read_link(volume.join("..data")).ok();
    symlink(format!("..{version}"), volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    for (name, _) in files {
        let link = volume.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    if let Some(old) = old {
        fs::remove_dir_all(volume.join(old)).unwrap();
    }
}

/// A client's configuration: which roots it trusts, and what it shows.
pub fn client(trusts: &Ca, shows: Option<(&Leaf, &[&Ca])>) -> rustls::ClientConfig {
    client_at(trusts, shows, rustls::ALL_VERSIONS)
}

pub fn client_at(
    trusts: &Ca,
    shows: Option<(&Leaf, &[&Ca])>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusts.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match shows {
        None => builder.with_no_client_auth(),
        Some((leaf, above)) => {
            let chain = std::iter::once(leaf.der.clone());
            let chain = chain.chain(above.iter().map(|ca| ca.der.clone())).collect();
            // Not through the builder, which refuses to show what a server should refuse.
            let key = provider.key_provider.load_private_key(leaf.key()).unwrap();
            let certified = rustls::sign::CertifiedKey::new(chain, key);
            let resolver = rustls::sign::SingleCertAndKey::from(certified);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    }
}

/// The client's side of the handshake. In TLS 1.3 the server's refusal is seen at the first read.
pub async fn connect(
    config: &Arc<rustls::ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::clone(config))
        .connect(name, tcp)
        .await
}

/// Both sides of a handshake over TCP that succeeds.
pub async fn accepted(
    acceptor: &Acceptor,
    config: rustls::ClientConfig,
) -> (Accepted, TlsStream<TcpStream>) {
    let tcp = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = tcp.local_addr().unwrap();
    let config = Arc::new(config);
    let (server, theirs) = tokio::join!(
        async {
            let (tcp, _) = tcp.accept().await.unwrap();
            acceptor.accept(tcp).await.unwrap()
        },
        connect(&config, address, "localhost")
    );
    (server, theirs.unwrap())
}

/// A clock that a test sets forward, in seconds.
#[derive(Debug, Default)]
pub struct Ahead(AtomicU64);

impl Ahead {
    pub fn by(&self, ahead: Duration) {
        self.0.store(ahead.as_secs(), Ordering::Relaxed);
    }
}

impl TimeProvider for Ahead {
    fn current_time(&self) -> Option<UnixTime> {
        let since = SystemTime::UNIX_EPOCH.elapsed().ok()?;
        let ahead = Duration::from_secs(self.0.load(Ordering::Relaxed));
        Some(UnixTime::since_unix_epoch(since + ahead))
    }
}

/// A provider that verifies by all but what Ed25519 signs.
pub fn without_ed25519() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let WebPkiSupportedAlgorithms { all, mapping } = provider.signature_verification_algorithms;
    let ed25519 = rustls::pki_types::alg_id::ED25519;
    let left = all.iter().copied();
    let left: Vec<_> = left
        .filter(|known| known.signature_alg_id() != ed25519)
        .collect();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: left.leak(),
        mapping,
    };
    provider
}

/// A handshake over TCP that fails: the server's error and the words of the client's.
pub async fn refused(
    acceptor: &Acceptor,
    config: rustls::ClientConfig,
) -> (HandshakeError, String) {
    let tcp = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = tcp.local_addr().unwrap();
    let config = Arc::new(config);
    let (server, theirs) = tokio::join!(
        async {
            let (tcp, _) = tcp.accept().await.unwrap();
            acceptor.accept(tcp).await.unwrap_err()
        },
        async {
            let mut stream = connect(&config, address, "localhost").await?;
            stream.read_u8().await
        }
    );
    (server, theirs.unwrap_err().to_string())
}
