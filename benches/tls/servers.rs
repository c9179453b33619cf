use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::{fs, thread};

use portcullis::tls::Acceptor;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::pki::Client;

/// Whose handshakes.
#[derive(Clone)]
pub(crate) enum Kind {
    Ours(Acceptor),
    Plain(Arc<rustls::ServerConfig>),
}

/// What the calling thread has used of a CPU.
pub(crate) fn cpu_nanos() -> u64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's schedstat");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.expect("a number")
}

/// The server's CPU time for a handshake, in nanoseconds, of so many by these clients in turn.
pub(crate) fn cpu_of(kind: &Kind, clients: &[Client], handshakes: usize) -> f64 {
    let (sender, address) = mpsc::channel();
    let kind = kind.clone();
    let server = thread::spawn(move || {
        run(async move {
            let tcp = bind(&sender).await;
            // One that does not count: the first one's allocations.
            accept(&kind, &tcp).await;
            let before = cpu_nanos();
            for _ in 0..handshakes {
                accept(&kind, &tcp).await;
            }
            (cpu_nanos() - before) as f64 / handshakes as f64
        })
    });
    let address = address.recv().expect("an address");
    connect(&clients[0], address);
    for client in clients.iter().cycle().take(handshakes) {
        connect(client, address);
    }
    server.join().expect("the server ends well")
}

/// The process's memory for a connection that is kept, in bytes.
pub(crate) fn memory_of(kind: &Kind, clients: &[Client], connections: usize) -> f64 {
    let (sender, address) = mpsc::channel();
    let kind = kind.clone();
    let server = thread::spawn(move || {
        run(async move {
            let tcp = bind(&sender).await;
            let mut kept: Vec<Box<dyn AsyncWrite>> = Vec::with_capacity(connections);
            for _ in 0..connections / 10 {
                kept.push(accept(&kind, &tcp).await);
            }
            let before = resident();
            for _ in connections / 10..connections {
                kept.push(accept(&kind, &tcp).await);
            }
            let counted = connections - connections / 10;
            (resident() - before) / counted as f64
        })
    });
    let address = address.recv().expect("an address");
    for client in clients.iter().cycle().take(connections) {
        connect(client, address);
    }
    server.join().expect("the server ends well")
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

async fn bind(sender: &mpsc::Sender<SocketAddr>) -> TcpListener {
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    sender
        .send(tcp.local_addr().expect("an address"))
        .expect("a receiver");
    tcp
}

async fn accept(kind: &Kind, tcp: &TcpListener) -> Box<dyn AsyncWrite> {
    let (tcp, _) = tcp.accept().await.expect("a connection");
    match kind {
        Kind::Ours(acceptor) => {
            let mut stream = acceptor.accept(tcp).await.expect("a handshake").stream;
            greet(&mut stream).await;
            Box::new(stream)
        }
        Kind::Plain(config) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
            let mut stream = acceptor.accept(tcp).await.expect("a handshake");
            greet(&mut stream).await;
            Box::new(stream)
        }
    }
}

async fn greet(stream: &mut (impl AsyncWrite + Unpin)) {
    stream.write_all(b"hello").await.expect("a greeting");
    stream.shutdown().await.expect("an end");
}

/// The client's side, to the end, so that it has its tickets.
fn connect(client: &Client, address: SocketAddr) {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(Arc::clone(&client.config), name);
    let tcp = TcpStream::connect(address).expect("a connection");
    tcp.set_nodelay(true).expect("no delay");
    let mut stream = rustls::StreamOwned::new(session.expect("a session"), tcp);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).expect("a greeting");
    assert_eq!(said, b"hello");
}

fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux's statm");
    let pages: Option<f64> = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.expect("a number") * 4096.0
}
