//! What the server spends on the chains that cost it most, within the bounds that it has by default.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use portcullis::Watched;
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
use rcgen::{
    BasicConstraints, CertificateParams, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::chains::{self, Chain};
use crate::figures::Figures;
use crate::servers::cpu_nanos;

const HANDSHAKES: usize = 30;
const SIZE: usize = 32 * 1024;

/// The server's CPU time for a handshake with each chain, in milliseconds.
pub(crate) fn rows(figures: &mut Figures) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).expect("a key");
    let root = params.self_signed(&key).expect("a root");
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let server = server.signed_by(&server_key, &issuer).expect("a server");
    for (name, text) in [
        ("tls.crt", server.pem()),
        ("tls.key", server_key.serialize_pem()),
        ("ca.crt", root.pem()),
    ] {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let builder = Builder::with_certificate(CertificateFiles::secret(directory.path()))
        .require_client_certificates(ClientCas::new([directory.path().join("ca.crt")]));
    let acceptor = Acceptor::new(Watched::fixed(builder.load().expect("material")));

    let p256 = &PKCS_ECDSA_P256_SHA256;
    for (kind, chain) in [
        ("6 levels of 18", chains::made_up(6, 18)),
        ("5 levels", chains::made_up(5, 1)),
        ("1 level of 5", chains::made_up(1, 5)),
        ("5", chains::one_name(5, SIZE)),
        ("5 of P-256", chains::beneath(&issuer, p256, 5, SIZE)),
        (
            "5 of P-384",
            chains::beneath(&issuer, &PKCS_ECDSA_P384_SHA384, 5, SIZE),
        ),
        (
            "5 of P-521",
            chains::beneath(&issuer, &PKCS_ECDSA_P521_SHA512, 5, SIZE),
        ),
        (
            "190 under 5 times 50",
            chains::constrained(&issuer, 5, 10, 190),
        ),
        ("96 under 100", chains::constrained(&issuer, 1, 100, 96)),
        ("1,500", chains::many_names(&issuer, 1_300)),
    ] {
        let what = chain.what;
        let cost = median(&acceptor, &root.der().clone(), chain);
        let row = format!("the most costly chains: {kind} {what}");
        figures.row(row, "ms", cost).at_most(5.0);
    }
}

fn median(acceptor: &Acceptor, root: &CertificateDer<'static>, chain: Chain) -> f64 {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(chain.key.serialize_der());
    let key = provider
        .key_provider
        .load_private_key(key.into())
        .expect("a key");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.clone()).expect("a root");
    let resolver = SingleCertAndKey::from(CertifiedKey::new(chain.ders, key));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(resolver));
    let config = Arc::new(config);

    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = tcp.local_addr().expect("an address");
    let client = thread::spawn(move || {
        for _ in 0..HANDSHAKES {
            let name = ServerName::try_from("localhost").expect("a name");
            let session = rustls::ClientConnection::new(Arc::clone(&config), name);
            let tcp = TcpStream::connect(address).expect("a connection");
            let mut stream = rustls::StreamOwned::new(session.expect("a session"), tcp);
            // Refused or let in: the server closes.
            let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let mut costs: Vec<_> = (0..HANDSHAKES)
        .map(|_| {
            let (tcp, _) = tcp.accept().expect("a connection");
            tcp.set_nonblocking(true).expect("a socket");
            runtime.block_on(async {
                let tcp = tokio::net::TcpStream::from_std(tcp).expect("a socket");
                let before = cpu_nanos();
                drop(acceptor.accept(tcp).await);
                (cpu_nanos() - before) as f64 / 1e6
            })
        })
        .collect();
    client.join().expect("the client ends well");
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}
