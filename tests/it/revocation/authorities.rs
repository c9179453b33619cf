//! What is required of the certificates of each client CA: of those that publish lists, and those that do not.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::time::{Duration, SystemTime};

use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::config::Config;
use portcullis::crl::{AuthorityRule, CertPath, CrlError, Options, Revocation, Tracked};
use portcullis::tls::{Acceptor, ClientCas, Reason};
use portcullis::{Guard, Watched};
use rcgen::{CertificateParams, CustomExtension};

const NO_REV_AVAIL: &[u64] = &[2, 5, 29, 56];

fn extension(oid: &[u64], content: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, content.to_vec())
}

fn no_rev_avail(critical: bool) -> CustomExtension {
    let mut extension = extension(NO_REV_AVAIL, &[5, 0]);
    extension.set_criticality(critical);
    extension
}

fn numbered(ca: &Ca, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
    ca.client_with("node", |params| {
        params.serial_number = Some(serial.into());
        change(params);
    })
}

fn lasting(params: &mut CertificateParams, span: time::Duration) {
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::MINUTE;
    params.not_after = params.not_before + span;
}

fn path(leaf: &Leaf, above: &[&Ca], root: &Ca) -> Result<CertPath, CrlError> {
    let above: Vec<_> = above.iter().map(|ca| ca.der.clone()).collect();
    CertPath::with_anchor_certificate(&leaf.der, &above, &root.der)
}

fn said(revocation: &Revocation, path: &CertPath) -> String {
    let verdict = revocation.examine(path, SystemTime::now());
    match verdict.exemption() {
        Some(why) => format!("exempt: {why}"),
        None => verdict.label().to_owned(),
    }
}

#[test]
fn a_certificate_without_revocation_information_needs_no_list() {
    let (ca, other) = (Ca::new("Nodes"), Ca::new("Others"));
    let build = |list: &rcgen::CertificateRevocationList| {
        Revocation::from_bytes([list.der().as_ref()], Options::default()).unwrap()
    };
    let (none, good, over) = (
        build(&other.crl(1, &[])),
        build(&ca.crl(1, &[])),
        build(&ca.crl_with(1, &[], |list| {
            list.this_update -= time::Duration::DAY * 2;
            list.next_update -= time::Duration::DAY * 2;
        })),
    );
    let revoked = build(&ca.crl(1, &[7]));
    for critical in [false, true] {
        let leaf = numbered(&ca, 7, |params| {
            params.custom_extensions = vec![no_rev_avail(critical)];
        });
        let path = path(&leaf, &[], &ca).unwrap();
        assert_eq!(said(&none, &path), "exempt: no_rev_avail");
        assert_eq!(said(&over, &path), "exempt: no_rev_avail");
        assert_eq!(said(&good, &path), "good");
        // A CA may say two things; what takes a certificate back wins.
        assert_eq!(said(&revoked, &path), "revoked");
    }
    let plain = path(&numbered(&ca, 7, |_| {}), &[], &ca).unwrap();
    assert_eq!(said(&none, &plain), "unknown");
    assert_eq!(said(&over, &plain), "unknown");
}

