//! A service of requests, without a framework, behind the gate: mutual TLS, an access log, a list of networks,
//! and an end that lets what is in flight finish.
//!
//! ```text
//! cargo run --example hyper -- --smoke
//! cargo run --example hyper -- --cert tls.crt --key tls.key --client-ca ca.crt
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::process::ExitCode;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, Connection, Guard};
use shared::{Arguments, Result};
use tokio::net::TcpListener;
use tower::service_fn;

#[tokio::main]
async fn main() -> ExitCode {
    shared::main("hyper", serve).await
}

async fn serve(arguments: &Arguments, tcp: TcpListener) -> Result<()> {
    let guard = Guard::builder()
        .acceptor(shared::acceptor(arguments)?)
        .networks(shared::networks()?)
        .build();
    guard.report_on(tcp.local_addr()?).log();
    Server::new(guard)
        .with_graceful_shutdown(async { drop(tokio::signal::ctrl_c().await) })
        .serve(tcp, service_fn(whoami))
        .await?;
    Ok(())
}

async fn whoami(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>> {
    let identity = Connection::of(request.extensions()).and_then(Connection::identity);
    let answer = match identity {
        Some(identity) => format!("you are {}", identity.subject()),
        None => "you are nobody".to_owned(),
    };
    Ok(Response::new(Full::new(answer.into())))
}
