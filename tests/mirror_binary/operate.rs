//! What an operator sees.

use std::collections::BTreeSet;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{Mirror, Shown, ask, run, sha256};

#[tokio::test]
async fn each_request_is_one_line_of_json_on_standard_error() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let path = mirror.push_blob("lib/a", b"content").await;
    let get = mirror
        .by_certificate()
        .get(mirror.url(&path))
        .send()
        .await
        .unwrap();
    assert_eq!(get.text().await.unwrap(), "content");
    let event = mirror.logged(&path).await;
    let fields = &event["fields"];
    assert_eq!(fields["http.response.status_code"], 200);
    assert_eq!(fields["http.response.body.size"], 7);
    assert_eq!(fields["client.address"], "127.0.0.1");
    assert_eq!(fields["principal"], "cert:spiffe://demo.example/client");
    assert_eq!(fields["outcome"], "finished");
    let client = mirror.client(Shown::default());
    let refused = client
        .get(mirror.url("/v2/secret/tags/list"))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let event = mirror.logged("/v2/secret/tags/list").await;
    assert_eq!(event["fields"]["refusal.reason"], "credentials_missing");
    let token = mirror.token();
    for event in mirror.events() {
        assert!(!event.to_string().contains(&token));
    }
}

/// Freed a moment before it is taken again; no other test binds ports of this number meanwhile.
pub(crate) async fn free_address() -> SocketAddr {
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    probe.local_addr().unwrap()
}

