//! The admin service: probes and scrapes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::num::ParseIntError;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use portcullis::Watched;
use portcullis::admin::{Admin, Readiness};
use portcullis::reload::{Load, WatchOptions};
use tower::ServiceExt;

fn ask(admin: &Admin, method: &str, path: &str) -> (Response<()>, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(())
        .unwrap();
    let answer = admin.clone().oneshot(request).now_or_never().unwrap();
    let (parts, body) = answer.unwrap().into_parts();
    let body = body.collect().now_or_never().unwrap().unwrap().to_bytes();
    let text = String::from_utf8(body.into()).unwrap();
    (Response::from_parts(parts, ()), text)
}

#[test]
fn a_process_that_answers_is_alive() {
    let (response, body) = ask(&Admin::new(), "GET", "/livez");
    assert_eq!((response.status().as_u16(), body.as_str()), (200, "ok\n"));
}

#[test]
fn a_part_that_cannot_work_makes_the_whole_not_ready_and_is_named() {
    let admin = Admin::new()
        .with_check("store", || {
            Readiness::NotReady("full\n[+] forged: ok".into())
        })
        .with_check("tokens", || Readiness::Ready);
    let (response, body) = ask(&admin, "GET", "/readyz");
    assert_eq!(response.status(), 503);
    assert_eq!(
        body,
        "[-] store: full\\u{a}[+] forged: ok\n[+] tokens: ok\nnot ready\n"
    );
    assert_eq!(ask(&admin, "GET", "/livez").0.status(), 200);
}

#[test]
fn a_part_that_is_degraded_is_named_and_the_whole_stays_ready() {
    let admin = Admin::new().with_check("crl", || Readiness::Degraded("old".into()));
    let (response, body) = ask(&admin, "GET", "/readyz");
    assert_eq!(response.status(), 200);
    assert_eq!(body, "[~] crl: old\nready\n");
}

#[test]
fn metrics_are_there_only_if_a_recorder_is() {
    assert_eq!(ask(&Admin::new(), "GET", "/metrics").0.status(), 404);
    let admin = Admin::new().with_metrics(|| "up 1\n".into());
    let (response, body) = ask(&admin, "GET", "/metrics");
    assert_eq!(body, "up 1\n");
    assert_eq!(
        response.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
}

#[test]
fn nothing_can_be_changed_through_it() {
    for method in ["POST", "PUT", "DELETE", "CONNECT"] {
        let (response, _) = ask(&Admin::new(), method, "/livez");
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
    assert_eq!(ask(&Admin::new(), "GET", "/v2/").0.status(), 404);
}

struct Number(PathBuf);

impl Load for Number {
    type Value = u32;
    type Error = ParseIntError;

    fn name(&self) -> &'static str {
        "number"
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.0.clone()]
    }

    fn load(&mut self, _: Option<&u32>) -> Result<u32, ParseIntError> {
        std::fs::read_to_string(&self.0).unwrap_or_default().parse()
    }
}

#[test]
fn a_failed_reload_is_told_until_the_next_good_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("number");
    std::fs::write(&file, "1").unwrap();
    let options = WatchOptions::default().with_poll_interval(Duration::from_millis(20));
    let watched = Watched::watch(Number(file.clone()), options).unwrap();
    let admin = Admin::new().watching("number", &watched);
    assert_eq!(ask(&admin, "GET", "/readyz").1, "[+] number: ok\nready\n");

    let becomes = |expected: &str| {
        let begin = Instant::now();
        while ask(&admin, "GET", "/readyz").1 != expected {
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "not within a minute"
            );
            sleep(Duration::from_millis(10));
        }
    };
    std::fs::write(&file, "one").unwrap();
    becomes("[~] number: the last reload failed: invalid digit found in string\nready\n");
    std::fs::write(&file, "2").unwrap();
    becomes("[+] number: ok\nready\n");
    assert_eq!(*watched.load(), 2);
}
