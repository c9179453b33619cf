//! One event a request however it ends, over real connections that break in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod captured;
mod chaos;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use captured::Sink;
use chaos::{Ask, Chance, assert_counted, http1, http2, one_event_each, outcomes, quiet_panics};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::Connection;
use portcullis::access_log::AccessLogLayer;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tower::{Service, ServiceBuilder, service_fn};

async fn listen(arrived: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let logged = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .service_fn(chaos::serve::<portcullis::Body<Incoming>>);
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let connection = Connection::builder(peer).build();
            let arrived = Arc::clone(&arrived);
            let mut logged = logged.clone();
            let counted = service_fn(move |mut request: Request<Incoming>| {
                arrived.fetch_add(1, Ordering::SeqCst);
                request.extensions_mut().insert(connection.clone());
                logged.call(request)
            });
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let service = TowerToHyperService::new(counted);
                let serving = builder.serve_connection(TokioIo::new(stream), service);
                // hyper does not see that a client is gone behind requests that it sent ahead.
                let _ = timeout(Duration::from_secs(5), serving).await;
            });
        }
    });
    address
}

fn anonymous(_: &mut Chance) -> Ask {
    Ask {
        repository: "a",
        token: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_one_event_and_every_byte_is_counted_once() {
    let sink = Sink::everywhere();
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    quiet_panics();

    let arrived = Arc::new(AtomicU64::new(0));
    let address = listen(Arc::clone(&arrived)).await;
    let mut clients = Vec::new();
    for seed in 1..=120 {
        clients.push(tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            http1(stream, Chance(seed), anonymous).await;
        }));
        clients.push(tokio::spawn(async move {
            let stream = TcpStream::connect(address).await.unwrap();
            http2(stream, Chance(seed << 32), anonymous).await;
        }));
    }
    for client in clients {
        client.await.unwrap();
    }

    let events = one_event_each(&sink, &arrived).await;
    let outcomes = outcomes(&events);
    for event in &events {
        let outcome = event["outcome"].as_str().unwrap();
        let path = event["url.path"].as_str().unwrap();
        let allowed: &[&str] = match path.rsplit('/').next().unwrap() {
            "reads" => &["finished", "client_gone", "service_error"],
            "answers" | "refuses" => &["finished", "client_gone"],
            "fails" => &["service_error"],
            "panics" => &["panicked"],
            "hangs" | "body-hangs" => &["client_gone", "service_error"],
            "body-fails" => &["body_error", "client_gone"],
            "body-panics" => &["panicked", "client_gone"],
            "body-cut" => &["cut_revoked"],
            other => panic!("{other}"),
        };
        assert!(allowed.contains(&outcome), "{path} ended as {outcome}");
    }
    for outcome in [
        "finished",
        "client_gone",
        "service_error",
        "body_error",
        "panicked",
        "cut_revoked",
    ] {
        assert!(
            outcomes.contains_key(outcome),
            "no {outcome} in {outcomes:?}"
        );
    }

    assert_counted(&recorder.render(), &events);
}
