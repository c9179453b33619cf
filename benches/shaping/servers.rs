//! The servers: each streams an endless body, limited in its own way.

use std::convert::Infallible;
use std::io::Write;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use portcullis::identity::{Method, Principal};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits, Share, Tenant};
use tokio::net::{TcpListener, TcpStream};

/// What limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nothing.
    Bare,
    /// This crate.
    Portcullis,
    /// The crate `governor`, one for all streams, asked before each frame; of the rates here its whole
    /// nanoseconds a byte hold all.
    Governor,
    /// The crate `leaky-bucket`, one for all streams, asked before each frame.
    LeakyBucket,
    /// The crate `async-speed-limit`, one for all streams, asked before each frame.
    AsyncSpeedLimit,
}

/// The path at which a server says how often it slept.
pub(crate) const PARKS: &str = "/parks";

const FRAME: usize = 64 * 1024;
/// So long that no run reads it all; known, so that no chunk's frame is counted.
const LENGTH: u64 = 1 << 44;
static ZEROS: [u8; FRAME] = [0; FRAME];

type Served = UnsyncBoxBody<Bytes, String>;
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves until it is killed.
pub(crate) fn serve(kind: Kind, rate: u64, share: bool) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address").port());
        std::io::stdout().flush().expect("standard output");
        let serving = Serving::new(kind, rate, share);
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(connection(socket, serving.clone()));
        }
    });
}

#[derive(Clone)]
enum Serving {
    Bare,
    Portcullis(ByteRateLayer),
    Governor(Arc<governor::DefaultDirectRateLimiter>),
    LeakyBucket(Arc<leaky_bucket::RateLimiter>),
    AsyncSpeedLimit(async_speed_limit::Limiter),
}

impl Serving {
    fn new(kind: Kind, rate: u64, share: bool) -> Self {
        match kind {
            Kind::Bare => Self::Bare,
            Kind::Portcullis => Self::Portcullis(layer(rate, share)),
            Kind::Governor => Self::Governor(Arc::new(governor(rate))),
            Kind::LeakyBucket => Self::LeakyBucket(Arc::new(leaky_bucket(rate))),
            Kind::AsyncSpeedLimit => {
                #[allow(clippy::cast_precision_loss, reason = "what the peer takes")]
                let limiter = async_speed_limit::Limiter::new(rate as f64);
                Self::AsyncSpeedLimit(limiter)
            }
        }
    }

    fn body(&self) -> Served {
        let endless = Endless;
        match self {
            Self::Bare | Self::Portcullis(_) => endless.boxed(),
            Self::Governor(limiter) => {
                let limiter = Arc::clone(limiter);
                Asking::new(move |bytes| {
                    let limiter = Arc::clone(&limiter);
                    Box::pin(async move {
                        let cells = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
                        let _ = limiter.until_n_ready(cells.expect("a frame")).await;
                    })
                })
            }
            Self::LeakyBucket(limiter) => {
                let limiter = Arc::clone(limiter);
                Asking::new(move |bytes| {
                    let limiter = Arc::clone(&limiter);
                    Box::pin(async move { limiter.acquire(bytes).await })
                })
            }
            Self::AsyncSpeedLimit(limiter) => {
                let limiter = limiter.clone();
                Asking::new(move |bytes| Box::pin(limiter.consume(bytes)))
            }
        }
    }
}

/// Each tenant's weight is what its name ends in: `a-2` has 2.
fn layer(rate: u64, share: bool) -> ByteRateLayer {
    let mut limit = Limit::rate("total", Key::Total, rate);
    if share {
        let mut share = Share::by(Key::Principal);
        for weight in 1..=4 {
            share = share.with_tenant(format!("token:w-{weight}"), Tenant::weight(weight));
        }
        limit = limit.with_share(share);
    }
    ByteRateLayer::new(Limits::new([limit]).expect("limits"))
}

/// With the burst that a limit here has, and a frame's at least.
fn governor(rate: u64) -> governor::DefaultDirectRateLimiter {
    let cells = |bytes: u64| {
        let cells = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        cells.expect("a rate of this machine")
    };
    let burst = cells((rate / 20).max(FRAME as u64));
    governor::RateLimiter::direct(governor::Quota::per_second(cells(rate)).allow_burst(burst))
}

fn leaky_bucket(rate: u64) -> leaky_bucket::RateLimiter {
    let rate = usize::try_from(rate).expect("a rate of this machine");
    let refill = (rate / 100).max(1);
    leaky_bucket::RateLimiter::builder()
        .initial(0)
        .refill(refill)
        .interval(Duration::from_millis(10))
        .max(refill.max(FRAME) * 2)
        .build()
}

async fn connection(socket: TcpStream, serving: Serving) {
    let limited = match &serving {
        Serving::Portcullis(layer) => Some(layer.clone()),
        _ => None,
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    let builder = builder.timer(TokioTimer::new());
    let io = TokioIo::new(socket);
    // A client that goes away is no news.
    let _ = match limited {
        None => {
            let service = tower::service_fn(move |request: Request<Incoming>| {
                answer(request.uri().path(), &serving)
            });
            let service = TowerToHyperService::new(service);
            builder.serve_connection(io, service).await
        }
        Some(layer) => {
            let service = tower::ServiceBuilder::new()
                .map_request(with_principal)
                .layer(layer)
                .service_fn(move |request: Request<_>| answer(request.uri().path(), &serving));
            let service = TowerToHyperService::new(service);
            builder.serve_connection(io, service).await
        }
    };
}

fn answer(
    path: &str,
    serving: &Serving,
) -> std::future::Ready<Result<Response<Served>, Infallible>> {
    let body = if path == PARKS {
        parks()
    } else {
        serving.body()
    };
    std::future::ready(Ok(Response::new(body)))
}

/// How often the runtime's threads have gone to sleep so far: each is woken by a timer or a socket.
fn parks() -> Served {
    let metrics = tokio::runtime::Handle::current().metrics();
    let workers = 0..metrics.num_workers();
    let parks: u64 = workers
        .map(|worker| metrics.worker_park_count(worker))
        .sum();
    let body = Full::new(Bytes::from(parks.to_string()));
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The path names the tenant: `/a-2`.
fn with_principal(mut request: Request<Incoming>) -> Request<Incoming> {
    let principal = Principal::new(Method::Token, request.uri().path().trim_start_matches('/'));
    request.extensions_mut().insert(principal);
    request
}

struct Endless;

impl Endless {
    fn boxed(self) -> Served {
        self.map_err(|never| match never {}).boxed_unsync()
    }
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(LENGTH)
    }
}

/// A body that asks a peer's limiter before each frame.
struct Asking<F> {
    ask: F,
    waiting: Option<Waiting>,
}

impl<F: Fn(usize) -> Waiting + Send + Unpin + 'static> Asking<F> {
    #[allow(clippy::new_ret_no_self, reason = "a body among others")]
    fn new(ask: F) -> Served {
        let asking = Self { ask, waiting: None };
        asking.map_err(|never| match never {}).boxed_unsync()
    }
}

impl<F: Fn(usize) -> Waiting + Unpin> Body for Asking<F> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| (this.ask)(FRAME));
        ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(LENGTH)
    }
}
