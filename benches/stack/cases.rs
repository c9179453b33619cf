//! The stacks that are compared, each behind the same door.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::poll_fn;
use std::hint::black_box;
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::access_log::{AccessLogLayer, JsonLines};
use portcullis::auth::{Authentication, CredentialSource, Credentials, TokenAuthLayer};
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use portcullis::reload::WatchOptions;
use portcullis::source::{Networks, SourceLayer};
use portcullis::{Connection, Guard, Watched};
use tower::{Layer, Service};
use tracing::Dispatch;

/// `ci` and `correct horse battery staple`.
pub(crate) const CREDENTIALS: &str = "Basic Y2k6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==";

/// The name of the service without a layer.
pub(crate) const BARE: &str = "bare service";

/// A stack under a name, with its targets over the bare service.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) log: Log,
    pub(crate) nanos: Option<f64>,
    pub(crate) instructions: Option<f64>,
    make: Box<dyn Fn() -> Run>,
}

type Run = Box<dyn FnMut(usize) -> Duration>;

/// What becomes of the access log's events.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Log {
    /// There is no subscriber.
    Off,
    /// There is no subscriber, and a recorder counts.
    Metrics,
    /// Written as lines of JSON, into nothing.
    Json,
    /// Written by tracing-subscriber's JSON format, into nothing.
    StockJson,
}

impl Case {
    /// What takes the time of so many requests.
    pub(crate) fn make(&self) -> Run {
        (self.make)()
    }

    fn target(mut self, nanos: f64, instructions: Option<f64>) -> Self {
        self.nanos = Some(nanos);
        self.instructions = instructions;
        self
    }

    fn log(mut self, log: Log) -> Self {
        self.log = log;
        self
    }
}

impl Log {
    /// Does `work` under this log's subscriber. None may be made before the cases without one are
    /// done, because tracing looks further at each event from then on.
    pub(crate) fn during<T>(self, work: impl FnOnce() -> T) -> T {
        let subscriber = tracing_subscriber::fmt().with_writer(io::sink);
        let dispatch: Dispatch = match self {
            Self::Off | Self::Json => return work(),
            Self::Metrics => {
                let recorder = PrometheusBuilder::new().build_recorder();
                return metrics::with_local_recorder(&recorder, work);
            }
            Self::StockJson => subscriber.json().flatten_event(true).into(),
        };
        tracing::dispatcher::with_default(&dispatch, work)
    }
}

/// Every case, the bare service first.
pub(crate) fn all() -> Vec<Case> {
    vec![
        case(BARE, || Bare),
        case("access log, off", || AccessLogLayer::new().layer(Bare)),
        case("source", || SourceLayer::new(networks()).layer(Bare)),
        case("authentication", || {
            TokenAuthLayer::new(Authentication::token(tokens())).layer(Bare)
        }),
        case("policy", || PolicyLayer::new(policy()).layer(Bare)),
        case("byte rate", || ByteRateLayer::new(limits()).layer(Bare)),
        case("whole Guard, access log off", || guard().layer(Bare)).target(450.0, Some(1_500.0)),
        case("access log, metrics", || AccessLogLayer::new().layer(Bare)).log(Log::Metrics),
        case("whole Guard, metrics", || guard().layer(Bare)).log(Log::Metrics),
        case("access log, JSON", || json_lines().layer(Bare)).log(Log::Json),
        case("whole Guard, access log JSON", || {
            guard_with(json_lines()).layer(Bare)
        })
        .log(Log::Json)
        .target(1_500.0, None),
        case("access log, tracing-subscriber's JSON", || {
            AccessLogLayer::new().layer(Bare)
        })
        .log(Log::StockJson),
    ]
}

/// Everything that can be set, and nothing that refuses or slows the bench's own requests.
pub(crate) fn guard() -> Guard {
    guard_with(AccessLogLayer::new())
}

fn json_lines() -> AccessLogLayer {
    AccessLogLayer::new().with_sink(JsonLines::new(io::sink()).unwrap())
}

