use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// A CA with a CRL, a server and a client, as files.
pub(crate) struct Pki {
    folder: tempfile::TempDir,
    pub(crate) client: Arc<rustls::ClientConfig>,
}

pub(crate) const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

impl Pki {
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).expect("a file");
        };
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "ca");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_certificate = ca.self_signed(&key).expect("a CA");
        let issuer = Issuer::new(ca, key);
        put("ca.crt", &ca_certificate.pem());
        let now = time::OffsetDateTime::now_utc();
        let list = CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + time::Duration::DAY,
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&issuer).expect("a CRL");
        put("crl.pem", &list.pem().expect("PEM"));
        let leaf = |name: &str, usage| {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
            // OpenSSL takes a certificate that bears its issuer's name for a self-signed one.
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![usage];
            (params.signed_by(&key, &issuer).expect("a leaf"), key)
        };
        let (server, key) = leaf("localhost", ExtendedKeyUsagePurpose::ServerAuth);
        put("server.crt", &server.pem());
        put("server.key", &key.serialize_pem());
        put(
            "server.pem",
            &format!("{}{}", server.pem(), key.serialize_pem()),
        );
        put("ci.token", TOKEN);
        let (client, key) = leaf("node.example", ExtendedKeyUsagePurpose::ClientAuth);
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca_certificate.der().clone()).expect("a root");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![client.der().clone()], key.into())
            .expect("a client");
        Self {
            folder,
            client: Arc::new(client),
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
