//! The metrics: what is documented is what is emitted, and the rules over them are sound.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![cfg(feature = "metrics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use metrics_exporter_prometheus::PrometheusBuilder;
use portcullis::ClientAddr;
use portcullis::access_log::AccessLogLayer;
use portcullis::admin::Admin;
use portcullis::record::Record;
use portcullis::source::{Networks, SourceLayer};
use portcullis::telemetry::{METRICS, describe_metrics};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt};

const DOCS: &str = include_str!("../../docs/metrics.md");

#[test]
fn the_documented_table_is_the_catalogue() {
    let mut table = String::new();
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        let (name, kind) = (metric.name, metric.kind);
        let (labels, help) = (labels.join(", "), metric.help);
        writeln!(table, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
    }
    let documented = DOCS.split_once("| --- | --- | --- | --- |\n").unwrap().1;
    // What follows is of the example `mirror`.
    let documented = documented.split("\n## ").next().unwrap();
    assert_eq!(
        documented.trim_end(),
        table.trim_end(),
        "docs/metrics.md is not current; it should have:\n{table}"
    );
}

/// What a scrape has, by family: its type and the label names that were seen.
fn families(scrape: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    for line in scrape.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            families.insert(name.into(), (kind.into(), BTreeSet::new()));
        } else if !line.starts_with('#') && !line.is_empty() {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = families
                .keys()
                .find(|family| {
                    let suffix = name.strip_prefix(family.as_str());
                    matches!(suffix, Some("" | "_sum" | "_count" | "_bucket"))
                })
                .unwrap_or_else(|| panic!("{name} has no type"))
                .clone();
            let labels = line
                .split_once('{')
                .map_or("", |(_, rest)| rest.split_once('}').unwrap().0);
            let names = labels.split(',').filter_map(|label| label.split_once('='));
            let seen = &mut families.get_mut(&family).unwrap().1;
            seen.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
    families
}

#[test]
fn what_a_run_emits_is_what_is_documented() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_metrics();
        traffic();
    });
    let families = families(&recorder.handle().render());
    assert!(families.contains_key("portcullis_requests_total"));
    for (name, (kind, labels)) in families {
        let metric = METRICS.iter().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is not in the catalogue"));
        let expected = match metric.kind {
            "histogram" => "summary",
            kind => kind,
        };
        assert_eq!(kind, expected, "{name}");
        for label in labels.iter().filter(|label| *label != "quantile") {
            assert!(
                metric.labels.contains(&label.as_str()),
                "{name} has a label {label}"
            );
        }
    }
}

fn traffic() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let networks = Networks::allow(["10.0.0.0/8".parse().unwrap()]);
        let service = ServiceBuilder::new()
            .layer(AccessLogLayer::new())
            .layer(SourceLayer::new(networks))
            .service_fn(echo);
        for client in ["10.0.0.1:1", "192.0.2.1:1"] {
            for (method, path) in [
                ("GET", "/v2/"),
                ("PUT", "/v2/a/manifests/1"),
                ("BREW", "/pot"),
            ] {
                let response = service.clone().oneshot(request(method, path, client)).await;
                response.unwrap().into_body().collect().await.unwrap();
            }
        }
        let left = service
            .clone()
            .oneshot(request("GET", "/v2/", "10.0.0.1:1"));
        drop(left.await.unwrap().into_body());
    });
}

async fn echo(
    request: Request<portcullis::Body<Full<Bytes>>>,
) -> Result<Response<Full<Bytes>>, portcullis::BodyError> {
    let record = Record::of(request.extensions()).unwrap().clone();
    record.throttled(Duration::from_secs(2));
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

fn request(method: &str, path: &str, client: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder()
        .header("host", "registry.example")
        .method(method)
        .uri(path)
        .body(Full::new(Bytes::from("12345")))
        .unwrap();
    let client = ClientAddr::new(client.parse().unwrap());
    request.extensions_mut().insert(client);
    request
}

#[test]
fn what_is_counted_is_what_happened() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, traffic);
    let scrape = recorder.handle().render();
    for line in [
        "portcullis_requests_total{endpoint=\"manifest\",method=\"PUT\",status=\"200\"} 1",
        "portcullis_requests_total{endpoint=\"manifest\",method=\"PUT\",status=\"403\"} 1",
        "portcullis_requests_total{endpoint=\"outside\",method=\"_OTHER\",status=\"200\"} 1",
        "portcullis_requests_unfinished_total{outcome=\"client_gone\"} 1",
        "portcullis_requests_in_flight 0",
        // Four requests of five bytes reached the service, and three that were refused were read all the same; one
        // answer was not taken.
        "portcullis_body_bytes_total{direction=\"in\"} 35",
        "portcullis_throttled_seconds_sum 8",
        "portcullis_throttled_seconds_count 4",
        "portcullis_refusals_total{reason=\"source_denied\"} 3",
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }
}

#[test]
fn no_label_is_what_a_client_sent() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, traffic);
    let scrape = recorder.handle().render();
    for sent in ["BREW", "pot", "192.0.2.1", "10.0.0.1"] {
        assert!(!scrape.contains(sent), "{sent} is in\n{scrape}");
    }
}

