//! The upstream, the gate, nginx and `HAProxy`, each a process of its own.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser as _;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use crate::pki::{Pki, TOKEN};
use crate::setup::Setup;
use crate::{cli, cpu};

/// The CPU of what is measured.
const PROXY: &str = "0";

/// The CPU of the upstream and of the clients.
const CLIENTS: &str = "1";

const FRAME: usize = 64 * 1024;
static BYTES: [u8; FRAME] = [b'x'; FRAME];

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn upstream() -> Self {
        Self::own(&["--be-upstream".to_owned()], folder())
    }

    pub(crate) fn gate(pki: &Pki, upstream: SocketAddr) -> Self {
        let folder = folder();
        let config = pki.file("gate.toml");
        let text = r#"
            preset = "registry"
            [tls]
            certificate = "server.crt"
            key = "server.key"
            client_ca = ["ca.crt"]
            [crl]
            files = ["crl.pem"]
            [auth]
            require = "token-and-certificate"
            [[auth.token]]
            id = "ci"
            file = "ci.token"
            [[policy.rules]]
            name = "ci pulls the library"
            who = ["token:ci"]
            actions = ["pull"]
            repositories = ["lib/**"]
            [[limits.limit]]
            name = "line"
            key = "total"
            direction = "response"
            rate = "100GB"
        "#;
        fs::write(&config, text).expect("a configuration");
        let flags = [
            "gate".to_owned(),
            format!("--config={}", config.display()),
            format!("--upstream=http://{upstream}"),
            "--listen=127.0.0.1:0".to_owned(),
            format!("--access-log={}", pki.file("access.log").display()),
        ];
        let flags = std::iter::once("--be-gate".to_owned()).chain(flags);
        Self::own(&flags.collect::<Vec<_>>(), folder)
    }

    /// This program again, which says its port.
    fn own(arguments: &[String], folder: tempfile::TempDir) -> Self {
        let program = std::env::current_exe().expect("this program");
        let log = File::create(folder.path().join("log")).expect("a log");
        let of_this = if arguments[0] == "--be-upstream" {
            CLIENTS
        } else {
            PROXY
        };
        let mut child = cpu::on(of_this, &program)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a server");
        let mut line = String::new();
        let out = child.stdout.take().expect("its standard output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        Self {
            child,
            address: line.trim().parse().expect("an address"),
            _folder: folder,
        }
    }

    /// With a certificate that must be shown, a CRL, one token, a limit on requests and a log of requests.
    pub(crate) fn nginx(pki: &Pki, upstream: SocketAddr) -> Option<Self> {
        let folder = folder();
        let address = free_address();
        let path = folder.path().display();
        let [crt, key, ca, crl] =
            ["server.crt", "server.key", "ca.crt", "crl.pem"].map(|name| pki.file(name));
        let [crt, key, ca, crl] = [&crt, &key, &ca, &crl].map(|file| file.display());
        let config = format!(
            "daemon off; master_process off; worker_processes 1; pid {path}/pid; error_log {path}/error;
             events {{ worker_connections 4096; }}
             http {{
               log_format json escape=json '{{\"time\":\"$time_iso8601\",\"request\":\"$request\",\"status\":$status,\
               \"bytes\":$body_bytes_sent,\"client\":\"$ssl_client_s_dn\",\"seconds\":$request_time}}';
               access_log {path}/access json;
               client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
               uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
               limit_req_zone $ssl_client_serial zone=callers:10m rate=1000000r/s;
               upstream registry {{ server {upstream}; keepalive 64; }}
               server {{
                 listen {address} ssl; ssl_protocols TLSv1.3; keepalive_requests 1000000;
                 ssl_certificate {crt}; ssl_certificate_key {key};
                 ssl_client_certificate {ca}; ssl_verify_client on; ssl_crl {crl};
                 location /v2/lib/ {{
                   limit_req zone=callers burst=1000 nodelay;
                   limit_except GET {{ deny all; }}
                   if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}
                   proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Authorization \"\";
                   proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto https;
                   proxy_max_temp_file_size 0; proxy_pass http://registry;
                 }}
                 location / {{ return 403; }}
               }}
             }}"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("a configuration");
        let mut command = cpu::on(PROXY, program("nginx")?);
        command.args(["-g", "user root;", "-c"]).arg(&file);
        Self::foreign(&mut command, address, folder)
    }

    /// With the same.
    pub(crate) fn haproxy(pki: &Pki, upstream: SocketAddr) -> Option<Self> {
        let folder = folder();
        let address = free_address();
        let [crt, ca, crl] = ["server.pem", "ca.crt", "crl.pem"].map(|name| pki.file(name));
        let [crt, ca, crl] = [&crt, &ca, &crl].map(|file| file.display());
        let config = format!(
            "global\n  maxconn 4096\n  nbthread 1\n  log stderr format raw local0\n\
             defaults\n  mode http\n  log global\n  option httplog\n  timeout client 60s\n  timeout server 60s\n  \
             timeout connect 5s\n\
             backend callers\n  stick-table type string size 1m expire 60s store http_req_rate(10s)\n\
             frontend f\n  bind {address} ssl crt {crt} ca-file {ca} crl-file {crl} verify required ssl-min-ver TLSv1.3\n  \
             http-request track-sc0 ssl_c_serial,hex table callers\n  \
             http-request deny deny_status 429 if {{ sc0_http_req_rate gt 100000000 }}\n  \
             http-request deny deny_status 401 unless {{ req.hdr(authorization) -m str \"Bearer {TOKEN}\" }}\n  \
             http-request deny unless {{ path_beg /v2/lib/ }} METH_GET\n  \
             http-request del-header authorization\n  http-request set-header X-Forwarded-Proto https\n  \
             option forwardfor\n  default_backend b\n\
             backend b\n  http-reuse always\n  server s {upstream}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, config).expect("a configuration");
        let mut command = cpu::on(PROXY, program("haproxy")?);
        command.args(["-db", "-f"]).arg(&file);
        Self::foreign(&mut command, address, folder)
    }

    fn foreign(
        command: &mut Command,
        address: SocketAddr,
        folder: tempfile::TempDir,
    ) -> Option<Self> {
        let log = File::create(folder.path().join("log")).expect("a log");
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(log).spawn().ok()?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            if child.try_wait().expect("a child").is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(folder.path().join("log"));
                panic!("{command:?} does not serve: {}", said.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self {
            child,
            address,
            _folder: folder,
        })
    }

    /// What its threads have used so far, by the kernel's accounting.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu::nanos_of(self.child.id()) as f64 / 1e9
    }
}