#[test]
fn a_certificate_that_contradicts_its_own_word_is_invalid() {
    const CRLS: &[u8] = &[
        0x30, 0x0b, 0x30, 0x09, 0xa0, 0x07, 0xa0, 0x05, 0x86, 0x03, b'a', b':', b'b',
    ];
    // AuthorityInfoAccessSyntax with one description: id-ad-ocsp or id-ad-caIssuers, URI.
    let access = |method: u8| {
        let mut bytes = vec![0x30, 0x11, 0x30, 0x0f, 0x06, 0x08];
        bytes.extend([0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, method]);
        bytes.extend([0x86, 0x03, b'a', b':', b'b']);
        extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], &bytes)
    };
    let ca = Ca::new("Nodes");
    let check = |extensions: Vec<CustomExtension>| {
        let leaf = numbered(&ca, 7, |params| params.custom_extensions = extensions);
        path(&leaf, &[], &ca)
            .map(drop)
            .map_err(|error| match error {
                CrlError::NoRevAvail { why, .. } => why,
                other => panic!("{other}"),
            })
    };
    for (extensions, expected) in [
        (vec![no_rev_avail(false)], Ok(())),
        (vec![no_rev_avail(false), access(2)], Ok(())),
        (vec![access(1)], Ok(())),
        (
            vec![no_rev_avail(false), access(1)],
            Err("it names an OCSP responder"),
        ),
        (
            vec![extension(&[2, 5, 29, 31], CRLS), no_rev_avail(false)],
            Err("it names CRL distribution points"),
        ),
        (
            vec![no_rev_avail(true), extension(&[2, 5, 29, 46], CRLS)],
            Err("it names delta CRLs"),
        ),
        (
            vec![extension(NO_REV_AVAIL, &[5, 1, 0])],
            Err("its value is not NULL"),
        ),
    ] {
        assert_eq!(check(extensions), expected);
    }
    let sub = ca.sub("Sub", |params| {
        params.custom_extensions = vec![no_rev_avail(false)];
    });
    let error = path(&numbered(&sub, 7, |_| {}), &[&sub], &ca).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("of CN=Sub says noRevAvail, but it is a CA's"),
        "{error}"
    );
}

