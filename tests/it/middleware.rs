//! What the layers have in common: the service, the future and the body; and the guard as one service.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::captured;

use std::any::{type_name, type_name_of_val};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use captured::Captured;
use futures_util::{FutureExt, stream};
use http::header::{AUTHORIZATION, CONNECTION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use portcullis::access_log::AccessLog;
use portcullis::auth::{Authentication, Credential, Credentials, Secret, TokenAuth};
use portcullis::crl::Revoking;
use portcullis::guard::{Builder, Guarded};
use portcullis::policy::{
    Actions, DigestBinding, Enforce, Pattern, Policy, Rule, Who, binding::Bound,
};
use portcullis::rate::{ByteRate, Key, Limit, Limits};
use portcullis::record::Record;
use portcullis::source::{Forwarded, ForwardedLayer, Networks, Source};
use portcullis::{Body, BodyError, ClientAddr, Connection, Guard, Principal, Watched, tls};
use tower::util::{BoxCloneService, BoxCloneSyncService, option_layer};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

async fn hello<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from("hello"))))
}

fn get(path: &str) -> Request<Full<Bytes>> {
    let mut request = Request::get(path)
        .header("host", "registry.example")
        .body(Full::default())
        .unwrap();
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    request.extensions_mut().insert(client);
    request
}

fn basic(user: &str, password: &str) -> http::HeaderValue {
    let pair = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}").parse().unwrap()
}

/// A token for `ci` and a password for `alice`.
fn credentials() -> Watched<Credentials> {
    let password: Secret = bcrypt::hash("open sesame", 4).unwrap().parse().unwrap();
    let all = [
        Credential::new("ci").with_secret(Secret::of_token(TOKEN.as_bytes())),
        Credential::new("alice").with_secret(password),
    ];
    Watched::fixed(Credentials::new(all).unwrap())
}

fn home() -> Policy {
    let pattern = Pattern::repository("{principal.id}/**").unwrap();
    let rule = Rule::allow("home", Who::Authenticated, Actions::PULL);
    Policy::new([rule.on_repositories([pattern])]).unwrap()
}

/// Networks, a password, a policy: something for each step to do.
fn strict() -> Builder {
    Guard::builder()
        .networks(Networks::allow(["10.0.0.0/8".parse().unwrap()]))
        .authentication(Authentication::token(credentials()))
        .policy(home())
}

/// As anybody would write it.
async fn echo(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, BodyError> {
    let body = request.into_body().collect().await?;
    Ok(Response::new(Full::new(body.to_bytes())))
}

#[tokio::test]
async fn a_handler_behind_a_guard_names_one_body() {
    let guard = Guard::builder().networks(Networks::allow_all()).build();
    let service = ServiceBuilder::new()
        .map_request(|mut request: Request<Incoming>| {
            let connection = Connection::builder("10.0.0.1:1".parse().unwrap()).build();
            request.extensions_mut().insert(connection);
            request
        })
        .layer(guard)
        .service_fn(echo);
    let (client, server) = tokio::io::duplex(1024);
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(service));
    tokio::spawn(server);
    let connected =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client));
    let (mut client, driver) = connected.await.unwrap();
    tokio::spawn(driver);
    let request = Request::put("http://mirror.example/hello").body(Full::new(Bytes::from("hello")));
    let response = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "hello");
}

#[test]
fn the_types_of_a_guard_are_its_own_whatever_it_enforces() {
    let open = Guard::builder().build().layer(());
    let limits = Limits::new([Limit::rate("total", Key::Total, 1_000_000)]).unwrap();
    let all = strict().limits(limits).build().layer(());
    let name = type_name_of_val(&open);
    assert_eq!(name, type_name_of_val(&all));
    let own = name.starts_with("portcullis::") && name.ends_with("::Guard>");
    assert!(own && !name.contains("tower_http"), "{name}");
    let body = type_name::<Body<()>>();
    assert!(body.starts_with("portcullis::"), "{body}");
}

