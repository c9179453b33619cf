//! What ended a connection is counted.
#![cfg(feature = "metrics")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::Body;
use portcullis::serve::{Incoming, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tower::service_fn;

use super::support::{GET, Running, SHORT, Tls, ask, connect, open, start, until};

/// Requests that wait for ever.
static WAITING: AtomicUsize = AtomicUsize::new(0);

async fn service(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/wait" => {
            WAITING.fetch_add(1, Ordering::SeqCst);
            pending().await
        }
        // More than the buffers on the way hold.
        "/large" => Bytes::from(vec![b'x'; 32 * 1024 * 1024]),
        _ => Bytes::from_static(b"short"),
    };
    Ok(Response::new(Full::new(body)))
}

/// Checks what ended the one connection that ended. What `act` returns is kept until then.
fn ends<T>(outcome: &str, server: Server, act: impl AsyncFnOnce(Running) -> T) {
    let recorder = PrometheusBuilder::new().build_recorder();
    // The tasks of the server are on this thread too, and end with their runtime.
    let _guard = metrics::set_default_local_recorder(&recorder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let counted = || -> BTreeMap<String, u64> {
        let scrape = recorder.handle().render();
        let prefix = "portcullis_connections_total{outcome=\"";
        let lines = scrape.lines().filter_map(|line| line.strip_prefix(prefix));
        lines
            .map(|line| {
                let (outcome, count) = line.split_once("\"} ").unwrap();
                (outcome.to_owned(), count.parse().unwrap())
            })
            .collect()
    };
    runtime.block_on(async {
        let _kept = act(start(server, service_fn(service)).await).await;
        until(outcome, || !counted().is_empty()).await;
    });
    assert_eq!(counted(), [(outcome.to_owned(), 1)].into());
}

async fn sends(running: &Running, bytes: &[u8]) -> TcpStream {
    let mut client = connect(running.address).await;
    client.write_all(bytes).await.unwrap();
    client
}

/// A connection on which a request was answered.
async fn asks(running: &Running, before: &str) -> TcpStream {
    let mut client = sends(running, before.as_bytes()).await;
    let answer = ask(&mut client, GET).await;
    assert!(answer.ends_with("short"), "{answer}");
    client
}

#[test]
fn the_end_of_a_connection_is_counted_by_what_the_client_did() {
    ends("closed", open(), async |running| {
        drop(asks(&running, "").await);
        running
    });
    ends("failed", open(), async |running| {
        (sends(&running, b"\0 is no request\r\n\r\n").await, running)
    });
    ends("handshake", Tls::new().open(), async |running| {
        (sends(&running, GET).await, running)
    });
    let behind = || open().with_proxy_protocol(["127.0.0.0/8".parse().unwrap()]);
    ends("proxy_header", behind(), async |running| {
        (sends(&running, GET).await, running)
    });
    for (outcome, server, sent) in [
        ("first_byte", open().with_first_byte_timeout(SHORT), ""),
        ("head", open().with_head_timeout(SHORT), "GET / HT"),
    ] {
        ends(outcome, server, async |running| {
            (sends(&running, sent.as_bytes()).await, running)
        });
    }
    ends("idle", open().with_idle_timeout(SHORT), async |running| {
        (asks(&running, "").await, running)
    });
    let large = b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n";
    ends(
        "stalled",
        open().with_stall_timeout(SHORT),
        async |running| (sends(&running, large).await, running),
    );
    let tls = Tls::new();
    let server = tls.open().with_stall_timeout(SHORT);
    ends("stalled", server, async |running| {
        let mut client = tls.connect(running.address, "http/1.1").await.unwrap();
        client.write_all(large).await.unwrap();
        (client, running)
    });
}

#[test]
fn the_end_of_a_connection_is_counted_by_the_bound_that_it_made_room_for() {
    ends(
        "displaced",
        open().with_max_new_connections(1),
        async |running| {
            let first = connect(running.address).await;
            (first, connect(running.address).await, running)
        },
    );
    let one = |server: Server| server.with_max_connections_per_source(1);
    ends("source_full", one(open()), async |running| {
        let first = asks(&running, "").await;
        (first, connect(running.address).await, running)
    });
    let behind = || open().with_proxy_protocol(["127.0.0.0/8".parse().unwrap()]);
    let header = |client: &str| format!("PROXY TCP6 {client} 2001:db8::1 50000 443\r\n");
    // Hosts of one /64, and of one /48.
    for (outcome, client) in [
        ("source_full", "2001:db8:1:1::2"),
        ("network_full", "2001:db8:1:2::2"),
    ] {
        let server = one(behind()).with_max_connections_per_network(1);
        ends(outcome, server, async |running| {
            let first = asks(&running, &header("2001:db8:1:1::1")).await;
            let second = sends(&running, header(client).as_bytes()).await;
            (first, second, running)
        });
    }
}

#[test]
fn the_end_of_a_connection_is_counted_by_how_the_server_stopped() {
    ends("drained", open(), async |mut running| {
        let client = asks(&running, "").await;
        running.begin_stop();
        (client, running)
    });
    ends(
        "cut",
        open().with_drain_deadline(SHORT),
        async |mut running| {
            let wait = b"GET /wait HTTP/1.1\r\nhost: localhost\r\n\r\n";
            let client = sends(&running, wait).await;
            until("it waits", || WAITING.load(Ordering::SeqCst) == 1).await;
            running.begin_stop();
            (client, running)
        },
    );
}
