//! The built example, on loopback, with its data in a temporary directory.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2 * 60);

/// A running mirror, killed when it is dropped.
pub(crate) struct Mirror {
    pub(crate) address: String,
    data: PathBuf,
    process: Child,
    out: Lines,
    log: Lines,
}

/// What a stream of the process has said so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

/// How a client shows who it is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shown<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) certificate: Option<&'a str>,
}

impl Mirror {
    /// Starts with the data in `data`.
    pub(crate) async fn start(data: &TempDir) -> Self {
        Self::with(data, &[]).await
    }

    /// Starts with more arguments.
    pub(crate) async fn with(data: &TempDir, arguments: &[&str]) -> Self {
        Self::within(data, arguments, &[]).await
    }

    /// Starts with more arguments and variables.
    pub(crate) async fn within(
        data: &TempDir,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        Self::begin(data.path(), arguments, variables, Stdio::piped()).await
    }

    /// Starts with a standard error of the test's own.
    pub(crate) async fn logging_to(data: &TempDir, arguments: &[&str], log: Stdio) -> Self {
        Self::begin(data.path(), arguments, &[], log).await
    }

    /// Starts with the data in a folder of `folder`.
    pub(crate) async fn in_folder(folder: &Path, arguments: &[&str]) -> Self {
        Self::begin(folder, arguments, &[], Stdio::piped()).await
    }

    async fn begin(
        folder: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        log: Stdio,
    ) -> Self {
        let directory = folder.join("data");
        let mut process = command(&directory)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = Lines::follow(process.stdout.take().unwrap());
        let log = process.stderr.take();
        let log = log.map_or_else(Lines::default, Lines::follow);
        let first = until("the first line", || {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("it ended with {status}: {:?}", log.all());
            }
            out.all().first().cloned()
        })
        .await;
        let address = first.strip_prefix("listening on https://").unwrap();
        Self {
            address: address.to_owned(),
            data: directory,
            process,
            out,
            log,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    pub(crate) fn demo(&self, name: &str) -> PathBuf {
        self.data.join("demo").join(name)
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn token(&self) -> String {
        let text = fs::read_to_string(self.demo("token")).unwrap();
        text.trim_end().to_owned()
    }

    /// A client that trusts the demo CA and shows this.
    pub(crate) fn client(&self, shown: Shown<'_>) -> Client {
        self.builder(shown).build().unwrap()
    }

    pub(crate) fn builder(&self, shown: Shown<'_>) -> ClientBuilder {
        provider();
        let ca = Certificate::from_pem(&fs::read(self.demo("ca.crt")).unwrap()).unwrap();
        let mut builder = Client::builder().no_proxy().tls_certs_only([ca]);
        if let Some(name) = shown.certificate {
            let mut pem = fs::read(self.demo(&format!("{name}.key"))).unwrap();
            pem.extend(fs::read(self.demo(&format!("{name}.crt"))).unwrap());
            builder = builder.identity(Identity::from_pem(&pem).unwrap());
        }
        if let Some(token) = shown.token {
            let value = format!("Bearer {token}").parse().unwrap();
            let name = reqwest::header::AUTHORIZATION;
            builder = builder.default_headers([(name, value)].into_iter().collect());
        }
        builder
    }

    /// A client with the demo token.
    pub(crate) fn by_token(&self) -> Client {
        self.client(Shown {
            token: Some(&self.token()),
            ..Shown::default()
        })
    }

    /// A client with the demo certificate.
    pub(crate) fn by_certificate(&self) -> Client {
        self.client(Shown {
            certificate: Some("client"),
            ..Shown::default()
        })
    }

    /// Pushes a blob in one request; returns its path.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let request = self.by_token().post(self.url(&path)).body(content.to_vec());
        assert_eq!(request.send().await.unwrap().status(), 201);
        format!("/v2/{repository}/blobs/{digest}")
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.out.all()
    }

    /// All that it has said on standard error.
    pub(crate) fn log(&self) -> String {
        self.log.all().join("\n")
    }

    /// The events of the log so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.log.all();
        let parse = |line: &String| serde_json::from_str(line).ok();
        lines.iter().filter_map(parse).collect()
    }

    /// The access log's event of the first request to `path`.
    pub(crate) async fn logged(&self, path: &str) -> Value {
        let wanted = |event: &Value| {
            event["target"] == "portcullis::access" && event["fields"]["url.path"] == path
        };
        until("the access log", || self.events().into_iter().find(wanted)).await
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.id().to_string();
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([signal, &id]).status().unwrap().success());
    }

    /// Waits for the process to end.
    pub(crate) async fn ended(&mut self) -> std::process::ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.process.wait());
        ended.await.unwrap().unwrap()
    }
}

impl Lines {
    fn follow(stream: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let lines = Self::default();
        let seen = lines.clone();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream).lines();
            while let Ok(Some(line)) = stream.next_line().await {
                seen.0.lock().unwrap().push(line);
            }
        });
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Runs it to its end.
pub(crate) async fn run(data: &Path, arguments: &[&str]) -> Output {
    run_within(data, arguments, &[]).await
}

pub(crate) async fn run_within(
    data: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Output {
    let mut command = command(data);
    let output = command
        .args(arguments)
        .envs(variables.iter().copied())
        .output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap()
        .unwrap()
}

fn command(data: &Path) -> Command {
    let mut file = std::env::current_exe().unwrap();
    file.pop();
    file.pop();
    file.extend(["examples", "mirror"]);
    assert!(
        file.is_file(),
        "{} is not built: cargo build --example mirror",
        file.display()
    );
    let mut command = Command::new(file);
    command
        .arg("--data")
        .arg(data)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What the operator's port answers to a GET of this path, with its head.
pub(crate) async fn ask(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Replaces a file as a careful operator does: all at once.
pub(crate) fn replace(path: &Path, content: &[u8]) {
    let new = path.with_extension("next");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

pub(crate) fn sha256(content: &[u8]) -> String {
    let digits = Sha256::digest(content);
    let digits: Vec<String> = digits.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{}", digits.concat())
}

pub(crate) fn provider() {
    // The second test of a process finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
