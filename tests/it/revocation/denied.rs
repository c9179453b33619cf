//! The deny list: at the handshake, on each request of a connection, on transfers in flight and idle connections.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use pki::{Ca, Files, Leaf, accepted, client, refused};
use portcullis::admin::Admin;
use portcullis::config::Config;
use portcullis::crl::{CertPath, DenyList, Revocation};
use portcullis::record::{Cut, Record};
use portcullis::reload::WatchOptions;
use portcullis::tls::{Acceptor, Reason};
use portcullis::{Connection, Guard, Watched};
use rcgen::{CertificateParams, SanType};
use sha2::Digest;
use tokio::io::AsyncReadExt;
use tower::{Layer, ServiceExt, service_fn};

use super::support::streaming;

/// Longer than anything takes here.
const LONGEST: Duration = Duration::from_secs(60);

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn fingerprint(der: &[u8]) -> String {
    format!("fingerprint:{}", hex(&sha2::Sha256::digest(der)))
}

fn key(der: &[u8]) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let digest = sha2::Sha256::digest(certificate.public_key().raw);
    format!("key:{}", hex(&digest))
}

fn with_id(params: &mut CertificateParams, id: &str) {
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
}

fn numbered(ca: &Ca, serial: u64) -> Leaf {
    ca.client_with("node", |params| {
        params.serial_number = Some(serial.into());
        with_id(params, &format!("spiffe://example.org/node/{serial}"));
    })
}

/// The same certificate with (r, n - s) in the place of its signature (r, s) by P-256, which is as good.
fn twin(der: &[u8]) -> Vec<u8> {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let signature = certificate.signature_value.data.to_vec();
    let r = &signature[4..4 + usize::from(signature[3])];
    let s = &signature[4 + r.len() + 2..];
    let mut other = ORDER.to_vec();
    let mut borrow = 0;
    let mut own = s.iter().rev();
    for octet in other.iter_mut().rev() {
        let left = i32::from(*octet) - i32::from(*own.next().unwrap_or(&0)) - borrow;
        borrow = i32::from(left < 0);
        *octet = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    let zeros = other.iter().take_while(|octet| **octet == 0).count();
    other.drain(..zeros);
    if other[0] >= 0x80 {
        other.insert(0, 0);
    }
    let octet = |length: usize| u8::try_from(length).unwrap();
    let integer = |content: &[u8]| [&[2, octet(content.len())], content].concat();
    let pair = [integer(r), integer(&other)].concat();
    let bits = [&[0, 0x30, octet(pair.len())], &*pair].concat();
    let bits = [&[3, octet(bits.len())], &*bits].concat();
    // The header of the certificate has four octets, that of the signature two and one for unused bits.
    let content = [&der[4..der.len() - signature.len() - 3], &*bits].concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82][..], &length, &content].concat()
}

#[tokio::test]
async fn a_certificate_is_denied_by_its_fingerprint_whichever_of_two_signatures_it_bears() {
    let files = Files::new();
    let ca = Ca::new("Root");
    let server = ca.server(&["localhost"]);
    // The lengths of the numbers differ.
    for serial in 0..20 {
        let mut leaf = numbered(&ca, serial);
        let line = format!("{} 2026-11-30 stolen", fingerprint(&leaf.der));
        leaf.der = twin(&leaf.der).into();
        assert!(!line.contains(&fingerprint(&leaf.der)));
        for (line, is_denied) in [(&*line, true), ("", false)] {
            let list = DenyList::parse("denied", format!("# a list\n{line}\n").as_bytes()).unwrap();
            let material = files
                .requiring(&server, &ca)
                .with_revocation(Revocation::denying(list));
            let acceptor = Acceptor::new(Watched::fixed(material.load().unwrap()));
            let config = client(&ca, Some((&leaf, &[])));
            if is_denied {
                let (error, _) = refused(&acceptor, config).await;
                assert_eq!(error.reason(), Reason::CertificateDenied, "{error}");
            } else {
                drop(accepted(&acceptor, config).await);
            }
        }
    }
}

