//! An axum server behind the gate: mutual TLS, an access log, a list of networks, and an end that lets what is
//! in flight finish.
//!
//! ```text
//! cargo run --example axum -- --smoke
//! cargo run --example axum -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::process::ExitCode;

use axum::{Extension, Router, routing::get};
use portcullis::serve::Server;
use portcullis::{Connection, Guard};
use shared::{Arguments, Result};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> ExitCode {
    shared::main("axum", serve).await
}

async fn serve(arguments: &Arguments, tcp: TcpListener) -> Result<()> {
    let guard = Guard::builder()
        .acceptor(shared::acceptor(arguments)?)
        .networks(shared::networks()?)
        .build();
    guard.report_on(tcp.local_addr()?).log();

    let app = Router::new().route("/v2/", get(whoami));
    // The guard stands around the whole of the router, and each request has its connection.
    Server::new(guard)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .serve(tcp, app)
        .await?;
    Ok(())
}

async fn whoami(Extension(connection): Extension<Connection>) -> String {
    match connection.identity() {
        Some(identity) => format!("you are {}", identity.subject()),
        None => "you are nobody".to_owned(),
    }
}
