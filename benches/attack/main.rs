//! A server under an attack of all kinds at once, beside itself without one: silent connections, half-open
//! handshakes, slow heads, slow bodies, stalled readers over both protocols, refused uploads, floods of HTTP/2
//! resets and pings, from three addresses, while a client from a fourth pulls.
//!
//! `cargo bench --bench attack` takes a minute; `-- --seconds 600` is the whole proof; `-- --server serve,axum,hyper`
//! attacks the examples too (`cargo build --profile bench --all-features --example axum --example hyper`). Server and
//! attack are processes of their own. The attack is held to its rates and to the last CPU: what is measured is how
//! the server shares itself out, not what a machine does whose CPUs are all taken by its own attacker. Linux, for its
//! loopback and /proc.

#![allow(clippy::expect_used, reason = "a bench that cannot run stops")]
#![allow(clippy::cast_precision_loss, reason = "figures, not accounts")]

#[path = "../figures/mod.rs"]
mod figures;
#[allow(
    unreachable_pub,
    missing_debug_implementations,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::format_push_string,
    reason = "shared with a test"
)]
mod load;
#[path = "../../tests/pki/mod.rs"]
mod pki;
mod process;
mod server;

use std::alloc::System;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use figures::Figures;
use load::{Attack, Plan, Pulled, Target, pull};
use pki::Ca;
use process::Process;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tempfile::TempDir;

/// Where the client comes from that does nothing wrong.
const GOOD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);

/// The most that a server may have of memory: 64 KiB for each of the connections that it has at most, and as
/// much again for what is neither.
const MEMORY: f64 = 512.0;

/// MiB that may be left allocated: tables keep the room of what was in them.
const KEPT: f64 = 4.0;

/// What is read of uploads that were refused is over after this.
const AFTERGLOW: Duration = Duration::from_secs(3);

/// How long the end of an attack is awaited.
const AFTERMATH: Duration = Duration::from_secs(120);

#[derive(Parser)]
struct Arguments {
    /// How long the attack lasts.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// What is attacked, one after another.
    #[arg(long, default_value = "serve", value_delimiter = ',')]
    server: Vec<server::Kind>,
    /// The attack's rates, times this.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// Be the server with this configuration rather than the bench.
    #[arg(long)]
    be_server: Option<PathBuf>,
    /// Be the attack with the keys in this folder.
    #[arg(long)]
    be_attack: Option<PathBuf>,
    /// Where the server listens.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// What cargo adds.
    #[arg(long)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let address = arguments.listen.unwrap_or_else(free_address);
    // Each process of this bench has many connections.
    let _ = portcullis::connection::raise_descriptor_limit();
    if let Some(config) = &arguments.be_server {
        return server::serve(config, address, heap);
    }
    if let Some(folder) = &arguments.be_attack {
        return attack(&arguments, &target(arguments.server[0], folder, address));
    }
    let mut figures = Figures::new("attack");
    for kind in &arguments.server {
        figures = Bench::of(*kind, &arguments, figures).run();
    }
    figures.report();
}

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is allocated now, in bytes.
fn heap() -> usize {
    let stats = HEAP.stats();
    stats
        .bytes_allocated
        .saturating_sub(stats.bytes_deallocated)
}

struct Bench<'a> {
    kind: server::Kind,
    arguments: &'a Arguments,
    folder: TempDir,
    target: Target,
    server: Process,
    /// Of a server that says how much it has allocated.
    output: Option<BufReader<ChildStdout>>,
    figures: Figures,
}

/// What is there before and after an attack.
#[derive(Clone, Copy)]
struct Held {
    descriptors: usize,
    memory: f64,
    /// What is allocated of it.
    heap: Option<f64>,
}

