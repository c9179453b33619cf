#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use portcullis::Connection;
use portcullis::tls::{Acceptor, Reason};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::service_fn;
use tower::util::BoxCloneService;

use crate::pki::connect;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A service that answers once, with a body of the frames that are sent here.
pub(super) fn streaming<B: 'static>() -> (
    mpsc::Sender<Bytes>,
    BoxCloneService<Request<B>, Answer, Infallible>,
) {
    let (frames, receiver) = mpsc::channel::<Bytes>(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let service = service_fn(move |_: Request<B>| {
        let mut receiver = receiver.lock().unwrap().take().unwrap();
        let body = StreamBody::new(futures_util::stream::poll_fn(move |cx| {
            let polled = receiver.poll_recv(cx);
            polled.map(|data| data.map(|data| Ok::<_, Infallible>(Frame::data(data))))
        }));
        std::future::ready(Ok(Response::new(body.boxed_unsync())))
    });
    (frames, BoxCloneService::new(service))
}

/// The server's side of a handshake over TCP.
pub(super) async fn handshake(
    acceptor: &Acceptor,
    client: &Arc<rustls::ClientConfig>,
) -> Result<Connection, Reason> {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = tcp.local_addr().unwrap();
    let client = async {
        let mut stream = connect(client, address, "localhost").await?;
        // The refusal of TLS 1.3 is seen at the first read.
        tokio::time::timeout(Duration::from_millis(50), stream.read_u8())
            .await
            .unwrap_or(Ok(0))
    };
    let server = async {
        let (tcp, _) = tcp.accept().await.unwrap();
        acceptor.accept(tcp).await
    };
    let (accepted, _) = tokio::join!(server, client);
    let connection = accepted.map(|accepted| accepted.connection);
    connection.map_err(|error| error.reason())
}
