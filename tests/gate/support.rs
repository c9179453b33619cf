//! The gate on loopback, registries that answer as a test says, and clients that say what it wants.

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser as _;
use http::Request;
use portcullis::config::Config;
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, Guard};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cli::Arguments;
use crate::pki::Files;
use crate::proxy::{InFlight, Options, Proxy, Upstream};
use crate::setup::Setup;

/// Far more than anything takes that ends at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline that is to pass.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

/// The token of `ci`, which is in no group.
pub(crate) const CI: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";

/// The token of `spegel`, which is in the group `peers`.
pub(crate) const PEER: &str = "pZ3nV8yT5bXq1LdW7mKc9RfG2hSj";

pub(crate) const BY_TOKEN: &str = r#"
preset = "registry"
[auth]
require = "token"
[[auth.token]]
id = "ci"
file = "ci.token"
[[auth.token]]
id = "spegel"
file = "spegel.token"
groups = ["peers"]
"#;

/// A running gate.
pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
    _folder: TempDir,
}

/// A gate as the program makes it of its flags and configuration.
pub(crate) struct Program {
    /// Of each port, that of `--listen` first.
    pub(crate) ports: Vec<SocketAddr>,
    pub(crate) files: Files,
    _stop: DropGuard,
}

/// A registry whose every connection is in the hands of the test.
pub(crate) struct Registry(TcpListener);

/// One side of a connection that speaks HTTP/1.1 by hand.
#[derive(Debug)]
pub(crate) struct Wire<IO> {
    io: IO,
    ahead: Vec<u8>,
}

/// The head of a message.
#[derive(Clone, Debug)]
pub(crate) struct Head(String);

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Gate {
    /// A gate for tokens in front of this registry.
    pub(crate) async fn start(upstream: &str) -> Self {
        Self::with(upstream, |_| {}).await
    }

    /// The same with other options.
    pub(crate) async fn with(upstream: &str, change: impl FnOnce(&mut Options)) -> Self {
        let upstream = Upstream::parse(upstream, || panic!("no TLS here")).unwrap();
        Self::serve(BY_TOKEN, &[], upstream, change).await
    }

    /// A gate with this configuration, whose further files are these.
    pub(crate) async fn serve(
        config: &str,
        files: &[(&str, &str)],
        upstream: Upstream,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("ci.token", CI), ("spegel.token", PEER)]
            .iter()
            .chain(files)
        {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let file = folder.path().join("gate.toml");
        fs::write(&file, config).unwrap();
        let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
        let mut options = options();
        change(&mut options);
        let proxy = Proxy::new(upstream, options);
        let service = tower::service_fn(move |request: Request<Body<Incoming>>| {
            let proxy = proxy.clone();
            async move { Ok::<_, Infallible>(proxy.call(request).await) }
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Server::new(guard).serve(listener, service);
        Self {
            address,
            task: tokio::spawn(async move { served.await.unwrap() }),
            _folder: folder,
        }
    }

    /// A client's connection.
    pub(crate) async fn connect(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(self.address).await.unwrap())
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Program {
    /// A gate with this configuration beside these files, and these flags, on a port of its own.
    pub(crate) async fn start(files: Files, config: &str, flags: &[&str]) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let setup = Self::read(&files, config, flags).unwrap();
        let stop = CancellationToken::new();
        let running = setup.start(stop.clone(), SHORT).await.unwrap();
        let ports = running.urls.iter().map(|url| {
            let (_, address) = url.split_once("://").unwrap();
            address.parse().unwrap()
        });
        let ports = ports.collect();
        tokio::spawn(async move { running.ended().await.is_ok() });
        Self {
            ports,
            files,
            _stop: stop.drop_guard(),
        }
    }

    /// What the program makes of this configuration and these flags.
    pub(crate) fn read(
        files: &Files,
        config: &str,
        flags: &[&str],
    ) -> Result<Setup, Box<dyn std::error::Error>> {
        for (name, text) in [("ci.token", CI), ("spegel.token", PEER)] {
            files.put(name, text);
        }
        let file = files.put("gate.toml", config);
        let config = ["gate", "--listen", "127.0.0.1:0", "--config"].map(Into::into);
        let arguments = config.into_iter().chain([file.into_os_string()]);
        let arguments = arguments.chain(flags.iter().map(Into::into));
        Setup::read(&Arguments::try_parse_from(arguments)?)
    }

    /// A connection to the port of this number.
    pub(crate) async fn connect(&self, port: usize) -> Wire<TcpStream> {
        Wire::new(within(TcpStream::connect(self.ports[port])).await.unwrap())
    }
}

/// Deadlines that do not pass, and nothing shown.
pub(crate) fn options() -> Options {
    Options {
        connect_timeout: PATIENCE,
        head_timeout: PATIENCE,
        stall_timeout: PATIENCE,
        keep_host: true,
        principal_header: None,
        client_cert: None,
        peer_group: None,
        authorization: None,
        in_flight: InFlight::new(1024),
    }
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    pub(crate) fn authority(&self) -> String {
        self.0.local_addr().unwrap().to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority())
    }

    /// Answers everything, from now on, by a status and the first line of what was asked. Returns the heads.
    pub(crate) fn answers(self, status: u16) -> Arc<Mutex<Vec<Head>>> {
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            loop {
                let mut wire = Wire::new(self.0.accept().await.unwrap().0);
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    loop {
                        let head = wire.head().await;
                        let line = head.line().to_owned();
                        seen.lock().unwrap().push(head);
                        let length = line.len();
                        let body = if line.starts_with("HEAD ") { "" } else { &line };
                        wire.send(format!(
                            "HTTP/1.1 {status} Answer\r\ncontent-length: {length}\r\n\r\n{body}"
                        ))
                        .await;
                    }
                });
            }
        });
        heads
    }

    /// The next connection that the gate makes.
    pub(crate) async fn accept(&self) -> Wire<TcpStream> {
        Wire::new(within(self.0.accept()).await.unwrap().0)
    }

    /// The next connection by which it is asked for more than whether it answers.
    pub(crate) async fn accept_past_probes(&self) -> (Wire<TcpStream>, Head) {
        loop {
            let mut wire = self.accept().await;
            let head = wire.head().await;
            if head.get("x-forwarded-for").is_some() {
                return (wire, head);
            }
            wire.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
                .await;
        }
    }

    /// Has a client ask for a manifest, and returns the connection by which the registry was asked.
    pub(crate) async fn asked<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        client: &mut Wire<IO>,
    ) -> Wire<TcpStream> {
        client.send(request("GET", MANIFEST, "")).await;
        let mut wire = self.accept().await;
        wire.head().await;
        wire
    }

    /// Whether the gate has made a connection that was not accepted.
    pub(crate) async fn is_called(&self) -> bool {
        timeout(SHORT, self.0.accept()).await.is_ok()
    }
}

