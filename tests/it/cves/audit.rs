//! What the logs and metrics of other registries gave away or choked on, and ours do not: a test for
//! each case, with its number in the name.
#![cfg(all(feature = "config", feature = "metrics"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, USER_AGENT};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::config::Config;
use portcullis::{ClientAddr, Guard};
use tower::{Layer, ServiceExt, service_fn};

use crate::captured;

const SECRET: &str = "s7Vq2XkR9mWzT4bLp8YdN3cHf6Jg";

fn config(folder: &std::path::Path, text: &str) -> Result<Config, portcullis::config::ConfigError> {
    let file = folder.join("gate.toml");
    fs::write(&file, text).unwrap();
    Config::load(file)
}

async fn ask(guard: &Guard, request: http::request::Builder) {
    let service = guard.layer(service_fn(|_| async {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
    }));
    let mut request = request.body(Full::<Bytes>::default()).unwrap();
    let client = ClientAddr::new("192.0.2.1:1".parse().unwrap());
    request.extensions_mut().insert(client);
    let response = service.oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn cve_2025_48374_zot_no_secret_is_told_by_log_report_or_error() {
    let folder = tempfile::tempdir().unwrap();
    let log = captured::Captured::from(tracing::Level::TRACE);
    let mut told = String::new();
    fs::write(folder.path().join("ci.token"), SECRET).unwrap();
    let entry = "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\n";
    let config = config(folder.path(), &format!("{entry}file = \"ci.token\"\n")).unwrap();
    let guard = Guard::from_config(&config).unwrap();
    guard.report().log();
    write!(told, "{config:?}{guard:?}{}", guard.report()).unwrap();
    for authorization in [
        format!("Bearer {SECRET}"),
        format!("Bearer x{SECRET}"),
        SECRET.to_owned(),
    ] {
        let request = Request::get("/v2/")
            .header("host", "registry.example")
            .header(AUTHORIZATION, authorization);
        let request = request.header("X-Registry-Token", SECRET);
        ask(&guard, request.header(COOKIE, SECRET)).await;
    }
    ask(
        &guard,
        Request::get(format!("/v2/?token={SECRET}")).header("host", "registry.example"),
    )
    .await;
    // A secret where something else belongs.
    for wrong in [
        format!("{entry}sha256 = [\"{SECRET}\"]\n"),
        format!("{entry}sha256 = \"{SECRET}\"\n"),
        format!("{entry}sha256 = [[\"{SECRET}\"]]\n"),
        format!("{entry}token = \"{SECRET}\"\n"),
        format!("{entry}file = \"ci.token\"\nweak = \"{SECRET}\"\n"),
        format!("{entry}file = \"ci.token\"\nidentity = \"{SECRET}\"\n"),
        format!("{entry}file = \"ci.token\"\nexpires = \"{SECRET}\"\n"),
        format!("[auth]\nrequire = \"{SECRET}\"\n"),
        format!("[auth]\nrequire = \"token\"\ntoken = \"{SECRET}\"\n"),
        format!("[auth]\nrequire = \"token\"\npasswords = \"{SECRET}\"\n"),
        format!("{entry}file = \"ci.token\" {SECRET}\n"),
    ] {
        let error = match self::config(folder.path(), &wrong) {
            Ok(config) => Guard::from_config(&config).unwrap_err(),
            Err(error) => error,
        };
        let error = format!("{error} {error:?}");
        assert!(!error.contains(SECRET), "{wrong}: {error}");
    }
    told += &log.text();
    assert!(told.contains("TRACE") || told.contains("INFO"), "{told}");
    let line = told.lines().find(|line| line.contains(SECRET));
    assert!(line.is_none(), "{line:?}");
}

#[test]
fn cve_2022_21698_promhttp_and_cve_2023_45142_otelhttp_no_client_makes_a_series() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let text = "[[policy.rules]]\nname = \"all\"\nwho = [\"anyone\"]\nactions = [\"pull\"]\n\
                        repositories = [\"a/**\"]\n";
            let guard = Guard::from_config(&config(folder.path(), text).unwrap()).unwrap();
            for turn in 0..2 {
                for number in 0..500 {
                    let number = number * turn;
                    for request in different(number) {
                        ask(&guard, request).await;
                    }
                }
                let series = series(&recorder.handle().render());
                // All that a first round of every kind has made is all that there will be.
                assert!(series < 150, "{series} series in round {turn}");
            }
        });
    });
    let scrape = recorder.handle().render();
    for sent in [
        "X499",
        "repository-499",
        "agent-499",
        "tag-499",
        "ns-499",
        "192.0.2.1",
    ] {
        assert!(!scrape.contains(sent), "{sent} is in\n{scrape}");
    }
}

/// Requests that differ from those of another number in everything that a client chooses.
fn different(number: u32) -> Vec<http::request::Builder> {
    let agent = HeaderValue::try_from(format!("agent-{number}")).unwrap();
    let method = format!("X{number}");
    [
        (
            "GET",
            format!("/v2/a/repository-{number}/manifests/tag-{number}"),
        ),
        (
            "GET",
            format!("/v2/b/repository-{number}/manifests/tag-{number}?ns=ns-{number}"),
        ),
        (
            "GET",
            format!("/v2/a/repository-{number}/tags/list?n={number}"),
        ),
        (&*method, format!("/v2/a/repository-{number}/tags/list")),
        (&*method, format!("/repository-{number}")),
        ("GET", format!("/v2/A{number}/manifests/x")),
    ]
    .into_iter()
    .map(|(method, uri)| {
        let request = Request::builder()
            .header("host", "registry.example")
            .method(method)
            .uri(uri);
        request
            .header(USER_AGENT, agent.clone())
            .header("X-Request-Id", format!("id-{number}"))
    })
    .collect()
}

fn series(scrape: &str) -> usize {
    let lines = scrape.lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count()
}
