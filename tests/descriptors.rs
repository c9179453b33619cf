//! A process that runs out of file descriptors: what was withdrawn is refused all the same. Each test runs
//! itself again in a process of its own, which has few.
#![cfg(all(unix, feature = "axum", feature = "auth", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod pki;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::FutureExt;
use pki::{Ca, Files};
use portcullis::auth::{CredentialSource, Credentials};
use portcullis::connection::{descriptors_to_spare, raise_descriptor_limit};
use portcullis::reload::WatchOptions;
use portcullis::tls::{Acceptor, Listener};
use portcullis::{Connection, Watched};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

const TOKEN: &str = "2Vb8Qx4nTz9rLw6kHs3mJd7p";
const OTHER: &str = "9mKc4Wq7bZx2Rt6vNs8yPf3h";

/// The folder in which a child works; its parent has none.
const FOLDER: &str = "DESCRIPTORS_TEST_FOLDER";

fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

fn set_limit(current: u64, maximum: Option<u64>) {
    let current = Some(current);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}

/// The folder, where this is the child of the test of this name; else runs the child, and `act` with each
/// line that it says to its parent.
fn child(name: &str, mut act: impl FnMut(&Path, &str)) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), TOKEN).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, said)) = line.unwrap().split_once("child: ") {
            act(folder.path(), said);
        }
    }
    assert!(child.wait().unwrap().success());
    None
}

fn say(words: &str) {
    println!("child: {words}");
}

/// The new token, as tools put it there.
fn withdraw(folder: &Path) {
    fs::write(folder.join("new"), OTHER).unwrap();
    fs::rename(folder.join("new"), folder.join("token")).unwrap();
}

fn credentials(folder: &Path) -> Watched<Credentials> {
    let source = CredentialSource::file("ci", folder.join("token"));
    let watch = WatchOptions::default().with_poll_interval(Duration::from_millis(20));
    let options = watch;
    Credentials::watch([source], options).unwrap()
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !reached() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_token_is_withdrawn_though_every_descriptor_is_taken() {
    let name = "a_token_is_withdrawn_though_every_descriptor_is_taken";
    let Some(folder) = child(name, |folder, _| withdraw(folder)) else {
        return;
    };
    set_limit(64, Some(64));
    let credentials = credentials(&folder);
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    say("full");
    until("reloaded", || credentials.generation() == 2);
    assert_eq!(credentials.health().failure, None);
    // What was given back for it is held again, for the next.
    until("held again", || File::open("/dev/null").is_err());
    drop(taken);
}

#[test]
fn a_flood_of_connections_leaves_descriptors_to_a_reload_and_to_others() {
    let name = "a_flood_of_connections_leaves_descriptors_to_a_reload_and_to_others";
    let mut flood: Vec<TcpStream> = Vec::new();
    let act = |folder: &Path, said: &str| match said {
        "full" => withdraw(folder),
        "over" => flood.clear(),
        address => flood.extend((0..200).map(|_| TcpStream::connect(address).unwrap())),
    };
    let Some(folder) = child(name, act) else {
        return;
    };
    set_limit(128, Some(128));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let credentials = credentials(&folder);
        let (ca, files) = (Ca::new("CA"), Files::new());
        let material = files.server(&ca.server(&["gate"]));
        let material = material.without_client_certificates();
        let material = material.watch(WatchOptions::default()).unwrap();
        let acceptor = Acceptor::new(material).with_handshake_timeout(Duration::from_secs(60 * 60));
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        say(&tcp.local_addr().unwrap().to_string());
        let router = Router::new().into_make_service_with_connect_info::<Connection>();
        let serving = axum::serve(Listener::new(tcp, acceptor), router);
        tokio::spawn(serving.into_future());
        let is_full = || descriptors_to_spare().now_or_never().is_none();
        while !is_full() {
            tokio::task::yield_now().await;
        }
        say("full");
        tokio::task::block_in_place(|| until("reloaded", || credentials.generation() == 2));
        assert_eq!(credentials.health().failure, None);
        // For the admin port and what else the program opens.
        let free: Vec<_> = (0..8).map_while(|_| File::open("/dev/null").ok()).collect();
        assert!(free.len() >= 4, "{}", free.len());
        drop(free);
        say("over");
        descriptors_to_spare().await;
    });
}

