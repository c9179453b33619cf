//! The reasons for refusing a handshake that CRLs and cryptography give, as in `tls_reasons.rs`.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::sync::Arc;

use pki::{Ca, Files, Leaf, client, refused, without_ed25519};
use portcullis::Watched;
use portcullis::crl::{Options, Revocation};
use portcullis::tls::{Acceptor, Builder, Reason};
use rcgen::CertificateRevocationList;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

struct Scene {
    files: Files,
    nodes: Ca,
}

impl Scene {
    fn new() -> Self {
        Self {
            files: Files::new(),
            nodes: Ca::new("Nodes 2026"),
        }
    }

    fn builder(&self) -> Builder {
        let server = self.nodes.server(&["localhost"]);
        self.files.requiring(&server, &self.nodes)
    }

    fn by(&self, lists: &[CertificateRevocationList]) -> Acceptor {
        let lists = lists.iter().map(|list| &list.der()[..]);
        let revocation = Revocation::from_bytes(lists, Options::default()).unwrap();
        let material = self.builder().with_revocation(revocation).load().unwrap();
        Acceptor::new(Watched::fixed(material))
    }
}

struct Row<'a> {
    what: &'a str,
    lists: Vec<CertificateRevocationList>,
    leaf: &'a Leaf,
    above: Vec<&'a Ca>,
    reason: Reason,
    /// How the words begin and end: between is a date.
    words: (&'a str, &'a str),
    /// As the server tells it, and as rustls's client calls it.
    alert: (&'a str, &'a str),
}

