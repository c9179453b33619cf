//! Every field of the access log's event is written where it applies, and documented.
#![cfg(all(feature = "tls", feature = "policy", feature = "json-log"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::captured;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use portcullis::access_log::{AccessEvent, AccessLogLayer, JsonLines, Sink, TracingSink};
use portcullis::connection::TlsParameters;
use portcullis::policy::{Actions, Pattern, Policy, PolicyLayer, Rule, Who};
use portcullis::record::Record;
use portcullis::source::ForwardedLayer;
use portcullis::{Connection, PeerIdentity, Principal, Refusal, Watched, identity, oci::Route};
use tower::{ServiceBuilder, ServiceExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Metadata, Subscriber};

/// The fields that the access log's event has, and those that were written.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Names>>);

#[derive(Debug, Default)]
struct Names {
    declared: BTreeSet<&'static str>,
    written: BTreeSet<&'static str>,
}

impl Subscriber for Seen {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "portcullis::access"
    }

    fn event(&self, event: &Event<'_>) {
        let mut names = self.0.lock().unwrap();
        let fields = event.metadata().fields();
        names
            .declared
            .extend(fields.iter().map(|field| field.name()));
        event.record(&mut *names);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, _: &dyn fmt::Debug) {
        self.written.insert(field.name());
    }
}

/// Writes each event as both do.
struct Both(JsonLines);

impl Sink for Both {
    fn is_enabled(&self) -> bool {
        TracingSink.is_enabled()
    }

    fn write(&self, event: &AccessEvent<'_>) {
        TracingSink.write(event);
        self.0.write(event);
    }
}

/// The names between backquotes in the first column of the module's table.
fn documented() -> BTreeSet<&'static str> {
    let text = include_str!("../../../src/access_log/mod.rs");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let cells = rows.filter_map(|row| row.split(" | ").next());
    cells
        .flat_map(|cell| cell.trim_end_matches('`').split("`, `"))
        .collect()
}

fn connection() -> Connection {
    let mut params = rcgen::CertificateParams::new(vec!["n1.example.org".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "n1");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Connection::builder("10.0.0.1:4711".parse().unwrap())
        .tls(TlsParameters::new("1.3", "TLS_AES_128_GCM_SHA256"))
        .identity(PeerIdentity::from_der(certificate.der()).unwrap())
        .build()
}

#[tokio::test]
async fn every_field_is_written_where_it_applies_and_documented() {
    let seen = Seen::default();
    let lines = captured::Sink::default();
    let json = JsonLines::new(lines.clone()).unwrap();
    let guard = tracing::subscriber::set_default(seen.clone());
    let shadow = Watched::fixed(Policy::new([]).unwrap());
    let service = ServiceBuilder::new()
        .layer(ForwardedLayer::x_forwarded_for(vec![
            "10.0.0.0/8".parse().unwrap(),
        ]))
        .layer(AccessLogLayer::new().with_sink(Both(json.clone())))
        .layer(PolicyLayer::new(Policy::open()).with_shadow(shadow))
        .service_fn(
            |mut request: Request<portcullis::Body<Full<Bytes>>>| async move {
                let record = Record::of(request.extensions()).unwrap().clone();
                record.identified(&Principal::new(identity::Method::Token, "ci"));
                record.routed(&Route::of(&mut request).unwrap());
                record.refused(Refusal::PolicyDenied);
                record.explained("what decided");
                record.revocation_checked("good");
                record.throttled(Duration::from_secs(1));
                let status = if request.uri().path() == "/broken" {
                    500
                } else {
                    200
                };
                let response = Response::builder().status(status);
                let response = response.header("docker-content-digest", "sha256:a");
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from("yes"))).unwrap())
            },
        );
    let open = Rule::allow("push", Who::Anyone, Actions::PUSH);
    let open = open.on_repositories([Pattern::repository("a").unwrap()]);
    let pushes = ServiceBuilder::new()
        .layer(AccessLogLayer::new().with_sink(Both(json.clone())))
        .layer(PolicyLayer::new(Policy::new([open]).unwrap()))
        .service_fn(|_: Request<portcullis::Body<Full<Bytes>>>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
    let mount = format!("/v2/a/blobs/uploads/?mount=sha256:{}", "a".repeat(64));
    let request = Request::post(mount)
        .header("host", "registry.example")
        .body(Full::default())
        .unwrap();
    let response = pushes.oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    let mut request = Request::get("/v2/a/manifests/latest?ns=docker.io")
        .header("host", "registry.example")
        .header("user-agent", "containerd/2.1")
        .header("x-forwarded-for", "192.0.2.7")
        .body(Full::default())
        .unwrap();
    request.extensions_mut().insert(connection());
    let response = service.clone().oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    let request = Request::builder().method("BREW").uri("/broken");
    let request = request.header("host", "registry.example:5000");
    let request = request.body(Full::default()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    response.into_body().collect().await.unwrap();
    drop(guard);

    let names = seen.0.lock().unwrap();
    assert!(names.declared.len() >= 32, "{names:?}");
    assert_eq!(names.written, names.declared);
    assert_eq!(documented(), names.declared);
    json.flush();
    let text = lines.text();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Map<_, _>>(line).unwrap());
    let mut fields: BTreeSet<_> = lines
        .flat_map(|line| line.into_iter().map(|(name, _)| name))
        .collect();
    assert!(fields.remove("timestamp"));
    assert!(
        fields.iter().map(String::as_str).eq(documented()),
        "{fields:?}"
    );
}
