//! The whole stack, from a configuration file.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::config::Config;
use portcullis::{ClientAddr, Guard};
use tempfile::TempDir;
use tower::{Layer, ServiceExt, service_fn};

fn guard(folder: &Path, text: &str) -> Guard {
    let file = folder.join("gate.toml");
    let head = "[reload]\npoll_interval = \"100ms\"\nsettle = \"5ms\"\n";
    fs::write(&file, format!("{head}{text}")).unwrap();
    Guard::from_config(&Config::load(&file).unwrap()).unwrap()
}

async fn status_from(guard: &Guard, client: &str) -> StatusCode {
    let service = guard.layer(service_fn(|_request| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
    }));
    let mut request = Request::get("/v2/").body(Full::<Bytes>::default()).unwrap();
    let client = ClientAddr::new(client.parse().unwrap());
    request.extensions_mut().insert(client);
    service.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn networks_follow_the_file_and_a_broken_file_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let guard = guard(folder.path(), "[source]\nallow = [\"10.0.0.0/8\"]\n");
    assert_eq!(status_from(&guard, "10.1.1.1:1").await, 200);
    assert_eq!(status_from(&guard, "192.0.2.1:1").await, 403);

    let file = folder.path().join("gate.toml");
    fs::write(&file, "[source]\nallow = [\"192.0.2.0/2").unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(status_from(&guard, "10.1.1.1:1").await, 200);

    fs::write(&file, "[source]\nallow = [\"192.0.2.0/24\"]\n").unwrap();
    for _ in 0..300 {
        if status_from(&guard, "192.0.2.1:1").await == 200 {
            assert_eq!(status_from(&guard, "10.1.1.1:1").await, 403);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new networks never took hold");
}

#[test]
fn a_wrong_file_is_told_by_line_key_and_what_would_be_right() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gate.toml");
    for (text, place, says) in [
        (
            "preset = \"miror\"\n",
            ":1:10: preset: ",
            "expected `mirror` or `registry`",
        ),
        (
            "[limit]\n",
            ":1:2: limit: ",
            "unknown field `limit`, expected one of",
        ),
        (
            "[source]\nallow = [\"10.0.0.0/8\", \"10.0.0/8\"]\n",
            ":2:24: source.allow[1]: ",
            "invalid IP address syntax",
        ),
        (
            "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\nrate = \"fast\"\n",
            ":4:8: limits.limit[0].rate: ",
            "a number of bytes like",
        ),
        (
            "[[limits.limit]]\nname = \"all\"\nkey = \"total\"\n",
            ":1:3: limits: ",
            "give it a rate, a number of streams or a quota",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let error = Config::load(&file).unwrap_err().to_string();
        assert!(
            error.contains(place) && error.contains(says),
            "{text}: {error}"
        );
    }
}
