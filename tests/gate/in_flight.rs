//! How many requests are in flight to registries at once, in all and of one source.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::Full;
use tokio::net::{TcpSocket, TcpStream};

use crate::pki::Files;
use crate::proxy::{InFlight, Proxy, Upstream};
use crate::support::{
    BY_TOKEN, Gate, MANIFEST, PATIENCE, Program, Registry, SHORT, Wire, assert_problem, request,
    within,
};

/// Requests that a source has of eight.
const OF_ONE: usize = 2;

/// The registry's silent path.
const SILENT: &str = "/v2/library/alpine/manifests/silent";

/// A client's connection from another address of this host.
async fn from(address: [u8; 4], gate: &Gate) -> Wire<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::from(address), 0).into()).unwrap();
    Wire::new(within(socket.connect(gate.address)).await.unwrap())
}

/// Has a registry answer all but what is asked of its silent path. Returns how many silent requests it has.
fn answers_all_but_silent(registry: Registry) -> Arc<AtomicUsize> {
    let silent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&silent);
    tokio::spawn(async move {
        loop {
            let mut wire = registry.accept().await;
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                loop {
                    if wire.head().await.line().contains(SILENT) {
                        count.fetch_add(1, Ordering::SeqCst);
                        wire.rest().await;
                        count.fetch_sub(1, Ordering::SeqCst);
                        return;
                    }
                    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                        .await;
                }
            });
        }
    });
    silent
}

async fn until(count: &AtomicUsize, wanted: usize) {
    within(async {
        while count.load(Ordering::SeqCst) != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_whose_requests_the_registry_leaves_silent_leaves_places_to_others() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.in_flight = InFlight::new(4 * OF_ONE);
    })
    .await;
    let silent = answers_all_but_silent(registry);
    let mut clients = Vec::new();
    for _ in 0..6 * OF_ONE {
        let mut client = gate.connect().await;
        client.send(request("GET", SILENT, "")).await;
        clients.push(client);
    }
    until(&silent, OF_ONE).await;
    for address in [[127, 0, 0, 2], [127, 0, 0, 3]] {
        let mut other = from(address, &gate).await;
        for _ in 0..3 * OF_ONE {
            other.send(request("GET", MANIFEST, "")).await;
            assert_eq!(other.answer().await.0.status(), 200);
            assert_eq!(silent.load(Ordering::SeqCst), OF_ONE);
        }
    }
    // Those that wait take the places of those that leave, and leave too.
    drop(clients);
    until(&silent, 0).await;
    let mut client = gate.connect().await;
    client.send(request("GET", MANIFEST, "")).await;
    assert_eq!(client.answer().await.0.status(), 200);
}

#[tokio::test]
async fn however_many_sources_have_silent_requests_another_is_answered() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.in_flight = InFlight::new(32);
    })
    .await;
    let silent = answers_all_but_silent(registry);
    let mut clients = Vec::new();
    for source in 2..10 {
        for _ in 0..12 {
            let mut client = from([127, 0, 0, source], &gate).await;
            client.send(request("GET", SILENT, "")).await;
            clients.push(client);
        }
        // The first one has its quarter, before others come.
        if source == 2 {
            until(&silent, 8).await;
        }
    }
    let mut other = from([127, 0, 0, 20], &gate).await;
    other.send(request("GET", MANIFEST, "")).await;
    assert_eq!(other.answer().await.0.status(), 200);
    assert!(silent.load(Ordering::SeqCst) < 32);
}

#[tokio::test]
async fn a_request_that_finds_no_place_in_time_is_a_503_until_an_answers_body_has_ended() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.in_flight = InFlight::new(4);
        options.head_timeout = SHORT;
    })
    .await;
    let mut first = gate.connect().await;
    let mut wire = registry.asked(&mut first).await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nfour")
        .await;
    assert_eq!(first.head().await.status(), 200);
    assert_eq!(first.bytes(4).await, "four");

    let mut second = gate.connect().await;
    second.send(request("GET", MANIFEST, "")).await;
    let answer = second.answer().await;
    assert_problem(&answer, 503, "UNAVAILABLE");
    assert_eq!(answer.0.get("retry-after"), Some("5"));

    wire.send("more").await;
    assert_eq!(first.bytes(4).await, "more");
    second.send(request("GET", MANIFEST, "")).await;
    // Over the same connection, which is free again.
    wire.head().await;
    wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(second.head().await.status(), 204);
}

#[tokio::test]
async fn a_quarter_as_many_connections_as_there_are_places_stay_open_idle() {
    let registry = Registry::start().await;
    let gate = Gate::with(&registry.url(), |options| {
        options.in_flight = InFlight::new(4 * OF_ONE);
    })
    .await;
    let (mut clients, mut wires) = (Vec::new(), Vec::new());
    // One of each source takes all places.
    for source in (1..).take(4 * OF_ONE) {
        let mut client = from([127, 0, 0, source], &gate).await;
        wires.push(registry.asked(&mut client).await);
        clients.push(client);
    }
    let closed = Arc::new(AtomicUsize::new(0));
    for mut wire in wires {
        wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
        let closed = Arc::clone(&closed);
        tokio::spawn(async move {
            wire.rest().await;
            closed.fetch_add(1, Ordering::SeqCst);
        });
    }
    for client in &mut clients {
        assert_eq!(client.head().await.status(), 204);
    }
    until(&closed, 4 * OF_ONE - OF_ONE).await;
    // The next request takes one of those that stayed.
    clients[0].send(request("GET", MANIFEST, "")).await;
    assert!(!registry.is_called().await);
}

#[tokio::test]
async fn the_gates_own_question_waits_for_no_place() {
    let registry = Registry::start().await;
    let upstream = Upstream::parse(&registry.url(), || panic!("no TLS here")).unwrap();
    let silent = answers_all_but_silent(registry);
    let places = InFlight::new(1);
    let shared = places.clone();
    let gate = Gate::serve(BY_TOKEN, &[], upstream.clone(), |options| {
        options.in_flight = shared;
    })
    .await;
    let mut client = gate.connect().await;
    client.send(request("GET", SILENT, "")).await;
    until(&silent, 1).await;
    let mut options = crate::support::options();
    options.in_flight = places;
    let proxy = Proxy::<Full<Bytes>>::new(upstream, options);
    within(proxy.probe(PATIENCE)).await.unwrap();
    let probe = within(proxy.ask_openly(&Method::GET, "/healthz")).await;
    assert_eq!(probe.status(), 200);
    assert_eq!(silent.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_bound_is_in_the_report() {
    let flags = ["--upstream", "http://127.0.0.1:1", "--max-in-flight", "8"];
    let report = Program::read(&Files::new(), BY_TOKEN, &flags)
        .unwrap()
        .report;
    let report = report.to_string();
    let bound = "at most 8 requests are in flight to registries and other gates, 2 of one source, by at most 43 \
        connections with those that are idle";
    assert!(report.contains(bound), "{report}");
}

#[tokio::test]
async fn no_request_at_all_is_no_bound() {
    let flags = ["--upstream", "http://127.0.0.1:1", "--max-in-flight", "0"];
    let error = Program::read(&Files::new(), BY_TOKEN, &flags)
        .err()
        .unwrap();
    assert!(error.to_string().contains("--max-in-flight"), "{error}");
}
