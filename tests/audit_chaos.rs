//! One event a request however it ends, over real connections that break in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod captured;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use captured::Sink;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::audit::{AccessLogLayer, Cut, Record, RequestBody};
use portcullis::{Connection, Preset, Refusal, Responder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, service_fn};

const CHUNK: usize = 10_000;

/// What the service behind the log does, named in the path.
const DEEDS: [&str; 10] = [
    "answers",
    "reads",
    "refuses",
    "fails",
    "panics",
    "hangs",
    "body-fails",
    "body-panics",
    "body-hangs",
    "body-cut",
];

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// So many good chunks and then what its name says.
struct Chunks {
    left: usize,
    then: &'static str,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        static CHUNK_OF_ZEROS: [u8; CHUNK] = [0; CHUNK];
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK_OF_ZEROS)))));
        }
        match self.then {
            "body-fails" | "body-cut" => Poll::Ready(Some(Err(Broken))),
            "body-panics" => panic!("deliberate"),
            "body-hangs" => Poll::Pending,
            _ => Poll::Ready(None),
        }
    }
}

async fn serve(request: Request<RequestBody<Incoming>>) -> Result<Response<Chunks>, Broken> {
    let path = request.uri().path();
    let name = path.rsplit('/').next();
    let deed = DEEDS.into_iter().find(|deed| name == Some(deed)).unwrap();
    let record = Record::of(request.extensions()).unwrap().clone();
    match deed {
        "reads" => {
            // A client that goes away inside its upload is an error here.
            request.into_body().collect().await.map_err(|_| Broken)?;
        }
        "refuses" => {
            let responder = Responder::new(Preset::Mirror);
            let refused = responder.refuse(Refusal::PolicyDenied, &request);
            return Ok(refused.map(|_| Chunks { left: 0, then: "" }));
        }
        "fails" => return Err(Broken),
        "panics" => panic!("deliberate"),
        // hyper looks for the end of a connection only once the request's body was read.
        "hangs" => {
            request.into_body().collect().await.map_err(|_| Broken)?;
            std::future::pending::<()>().await;
        }
        "body-hangs" => {
            request.into_body().collect().await.map_err(|_| Broken)?;
        }
        "body-cut" => record.cut(Cut::Revoked),
        _ => {}
    }
    Ok(Response::new(Chunks {
        left: 20,
        then: deed,
    }))
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*, so that a run can be repeated.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

async fn listen(arrived: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let logged = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .service_fn(serve);
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

/// One connection whose requests end as chance has it; how many were begun.
async fn http1(address: SocketAddr, mut chance: Chance) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    for _ in 0..=chance.below(3) {
        let deed = DEEDS[usize::try_from(chance.below(10)).unwrap()];
        let sent = ["", "12345", "1234567890"][usize::try_from(chance.below(3)).unwrap()];
        let head = format!(
            "PUT /v2/a/manifests/{deed} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n{sent}"
        );
        if stream.write_all(head.as_bytes()).await.is_err() {
            return;
        }
        let mut wanted = usize::try_from(chance.below(30)).unwrap() * CHUNK;
        let mut buffer = vec![0; 4096];
        while wanted > 0 {
            let patience = Duration::from_millis(20 + chance.below(50));
            match timeout(patience, stream.read(&mut buffer)).await {
                Ok(Ok(read)) if read > 0 => wanted = wanted.saturating_sub(read),
                _ => return,
            }
        }
    }
}

async fn http2(address: SocketAddr, mut chance: Chance) {
    let Ok(stream) = TcpStream::connect(address).await else {
        return;
    };
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let Ok((mut sender, connection)) = builder.handshake(TokioIo::new(stream)).await else {
        return;
    };
    let driver = tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..=chance.below(6) {
        let deed = DEEDS[usize::try_from(chance.below(10)).unwrap()];
        let request = Request::get(format!("http://a/v2/a/manifests/{deed}"));
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        if sender.ready().await.is_err() {
            break;
        }
        let answer = sender.send_request(request);
        let frames = chance.below(25);
        let patience = Duration::from_millis(5 + chance.below(60));
        streams.push(tokio::spawn(timeout(patience, async move {
            let mut body = answer.await?.into_body();
            for _ in 0..frames {
                let Some(frame) = body.frame().await else {
                    break;
                };
                frame?;
            }
            Ok::<_, hyper::Error>(())
        })));
    }
    for stream in streams {
        let _ = stream.await;
    }
    drop(sender);
    driver.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_one_event_and_every_byte_is_counted_once() {
    let sink = Sink::default();
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(sink.clone())
        .init();
    let recorder = PrometheusBuilder::new().install_recorder().unwrap();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some("deliberate") {
            usual(panic);
        }
    }));

    let arrived = Arc::new(AtomicU64::new(0));
    let address = listen(Arc::clone(&arrived)).await;
    let mut clients = Vec::new();
    for seed in 1..=120 {
        clients.push(tokio::spawn(http1(address, Chance(seed))));
        clients.push(tokio::spawn(http2(address, Chance(seed << 32))));
    }
    for client in clients {
        client.await.unwrap();
    }

    // What still hangs on the server's side ends when it sees that its client is gone.
    let begin = Instant::now();
    while (sink.events().len() as u64) < arrived.load(Ordering::SeqCst) {
        assert!(
            begin.elapsed() < Duration::from_mins(1),
            "{} requests, {} events",
            arrived.load(Ordering::SeqCst),
            sink.events().len()
        );
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_millis(200)).await;

    let events = sink.events();
    assert!(events.len() > 200, "only {} requests", events.len());
    assert_eq!(events.len() as u64, arrived.load(Ordering::SeqCst));
    let ids: BTreeSet<_> = events
        .iter()
        .map(|event| event["request.id"].to_string())
        .collect();
    assert_eq!(ids.len(), events.len(), "an event was written twice");

    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    for event in &events {
        let outcome = event["outcome"].as_str().unwrap();
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
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

    let scrape = recorder.render();
    let of = |name: &str| -> u64 {
        let values = scrape.lines().filter(|line| line.starts_with(name));
        values
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    let sum = |field: &str| -> u64 {
        events
            .iter()
            .map(|event| event[field].as_u64().unwrap())
            .sum()
    };
    assert_eq!(of("portcullis_requests_total{"), events.len() as u64);
    assert_eq!(of("portcullis_requests_in_flight"), 0);
    assert_eq!(
        of("portcullis_body_bytes_total{direction=\"out\"}"),
        sum("http.response.body.size")
    );
    assert_eq!(
        of("portcullis_body_bytes_total{direction=\"in\"}"),
        sum("http.request.body.size")
    );
    let unfinished = events.len() as u64 - outcomes["finished"];
    assert_eq!(of("portcullis_requests_unfinished_total{"), unfinished);
}
