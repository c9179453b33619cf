//! Without sockets, on a clock of the tests' own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT};
use http::{Request, Response, Version};
use http_body::{Frame, SizeHint};
use http_body_util::{Full, StreamBody};
use portcullis::auth::TokenAuthLayer;
use portcullis::crl::RevocationLayer;
use portcullis::policy::{Policy, PolicyLayer};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::source::{Networks, SourceLayer};
use portcullis::{ClientAddr, Guard};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::support::authentication;
use crate::captured::Captured;

async fn unreached<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    panic!("it was let in")
}

fn put<B>(body: B) -> Request<B> {
    let client = ClientAddr::new("10.0.0.1:4711".parse().unwrap());
    let request = Request::put("/v2/a/blobs/uploads/1").header("host", "registry.example");
    request.extension(client).body(body).unwrap()
}

/// Pieces of data that count themselves while they are held.
struct Piece(Arc<AtomicUsize>, Vec<u8>);

impl Piece {
    fn made(held: &Arc<AtomicUsize>, length: usize) -> Bytes {
        held.fetch_add(1, Ordering::SeqCst);
        Bytes::from_owner(Self(Arc::clone(held), vec![7; length]))
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body of pieces, one each `pause`, that says how long it is or does not.
struct Slow {
    pieces: usize,
    length: usize,
    exact: bool,
    held: Arc<AtomicUsize>,
    polled: Arc<AtomicUsize>,
    pause: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Slow {
    fn new(pieces: usize, length: usize, pause: Duration) -> Self {
        Self {
            pieces,
            length,
            exact: false,
            held: Arc::default(),
            polled: Arc::default(),
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
        }
    }

    fn exact(self) -> Self {
        Self {
            exact: true,
            ..self
        }
    }
}

impl http_body::Body for Slow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // What came before has been let go.
        assert_eq!(self.held.load(Ordering::SeqCst), 0);
        self.polled.fetch_add(1, Ordering::SeqCst);
        if self.pieces == 0 {
            return Poll::Ready(None);
        }
        std::task::ready!(self.timer.as_mut().poll(cx));
        let next = Instant::now() + self.pause;
        self.timer.as_mut().reset(next);
        self.pieces -= 1;
        let piece = Piece::made(&self.held, self.length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact {
            SizeHint::with_exact((self.pieces * self.length) as u64)
        } else {
            SizeHint::new()
        }
    }
}

/// What a guard that refuses everything answers, how long it takes, and whether it announces a close.
async fn refused<B>(request: Request<B>) -> (u16, Duration, bool)
where
    B: http_body::Body<Data = Bytes>,
{
    let guard = Guard::builder().authentication(authentication()).build();
    let begun = Instant::now();
    let response = guard
        .layer(service_fn(unreached))
        .oneshot(request)
        .await
        .unwrap();
    let closes = response
        .headers()
        .get(CONNECTION)
        .is_some_and(|value| value == "close");
    assert!(closes || !response.headers().contains_key(CONNECTION));
    (response.status().as_u16(), begun.elapsed(), closes)
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_read_to_its_end_piece_by_piece() {
    let pause = Duration::from_millis(100);
    for exact in [false, true] {
        let body = Slow::new(10, 1000, pause);
        let body = if exact { body.exact() } else { body };
        let (held, polled) = (Arc::clone(&body.held), Arc::clone(&body.polled));
        let (status, took, closes) = refused(put(body)).await;
        assert_eq!((status, closes), (401, false));
        assert!((1000..1100).contains(&took.as_millis()), "{took:?}");
        assert_eq!(held.load(Ordering::SeqCst), 0);
        assert!(polled.load(Ordering::SeqCst) >= 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_given_two_seconds_in_all() {
    for body in [
        Slow::new(100, 1, Duration::from_millis(100)),
        Slow::new(1, 1, Duration::from_secs(3600)),
        Slow::new(100, 1, Duration::from_millis(100)).exact(),
    ] {
        let (status, took, closes) = refused(put(body)).await;
        assert_eq!((status, closes), (401, true));
        assert!((2000..2100).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_body_of_unknown_length_a_quarter_of_a_mebibyte_is_read() {
    let body = Slow::new(1000, 64 * 1024, Duration::ZERO);
    let polled = Arc::clone(&body.polled);
    let (status, took, closes) = refused(put(body)).await;
    assert_eq!((status, closes), (401, true));
    assert!(took < Duration::from_millis(100), "{took:?}");
    // Four pieces fit, and the fifth is one too many.
    assert!(polled.load(Ordering::SeqCst) <= 10, "{polled:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_known_to_be_long_is_not_read_at_all() {
    let body = Slow::new(5, 64 * 1024, Duration::from_secs(1)).exact();
    let polled = Arc::clone(&body.polled);
    assert_eq!(refused(put(body)).await, (401, Duration::ZERO, true));
    assert_eq!(polled.load(Ordering::SeqCst), 0);
    // This one fits.
    let body = Slow::new(4, 64 * 1024, Duration::from_millis(1)).exact();
    assert!(!refused(put(body)).await.2);
}

#[tokio::test(start_paused = true)]
async fn frames_without_a_byte_end_too() {
    let frames = stream::repeat_with(|| Ok::<_, Infallible>(Frame::data(Bytes::new())));
    let request = put(StreamBody::new(frames));
    let service = Guard::builder().authentication(authentication()).build();
    let future = service.layer(service_fn(unreached)).oneshot(request);
    tokio::pin!(future);
    // It gives way to others now and then, and time passes for all.
    let ended = async {
        loop {
            if let Some(response) = (&mut future).now_or_never() {
                return response.unwrap();
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
    };
    assert_eq!(ended.await.headers()[CONNECTION], "close");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_not_waited_for() {
    let frames = [Err::<Frame<Bytes>, _>(std::io::Error::other("gone"))];
    let (status, took, closes) = refused(put(StreamBody::new(stream::iter(frames)))).await;
    assert_eq!((status, took, closes), (401, Duration::ZERO, true));
}

#[tokio::test(start_paused = true)]
async fn http_2_is_drained_alike_and_has_no_connection_header() {
    for pieces in [1, 100] {
        let mut request = put(Slow::new(pieces, 1, Duration::from_millis(100)));
        *request.version_mut() = Version::HTTP_2;
        let (status, took, closes) = refused(request).await;
        assert_eq!((status, closes), (401, false));
        let wanted = if pieces == 1 { 100 } else { 2000 };
        assert!(
            (wanted..wanted + 100).contains(&took.as_millis()),
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_to_be_asked_for_a_body_is_not_and_a_call_of_grpc_is_answered_at_once() {
    for (name, value, version, close) in [
        (EXPECT, "100-continue", Version::HTTP_11, true),
        (EXPECT, "100-Continue", Version::HTTP_2, false),
        (
            CONTENT_TYPE,
            "application/grpc+proto",
            Version::HTTP_2,
            false,
        ),
    ] {
        let body = Slow::new(1, 1, Duration::from_secs(1));
        let polled = Arc::clone(&body.polled);
        let mut request = put(body);
        request.headers_mut().insert(name, value.parse().unwrap());
        *request.version_mut() = version;
        let (_, took, closes) = refused(request).await;
        assert_eq!((took, closes), (Duration::ZERO, close), "{value}");
        assert_eq!(polled.load(Ordering::SeqCst), 0);
    }
    // RFC 9110 §10.1.1: in HTTP/1.0 the expectation is none.
    let mut request = put(Full::new(Bytes::from("a body")));
    request
        .headers_mut()
        .insert(EXPECT, "100-continue".parse().unwrap());
    *request.version_mut() = Version::HTTP_10;
    assert!(!refused(request).await.2);
}

#[tokio::test(start_paused = true)]
async fn the_log_counts_what_was_read_of_a_refused_upload() {
    let log = Captured::start();
    refused(put(Slow::new(3, 1000, Duration::ZERO))).await;
    let event = log.only();
    assert_eq!(event["http.request.body.size"], 3000);
    assert_eq!(event["http.response.status_code"], 401);
}

/// Runs each layer that refuses.
async fn drains<S, R>(name: &str, service: S)
where
    S: Service<Request<Slow>, Response = Response<R>, Error = Infallible>,
{
    let body = Slow::new(3, 1000, Duration::from_millis(100));
    let polled = Arc::clone(&body.polled);
    let begun = Instant::now();
    let response = service.oneshot(put(body)).await.unwrap();
    assert!(response.status().is_client_error() || response.status().is_server_error());
    assert!(begun.elapsed() >= Duration::from_millis(300), "{name}");
    assert!(polled.load(Ordering::SeqCst) >= 3, "{name}");
}

#[tokio::test(start_paused = true)]
async fn each_layer_alone_drains_what_it_refuses() {
    let networks = Networks::allow(["192.0.2.0/24".parse().unwrap()]);
    drains(
        "source",
        SourceLayer::new(networks).layer(service_fn(unreached)),
    )
    .await;
    let auth = TokenAuthLayer::new(authentication());
    drains("auth", auth.layer(service_fn(unreached))).await;
    let policy = PolicyLayer::new(Policy::new([]).unwrap());
    drains("policy", policy.layer(service_fn(unreached))).await;
    // It has no connection.
    drains(
        "revocation",
        RevocationLayer::new().layer(service_fn(unreached)),
    )
    .await;
    // What is asked for cannot be known.
    let limits = Limits::new([Limit::rate("repository", Key::Repository, 1000)]).unwrap();
    let rate = ByteRateLayer::new(limits).layer(service_fn(unreached));
    let stripped = tower::util::MapRequest::new(rate, |mut request: Request<Slow>| {
        *request.uri_mut() = "/a/blobs/uploads/1".parse().unwrap();
        request
    });
    drains("rate", stripped).await;
}

/// A password takes a while to be refused; its request is dealt with alike.
#[tokio::test]
async fn what_is_refused_after_a_wait_is_drained_too() {
    use portcullis::auth::{Authentication, Credential, Credentials, Secret};

    let password: Secret = bcrypt::hash("open sesame", 4).unwrap().parse().unwrap();
    let alice = Credential::new("alice").with_secret(password);
    let credentials = Credentials::new([alice]).unwrap();
    let layer = TokenAuthLayer::new(Authentication::token(credentials.into()));
    let body = Slow::new(3, 1000, Duration::from_millis(1));
    let polled = Arc::clone(&body.polled);
    let mut request = put(body);
    // alice:wrong
    let value = "Basic YWxpY2U6d3Jvbmc=".parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let response = layer
        .layer(service_fn(unreached))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
    assert!(polled.load(Ordering::SeqCst) >= 3);
}
