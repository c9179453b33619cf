//! An axum server behind the gate: mutual TLS, an access log, a list of networks.
//!
//! ```text
//! cargo run --example axum --features axum -- --smoke
//! cargo run --example axum --features axum -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, reason = "a program")]

mod shared;

use axum::extract::ConnectInfo;
use axum::{Router, routing::get};
use portcullis::Connection;
use portcullis::access_log::AccessLogLayer;
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas, Listener};
use shared::{Arguments, Result};
use tokio::net::TcpListener;

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
    let listener = Listener::new(tcp, Acceptor::new(material));

    let networks = Networks::allow(["127.0.0.0/8".parse()?, "10.0.0.0/8".parse()?]);
    let app = Router::new()
        .route("/v2/", get(whoami))
        .layer(SourceLayer::new(networks))
        .layer(AccessLogLayer::new());
    // So that the layers find the connection of each request.
    let app = app.into_make_service_with_connect_info::<Connection>();
    axum::serve(listener, app).await?;
    Ok(())
}

async fn whoami(ConnectInfo(connection): ConnectInfo<Connection>) -> String {
    match connection.identity() {
        Some(identity) => format!("you are {}", identity.subject()),
        None => "you are nobody".to_owned(),
    }
}
