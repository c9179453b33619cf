//! Every reason for which a handshake fails, as the operator reads it and as the client sees it.
#![cfg(all(feature = "tls", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use pki::{Ca, Files, Leaf, accepted, client, client_at, refused};
use portcullis::Watched;
use portcullis::identity::{Mapping, Rule};
use portcullis::tls::{Acceptor, Builder, ClientCas, HandshakeError, Reason};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// 2026-07-01, so that spans in words are the same every day.
#[derive(Debug)]
struct Fixed;

const NOW: u64 = 1_782_864_000;

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(NOW)))
    }
}

struct Scene {
    files: Files,
    nodes: Ca,
    server: Leaf,
}

impl Scene {
    fn new() -> Self {
        let nodes = Ca::new("Nodes 2026");
        let server = nodes.server(&["localhost"]);
        Self {
            files: Files::new(),
            nodes,
            server,
        }
    }

    fn builder(&self) -> Builder {
        let builder = self.files.requiring(&self.server, &self.nodes);
        builder.with_clock(Arc::new(Fixed))
    }

    fn acceptor(&self) -> Acceptor {
        Acceptor::new(Watched::fixed(self.builder().load().unwrap()))
    }

    /// The server's error and the client's, of a client that shows this.
    async fn refuses(&self, leaf: &Leaf, above: &[&Ca]) -> (HandshakeError, String) {
        let config = client(&self.nodes, Some((leaf, above)));
        refused(&self.acceptor(), config).await
    }
}

fn day(offset: i64) -> time::OffsetDateTime {
    let now = time::OffsetDateTime::from_unix_timestamp(i64::try_from(NOW).unwrap()).unwrap();
    now + time::Duration::days(offset)
}

struct Row {
    what: &'static str,
    leaf: Leaf,
    above: Vec<Ca>,
    reason: Reason,
    words: &'static str,
    /// As the server tells it, and as rustls's client calls it.
    alert: (&'static str, &'static str),
}

