//! A limit shared through a server whose URL holds a password.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis::rate::{Fleet, Key, Limit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::captured::Sink;

pub(crate) const USER: &str = "fleet-user";
pub(crate) const PASSWORD: &str = "fleet-password-Wd58kPj3";

/// Answers each command as a server does that does not know it: with all that it was told. Tells by the
/// flag that it was told the password.
pub(crate) async fn server() -> (SocketAddr, Arc<AtomicBool>) {
    let shown = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&shown);
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut told = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut told).await {
                    let told = String::from_utf8_lossy(&told[..read]);
                    seen.fetch_or(told.contains(PASSWORD), Ordering::SeqCst);
                    // Each command is an array, and the password has no star.
                    for command in told.split('*').skip(1) {
                        let command: Vec<_> = command.split_whitespace().collect();
                        let answer = format!("-ERR unknown command {}\r\n", command.join(" "));
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, shown)
}

pub(crate) fn limit(server: SocketAddr) -> (Limit, Fleet) {
    let url = format!("redis://{USER}:{PASSWORD}@{server}/0");
    let fleet = Fleet::new(&url).unwrap();
    let limit = Limit::rate("shared", Key::Total, 1 << 30).with_fleet(&fleet);
    (limit, fleet)
}

/// What is said of URLs with this password that are wrong.
pub(crate) fn refused() -> String {
    let wrong = ["rediss://", "http://", "redis:/"];
    let said = wrong.map(|scheme| {
        let error = Fleet::new(&format!("{scheme}{USER}:{PASSWORD}@host:port/x")).unwrap_err();
        format!("{error} {error:?}\n")
    });
    said.concat()
}

/// Waits until it is logged that the server, which was shown the password, cannot be used.
pub(crate) async fn has_failed(sink: &Sink, shown: &AtomicBool) {
    let told = async {
        while !sink.text().contains("the fleet's server cannot be reached") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let told = timeout(Duration::from_secs(60), told).await;
    told.expect("nothing was told of the fleet's server");
    assert!(shown.load(Ordering::SeqCst));
}