fn serial(number: u64) -> impl FnOnce(&mut rcgen::CertificateParams) {
    move |params| params.serial_number = Some(number.into())
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a table")]
async fn each_verdict_on_revocation_is_explained_and_the_alert_fits() {
    let scene = Scene::new();
    let nodes = &scene.nodes;
    let node = nodes.client_with("node-7", serial(7));
    let sub = nodes.sub("Sub", serial(8));
    let under_sub = sub.client_with("node-9", serial(9));
    let impostor = Ca::new("Nodes 2026");
    let past = nodes.crl_with(4, &[], |list| {
        list.this_update -= time::Duration::DAY * 3;
        list.next_update -= time::Duration::DAY * 2;
    });
    let of_node = "whether the client's certificate `CN=node-7` is revoked by `CN=Nodes 2026` is \
        unknown: ";
    let unknown = ("certificate_unknown", "CertificateUnknown");
    let revoked = ("certificate_revoked", "CertificateRevoked");
    for row in [
        Row {
            what: "revoked",
            lists: vec![nodes.crl(2, &[7])],
            leaf: &node,
            above: vec![],
            reason: Reason::CertificateRevoked,
            words: (
                "the client's certificate `CN=node-7` was revoked on 20",
                "(keyCompromise) by CRL 02 of `CN=Nodes 2026`",
            ),
            alert: revoked,
        },
        Row {
            what: "revoked intermediate",
            lists: vec![nodes.crl(3, &[8]), sub.crl(1, &[])],
            leaf: &under_sub,
            above: vec![&sub],
            reason: Reason::CertificateRevoked,
            words: (
                "the intermediate CA's certificate `CN=Sub` was revoked on 20",
                "(keyCompromise) by CRL 03 of `CN=Nodes 2026`",
            ),
            alert: revoked,
        },
        Row {
            what: "no list",
            lists: vec![Ca::new("Strangers").crl(1, &[])],
            leaf: &node,
            above: vec![],
            reason: Reason::RevocationUnknown,
            words: (of_node, "no CRL of its issuer covers it: there is none"),
            alert: unknown,
        },
        Row {
            what: "no list of the intermediate",
            lists: vec![nodes.crl(1, &[])],
            leaf: &under_sub,
            above: vec![&sub],
            reason: Reason::RevocationUnknown,
            words: (
                "whether the client's certificate `CN=node-9` is revoked by `CN=Sub` is unknown: ",
                "no CRL of its issuer covers it: there is none",
            ),
            alert: unknown,
        },
        Row {
            what: "a list of another key under the name",
            lists: vec![impostor.crl(1, &[])],
            leaf: &node,
            above: vec![],
            reason: Reason::RevocationUnknown,
            words: (of_node, "forged, or by another key of that name"),
            alert: unknown,
        },
        Row {
            what: "a list past its time",
            lists: vec![past],
            leaf: &node,
            above: vec![],
            reason: Reason::CrlExpired,
            words: (of_node, "the CRL for it is past its next update"),
            alert: unknown,
        },
    ] {
        let config = client(nodes, Some((row.leaf, &row.above)));
        let (error, theirs) = refused(&scene.by(&row.lists), config).await;
        let (begin, end) = row.words;
        let words = error.to_string();
        assert!(words.starts_with(begin), "{}: {words}", row.what);
        assert!(words.ends_with(end), "{}: {words}", row.what);
        assert_eq!(error.reason(), row.reason, "{}", row.what);
        assert_eq!(error.alert().as_deref(), Some(row.alert.0), "{}", row.what);
        assert!(theirs.ends_with(row.alert.1), "{}: {theirs}", row.what);
        assert!(error.path().unwrap().starts_with('`'), "{}", row.what);
    }
}

#[tokio::test]
async fn a_signature_of_an_algorithm_that_is_not_supported_is_told() {
    let scene = Scene::new();
    let builder = scene.builder().with_provider(Arc::new(without_ed25519()));
    let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
    let sub = scene.nodes.sub_of(&rcgen::PKCS_ED25519, "Sub");
    let node = sub.client("node-7");
    let config = client(&scene.nodes, Some((&node, &[&sub])));
    let (error, theirs) = refused(&acceptor, config).await;
    assert_eq!(error.reason(), Reason::UnsupportedAlgorithm, "{error}");
    let words = "the client's certificate `CN=node-7` or a CA above it is signed by Ed25519 \
        (1.3.101.112), an algorithm that is not supported";
    assert_eq!(error.to_string(), words);
    let alert = error.alert().unwrap();
    let theirs = theirs.to_lowercase();
    assert!(
        theirs.ends_with(&alert.replace('_', "")),
        "{alert}: {theirs}"
    );
}

#[tokio::test]
async fn a_client_without_a_cipher_or_group_in_common_is_told_so() {
    let scene = Scene::new();
    let node = scene.nodes.client("node-7");
    let change_suites = |provider: &mut CryptoProvider| provider.cipher_suites.truncate(1);
    let change_groups = |provider: &mut CryptoProvider| provider.kx_groups.truncate(1);
    for (what, change) in [
        (
            "cipher suites",
            &change_suites as &dyn Fn(&mut CryptoProvider),
        ),
        ("groups", &change_groups),
    ] {
        let mut ours = aws_lc_rs::default_provider();
        change(&mut ours);
        let mut theirs = aws_lc_rs::default_provider();
        theirs
            .cipher_suites
            .retain(|one| what == "groups" || *one != ours.cipher_suites[0]);
        theirs
            .kx_groups
            .retain(|one| what != "groups" || one.name() != ours.kx_groups[0].name());
        let builder = scene.builder().with_provider(Arc::new(ours));
        let acceptor = Acceptor::new(Watched::fixed(builder.load().unwrap()));
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(theirs))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(scene.nodes.roots())
            .with_client_auth_cert(vec![node.der.clone()], node.key())
            .unwrap();
        let (error, seen) = refused(&acceptor, config).await;
        assert_eq!(error.reason(), Reason::NoCommonCipher, "{what}: {error}");
        assert_eq!(
            error.alert().as_deref(),
            Some("handshake_failure"),
            "{what}"
        );
        assert!(seen.ends_with("HandshakeFailure"), "{what}: {seen}");
        assert!(
            error.to_string().contains("no cryptography in common"),
            "{error}"
        );
    }
}