#[tokio::test]
async fn a_guard_is_a_layer_of_a_router_of_its_routes_and_of_a_part_of_it() {
    use axum::Router;
    use axum::routing::get;

    let guard = Guard::builder()
        .networks(Networks::allow(["10.0.0.0/8".parse().unwrap()]))
        .build();
    let routes = || Router::new().route("/v2/", get(|| async { "yes" }));
    for (router, path) in [
        (routes().layer(guard.clone()), "/v2/"),
        (routes().route_layer(guard.clone()), "/v2/"),
        (
            Router::new().nest("/mirror", routes().layer(guard.clone())),
            "/mirror/v2/",
        ),
        (
            Router::new().nest_service("/mirror", guard.layer(routes())),
            "/mirror/v2/",
        ),
        (
            // What an option of layers may be takes one type of response.
            routes().layer(option_layer(Some((
                tower::util::MapResponseLayer::new(|response: Response<_>| {
                    response.map(axum::body::Body::new)
                }),
                guard.clone(),
            )))),
            "/v2/",
        ),
    ] {
        for (client, status) in [("10.0.0.1:1", 200), ("192.0.2.1:1", 403)] {
            let mut request = Request::get(path)
                .header("host", "registry.example")
                .body(axum::body::Body::empty())
                .unwrap();
            let client = ClientAddr::new(client.parse().unwrap());
            request.extensions_mut().insert(client);
            let response = router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{client} {path}");
        }
    }
}

#[tokio::test]
async fn a_guard_fits_into_boxes_that_are_cloned() {
    let guard = strict().build();
    let cloned = BoxCloneService::new(guard.layer(service_fn(hello)));
    let shared = BoxCloneSyncService::new(guard.layer(service_fn(hello)));
    assert_eq!(
        cloned.clone().oneshot(get("/v2/")).await.unwrap().status(),
        401
    );
    assert_eq!(
        shared.clone().oneshot(get("/v2/")).await.unwrap().status(),
        401
    );
}

#[tokio::test]
async fn every_service_is_made_without_its_layer_and_gives_its_inner_service_back() {
    macro_rules! wraps {
        ($($made:expr),+ $(,)?) => {$(
            let mut service = $made;
            *service.get_mut() += 1;
            assert_eq!((*service.get_ref(), service.into_inner()), (2, 2));
        )+};
    }
    let connection = Connection::builder("10.0.0.1:1".parse().unwrap()).build();
    wraps!(
        AccessLog::new(1),
        Forwarded::new(1, ForwardedLayer::without_proxies()),
        Source::new(1, Networks::allow_all()),
        tls::Forwarded::new(1, tls::ForwardedLayer::without_proxies()),
        TokenAuth::new(1, Authentication::token(credentials())),
        Revoking::new(1),
        Enforce::new(1, home()),
        Bound::new(1, DigestBinding::new(10)),
        ByteRate::new(1, Limits::none()),
        Guarded::new(1, strict().build()),
        portcullis::connection::AddConnection::new(1, connection),
    );
}

/// Must be asked whether it is ready, as much as its clones.
struct Reserved(bool);

impl Clone for Reserved {
    fn clone(&self) -> Self {
        Self(false)
    }
}

impl<B> Service<Request<B>> for Reserved {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0 = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.0), "called, but another was ready");
        let principal = Principal::of(request.extensions()).map(ToString::to_string);
        let body = Bytes::from(principal.unwrap_or_default());
        std::future::ready(Ok(Response::new(Full::new(body))))
    }
}