#[test]
fn a_key_in_another_form_is_no_way_around_its_entry() {
    let ca = Ca::new("Root");
    let anchor = ca.roots().roots.remove(0);
    // So long that each length has as many octets afterwards.
    let leaf = ca.client_with("node", |params| {
        with_id(params, &format!("spiffe://example.org/{}", "n".repeat(300)));
    });
    assert!(CertPath::new(&leaf.der, &[], &anchor).is_ok());
    // A compressed point has the first of its two numbers, and the other's sign.
    let (_, certificate) = x509_parser::parse_x509_certificate(&leaf.der).unwrap();
    let point = &certificate.public_key().subject_public_key.data;
    let at = leaf
        .der
        .windows(point.len())
        .position(|part| part == &**point);
    let at = at.unwrap();
    let mut other = leaf.der.to_vec();
    other[at] = 2;
    other.drain(at + 33..at + 65);
    // Each length around it, the certificate's, of what is signed, of the key's structure and of the bits.
    for (header, octets) in [(2, 2), (6, 2), (at - 25, 1), (at - 2, 1)] {
        let length = &mut other[header..header + octets];
        let value = length
            .iter()
            .fold(0, |value, octet| value << 8 | u32::from(*octet))
            - 32;
        length.copy_from_slice(&value.to_be_bytes()[4 - octets..]);
    }
    let error = CertPath::new(&other.into(), &[], &anchor).unwrap_err();
    assert!(error.to_string().contains("compressed point"), "{error}");
}

#[tokio::test]
async fn each_kind_of_entry_denies_at_the_handshake_and_no_more_than_it_names() {
    let files = Files::new();
    let root = Ca::new("Root");
    let sub = root.sub("Sub", |_| {});
    let server = root.server(&["localhost"]);
    let (seven, eight) = (numbered(&sub, 0xfa07), numbered(&sub, 8));
    let own = fingerprint(&seven.der);
    let colons = |text: &str| {
        let (kind, digits) = text.split_once(':').unwrap();
        let pairs = digits.as_bytes().chunks(2);
        let pairs: Vec<_> = pairs.map(|two| std::str::from_utf8(two).unwrap()).collect();
        format!("{kind}:{}", pairs.join(":").to_ascii_uppercase())
    };
    let yesterday = time::OffsetDateTime::now_utc().date() - time::Duration::DAY;
    for (what, expected) in [
        (own.clone(), [true, false]),
        (colons(&own), [true, false]),
        (key(&seven.der), [true, false]),
        (
            "serial:00:fa:07 issuer:\"CN=Sub\"".to_owned(),
            [true, false],
        ),
        ("serial:FA07 issuer:cn=sub".to_owned(), [true, false]),
        ("serial:fa07 issuer:\"CN=Root\"".to_owned(), [false, false]),
        ("spiffe://example.org/node/64007".to_owned(), [true, false]),
        ("spiffe://example.org/node/6400".to_owned(), [false, false]),
        // Of the CA that issued both, and of the client CA above it.
        (fingerprint(&sub.der), [true, true]),
        (key(&sub.der), [true, true]),
        (key(&root.der), [true, true]),
    ] {
        for (tail, counts) in [
            ("2026-11-30 why not".to_owned(), true),
            (format!("2026-11-30 until=2999-01-01 {what}"), true),
            (format!("2020-01-01 until={yesterday} over"), false),
        ] {
            let line = format!("{what} {tail}\n");
            let list = DenyList::parse("denied", line.as_bytes()).unwrap();
            let material = files
                .requiring(&server, &root)
                .with_revocation(Revocation::denying(list));
            let acceptor = Acceptor::new(Watched::fixed(material.load().unwrap()));
            for (leaf, is_denied) in [&seven, &eight].into_iter().zip(expected) {
                let config = client(&root, Some((leaf, &[&sub])));
                if is_denied && counts {
                    let (error, alert) = refused(&acceptor, config).await;
                    assert_eq!(error.reason(), Reason::CertificateDenied, "{line}: {error}");
                    assert!(error.to_string().contains("(denied:1, "), "{error}");
                    assert!(alert.ends_with("CertificateRevoked"), "{alert}");
                } else {
                    drop(accepted(&acceptor, config).await);
                }
            }
        }
    }
}

