use std::sync::Arc;

use portcullis::Watched;
use portcullis::crl::Revocation;
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

/// A root, an intermediate that issues clients, and a server: ECDSA P-256.
pub(crate) struct Pki {
    directory: tempfile::TempDir,
    root: CertificateDer<'static>,
    root_issuer: Issuer<'static, KeyPair>,
    issuer: Issuer<'static, KeyPair>,
    intermediate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

/// A client with its chain.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) config: Arc<rustls::ClientConfig>,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

fn named(name: &str, ca: bool) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Example Registry");
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    }
    params
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (root_params, root_key) = (named("Root", true), KeyPair::generate().expect("a key"));
        let root = root_params.self_signed(&root_key).expect("a root");
        let root_issuer = Issuer::new(root_params, root_key);
        let (params, key) = (named("Nodes", true), KeyPair::generate().expect("a key"));
        let intermediate = params.signed_by(&key, &root_issuer).expect("a CA");
        let issuer = Issuer::new(params, key);
        let server_key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let server = server
            .signed_by(&server_key, &root_issuer)
            .expect("a server");
        let put = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text).expect("a file");
        };
        put("tls.crt", server.pem());
        put("tls.key", server_key.serialize_pem());
        put("ca.crt", root.pem());
        Self {
            root: root.der().clone(),
            root_issuer,
            issuer,
            intermediate: intermediate.der().clone(),
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
            directory,
        }
    }

    pub(crate) fn clients(&self, count: usize) -> Vec<Client> {
        let key = KeyPair::generate().expect("a key");
        let der = PrivatePkcs8KeyDer::from(key.serialize_der());
        let signing = self.provider.key_provider.load_private_key(der.into());
        let signing = signing.expect("a key");
        let clients = (0..count).map(|at| {
            let mut params = named(&format!("node-{at}"), false);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = CertificateParams::new([format!("n{at}.example.org")])
                .expect("a name")
                .subject_alt_names;
            let certificate = params.signed_by(&key, &self.issuer).expect("a client");
            let chain = vec![certificate.der().clone(), self.intermediate.clone()];
            let certified = CertifiedKey::new(chain.clone(), Arc::clone(&signing));
            Client {
                config: Arc::new(self.config(certified, Resumption::disabled())),
                chain,
            }
        });
        clients.collect()
    }

    /// A client that resumes its session whenever it can.
    pub(crate) fn resuming(&self) -> Client {
        let mut client = self.clients(1).remove(0);
        let mut config = (*client.config).clone();
        config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        client.config = Arc::new(config);
        client
    }

    fn config(&self, certified: CertifiedKey, resumption: Resumption) -> rustls::ClientConfig {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.resumption = resumption;
        config
    }

    pub(crate) fn ours(&self, revocation: Option<Revocation>) -> Acceptor {
        let mut builder =
            Builder::with_certificate(CertificateFiles::secret(self.directory.path()))
                .require_client_certificates(ClientCas::new([self
                    .directory
                    .path()
                    .join("ca.crt")]));
        if let Some(revocation) = revocation {
            builder = builder.with_revocation(revocation);
        }
        Acceptor::new(Watched::fixed(builder.load().expect("material")))
    }

    pub(crate) fn plain(&self, crl: Option<&[u8]>) -> Arc<rustls::ServerConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("a root");
        let provider = Arc::clone(&self.provider);
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = match crl {
            // The root has no list of its own here, which webpki would refuse.
            Some(crl) => verifier
                .with_crls([crl.to_vec().into()])
                .only_check_end_entity_revocation(),
            None => verifier,
        };
        let ours = self.ours(None);
        let ours = ours.material().load();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_cert_resolver(Arc::clone(&ours.server_config().cert_resolver));
        config
            .alpn_protocols
            .clone_from(&ours.server_config().alpn_protocols);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
        Arc::new(config)
    }

    /// The intermediate's list of so many serial numbers, none of them a client's.
    pub(crate) fn crl(&self, entries: u64) -> Vec<u8> {
        let _ = &self.root_issuer;
        let now = time::OffsetDateTime::now_utc();
        let revoked = (0..entries).map(|serial| RevokedCertParams {
            serial_number: (serial + (1 << 40)).into(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now - time::Duration::HOUR,
            next_update: now + time::Duration::DAY,
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.issuer)
            .expect("a list")
            .der()
            .to_vec()
    }
}