fn guard_with(access_log: AccessLogLayer) -> Guard {
    Guard::builder()
        .access_log(access_log)
        .networks(networks())
        .authentication(Authentication::token(tokens()))
        .policy(policy())
        .limits(limits())
        .build()
}

fn tokens() -> Watched<Credentials> {
    // SHA-256 of the password in `CREDENTIALS`.
    let digest = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";
    let tokens = [CredentialSource::sha256("ci", [digest]).unwrap()];
    Credentials::watch(tokens, WatchOptions::default()).unwrap()
}

fn policy() -> Policy {
    let rule = |name: &str, who, actions: Actions, repositories: &str| {
        let pattern = Pattern::repository(repositories).unwrap();
        Rule::allow(name, who, actions).on_repositories([pattern])
    };
    Policy::new([
        rule("library", Who::Anyone, Actions::PULL, "library/**"),
        rule(
            "home",
            Who::Authenticated,
            Actions::PULL | Actions::PUSH,
            "{principal.id}/**",
        ),
    ])
    .unwrap()
}

fn limits() -> Limits {
    const FAST: u64 = 100_000_000_000;
    Limits::new([
        Limit::rate("total", Key::Total, FAST),
        Limit::rate("caller", Key::Principal, FAST),
    ])
    .unwrap()
}

/// 10.0.0.0/8 without a part of it.
pub(crate) fn networks() -> Networks {
    Networks::allow(["10.0.0.0/8".parse().unwrap()]).and_deny(["10.9.0.0/16".parse().unwrap()])
}

/// What every stack is, so that one can be named without its layers.
pub(crate) trait Gate:
    Service<Request<Full<Bytes>>, Response = Response<Self::Answer>, Error = Infallible>
    + Clone
    + 'static
{
    type Answer: Body<Data = Bytes, Error: Debug> + 'static;
}

impl<S, R> Gate for S
where
    S: Service<Request<Full<Bytes>>, Response = Response<R>, Error = Infallible> + Clone + 'static,
    R: Body<Data = Bytes, Error: Debug> + 'static,
{
    type Answer = R;
}

/// A service that answers at once.
#[derive(Clone)]
struct Bare;

impl<B> Service<Request<B>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        drop(black_box(request));
        let body = Full::new(Bytes::from_static(b"a small manifest"));
        std::future::ready(Ok(Response::new(body)))
    }
}

fn case<G: Gate>(name: &'static str, service: impl Fn() -> G + 'static) -> Case {
    Case {
        name,
        log: Log::Off,
        nanos: None,
        instructions: None,
        make: Box::new(move || {
            let mut service = service();
            let connection = connection();
            Box::new(move |requests| run(&mut service, &connection, requests))
        }),
    }
}

// Making a request is in the time of every case, the bare one's too. Making many beforehand would
// keep it out, but then the allocator's mood over that heap is what differs between the cases.
fn run(service: &mut impl Gate, connection: &Connection, requests: usize) -> Duration {
    let begin = Instant::now();
    for _ in 0..requests {
        let answer = answer(service, request(connection));
        answer.now_or_never().expect("an answer at once");
    }
    begin.elapsed()
}

async fn answer(service: &mut impl Gate, request: Request<Full<Bytes>>) {
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
    let response = service.call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = pin!(response.into_body());
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        drop(black_box(frame.unwrap()));
    }
}

fn request(connection: &Connection) -> Request<Full<Bytes>> {
    let mut request = Request::get("/v2/library/alpine/manifests/3.22?ns=docker.io")
        .header("host", "mirror.example:5000")
        .header("user-agent", "containerd/2.1.0")
        .header("accept", "application/vnd.oci.image.index.v1+json")
        .header(
            "authorization",
            "Basic Y2k6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==",
        )
        .body(Full::default())
        .unwrap();
    request.extensions_mut().insert(connection.clone());
    request
}

/// A connection that every layer lets through.
pub(crate) fn connection() -> Connection {
    Connection::builder("10.1.2.3:4711".parse().unwrap()).build()
}
