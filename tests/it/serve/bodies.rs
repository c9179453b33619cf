//! Bodies that do not come, or are not taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, BodyError, Guard};
use tokio::io::AsyncWriteExt;
use tower::service_fn;

use super::support::{
    GENEROUS, GET, SHORT, answer, ask, connect, get, http2, open, start, until, within,
};

/// Reads the whole body and answers with its length.
async fn count(request: Request<Body<Incoming>>) -> Result<Response<Full<Bytes>>, BodyError> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body.len().to_string().into())))
}

const PUT: &[u8] = b"PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n";

#[tokio::test]
async fn a_body_of_which_nothing_comes_is_ended_and_answered_with_408() {
    let running = start(open().with_body_silence(SHORT), service_fn(count)).await;
    let mut client = connect(running.address).await;
    client.write_all(PUT).await.unwrap();
    let silent = ask(&mut client, b"a beginning").await;
    assert!(silent.starts_with("HTTP/1.1 408 "), "{silent}");
    assert!(silent.contains("connection: close\r\n"), "{silent}");
    assert!(silent.contains("{\"errors\":[{"), "{silent}");
}

#[tokio::test]
async fn a_body_that_trickles_is_ended() {
    let server = open().with_body_pace(10_000, 2 * SHORT);
    let running = start(server, service_fn(count)).await;
    let (mut reads, mut writes) = connect(running.address).await.into_split();
    tokio::spawn(async move {
        let _ = writes.write_all(PUT).await;
        while writes.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 20).await;
        }
    });
    let slow = answer(&mut reads).await.unwrap();
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
}

#[tokio::test]
async fn the_body_of_a_stream_of_http_2_has_its_deadline() {
    let running = start(open().with_body_silence(SHORT), service_fn(count)).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let never: Idle = Idle(Arc::default());
    let request = Request::put("http://localhost/").body(never).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 408);
}

#[cfg(feature = "rate")]
#[tokio::test]
async fn what_a_limit_holds_back_is_not_the_clients_silence() {
    use portcullis::rate::{Key, Limit, Limits};
    let limit = Limit::rate("line", Key::Total, 100_000).with_burst(10_000);
    let guard = Guard::builder()
        .limits(Limits::new([limit]).unwrap())
        .build();
    // The body takes a second, and comes from the client as fast as it is taken.
    let server = Server::new(guard)
        .with_body_silence(SHORT)
        .with_body_pace(90_000, 2 * SHORT);
    let running = start(server, service_fn(count)).await;
    let mut client = connect(running.address).await;
    let request = [PUT, &*vec![b'x'; 100_000]].concat();
    let counted = ask(&mut client, &request).await;
    assert!(counted.ends_with("\r\n\r\n100000"), "{counted}");
}

#[tokio::test]
async fn a_service_that_takes_its_time_is_not_the_clients_silence() {
    let server = open()
        .with_body_silence(SHORT)
        .with_body_pace(90_000, 2 * SHORT);
    let slow = service_fn(async |request: Request<Body<Incoming>>| {
        tokio::time::sleep(4 * SHORT).await;
        count(request).await
    });
    let running = start(server, slow).await;
    let mut client = connect(running.address).await;
    let request = [PUT, &*vec![b'x'; 100_000]].concat();
    let counted = ask(&mut client, &request).await;
    assert!(counted.ends_with("\r\n\r\n100000"), "{counted}");
}

/// A body that never gives anything, or never ends. How many are there is counted.
struct Idle(Arc<AtomicUsize>);

struct Endless {
    _counted: Idle,
}

impl Idle {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(alive))
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl http_body::Body for Idle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = Bytes::from(vec![b'x'; 64 * 1024]);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_ended() {
    let alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alive);
    let endless = service_fn(move |_| {
        let body = Endless {
            _counted: Idle::new(&counted),
        };
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let running = start(open().with_stall_timeout(SHORT), endless).await;
    let mut client = connect(running.address).await;
    client.write_all(GET).await.unwrap();
    until("begun", || alive.load(Ordering::SeqCst) == 1).await;
    until("ended", || alive.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() {
    let alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alive);
    let endless = service_fn(move |request: Request<Body<Incoming>>| {
        let ends = request.uri().path() == "/short";
        let body = (!ends).then(|| {
            Endless {
                _counted: Idle::new(&counted),
            }
            .boxed()
        });
        let body = body.unwrap_or_else(|| Full::from("short").boxed());
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    let running = start(open().with_stall_timeout(SHORT), endless).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let taken_by_nobody = within(sender.send_request(get())).await.unwrap();
    until("begun", || alive.load(Ordering::SeqCst) == 1).await;
    until("reset", || alive.load(Ordering::SeqCst) == 0).await;
    let mut short = get();
    *short.uri_mut() = "http://localhost/short".parse().unwrap();
    let response = within(sender.send_request(short)).await.unwrap();
    let body = within(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "short");
    drop(taken_by_nobody);
}

#[tokio::test]
async fn an_answer_that_the_service_holds_back_is_not_a_stalled_reader() {
    let late = service_fn(async |_| {
        let frames = futures_util::stream::unfold(0, async |sent| {
            tokio::time::sleep(2 * SHORT).await;
            let frame = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")));
            (sent < 4).then_some((frame, sent + 1))
        });
        Ok::<_, Infallible>(Response::new(StreamBody::new(frames)))
    });
    let running = start(open().with_stall_timeout(SHORT), late).await;
    let (mut sender, _) = http2(connect(running.address).await).await;
    let response = within(sender.send_request(get())).await.unwrap();
    let body = tokio::time::timeout(GENEROUS, response.into_body().collect()).await;
    assert_eq!(body.unwrap().unwrap().to_bytes(), "xxxx");
}