#[cfg(feature = "serve")]
#[test]
fn a_server_raises_the_limit_and_a_flood_of_silent_connections_keeps_nobody_out() {
    use std::convert::Infallible;
    use std::io::{Read, Write};
    use std::sync::Arc;

    let name = "a_server_raises_the_limit_and_a_flood_of_silent_connections_keeps_nobody_out";
    let mut flood: Vec<TcpStream> = Vec::new();
    let act = |_: &Path, address: &str| {
        flood.extend((0..300).map(|_| TcpStream::connect(address).unwrap()));
        let mut client = TcpStream::connect(address).unwrap();
        let patience = Some(Duration::from_secs(60));
        client.set_read_timeout(patience).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    };
    let Some(_) = child(name, act) else {
        return;
    };
    set_limit(64, Some(128));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let answered = Arc::new(tokio::sync::Notify::new());
        let answers = Arc::clone(&answered);
        let service = tower::service_fn(move |_| {
            answers.notify_one();
            async { Ok::<_, Infallible>(http::Response::new(String::new())) }
        });
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let server = portcullis::serve::Server::unguarded()
            .with_first_byte_timeout(Duration::from_secs(60 * 60))
            .with_drain_deadline(Duration::from_secs(60))
            .with_graceful_shutdown(async move { answered.notified().await });
        say(&address);
        server.serve(tcp, service).await.unwrap();
        assert_eq!(limit(), Some(128));
    });
}

/// A request that is in flight.
#[cfg(feature = "serve")]
struct Held(std::sync::Arc<std::sync::atomic::AtomicUsize>);

#[cfg(feature = "serve")]
impl Held {
    fn new(count: &std::sync::Arc<std::sync::atomic::AtomicUsize>) -> Self {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Self(count.clone())
    }
}

#[cfg(feature = "serve")]
impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
    }
}

/// A client's answer from another address of this host.
#[cfg(feature = "serve")]
fn answered_from(source: [u8; 4], address: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let mut client = socket.connect(address.parse().unwrap()).await.unwrap();
        let head = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(head).await.unwrap();
        let mut answer = [0; 12];
        let read = client.read_exact(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(60), read).await;
        read.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    })
}

#[cfg(feature = "serve")]
#[test]
fn a_source_with_requests_in_flight_on_all_its_connections_leaves_some_to_others_and_to_the_service()
 {
    use std::convert::Infallible;
    use std::io::Write;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    // Of 128 are 16 left to all else, and these.
    const LEFT: usize = 64;
    const OF_ONE_SOURCE: usize = (128 - 16 - LEFT) / 2;

    let name = "a_source_with_requests_in_flight_on_all_its_connections_leaves_some_to_others_and_to_the_service";
    let mut flood: Vec<TcpStream> = Vec::new();
    let act = |_: &Path, address: &str| {
        for _ in 0..300 {
            let mut client = TcpStream::connect(address).unwrap();
            // It may be refused already.
            let _ = client.write_all(b"GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
            flood.push(client);
        }
        assert_eq!(answered_from([127, 0, 0, 2], address), "HTTP/1.1 200");
    };
    let Some(_) = child(name, act) else {
        return;
    };
    set_limit(128, Some(128));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let (answered, held) = (
            Arc::new(tokio::sync::Notify::new()),
            Arc::new(AtomicUsize::new(0)),
        );
        let answers = Arc::clone(&answered);
        let service = tower::service_fn(move |request: http::Request<_>| {
            let (answers, holds) = (Arc::clone(&answers), Arc::clone(&held));
            let _: &http::Request<portcullis::Body<portcullis::serve::Incoming>> = &request;
            async move {
                if request.uri().path() == "/held" {
                    let _held = Held::new(&holds);
                    std::future::pending::<()>().await;
                }
                // A connection that had to make room may not have ended yet.
                while holds.load(Ordering::SeqCst) > OF_ONE_SOURCE {
                    tokio::task::yield_now().await;
                }
                answers.notify_one();
                Ok::<_, Infallible>(http::Response::new(String::new()))
            }
        });
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string();
        let server = portcullis::serve::Server::unguarded()
            .with_descriptors_left(LEFT)
            .with_drain_deadline(Duration::from_millis(100))
            .with_graceful_shutdown(async move { answered.notified().await });
        say(&address);
        // What is held is cut at the end.
        server.serve(tcp, service).await.unwrap_err();
    });
}

#[test]
fn the_limit_is_raised_to_the_hard_one() {
    let name = "the_limit_is_raised_to_the_hard_one";
    let Some(_) = child(name, |_, _| {}) else {
        return;
    };
    set_limit(64, Some(200));
    assert_eq!(raise_descriptor_limit().unwrap(), Some(200));
    assert_eq!(limit(), Some(200));
}
