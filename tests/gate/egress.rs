//! A node's own requests to other gates.

use std::time::{Duration, Instant};

use rcgen::CertificateParams;
use tokio::net::TcpStream;

use crate::pki::{Ca, Files, Leaf, swap_secret};
use crate::support::{BY_TOKEN, Head, MANIFEST, Program, Registry, Wire, assert_problem, within};

/// What two nodes have of one CA.
struct Pki {
    ca: Ca,
    /// The certificates of the gates: of the one that is asked, number 7, and of the one that asks, number 8.
    asked: Leaf,
    asks: Leaf,
}

fn numbered(params: &mut CertificateParams, serial: u64) {
    params.serial_number = Some(serial.into());
}

impl Pki {
    fn new() -> Self {
        let ca = Ca::new("nodes");
        let asked = ca.leaf("node-b", |params| {
            let ip = "127.0.0.1".parse().unwrap();
            let name = "gate.example".try_into().unwrap();
            params.subject_alt_names =
                vec![rcgen::SanType::IpAddress(ip), rcgen::SanType::DnsName(name)];
            numbered(params, 7);
        });
        let asks = ca.client_with("node-a", |params| {
            let id = "spiffe://example.org/node-a".try_into().unwrap();
            params.subject_alt_names = vec![rcgen::SanType::URI(id)];
            numbered(params, 8);
        });
        Self { ca, asked, asks }
    }

    fn revoke(&self, at: &Program, number: u64, serials: &[u64]) {
        let list = self.ca.crl(number, serials).pem().unwrap();
        let next = at.files.put("next", list);
        std::fs::rename(next, at.files.path("crl.pem")).unwrap();
    }

    fn files(&self, own: &Leaf) -> Files {
        let files = Files::new();
        for (name, text) in [
            ("ca.crt", &self.ca.pem),
            ("own.crt", &own.pem),
            ("own.key", &own.key_pem),
            ("crl.pem", &self.ca.crl(1, &[]).pem().unwrap()),
        ] {
            files.put(name, text);
        }
        files
    }

    /// The gate in front of the program that is asked.
    async fn inward(&self, registry: &Registry) -> Program {
        let config = r#"
            preset = "mirror"
            [tls]
            certificate = "own.crt"
            key = "own.key"
            client_ca = ["ca.crt"]
            [crl]
            files = ["crl.pem"]
            [auth]
            require = "certificate"
        "#;
        let url = registry.url();
        Program::start(self.files(&self.asked), config, &["--upstream", &url]).await
    }

    /// The gate beside the program that asks; its egress is port 1.
    async fn outward(&self, ports: &[u16], more: &str) -> Program {
        self.outward_with(ports, more, &[]).await
    }

    async fn outward_with(&self, ports: &[u16], more: &str, flags: &[&str]) -> Program {
        let own = "certificate = \"own.crt\", key = \"own.key\"";
        let config = outward(ports, own, more);
        let flags = [&FLAGS, flags].concat();
        Program::start(self.files(&self.asks), &config, &flags).await
    }
}

const FLAGS: [&str; 4] = [
    "--upstream",
    "http://127.0.0.1:1",
    "--egress",
    "127.0.0.1:0",
];

/// The configuration of a gate whose egress shows its `own` certificate.
fn outward(ports: &[u16], own: &str, more: &str) -> String {
    format!(
        r#"{BY_TOKEN}
        [program.egress]
        networks = ["127.0.0.1/32"]
        ports = {ports:?}
        tls = {{ ca = "ca.crt", crl = ["crl.pem"], {own} }}
        {more}
    "#
    )
}

fn asking(host: &str, more: &str) -> String {
    format!("GET {MANIFEST}?ns=docker.io HTTP/1.1\r\nhost: {host}\r\n{more}\r\n")
}

/// A transfer from the registry, by both gates, to a program, of which more is to come.
async fn transfer(
    registry: &Registry,
    inward: &Program,
    outward: &Program,
) -> (Wire<TcpStream>, Wire<TcpStream>, Head) {
    let mut client = outward.connect(1).await;
    client.send(asking(&inward.ports[0].to_string(), "")).await;
    let (mut wire, asked) = registry.accept_past_probes().await;
    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1099511627776\r\n\r\nfirst")
        .await;
    assert_eq!(client.head().await.status(), 200);
    assert_eq!(client.bytes(5).await, "first");
    (client, wire, asked)
}

