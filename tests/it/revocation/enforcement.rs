//! CRLs: at the handshake, on each request of a connection, and on transfers in flight.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use pki::{Ca, Files, Leaf, client};
use portcullis::crl::{
    CertPath, CrlError, LoadError, Options, Revocation, RevocationLayer, Verdict,
};
use portcullis::record::{Cut, Record};
use portcullis::reload::WatchOptions;
use portcullis::tls::{Acceptor, Reason};
use portcullis::{Connection, Watched};
use tower::{Layer, ServiceExt, service_fn};

use super::support::{handshake, streaming};

fn numbered(ca: &Ca, serial: u64) -> Leaf {
    ca.client_with("node-7", |params| {
        params.serial_number = Some(serial.into());
    })
}

fn path(leaf: &Leaf, above: &[&Ca], root: &Ca) -> CertPath {
    let intermediates: Vec<_> = above.iter().map(|ca| ca.der.clone()).collect();
    let anchor = webpki_anchor(root);
    CertPath::new(&leaf.der, &intermediates, &anchor).unwrap()
}

fn webpki_anchor(ca: &Ca) -> rustls::pki_types::TrustAnchor<'static> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.der.clone()).unwrap();
    roots.roots.remove(0)
}

fn revocation(lists: &[&[u8]]) -> Revocation {
    Revocation::from_bytes(lists.iter().copied(), Options::default()).unwrap()
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn after(time: Duration) -> SystemTime {
    now() + time
}

fn kind(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Revoked { .. } => "revoked",
        Verdict::Expired => "expired",
        Verdict::Unknown { .. } => "unknown",
        _ => "another",
    }
}

#[test]
fn a_list_tells_the_revoked_from_the_good_by_every_serial() {
    let ca = Ca::new("Nodes 2026");
    let serials: Vec<u64> = (0..500).map(|n| n * n * 7_919 + 3).collect();
    let revocation = revocation(&[ca.crl(1, &serials).der()]);
    assert_eq!(revocation.lists().load().entries(), serials.len());
    for serial in serials {
        let verdict = revocation.examine(&path(&numbered(&ca, serial), &[], &ca), now());
        assert_eq!(kind(&verdict), "revoked", "{serial}");
        let good = revocation.examine(&path(&numbered(&ca, serial + 1), &[], &ca), now());
        assert_eq!(good, Verdict::Good, "{serial}");
    }
}

#[test]
fn what_no_current_list_of_the_issuer_answers_is_unknown_and_refused() {
    let ca = Ca::new("Nodes 2026");
    let other = Ca::new("Others");
    let impostor = Ca::new("Nodes 2026");
    let node = path(&numbered(&ca, 7), &[], &ca);
    for (list, at, expected) in [
        (
            other.crl(1, &[]),
            now(),
            "no CRL of its issuer covers it: there is none",
        ),
        (
            impostor.crl(1, &[]),
            now(),
            "no CRL for it is signed by its issuer: the signature is not by the key that it should \
             be by, the CRL is damaged, forged, or by another key of that name",
        ),
        (
            ca.crl(1, &[]),
            after(Duration::from_secs(25 * 60 * 60)),
            "the CRL for it is past its next update",
        ),
        (
            ca.crl_with(1, &[], |list| {
                list.this_update = time::OffsetDateTime::now_utc() + time::Duration::HOUR;
            }),
            now(),
            "the CRL for it is not valid yet",
        ),
    ] {
        let verdict = revocation(&[list.der()]).examine(&node, at);
        assert_eq!(verdict.to_string(), format!("certificate 07: {expected}"));
    }
    let grace = Options::default().with_grace(Duration::from_secs(2 * 60 * 60));
    let list = ca.crl(1, &[]);
    let grace = Revocation::from_bytes([list.der().as_ref()], grace).unwrap();
    assert_eq!(
        grace.examine(&node, after(Duration::from_secs(25 * 60 * 60))),
        Verdict::Good
    );
    assert_eq!(
        kind(&grace.examine(&node, after(Duration::from_secs(27 * 60 * 60)))),
        "unknown"
    );
}