/// Answers with 1 KiB, or with a blob of as many bytes as the query asks for.
pub(crate) fn be_upstream() {
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        say(&listener.local_addr().expect("an address").to_string());
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.set_nodelay(true);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(answer);
                let server = hyper::server::conn::http1::Builder::new();
                // A client that goes away is no news.
                let _ = server.serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
}

async fn answer(
    request: Request<hyper::body::Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let query = request.uri().query().unwrap_or_default();
    let bytes = query.strip_prefix("bytes=");
    let bytes: usize = bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(1024);
    let frames = (0..bytes).step_by(FRAME).map(move |at| {
        let frame = Bytes::from_static(&BYTES[..FRAME.min(bytes - at)]);
        Ok(Frame::data(frame))
    });
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response = Response::builder().header("content-length", bytes);
    Ok(response.body(body).expect("a response"))
}

/// The gate example, in this process.
pub(crate) fn be_gate(flags: &[String]) {
    let arguments = cli::Arguments::parse_from(flags);
    let _ = crate::process::main("gate", false, async move {
        let setup = Setup::read(&arguments)?;
        let drain = *arguments.process.drain;
        let running = setup.start(CancellationToken::new(), drain).await?;
        say(running.urls[0].trim_start_matches("https://"));
        running.ended().await??;
        Ok(std::process::ExitCode::SUCCESS)
    });
}

/// Moves this process to the clients' CPU, before it starts a thread.
pub(crate) fn be_client() {
    assert!(cpu::move_to(CLIENTS), "taskset fails");
}

fn say(address: &str) {
    println!("{address}");
    std::io::stdout().flush().expect("standard output");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Where a peer is, if it is installed.
fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let mut files = folders
        .iter()
        .map(|folder| PathBuf::from(folder).join(name));
    files.find(|file| file.is_file())
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}