#[tokio::test]
async fn two_gates_make_a_path_of_mutual_tls_between_two_programs_that_speak_plain_http() {
    let pki = Pki::new();
    let registry = Registry::start().await;
    let inward = pki.inward(&registry).await;
    let port = inward.ports[0].port();
    let outward = pki
        .outward(&[port], "hosts = [\"localhost\"]\nname = \"gate.example\"")
        .await;
    let registry_url = registry.url();
    let heads = registry.answers(302);
    let absolute = format!("http://127.0.0.1:{port}{MANIFEST}");
    for (target, host) in [
        (MANIFEST, format!("127.0.0.1:{port}")),
        (MANIFEST, format!("localhost:{port}")),
        (&*absolute, format!("127.0.0.1:{port}")),
    ] {
        let mut client = outward.connect(1).await;
        let more = "x-spegel-mirrored: true\r\nproxy-authorization: Basic eDp5\r\nconnection: x-hop\r\nx-hop: 1\r\n";
        client
            .send(format!(
                "GET {target} HTTP/1.1\r\nhost: {host}\r\n{more}\r\n"
            ))
            .await;
        // A redirect is not followed.
        let (head, body) = client.answer().await;
        assert_eq!(
            (head.status(), &*body),
            (302, &*format!("GET {MANIFEST} HTTP/1.1"))
        );
        let heads = heads.lock().unwrap();
        let last = heads
            .iter()
            .rfind(|head| head.get("x-forwarded-for").is_some());
        let last = last.unwrap_or_else(|| panic!("{registry_url} was not asked for {target}"));
        assert_eq!(last.get("x-forwarded-host"), Some(&*host));
        assert_eq!(last.get("x-forwarded-proto"), Some("https"));
        for name in ["proxy-authorization", "x-hop", "connection"] {
            assert_eq!(last.get(name), None, "{last:?}");
        }
    }
}

#[tokio::test]
async fn an_egress_answers_at_each_address_that_it_is_given() {
    let pki = Pki::new();
    let registry = Registry::start().await;
    let inward = pki.inward(&registry).await;
    registry.answers(200);
    let ports = [inward.ports[0].port()];
    let more = ["--egress", "127.0.0.2:0"];
    let outward = pki.outward_with(&ports, "", &more).await;
    for port in [1, 2] {
        let mut client = outward.connect(port).await;
        client.send(asking(&inward.ports[0].to_string(), "")).await;
        assert_eq!(client.answer().await.0.status(), 200);
    }
    assert_ne!(outward.ports[1].ip(), outward.ports[2].ip());
}

#[tokio::test]
async fn a_gate_whose_certificate_is_revoked_gives_nothing_more_in_flight_or_anew() {
    let pki = Pki::new();
    let registry = Registry::start().await;
    let inward = pki.inward(&registry).await;
    let outward = pki.outward(&[inward.ports[0].port()], "").await;
    let (mut client, mut wire, _) = transfer(&registry, &inward, &outward).await;
    pki.revoke(&outward, 2, &[7]);
    assert_eq!(client.rest().await, "");
    // The other gate's transfer ends too.
    wire.send_without_end(&[b'x'; 1024]).await;
    let mut client = outward.connect(1).await;
    client.send(asking(&inward.ports[0].to_string(), "")).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
}

#[tokio::test]
async fn the_egress_has_no_more_requests_in_flight_than_its_places() {
    let pki = Pki::new();
    let registry = Registry::start().await;
    let inward = pki.inward(&registry).await;
    let flags = ["--max-in-flight", "4", "--head-timeout", "2s"];
    let outward = pki
        .outward_with(&[inward.ports[0].port()], "", &flags)
        .await;
    let (first, _wire, _) = transfer(&registry, &inward, &outward).await;
    let mut second = outward.connect(1).await;
    second.send(asking(&inward.ports[0].to_string(), "")).await;
    assert_problem(&second.answer().await, 503, "UNAVAILABLE");
    drop(first);
    second.send(asking(&inward.ports[0].to_string(), "")).await;
    let (mut wire, _) = registry.accept_past_probes().await;
    wire.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(second.head().await.status(), 204);
}

#[tokio::test]
async fn a_node_whose_certificate_is_revoked_loses_its_transfer_and_its_next_pull_within_a_second()
{
    let mut tries = Vec::new();
    // A machine that has other things to do gets another try.
    while tries.len() < 3 {
        let pki = Pki::new();
        let registry = Registry::start().await;
        let inward = pki.inward(&registry).await;
        let outward = pki.outward(&[inward.ports[0].port()], "").await;
        let (mut client, mut wire, asked) = transfer(&registry, &inward, &outward).await;
        assert_eq!(asked.get("x-forwarded-proto"), Some("https"));
        let mut next = outward.connect(1).await;
        let began = Instant::now();
        pki.revoke(&inward, 2, &[8]);
        assert_eq!(client.rest().await, "");
        next.send(asking(&inward.ports[0].to_string(), "")).await;
        let (head, _) = next.answer().await;
        assert!([401, 403, 502].contains(&head.status()), "{head:?}");
        tries.push(began.elapsed());
        wire.send_without_end(&[b'x'; 1024]).await;
        if tries.last() < Some(&Duration::from_secs(1)) {
            eprintln!("both were over after {tries:?}");
            return;
        }
    }
    panic!("both were over after {tries:?}");
}