fn eku(usage: ExtendedKeyUsagePurpose) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.extended_key_usages = vec![usage]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn rows(scene: &Scene) -> Vec<Row> {
    let nodes = &scene.nodes;
    let mut rows = Vec::new();
    let mut row = |what, leaf, above, reason, words, alert| {
        rows.push(Row {
            what,
            leaf,
            above,
            reason,
            words,
            alert,
        });
    };
    row(
        "expired",
        nodes.client_with("node-7", |params| params.not_after = day(-3)),
        vec![],
        Reason::CertificateExpired,
        "the client's certificate `CN=node-7` expired 3 d ago",
        ("certificate_expired", "CertificateExpired"),
    );
    row(
        "not yet valid",
        nodes.client_with("node-7", |params| params.not_before = day(3)),
        vec![],
        Reason::CertificateNotYetValid,
        "the client's certificate `CN=node-7` is not valid for another 3 d: is one of the clocks \
         wrong?",
        ("certificate_expired", "CertificateExpired"),
    );
    let old = nodes.sub("Old Sub", |params| params.not_after = day(-1));
    let under_old = old.client("node-7");
    row(
        "expired intermediate",
        under_old,
        vec![old],
        Reason::CertificateExpired,
        "the intermediate CA's certificate `CN=Old Sub` expired 24 h ago",
        ("certificate_expired", "CertificateExpired"),
    );
    let unsent = nodes.sub("Sub", |_| {});
    row(
        "intermediate not sent",
        unsent.client("node-7"),
        vec![],
        Reason::UnknownIssuer,
        "no client CA named `CN=Sub` is configured and the client sent none; the bundle holds: \
         `CN=Nodes 2026`",
        ("unknown_ca", "UnknownCA"),
    );
    let stranger = Ca::new("Strangers");
    row(
        "another CA, sent along",
        stranger.client("node-7"),
        vec![stranger],
        Reason::UnknownIssuer,
        "the client's certificate `CN=node-7` ends at `CN=Strangers`, which signed itself and is \
         not configured; the bundle holds: `CN=Nodes 2026`",
        ("unknown_ca", "UnknownCA"),
    );
    row(
        "CA made anew under its name",
        Ca::new("Nodes 2026").client("node-7"),
        vec![],
        Reason::BadSignature,
        "the client's certificate `CN=node-7` names `CN=Nodes 2026` as its CA, but is not signed \
         by the key of the one that is configured: was the CA made anew under its old name?",
        ("decrypt_error", "DecryptError"),
    );
    row(
        "server's certificate",
        nodes.client_with("node-7", eku(ExtendedKeyUsagePurpose::ServerAuth)),
        vec![],
        Reason::WrongPurpose,
        "clientAuth is missing in the extended key usage of the client's certificate `CN=node-7` \
         or of a CA above it",
        ("unsupported_certificate", "UnsupportedCertificate"),
    );
    row(
        "CA's certificate",
        nodes.client_with("node-7", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        vec![],
        Reason::CaMisuse,
        "the client's certificate `CN=node-7` is a CA's, not a client's",
        ("unknown_ca", "UnknownCA"),
    );
    let narrow = nodes.sub("Narrow", |params| {
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".into())],
            excluded_subtrees: vec![],
        });
    });
    let outside = narrow.client_with("node-7", |params| {
        let name = "n7.example.com".try_into().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name)];
    });
    row(
        "name constraints",
        outside,
        vec![narrow],
        Reason::NameConstraints,
        "the client's certificate `CN=node-7` has the name `n7.example.com`, outside the name \
         constraints of `CN=Narrow` above it",
        ("access_denied", "AccessDenied"),
    );
    let last = nodes.sub("Last", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let beyond = last.sub("Beyond", |_| {});
    row(
        "path length",
        beyond.client("node-7"),
        vec![beyond, last],
        Reason::PathTooLong,
        "the path of the client's certificate `CN=node-7` is longer than the basic constraints of \
         a CA on it allow",
        ("unknown_ca", "UnknownCA"),
    );
    row(
        "critical extension",
        nodes.client_with("node-7", |params| {
            let mut extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        }),
        vec![],
        Reason::CertificateMalformed,
        "the client's certificate `CN=node-7` or a CA above it has a critical extension that is \
         not understood",
        ("bad_certificate", "BadCertificate"),
    );
    row(
        "hostile name",
        nodes.client_with("node-7", |params| {
            let san = b"\x30\x03\x82\x01\0".to_vec();
            let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], san);
            params.custom_extensions = vec![extension];
        }),
        vec![],
        Reason::CertificateMalformed,
        "the client's certificate: the certificate has an unusable DNS name: it has a character \
         outside visible ASCII",
        ("bad_certificate", "BadCertificate"),
    );
    rows
}

#[tokio::test]
async fn each_refused_certificate_is_explained_and_the_alert_fits() {
    let scene = Scene::new();
    for row in rows(&scene) {
        let above: Vec<_> = row.above.iter().collect();
        let (error, theirs) = scene.refuses(&row.leaf, &above).await;
        assert_eq!(error.to_string(), row.words, "{}", row.what);
        assert_eq!(error.reason(), row.reason, "{}", row.what);
        assert_eq!(error.alert().as_deref(), Some(row.alert.0), "{}", row.what);
        assert!(theirs.ends_with(row.alert.1), "{}: {theirs}", row.what);
        assert_eq!(error.server_name(), Some("localhost"));
        let path = error.path().unwrap();
        let readable = row.what != "hostile name";
        assert_eq!(
            path.starts_with("`CN=node-7` <- "),
            readable,
            "{}",
            row.what
        );
    }
}