#[test]
fn only_what_no_list_of_the_issuer_is_about_can_be_allowed() {
    let ca = Ca::new("Nodes 2026");
    let forged = Ca::new("Nodes 2026").crl(1, &[7]);
    let of_users = ca.crl_with(1, &[], |list| {
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl.example.org/another".to_owned()],
            },
            scope: Some(rcgen::CrlScope::UserCertsOnly),
        });
    });
    let ahead = ca.crl_with(1, &[], |list| list.this_update += time::Duration::HOUR * 2);
    let node = path(&numbered(&ca, 7), &[], &ca);
    let hours = |hours: u64| after(Duration::from_secs(hours * 60 * 60));
    let lenient = Options::default().with_unknown_allowed(true);
    for (list, at, expected) in [
        (Ca::new("Others").crl(1, &[]), hours(0), "unknown_allowed"),
        (forged, hours(0), "unknown_allowed"),
        (of_users, hours(0), "unknown_allowed"),
        (ahead, hours(0), "unknown"),
        (ca.crl(1, &[]), hours(25), "unknown"),
        (ca.crl(1, &[7]), hours(25), "revoked"),
        (ca.crl(1, &[]), hours(0), "good"),
    ] {
        let lenient = Revocation::from_bytes([list.der().as_ref()], lenient).unwrap();
        let verdict = lenient.examine(&node, at);
        assert_eq!(verdict.label(), expected, "{verdict}");
        let passes = matches!(expected, "good" | "unknown_allowed");
        assert_eq!(verdict.refusal().is_none(), passes, "{verdict}");
    }
}

#[test]
fn of_a_path_the_certificate_that_cannot_be_allowed_decides() {
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |_| {});
    let node = path(&numbered(&sub, 7), &[&sub], &root);
    let lenient = Options::default().with_unknown_allowed(true);
    let expired = root.crl(1, &[]);
    let lenient = Revocation::from_bytes([expired.der().as_ref()], lenient).unwrap();
    assert_eq!(lenient.examine(&node, now()).label(), "unknown_allowed");
    let verdict = lenient.examine(&node, after(Duration::from_secs(25 * 60 * 60)));
    assert_eq!(verdict.label(), "unknown");
    assert!(
        verdict.to_string().contains("past its next update"),
        "{verdict}"
    );
}

#[tokio::test]
async fn what_is_allowed_is_told_apart_from_what_is_good() {
    let server = Server::new();
    let other = Ca::new("Others").crl(1, &[]);
    let lenient = Options::default().with_unknown_allowed(true);
    let lenient = Revocation::from_bytes([other.der().as_ref()], lenient).unwrap();
    let tracked = lenient.track(path(&server.node, &[], &server.ca));
    let connection = Connection::builder("10.0.0.1:1".parse().unwrap())
        .state(tracked)
        .build();
    let service = RevocationLayer::new().layer(service_fn(|_request| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let record = Record::default();
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request.extensions_mut().insert(connection);
    request.extensions_mut().insert(record.clone());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    assert_eq!(record.revocation(), Some("unknown_allowed"));
}

#[test]
fn a_ca_of_the_path_is_looked_at_too_unless_only_the_leaf_is() {
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |params| params.serial_number = Some(99_u64.into()));
    let node = path(&numbered(&sub, 7), &[&sub], &root);
    let lists = [root.crl(1, &[99]), sub.crl(1, &[])];
    let lists = [lists[0].der().as_ref(), lists[1].der().as_ref()];
    assert_eq!(kind(&revocation(&lists).examine(&node, now())), "revoked");
    let leaf = Options::default().with_leaf_only(true);
    let leaf = Revocation::from_bytes(lists, leaf).unwrap();
    assert_eq!(leaf.examine(&node, now()), Verdict::Good);
    assert_eq!(
        kind(&revocation(&lists[1..]).examine(&node, now())),
        "unknown"
    );
}

#[test]
fn a_key_that_may_not_sign_crls_says_nothing() {
    let root = Ca::new("Root");
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "Sub");
    for (usages, expected) in [
        (vec![rcgen::KeyUsagePurpose::KeyCertSign], "unknown"),
        (
            vec![
                rcgen::KeyUsagePurpose::KeyCertSign,
                rcgen::KeyUsagePurpose::CrlSign,
            ],
            "good",
        ),
    ] {
        params.key_usages = usages;
        let certificate = params.signed_by(&key, &root.issuer).unwrap();
        // rcgen itself would not sign a list under the certificate of the first case.
        let mut signing = params.clone();
        signing.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let key = rcgen::KeyPair::try_from(key.serialize_der()).unwrap();
        let sub = Ca {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: rcgen::Issuer::new(signing, key),
        };
        let node = path(&numbered(&sub, 7), &[&sub], &root);
        let lists = [root.crl(1, &[]), sub.crl(1, &[])];
        let lists = [lists[0].der().as_ref(), lists[1].der().as_ref()];
        let verdict = revocation(&lists).examine(&node, now());
        assert_eq!(kind(&verdict), expected, "{verdict}");
    }
}