/// Key and certificate in one text, as Kubernetes writes them.
fn bundled(leaf: &Leaf) -> String {
    leaf.key_pem.clone() + &leaf.pem
}

/// Asks until the answer has this status, on a new connection each time.
async fn until_status(outward: &Program, inward: &Program, is_meant: impl Fn(u16) -> bool) {
    within(async {
        loop {
            let mut client = outward.connect(1).await;
            client.send(asking(&inward.ports[0].to_string(), "")).await;
            if is_meant(client.answer().await.0.status()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_egress_shows_the_newest_certificate_of_a_bundle() {
    // A volume is swapped, a plain file is written over in its place.
    for volume in [true, false] {
        let pki = Pki::new();
        let registry = Registry::start().await;
        let inward = pki.inward(&registry).await;
        let _heads = registry.answers(200);
        let files = pki.files(&pki.asks);
        let folder = files.path("volume");
        std::fs::create_dir(&folder).unwrap();
        let write = |version: &str, leaf: &Leaf| {
            let text = bundled(leaf);
            if volume {
                swap_secret(&folder, version, &[("bundle.pem", text)]);
            } else {
                std::fs::write(folder.join("bundle.pem"), text).unwrap();
            }
        };
        write("1", &pki.asks);
        let own = "bundle = \"volume/bundle.pem\"";
        let config = outward(&[inward.ports[0].port()], own, "");
        let outward = Program::start(files, &config, &FLAGS).await;
        until_status(&outward, &inward, |status| status == 200).await;
        pki.revoke(&inward, 2, &[8]);
        until_status(&outward, &inward, |status| status != 200).await;
        let next = pki.ca.client_with("node-a", |params| numbered(params, 9));
        write("2", &next);
        until_status(&outward, &inward, |status| status == 200).await;
    }
}

#[tokio::test]
async fn the_keys_of_an_own_certificate_name_one_or_none() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pki = Pki::new();
    let files = pki.files(&pki.asks);
    files.put("own.pem", bundled(&pki.asks));
    let others = Pki::new();
    files.put("mixed.pem", pki.asks.key_pem.clone() + &others.asks.pem);
    for (own, wrong) in [
        ("", None),
        ("certificate = \"own.crt\", key = \"own.key\"", None),
        ("certificate = \"own.pem\"", None),
        ("bundle = \"own.pem\"", None),
        (
            "key = \"own.key\"",
            Some("tls.key: it is without its `certificate`"),
        ),
        (
            "bundle = \"own.pem\", key = \"own.key\"",
            Some("take out `certificate` and `key`, or `bundle`"),
        ),
        (
            "certificate = \"own.crt\", bundle = \"own.pem\"",
            Some("take out `certificate` and `key`, or `bundle`"),
        ),
        ("bundle = \"mixed.pem\"", Some("mixed.pem")),
        ("bundle = \"none.pem\"", Some("none.pem")),
    ] {
        let upstream = format!(
            "{BY_TOKEN}\n[[program.upstream]]\nurl = \"https://localhost:1\"\n\
             tls = {{ ca = \"ca.crt\", {own} }}\n"
        );
        for (config, flags) in [(outward(&[443], own, ""), &FLAGS[..]), (upstream, &[][..])] {
            let read = Program::read(&files, &config, flags);
            match (read, wrong) {
                (Ok(_), None) => {}
                (Ok(_), Some(_)) => panic!("it is taken: {own}"),
                (Err(error), None) => panic!("{own}: {error}"),
                (Err(error), Some(wrong)) => {
                    let error = error.to_string();
                    assert!(error.contains(wrong), "{own}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_egress_goes_nowhere_but_to_what_is_listed() {
    let pki = Pki::new();
    let elsewhere = Registry::start().await;
    let port = elsewhere.authority();
    let port: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
    let gate = pki.outward(&[port], "hosts = [\"localhost\"]").await;
    let host = format!("127.0.0.1:{port}");
    for (asked, status, code) in [
        (
            format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            405,
            "UNSUPPORTED",
        ),
        (asking(&format!("127.0.0.2:{port}"), ""), 403, "DENIED"),
        (asking(&format!("[::1]:{port}"), ""), 403, "DENIED"),
        (
            asking(&format!("[::ffff:127.0.0.2]:{port}"), ""),
            403,
            "DENIED",
        ),
        (asking("127.0.0.1:22", ""), 403, "DENIED"),
        (asking("127.0.0.1", ""), 403, "DENIED"),
        (
            asking(&format!("registry.example:{port}"), ""),
            403,
            "DENIED",
        ),
        (asking(&format!("localhost.:{port}"), ""), 403, "DENIED"),
        (asking("127.0.0.1:99999", ""), 400, "UNSUPPORTED"),
        (
            asking(&format!("127.0.0.1:+{port}"), ""),
            400,
            "UNSUPPORTED",
        ),
        // Not what `Host` says, and not what the target says: neither.
        (
            format!("GET http://{host}/ HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n"),
            400,
            "UNSUPPORTED",
        ),
        (
            format!("GET http://10.0.0.1:{port}/ HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            400,
            "UNSUPPORTED",
        ),
        (
            format!("GET https://{host}/ HTTP/1.1\r\nhost: {host}\r\n\r\n"),
            400,
            "UNSUPPORTED",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: user@{host}\r\n\r\n"),
            400,
            "UNSUPPORTED",
        ),
        (
            format!("GET / HTTP/1.1\r\nhost: {host}\r\nhost: localhost:{port}\r\n\r\n"),
            400,
            "UNSUPPORTED",
        ),
    ] {
        let mut client = gate.connect(1).await;
        client.send(&asked).await;
        let answer = client.answer().await;
        assert_eq!(answer.0.status(), status, "{asked}");
        assert_problem(&answer, status, code);
    }
    assert!(!elsewhere.is_called().await);
}

/// The name is that of the other side's certificate, and no plain HTTP is spoken to one that has none.
#[tokio::test]
async fn another_gate_must_have_a_certificate_for_its_name() {
    let pki = Pki::new();
    let registry = Registry::start().await;
    let inward = pki.inward(&registry).await;
    let port = inward.ports[0].port();
    let outward = pki.outward(&[port], "name = \"other.example\"").await;
    let mut client = outward.connect(1).await;
    client.send(asking(&format!("127.0.0.1:{port}"), "")).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
    let strangers = Pki::new();
    let outward = strangers.outward(&[port], "").await;
    let mut client = outward.connect(1).await;
    client.send(asking(&format!("127.0.0.1:{port}"), "")).await;
    assert_problem(&client.answer().await, 502, "UNAVAILABLE");
}

#[tokio::test]
async fn an_egress_that_others_reach_or_that_knows_no_one_is_an_error() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let pki = Pki::new();
    let files = pki.files(&pki.asks);
    let section = "[program.egress]\nnetworks = [\"10.0.0.0/8\"]\nports = [5000]\n";
    let tls = "tls = { ca = \"ca.crt\" }\n";
    for (more, egress, said) in [
        (
            format!("{section}{tls}"),
            Some("0.0.0.0:0"),
            Some("loopback"),
        ),
        (
            section.to_owned(),
            Some("127.0.0.1:0"),
            Some("missing field `tls`"),
        ),
        (
            format!("{section}tls = {{}}\n"),
            Some("127.0.0.1:0"),
            Some("program.egress.tls: `ca` is missing"),
        ),
        (format!("{section}{tls}"), None, Some("--egress")),
        (String::new(), Some("127.0.0.1:0"), Some("[program.egress]")),
        (
            format!("{section}{tls}name = \"*\"\n"),
            Some("127.0.0.1:0"),
            Some("program.egress.name"),
        ),
        (
            format!("{section}{tls}hosts = [\"gate.example\", \"*.example\"]\n"),
            Some("127.0.0.1:0"),
            Some("\"*.example\" is no name"),
        ),
        (
            format!("{section}{tls}hosts = [\"gate.example:5000\"]\n"),
            Some("127.0.0.1:0"),
            Some("\"gate.example:5000\" is no name"),
        ),
        (
            format!("{section}{tls}hosts = [\"10.0.0.1\"]\n"),
            Some("127.0.0.1:0"),
            Some("\"10.0.0.1\" is no name"),
        ),
        (format!("{section}{tls}"), Some("127.0.0.1:0"), None),
        (format!("{section}{tls}"), Some("[::1]:0"), None),
    ] {
        let mut flags = vec!["--upstream", "http://127.0.0.1:1"];
        flags.extend(egress.iter().flat_map(|address| ["--egress", address]));
        let read = Program::read(&files, &format!("{BY_TOKEN}\n{more}"), &flags);
        match (read, said) {
            (Ok(setup), None) => {
                let report = setup.report.to_string();
                let open = "left open: certificates of other gates are not checked for revocation";
                assert!(report.contains(open), "{report}");
                assert!(
                    report.contains("to 1 network and 0 names of 1 port only"),
                    "{report}"
                );
            }
            (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
            (read, _) => panic!("{more} {egress:?}: {:?}", read.map(|setup| setup.report)),
        }
    }
}
