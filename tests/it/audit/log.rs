//! The access log: one event a request, whole and safe to read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use crate::captured;

use std::convert::Infallible;
use std::future::pending;
use std::num::NonZeroU64;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use captured::Captured;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use portcullis::access_log::AccessLogLayer;
use portcullis::record::{Cut, Record};
use portcullis::source::{Networks, SourceLayer};
use portcullis::{ClientAddr, Connection, Principal, identity};
use serde_json::json;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type Incoming = portcullis::Body<Full<Bytes>>;

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path)
        .header("host", "registry.example")
        .body(Full::default())
        .unwrap()
}

fn log<S>(service: S) -> portcullis::access_log::AccessLog<S> {
    AccessLogLayer::new().layer(service)
}

#[tokio::test]
async fn an_answered_request_is_one_event_with_its_facts() {
    let log_lines = Captured::start();
    let service = log(service_fn(|request: Request<Incoming>| async move {
        let record = Record::of(request.extensions()).unwrap().clone();
        record.identified(&Principal::new(identity::Method::Token, "ci"));
        record.throttled(Duration::from_millis(1500));
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
        Ok::<_, Infallible>(
            Response::builder()
                .status(StatusCode::CREATED)
                .body(Full::new(Bytes::from("a whole answer")))
                .unwrap(),
        )
    }));
    let mut request = Request::put("/v2/a/b/manifests/1?ns=docker.io&token=S3CRET")
        .header("user-agent", "containerd/1.6")
        .header("host", "[2001:db8::1]:5000")
        .header("x-request-id", "abc-1")
        .body(Full::new(Bytes::from("hello")))
        .unwrap();
    let connection = Connection::builder("[::ffff:10.1.2.3]:4711".parse().unwrap()).build();
    request.extensions_mut().insert(connection.clone());

    let response = service.oneshot(request).await.unwrap();
    assert_eq!(response.headers()["x-request-id"], "abc-1");
    assert!(
        log_lines.events().is_empty(),
        "logged before the body's end"
    );
    response.into_body().collect().await.unwrap();

    let event = log_lines.only();
    for (field, value) in [
        ("client.address", json!("10.1.2.3")),
        ("client.port", json!(4711)),
        ("principal", json!("token:ci")),
        ("http.request.method", json!("PUT")),
        ("url.scheme", json!("http")),
        ("server.address", json!("[2001:db8::1]")),
        ("server.port", json!(5000)),
        ("url.path", json!("/v2/a/b/manifests/1")),
        ("url.query", json!("ns=docker.io")),
        ("network.protocol.version", json!("1.1")),
        ("user_agent.original", json!("containerd/1.6")),
        ("http.response.status_code", json!(201)),
        ("http.request.body.size", json!(5)),
        ("http.response.body.size", json!(14)),
        ("throttled", json!(1.5)),
        ("connection.id", json!(connection.id())),
        ("request.id", json!("abc-1")),
        ("outcome", json!("finished")),
    ] {
        assert_eq!(event.get(field), Some(&value), "{field} of {event:?}");
    }
    for absent in [
        "refusal.reason",
        "error.type",
        "http.request.method_original",
    ] {
        assert!(!event.contains_key(absent), "{absent} of {event:?}");
    }
}

