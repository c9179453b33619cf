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

/// An acceptor that lets so many handshakes be in flight.
fn acceptor_of(files: &Files, handshakes: usize) -> Acceptor {
    let ca = Ca::new("Nodes 2026");
    let server = ca.server(&["localhost"]);
    let material = files.requiring(&server, &ca).load().unwrap();
    Acceptor::new(Watched::fixed(material))
        .with_handshake_timeout(Duration::from_secs(3))
        .with_max_handshakes(handshakes)
}

/// How silent clients with these addresses end, who come one after another, and after which time.
async fn silent(acceptor: &Acceptor, hosts: &[u8]) -> Vec<(Reason, Duration)> {
    let begun = tokio::time::Instant::now();
    let each = hosts.iter().map(|host| async {
        let (ours, _kept) = tokio::io::duplex(1024);
        let peer = SocketAddr::from(([192, 0, 2, *host], 4711));
        let error = acceptor.accept_from(ours, peer).await.unwrap_err();
        (error.reason(), begun.elapsed())
    });
    futures_util::future::join_all(each).await
}

#[tokio::test(start_paused = true)]
async fn no_more_handshakes_than_allowed_are_in_flight_and_the_oldest_makes_room() {
    let files = Files::new();
    let ended = silent(&acceptor_of(&files, 2), &[1, 2, 3]).await;
    let timed_out = (Reason::TimedOut, Duration::from_secs(3));
    let displaced = (Reason::Overloaded, Duration::ZERO);
    assert_eq!(ended, [displaced, timed_out, timed_out]);
}

#[tokio::test(start_paused = true)]
async fn half_open_handshakes_of_one_source_end_none_of_another() {
    let files = Files::new();
    let hosts: Vec<u8> = [1].into_iter().chain([7; 200]).collect();
    let ended = silent(&acceptor_of(&files, 4), &hosts).await;
    // The first, though it is the oldest, and the newest of the others.
    let kept = ended
        .iter()
        .enumerate()
        .filter(|(_, (reason, _))| *reason == Reason::TimedOut);
    let kept: Vec<_> = kept.map(|(number, _)| number).collect();
    assert_eq!(kept, [0, 198, 199, 200]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_all_it_may_have_takes_no_handshake_from_others() {
    let files = Files::new();
    let acceptor = acceptor_of(&files, 2).with_max_connections_per_source(1);
    let ended = silent(&acceptor, &[1, 7, 7, 7]).await;
    let timed_out = (Reason::TimedOut, Duration::from_secs(3));
    let displaced = (Reason::Overloaded, Duration::ZERO);
    assert_eq!(ended, [timed_out, displaced, displaced, timed_out]);
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