/// What a certificate says of its lists and of its key is read, or the certificate is refused: never is a part
/// left out, and other lists answer for it.
#[test]
fn a_certificate_whose_word_about_revocation_cannot_be_read_is_refused() {
    const POINTS: &[u64] = &[2, 5, 29, 31];
    let ca = Ca::new("Nodes");
    let check = |extensions: Vec<CustomExtension>| {
        let leaf = numbered(&ca, 7, |params| params.custom_extensions = extensions);
        path(&leaf, &[], &ca)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let access = extension(&[1, 3, 6, 1, 5, 5, 7, 1, 1], &[0x30, 3, 2]);
    for (extensions, says) in [
        (vec![extension(POINTS, &[0x30, 3, 1])], "malformed"),
        (vec![extension(POINTS, &[])], "malformed"),
        (
            vec![extension(&[2, 5, 29, 14], &[0x30, 3, 1])],
            "its subject key identifier is no OCTET STRING",
        ),
        (
            vec![no_rev_avail(false), access],
            "what it names for access to its CA cannot be read",
        ),
        (
            vec![no_rev_avail(false), extension(POINTS, &[0x30, 3, 1])],
            "malformed",
        ),
    ] {
        let error = check(extensions).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_short_lived_certificate_needs_no_list_and_a_ca_always_does() {
    let root = Ca::new("Root");
    let hour = time::Duration::HOUR;
    let sub = root.sub("Sub", |params| lasting(params, hour));
    let options = Options::default().with_short_lived(Some(Duration::from_secs(2 * 3_600)));
    let of_root = root.crl(1, &[]);
    let revocation = Revocation::from_bytes([of_root.der().as_ref()], options).unwrap();
    for (span, expected) in [
        (hour, "exempt: short_lived"),
        (hour * 2, "exempt: short_lived"),
        (hour * 2 + time::Duration::SECOND, "unknown"),
    ] {
        let leaf = numbered(&sub, 7, |params| lasting(params, span));
        let path = path(&leaf, &[&sub], &root).unwrap();
        assert_eq!(said(&revocation, &path), expected, "{span}");
    }
    let of_sub = sub.crl(1, &[7]);
    let lists = [of_root.der().as_ref(), of_sub.der().as_ref()];
    let both = Revocation::from_bytes(lists, options).unwrap();
    let without_root = Revocation::from_bytes([of_sub.der().as_ref()], options).unwrap();
    let revoked = path(&numbered(&sub, 7, |one| lasting(one, hour)), &[&sub], &root).unwrap();
    assert_eq!(said(&both, &revoked), "revoked");
    let good = path(&numbered(&sub, 8, |one| lasting(one, hour)), &[&sub], &root).unwrap();
    assert_eq!(said(&both, &good), "good");
    assert_eq!(
        said(&without_root, &good),
        "unknown",
        "of the CA no list says anything"
    );
}

/// SHA-256 of its public key.
fn key(ca: &Ca) -> String {
    use sha2::Digest;
    let (_, certificate) = x509_parser::parse_x509_certificate(&ca.der).unwrap();
    let digest = sha2::Sha256::digest(certificate.public_key().raw);
    let digits: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    digits.join(":")
}

#[tokio::test]
async fn of_two_client_cas_of_one_name_each_is_held_to_the_rule_for_its_key() {
    let (exempt, held) = (Ca::new("Nodes"), Ca::new("Nodes"));
    let rule = AuthorityRule::without_crl(&key(&exempt)).unwrap();
    let unrelated = Ca::new("Unrelated").crl(1, &[]);
    for pems in [[&exempt.pem, &held.pem], [&held.pem, &exempt.pem]] {
        let files = Files::new();
        let bundle = files.put("ca.crt", pems.map(String::as_str).concat());
        let revocation = Revocation::builder()
            .with_rules([rule.clone()])
            .from_bytes([unrelated.der().as_ref()])
            .unwrap();
        let material = files
            .server(&exempt.server(&["localhost"]))
            .require_client_certificates(ClientCas::new([bundle]))
            .with_revocation(revocation)
            .load()
            .unwrap();
        let acceptor = Acceptor::new(Watched::fixed(material));
        let showing = |ca: &Ca| client(&exempt, Some((&ca.client("node"), &[])));
        accepted(&acceptor, showing(&exempt)).await;
        let (error, _) = refused(&acceptor, showing(&held)).await;
        assert_eq!(error.reason(), Reason::RevocationUnknown);
    }
}

#[test]
fn each_client_ca_is_held_to_its_own_rule() {
    let (strict, listed, none) = (Ca::new("Strict"), Ca::new("Listed"), Ca::new("None"));
    let rules = [
        AuthorityRule::if_listed(&key(&listed)).unwrap(),
        AuthorityRule::without_crl("cn=none").unwrap(),
    ];
    let build = |lists: &[&[u8]]| {
        let builder = Revocation::builder().with_rules(rules.clone());
        builder.from_bytes(lists.iter().copied()).unwrap()
    };
    let of_strict = strict.crl(1, &[7]);
    let (of_listed, of_none) = (listed.crl(1, &[7]), none.crl(1, &[7]));
    let over = listed.crl_with(1, &[], |list| {
        list.this_update -= time::Duration::DAY * 2;
        list.next_update -= time::Duration::DAY * 2;
    });
    for (lists, expected) in [
        (
            vec![of_strict.der()],
            [("revoked", "good"), ("unknown_allowed", "unknown_allowed")],
        ),
        (
            vec![of_listed.der()],
            [("unknown", "unknown"), ("revoked", "good")],
        ),
        (
            vec![over.der()],
            [("unknown", "unknown"), ("unknown", "unknown")],
        ),
    ] {
        let lists: Vec<&[u8]> = lists
            .into_iter()
            .chain([of_none.der()])
            .map(AsRef::as_ref)
            .collect();
        let revocation = build(&lists);
        for (ca, (seven, eight)) in [&strict, &listed].into_iter().zip(expected) {
            for (serial, expected) in [(7, seven), (8, eight)] {
                let path = path(&numbered(ca, serial, |_| {}), &[], ca).unwrap();
                assert_eq!(said(&revocation, &path), expected);
            }
        }
        let path = path(&numbered(&none, 7, |_| {}), &[], &none).unwrap();
        assert_eq!(said(&revocation, &path), "exempt: authority");
        let findings = revocation.explain(&path, SystemTime::now());
        assert_eq!(findings[0].verdict.label(), "exempt");
        assert!(findings[0].decided_by.is_empty());
    }
}

#[test]
fn how_short_a_life_needs_no_list_is_said_of_each_client_ca() {
    let (root, other) = (Ca::new("Root"), Ca::new("Other"));
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let rule = AuthorityRule::required("CN=Root").unwrap();
    let unrelated = Ca::new("Unrelated").crl(1, &[]);
    let revocation = Revocation::builder()
        .with_rules([rule.with_short_lived(minutes(60))])
        .with_options(Options::default().with_short_lived(Some(minutes(120))))
        .from_bytes([unrelated.der().as_ref()])
        .unwrap();
    for (ca, span, expected) in [
        (&root, 60, "exempt: short_lived"),
        (&root, 61, "unknown"),
        (&other, 61, "exempt: short_lived"),
        (&other, 121, "unknown"),
    ] {
        let span = time::Duration::minutes(span);
        let leaf = numbered(ca, 7, |params| lasting(params, span));
        let path = path(&leaf, &[], ca).unwrap();
        assert_eq!(said(&revocation, &path), expected, "{span}");
    }
}

const GATE: &str = r#"
[reload]
poll_interval = "50ms"
settle = "5ms"

[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["nodes.crt", "mesh.crt", "cluster.crt"]

[crl]
files = ["crls"]
short_lived = "2h"

[[crl.authority]]
ca = "CN=Mesh"
revocation = "if-listed"

[[crl.authority]]
ca = "cn=cluster"
revocation = "none"
"#;

struct Gate {
    files: Files,
    server_ca: Ca,
    nodes: Ca,
    mesh: Ca,
    cluster: Ca,
    guard: Guard,
}

impl Gate {
    fn new() -> Self {
        let (files, server_ca) = (Files::new(), Ca::new("Servers"));
        let (nodes, mesh, cluster) = (Ca::new("Nodes"), Ca::new("Mesh"), Ca::new("cluster"));
        files.pair(&server_ca.server(&["localhost"]));
        for (name, ca) in [("nodes", &nodes), ("mesh", &mesh), ("cluster", &cluster)] {
            files.put(&format!("{name}.crt"), &ca.pem);
        }
        std::fs::create_dir(files.path("crls")).unwrap();
        files.put("crls/nodes.crl", nodes.crl(1, &[8]).der());
        let config = files.put("gate.toml", GATE);
        let guard = Guard::from_config(&Config::load(config).unwrap()).unwrap();
        Self {
            files,
            server_ca,
            nodes,
            mesh,
            cluster,
            guard,
        }
    }

    fn client(&self, leaf: &Leaf) -> rustls::ClientConfig {
        client(&self.server_ca, Some((leaf, &[])))
    }
}

#[tokio::test]
async fn a_gate_lets_clients_in_by_the_rule_for_their_ca() {
    let gate = Gate::new();
    let acceptor = gate.guard.acceptor().unwrap();
    let day = |params: &mut CertificateParams| lasting(params, time::Duration::DAY);
    for (leaf, expected) in [
        (numbered(&gate.nodes, 7, day), Ok("good")),
        (
            numbered(&gate.nodes, 8, day),
            Err(Reason::CertificateRevoked),
        ),
        (numbered(&gate.mesh, 7, day), Ok("unknown_allowed")),
        (
            numbered(&gate.mesh, 7, |one| lasting(one, time::Duration::HOUR)),
            Ok("exempt"),
        ),
        (numbered(&gate.cluster, 8, day), Ok("exempt")),
    ] {
        match expected {
            Ok(label) => {
                let (server, _client) = accepted(acceptor, gate.client(&leaf)).await;
                let tracked = server.connection.state::<Tracked>().unwrap();
                assert_eq!(tracked.verdict().label(), label);
            }
            Err(reason) => {
                let (error, alert) = refused(acceptor, gate.client(&leaf)).await;
                assert_eq!(error.reason(), reason, "{error}");
                assert!(alert.contains("CertificateRevoked"), "{alert}");
            }
        }
    }
    let report = gate.guard.report();
    for line in [
        "enforced: a CRL must answer for each certificate of \"CN=Nodes\"\n",
        "left open: certificates of \"CN=Mesh\" pass if no CRL is about them\n",
        "left open: certificates of \"CN=Mesh\" that are valid for no longer than 2 hours need no CRL\n",
        "left open: no CRL is asked for certificates of \"CN=cluster\"\n",
    ] {
        assert!(report.to_string().contains(line), "{line}: {report}");
    }
}

#[tokio::test]
async fn a_list_that_comes_later_ends_the_connections_of_a_ca_that_had_none() {
    let gate = Gate::new();
    let leaf = numbered(&gate.mesh, 7, |_| {});
    let acceptor = gate.guard.acceptor().unwrap();
    let (server, _client) = accepted(acceptor, gate.client(&leaf)).await;
    let tracked = server.connection.state::<Tracked>().unwrap().clone();
    assert_eq!(tracked.verdict().label(), "unknown_allowed");
    gate.files
        .put("crls/mesh.crl", gate.mesh.crl(1, &[7]).der());
    let verdict = tokio::time::timeout(Duration::from_secs(60), tracked.revoked());
    assert_eq!(verdict.await.unwrap().label(), "revoked");
    let (error, _) = refused(acceptor, gate.client(&leaf)).await;
    assert_eq!(error.reason(), Reason::CertificateRevoked);
}

#[tokio::test]
async fn without_any_list_rules_are_enough() {
    let files = Files::new();
    let (server_ca, cluster) = (Ca::new("Servers"), Ca::new("cluster"));
    files.pair(&server_ca.server(&["localhost"]));
    files.put("ca.crt", &cluster.pem);
    let text = |crl: &str| {
        format!(
            "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n[crl]\n{crl}"
        )
    };
    let load = |crl: &str| {
        let config = files.put("gate.toml", text(crl));
        Config::load(config).and_then(|config| Guard::from_config(&config))
    };
    let guard = load("[[crl.authority]]\nca = \"CN=cluster\"\nrevocation = \"none\"\n").unwrap();
    let leaf = numbered(&cluster, 7, |_| {});
    let (server, _client) = accepted(
        guard.acceptor().unwrap(),
        client(&server_ca, Some((&leaf, &[]))),
    )
    .await;
    assert!(server.connection.identity().is_some());
    let error = load("").unwrap_err().to_string();
    assert!(
        error.contains("no file or folder of CRLs is named"),
        "{error}"
    );
    for (crl, expected) in [
        (
            "[[crl.authority]]\nca = \"cluster\"\n",
            "gate.toml:7:6: crl.authority[0].ca: a CA is named by its subject in RFC 4514 form",
        ),
        (
            "[[crl.authority]]\nca = \"CN=a\"\n[[crl.authority]]\nca = \"cn=A\"\n",
            "gate.toml:9:6: crl.authority[1].ca: \"cn=A\" has a rule already",
        ),
        (
            "[[crl.authority]]\nca = \"CN=a\"\nrevocation = \"never\"\n",
            "gate.toml:8:14: crl.authority[0].revocation: one of \"required\"",
        ),
        (
            "short_lived = \"40days\"\n",
            "gate.toml:6:15: crl.short_lived: \"40days\" is not from \"1s\" to",
        ),
    ] {
        let error = load(crl).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_rule_that_is_for_no_certificate_is_told_with_its_line() {
    let files = Files::new();
    let cluster = Ca::new("cluster");
    files.pair(&Ca::new("Servers").server(&["localhost"]));
    files.put("ca.crt", &cluster.pem);
    files.put("crl.pem", cluster.crl(1, &[]).pem().unwrap());
    let text = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n\
        [crl]\nfiles = [\"crl.pem\"]\n\
        [[crl.authority]]\nca = \"CN=cluster\"\nrevocation = \"none\"\n\
        [[crl.authority]]\nca = \"CN=mesh\"\n";
    let config = files.put("gate.toml", text);
    let guard = Guard::from_config(&Config::load(config).unwrap()).unwrap();
    let told = guard.report().to_string();
    for line in [
        "gate.toml:11:6: crl.authority[1].ca: no client CA is named \"CN=mesh\"",
        "gate.toml:4:14: tls.client_ca[0]: there is a CRL of \"CN=cluster\", but none is asked",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}
