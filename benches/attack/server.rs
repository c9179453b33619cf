//! The server that is attacked: `serve::Server` behind a guard from a configuration file.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;

use bytes::Bytes;
use clap::ValueEnum;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::config::Config;
use portcullis::serve::{Incoming, Server};
use portcullis::{Body, Guard};
use tokio::net::TcpListener;
use tower::service_fn;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// A program of this bench around `serve::Server`.
    Serve,
    /// The example `axum`.
    Axum,
    /// The example `hyper`.
    Hyper,
    /// The example `mirror`.
    Mirror,
}

pub(crate) const TOKEN: &str = "ci-4f1c9a7be03d58264c9e1fa0b7d25836";

/// Every connection shows a certificate and every caller a token, so that what an attacker is refused costs
/// the most.
const CONFIG: &str = r#"preset = "registry"
[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["ca.crt"]
[auth]
require = "token"
[[auth.token]]
id = "ci"
file = "token"
"#;

/// What is pulled: a blob of this many bytes.
const BLOB: usize = 64 * 1024;

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Axum => "axum",
            Self::Hyper => "hyper",
            Self::Mirror => "mirror",
        }
    }

    /// What a client pulls of it, and where it sends an upload.
    pub(crate) fn paths(self) -> (String, &'static str) {
        let get = match self {
            Self::Serve => format!("/v2/library/alpine/blobs/sha256:{}", "0".repeat(64)),
            _ => "/v2/".to_owned(),
        };
        (get, "/v2/library/alpine/blobs/uploads/1")
    }

    /// The command that serves at `address` with what is in `folder`.
    pub(crate) fn command(self, folder: &Path, address: SocketAddr) -> Command {
        let config = folder.join("gate.toml");
        let program = std::env::current_exe().expect("this program");
        let mut command = match self {
            Self::Serve => {
                let mut command = Command::new(program);
                command.arg("--be-server").arg(&config);
                command
            }
            Self::Axum | Self::Hyper | Self::Mirror => {
                let examples = program.ancestors().nth(2).expect("the target folder");
                let example = examples.join("examples").join(self.name());
                assert!(
                    example.is_file(),
                    "{} is missing: cargo build --profile bench --all-features --example {}",
                    example.display(),
                    self.name()
                );
                Command::new(example)
            }
        };
        command.args(["--listen", &address.to_string()]);
        match self {
            Self::Serve => {}
            Self::Mirror => {
                command.arg("--config").arg(&config);
                command.arg("--data").arg(folder.join("data"));
            }
            Self::Axum | Self::Hyper => {
                for (name, file) in [
                    ("--cert", "tls.crt"),
                    ("--key", "tls.key"),
                    ("--client-ca", "ca.crt"),
                ] {
                    command.arg(name).arg(folder.join(file));
                }
            }
        }
        command
    }
}

/// Puts what a configured server reads into `folder`.
pub(crate) fn configure(folder: &Path) {
    std::fs::write(folder.join("gate.toml"), CONFIG).expect("a file");
    std::fs::write(folder.join("token"), TOKEN).expect("a file");
}

/// Serves until the process is ended. `heap` counts the bytes that are allocated.
pub(crate) fn serve(config: &Path, address: SocketAddr, heap: fn() -> usize) {
    // It logs as programs do, but to nowhere: a disk is not what is measured.
    tracing_subscriber::fmt()
        .json()
        .with_writer(std::io::sink)
        .init();
    thread::spawn(move || {
        // A line asks, a line answers.
        for _ in std::io::stdin().lines() {
            println!("{}", heap());
        }
        // Without the bench there is nothing to serve for.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = Config::load(config).expect("a configuration");
        let guard = Guard::from_config(&config).expect("a guard");
        let listener = TcpListener::bind(address).await.expect("a port");
        let blob = Bytes::from(vec![7; BLOB]);
        let service = service_fn(move |request| answer(request, blob.clone()));
        let served = Server::new(guard).serve(listener, service).await;
        served.expect("nothing stops it");
    });
}

async fn answer(
    request: Request<Body<Incoming>>,
    blob: Bytes,
) -> Result<Response<Full<Bytes>>, portcullis::BodyError> {
    if request.method() == Method::GET {
        return Ok(Response::new(Full::new(blob)));
    }
    let length = request.into_body().collect().await?.to_bytes().len();
    Ok(Response::new(Full::new(length.to_string().into())))
}
