//! The clients, and what they saw.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::servers::{Kind, PARKS};

/// How long a bin of a client's record is.
pub(crate) const BIN: Duration = Duration::from_millis(10);

/// A server under measurement; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    // What is to be asked for the CPU time besides the child itself, and killed with it.
    folder: Option<tempfile::TempDir>,
}

/// What the clients of one run saw.
pub(crate) struct Seen {
    /// Bytes, by stream and bin.
    pub(crate) bins: Vec<Vec<u64>>,
    /// The longest time between two readings of a stream, after the first second.
    pub(crate) silence: Duration,
    /// The server's CPU time, in seconds, and what it sent meanwhile.
    pub(crate) cpu: f64,
    pub(crate) sent: u64,
    /// The server's memory, in bytes, at the end.
    pub(crate) memory: u64,
    /// Voluntary context switches of the server a second: it slept and was woken.
    pub(crate) wakeups: f64,
    /// How often a second a thread of its runtime slept and was woken; of one of the bench's own.
    pub(crate) parks: f64,
}

impl Server {
    /// Starts one of the bench's own.
    pub(crate) fn start(kind: Kind, rate: u64, share: bool) -> Self {
        let name = clap::ValueEnum::to_possible_value(&kind).expect("a kind has a name");
        let mut command = Command::new(std::env::current_exe().expect("this program's path"));
        command
            .args(["--serve", name.get_name(), "--rate", &rate.to_string()])
            .stdout(Stdio::piped());
        if share {
            command.arg("--share");
        }
        let mut child = command.spawn().expect("a server");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("the server's output");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the server's port");
        let port: u16 = line.trim().parse().expect("a port");
        Self {
            child,
            address: ([127, 0, 0, 1], port).into(),
            folder: None,
        }
    }

    /// One that listens there already.
    pub(crate) fn foreign(child: Child, address: SocketAddr, folder: tempfile::TempDir) -> Self {
        Self {
            child,
            address,
            folder: Some(folder),
        }
    }

    /// The port it listens at.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Reads with a stream for each path, and looks at what comes within `time`, the start included.
    pub(crate) async fn watch(&self, paths: &[String], time: Duration) -> Seen {
        let done = Arc::new(AtomicBool::new(false));
        let mut sockets = Vec::new();
        for path in paths {
            // All ask together, below.
            let request = format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            sockets.push((connect(self.address).await, request));
        }
        let parks = self.parks().await;
        let (cpu, switches) = self.cpu();
        let begin = Instant::now();
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|(socket, request)| {
                tokio::spawn(read(socket, request, begin, time, Arc::clone(&done)))
            })
            .collect();
        tokio::time::sleep_until(begin + time).await;
        done.store(true, Ordering::Relaxed);
        let (cpu_after, switches_after) = self.cpu();
        let memory = self.memory();
        let parks_after = self.parks().await;
        let passed = begin.elapsed().as_secs_f64();
        let (mut bins, mut silence) = (Vec::new(), Duration::ZERO);
        for task in tasks {
            let seen = task.await.expect("a client");
            silence = silence.max(seen.silence);
            bins.push(seen.bins);
        }
        Seen {
            sent: bins.iter().flatten().sum(),
            bins,
            silence,
            cpu: cpu_after - cpu,
            memory,
            parks: (parks_after - parks) / passed,
            wakeups: (switches_after - switches) / time.as_secs_f64(),
        }
    }

    /// How often the threads of the server's runtime have slept so far.
    async fn parks(&self) -> f64 {
        if self.folder.is_some() {
            return 0.0;
        }
        let mut socket = connect(self.address).await;
        let request =
            format!("GET {PARKS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let asked = socket.write_all(request.as_bytes()).await;
        asked.expect("a question");
        let mut answer = String::new();
        let told = socket.read_to_string(&mut answer).await;
        told.expect("an answer");
        let number = answer.rsplit("\r\n").next();
        number
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }

    /// CPU seconds and voluntary context switches of the server and its children.
    fn cpu(&self) -> (f64, f64) {
        let (mut nanos, mut switches) = (0.0, 0.0);
        for process in self.processes() {
            let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else {
                continue;
            };
            for thread in threads.flatten() {
                let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
                let time = text
                    .split(' ')
                    .next()
                    .and_then(|time| time.parse::<f64>().ok());
                nanos += time.unwrap_or(0.0);
                switches += status(&thread.path().join("status"), "voluntary_ctxt_switches:");
            }
        }
        (nanos / 1e9, switches)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "kilobytes"
    )]
    fn memory(&self) -> u64 {
        let resident = |process: &u32| {
            let path = format!("/proc/{process}/status");
            status(path.as_ref(), "VmRSS:") as u64 * 1024
        };
        self.processes().iter().map(resident).sum()
    }

    fn processes(&self) -> Vec<u32> {
        let own = self.child.id();
        let path = format!("/proc/{own}/task/{own}/children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|id| id.parse().ok());
        std::iter::once(own).chain(children).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_some() {
            // A master process ends its workers only if it is asked to.
            let id = self.child.id().to_string();
            let _ = Command::new("kill").args(["-TERM", &id]).status();
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    /// Bytes by stream within these seconds.
    pub(crate) fn between(&self, from: f64, to: f64) -> Vec<u64> {
        let bin = |seconds: f64| {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small"
            )]
            let bin = (seconds / BIN.as_secs_f64()).round() as usize;
            bin
        };
        let (from, to) = (bin(from), bin(to));
        self.bins
            .iter()
            .map(|bins| bins[from.min(bins.len())..to.min(bins.len())].iter().sum())
            .collect()
    }

    /// The most bytes that any window, of whole bins and from the very start on, had above the rate.
    #[allow(clippy::cast_precision_loss, reason = "figures")]
    pub(crate) fn above(&self, rate: f64) -> f64 {
        let bins = self.bins.iter().map(Vec::len).max().unwrap_or(0);
        let (mut excess, mut most) = (0.0_f64, 0.0_f64);
        for bin in 0..bins {
            let of = |stream: &Vec<u64>| stream.get(bin).copied().unwrap_or(0);
            let bytes: u64 = self.bins.iter().map(of).sum();
            excess = excess.max(0.0) + bytes as f64 - rate * BIN.as_secs_f64();
            most = most.max(excess);
        }
        most
    }
}