#[tokio::test]
async fn what_the_client_sent_and_the_path_attempted_are_told() {
    let scene = Scene::new();
    let sub = Ca::new("Root of Others").sub("Sub", |_| {});
    let leaf = sub.client_with("node-7", |params| {
        let name = "n7.example.org".try_into().unwrap();
        params.subject_alt_names = vec![SanType::DnsName(name)];
        params.serial_number = Some(vec![0x12, 0x34].into());
        params.not_before = day(-1);
        params.not_after = day(1);
    });
    let (error, _) = scene.refuses(&leaf, &[&sub]).await;
    let path = "`CN=node-7` <- `CN=Sub` <- `CN=Root of Others` (not found)";
    assert_eq!(error.path().as_deref(), Some(path));
    let presented = error.presented().unwrap();
    let fingerprint = portcullis::PeerIdentity::from_der(&leaf.der).unwrap();
    let first = format!(
        "[0] subject `CN=node-7` issuer `CN=Sub` serial 12:34 valid 2026-06-30T00:00:00Z to \
         2026-07-02T00:00:00Z names [\"n7.example.org\"] sha256 {}; [1] subject `CN=Sub`",
        fingerprint.fingerprint_hex()
    );
    assert!(presented.starts_with(&first), "{presented}");
}

#[tokio::test]
async fn what_is_wrong_besides_certificates_is_told_too() {
    let scene = Scene::new();
    let node = scene.nodes.client("node-7");
    let config = || client(&scene.nodes, Some((&node, &[])));

    let (error, theirs) = refused(&scene.acceptor(), client(&scene.nodes, None)).await;
    assert_eq!(error.reason(), Reason::CertificateMissing);
    assert!(theirs.ends_with("CertificateRequired"), "{theirs}");

    let mut other_protocol = config();
    other_protocol.alpn_protocols = vec![b"spdy/3".to_vec()];
    let (error, theirs) = refused(&scene.acceptor(), other_protocol).await;
    assert_eq!(error.reason(), Reason::NoCommonProtocol);
    assert!(theirs.ends_with("NoApplicationProtocol"), "{theirs}");

    let only13 = scene.builder().with_tls13_only(true).load().unwrap();
    let old = client_at(&scene.nodes, Some((&node, &[])), &[&rustls::version::TLS12]);
    let (error, theirs) = refused(&Acceptor::new(Watched::fixed(only13)), old).await;
    assert_eq!(error.reason(), Reason::Version);
    assert_eq!(error.alert().as_deref(), Some("protocol_version"));
    assert!(theirs.ends_with("ProtocolVersion"), "{theirs}");
    let said =
        "the client offers no TLS version that is allowed here: tls12 not offered or enabled";
    assert_eq!(error.to_string(), said);

    let distrusting = client(&Ca::new("Elsewhere"), Some((&node, &[])));
    let (error, _) = refused(&scene.acceptor(), distrusting).await;
    assert_eq!(error.reason(), Reason::AlertReceived);
    assert_eq!(
        error.to_string(),
        "the client ended the handshake with the alert `unknown_ca`; if that is `unknown_ca`, it does not trust this \
         server's certificate"
    );
    assert_eq!(error.alert(), None);
}

#[tokio::test]
async fn a_client_without_the_key_of_its_certificate_is_told_so() {
    let scene = Scene::new();
    let mut node = scene.nodes.client("node-7");
    // Another's certificate with one's own key.
    node.der = scene.nodes.client("admin").der;
    let config = client(&scene.nodes, Some((&node, &[])));
    let (error, theirs) = refused(&scene.acceptor(), config).await;
    assert_eq!(error.reason(), Reason::NoProofOfKey);
    assert_eq!(error.alert().as_deref(), Some("decrypt_error"));
    assert!(theirs.ends_with("DecryptError"), "{theirs}");
    let presented = error.presented().unwrap();
    assert!(
        presented.starts_with("[0] subject `CN=admin`"),
        "{presented}"
    );
    let path = "`CN=admin` <- client CA `CN=Nodes 2026`";
    assert_eq!(error.path().as_deref(), Some(path));
}

/// 2026-07-01, and what a test adds to it in seconds.
#[derive(Debug, Default)]
struct Later(AtomicU64);

impl TimeProvider for Later {
    fn current_time(&self) -> Option<UnixTime> {
        let now = NOW + self.0.load(Ordering::Relaxed);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(now)))
    }
}