const GATE: &str = r#"
[reload]
poll_interval = "50ms"
settle = "1ms"

[tls]
certificate = "tls.crt"
key = "tls.key"
client_ca = ["ca.crt"]
ending = { idle = "10ms", drain = "60s" }

[deny]
files = ["denied"]
"#;

struct Gate {
    files: Files,
    ca: Ca,
    guard: Guard,
}

impl Gate {
    fn new(denied: &str) -> Self {
        let (files, ca) = (Files::new(), Ca::new("Nodes"));
        files.pair(&ca.server(&["localhost"]));
        files.put("ca.crt", &ca.pem);
        files.put("denied", denied);
        let config = files.put("gate.toml", GATE);
        let guard = Guard::from_config(&Config::load(config).unwrap()).unwrap();
        Self { files, ca, guard }
    }

    fn acceptor(&self) -> &Acceptor {
        self.guard.acceptor().unwrap()
    }

    fn client(&self, leaf: &Leaf) -> rustls::ClientConfig {
        client(&self.ca, Some((leaf, &[])))
    }

    /// As an operator appends by hand.
    fn append(&self, line: &str) {
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(self.files.path("denied"))
            .unwrap();
        writeln!(file, "{line}").unwrap();
    }

    async fn ask(&self, connection: &Connection) -> StatusCode {
        let service = self.guard.layer(service_fn(|_request| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
        }));
        let mut request = Request::get("/v2/")
            .header("host", "registry.example")
            .body(Empty::<Bytes>::new())
            .unwrap();
        request.extensions_mut().insert(connection.clone());
        service.oneshot(request).await.unwrap().status()
    }

    /// Waits until a request on this connection is answered so.
    async fn until(&self, connection: &Connection, status: StatusCode) {
        let wait = async {
            while self.ask(connection).await != status {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONGEST, wait).await.unwrap();
    }

    /// Waits until the deny list reports this readiness.
    async fn until_told(&self, text: &str) {
        let admin = Admin::new().with_checks(self.guard.checks());
        let wait = async {
            loop {
                let request = Request::get("/readyz").body(Empty::<Bytes>::new()).unwrap();
                let body = admin.clone().oneshot(request).await.unwrap().into_body();
                let told = body.collect().await.unwrap().to_bytes();
                let told = String::from_utf8(told.to_vec()).unwrap();
                let mut lines = told.lines();
                if lines.any(|line| line.contains(" deny: ") && line.contains(text)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONGEST, wait).await.unwrap();
    }
}

#[tokio::test]
async fn a_line_ends_requests_transfers_and_idle_connections_without_any_crl() {
    let gate = Gate::new("# none yet\n");
    let (node, other) = (numbered(&gate.ca, 7), numbered(&gate.ca, 8));
    let (server, mut idle) = accepted(gate.acceptor(), gate.client(&node)).await;
    let (second, _second) = accepted(gate.acceptor(), gate.client(&node)).await;
    let (bystander, _bystander) = accepted(gate.acceptor(), gate.client(&other)).await;
    assert_eq!(gate.ask(&second.connection).await, 200);

    let (frames, service) = streaming();
    let service = gate.guard.layer(service);
    let record = Record::default();
    let mut request = Request::get("/v2/")
        .header("host", "registry.example")
        .body(Empty::<Bytes>::new())
        .unwrap();
    request.extensions_mut().insert(second.connection.clone());
    request.extensions_mut().insert(record.clone());
    let mut transfer = service.oneshot(request).await.unwrap().into_body();
    frames.send(Bytes::from("first")).await.unwrap();
    let first = transfer.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "first");

    gate.append("spiffe://example.org/node/7 2026-11-30 laptop stolen");
    let ended = tokio::time::timeout(LONGEST, transfer.frame())
        .await
        .unwrap();
    assert!(ended.unwrap().is_err(), "the transfer in flight");
    drop(frames);
    assert_eq!(gate.ask(&second.connection).await, 403, "the next request");
    // A server that reads from it gets an error, and lets go of it.
    let mut stream = server.stream;
    let read = tokio::time::timeout(LONGEST, stream.read_u8());
    assert!(read.await.unwrap().is_err(), "the idle connection");
    drop(stream);
    let read = tokio::time::timeout(LONGEST, idle.read_u8());
    assert!(read.await.unwrap().is_err(), "the idle client");
    let (error, _) = refused(gate.acceptor(), gate.client(&node)).await;
    assert_eq!(error.reason(), Reason::CertificateDenied);
    assert!(
        error.to_string().contains("laptop stolen") && error.to_string().contains("denied:2"),
        "{error}"
    );
    assert_eq!(gate.ask(&bystander.connection).await, 200);
    drop(accepted(gate.acceptor(), gate.client(&other)).await);
    assert_eq!(record.cut_by(), Some(Cut::Revoked));
}

#[tokio::test]
async fn a_line_that_is_no_entry_takes_nothing_back_and_the_others_count_already() {
    let gate = Gate::new("spiffe://example.org/node/7 2026-11-30 stolen\n");
    let (seven, eight) = (numbered(&gate.ca, 7), numbered(&gate.ca, 8));
    let (server, _client) = accepted(gate.acceptor(), gate.client(&eight)).await;
    assert_eq!(gate.ask(&server.connection).await, 200);
    // The first is gone by a slip, and the last is wrong.
    let denied = gate.files.path("denied");
    let text = "spiffe://example.org/node/8 2026-11-30 too\nspiffe://example.org/node/7 stolen\n";
    fs::write(&denied, text).unwrap();
    gate.until(&server.connection, StatusCode::FORBIDDEN).await;
    let (error, _) = refused(gate.acceptor(), gate.client(&seven)).await;
    assert_eq!(error.reason(), Reason::CertificateDenied, "{error}");
    gate.until_told("denied:2:29: \"stolen\" is no date").await;
    // A last line without its end may be written only in part.
    fs::write(&denied, "spiffe://example.org/node/7 2026-11-30 stolen").unwrap();
    gate.until_told("denied:1:46: the last line has no end")
        .await;
    assert_eq!(gate.ask(&server.connection).await, 403);
    fs::write(&denied, "spiffe://example.org/node/7 2026-11-30 stolen\n").unwrap();
    gate.until(&server.connection, StatusCode::OK).await;
    gate.until_told("[+] deny: ok").await;
    let (error, _) = refused(gate.acceptor(), gate.client(&seven)).await;
    assert_eq!(error.reason(), Reason::CertificateDenied, "{error}");
    // A file that is gone takes nothing back either.
    fs::remove_file(&denied).unwrap();
    gate.until_told("No such file").await;
    let (error, _) = refused(gate.acceptor(), gate.client(&seven)).await;
    assert_eq!(error.reason(), Reason::CertificateDenied, "{error}");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_for_too_long_denies_everyone() {
    let folder = Files::new();
    let ca = Ca::new("Nodes");
    let file = folder.put("denied", "# none\n");
    let watch = WatchOptions::default()
        .with_poll_interval(Duration::from_millis(10))
        .with_stale_after(Duration::from_millis(1));
    let denied = DenyList::watch([&file], watch).unwrap();
    let list = ca.crl(1, &[]);
    let revocation = Revocation::builder()
        .with_denied(denied.clone())
        .from_bytes([list.der().as_ref()])
        .unwrap();
    let node = numbered(&ca, 7);
    let path = CertPath::with_anchor_certificate(&node.der, &[], &ca.der).unwrap();
    let tracked = revocation.track(path);
    assert!(tracked.is_good());
    fs::remove_file(&file).unwrap();
    let verdict = tokio::time::timeout(LONGEST, tracked.revoked())
        .await
        .unwrap();
    assert!(
        verdict.to_string().contains("deny list could not be read"),
        "{verdict}"
    );
    assert!(denied.health().lapsed);
    fs::write(&file, "# none\n").unwrap();
    let wait = async {
        while !tracked.is_good() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONGEST, wait).await.unwrap();
}

#[test]
fn a_deny_list_counts_beside_crls_and_before_them() {
    let ca = Ca::new("Nodes");
    let list = ca.crl(1, &[8]);
    let lines = "serial:07 issuer:\"CN=Nodes\" 2026-11-30 stolen\n\
        serial:08 issuer:\"CN=Nodes\" 2026-11-30 stolen\n";
    let denied = DenyList::parse("denied", lines.as_bytes()).unwrap();
    let revocation = Revocation::builder()
        .with_denied(denied)
        .from_bytes([list.der().as_ref()])
        .unwrap();
    for (serial, expected) in [(7, "denied"), (8, "denied"), (9, "good")] {
        let node = numbered(&ca, serial);
        let path = CertPath::with_anchor_certificate(&node.der, &[], &ca.der).unwrap();
        let verdict = revocation.examine(&path, SystemTime::now());
        assert_eq!(verdict.label(), expected, "{verdict}");
        let findings = revocation.explain(&path, SystemTime::now());
        assert_eq!(findings[0].verdict.label(), expected);
        assert_eq!(findings[0].decided_by.is_empty(), expected == "denied");
    }
}

#[test]
fn a_deny_list_tells_its_entries_and_counts_those_that_have_not_ended() {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_169_599);
    let lines = "spiffe://a/b 2026-11-30 stolen\n\n# none\n\
        spiffe://a/c 2026-11-30 until=2026-12-01 lost\n";
    let list = DenyList::parse("denied", lines.as_bytes()).unwrap();
    assert_eq!((list.len(), list.is_empty()), (2, false));
    let entries: Vec<_> = list
        .entries()
        .map(|one| (one.subject(), one.until(), one.reason().to_owned()))
        .collect();
    assert_eq!(
        entries,
        [
            ("spiffe://a/b".to_owned(), None, "stolen".to_owned()),
            ("spiffe://a/c".to_owned(), Some(until), "lost".to_owned()),
        ]
    );
    assert_eq!(list.active(until), 2);
    assert_eq!(list.active(until + Duration::from_secs(1)), 1);
    let none = DenyList::parse("denied", b"# none\n").unwrap();
    assert_eq!((none.len(), none.is_empty()), (0, true));
    assert_eq!(none.active(until), 0);
}

#[test]
fn of_two_entries_for_one_certificate_the_one_that_ends_later_counts() {
    let ca = Ca::new("Nodes");
    let list = ca.crl(1, &[]);
    let node = numbered(&ca, 7);
    let path = CertPath::with_anchor_certificate(&node.der, &[], &ca.der).unwrap();
    let line = |until: &str| format!("serial:07 issuer:\"CN=Nodes\" 2020-01-01 {until}stolen\n");
    let (ended, ended_later) = (line("until=2020-02-01 "), line("until=2020-03-01 "));
    let (lasting, open) = (line("until=2999-01-01 "), line(""));
    for (lines, expected) in [
        ([&ended, &open], "denied"),
        ([&open, &ended], "denied"),
        ([&ended, &lasting], "denied"),
        ([&lasting, &ended], "denied"),
        ([&lasting, &open], "denied"),
        ([&ended, &ended_later], "good"),
        ([&ended_later, &ended], "good"),
    ] {
        let lines = lines.map(String::as_str).concat();
        let denied = DenyList::parse("denied", lines.as_bytes()).unwrap();
        let revocation = Revocation::builder().with_denied(denied);
        let revocation = revocation.from_bytes([list.der().as_ref()]).unwrap();
        let verdict = revocation.examine(&path, SystemTime::now());
        assert_eq!(verdict.label(), expected, "{lines}");
    }
}

#[tokio::test]
async fn an_identity_that_a_proxy_vouches_for_is_denied_too() {
    let files = Files::new();
    let ca = Ca::new("Nodes");
    files.pair(&ca.server(&["localhost"]));
    files.put("ca.crt", &ca.pem);
    let hash = "ab".repeat(32);
    let lines = format!(
        "spiffe://example.org/node/7 2026-11-30 stolen\nfingerprint:{hash} 2026-11-30 stolen\n"
    );
    files.put("denied", lines);
    let proxies = "[forwarded]\nproxies = [\"10.0.0.0/8\"]\n\
        certificate = { form = \"xfcc\", trusted_fields = true }\n";
    let config = files.put("gate.toml", format!("{GATE}{proxies}"));
    let guard = Guard::from_config(&Config::load(config).unwrap()).unwrap();
    let other = "cd".repeat(32);
    for (fields, expected) in [
        ("URI=spiffe://example.org/node/7".to_owned(), 403),
        ("URI=spiffe://example.org/node/8".to_owned(), 200),
        (format!("Hash={hash};URI=spiffe://example.org/node/8"), 403),
        (format!("Hash={other};URI=spiffe://example.org/node/8"), 200),
    ] {
        let service = guard.layer(service_fn(|_request| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("yes"))))
        }));
        let mut request = Request::get("/v2/")
            .header("host", "registry.example")
            .header("x-forwarded-client-cert", &fields)
            .body(Empty::<Bytes>::new())
            .unwrap();
        let proxy = Connection::builder("10.0.0.1:1".parse().unwrap()).build();
        request.extensions_mut().insert(proxy);
        let status = service.oneshot(request).await.unwrap().status();
        assert_eq!(status, expected, "{fields}");
    }
}