#[test]
fn a_list_never_gets_older() {
    let ca = Ca::new("Nodes 2026");
    let node = path(&numbered(&ca, 7), &[], &ca);
    let (old, new) = (
        ca.crl_with(1, &[], |list| list.this_update -= time::Duration::HOUR),
        ca.crl(2, &[7]),
    );
    let revocation = revocation(&[new.der()]);
    revocation.publish([old.der().as_ref()]).unwrap();
    assert_eq!(kind(&revocation.examine(&node, now())), "revoked");
    let later = |list: &mut rcgen::CertificateRevocationListParams| {
        list.this_update += time::Duration::MINUTE;
    };
    // Made later, but from a copy of the issuer's books that is older.
    let stale = ca.crl_with(1, &[], later);
    revocation.publish([stale.der().as_ref()]).unwrap();
    assert_eq!(kind(&revocation.examine(&node, now())), "revoked");
    let newest = ca.crl_with(3, &[], later);
    revocation.publish([newest.der().as_ref()]).unwrap();
    assert_eq!(revocation.examine(&node, now()), Verdict::Good);
}

#[test]
fn a_list_whose_time_has_not_come_displaces_no_active_one() {
    let ca = Ca::new("Nodes 2026");
    let of = |serial| path(&numbered(&ca, serial), &[], &ca);
    let (good, revoked, soon) = (of(6), of(7), of(8));
    let current = ca.crl(1, &[7]);
    let early = ca.crl_with(2, &[8], |list| list.this_update += time::Duration::HOUR * 2);
    for authorities in [vec![], vec![ca.der.clone()]] {
        let build = |lists: &[&[u8]]| {
            let builder = Revocation::builder().with_authorities(authorities.clone());
            builder.from_bytes(lists.iter().copied()).unwrap()
        };
        let replaced = build(&[current.der()]);
        replaced.publish([early.der().as_ref()]).unwrap();
        // And the same again, as when another file changes.
        replaced.publish([early.der().as_ref()]).unwrap();
        for lists in [replaced, build(&[current.der(), early.der()])] {
            assert_eq!(lists.examine(&good, now()), Verdict::Good);
            assert_eq!(kind(&lists.examine(&revoked, now())), "revoked");
            assert_eq!(kind(&lists.examine(&soon, now())), "revoked");
            assert_eq!(lists.lists().load().len(), 2);
            // The issuer takes it back: it turns no current list back.
            let corrected = ca.crl_with(3, &[], |list| list.this_update += time::Duration::MINUTE);
            lists.publish([corrected.der().as_ref()]).unwrap();
            assert_eq!(lists.examine(&soon, now()), Verdict::Good);
            assert_eq!(lists.lists().load().len(), 1);
        }
    }
}