/// Runs promtool, which the Debian package `prometheus` brings.
fn promtool(arguments: &[&str], input: Option<&str>) {
    let input_file = input.map(|input| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(input.as_bytes()).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file
    });
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"))
        .stdin(input_file.map_or_else(Stdio::null, Stdio::from))
        .output()
        .expect("promtool is needed: install the package `prometheus`");
    assert!(
        output.status.success(),
        "promtool {arguments:?} failed:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn promtool_accepts_a_scrape() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_metrics();
        traffic();
    });
    let handle = recorder.handle();
    let admin = Admin::new().with_metrics(move || handle.render());
    let scrape = Request::get("/metrics").body(()).unwrap();
    let response = admin.oneshot(scrape).now_or_never().unwrap().unwrap();
    let body = response
        .into_body()
        .collect()
        .now_or_never()
        .unwrap()
        .unwrap();
    let body = String::from_utf8(body.to_bytes().into()).unwrap();
    assert!(body.contains("portcullis_requests_total{"));
    promtool(&["check", "metrics"], Some(&body));
}

#[test]
fn the_alert_rules_are_sound_and_fire_when_they_should() {
    promtool(&["check", "rules", "alerts.yml"], None);
    promtool(&["test", "rules", "alerts.test.yml"], None);
    let rules = include_str!("../../docs/alerts.yml");
    assert_known(rules);
    let tests = include_str!("../../docs/alerts.test.yml");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 8);
    let names: BTreeSet<_> = alerts.iter().collect();
    assert_eq!(names.len(), alerts.len(), "two alerts have one name");
    for alert in alerts {
        // Each must be seen to fire, and not to fire.
        let cases = tests.split("alertname: ").filter(|case| {
            let name = case.lines().next();
            name.is_some_and(|name| name == alert)
        });
        let (quiet, firing): (Vec<_>, Vec<_>) =
            cases.partition(|case| case.lines().nth(1).is_some_and(|line| line.ends_with("[]")));
        assert!(!firing.is_empty(), "{alert} is never seen to fire");
        // Of these another instance in the same case stays quiet.
        let silent_series = ["PortcullisHandshakesFailing", "PortcullisTransfersBreak"];
        assert!(
            !quiet.is_empty() || silent_series.contains(&alert),
            "{alert} is never seen not to fire"
        );
    }
}

#[test]
fn the_dashboard_asks_sound_questions_about_metrics_that_exist() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../docs/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let expressions: Vec<_> = targets
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    assert!(expressions.len() > 15);
    let mut rules = String::from("groups:\n- name: dashboard\n  rules:\n");
    for (number, expression) in expressions.iter().enumerate() {
        assert_known(expression);
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*");
        let expression = serde_json::to_string(&expression).unwrap();
        writeln!(rules, "  - record: panel:{number}\n    expr: {expression}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rules).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], None);
    for metric in METRICS {
        let asked = expressions
            .iter()
            .any(|expression| expression.contains(metric.name));
        assert!(asked, "the dashboard does not show {}", metric.name);
    }
}

#[test]
fn no_two_questions_of_a_panel_have_one_name() {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../docs/grafana-dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let mut names: Vec<_> = targets.map(|target| target["refId"].as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "{}", panel["title"]);
    }
}

/// Every metric that is named in `text` is one of ours, as it is scraped.
fn assert_known(text: &str) {
    let names = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    for name in names.filter(|name| name.starts_with("portcullis_")) {
        let known = METRICS.iter().any(|metric| {
            let suffix = name.strip_prefix(metric.name);
            match metric.kind {
                "histogram" => matches!(suffix, Some("_sum" | "_count" | "_bucket")),
                _ => suffix == Some(""),
            }
        });
        assert!(known, "{name} is no metric of this crate");
    }
}

#[cfg(feature = "crl")]
#[test]
fn an_active_crl_is_reported_with_its_times_and_size() {
    use portcullis::crl::{Options, Revocation};
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
        KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::CrlSign];
    ca.distinguished_name = rcgen::DistinguishedName::new();
    ca.distinguished_name.push(DnType::CommonName, "nodes");
    let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
    let revoked = |serial: u64| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2026, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 1, 2),
        next_update: date_time_ymd(2036, 1, 2),
        crl_number: SerialNumber::from(1u64),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked(2), revoked(3)],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let list = list.signed_by(&issuer).unwrap();

    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        Revocation::from_bytes([list.der().as_ref()], Options::default()).unwrap();
    });
    let scrape = recorder.handle().render();
    for line in [
        "portcullis_crl_entries{issuer=\"CN=nodes\",scope=\"complete\"} 2",
        "portcullis_crl_this_update_timestamp_seconds{issuer=\"CN=nodes\",scope=\"complete\"} 1767312000",
        "portcullis_crl_next_update_timestamp_seconds{issuer=\"CN=nodes\",scope=\"complete\"} 2082844800",
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }
}
