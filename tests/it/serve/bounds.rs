//! No source keeps others out.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use portcullis::auth::{Authentication, Credential, Credentials, Secret};
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, Guard, Watched};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::service_fn;

use super::support::{
    GET, Tls, ask, connect, connect_from, ended, get, http2, is_open, open, start, until, whoami,
    within,
};

const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// So many connections of one source that say nothing.
async fn flood(address: std::net::SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut flood = Vec::new();
    for _ in 0..count {
        flood.push(connect_from(FLOODER, address).await);
    }
    flood
}

fn open_ones(flood: &[TcpStream]) -> usize {
    flood.iter().filter(|tcp| is_open(tcp)).count()
}

#[tokio::test]
async fn a_flood_of_half_open_handshakes_keeps_nobody_out() {
    let tls = Tls::new();
    let server = tls
        .open()
        .with_max_connections(64)
        .with_max_new_connections(16)
        .with_max_connections_per_source(1000);
    let running = start(server, service_fn(whoami)).await;
    let flood = flood(running.address, 300).await;
    for protocol in ["http/1.1", "h2"] {
        let mut client = tls.connect(running.address, protocol).await.unwrap();
        if protocol == "h2" {
            let (mut sender, _) = http2(client).await;
            let response = within(sender.send_request(get())).await.unwrap();
            assert_eq!(response.status(), 200);
        } else {
            let answer = ask(&mut client, GET).await;
            assert!(answer.ends_with("127.0.0.1"), "{answer}");
        }
    }
    // None of the handshakes has come to its deadline.
    until("the newest are left", || open_ones(&flood) <= 16).await;
    assert!(open_ones(&flood) > 0);
}