#[test]
fn a_list_of_an_impostor_displaces_nothing() {
    let ca = Ca::new("Nodes 2026");
    let impostor = Ca::new("Nodes 2026");
    let node = path(&numbered(&ca, 7), &[], &ca);
    let genuine = ca.crl(2, &[7]);
    let newer = impostor.crl_with(9, &[], |list| list.this_update += time::Duration::MINUTE);
    for authorities in [vec![], vec![ca.der.clone()]] {
        let revocation = Revocation::builder().with_authorities(authorities);
        let both = [genuine.der().as_ref(), newer.der().as_ref()];
        let revocation = revocation.from_bytes(both).unwrap();
        assert_eq!(kind(&revocation.examine(&node, now())), "revoked");
        revocation.publish(both).unwrap();
        assert_eq!(kind(&revocation.examine(&node, now())), "revoked");
    }
}

#[test]
fn no_list_at_all_is_an_error() {
    let none = Revocation::from_bytes([], Options::default());
    assert!(matches!(none, Err(LoadError::Empty { .. })));
}

#[test]
fn what_is_no_usable_crl_is_an_error_and_leaves_the_old_ones_active() {
    let ca = Ca::new("Nodes 2026");
    let list = ca.crl(1, &[7]);
    let der = list.der().to_vec();
    let revocation = revocation(&[&der]);
    let mut longer = der.clone();
    longer.push(0);
    for (bytes, malformed) in [
        (&der[..der.len() - 1], true),
        (&der[..20], true),
        (&longer[..], true),
        (b"".as_slice(), false),
        (b"no list", false),
        (&[0x30], true),
    ] {
        let error = revocation.publish([bytes]).unwrap_err();
        let is_malformed = matches!(
            error,
            LoadError::List {
                error: CrlError::Malformed { .. },
                number: 1,
                ..
            }
        );
        assert_eq!(is_malformed, malformed, "{error}");
    }
    let node = path(&numbered(&ca, 7), &[], &ca);
    assert_eq!(kind(&revocation.examine(&node, now())), "revoked");
    let missing = Revocation::from_files(["/nowhere"], Options::default(), WatchOptions::default());
    assert!(matches!(missing, Err(LoadError::Unreadable { .. })));
}

/// A TLS server whose client is `node-7` with serial number 7, and its CRL in a file.
struct Server {
    files: Files,
    ca: Ca,
    node: Leaf,
    revocation: Revocation,
    acceptor: Acceptor,
}

impl Server {
    fn new() -> Self {
        let files = Files::new();
        let ca = Ca::new("Nodes 2026");
        let server = ca.server(&["localhost"]);
        files.put("crl.pem", ca.crl(1, &[]).pem().unwrap());
        let watch = WatchOptions::default()
            .with_poll_interval(Duration::from_millis(50))
            .with_settle(Duration::from_millis(5));
        let paths = [files.path("crl.pem")];
        let revocation = Revocation::from_files(paths, Options::default(), watch).unwrap();
        let material = files
            .requiring(&server, &ca)
            .with_revocation(revocation.clone());
        Self {
            acceptor: Acceptor::new(Watched::fixed(material.load().unwrap())),
            node: numbered(&ca, 7),
            files,
            ca,
            revocation,
        }
    }

    async fn connect(&self) -> Result<Connection, Reason> {
        let client = client(&self.ca, Some((&self.node, &[])));
        handshake(&self.acceptor, &Arc::new(client)).await
    }