/// A registry, a gate for tokens in front of it, and a client's connection.
pub(crate) async fn in_front() -> (Registry, Gate, Wire<TcpStream>) {
    let registry = Registry::start().await;
    let gate = Gate::start(&registry.url()).await;
    let client = gate.connect().await;
    (registry, gate, client)
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Wire<IO> {
    pub(crate) fn new(io: IO) -> Self {
        Self {
            io,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        within(self.io.write_all(text.as_ref())).await.unwrap();
        within(self.io.flush()).await.unwrap();
    }

    /// Sends for as long as the other side takes it.
    pub(crate) async fn send_without_end(&mut self, text: &[u8]) {
        within(async { while self.io.write_all(text).await.is_ok() {} }).await;
    }

    /// What comes, to the end of this text.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            let end = end.as_bytes();
            let found = self.ahead.windows(end.len()).position(|it| it == end);
            if let Some(at) = found {
                let rest = self.ahead.split_off(at + end.len());
                let text = std::mem::replace(&mut self.ahead, rest);
                return String::from_utf8(text).unwrap();
            }
            let read = within(self.io.read_buf(&mut self.ahead)).await.unwrap();
            let came = String::from_utf8_lossy(&self.ahead);
            assert!(read > 0, "it ended after {came:?}");
        }
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> Head {
        Head(self.until("\r\n\r\n").await)
    }

    /// So many bytes.
    pub(crate) async fn bytes(&mut self, length: usize) -> String {
        while self.ahead.len() < length {
            let read = within(self.io.read_buf(&mut self.ahead)).await.unwrap();
            assert!(read > 0, "it ended after {} bytes", self.ahead.len());
        }
        let rest = self.ahead.split_off(length);
        String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap()
    }

    /// An answer whose body is as long as it says.
    pub(crate) async fn answer(&mut self) -> (Head, String) {
        let head = self.head().await;
        let length = head.get("content-length").unwrap_or("0");
        let body = self.bytes(length.parse().unwrap()).await;
        (head, body)
    }

    /// All that comes until the other side ends the connection, well or not.
    pub(crate) async fn rest(&mut self) -> String {
        let _ = within(self.io.read_to_end(&mut self.ahead)).await;
        String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
    }
}

impl Head {
    /// Its first line.
    pub(crate) fn line(&self) -> &str {
        self.0.split("\r\n").next().unwrap()
    }

    pub(crate) fn status(&self) -> u16 {
        self.line().split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The one value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.0.split("\r\n").skip(1).filter_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let first = found.next();
        assert_eq!(found.next(), None, "{name} comes twice in {}", self.0);
        first
    }
}

impl Log {
    /// Keeps what this thread logs until the guard is dropped.
    pub(crate) fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A request of `ci` without a body, with more lines in its head.
pub(crate) fn request(method: &str, target: &str, more: &str) -> String {
    request_of(CI, method, target, more)
}

pub(crate) fn request_of(token: &str, method: &str, target: &str, more: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: registry.example\r\nauthorization: Bearer {token}\r\n{more}\r\n"
    )
}

pub(crate) const MANIFEST: &str = "/v2/lib/a/manifests/1";

pub(crate) const UPLOADS: &str = "/v2/lib/a/blobs/uploads/";

/// An upload that has begun.
pub(crate) const UPLOAD: &str = "/v2/lib/a/blobs/uploads/0b8f";

pub(crate) async fn within<F: Future>(what: F) -> F::Output {
    timeout(PATIENCE, what).await.expect("it never ended")
}

/// Asserts that an answer is one of the gate's own, by its status, in the form that clients read.
pub(crate) fn assert_problem((head, body): &(Head, String), status: u16, code: &str) {
    assert_eq!(head.status(), status, "{head:?} {body}");
    assert_eq!(head.get("content-type"), Some("application/json"));
    let version = head.get("docker-distribution-api-version");
    assert_eq!(version, Some("registry/2.0"));
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["errors"][0]["code"], code, "{body}");
    assert!(body["errors"][0]["message"].is_string(), "{body}");
}