/// OpenTelemetry: what is not a known method has the name of none, so that no client fills an index.
#[tokio::test]
async fn an_unknown_method_is_named_apart_and_bounded() {
    let log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| async {
        let response = Response::builder().status(503);
        Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
    }));
    let long = "X".repeat(300);
    for method in ["BREW", &long] {
        let request = Request::builder()
            .header("host", "registry.example")
            .method(method)
            .uri("https://a/x");
        let request = request.body(Full::default()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    for event in log_lines.events() {
        assert_eq!(event["http.request.method"], "_OTHER");
        let original = event["http.request.method_original"].as_str().unwrap();
        assert!(original == "BREW" || original.len() < 140, "{original}");
        assert_eq!(event["error.type"], "503");
        assert_eq!(event["url.scheme"], "https");
        assert_eq!(event["server.address"], "a");
        assert!(!event.contains_key("server.port"));
    }
    assert_eq!(log_lines.events().len(), 2);
}

#[tokio::test]
async fn a_timeout_that_drops_a_request_is_told_as_one() {
    let log_lines = Captured::start();
    let service = log(service_fn(|request: Request<Incoming>| async move {
        let record = Record::of(request.extensions()).unwrap().clone();
        tokio::spawn(async move { record.cut(Cut::TimedOut) })
            .await
            .unwrap();
        pending::<Result<Response<Full<Bytes>>, Infallible>>().await
    }));
    let patience = Duration::from_millis(50);
    let answer = tokio::time::timeout(patience, service.oneshot(get("/v2/")));
    assert!(answer.await.is_err());
    let event = log_lines.only();
    assert_eq!(event["outcome"], "timed_out");
    assert_eq!(event["error.type"], "timed_out");
}

#[tokio::test]
async fn a_refusal_is_logged_with_its_reason() {
    let log_lines = Captured::start();
    let service = ServiceBuilder::new()
        .layer(AccessLogLayer::new())
        .layer(SourceLayer::new(Networks::allow(["10.0.0.0/8"
            .parse()
            .unwrap()])))
        .service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
    let mut request = get("/v2/");
    let client = ClientAddr::new("192.0.2.7:1".parse().unwrap());
    request.extensions_mut().insert(client);
    let response = service.oneshot(request).await.unwrap();
    let id = response.headers()["x-request-id"].clone();
    drop(response);
    let event = log_lines.only();
    assert_eq!(event["http.response.status_code"], 403);
    assert_eq!(event["refusal.reason"], "source_denied");
    assert_eq!(event["client.address"], "192.0.2.7");
    assert_eq!(event["request.id"], id.to_str().unwrap());
}

/// An encoder of HPACK leaves out of its table what is marked so: there each id would be compared with all before it.
#[tokio::test]
async fn the_id_of_an_answer_over_http_2_is_kept_out_of_the_table_of_headers() {
    let service =
        AccessLogLayer::new().layer(service_fn(|request: Request<Incoming>| async move {
            if let Some(record) = Record::of(request.extensions()) {
                assert_eq!(record.request_id(), Some("abc-1"));
            }
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }));
    let _log_lines = Captured::start();
    for (version, is_kept_out) in [(Version::HTTP_11, false), (Version::HTTP_2, true)] {
        let mut request = get("/v2/");
        *request.version_mut() = version;
        let id = "abc-1".parse().unwrap();
        request.headers_mut().insert("x-request-id", id);
        let response = service.clone().oneshot(request).await.unwrap();
        let id = &response.headers()["x-request-id"];
        assert_eq!(id, "abc-1");
        assert_eq!(id.is_sensitive(), is_kept_out, "{version:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_before_the_answer_is_logged_without_a_status() {
    let log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| {
        pending::<Result<Response<Full<Bytes>>, Infallible>>()
    }));
    assert!(service.oneshot(get("/v2/")).now_or_never().is_none());
    let event = log_lines.only();
    assert_eq!(event["outcome"], "client_gone");
    assert!(!event.contains_key("http.response.status_code"));
}

#[tokio::test]
async fn a_client_that_goes_inside_a_transfer_is_logged_with_what_it_got() {
    let log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| async {
        let frames = [(); 3].map(|()| Ok::<_, Infallible>(Frame::data(Bytes::from("12345"))));
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    let mut body = service.oneshot(get("/v2/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let event = log_lines.only();
    assert_eq!(event["outcome"], "client_gone");
    assert_eq!(event["http.response.body.size"], 5);
}

#[tokio::test]
async fn a_transfer_that_the_gate_cut_says_by_what() {
    let log_lines = Captured::start();
    let service = log(service_fn(|request: Request<Incoming>| async move {
        Record::of(request.extensions()).unwrap().cut(Cut::Revoked);
        let frames = [Ok(Frame::data(Bytes::from("12345"))), Err(Cut::Revoked)];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    let response = service.oneshot(get("/v2/")).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    assert_eq!(log_lines.only()["outcome"], "cut_revoked");
}

/// Says why it is cut when it is let go, as when its connection was closed under it.
struct CutWhenDropped(Record);

impl Drop for CutWhenDropped {
    fn drop(&mut self) {
        self.0.cut(Cut::Revoked);
    }
}

impl Body for CutWhenDropped {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn a_transfer_that_is_cut_with_its_connection_says_by_what() {
    let log_lines = Captured::start();
    let service = log(service_fn(|request: Request<Incoming>| async move {
        let record = Record::of(request.extensions()).unwrap().clone();
        Ok::<_, Infallible>(Response::new(CutWhenDropped(record)))
    }));
    let response = service.oneshot(get("/v2/")).await.unwrap();
    drop(response);
    let event = log_lines.only();
    assert_eq!(event["outcome"], json!("cut_revoked"));
}

#[tokio::test]
async fn a_service_that_fails_and_a_body_that_fails_are_logged() {
    let log_lines = Captured::start();
    let failing = log(service_fn(|_: Request<Incoming>| async {
        Err::<Response<Full<Bytes>>, _>(std::io::Error::other("no"))
    }));
    failing.oneshot(get("/v2/")).await.unwrap_err();
    let cut_short = log(service_fn(|_: Request<Incoming>| async {
        let frames = [Err::<Frame<Bytes>, _>(std::io::Error::other("no"))];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    let response = cut_short.oneshot(get("/v2/")).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    let outcomes: Vec<_> = log_lines.each("outcome");
    assert_eq!(outcomes, ["service_error", "body_error"]);
}

#[tokio::test]
async fn a_panic_is_logged() {
    let log_lines = Captured::start();
    let in_future = log(service_fn(|_: Request<Incoming>| async {
        assert!(std::env::args().count() == 0, "deliberate");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let answer = AssertUnwindSafe(in_future.oneshot(get("/v2/")));
    answer.catch_unwind().await.unwrap_err();
    let in_call = log(service_fn(|_: Request<Incoming>| {
        assert!(std::env::args().count() == 0, "deliberate");
        pending::<Result<Response<Full<Bytes>>, Infallible>>()
    }));
    let answer = AssertUnwindSafe(in_call.oneshot(get("/v2/")));
    answer.catch_unwind().await.unwrap_err();
    assert_eq!(log_lines.each("outcome"), ["panicked", "panicked"]);
}

#[tokio::test]
async fn an_answer_of_known_length_is_finished_when_its_last_byte_was_taken() {
    let log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("12345"))))
    }));
    let mut body = service.oneshot(get("/v2/")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(log_lines.only()["outcome"], "finished");
}

#[tokio::test]
async fn a_head_is_finished_though_nobody_polls_its_body() {
    let log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("12345"))))
    }));
    let head = Request::head("/v2/")
        .header("host", "registry.example")
        .body(Full::default())
        .unwrap();
    drop(service.oneshot(head).await.unwrap());
    let event = log_lines.only();
    assert_eq!(event["outcome"], "finished");
    assert_eq!(event["http.response.body.size"], 0);
}

#[tokio::test]
async fn trailers_size_hint_and_end_are_the_services_own() {
    let _log_lines = Captured::start();
    let service = log(service_fn(|_: Request<Incoming>| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from("12345"))),
            Ok(Frame::trailers(trailers)),
        ];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    let response = service.oneshot(get("/v2/")).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "1");

    let empty = log(service_fn(|_: Request<Incoming>| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let body = empty.oneshot(get("/v2/")).await.unwrap().into_body();
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn nothing_that_a_client_sends_forges_a_line() {
    let log_lines = Captured::start();
    let service = log(service_fn(|request: Request<Incoming>| async move {
        let record = Record::of(request.extensions()).unwrap();
        record.identified(&Principal::new(
            identity::Method::Token,
            "x\r\n{\"forged\":1}\u{1b}[2J",
        ));
        record.explained("rule \u{202e}\n");
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let mut request = get("/v2/");
    *request.uri_mut() = format!("/{}", "é".repeat(4000)).parse().unwrap();
    let agent = http::HeaderValue::from_bytes(b"evil\t\xff\xfe agent").unwrap();
    request.headers_mut().insert("user-agent", agent);
    request
        .headers_mut()
        .insert("x-request-id", "a \"b\"".parse().unwrap());
    let response = service.oneshot(request).await.unwrap();
    assert_ne!(response.headers()["x-request-id"], "a \"b\"");
    drop(response);
    let raw = log_lines.text();
    assert_eq!(raw.lines().count(), 1);
    assert!(raw.len() < 4096, "{}", raw.len());
    assert!(!raw.trim_end().chars().any(char::is_control), "{raw:?}");
    assert!(!raw.contains('\u{202e}'));
}

#[tokio::test]
async fn only_successful_health_checks_are_sampled() {
    let log_lines = Captured::start();
    let layer = AccessLogLayer::new()
        .with_sampled_health_checks(["/healthz"], NonZeroU64::new(10).unwrap());
    let service = layer.layer(service_fn(|request: Request<Incoming>| async move {
        let mut response = Response::new(Full::new(Bytes::new()));
        if request.headers().contains_key("x-fail") {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        Ok::<_, Infallible>(response)
    }));
    for _ in 0..20 {
        drop(service.clone().oneshot(get("/healthz")).await.unwrap());
    }
    assert_eq!(log_lines.events().len(), 2);
    for _ in 0..20 {
        let mut failing = get("/healthz");
        failing.headers_mut().insert("x-fail", "1".parse().unwrap());
        drop(service.clone().oneshot(failing).await.unwrap());
        drop(service.clone().oneshot(get("/v2/")).await.unwrap());
    }
    assert_eq!(log_lines.events().len(), 42);
}

/// A 200 whose body breaks is no success, whatever a probe makes of it.
#[tokio::test]
async fn a_health_check_that_breaks_after_its_head_is_always_logged() {
    let log_lines = Captured::start();
    let layer = AccessLogLayer::new()
        .with_sampled_health_checks(["/healthz"], NonZeroU64::new(1000).unwrap());
    let service = layer.layer(service_fn(|_: Request<Incoming>| async {
        let frames = [Ok(Frame::data(Bytes::from_static(b"o"))), Err("broken")];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    for _ in 0..5 {
        let response = service.clone().oneshot(get("/healthz")).await.unwrap();
        assert!(response.into_body().collect().await.is_err());
    }
    for _ in 0..5 {
        let mut body = service.clone().oneshot(get("/healthz")).await.unwrap();
        body.body_mut().frame().await.unwrap().unwrap();
    }
    let outcomes = log_lines.each("outcome");
    assert_eq!(outcomes[..5], ["body_error"; 5]);
    assert_eq!(outcomes[5..], ["client_gone"; 5]);
}

#[tokio::test]
async fn without_a_subscriber_no_record_is_made_and_the_answer_has_its_id_all_the_same() {
    let layer = AccessLogLayer::new().with_metrics(false);
    let service = layer.layer(service_fn(|request: Request<Incoming>| async move {
        assert!(Record::of(request.extensions()).is_none());
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let mut request = get("/v2/");
    request
        .headers_mut()
        .insert("x-request-id", "abc-1".parse().unwrap());
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers().len(), 1);
    assert_eq!(response.headers()["x-request-id"], "abc-1");
    let response = service.oneshot(get("/v2/")).await.unwrap();
    assert_eq!(response.headers()["x-request-id"].len(), 33);
}