    async fn revoke(&self) {
        let mut changes = self.revocation.lists().changes();
        let list = self
            .ca
            .crl_with(2, &[7], |list| list.this_update += time::Duration::MINUTE);
        fs::write(self.files.path("next"), list.pem().unwrap()).unwrap();
        fs::rename(self.files.path("next"), self.files.path("crl.pem")).unwrap();
        changes.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_at_the_handshake() {
    let server = Server::new();
    assert!(server.connect().await.is_ok());
    server.revoke().await;
    assert_eq!(
        server.connect().await.unwrap_err(),
        Reason::CertificateRevoked
    );
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_on_an_open_connection() {
    let server = Server::new();
    let connection = server.connect().await.unwrap();
    let service = RevocationLayer::new().layer(service_fn(|_request| async {
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    }));
    let ask = || {
        let mut request = Request::get("/v2/")
            .header("host", "registry.example")
            .body(Empty::<Bytes>::new())
            .unwrap();
        request.extensions_mut().insert(connection.clone());
        service.clone().oneshot(request)
    };
    assert_eq!(ask().await.unwrap().status(), 200);
    server.revoke().await;
    assert_eq!(ask().await.unwrap().status(), 403);
}

#[tokio::test]
async fn without_a_certificate_a_request_passes_unless_one_is_required() {
    let server = Server::new();
    let with = server.connect().await.unwrap();
    let without = Connection::builder("10.0.0.1:1".parse().unwrap()).build();
    let ask = |layer: RevocationLayer, connection: Option<Connection>| {
        let mut request = Request::get("/v2/")
            .header("host", "registry.example")
            .body(Empty::<Bytes>::new())
            .unwrap();
        request.extensions_mut().extend(extensions(connection));
        let service = layer.layer(service_fn(|_request| async {
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }));
        async { service.oneshot(request).await.unwrap().status() }
    };
    let strict = || RevocationLayer::new().with_certificate_required();
    assert_eq!(
        ask(RevocationLayer::new(), Some(without.clone())).await,
        200
    );
    assert_eq!(ask(strict(), Some(without)).await, 401);
    assert_eq!(ask(strict(), Some(with)).await, 200);
    // Of which nothing is known, nothing can be checked.
    for layer in [RevocationLayer::new(), strict()] {
        assert_eq!(ask(layer, None).await, 503);
    }
}

fn extensions(connection: Option<Connection>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    if let Some(connection) = connection {
        extensions.insert(connection);
    }
    extensions
}

#[tokio::test]
async fn a_transfer_in_flight_ends_when_its_peer_is_revoked_even_while_it_waits() {
    let server = Server::new();
    let connection = server.connect().await.unwrap();
    let (frames, service) = streaming();
    let service = RevocationLayer::new().layer(service);
    let record = Record::default();
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request.extensions_mut().insert(connection);
    request.extensions_mut().insert(record.clone());
    let mut body = service.oneshot(request).await.unwrap().into_body();
    frames.send(Bytes::from("first")).await.unwrap();
    assert_eq!(
        body.frame().await.unwrap().unwrap().into_data().unwrap(),
        "first"
    );

    let (ended, ()) = tokio::join!(body.frame(), server.revoke());
    assert!(ended.unwrap().is_err());
    assert_eq!(record.cut_by(), Some(Cut::Revoked));
    assert!(record.detail().unwrap().contains("keyCompromise"));
    drop(frames);
}

#[test]
fn an_explanation_names_the_list_that_decides() {
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |params| params.serial_number = Some(99_u64.into()));
    let lists = [root.crl(11, &[]), sub.crl(12, &[8])];
    let lists = [lists[0].der().as_ref(), lists[1].der().as_ref()];
    for (serial, expected) in [(7, "good"), (8, "revoked")] {
        let node = path(&numbered(&sub, serial), &[&sub], &root);
        let findings = revocation(&lists).explain(&node, now());
        assert_eq!(kind(&findings[0].verdict), expected);
        let [of_node, of_sub] = &findings[..] else {
            panic!("{findings:?}")
        };
        for (finding, issuer, number) in [(of_node, "CN=Sub", "0c"), (of_sub, "CN=Root", "0b")] {
            let [list] = &finding.decided_by[..] else {
                panic!("{finding:?}")
            };
            assert_eq!(list.issuer, issuer);
            assert_eq!(list.scope, "complete");
            assert_eq!(list.number.as_deref(), Some(number));
            let validity = list.next_update.duration_since(list.this_update);
            assert_eq!(validity.unwrap(), Duration::from_secs(25 * 3600));
        }
    }
    let nothing = revocation(&lists[..1]).explain(&path(&numbered(&sub, 7), &[&sub], &root), now());
    assert_eq!(nothing[0].decided_by, []);
}
