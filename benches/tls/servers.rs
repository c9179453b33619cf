use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{fs, thread};

use portcullis::tls::Acceptor;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::pki::Client;

/// How many handshakes of each kind are not counted.
pub(crate) const WARM_UP: usize = 20;
/// The same where clients are new: until as many chains are remembered as will be, so that what a new one
/// needs is what an old one gives back, as in a server that has been up for a while.
pub(crate) const LONG_WARM_UP: usize = 2_100;

/// Whose handshakes.
#[derive(Clone)]
pub(crate) enum Kind {
    Ours(Acceptor),
    Plain(Arc<rustls::ServerConfig>),
    /// With the bound on a handshake's time that a server cannot do without.
    Bounded(Arc<rustls::ServerConfig>),
}

/// What the calling thread has used of a CPU.
pub(crate) fn cpu_nanos() -> u64 {
    // The kernel adds up when a thread gives its CPU away, and not for who asks.
    thread::sleep(Duration::from_micros(1));
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's schedstat");
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.expect("a number")
}

/// The server's CPU time for each handshake, in nanoseconds: those of the first kind and those of the
/// other, one by one in turns, each with the next client of its own.
pub(crate) fn in_turns(
    kinds: [&Kind; 2],
    clients: [&[Client]; 2],
    (warm_up, each): (usize, usize),
) -> [Vec<f64>; 2] {
    let (sender, address) = mpsc::channel();
    let servers = kinds.map(Kind::clone);
    let server = thread::spawn(move || {
        run(async move {
            let tcp = bind(&sender).await;
            let mut costs = [Vec::with_capacity(each), Vec::with_capacity(each)];
            // Some that do not count: the first ones' allocations.
            for turn in 0..warm_up + each {
                for (kind, costs) in servers.iter().zip(&mut costs) {
                    let socket = tcp.accept().await.expect("a connection").0;
                    let before = cpu_nanos();
                    drop(accept(kind, socket).await);
                    if turn >= warm_up {
                        costs.push((cpu_nanos() - before) as f64);
                    }
                }
            }
            costs
        })
    });
    let address = address.recv().expect("an address");
    for turn in 0..warm_up + each {
        // A server that was warmed up is known, so those come last.
        let at = (turn + each).checked_sub(warm_up).unwrap_or(turn);
        for clients in clients {
            connect(&clients[at % clients.len()], address);
        }
    }
    server.join().expect("the server ends well")
}

/// What the server keeps on the heap for a connection, in bytes.
pub(crate) fn memory_of(
    kind: &Kind,
    clients: &[Client],
    connections: usize,
    heap: fn() -> f64,
) -> f64 {
    let (sender, address) = mpsc::channel();
    let kind = kind.clone();
    let server = thread::spawn(move || {
        run(async move {
            let tcp = bind(&sender).await;
            let mut kept: Vec<Box<dyn AsyncWrite>> = Vec::with_capacity(connections);
            let mut before = 0.0;
            for turn in 0..connections {
                if turn == connections / 10 {
                    before = heap();
                }
                let socket = tcp.accept().await.expect("a connection").0;
                kept.push(accept(&kind, socket).await);
            }
            let counted = connections - connections / 10;
            (heap() - before) / counted as f64
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

async fn accept(kind: &Kind, tcp: tokio::net::TcpStream) -> Box<dyn AsyncWrite> {
    match kind {
        Kind::Ours(acceptor) => {
            let mut stream = acceptor.accept(tcp).await.expect("a handshake").stream;
            greet(&mut stream).await;
            Box::new(stream)
        }
        Kind::Plain(config) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
            greeted(acceptor.accept(tcp).await).await
        }
        Kind::Bounded(config) => {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(config));
            let handshake = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(tcp));
            greeted(handshake.await.expect("in time")).await
        }
    }
}

async fn greeted(
    handshake: std::io::Result<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>,
) -> Box<dyn AsyncWrite> {
    let mut stream = handshake.expect("a handshake");
    greet(&mut stream).await;
    Box::new(stream)
}

/// How a connection is closed is not compared: rustls closes its own side, the acceptor's stream waits for the other's.
async fn greet(stream: &mut (impl AsyncWrite + Unpin)) {
    stream.write_all(b"hello").await.expect("a greeting");
    stream.flush().await.expect("a greeting");
}

/// The client's side, to the greeting, before which come its tickets.
fn connect(client: &Client, address: SocketAddr) {
    let name = ServerName::try_from("localhost").expect("a name");
    let session = rustls::ClientConnection::new(Arc::clone(&client.config), name);
    let tcp = TcpStream::connect(address).expect("a connection");
    tcp.set_nodelay(true).expect("no delay");
    let mut stream = rustls::StreamOwned::new(session.expect("a session"), tcp);
    let mut said = [0; 5];
    stream.read_exact(&mut said).expect("a greeting");
    assert_eq!(&said, b"hello");
}