#[tokio::test]
async fn a_client_ca_that_ends_while_it_is_loaded_is_trusted_no_longer() {
    let ends = |offset| move |params: &mut CertificateParams| params.not_after = day(offset);
    let nodes = Ca::with("Nodes 2026", ends(1));
    let node = nodes.client_with("node-7", ends(300));
    let server = nodes.server(&["localhost"]);
    let files = Files::new();
    let clock = Arc::new(Later::default());
    let acceptor = || {
        let builder = files.server(&server);
        let builder = builder.require_client_certificates(ClientCas::new([files.path("ca.crt")]));
        let material = builder.with_clock(clock.clone()).load().unwrap();
        Acceptor::new(Watched::fixed(material))
    };
    let config = || client(&nodes, Some((&node, &[])));
    files.put("ca.crt", &nodes.pem);
    let alone = acceptor();
    let renewed = nodes.renewed("Nodes 2026", ends(300));
    files.put("ca.crt", format!("{}{renewed}", nodes.pem));
    let both = acceptor();
    let two_days = 2 * 24 * 60 * 60;
    for (acceptor, later, is_good) in [
        (&alone, 0, true),
        (&alone, two_days, false),
        (&both, 0, true),
        (&both, two_days, true),
    ] {
        clock.0.store(later, Ordering::Relaxed);
        if is_good {
            let (accepted, _theirs) = accepted(acceptor, config()).await;
            assert!(accepted.connection.identity().is_some());
            continue;
        }
        let (error, theirs) = refused(acceptor, config()).await;
        assert_eq!(error.reason(), Reason::ClientCaExpired);
        let words = "the client CA `CN=Nodes 2026`, to which the client's certificate `CN=node-7` \
                     leads, expired 24 h ago, and no other leads there";
        assert_eq!(error.to_string(), words);
        assert_eq!(error.alert().as_deref(), Some("unknown_ca"));
        assert!(theirs.ends_with("UnknownCA"), "{theirs}");
        let path = "`CN=node-7` <- client CA `CN=Nodes 2026`";
        assert_eq!(error.path().as_deref(), Some(path));
    }
}

#[tokio::test]
async fn what_is_no_svid_or_of_another_domains_ca_is_refused_where_that_is_asked_for() {
    let scene = Scene::new();
    let id = |id: &str| {
        let uri = SanType::URI(id.try_into().unwrap());
        move |params: &mut CertificateParams| {
            params.subject_alt_names = vec![uri];
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![];
        }
    };
    let svid = scene
        .nodes
        .leaf("node-7", id("spiffe://example.org/node-7"));
    let plain = scene.nodes.client("node-7");
    let config = |leaf: &Leaf| client(&scene.nodes, Some((leaf, &[])));
    let by = |builder: Builder| Acceptor::new(Watched::fixed(builder.load().unwrap()));

    let strict = by(scene.builder().with_strict_svids(true));
    accepted(&strict, config(&svid)).await;
    let (error, theirs) = refused(&strict, config(&plain)).await;
    assert_eq!(error.reason(), Reason::NotAnSvid);
    let words = "the client's certificate `CN=node-7` is no X.509-SVID, which is asked for: an \
                 X.509-SVID has exactly one URI name, this one has 0";
    assert_eq!(error.to_string(), words);
    assert!(theirs.ends_with("AccessDenied"), "{theirs}");

    let (first, _theirs) = accepted(&strict, config(&svid)).await;
    let identity = first.connection.identity().unwrap();
    let key = identity.anchor_key_hex().unwrap().to_uppercase();
    for (domain, ca, is_good) in [
        ("example.org", "CN=Nodes 2026", true),
        ("example.org", &*key, true),
        ("example.org", "CN=Nodes 2027", false),
        ("example.com", "CN=Nodes 2026", false),
    ] {
        let acceptor = by(scene.builder().with_trust_domain(domain, [ca]));
        // It has no SPIFFE ID.
        accepted(&acceptor, config(&plain)).await;
        if is_good {
            accepted(&acceptor, config(&svid)).await;
            continue;
        }
        let (error, theirs) = refused(&acceptor, config(&svid)).await;
        assert_eq!(error.reason(), Reason::TrustDomain);
        let words = "the client's certificate has the SPIFFE ID `spiffe://example.org/node-7`, for \
                     whose trust domain its client CA `CN=Nodes 2026` may not vouch";
        assert_eq!(error.to_string(), words);
        assert!(theirs.ends_with("AccessDenied"), "{theirs}");
    }
}

