//! Servers on a port that answer one request a connection: ours, and `HAProxy` and nginx where they are
//! installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portcullis::tls::Acceptor;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::pki::Client;

/// For how long connections are counted.
const COUNTED: Duration = Duration::from_secs(4);

/// How many there are at once.
const AT_ONCE: usize = 8;

/// How long a server may take to read the list and sort it.
const PATIENCE: Duration = Duration::from_secs(60);

const ANSWER: &[u8] = b"HTTP/1.0 200 OK\r\n\r\n";

/// Starts a server with these files, with the list or without; `None` if it is not installed.
pub(crate) type Start = fn(&Path, bool) -> Option<Server>;

/// A server that ends with this.
pub(crate) struct Server {
    address: SocketAddr,
    running: Running,
    /// What it writes.
    _folder: Option<tempfile::TempDir>,
}

enum Running {
    Ours(AbortHandle),
    Program(Child),
}

impl Drop for Server {
    fn drop(&mut self) {
        match &mut self.running {
            Running::Ours(task) => task.abort(),
            Running::Program(child) => {
                // The one of ours, and its workers with it.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

pub(crate) fn ours(runtime: &Runtime, acceptor: &Acceptor) -> Server {
    let acceptor = acceptor.clone();
    let bind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let tcp = runtime.block_on(bind).unwrap();
    let address = tcp.local_addr().unwrap();
    let serving = runtime.spawn(async move {
        while let Ok((socket, _)) = tcp.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that only looks whether the server is there shakes no hands.
                let Ok(accepted) = acceptor.accept(socket).await else {
                    return;
                };
                let mut stream = accepted.stream;
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
                }
                stream.write_all(ANSWER).await.unwrap();
                stream.shutdown().await.unwrap();
            });
        }
    });
    Server {
        address,
        running: Running::Ours(serving.abort_handle()),
        _folder: None,
    }
}

pub(crate) fn haproxy(files: &Path, with_list: bool) -> Option<Server> {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let files = files.display();
    let list = if with_list {
        format!("crl-file {files}/crl.pem")
    } else {
        String::new()
    };
    let config = format!(
        "global\n  maxconn 4096\n  nbthread 2\n
defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n
frontend f\n  bind 127.0.0.1:{port} ssl crt {files}/both.pem ca-file {files}/ca.crt verify required {list}\n  \
         http-request return status 200\n"
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    program(
        Command::new("haproxy").args(["-db", "-f"]).arg(&file),
        folder,
        port,
    )
}

pub(crate) fn nginx(files: &Path, with_list: bool) -> Option<Server> {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let files = files.display();
    let path = folder.path().display();
    let list = if with_list {
        format!("ssl_crl {files}/crl.pem;")
    } else {
        String::new()
    };
    // One process: with a master between, its workers would outlive it.
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log /dev/null;
         events {{ worker_connections 4096; }}
         http {{ access_log off;
           client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
           uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
           server {{ listen 127.0.0.1:{port} ssl;
             ssl_protocols TLSv1.3; ssl_certificate {files}/tls.crt; ssl_certificate_key {files}/tls.key;
             ssl_client_certificate {files}/ca.crt; ssl_verify_client on; {list}
             location / {{ return 200; }} }} }}"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    program(Command::new("nginx").arg("-c").arg(&file), folder, port)
}

fn program(command: &mut Command, folder: tempfile::TempDir, port: u16) -> Option<Server> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::null()).spawn().ok()?;
    Some(Server {
        address: (Ipv4Addr::LOCALHOST, port).into(),
        running: Running::Program(child),
        _folder: Some(folder),
    })
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// Connections with one request each, a second.
pub(crate) fn rate(runtime: &Runtime, server: &Server, clients: &[Client]) -> f64 {
    let address = server.address;
    runtime.block_on(async {
        let ready = async {
            while let Err(error) = TcpStream::connect(address).await {
                drop(error);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            // The first may have a list to be sorted.
            ask(address, &clients[0]).await;
        };
        timeout(PATIENCE, ready)
            .await
            .expect("a server that answers");
        let (over, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for first in 0..AT_ONCE {
            let (over, done) = (Arc::clone(&over), Arc::clone(&done));
            let configs = clients.iter().cloned();
            let clients: Vec<_> = configs.skip(first).step_by(AT_ONCE).collect();
            tasks.spawn(async move {
                for client in clients.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    ask(address, client).await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::time::sleep(COUNTED).await;
        over.store(true, Ordering::Relaxed);
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        done.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64()
    })
}

async fn ask(address: SocketAddr, client: &Client) {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::clone(&client.config)).connect(name, tcp);
    let mut stream = connecting.await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.0\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // One that ends without saying so has answered all the same.
    let _ = stream.read_to_end(&mut answer).await;
    let status = answer.get(8..12);
    assert_eq!(status, Some(&b" 200"[..]), "another answer");
}
