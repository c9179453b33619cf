//! A body that is shaped and not throttled, against the same without a limit, in instructions.

use std::convert::Infallible;
use std::env;
use std::process::Command;

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use portcullis::rate::{ByteRateLayer, Key, Limit, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Layer;

use crate::figures::Figures;
use crate::zeros::Zeros;

/// What is between hyper and the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nothing.
    Bare,
    /// One limit that is never reached.
    Shaped,
}

/// How much is counted under valgrind, in MiB; each costs the same, so the rest is arithmetic.
const COUNTED: u64 = 128;

/// Adds a row with both kinds' instructions, the cost of a start and of a first MiB subtracted.
pub(crate) fn measure(figures: &mut Figures) {
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("no valgrind: no instructions are counted");
        return;
    }
    let gibibyte = (1024 / COUNTED) as f64;
    let count = |kind| {
        let counted = instructions(kind, COUNTED + 1) - instructions(kind, 1);
        counted as f64 * gibibyte
    };
    let (shaped, bare) = (count("shaped"), count("bare"));
    figures
        .row(
            "1 GiB body through hyper, 64 KiB frames, not throttled",
            "instructions",
            shaped,
        )
        .peer("bare", bare)
        .ratio_at_most(1.01);
}

fn instructions(kind: &str, mebibytes: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("the path of this program"))
        .args(["--body", kind, "--mebibytes", &mebibytes.to_string()])
        .output()
        .expect("valgrind");
    let report = String::from_utf8_lossy(&output.stderr);
    let count = report
        .lines()
        .find_map(|line| line.split("Collected :").nth(1))
        .and_then(|count| count.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no count in callgrind's report:\n{report}"))
}

/// Passes one body through hyper over a pipe in memory.
pub(crate) fn pass(kind: Kind, mebibytes: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let received = runtime.block_on(async move {
        let (client, server) = tokio::io::duplex(256 * 1024);
        let length = mebibytes << 20;
        let service = tower::service_fn(move |_: Request<_>| async move {
            Ok::<_, Infallible>(Response::new(Zeros(length)))
        });
        let io = TokioIo::new(server);
        let builder = hyper::server::conn::http1::Builder::new();
        match kind {
            Kind::Bare => {
                let service =
                    tower::service_fn(move |_: Request<hyper::body::Incoming>| async move {
                        Ok::<_, Infallible>(Response::new(Zeros(length)))
                    });
                let service = TowerToHyperService::new(service);
                tokio::spawn(async move { builder.serve_connection(io, service).await });
            }
            Kind::Shaped => {
                let rate = Limit::rate("total", Key::Total, 1_000_000_000_000);
                let limits = Limits::new([rate.with_burst(1 << 62)]).expect("limits");
                let service = TowerToHyperService::new(ByteRateLayer::new(limits).layer(service));
                tokio::spawn(async move { builder.serve_connection(io, service).await });
            }
        }
        read(client).await
    });
    assert!(received > mebibytes << 20, "the body came whole");
}

async fn read(mut client: tokio::io::DuplexStream) -> u64 {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.expect("a request");
    let mut buffer = vec![0; 256 * 1024];
    let mut received = 0;
    loop {
        match client.read(&mut buffer).await.expect("an answer") {
            0 => return received,
            bytes => received += bytes as u64,
        }
    }
}
