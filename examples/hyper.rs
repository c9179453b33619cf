//! A hyper server behind the gate, in a loop of its own: mutual TLS, an access log, a list of
//! networks, and an end that lets what is under way finish.
//!
//! ```text
//! cargo run --example hyper -- --smoke
//! cargo run --example hyper -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use portcullis::Connection;
use portcullis::audit::AccessLogLayer;
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::tls::{Acceptor, AddConnection, Builder, CertificateFiles, ClientCas};
use tokio::net::{TcpListener, TcpStream};
use tower::{ServiceBuilder, service_fn};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Arguments {
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

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().json().init();
    let mut arguments = Arguments::parse();
    if !arguments.smoke {
        return serve(&arguments, TcpListener::bind(arguments.listen).await?).await;
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

async fn serve(arguments: &Arguments, tcp: TcpListener) -> Result<()> {
    // Certificates and CAs may be replaced at any time: new handshakes use the new ones.
    let material = Builder::new()
        .with_certificate(CertificateFiles::new(&arguments.cert, &arguments.key))
        .require_client_certificates(ClientCas::new([&arguments.client_ca]))
        .watch(WatchOptions::default())?;
    let acceptor = Acceptor::new(material);

    let networks = Networks::allow(["127.0.0.0/8".parse()?, "10.0.0.0/8".parse()?]);
    let service = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(SourceLayer::new(networks))
        .service(service_fn(whoami));
    let server = auto::Builder::new(TokioExecutor::new());
    let graceful = GracefulShutdown::new();
    loop {
        let (tcp, _) = tokio::select! {
            accepted = tcp.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let (acceptor, server, service) = (acceptor.clone(), server.clone(), service.clone());
        let watcher = graceful.watcher();
        tokio::spawn(async move {
            // A handshake that fails has told why.
            let Ok(accepted) = acceptor.accept(tcp).await else {
                return;
            };
            let service = AddConnection::new(service, accepted.connection);
            let io = TokioIo::new(accepted.stream);
            let serving = server
                .serve_connection_with_upgrades(io, TowerToHyperService::new(service))
                .into_owned();
            if let Err(error) = watcher.watch(serving).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    graceful.shutdown().await;
    Ok(())
}

async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>> {
    let identity = Connection::of(request.extensions()).and_then(Connection::identity);
    let answer = match identity {
        Some(identity) => format!("you are {}", identity.subject()),
        None => "you are nobody".to_owned(),
    };
    Ok(Response::new(Full::new(answer.into())))
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
