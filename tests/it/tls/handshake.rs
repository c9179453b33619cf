//! The TLS server over real sockets.
#![cfg(all(feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pki::{Ca, Files, client, client_at, connect};
use portcullis::tls::{Accepted, Acceptor, HandshakeError, Reason};
use portcullis::{Connection, Watched};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn bind() -> (TcpListener, SocketAddr) {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    (tcp, address)
}

/// Both sides of one handshake; the server's connection says `hello` so that the client's side is
/// over too.
async fn handshake(
    acceptor: &Acceptor,
    client: rustls::ClientConfig,
) -> (Result<Accepted, HandshakeError>, std::io::Result<Vec<u8>>) {
    handshake_with(acceptor, &Arc::new(client), "localhost").await
}

async fn handshake_with(
    acceptor: &Acceptor,
    client: &Arc<rustls::ClientConfig>,
    name: &str,
) -> (Result<Accepted, HandshakeError>, std::io::Result<Vec<u8>>) {
    let (tcp, address) = bind().await;
    let server = async {
        let (tcp, _) = tcp.accept().await.unwrap();
        let mut accepted = acceptor.accept(tcp).await?;
        accepted.stream.write_all(b"hello").await.unwrap();
        accepted.stream.shutdown().await.unwrap();
        Ok(accepted)
    };
    let client = async {
        let mut stream = connect(client, address, name).await?;
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await?;
        Ok(said)
    };
    tokio::join!(server, client)
}

#[tokio::test]
async fn a_required_certificate_is_the_identity_of_the_connection_in_both_versions() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let node = ca.client("node-7");
    let acceptor = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ));
    for (versions, name) in [
        (&[&rustls::version::TLS13], "1.3"),
        (&[&rustls::version::TLS12], "1.2"),
    ] {
        let client = client_at(&ca, Some((&node, &[])), versions);
        let (accepted, said) = handshake(&acceptor, client).await;
        assert_eq!(said.unwrap(), b"hello");
        let connection = accepted.unwrap().connection;
        assert_eq!(connection.identity().unwrap().subject(), "CN=node-7");
        let tls = connection.tls().unwrap();
        assert_eq!(tls.version, name);
        assert!(tls.cipher.starts_with("TLS_"), "{}", tls.cipher);
        assert_eq!(tls.server_name.as_deref(), Some("localhost"));
        assert!(!tls.resumed);
        assert_eq!(connection.client_addr().ip(), Ipv4Addr::LOCALHOST);
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_if_required_and_let_in_if_requested() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let required = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ));
    let (accepted, said) = handshake(&required, client(&ca, None)).await;
    let error = accepted.unwrap_err();
    assert_eq!(error.reason(), Reason::CertificateMissing);
    assert_eq!(error.alert().as_deref(), Some("certificate_required"));
    assert!(
        said.unwrap_err()
            .to_string()
            .contains("CertificateRequired")
    );

    let cas = portcullis::tls::ClientCas::new([files.path("ca.crt")]);
    let requested = files.server(&server).request_client_certificates(cas);
    let requested = Acceptor::new(Watched::fixed(requested.load().unwrap()));
    let (accepted, _) = handshake(&requested, client(&ca, None)).await;
    assert!(accepted.unwrap().connection.identity().is_none());
    let stranger = Ca::new("Strangers");
    let theirs = stranger.client("node-7");
    let (accepted, said) = handshake(&requested, client(&ca, Some((&theirs, &[])))).await;
    let error = accepted.unwrap_err();
    assert_eq!(error.reason(), Reason::UnknownIssuer);
    assert_eq!(
        error.to_string(),
        "no client CA named `CN=Strangers` is configured and the client sent none; \
         the bundle holds: `CN=Nodes 2026`"
    );
    assert!(said.unwrap_err().to_string().contains("UnknownCA"));
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_takes_too_long_is_ended() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let acceptor = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ))
    .with_handshake_timeout(Duration::from_secs(3));
    let (ours, _theirs) = tokio::io::duplex(1024);
    let peer = "192.0.2.1:4711".parse().unwrap();
    let begun = tokio::time::Instant::now();
    let error = acceptor.accept_from(ours, peer).await.unwrap_err();
    assert_eq!(error.reason(), Reason::TimedOut);
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn no_more_handshakes_than_allowed_are_under_way() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let acceptor = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ))
    .with_handshake_timeout(Duration::from_secs(3))
    .with_max_handshakes(1);
    let silent = || tokio::io::duplex(1024);
    let peers = [1, 2, 3].map(|host| SocketAddr::from(([192, 0, 2, host], 4711)));
    let (ours, _kept): (Vec<_>, Vec<_>) = peers.map(|_| silent()).into_iter().unzip();
    let begun = tokio::time::Instant::now();
    let each = ours.into_iter().zip(peers);
    let each = each.map(|(io, peer)| acceptor.accept_from(io, peer));
    let reasons: Vec<_> = futures_util::future::join_all(each).await;
    let reasons: Vec<_> = reasons
        .into_iter()
        .map(|one| one.unwrap_err().reason())
        .collect();
    // One is in flight, one waits for its turn, and the third is not even let wait.
    assert_eq!(reasons[0], Reason::TimedOut);
    assert_eq!(reasons[2], Reason::Overloaded);
    // The wait is part of the time that a handshake has.
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_all_it_may_have_takes_no_turn_from_others() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let acceptor = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ))
    .with_max_handshakes(1)
    .with_max_connections_per_source(1);
    let peer = "192.0.2.1:4711".parse().unwrap();
    let (first, _keep_first) = tokio::io::duplex(1024);
    let (second, _keep_second) = tokio::io::duplex(1024);
    let begun = tokio::time::Instant::now();
    let slow = acceptor.accept_from(first, peer);
    let more = async {
        tokio::task::yield_now().await;
        let error = acceptor.accept_from(second, peer).await.unwrap_err();
        (error.reason(), begun.elapsed())
    };
    let (_, (reason, waited)) = tokio::join!(slow, more);
    assert_eq!(reason, Reason::TooManyConnections);
    assert_eq!(waited, Duration::ZERO);
}

#[tokio::test]
async fn plain_http_is_told_to_be_no_tls() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let acceptor = Acceptor::new(Watched::fixed(
        files.requiring(&server, &ca).load().unwrap(),
    ));
    let (tcp, address) = bind().await;
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.unwrap();
    let (tcp, _) = tcp.accept().await.unwrap();
    let error = acceptor.accept(tcp).await.unwrap_err();
    assert_eq!(error.reason(), Reason::NotTls);
}

#[tokio::test]
async fn a_session_is_resumed_under_its_own_material_only_and_keeps_its_identity() {
    let files = Files::new();
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let node = ca.client("node-7");
    let builder = files.requiring(&server, &ca);
    let material = Watched::fixed(builder.clone().load().unwrap());
    let acceptor = Acceptor::new(material.clone());
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        let client = Arc::new(client_at(&ca, Some((&node, &[])), versions));
        let resumed = |connection: &Connection| {
            assert_eq!(connection.identity().unwrap().subject(), "CN=node-7");
            connection.tls().unwrap().resumed
        };
        let first = handshake_with(&acceptor, &client, "localhost").await.0;
        assert!(!resumed(&first.unwrap().connection));
        let second = handshake_with(&acceptor, &client, "localhost").await.0;
        assert!(resumed(&second.unwrap().connection));
        material.publish(builder.clone().load().unwrap());
        let third = handshake_with(&acceptor, &client, "localhost").await.0;
        assert!(!resumed(&third.unwrap().connection));
    }
}
