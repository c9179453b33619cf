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
use portcullis::source::SourceLayer;
use shared::{Arguments, Result};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    shared::main("axum_server", serve).await
}

async fn serve(arguments: &Arguments, tcp: TcpListener) -> Result<()> {
    let app = Router::new()
        .route("/v2/", get(whoami))
        .layer(SourceLayer::new(shared::networks()?))
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
        .acceptor(shared::acceptor(arguments)?)
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
