//! What went wrong with certificates and proxies' headers in other registries and mirrors, and does
//! not here.
#![cfg(all(feature = "auth", feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use pki::{Ca, Files, Leaf};
use portcullis::auth::{Authentication, TokenAuthLayer};
use portcullis::identity::{Mapping, Rule};
use portcullis::source::{ForwardedLayer, Networks, SourceLayer};
use portcullis::tls::{self, ForwardedForm};
use portcullis::{ClientAddr, Connection, PeerIdentity, Principal, Watched};
use rcgen::SanType;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

fn peer(leaf: &Leaf) -> PeerIdentity {
    PeerIdentity::from_der(&leaf.der).unwrap()
}

fn uri(ca: &Ca, uri: &str) -> PeerIdentity {
    let leaf = ca.client_with("x", |params| {
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    });
    peer(&leaf)
}

fn rule(id: &str, field: &str, pattern: &str) -> Rule {
    let rule = Rule::new(id).unwrap().when(field, pattern).unwrap();
    rule.in_group("nodes").unwrap()
}

async fn whoami<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let extensions = request.extensions();
    let principal = Principal::of(extensions).map(ToString::to_string);
    let address = ClientAddr::of(extensions).map(|address| address.ip());
    let text = format!("{principal:?} {address:?}");
    Ok(Response::new(Full::new(text.into())))
}

#[tokio::test]
async fn cve_2025_59353_dragonfly_a_certificate_for_anothers_address_makes_nobody_that_address() {
    let ca = Ca::new("Nodes 2026");
    let leaf = ca.client_with("mallory", |params| {
        params.subject_alt_names = vec![SanType::IpAddress("10.0.0.9".parse().unwrap())];
    });
    let mapping = Mapping::new([rule("node", "spiffe", "spiffe://example.org/node/*")]).unwrap();
    let principal = mapping.principal(&peer(&leaf));
    assert_eq!(principal.to_string(), "cert:CN=mallory");
    assert!(principal.groups().is_empty());
    let service = SourceLayer::new(Networks::allow(["10.0.0.0/8".parse().unwrap()]))
        .layer(service_fn(whoami));
    let connection = Connection::builder("192.0.2.1:4711".parse().unwrap());
    let mut request = Request::new(Full::<Bytes>::default());
    let connection = connection.identity(peer(&leaf)).build();
    request.extensions_mut().insert(connection);
    let answer = service.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[test]
fn the_unanchored_uri_pattern_of_zot_matches_whole_names_only() {
    let ca = Ca::new("Nodes 2026");
    let mapping = Mapping::new([rule("node", "uri", "spiffe://example.org/node")]).unwrap();
    for (name, matches) in [
        ("spiffe://example.org/node", true),
        ("spiffe://example.org/nodes", false),
        ("spiffe://example.org/node/x", false),
        ("spiffe://example.org.evil.example/node", false),
        ("https://evil.example/?spiffe://example.org/node", false),
        ("https://evil.example/spiffe://example.org/node", false),
    ] {
        let principal = mapping.principal(&uri(&ca, name));
        assert_eq!(principal.groups().len(), usize::from(matches), "{name}");
    }
}

#[test]
fn a_common_name_is_never_anothers_spiffe_id_or_subject() {
    let ca = Ca::new("Nodes 2026");
    let mapping = Mapping::default().with_common_name(true);
    for (name, id) in [
        ("ci", "cert:ci"),
        ("spiffe://example.org/ci", "cert:CN=spiffe://example.org/ci"),
        ("CN=ci", "cert:CN=CN\\=ci"),
    ] {
        let principal = mapping.principal(&peer(&ca.client(name)));
        // RFC 4514 lets an equals sign inside a value be escaped or not.
        assert_eq!(
            principal.to_string().replace("\\=", "="),
            id.replace("\\=", "=")
        );
        assert_eq!(
            Mapping::default().principal(&peer(&ca.client(name))).id(),
            format!("CN={name}")
        );
    }
}

#[tokio::test]
async fn cve_2025_23208_zot_a_group_that_a_rule_gave_is_gone_with_the_rule() {
    let ca = Ca::new("Nodes 2026");
    let mapping = Mapping::new([rule("node", "subject.CN", "x")]).unwrap();
    let mapping = Watched::fixed(mapping);
    let authentication = Authentication::certificate().with_mapping(mapping.clone());
    let service = TokenAuthLayer::new(authentication).layer(service_fn(whoami));
    let connection = Connection::builder("192.0.2.1:4711".parse().unwrap());
    let connection = connection.identity(peer(&ca.client("x"))).build();
    let ask = async || {
        let mut request = Request::new(Full::<Bytes>::default());
        request.extensions_mut().insert(connection.clone());
        let answer = service.clone().oneshot(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8_lossy(&body).into_owned()
    };
    assert!(ask().await.contains("cert:node"), "{}", ask().await);
    mapping.publish(Mapping::default());
    assert!(ask().await.contains("cert:CN=x"), "{}", ask().await);
}

#[tokio::test]
async fn the_address_that_spegel_and_distribution_take_from_anyone_is_taken_from_listed_proxies() {
    let proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let service = ServiceBuilder::new()
        .layer(ForwardedLayer::x_forwarded_for(proxies))
        .layer(SourceLayer::new(Networks::allow(["127.0.0.0/8"
            .parse()
            .unwrap()])))
        .service_fn(whoami);
    for (peer, status) in [("192.0.2.1:1", 403), ("10.0.0.1:1", 200)] {
        let mut request = Request::new(Full::<Bytes>::default());
        let peer = ClientAddr::new(peer.parse().unwrap());
        request.extensions_mut().insert(peer);
        let value = "127.0.0.1".parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", value);
        assert_eq!(
            service.clone().oneshot(request).await.unwrap().status(),
            status
        );
    }
}

#[tokio::test]
async fn two_lines_of_a_header_with_one_certificate_are_refused_and_not_one_of_them_taken() {
    let (files, ca) = (Files::new(), Ca::new("Nodes 2026"));
    let material = files
        .requiring(&ca.server(&["localhost"]), &ca)
        .load()
        .unwrap();
    let proxies = ["10.0.0.0/8".parse().unwrap()];
    let layer = tls::ForwardedLayer::new(ForwardedForm::ClientCert, proxies, material.into());
    let service = layer.layer(service_fn(whoami));
    let lines = [ca.client("x"), ca.client("y")].map(|leaf| {
        let lines = leaf.pem.lines().filter(|line| !line.starts_with("---"));
        format!(":{}:", lines.collect::<String>())
    });
    for (count, status) in [(1, 200), (2, 403)] {
        let mut request = Request::new(Full::<Bytes>::default());
        let proxy = ClientAddr::new("10.0.0.1:1".parse().unwrap());
        request.extensions_mut().insert(proxy);
        for line in &lines[..count] {
            request
                .headers_mut()
                .append("client-cert", line.parse().unwrap());
        }
        assert_eq!(
            service.clone().oneshot(request).await.unwrap().status(),
            status
        );
    }
}