/// How many files this process and the servers that it starts may open, after trying to get so many.
pub(crate) fn most_files(wanted: u64) -> u64 {
    let now = getrlimit(Resource::Nofile);
    let is_enough = |most: Option<u64>| most.is_none_or(|most| most >= wanted);
    if !is_enough(now.current) {
        // Above the hard limit only a privileged process gets.
        let hard = if is_enough(now.maximum) {
            now.maximum
        } else {
            Some(wanted)
        };
        for maximum in [hard, now.maximum] {
            let current = maximum.map(|maximum| maximum.min(wanted)).or(Some(wanted));
            if setrlimit(Resource::Nofile, Rlimit { current, maximum }).is_ok() {
                break;
            }
        }
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

struct Stream {
    bins: Vec<u64>,
    silence: Duration,
}

async fn connect(address: SocketAddr) -> TcpStream {
    for _ in 0..100 {
        if let Ok(socket) = TcpStream::connect(address).await {
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens at {address}");
}

async fn read(
    mut socket: TcpStream,
    request: String,
    begin: Instant,
    time: Duration,
    done: Arc<AtomicBool>,
) -> Stream {
    let mut bins = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let (mut last, mut silence) = (begin, Duration::ZERO);
    socket
        .write_all(request.as_bytes())
        .await
        .expect("a request");
    let mut head = true;
    while !done.load(Ordering::Relaxed) {
        let reading = tokio::time::timeout_at(begin + time, socket.read(&mut buffer));
        let Ok(Ok(bytes)) = reading.await else {
            break;
        };
        if bytes == 0 && begin.elapsed() >= time {
            break;
        }
        assert!(bytes > 0, "the server ended a stream");
        // The limit is on the body.
        let bytes = if head {
            body_of(&buffer[..bytes])
        } else {
            bytes
        };
        head = false;
        let now = Instant::now();
        if begin.elapsed() > Duration::from_secs(1) {
            silence = silence.max(now - last);
        }
        last = now;
        let bin = ((now - begin).as_nanos() / BIN.as_nanos()) as usize;
        if bins.len() <= bin {
            bins.resize(bin + 1, 0);
        }
        bins[bin] += bytes as u64;
    }
    let silence = silence.max((begin + time).saturating_duration_since(last));
    Stream { bins, silence }
}

fn body_of(answer: &[u8]) -> usize {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    answer.len() - end.expect("the head in one piece") - 4
}

fn status(path: &std::path::Path, field: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}
