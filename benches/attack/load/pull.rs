use std::error::Error;
use std::fmt::Display;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Target;
use super::client::LONGEST;

/// A new connection is made this often, and a request on each kept one.
const NEW_EVERY: Duration = Duration::from_millis(50);
const REQUEST_EVERY: Duration = Duration::from_millis(20);

type Failure = Box<dyn Error + Send + Sync>;

/// What became of the pulls of a client that does nothing wrong.
#[derive(Debug, Default)]
pub struct Pulled {
    /// From the first packet of a new connection to the last byte of its answer, sorted.
    pub new: Vec<Duration>,
    /// Of a request on a kept connection of HTTP/1.1.
    pub http1: Vec<Duration>,
    /// Of a request on a kept connection of HTTP/2.
    pub http2: Vec<Duration>,
    pub failed: Vec<String>,
}

/// Pulls from `from` for so long, over new connections and kept ones.
pub async fn pull(target: &Target, from: Ipv4Addr, time: Duration) -> Pulled {
    let begun = Instant::now();
    let deadline = begun + time;
    let new = repeat(NEW_EVERY, deadline, async |()| {
        let mut kept = Http1::connect(target, from).await?;
        kept.get(target).await
    });
    let http1 = kept(
        deadline,
        async || Http1::connect(target, from).await,
        async |kept: &mut Http1| kept.get(target).await,
    );
    let http2 = kept(
        deadline,
        async || Http2::connect(target, from).await,
        async |kept: &mut Http2| kept.get(target).await,
    );
    let ((new, failed), (http1, failed_too), (http2, failed_as_well)) =
        tokio::join!(new, http1, http2);
    let failed = [
        ("a new connection", failed),
        ("HTTP/1.1", failed_too),
        ("HTTP/2", failed_as_well),
    ];
    let failed = failed.into_iter().flat_map(|(what, failed)| {
        let named = move |(at, error)| {
            let at: Instant = at;
            format!("{what} after {:.1} s: {error}", (at - begun).as_secs_f32())
        };
        failed.into_iter().map(named)
    });
    Pulled {
        failed: failed.collect(),
        new: sorted(new),
        http1: sorted(http1),
        http2: sorted(http2),
    }
}

impl Pulled {
    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.new.len() + self.http1.len() + self.http2.len() + self.failed.len()
    }
}

fn sorted(mut times: Vec<Duration>) -> Vec<Duration> {
    times.sort_unstable();
    times
}

type Measured = (Vec<Duration>, Vec<(Instant, String)>);

/// Does `once` at each tick until the deadline.
async fn repeat(
    every: Duration,
    deadline: Instant,
    mut once: impl AsyncFnMut(()) -> Result<(), Failure>,
) -> Measured {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut times, mut failed) = Measured::default();
    while Instant::now() < deadline {
        ticks.tick().await;
        let begun = Instant::now();
        let done = timeout(LONGEST, once(())).await;
        match done.unwrap_or_else(|_| Err("no answer came".into())) {
            Ok(()) => times.push(begun.elapsed()),
            Err(error) => failed.push((begun, chain(&*error))),
        }
    }
    (times, failed)
}

/// The same on one connection, which is made anew only after a failure.
async fn kept<C>(
    deadline: Instant,
    connect: impl AsyncFn() -> Result<C, Failure>,
    get: impl AsyncFn(&mut C) -> Result<(), Failure>,
) -> Measured {
    let mut open = None;
    let (mut times, failed) = repeat(REQUEST_EVERY, deadline, async |()| {
        let mut connection = match open.take() {
            Some(connection) => connection,
            None => connect().await?,
        };
        get(&mut connection).await?;
        open = Some(connection);
        Ok(())
    })
    .await;
    if !times.is_empty() {
        // The time of the handshake is in it.
        times.remove(0);
    }
    (times, failed)
}

struct Http1(http1::SendRequest<Empty<Bytes>>);

struct Http2(http2::SendRequest<Empty<Bytes>>);

impl Http1 {
    async fn connect(target: &Target, from: Ipv4Addr) -> Result<Self, Failure> {
        let tls = target.connect_tls(from, &target.http1, false).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn get(&mut self, target: &Target) -> Result<(), Failure> {
        self.0.ready().await?;
        let request = request(target, &target.get)?;
        whole(self.0.send_request(request).await?).await
    }
}

impl Http2 {
    async fn connect(target: &Target, from: Ipv4Addr) -> Result<Self, Failure> {
        let tls = target.connect_tls(from, &target.http2, false).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    async fn get(&mut self, target: &Target) -> Result<(), Failure> {
        self.0.ready().await?;
        let request = request(target, &format!("https://localhost{}", target.get))?;
        whole(self.0.send_request(request).await?).await
    }
}

fn request(target: &Target, uri: &str) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(uri);
    if !uri.starts_with("https") {
        request = request.header("host", "localhost");
    }
    if let Some(authorization) = &target.authorization {
        request = request.header("authorization", authorization);
    }
    request.body(Empty::new())
}

async fn whole(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    response.into_body().collect().await?;
    if status != 200 {
        return Err(status.to_string().into());
    }
    Ok(())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let error: &dyn Display = &error;
        text = format!("{text}: {error}");
        source = source.and_then(Error::source);
    }
    text
}