impl<'a> Bench<'a> {
    /// Starts a server.
    fn of(kind: server::Kind, arguments: &'a Arguments, figures: Figures) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        keys(folder.path());
        server::configure(folder.path());
        let address = free_address();
        let mut server = Process::start(&kind.command(folder.path(), address), None);
        let mut output = BufReader::new(server.child.stdout.take().expect("its output"));
        let output = if kind == server::Kind::Serve {
            Some(output)
        } else {
            // A terminal would take it too.
            thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
            None
        };
        while TcpStream::connect(address).is_err() {
            assert!(server.is_running(), "the server ended");
            thread::sleep(Duration::from_millis(50));
        }
        Self {
            kind,
            arguments,
            target: target(kind, folder.path(), address),
            folder,
            server,
            output,
            figures,
        }
    }

    fn attacker(&self) -> Process {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("--be-attack").arg(self.folder.path());
        command.args(["--listen", &self.target.address.to_string()]);
        command.args(["--rate", &self.arguments.rate.to_string()]);
        command.args(["--server", self.kind.name()]);
        Process::start(&command, (cpus > 1).then(|| cpus - 1))
    }

    fn run(mut self) -> Figures {
        let time = Duration::from_secs(self.arguments.seconds);
        self.pulled(Duration::from_secs(2));
        let peace = self.pulled((time / 4).clamp(Duration::from_secs(10), Duration::from_secs(60)));
        assert!(
            peace.failed.is_empty(),
            "without an attack: {:?}",
            peace.failed
        );
        thread::sleep(AFTERGLOW);
        let before = self.held();

        let mut attack = self.attacker();
        let (begun, used) = (Instant::now(), (self.server.cpu(), attack.cpu()));
        let war = self.pulled(time);
        let lasted = begun.elapsed().as_secs_f64();
        let used = (self.server.cpu() - used.0, attack.cpu() - used.1);
        let during = self.held();
        let over = Instant::now();
        drop(attack.child.stdin.take());
        let mut counts = String::new();
        let output = attack.child.stdout.take().expect("its output");
        BufReader::new(output)
            .read_to_string(&mut counts)
            .expect("its counts");
        drop(attack);
        self.await_end(before);
        let ended = over.elapsed();
        thread::sleep(AFTERGLOW);
        let after = self.held();

        self.rows(&peace, &war);
        self.row("peak memory of the server", "MiB", self.server.memory().1)
            .at_most(MEMORY);
        let row = self.row("memory of the server after the attack", "MiB", after.memory);
        row.peer("during it", during.memory)
            .peer("before it", before.memory);
        if let (Some(after), Some(during), Some(before)) = (after.heap, during.heap, before.heap) {
            let row = self.row("what is allocated after the attack", "MiB", after);
            row.peer("before it", before).peer("during it", during);
            row.at_most(before + KEPT);
        }
        let left = after.descriptors as f64 - before.descriptors as f64;
        let row = self.row(
            "descriptors of the server left by the attack",
            "",
            left.max(0.0),
        );
        row.at_most(0.0)
            .peer("during it", during.descriptors as f64);
        self.row("until nothing of it was left", "s", ended.as_secs_f64());
        let share = |used: f64| used / lasted * 100.0;
        let row = self.row(
            "CPU of the server during the attack",
            "% of one",
            share(used.0),
        );
        row.peer("the attack", share(used.1));
        for line in counts.lines() {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let mut rate = || words.next().and_then(|word| word.parse::<f64>().ok());
            let (opened, frames) = (rate(), rate());
            for (what, count) in [("opened", opened), ("frames", frames)] {
                if let Some(count) = count.filter(|count| *count > 0.0) {
                    self.row(format!("attack: {name} {what}"), "/s", count / lasted);
                }
            }
        }
        self.figures
    }

