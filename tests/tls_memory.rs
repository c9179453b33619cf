//! What a TLS connection keeps on the heap, beside one of plain rustls.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod pki;

use std::alloc::System;
use std::sync::Arc;

use pki::{Ca, Files, client};
use portcullis::Watched;
use portcullis::crl::{Options, Revocation};
use portcullis::tls::{Acceptor, ClientCas};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::io::{DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The first fill what is shared.
const WARM_UP: usize = 20;
const CONNECTIONS: usize = 200;

fn allocated() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The bytes that are kept for each of the connections, which are of different clients.
async fn kept<S>(
    clients: &[Arc<rustls::ClientConfig>],
    mut accept: impl AsyncFnMut(DuplexStream) -> S,
) -> usize {
    let mut connections = Vec::with_capacity(clients.len());
    let mut before = 0;
    for (at, config) in clients.iter().enumerate() {
        if at == WARM_UP {
            before = allocated();
        }
        let (near, far) = duplex(16 * 1024);
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(config));
        let (server, client) = tokio::join!(accept(far), connector.connect(name, near));
        client.unwrap();
        connections.push(Box::new(server));
    }
    (allocated() - before) / CONNECTIONS
}

#[tokio::test]
async fn a_connection_keeps_at_most_four_kibibytes_more_than_one_of_rustls() {
    let (files, root) = (Files::new(), Ca::new("Example Registry Root"));
    let sub = root.sub("Nodes 2026", |_| {});
    let pair = files.pair(&root.server(&["localhost"]));
    let bundle = files.put("ca.crt", &root.pem);
    let lists = [root.crl(1, &[]), sub.crl(1, &[])];
    let lists = [lists[0].der().as_ref(), lists[1].der().as_ref()];
    let clients: Vec<_> = (0..WARM_UP + CONNECTIONS)
        .map(|at| {
            let node = sub.client(&format!("node-{at}"));
            let mut config = client(&root, Some((&node, &[&sub])));
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        })
        .collect();

    let revocation = Revocation::from_bytes(lists, Options::default()).unwrap();
    let builder = portcullis::tls::Builder::with_certificate(pair)
        .require_client_certificates(ClientCas::new([bundle]));
    let material = builder.with_revocation(revocation).load().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(root.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let mut plain = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_cert_resolver(Arc::clone(&material.server_config().cert_resolver));
    plain.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let plain = TlsAcceptor::from(Arc::new(plain));
    let theirs = kept(&clients, async |far| plain.accept(far).await.unwrap()).await;

    let acceptor = Acceptor::new(Watched::fixed(material));
    let peer = "10.0.0.1:1".parse().unwrap();
    let ours = kept(&clients, async |far| {
        acceptor.accept_from(far, peer).await.unwrap()
    })
    .await;
    assert!(theirs > 1024, "{theirs} bytes of rustls cannot be");
    assert!(ours <= theirs + 4096, "{ours} bytes over {theirs}");
}