#[tokio::test]
async fn the_service_that_was_ready_is_the_one_that_is_called_after_a_wait_too() {
    let mut service = strict().build().layer(Reserved(false));
    for authorization in [
        format!("Bearer {TOKEN}").parse().unwrap(),
        basic("alice", "open sesame"),
    ] {
        let mut request = get("/v2/");
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let ready = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service);
        let response = ready.await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn what_comes_after_a_password_is_asked_once_it_is_verified() {
    let log = Captured::start();
    let service = strict().build().layer(Reserved(false));
    for (path, password, status) in [
        ("/v2/alice/app/manifests/1", "open sesame", 200),
        ("/v2/bob/app/manifests/1", "open sesame", 403),
        ("/v2/alice/app/manifests/1", "open sesame!", 401),
        ("/v2/alice%2Fapp/manifests/1", "open sesame", 400),
    ] {
        // Another guard knows no password yet.
        let mut request = get(path);
        let authorization = basic("alice", password);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        let fresh = strict().build().layer(service.get_ref().clone());
        let response = fresh.oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{path} {password}");
        assert!(response.headers().contains_key("x-request-id"));
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(log.each("http.response.status_code"), [200, 403, 401, 400]);
    assert_eq!(log.each("outcome"), ["finished"; 4]);
}

#[test]
fn a_client_that_goes_while_its_password_is_verified_is_logged() {
    let log = Captured::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (free, freed) = std::sync::mpsc::channel::<()>();
    let occupied = runtime.spawn_blocking(move || freed.recv());
    let service = strict().build().layer(service_fn(hello));
    let mut request = get("/v2/");
    let authorization = basic("alice", "open sesame");
    request.headers_mut().insert(AUTHORIZATION, authorization);
    let answer = runtime.block_on(async { service.oneshot(request).now_or_never() });
    assert!(answer.is_none());
    drop(free);
    let _hung_up = runtime.block_on(occupied).unwrap();
    let event = log.only();
    assert_eq!(event["outcome"], "client_gone");
    assert!(!event.contains_key("http.response.status_code"));
}

#[test]
#[should_panic(expected = "`ResponseFuture` polled after completion")]
fn an_answer_that_is_polled_for_again_panics() {
    let mut service = Guard::builder().build().layer(service_fn(hello));
    let mut future = pin!(service.call(get("/v2/")));
    let answer = future.as_mut().now_or_never().unwrap();
    assert_eq!(answer.unwrap().status(), 200);
    let _ = future.now_or_never();
}

#[test]
#[should_panic(expected = "`ResponseFuture` polled after completion")]
fn a_refusal_that_is_polled_for_again_panics() {
    let mut service = strict().build().layer(service_fn(hello));
    let mut future = pin!(service.call(get("/v2/")));
    let answer = future.as_mut().now_or_never().unwrap();
    assert_eq!(answer.unwrap().status(), 401);
    let _ = future.now_or_never();
}

#[test]
#[should_panic(expected = "`Identify` polled after completion")]
fn an_identity_that_is_polled_for_again_panics() {
    let authentication = Authentication::token(credentials());
    let mut future = pin!(authentication.identify(&get("/v2/")));
    assert!(future.as_mut().now_or_never().unwrap().is_err());
    let _ = future.now_or_never();
}

#[tokio::test]
async fn secrets_reach_the_service_as_sensitive_or_not_at_all() {
    let guard = Guard::builder().authorization_passed_on(true).build();
    let service = guard.layer(service_fn(
        |request: Request<Body<Full<Bytes>>>| async move {
            let secrets = [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE];
            for name in secrets {
                let values = request.headers().get_all(&name);
                assert_eq!(values.iter().count(), 2, "{name}");
                assert!(values.iter().all(http::HeaderValue::is_sensitive), "{name}");
            }
            assert!(!request.headers()["x-other"].is_sensitive());
            hello(request).await
        },
    ));
    let mut request = get("/v2/");
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE] {
        for value in ["Digest a", "Digest b"] {
            request.headers_mut().append(&name, value.parse().unwrap());
        }
    }
    request
        .headers_mut()
        .insert("x-other", "c".parse().unwrap());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
}

fn limited() -> Guard {
    let total = Limit::rate("total", Key::Total, 100_000).with_burst(1000);
    Guard::builder()
        .limits(Limits::new([total]).unwrap())
        .build()
}

#[tokio::test(start_paused = true)]
async fn the_length_and_the_trailers_of_a_body_are_the_services_own() {
    let service = limited().layer(service_fn(|_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "1".parse().unwrap());
        let frames = [
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; 5000]))),
            Ok(Frame::trailers(trailers)),
        ];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    }));
    let body = service.oneshot(get("/v2/")).await.unwrap().into_body();
    let collected = body.collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-checksum"], "1");
    assert_eq!(collected.to_bytes().len(), 5000);

    let content = Bytes::from(vec![7; 5000]);
    let whole = content.clone();
    let service = limited().layer(service_fn(move |_| {
        let body = Full::new(whole.clone());
        async { Ok::<_, Infallible>(Response::new(body)) }
    }));
    let mut body = service.oneshot(get("/v2/")).await.unwrap().into_body();
    let mut left = 5000;
    while left > 0 {
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(left as u64));
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        // A part of the service's frame, not a copy of it.
        assert!(content.as_ptr_range().contains(&data.as_ptr()));
        left -= data.len();
    }
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

