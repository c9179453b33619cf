//! What the examples `axum`, `axum_server` and `hyper` have in common: arguments, certificates and networks, and a try
//! over loopback.

#[path = "../process/error_chain.rs"]
mod error_chain;
#[path = "../process/log.rs"]
#[allow(dead_code, reason = "what was lost is counted in the larger programs")]
mod log;

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use portcullis::reload::WatchOptions;
use portcullis::source::Networks;
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Where to listen and with what, or `--smoke`.
#[derive(Parser)]
pub(crate) struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// The server's certificate with its intermediates, PEM.
    #[arg(long, default_value = "tls.crt")]
    cert: PathBuf,
    /// Its private key, PEM.
    #[arg(long, default_value = "tls.key")]
    key: PathBuf,
    /// The CAs of clients' certificates, PEM.
    #[arg(long, default_value = "ca.crt")]
    client_ca: PathBuf,
    /// Make certificates, ask one question over loopback, print the answer, end.
    #[arg(long)]
    smoke: bool,
}

/// Runs the program of this name, whose errors are a line each.
pub(crate) async fn main(
    name: &str,
    serve: impl AsyncFnOnce(&Arguments, TcpListener) -> Result<()>,
) -> ExitCode {
    let log = log::init("info");
    let ended = run(serve).await;
    log.end();
    let Err(error) = ended else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{name}: {}", error_chain::chain(&*error));
    ExitCode::FAILURE
}

/// Serves as the arguments say; with `--smoke` until one question is answered.
async fn run(serve: impl AsyncFnOnce(&Arguments, TcpListener) -> Result<()>) -> Result<()> {
    let mut arguments = Arguments::parse();
    if !arguments.smoke {
        let address = arguments.listen;
        let bound = TcpListener::bind(address).await;
        // The system's error does not say which address.
        let tcp = bound.map_err(|error| format!("{address}: {error}"))?;
        return serve(&arguments, tcp).await;
    }
    let directory = tempfile::tempdir()?;
    let client = demo(directory.path())?;
    arguments.cert = directory.path().join("tls.crt");
    arguments.key = directory.path().join("tls.key");
    arguments.client_ca = directory.path().join("ca.crt");
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let address = tcp.local_addr()?;
    tokio::select! {
        ended = serve(&arguments, tcp) => ended,
        answer = ask(client, address) => {
            println!("{}", answer?);
            Ok(())
        }
    }
}

/// TLS by the certificates of the arguments, and client certificates required. Certificates and CAs may be replaced at
/// any time: new handshakes use the new ones.
pub(crate) fn acceptor(arguments: &Arguments) -> Result<Acceptor> {
    let material =
        Builder::with_certificate(CertificateFiles::new(&arguments.cert, &arguments.key))
            .require_client_certificates(ClientCas::new([&arguments.client_ca]))
            .watch(WatchOptions::default())?;
    Ok(Acceptor::new(material))
}

/// The networks whose clients are let in.
pub(crate) fn networks() -> Result<Networks> {
    let allowed = ["127.0.0.0/8".parse()?, "10.0.0.0/8".parse()?];
    Ok(Networks::allow(allowed))
}

/// Asks once, with the demo's client certificate.
async fn ask(client: rustls::ClientConfig, address: SocketAddr) -> Result<String> {
    use http_body_util::BodyExt;
    let tcp = TcpStream::connect(address).await?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(client))
        .connect("localhost".try_into()?, tcp)
        .await?;
    let io = hyper_util::rt::TokioIo::new(tls);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    let request = http::Request::get("/v2/").header("host", "localhost");
    let response = sender.send_request(request.body(String::new())?).await?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(format!(
        "{}: {}",
        head.status,
        String::from_utf8_lossy(&body)
    ))
}

/// A CA, a server's certificate and a client's, as one makes them for a try.
fn demo(directory: &Path) -> Result<rustls::ClientConfig> {
    use rcgen::{CertificateParams, IsCa, Issuer, KeyPair};
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let ca_cert = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let server_key = KeyPair::generate()?;
    let server = CertificateParams::new(["localhost".to_owned()])?;
    let server = server.signed_by(&server_key, &issuer)?;
    std::fs::write(directory.join("ca.crt"), ca_cert.pem())?;
    std::fs::write(directory.join("tls.crt"), server.pem())?;
    std::fs::write(directory.join("tls.key"), server_key.serialize_pem())?;

    let client_key = KeyPair::generate()?;
    let mut client = CertificateParams::default();
    let name = &mut client.distinguished_name;
    name.push(rcgen::DnType::CommonName, "node-7");
    let client = client.signed_by(&client_key, &issuer)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(client_key.serialize_der())?;
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![client.der().clone()], key)?)
}
