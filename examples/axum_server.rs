//! An axum-server server behind the gate: mutual TLS, an access log, a list of networks, and an end that
//! lets requests in flight finish.
//!
//! ```text
//! cargo run --example axum_server --features axum,axum-server -- --smoke
//! cargo run --example axum_server --features axum,axum-server -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::process::ExitCode;
use std::time::Duration;

use axum::{Extension, Router, routing::get};
use axum_server::Handle;
use portcullis::Connection;
use portcullis::access_log::AccessLogLayer;
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};
use shared::{Arguments, Result};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    shared::main("axum_server", serve).await
}

async fn serve(arguments: &Arguments, tcp: TcpListener) -> Result<()> {
    // Certificates and CAs may be replaced at any time: new handshakes use the new ones.
    let material =
        Builder::with_certificate(CertificateFiles::new(&arguments.cert, &arguments.key))
            .require_client_certificates(ClientCas::new([&arguments.client_ca]))
            .watch(WatchOptions::default())?;

    let networks = Networks::allow(["127.0.0.0/8".parse()?, "10.0.0.0/8".parse()?]);
    let app = Router::new()
        .route("/v2/", get(whoami))
        .layer(SourceLayer::new(networks))
        .layer(AccessLogLayer::new());
    let handle = Handle::new();
    let stop = handle.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.graceful_shutdown(Some(Duration::from_secs(30)));
        }
    });
    // As an `Accept`, the acceptor gives each request its connection.
    axum_server::from_tcp(tcp.into_std()?)?
        .acceptor(Acceptor::new(material))
        .handle(handle)
        .serve(app.into_make_service())
        .await?;
    Ok(())
}

async fn whoami(Extension(connection): Extension<Connection>) -> String {
    match connection.identity() {
        Some(identity) => format!("you are {}", identity.subject()),
        None => "you are nobody".to_owned(),
    }
}