/// What the log says of a push is what the service got and the limit counted, not what it may have held.
#[tokio::test(start_paused = true)]
async fn the_log_counts_of_a_push_what_the_service_got() {
    let log = Captured::start();
    let service = limited().layer(service_fn(|request: Request<Body<Full<Bytes>>>| async {
        let record = Record::of(request.extensions()).unwrap().clone();
        let mut body = request.into_body();
        let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!((1..5000).contains(&data.len()), "{}", data.len());
        assert_eq!(record.received_bytes(), data.len() as u64);
        let length = Bytes::from(data.len().to_string());
        Ok::<_, Infallible>(Response::new(Full::new(length)))
    }));
    let request = Request::put("/v2/a/blobs/uploads/1")
        .header("host", "registry.example")
        .body(Full::new(Bytes::from(vec![7; 5000])));
    let response = service.oneshot(request.unwrap()).await.unwrap();
    let got = response.into_body().collect().await.unwrap().to_bytes();
    let got: u64 = std::str::from_utf8(&got).unwrap().parse().unwrap();
    assert_eq!(log.only()["http.request.body.size"], got);
}

/// A service that says when its future and its body are dropped.
struct Dropped(Record, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.explained(self.1);
    }
}

impl http_body::Body for Dropped {
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
async fn what_a_service_notes_when_it_is_let_go_is_in_the_log() {
    let log = Captured::start();
    let guard = limited();
    let pending = guard.layer(service_fn(|request: Request<Body<Full<Bytes>>>| {
        let record = Record::of(request.extensions()).unwrap().clone();
        async move {
            let _dropped = Dropped(record, "future");
            std::future::pending::<Result<Response<Full<Bytes>>, Infallible>>().await
        }
    }));
    assert!(pending.oneshot(get("/v2/")).now_or_never().is_none());
    let stuck = guard.layer(service_fn(
        |request: Request<Body<Full<Bytes>>>| async move {
            let record = Record::of(request.extensions()).unwrap().clone();
            Ok::<_, Infallible>(Response::new(Dropped(record, "body")))
        },
    ));
    drop(stuck.oneshot(get("/v2/")).await.unwrap());
    assert_eq!(log.each("outcome"), ["client_gone"; 2]);
    assert_eq!(log.each("refusal.detail"), ["future", "body"]);
}

#[tokio::test]
async fn a_refused_upload_that_waits_to_be_asked_for_is_not_read() {
    struct Unread;

    impl http_body::Body for Unread {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            panic!("read before it was let in");
        }
    }

    let service = strict().build().layer(service_fn(hello));
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    let alice = basic("alice", "wrong");
    for authorization in [None, Some(alice)] {
        let mut request = Request::put("/v2/alice/app/blobs/uploads/1")
            .header("host", "registry.example")
            .header("expect", "100-continue")
            .body(Unread)
            .unwrap();
        request.extensions_mut().insert(client);
        if let Some(value) = authorization {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()[CONNECTION], "close");
    }
}

#[tokio::test]
async fn the_error_of_a_body_is_one_type_however_many_layers_there_are() {
    let failing = service_fn(|_| async {
        let frames = [Err::<Frame<Bytes>, _>(std::io::Error::other(
            "the disk is gone",
        ))];
        Ok::<_, Infallible>(Response::new(StreamBody::new(stream::iter(frames))))
    });
    let service = Source::new(AccessLog::new(failing), Networks::allow_all());
    let response = service.oneshot(get("/v2/")).await.unwrap();
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the disk is gone");
    let BodyError::Inner(error) = error else {
        panic!("{error:?}");
    };
    assert!(error.is::<std::io::Error>(), "{error:?}");
}