#[test]
fn what_is_wrong_at_the_start_is_told_with_its_place() {
    let files = Files::new();
    let ca = Ca::new("Nodes");
    files.pair(&ca.server(&["localhost"]));
    files.put("ca.crt", &ca.pem);
    files.put("denied", "# a comment\nnode-7 2026-11-30 stolen\n");
    files.put("latin", b"spiffe://a/b 2026-11-30 caf\xe9\n");
    files.put("good", "spiffe://a/b 2026-11-30 stolen\n");
    let tls = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n";
    let with_ca = format!("{tls}client_ca = [\"ca.crt\"]\n");
    let load = |text: String| {
        let config = files.put("gate.toml", text);
        Config::load(config).and_then(|config| Guard::from_config(&config))
    };
    for (head, files, expected) in [
        (
            &with_ca,
            "[\"good\", \"denied\"]",
            "gate.toml:6:18: deny.files[1]: ",
        ),
        (
            &with_ca,
            "[\"denied\"]",
            "denied:2:1: \"node-7\" names no certificate",
        ),
        (&with_ca, "[\"latin\"]", "latin:1: it is not UTF-8"),
        (&with_ca, "[\"missing\"]", "gate.toml:6:10: deny.files[0]: "),
        (
            &with_ca,
            "[]",
            "gate.toml:6:9: deny.files: no file is named",
        ),
        (
            &tls.to_owned(),
            "[\"good\"]",
            "a deny list is about client certificates",
        ),
    ] {
        let error = load(format!("{head}[deny]\nfiles = {files}\n")).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let guard = load(format!("{with_ca}[deny]\nfiles = [\"good\"]\n")).unwrap();
    let report = guard.report().to_string();
    for line in [
        "enforced: denied certificates are refused, on open connections too, by 1 entry\n",
        "left open: no CRL is asked for certificates of \"CN=Nodes\"\n",
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(!report.contains("0 CRLs"), "{report}");
}