    fn rows(&mut self, peace: &Pulled, war: &Pulled) {
        for error in war.failed.iter().take(20) {
            eprintln!("failed: {error}");
        }
        self.row(
            "failed requests of the client that pulls",
            "",
            war.failed.len() as f64,
        )
        .at_most(0.0)
        .peer("of all", war.requests() as f64);
        for (of, most) in [(50, None), (99, Some(100.0)), (100, None)] {
            let [war, peace] = [&war.new, &peace.new].map(|times| percentile(times, of));
            let row = self.row(
                format!("a new connection with its request, {}", named(of)),
                "ms",
                war,
            );
            if let Some(most) = most {
                row.at_most(most);
            }
            row.peer("without the attack", peace);
        }
        for (protocol, war, peace) in [
            ("HTTP/1.1", &war.http1, &peace.http1),
            ("HTTP/2", &war.http2, &peace.http2),
        ] {
            for of in [50, 99, 100] {
                let name = format!("a request over {protocol}, {}", named(of));
                let [war, peace] = [war, peace].map(|times| percentile(times, of));
                let row = self.row(name, "ms", war).peer("without the attack", peace);
                if of == 99 {
                    row.ratio_at_most(3.0);
                }
            }
        }
    }

    fn row(&mut self, name: impl AsRef<str>, unit: &'static str, ours: f64) -> &mut figures::Row {
        let name = format!("{}: {}", self.kind.name(), name.as_ref());
        self.figures.row(name, unit, ours)
    }

    fn pulled(&self, time: Duration) -> Pulled {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().build().expect("a runtime");
        runtime.block_on(pull(&self.target, GOOD, time))
    }

    fn held(&mut self) -> Held {
        Held {
            descriptors: self.server.descriptors(),
            memory: self.server.memory().0,
            heap: self.heap(),
        }
    }

    /// MiB.
    fn heap(&mut self) -> Option<f64> {
        let mut line = String::new();
        let asks = self.server.child.stdin.as_mut().zip(self.output.as_mut());
        let (asks, answers) = asks?;
        asks.write_all(b"\n").expect("a question");
        answers.read_line(&mut line).expect("an answer");
        let bytes: f64 = line.trim().parse().expect("a number");
        Some(bytes / f64::from(1 << 20))
    }

    /// Waits until there is no connection of the attack.
    fn await_end(&mut self, before: Held) {
        let begun = Instant::now();
        while self.held().descriptors > before.descriptors && begun.elapsed() < AFTERMATH {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Attacks until standard input ends, and prints what it did.
fn attack(arguments: &Arguments, target: &Target) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().expect("a runtime");
    let counts = runtime.block_on(async {
        let attack = Attack::begin(target, &Plan::whole().times(arguments.rate));
        let ended =
            tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new()));
        let _ = ended.await;
        attack.counts()
    });
    let mut out = std::io::stdout().lock();
    for count in counts {
        let line = writeln!(out, "{:?} {} {}", count.kind, count.opened, count.frames);
        line.expect("an output");
    }
}

/// A CA, a server's certificate and a client's.
fn keys(folder: &Path) {
    let ca = Ca::new("Example CA");
    let [server, client] = [ca.server(&["localhost"]), ca.client("node-7")];
    for (name, text) in [
        ("ca.crt", &ca.pem),
        ("tls.crt", &server.pem),
        ("tls.key", &server.key_pem),
        ("client.crt", &client.pem),
        ("client.key", &client.key_pem),
    ] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

fn target(kind: server::Kind, folder: &Path, address: SocketAddr) -> Target {
    let certificate =
        |name: &str| CertificateDer::from_pem_file(folder.join(name)).expect("a certificate");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate("ca.crt")).expect("a CA");
    let key = PrivateKeyDer::from_pem_file(folder.join("client.key")).expect("a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate("client.crt")], key)
        .expect("a client");
    let (get, put) = kind.paths();
    Target::new(address, &client, &get, put).with_authorization(format!("Bearer {}", server::TOKEN))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

fn named(percentile: usize) -> String {
    match percentile {
        50 => "median".to_owned(),
        100 => "longest".to_owned(),
        other => format!("p{other}"),
    }
}

/// In milliseconds, of sorted times.
fn percentile(times: &[Duration], of: usize) -> f64 {
    let rank = (times.len() * of).div_ceil(100).max(1) - 1;
    times
        .get(rank)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
