//! `[limits.fleet]`: limits of the configuration file that replicas share, by a real Redis server.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::fs;

use portcullis::Guard;
use portcullis::config::{Config, ConfigError};
use tempfile::TempDir;

#[cfg(feature = "redis")]
use crate::rate_support;

const LIMIT: &str = "[[limits.limit]]\nname = \"monthly\"\nkey = \"source\"\nfleet = true\n\
    quota = { bytes = 10_000, window = \"month\", exhausted = \"cut\" }\n";

struct Folder(TempDir);

impl Folder {
    fn new(sections: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write(sections);
        folder
    }

    fn write(&self, sections: &str) {
        let head = "[reload]\npoll_interval = \"20ms\"\nsettle = \"5ms\"\n";
        self.put("gate.toml", &format!("{head}{sections}"));
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.0.path().join("gate.toml"))
    }

    fn guard(&self) -> Result<Guard, ConfigError> {
        Guard::from_config(&self.load()?)
    }
}

#[test]
fn what_is_wrong_in_it_is_told_with_its_place_and_no_password() {
    for (fleet, expected) in [
        (
            "url = \"redis://user:hunter2secret@host:6379\"\n",
            ":5:7: limits.fleet.url: a URL with a user or password stands in a variable (`env`) or a \
             file (`file`), not here",
        ),
        (
            "url = \"http://hunter2secret:6379\"\n",
            ":5:7: limits.fleet.url: the URL of a fleet's server is like \"redis://host:6379/0\"",
        ),
        (
            "env = \"A\"\nfile = \"b\"\n",
            ":4:1: limits.fleet: a fleet has exactly one of `env`, `file` and `url`",
        ),
        (
            "env = \"A\"\non_unreachable = \"hunter2secret\"\n",
            ":6:18: limits.fleet.on_unreachable: one of \"local\", \"open\", \"refuse\" is \
             expected, not \"…\"",
        ),
        (
            "env = \"A\"\nprefix = \"a b\"\n",
            ":6:10: limits.fleet.prefix: a fleet's prefix is 1 to 64 letters, digits, '-', '_', \
             '.', ':' or '/'",
        ),
        (
            "env = \"A\"\nperiod = \"1h\"\n",
            ":6:10: limits.fleet.period: a fleet's period is a time like \"100ms\", from 10 ms to \
             10 s",
        ),
        (
            "env = \"A\"\npassword = \"hunter2secret\"\n",
            ":6:1: limits.fleet.password: unknown field `password`, expected one of `url`, `env`, \
             `file`, `prefix`, `on_unreachable`, `period`",
        ),
    ] {
        let error = Folder::new(&format!("[limits.fleet]\n{fleet}"))
            .load()
            .unwrap_err();
        let error = format!("{error} {error:?}");
        assert!(error.contains(expected), "{error}\nshould have {expected}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let error = Folder::new(LIMIT).load().unwrap_err().to_string();
    let expected =
        "limits.limit[0].fleet: limit \"monthly\": `fleet = true` needs a section [limits.fleet]";
    assert!(error.contains(expected), "{error}");
}

#[cfg(not(feature = "redis"))]
#[test]
fn without_the_feature_the_error_names_it() {
    let folder = Folder::new(&format!("[limits.fleet]\nenv = \"A\"\n{LIMIT}"));
    let error = folder.guard().unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::NoFeature {
                feature: "redis",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("[limits.fleet] needs the feature `redis`")
    );
}

#[cfg(feature = "redis")]
mod shared {
    use std::convert::Infallible;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{Request, Response, StatusCode};
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt, Empty, Full};
    use portcullis::ClientAddr;
    use tower::{Layer, ServiceExt};

    use super::rate_support::redis::{Redis, free_port};
    use super::{Folder, Guard, LIMIT};

    const PASSWORD: &str = "hunter2secret";

    fn fleet(more: &str) -> String {
        format!("[limits.fleet]\nfile = \"fleet.url\"\nprefix = \"gates\"\n{more}{LIMIT}")
    }

    fn folder(port: u16, more: &str) -> Folder {
        let folder = Folder::new(&fleet(more));
        let url = format!("redis://:{PASSWORD}@127.0.0.1:{port}/0\n");
        folder.put("fleet.url", &url);
        folder
    }

    /// The status of an answer of so many bytes, and how many of them came.
    async fn get(guard: &Guard, bytes: usize) -> (StatusCode, u64) {
        let response = answer(guard, bytes).await;
        let (status, mut body, mut received) = (response.status(), response.into_body(), 0);
        while let Some(Ok(frame)) = body.frame().await {
            received += frame.into_data().unwrap_or_default().len() as u64;
        }
        (status, received)
    }

    async fn tells_limits(guard: &Guard) -> bool {
        answer(guard, 0).await.headers().contains_key("ratelimit")
    }

    type Received = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    async fn answer(guard: &Guard, bytes: usize) -> Response<Received> {
        let service = guard.layer(tower::service_fn(move |_: Request<_>| async move {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(vec![7; bytes]))))
        }));
        let mut request = Request::get("/v2/a/manifests/1")
            .header("host", "registry.example")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let client = ClientAddr::new("192.0.2.1:1".parse().unwrap());
        request.extensions_mut().insert(client);
        let response = service.oneshot(request).await.unwrap();
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    async fn until(what: &str, look: impl AsyncFn() -> bool) {
        for _ in 0..600 {
            if look().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not within 30 s: {what}");
    }

    async fn books(redis: &Redis) -> u64 {
        redis.books("gates:{monthly}:*").await.values().sum()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_gates_keep_one_quota_and_a_reload_keeps_their_books() {
        let redis = Redis::with(free_port(), &["--requirepass", PASSWORD]).with_password(PASSWORD);
        let folder = folder(redis.port, "");
        let gate = folder.guard().unwrap();
        let other = folder.guard().unwrap();
        assert_eq!(get(&gate, 4_000).await, (StatusCode::OK, 4_000));
        until("the first books", async || books(&redis).await == 4_000).await;

        let file = folder.load().unwrap();
        for told in [
            format!("{file:?}"),
            format!("{gate:?}"),
            gate.report().to_string(),
        ] {
            assert!(!told.contains("hunter2"), "{told}");
        }
        let told = "all replicas of the fleet \"gates\" share 1 limit; without its server each goes on \
                    with its last share";
        assert!(
            gate.report().enforced.iter().any(|line| line == told),
            "{}",
            gate.report()
        );

        // The same again, but for header fields, by which it is seen that both have read it.
        folder.write(&format!("[limits]\nheaders = true\n{}", fleet("")));
        for guard in [&gate, &other] {
            until("the new file", async || tells_limits(guard).await).await;
        }
        assert_eq!(get(&gate, 1_000).await, (StatusCode::OK, 1_000));
        until("the books after it", async || books(&redis).await == 5_000).await;
        let replicas = redis.replicas("gates:{monthly}:*").await;
        assert_eq!(replicas, 2, "one for each gate, however often it reads");
        let (_, received) = get(&other, 20_000).await;
        until("all", async || {
            let rest = get(&other, 20_000).await;
            rest.0 == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        assert!(received <= 5_000, "{received}");
        assert!(books(&redis).await <= 10_000);
        // What little the first still had.
        until("the end here too", async || {
            get(&gate, 100).await.0 == StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        assert!(books(&redis).await <= 10_000);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_gate_that_is_to_refuse_without_the_server_does() {
        let folder = folder(free_port(), "on_unreachable = \"refuse\"\n");
        let gate = folder.guard().unwrap();
        assert_eq!(get(&gate, 1).await.0, StatusCode::SERVICE_UNAVAILABLE);
        assert!(gate.report().to_string().contains("requests are refused"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_wrong_password_is_a_server_that_does_not_answer() {
        let redis = Redis::with(free_port(), &["--requirepass", "another"]);
        let folder = folder(redis.port, "on_unreachable = \"refuse\"\n");
        let gate = folder.guard().unwrap();
        assert_eq!(get(&gate, 1).await.0, StatusCode::SERVICE_UNAVAILABLE);
        // The right one comes with the file, without a restart.
        let url = format!("redis://:another@127.0.0.1:{}/0\n", redis.port);
        folder.put("fleet.url", &url);
        until("the new password", async || {
            get(&gate, 1).await.0 == StatusCode::OK
        })
        .await;
    }

    #[tokio::test]
    async fn a_url_that_is_nowhere_is_an_error_that_says_where_it_should_be() {
        let sections = format!("[limits.fleet]\nenv = \"NO_SUCH_FLEET\"\n{LIMIT}");
        let error = Folder::new(&sections).guard().unwrap_err().to_string();
        let expected = "limits.fleet.env: neither $NO_SUCH_FLEET nor $NO_SUCH_FLEET_FILE is set";
        assert!(error.contains(expected), "{error}");
        let error = Folder::new(&fleet("")).guard().unwrap_err().to_string();
        assert!(error.contains("fleet.url: No such file"), "{error}");
    }
}
