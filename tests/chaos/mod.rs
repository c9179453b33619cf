//! A service that ends in every way, and clients that go away at any moment.
#![allow(dead_code, reason = "each test file uses its part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis::record::{Cut, Record};
use portcullis::{Preset, Refusal, Responder};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use crate::captured::Sink;

const CHUNK: usize = 10_000;

/// What the service behind the log does, named in the path.
pub(crate) const DEEDS: [&str; 10] = [
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
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

/// So many good chunks and then what its name says.
pub(crate) struct Chunks {
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

/// Does what the path names.
pub(crate) async fn serve<B: Body>(request: Request<B>) -> Result<Response<Chunks>, Broken> {
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

/// What chance has it, the same at each run.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*, so that a run can be repeated.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    pub(crate) fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// Of what is asked and what is shown for it.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) repository: &'static str,
    pub(crate) token: Option<&'static str>,
}

/// One connection of HTTP/1.1 whose requests end as chance has it.
pub(crate) async fn http1(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut chance: Chance,
    ask: fn(&mut Chance) -> Ask,
) {
    for _ in 0..=chance.below(3) {
        let deed = chance.of(&DEEDS);
        let sent = chance.of(&["", "12345", "1234567890"]);
        let Ask { repository, token } = ask(&mut chance);
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let head = format!(
            "PUT /v2/{repository}/manifests/{deed} HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\
             {}\r\n{sent}",
            token.unwrap_or_default()
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

/// One connection of HTTP/2 whose requests end as chance has it.
pub(crate) async fn http2(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    mut chance: Chance,
    ask: fn(&mut Chance) -> Ask,
) {
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let Ok((mut sender, connection)) = builder.handshake(TokioIo::new(stream)).await else {
        return;
    };
    let driver = tokio::spawn(connection);
    let mut streams = Vec::new();
    for _ in 0..=chance.below(6) {
        let deed = chance.of(&DEEDS);
        let Ask { repository, token } = ask(&mut chance);
        let mut request = Request::get(format!("http://a/v2/{repository}/manifests/{deed}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
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

/// Says nothing of the panics that are meant.
pub(crate) fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"deliberate") {
            usual(panic);
        }
    }));
}

/// The access log's events, once each request that arrived has one.
pub(crate) async fn one_event_each(sink: &Sink, arrived: &AtomicU64) -> Vec<Map<String, Value>> {
    // What still hangs on the server's side ends when it sees that its client is gone.
    let begin = Instant::now();
    while (sink.events().len() as u64) < arrived.load(Ordering::SeqCst) {
        assert!(
            begin.elapsed() < Duration::from_secs(60),
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
    events
}

/// How many requests ended in each way.
pub(crate) fn outcomes(events: &[Map<String, Value>]) -> BTreeMap<&str, u64> {
    let mut outcomes = BTreeMap::new();
    for event in events {
        *outcomes
            .entry(event["outcome"].as_str().unwrap())
            .or_default() += 1;
    }
    outcomes
}

/// The metrics tell of these events, and of nothing else.
pub(crate) fn assert_counted(scrape: &str, events: &[Map<String, Value>]) {
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
    let unfinished = events.len() as u64 - outcomes(events)["finished"];
    assert_eq!(of("portcullis_requests_unfinished_total{"), unfinished);
}