#[tokio::test]
async fn a_rule_by_the_issuers_name_is_not_one_by_the_client_ca() {
    let (mine, theirs) = (Ca::new("Mine"), Ca::new("Theirs"));
    // The other root's intermediate has my root's name.
    let impostor = theirs.sub("Mine", |_| {});
    let files = Files::new();
    let bundle = files.put("ca.crt", format!("{}{}", mine.pem, theirs.pem));
    let server = mine.server(&["localhost"]);
    let builder = files.server(&server);
    let builder = builder.require_client_certificates(ClientCas::new([bundle]));
    let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
    let (good, bad) = (mine.client("node-7"), impostor.client("node-7"));
    let (good, _one) = accepted(&acceptor, client(&mine, Some((&good, &[])))).await;
    let (bad, _two) = accepted(&acceptor, client(&mine, Some((&bad, &[&impostor])))).await;
    let [good, bad] = [&good, &bad].map(|one| one.connection.identity().unwrap());
    let key = good.anchor_key_hex().unwrap();
    for (field, pattern, matches_bad) in [
        ("issuer", "CN=Mine", true),
        ("anchor", "CN=Mine", false),
        ("anchor.key", key, false),
    ] {
        let rule = Rule::new("node").unwrap().when(field, pattern).unwrap();
        let mapping = Mapping::new([rule]).unwrap();
        assert_eq!(mapping.principal(good).id(), "node", "{field}");
        let id = if matches_bad { "node" } else { "CN=node-7" };
        assert_eq!(mapping.principal(bad).id(), id, "{field}");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_told_by_what_it_is() {
    let scene = Scene::new();
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Reason::NotTls),
        (b"", Reason::Closed),
        (b"\x16\x03\x01", Reason::Closed),
        (
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            Reason::ProtocolViolation,
        ),
    ] {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let mut theirs = TcpStream::connect(address).await.unwrap();
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let (ours, _) = tcp.accept().await.unwrap();
        let error = scene.acceptor().accept(ours).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn the_bundle_in_the_explanation_is_bounded() {
    let files = Files::new();
    let cas: Vec<_> = (0..40).map(|at| Ca::new(&format!("CA {at}"))).collect();
    let bundle: String = cas.iter().map(|ca| ca.pem.as_str()).collect();
    let bundle = files.put("ca.crt", bundle);
    let server = cas[0].server(&["localhost"]);
    let builder = files.server(&server);
    let material = builder.require_client_certificates(ClientCas::new([bundle]));
    let acceptor = Acceptor::new(Watched::fixed(material.load().unwrap()));
    let stranger = Ca::new("Strangers").client(&"x".repeat(60));
    let config = client(&cas[0], Some((&stranger, &[])));
    let (error, _) = refused(&acceptor, config).await;
    assert!(
        error.to_string().ends_with("`CN=CA 9` and 30 more"),
        "{error}"
    );
}

/// A stream whose device fails.
#[derive(Debug)]
struct Failing;

impl AsyncRead for Failing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Poll::Ready(Err(std::io::Error::other("the device is gone")))
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn what_fails_on_this_side_is_not_put_on_the_client() {
    let acceptor = Scene::new().acceptor();
    let peer = "10.0.0.1:1".parse().unwrap();
    let error = acceptor.accept_from(Failing, peer).await.unwrap_err();
    assert_eq!(error.reason(), Reason::Internal);
    assert_eq!(error.alert(), None);
    assert_eq!(
        error.to_string(),
        "the connection failed: the device is gone"
    );
}