#[tokio::test]
async fn clients_that_are_silent_after_their_handshake_keep_nobody_out() {
    let tls = Tls::new();
    let server = tls
        .open()
        .with_max_connections(8)
        .with_max_connections_per_source(1000);
    let running = start(server, service_fn(whoami)).await;
    let mut silent = Vec::new();
    for _ in 0..24 {
        silent.push(tls.connect(running.address, "http/1.1").await);
    }
    let mut client = tls.connect(running.address, "http/1.1").await.unwrap();
    let answer = ask(&mut client, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn the_oldest_that_has_shown_nothing_goes_first() {
    let server = open().with_max_connections(8);
    let running = start(server, service_fn(whoami)).await;
    let mut asks = connect_from(FLOODER, running.address).await;
    ask(&mut asks, GET).await;
    let mut silent = flood(running.address, 4).await;
    until("the bound is reached", || open_ones(&silent) == 4).await;
    let mut newest = connect_from(FLOODER, running.address).await;
    ended(&mut silent[0]).await;
    assert_eq!(open_ones(&silent[1..]), 3);
    for client in [&mut asks, &mut newest] {
        let answer = ask(client, GET).await;
        assert!(answer.ends_with("127.0.0.2"), "{answer}");
    }
}

#[tokio::test]
async fn a_source_that_has_all_its_connections_in_use_gets_no_more_and_others_do() {
    let server = open().with_max_connections_per_source(2);
    let waits = service_fn(async |request: http::Request<_>| {
        if request.uri().path() == "/wait" {
            std::future::pending::<()>().await;
        }
        whoami(request).await
    });
    let running = start(server, waits).await;
    let mut in_use = Vec::new();
    for _ in 0..2 {
        let mut client = connect_from(FLOODER, running.address).await;
        // What comes back says that the head of the second was read.
        ask(&mut client, GET).await;
        let wait = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
        client.write_all(wait).await.unwrap();
        in_use.push(client);
    }
    ended(&mut connect_from(FLOODER, running.address).await).await;
    let answer = ask(&mut connect(running.address).await, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    assert!(in_use.iter().all(is_open));
}

/// A connection of the client with this address, behind a proxy, on which there was a request.
async fn behind_a_proxy(address: std::net::SocketAddr, client: &str) -> (TcpStream, String) {
    let mut tcp = connect(address).await;
    let header = format!("PROXY TCP6 {client} 2001:db8::1 50000 443\r\n");
    let request = [header.as_bytes(), GET].concat();
    let _ = tcp.write_all(&request).await;
    let answer = super::support::answer(&mut tcp).await.unwrap_or_default();
    (tcp, answer)
}

#[tokio::test]
async fn hosts_of_one_ipv6_64_are_one_source_and_those_of_one_48_one_network() {
    let server = open()
        .with_proxy_protocol(["127.0.0.0/8".parse().unwrap()])
        .with_max_connections_per_source(2)
        .with_max_connections_per_network(3);
    let running = start(server, service_fn(whoami)).await;
    let mut kept = Vec::new();
    for (client, served) in [
        ("2001:db8:1:1::1", true),
        ("2001:db8:1:1::2", true),
        // The third of its /64.
        ("2001:db8:1:1::3", false),
        ("2001:db8:1:2::1", true),
        // The fourth of its /48.
        ("2001:db8:1:3::1", false),
        ("2001:db8:2:1::1", true),
    ] {
        let (tcp, answer) = behind_a_proxy(running.address, client).await;
        let expected = if served { client } else { "" };
        assert_eq!(answer.ends_with(client), served, "{client}: {answer}");
        assert!(answer.ends_with(expected), "{client}: {answer}");
        kept.push(tcp);
    }
}

#[cfg(feature = "config")]
#[tokio::test]
async fn a_trusted_proxy_has_no_bound_of_its_own() {
    use portcullis::source::ForwardedLayer;
    let proxies = vec!["127.0.0.2/32".parse().unwrap()];
    let layer = ForwardedLayer::x_forwarded_for(proxies);
    let guard = portcullis::Guard::builder().forwarded(layer).build();
    let server = portcullis::serve::Server::new(guard).with_max_connections_per_source(1);
    let running = start(server, service_fn(whoami)).await;
    let mut clients = flood(running.address, 4).await;
    for client in &mut clients {
        let answer = ask(client, GET).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

#[tokio::test]
async fn an_idle_connection_makes_room_when_every_place_is_taken() {
    let server = open().with_max_connections(2);
    let running = start(server, service_fn(whoami)).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        let mut client = connect_from(FLOODER, running.address).await;
        ask(&mut client, GET).await;
        idle.push(client);
    }
    let answer = ask(&mut connect(running.address).await, GET).await;
    assert!(answer.ends_with("127.0.0.1"), "{answer}");
    until("one made room", || open_ones(&idle) == 1).await;
    assert!(is_open(&idle[1]), "the one that was idle for longest goes");
}

/// A refused upload has its answer two seconds later at most, and takes a place until then.
#[tokio::test]
async fn refused_uploads_that_trickle_end_no_idle_connection_that_was_let_in() {
    const PLACES: usize = 48;
    let token = "vMq3yTn8ZbW5kRx2LcHs7dJf";
    let credential = Credential::new("ci").with_secret(Secret::of_token(token.as_bytes()));
    let credentials = Watched::fixed(Credentials::new([credential]).unwrap());
    let guard = Guard::builder()
        .authentication(Authentication::token(credentials))
        .build();
    let server = Server::new(guard).with_max_connections(PLACES);
    let running = start(server, service_fn(whoami)).await;
    let pull =
        format!("GET /v2/ HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    let mut idle = connect(running.address).await;
    assert!(
        ask(&mut idle, pull.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );

    let upload =
        b"PUT /v2/a/blobs/uploads/1 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9999\r\n\r\nx";
    let mut held = Vec::new();
    for number in 0..3 * PLACES {
        let last = u8::try_from(2 + number % 33).unwrap();
        let from = Ipv4Addr::new(127, 0, 0, last);
        let mut client = connect_from(from, running.address).await;
        client.write_all(upload).await.unwrap();
        held.push(client);
    }
    // All have come, since one more has.
    let mut other = connect(running.address).await;
    assert!(
        ask(&mut other, pull.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        ask(&mut idle, pull.as_bytes())
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(open_ones(&held) <= PLACES);
}

/// Its streams would multiply what its connections may hold.
#[tokio::test]
async fn a_source_has_as_many_requests_in_flight_as_connections_however_many_streams_it_has() {
    let (waiting, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, passed) = (Arc::clone(&waiting), Arc::clone(&gate));
    let service = service_fn(move |_: Request<Body<Incoming>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let passed = Arc::clone(&passed);
        async move {
            passed.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let are_there = |count| {
        let waiting = Arc::clone(&waiting);
        until("requests that wait", move || {
            waiting.load(Ordering::SeqCst) == count
        })
    };
    let running = start(open().with_max_connections_per_source(3), service).await;
    let (first, _) = http2(connect_from(FLOODER, running.address).await).await;
    let (mut second, _) = http2(connect_from(FLOODER, running.address).await).await;
    let held: Vec<_> = (0..3)
        .map(|_| tokio::spawn(first.clone().send_request(get())))
        .collect();
    are_there(3).await;
    let refused = within(second.send_request(get())).await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    // Another source has its own.
    let (mut other, _) = http2(connect(running.address).await).await;
    let other = tokio::spawn(other.send_request(get()));
    are_there(4).await;
    gate.add_permits(5);
    assert_eq!(within(other).await.unwrap().unwrap().status(), 200);
    for answer in held {
        assert_eq!(within(answer).await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(
        within(second.send_request(get())).await.unwrap().status(),
        200
    );
}
