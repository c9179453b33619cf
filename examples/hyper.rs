//! A hyper server behind the gate, in a loop of its own: mutual TLS, an access log, a list of
//! networks, and an end that lets requests in flight finish.
//!
//! ```text
//! cargo run --example hyper -- --smoke
//! cargo run --example hyper -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

mod shared;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use portcullis::Connection;
use portcullis::access_log::AccessLogLayer;
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::tls::{Acceptor, AddConnection, Builder, CertificateFiles, ClientCas};
use shared::{Arguments, Result};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

#[tokio::main]
async fn main() -> Result<()> {
    shared::run(serve).await
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