#[tokio::test]
async fn probes_and_metrics_have_an_address_of_their_own() {
    let data = TempDir::new().unwrap();
    let admin = free_address().await;
    let mirror = Mirror::with(&data, &["--admin", &admin.to_string()]).await;
    let path = mirror.push_blob("a", b"content").await;
    let ask = |path: &'static str| ask(admin, path);
    assert!(ask("/livez").await.starts_with("HTTP/1.1 200"));
    assert!(ask("/readyz").await.starts_with("HTTP/1.1 200"));
    mirror.logged("/v2/a/blobs/uploads/").await;
    let metrics = ask("/metrics").await;
    assert!(metrics.contains("portcullis_"), "{metrics}");
    // Neither serves what is the other's.
    assert!(!ask("/v2/").await.starts_with("HTTP/1.1 200"));
    let client = mirror.by_token();
    let response = client.get(mirror.url("/metrics")).send().await.unwrap();
    assert_ne!(response.status(), 200);
    assert_eq!(
        client
            .head(mirror.url(&path))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn what_is_scraped_over_http_is_what_prometheus_takes() {
    let data = TempDir::new().unwrap();
    let admin = free_address().await;
    let mirror = Mirror::with(&data, &["--admin", &admin.to_string()]).await;
    let path = mirror.push_blob("a", b"content").await;
    let taken = mirror.by_certificate().get(mirror.url(&path)).send().await;
    assert_eq!(taken.unwrap().text().await.unwrap(), "content");
    let stranger = mirror.client(Shown::default());
    let refused = stranger.get(mirror.url(&path)).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    mirror.logged(&path).await;

    let scrape = stranger.get(format!("http://{admin}/metrics")).send();
    let scrape = scrape.await.unwrap();
    assert_eq!(
        scrape.headers()["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let scrape = scrape.text().await.unwrap();
    for name in [
        "portcullis_requests_total{",
        "portcullis_refusals_total{reason=\"credentials_missing\"}",
        "portcullis_handshakes_total{",
        "portcullis_snapshot_generation{",
        "portcullis_certificate_not_after_timestamp_seconds{",
    ] {
        assert!(scrape.contains(name), "no {name} in\n{scrape}");
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(scrape.as_bytes()).unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::from(file))
        .output()
        .expect("promtool is needed: install the package `prometheus`");
    let said = String::from_utf8_lossy(&promtool.stderr);
    assert!(promtool.status.success(), "{said}\n{scrape}");
}

#[tokio::test]
async fn the_metrics_of_the_mirror_are_those_that_are_documented() {
    let data = TempDir::new().unwrap();
    let admin = free_address().await.to_string();
    // Nothing answers there.
    let arguments = ["--admin", &admin, "--upstream", "http://127.0.0.1:1"];
    let mirror = Mirror::with(&data, &arguments).await;
    let path = format!("/v2/a/blobs/{}", sha256(b"content"));
    let get = mirror.by_token().get(mirror.url(&path)).send().await;
    assert_eq!(get.unwrap().status(), 502);
    mirror.push_blob("own", b"content").await;
    let scrape = mirror.by_token().get(format!("http://{admin}/metrics"));
    let scrape = scrape.send().await.unwrap().text().await.unwrap();
    let (_, section) = include_str!("../../docs/metrics.md")
        .split_once("## The mirror example")
        .unwrap();
    let (table, outcomes) = section.split_once("The outcomes are").unwrap();
    let quoted = |text: &str| {
        let parts = text.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (outcomes, _) = outcomes.split_once('.').unwrap();
    let mut documented = BTreeSet::new();
    let mut help = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let name = cells[0].trim().trim_matches('`');
        documented.insert(format!("{name} {}", cells[1]));
        help.insert(format!("{name} {}", cells[3].trim()));
    }
    let told = |kind: &str| {
        let lines = scrape.lines().filter_map(|line| line.strip_prefix(kind));
        let lines = lines.filter(|line| line.starts_with("mirror_"));
        lines.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(told("# TYPE "), documented);
    assert_eq!(told("# HELP "), help);
    let counted = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("mirror_upstream_requests_total{outcome=\""));
    let counted = counted.map(|line| line.split('"').next().unwrap().to_owned());
    assert_eq!(counted.collect::<BTreeSet<_>>(), quoted(outcomes));
    let value = |series: &str| {
        let series = format!("{series} ");
        let value = scrape.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap().parse::<f64>().unwrap()
    };
    assert!(value("mirror_upstream_requests_total{outcome=\"unreachable\"}") > 0.0);
    assert!(value("mirror_upstream_usable") < 1.0);
    assert!(value("mirror_store_bytes") > 0.0);
    assert!(value("mirror_store_full") < 1.0);
    // An operator who reads the log sees what is kept where.
    let events = mirror.events();
    let said = |event: &Value| {
        let message = event["fields"]["message"].as_str().unwrap_or_default();
        message.starts_with("images are kept in") && message.contains("--max-size")
    };
    assert!(events.iter().any(said));
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let data = TempDir::new().unwrap();
    let mirror = Mirror::start(&data).await;
    let output = run(mirror.data(), &["--listen", "127.0.0.1:0"]).await;
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("in use by another process"), "{said}");
}

#[tokio::test]
async fn an_upstream_that_is_none_is_refused_at_the_start() {
    let data = TempDir::new().unwrap();
    for url in ["ftp://x", "no url", "https://user:secret@x", "https://x/?q"] {
        let output = run(data.path(), &["--listen", "127.0.0.1:0", "--upstream", url]).await;
        assert!(!output.status.success(), "{url}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn one_mirror_pulls_through_another_over_tls() {
    let (there, here) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let upstream = Mirror::start(&there).await;
    upstream.push_blob("a", b"content").await;
    let ca = upstream.demo("ca.crt");
    let url = upstream.url("");
    let arguments = ["--upstream", &url, "--upstream-ca", ca.to_str().unwrap()];
    let mirror = Mirror::with(&here, &arguments).await;
    // The upstream wants credentials that this mirror does not have: whether it has the blob is not known.
    let path = format!("/v2/a/blobs/{}", sha256(b"content"));
    let response = mirror
        .by_token()
        .get(mirror.url(&path))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 502);
    let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_ne!(body["errors"][0]["code"], "BLOB_UNKNOWN");
    let asked = upstream.logged(&path).await;
    assert_eq!(asked["fields"]["refusal.reason"], "credentials_missing");
}

#[tokio::test]
async fn a_caller_that_may_make_tags_may_not_change_them() {
    let data = TempDir::new().unwrap();
    let mut mirror = Mirror::start(&data).await;
    mirror.signal("-TERM");
    mirror.ended().await;
    let config = mirror.demo("mirror.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let actions = r#"["pull", "push", "delete", "list", "catalog"]"#;
    assert!(text.contains(actions));
    std::fs::write(&config, text.replace(actions, r#"["pull", "create"]"#)).unwrap();
    let mirror = Mirror::start(&data).await;
    let client = mirror.by_token();
    let put = |tag: &'static str, number: u32| {
        let kind = "application/vnd.oci.image.index.v1+json";
        let body = format!(
            r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"number":"{number}"}}}}"#
        );
        let request = client.put(mirror.url(&format!("/v2/a/manifests/{tag}")));
        let request = request.header("content-type", kind).body(body);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(put("v1", 1).await, 201);
    assert_eq!(put("v1", 2).await, 403);
    assert_eq!(put("v2", 2).await, 201);
}
