//! Instructions a request of a server, counted by valgrind's callgrind, beside those of `tests/instructions/baseline.json`.
//!
//! They are those of a debug build, many times as many as of an optimised one, but they need no build of their own
//! and grow with the same code. Another toolchain makes others, so the baseline counts for the toolchain alone that it
//! names. This writes it anew:
//!
//! ```text
//! PORTCULLIS_WRITE_BASELINE=1 cargo nextest run --all-features --test instructions
//! ```
#![cfg(all(
    feature = "auth",
    feature = "json-log",
    feature = "policy",
    feature = "rate",
    feature = "serve"
))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use portcullis::Guard;
use portcullis::access_log::{AccessLogLayer, JsonLines};
use portcullis::auth::{Authentication, CredentialSource, Credentials};
use portcullis::policy::{Actions, Pattern, Policy, Rule, Who};
use portcullis::rate::{Key, Limit, Limits};
use portcullis::reload::WatchOptions;
use portcullis::serve::Server;
use portcullis::source::Networks;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower::service_fn;

const BASELINE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/instructions/baseline.json"
);

/// How much more there may be, in percent.
const MORE: u64 = 3;

const FEW: usize = 50;
const MANY: usize = 350;

const LENGTH: usize = 1024;

const CASES: [&str; 4] = [
    "serve alone",
    "Guard of nothing",
    "Guard",
    "Guard, lines of JSON",
];

/// The variable that names the case to the server.
const CASE: &str = "PORTCULLIS_CASE";

#[derive(Debug, Deserialize, Serialize)]
struct Baseline {
    /// What `rustc -vV` says, and the processor: libraries choose their code by it.
    toolchain: String,
    /// Instructions a request.
    cases: BTreeMap<String, u64>,
}

#[test]
fn a_request_takes_no_more_instructions_than_it_did() {
    let toolchain = toolchain();
    let writes = env::var_os("PORTCULLIS_WRITE_BASELINE").is_some();
    let known = std::fs::read_to_string(BASELINE).unwrap_or_default();
    let known = serde_json::from_str::<Baseline>(&known).ok();
    if !writes {
        let known = known.as_ref().expect("a baseline");
        if known.toolchain != toolchain {
            eprintln!(
                "skipped: the baseline is of another toolchain or processor\n{}\nthan this\n{toolchain}",
                known.toolchain
            );
            return;
        }
    }
    if !cfg!(debug_assertions) {
        eprintln!("skipped: the baseline is of a debug build");
        return;
    }
    let cases = CASES.map(|case| (case.to_owned(), counted(case)));
    let found = Baseline {
        toolchain,
        cases: cases.into(),
    };
    if writes {
        let text = serde_json::to_string_pretty(&found).unwrap();
        return std::fs::write(BASELINE, text + "\n").unwrap();
    }
    let known = known.unwrap();
    println!("{:?}, by the baseline {:?}", found.cases, known.cases);
    for (case, now) in &found.cases {
        let before = known.cases.get(case);
        let before = *before.unwrap_or_else(|| panic!("no baseline of {case}"));
        let (least, most) = (before - before * MORE / 100, before + before * MORE / 100);
        let mut now = *now;
        if now > most {
            // On a busy machine the server's task is woken more often for the same requests.
            now = now.min(counted(case)).min(counted(case));
        }
        assert!(
            now <= most,
            "{case}: {now} instructions a request, {before} by the baseline"
        );
        if now < least {
            eprintln!("{case}: fewer than by the baseline, which should be written anew");
        }
    }
}

fn toolchain() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().unwrap();
    let rustc = String::from_utf8(output.stdout).unwrap();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let mut lines = processors.lines();
    let processor = lines.find(|line| line.starts_with("model name"));
    format!("{}\n{}", rustc.trim(), processor.unwrap_or_default())
}

fn counted(case: &str) -> u64 {
    let (few, many) = (total(case, FEW), total(case, MANY));
    (many - few) / (MANY - FEW) as u64
}

/// The instructions of a server from its start to its end.
fn total(case: &str, requests: usize) -> u64 {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "server", "--ignored", "--nocapture"])
        .env(CASE, case)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut server = command
        .spawn()
        .expect("valgrind counts the instructions: install the package `valgrind`");
    let output = BufReader::new(server.stdout.take().unwrap());
    let port = output.lines().find_map(|line| {
        let line = line.unwrap();
        line.split_once("port ")?.1.parse().ok()
    });
    ask(port.expect("the port of the server"), requests);
    drop(server.stdin.take());
    let output = server.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    let collected = report.lines().find_map(|line| {
        let count = line.split_once("Collected :")?.1;
        count.trim().parse().ok()
    });
    collected.unwrap_or_else(|| panic!("no count in callgrind's report:\n{report}"))
}

fn ask(port: u16, requests: usize) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_nodelay(true).unwrap();
    // `ci` and `correct horse battery staple`.
    let request = "GET /v2/library/alpine/manifests/3.22?ns=docker.io HTTP/1.1\r\nHost: localhost:5000\r\n\
                   User-Agent: containerd/2.1.0\r\nAccept: application/vnd.oci.image.index.v1+json\r\n\
                   Authorization: Basic Y2k6Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==\r\n\r\n";
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        let head = loop {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..read]);
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end.map(|end| end + 4)
                && answer.len() >= end + LENGTH
            {
                break &answer[..end];
            }
        };
        assert!(head.starts_with(b"HTTP/1.1 200"));
    }
}

#[test]
#[ignore = "the server that the other test counts"]
fn server() {
    let Ok(case) = env::var(CASE) else {
        return;
    };
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("\nport {}", listener.local_addr().unwrap().port());
        let server = match case.as_str() {
            "serve alone" => Server::unguarded(),
            "Guard of nothing" => Server::new(Guard::builder().build()),
            "Guard" => Server::new(guard(AccessLogLayer::new())),
            // The thread that writes takes few instructions beside what is counted.
            _ => {
                let lines = JsonLines::new(io::sink()).unwrap();
                Server::new(guard(AccessLogLayer::new().with_sink(lines)))
            }
        };
        let answer = service_fn(async |_| {
            static MANIFEST: [u8; LENGTH] = [b' '; LENGTH];
            let body = Full::new(Bytes::from_static(&MANIFEST));
            Ok::<_, Infallible>(Response::new(body))
        });
        server.serve(listener, answer).await.unwrap();
    });
}

fn guard(access_log: AccessLogLayer) -> Guard {
    const FAST: u64 = 100_000_000_000;
    // SHA-256 of the password.
    let digest = "c4bbcb1fbec99d65bf59d85c8cb62ee2db963f0fe106f483d9afa73bd4e39a8a";
    let tokens = [CredentialSource::sha256("ci", [digest]).unwrap()];
    let tokens = Credentials::watch(tokens, WatchOptions::default()).unwrap();
    let library = Rule::allow("library", Who::Authenticated, Actions::PULL)
        .on_repositories([Pattern::repository("library/**").unwrap()]);
    let limits = [
        Limit::rate("total", Key::Total, FAST),
        Limit::rate("caller", Key::Principal, FAST),
    ];
    Guard::builder()
        .access_log(access_log)
        .networks(Networks::allow(["127.0.0.0/8".parse().unwrap()]))
        .authentication(Authentication::token(tokens))
        .policy(Policy::new([library]).unwrap())
        .limits(Limits::new(limits).unwrap())
        .build()
}
