use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis::Watched;
use portcullis::crl::{CertPath, Revocation, Tracked};
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::serials::serial;

/// A CA that issues clients and their CRL, and a server: ECDSA P-256.
pub(crate) struct Pki {
    directory: tempfile::TempDir,
    ca: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    provider: Arc<CryptoProvider>,
}

#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) serial: [u8; 16],
    pub(crate) config: Arc<rustls::ClientConfig>,
    certificate: CertificateDer<'static>,
}

/// Serial numbers of certificates that no client sends.
pub(crate) fn strangers(count: usize) -> Vec<[u8; 16]> {
    (0..count as u64).map(|at| serial(at + (1 << 40))).collect()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut params = named("Nodes 2026");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let server = server.signed_by(&server_key, &issuer).unwrap();
        for (name, text) in [
            ("tls.crt", server.pem()),
            ("tls.key", server_key.serialize_pem()),
            ("ca.crt", ca.pem()),
        ] {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        Self {
            ca: ca.der().clone(),
            issuer,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            directory,
        }
    }

    pub(crate) fn clients(&self, count: usize) -> Vec<Client> {
        let key = KeyPair::generate().unwrap();
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let signing = self.provider.key_provider.load_private_key(der.into());
        let signing = signing.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let roots = Arc::new(roots);
        let clients = (0..count as u64).map(|at| {
            let mut params = named(&format!("node-{at}"));
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.serial_number = Some(SerialNumber::from_slice(&serial(at)));
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            let certificate = certificate.der().clone();
            let certified = CertifiedKey::new(vec![certificate.clone()], Arc::clone(&signing));
            let mut config =
                rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
                    .with_protocol_versions(&[&rustls::version::TLS13])
                    .unwrap()
                    .with_root_certificates(Arc::clone(&roots))
                    .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
            config.resumption = Resumption::disabled();
            Client {
                serial: serial(at),
                config: Arc::new(config),
                certificate,
            }
        });
        clients.collect()
    }

    /// A list of these serial numbers.
    pub(crate) fn list(&self, number: u64, serials: &[[u8; 16]]) -> Vec<u8> {
        let now = time::OffsetDateTime::now_utc();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + time::Duration::DAY,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn revocation(&self, list: &[u8]) -> Revocation {
        let builder = Revocation::builder().with_authorities([self.ca.clone()]);
        builder.from_bytes([list]).unwrap()
    }

    /// The folder with `tls.crt`, `tls.key`, both in `both.pem`, `ca.crt`, and the list in `crl.pem`.
    pub(crate) fn files(&self, list: &[u8]) -> PathBuf {
        let folder = self.directory.path();
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        std::fs::write(folder.join("both.pem"), read("tls.crt") + &read("tls.key")).unwrap();
        let text = STANDARD.encode(list);
        let mut pem = String::from("-----BEGIN X509 CRL-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(str::from_utf8(line).unwrap());
            pem.push('\n');
        }
        pem.push_str("-----END X509 CRL-----\n");
        std::fs::write(folder.join("crl.pem"), pem).unwrap();
        folder.to_owned()
    }

    pub(crate) fn tracked(&self, revocation: &Revocation) -> Tracked {
        let client = self.clients(1).remove(0);
        let anchor = webpki::anchor_from_trusted_cert(&self.ca).unwrap();
        revocation.track(CertPath::new(&client.certificate, &[], &anchor).unwrap())
    }

    pub(crate) fn acceptor(&self, revocation: Option<Revocation>) -> Acceptor {
        let mut builder =
            Builder::with_certificate(CertificateFiles::secret(self.directory.path()))
                .require_client_certificates(ClientCas::new([self
                    .directory
                    .path()
                    .join("ca.crt")]));
        if let Some(revocation) = revocation {
            builder = builder.with_revocation(revocation);
        }
        Acceptor::new(Watched::fixed(builder.load().unwrap())).with_max_handshakes(usize::MAX)
    }
}
