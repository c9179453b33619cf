//! A 1 GiB body through hyper over loopback, bare and behind the whole stack.

use std::convert::Infallible;
use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tower::{Service, ServiceBuilder, service_fn};

use crate::cases;
use crate::figures::Figures;
use crate::zeros::Zeros;

const LENGTH: u64 = 1 << 30;
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const ROUNDS: usize = 7;

/// Adds the row. Both ends are on one thread: how two threads wake each other differs by far more
/// between two runs than the stack costs.
pub(crate) fn measure(figures: &mut Figures) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let bare = service_fn(blob::<Incoming>);
    let connection = cases::connection();
    let gated = ServiceBuilder::new()
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(connection.clone());
            request
        })
        .layer(cases::guard())
        .service(service_fn(blob));
    let mut best = [Duration::MAX; 2];
    for _ in 0..ROUNDS {
        best[0] = best[0].min(runtime.block_on(transfer(bare)));
        best[1] = best[1].min(runtime.block_on(transfer(gated.clone())));
    }
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let [bare, gated] = best.map(|time| (LENGTH >> 20) as f64 / time.as_secs_f64());
    figures
        .row(
            "1 GiB body through the whole Guard over loopback",
            "MiB/s",
            gated,
        )
        .peer("bare body", bare)
        .ratio_at_least(0.98);
}

async fn blob<B>(_: Request<B>) -> Result<Response<Zeros>, Infallible> {
    Ok(Response::new(Zeros(LENGTH)))
}

async fn transfer<S, R>(service: S) -> Duration
where
    S: Service<Request<Incoming>, Response = Response<R>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    R: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let serving = tokio::spawn(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), TowerToHyperService::new(service)),
    );
    let begin = Instant::now();
    let request = format!(
        "GET /v2/library/a/blobs/sha256:{EMPTY} HTTP/1.1\r\nhost: mirror.example\r\n\
         authorization: {}\r\nconnection: close\r\n\r\n",
        cases::CREDENTIALS
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 256 << 10];
    let mut read = 0;
    loop {
        let count = client.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        if read == 0 {
            assert!(
                buffer.starts_with(b"HTTP/1.1 200"),
                "the stack refused the transfer"
            );
        }
        read += count as u64;
    }
    let time = begin.elapsed();
    assert!(read > LENGTH, "only {read} bytes came");
    serving.await.unwrap().unwrap();
    time
}
