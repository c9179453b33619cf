//! Further ports of the same process: probes, and other requirements.

use std::time::Duration;

use crate::pki::{Ca, Files};
use crate::support::{
    BY_TOKEN, CI, MANIFEST, PEER, Program, Registry, request, request_of, within,
};

fn bare(method: &str, target: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nhost: node\r\nauthorization: Bearer stray\r\n\r\n")
}

#[tokio::test]
async fn a_port_for_probes_answers_them_without_credentials_and_nothing_else() {
    let registry = Registry::start().await;
    let url = registry.url();
    let heads = registry.answers(200);
    let files = Files::new();
    let own = files.put("own", "Bearer the-gates-own");
    let config = format!(
        "{BY_TOKEN}\n[[program.listener]]\naddress = \"127.0.0.1:0\"\nprobes = [\"/healthz\"]\n"
    );
    let flags = [
        "--upstream",
        &url,
        "--authorization-file",
        own.to_str().unwrap(),
    ];
    let gate = Program::start(files, &config, &flags).await;
    let mut probe = gate.connect(1).await;
    within(async {
        loop {
            probe.send(bare("GET", "/readyz")).await;
            let (head, body) = probe.answer().await;
            if head.status() == 200 {
                assert!(body.contains("upstream: ok"), "{body}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    for (method, path, status) in [
        ("GET", "/livez", 200),
        ("GET", "/healthz", 200),
        ("GET", "/healthz?all=1", 200),
        ("POST", "/healthz", 405),
        ("GET", "/healthz/", 404),
        ("GET", "/metrics", 404),
        ("GET", "/v2/", 404),
        ("GET", MANIFEST, 404),
    ] {
        probe.send(bare(method, path)).await;
        let (head, body) = probe.answer().await;
        assert_eq!(head.status(), status, "{method} {path}: {body}");
    }
    let heads = heads.lock().unwrap();
    let asked = |line: &'static str| heads.iter().filter(move |head| head.line() == line);
    // Of a probe its path alone is passed on: neither its credentials nor the gate's.
    assert_eq!(asked("GET /healthz HTTP/1.1").count(), 2);
    for head in asked("GET /healthz HTTP/1.1") {
        assert_eq!(head.get("authorization"), None, "{head:?}");
    }
    for head in asked("GET /v2/ HTTP/1.1") {
        assert_eq!(head.get("authorization"), Some("Bearer the-gates-own"));
    }
}

#[tokio::test]
async fn a_port_with_another_requirement_refuses_what_the_front_lets_in() {
    let registry = Registry::start().await;
    let url = registry.url();
    registry.answers(200);
    let config = BY_TOKEN.replace("[auth]", "[auth]\nanonymous = true");
    let config =
        format!("{config}\n[[program.listener]]\naddress = \"127.0.0.1:0\"\nrequire = \"token\"\n");
    let gate = Program::start(Files::new(), &config, &["--upstream", &url]).await;
    let anonymous = format!("GET {MANIFEST} HTTP/1.1\r\nhost: registry.example\r\n\r\n");
    for (port, asked, status) in [
        (0, &anonymous, 200),
        (0, &request("GET", MANIFEST, ""), 200),
        (1, &anonymous, 401),
        (1, &request_of("no-such-token", "GET", MANIFEST, ""), 401),
        (1, &request("GET", MANIFEST, ""), 200),
        (1, &request_of(PEER, "GET", MANIFEST, ""), 200),
    ] {
        let mut client = gate.connect(port).await;
        client.send(asked).await;
        assert_eq!(client.answer().await.0.status(), status, "{port} {asked}");
    }
}

/// What is counted against a limit, and what is throttled, counts on every port.
#[tokio::test]
async fn all_ports_share_the_limits() {
    let registry = Registry::start().await;
    let url = registry.url();
    registry.answers(200);
    let config = format!(
        "{BY_TOKEN}\n[[limits.limit]]\nname = \"day\"\nkey = \"total\"\nquota = {{ bytes = \"64B\", window = \"day\", exhausted = \"finish\" }}\n\
         [[program.listener]]\naddress = \"127.0.0.1:0\"\nrequire = \"token\"\n"
    );
    let gate = Program::start(Files::new(), &config, &["--upstream", &url]).await;
    let mut front = gate.connect(0).await;
    within(async {
        loop {
            front.send(request("GET", MANIFEST, "")).await;
            let head = front.head().await;
            if head.status() != 200 {
                break;
            }
            let length = head.get("content-length").unwrap().parse().unwrap();
            front.bytes(length).await;
        }
    })
    .await;
    let mut other = gate.connect(1).await;
    other.send(request("GET", MANIFEST, "")).await;
    assert_ne!(other.head().await.status(), 200);
}

#[tokio::test]
async fn a_port_that_others_reach_in_the_clear_must_be_asked_for_by_name() {
    let files = Files::new();
    let with = |section: &str| {
        let config = format!("{BY_TOKEN}\n[[program.listener]]\n{section}\n");
        Program::read(&files, &config, &["--upstream", "http://127.0.0.1:1"])
    };
    for section in [
        "address = \"0.0.0.0:0\"",
        "address = \"[::]:0\"\nrequire = \"token\"",
        "address = \"10.0.0.1:0\"\nprobes = []",
    ] {
        let error = with(section).err().unwrap().to_string();
        assert!(error.contains("clear = true"), "{error}");
        with(&format!("{section}\nclear = true")).unwrap();
    }
    let report = with("address = \"0.0.0.0:5001\"\nclear = true").unwrap();
    let report = report.report.to_string();
    let warned = "warning: tokens are sent in the clear to 0.0.0.0:5001";
    assert!(report.contains(warned), "{report}");
    let report = with("address = \"0.0.0.0:5002\"\nclear = true\nprobes = [\"/healthz\"]").unwrap();
    let report = report.report.to_string();
    let open = "left open: 0.0.0.0:5002 answers /livez, /readyz, /healthz in the clear";
    assert!(report.contains(open), "{report}");
    assert!(!report.contains(CI), "{report}");
    let report = with("address = \"127.0.0.1:5003\"\nrequire = \"token-and-certificate\"");
    let report = report.unwrap().report.to_string();
    for line in [
        "enforced: callers must show a token\n",
        "enforced: on 127.0.0.1:5003 callers must show a token and a certificate\n",
        "warning: callers must show a certificate, but the TLS server asks for none\n",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

#[tokio::test]
async fn a_listener_that_cannot_be_meant_is_an_error() {
    let files = Files::new();
    for (section, said) in [
        (
            "address = \"127.0.0.1:0\"\nprobes = [\"/v2/\"]",
            "beneath /v2",
        ),
        (
            "address = \"127.0.0.1:0\"\nprobes = [\"healthz\"]",
            "no path",
        ),
        (
            "address = \"127.0.0.1:0\"\nprobes = [\"/a/../v2/\"]",
            "no path",
        ),
        (
            "address = \"127.0.0.1:0\"\nprobes = []\nrequire = \"token\"",
            "take out `require`",
        ),
        (
            "address = \"127.0.0.1:0\"\nrequires = \"token\"",
            "unknown field `requires`",
        ),
        ("address = \"localhost\"", "program.listener[0].address"),
    ] {
        let config = format!("{BY_TOKEN}\n[[program.listener]]\n{section}\n");
        let read = Program::read(&files, &config, &["--upstream", "http://127.0.0.1:1"]);
        let error = read.err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn two_ports_of_one_address_are_an_error() {
    let files = Files::new();
    let upstream = ["--upstream", "http://127.0.0.1:1"];
    for (section, flags) in [
        (
            "[[program.listener]]\naddress = \"127.0.0.1:5001\"\n[[program.listener]]\naddress = \"127.0.0.1:5001\"\n\
             probes = []\n",
            ["--drain", "1s"],
        ),
        (
            "[[program.listener]]\naddress = \"127.0.0.1:5001\"\n",
            ["--admin", "127.0.0.1:5001"],
        ),
    ] {
        let config = format!("{BY_TOKEN}\n{section}");
        let read = Program::read(&files, &config, &[upstream, flags].concat());
        let error = read.err().unwrap().to_string();
        assert!(
            error.contains("127.0.0.1:5001 is the address of two ports"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_callers_must_show_in_the_clear_is_a_warning() {
    let files = Files::new();
    let ca = Ca::new("nodes");
    let server = ca.server(&["localhost"]);
    for (name, text) in [
        ("server.crt", &server.pem),
        ("server.key", &server.key_pem),
        ("ca.crt", &ca.pem),
    ] {
        files.put(name, text);
    }
    let tls =
        "[tls]\ncertificate = \"server.crt\"\nkey = \"server.key\"\nclient_ca = [\"ca.crt\"]\n";
    let listener = "[[program.listener]]\naddress = \"127.0.0.1:5001\"\nclear = true\n";
    let warned = "warning: callers must show a certificate on 127.0.0.1:5001";
    for (more, is) in [
        ("require = \"certificate\"", true),
        ("require = \"token-and-certificate\"", true),
        ("require = \"token\"", false),
        ("", false),
        (
            "require = \"certificate\"\n[forwarded]\nproxies = [\"127.0.0.1/32\"]",
            false,
        ),
    ] {
        let config = format!("{BY_TOKEN}\n{tls}{listener}{more}\n");
        let read = Program::read(&files, &config, &["--upstream", "http://127.0.0.1:1"]);
        let report = read.unwrap().report.to_string();
        assert_eq!(report.contains(warned), is, "{more}\n{report}");
    }
}

/// What is wrong in the section `[program]` is said with the file, the line, the column and the key.
#[tokio::test]
async fn what_the_section_of_the_program_says_wrongly_is_an_error_with_its_place() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let files = Files::new();
    files.put("list.pem", Ca::new("CA").crl(1, &[]).pem().unwrap());
    files.put("ca.pem", Ca::new("CA").pem);
    let upstream = |more: &str| format!("[[program.upstream]]\nurl = \"https://a\"\n{more}\n");
    let listener =
        |more: &str| format!("[[program.listener]]\naddress = \"127.0.0.1:5001\"\n{more}\n");
    let egress = |more: &str| {
        format!("[program.egress]\nnetworks = [\"127.0.0.1/32\"]\nports = [443]\n{more}\n")
    };
    let tls = "tls.ca = \"ca.pem\"\n";
    let egress_flag = &["--egress", "127.0.0.1:0"][..];
    for (section, flags, place) in [
        (
            "[[program.upstream]]\nurl = \"\"\n".to_owned(),
            &[][..],
            "2:7: program.upstream[0].url: ",
        ),
        (
            "[[program.upstream]]\nurl = \"http://u:p@a\"\n".to_owned(),
            &[],
            "2:7: program.upstream[0].url: ",
        ),
        (
            upstream("") + &upstream("repositories = [\"a/**\", \"a//b\"]"),
            &[],
            "6:25: program.upstream[1].repositories[1]: ",
        ),
        (
            upstream("registries = [\"\"]"),
            &[],
            "3:15: program.upstream[0].registries[0]: ",
        ),
        (
            upstream("tls.crl = [\"list.pem\"]"),
            &[],
            "3:11: program.upstream[0].tls.crl: ",
        ),
        (
            upstream("tls = { ca = \"no.pem\" }"),
            &[],
            "3:14: program.upstream[0].tls.ca: ",
        ),
        (
            upstream("tls = { ca = \"ca.pem\", crl = [\"ca.pem\"] }"),
            &[],
            "3:30: program.upstream[0].tls.crl: ",
        ),
        (
            upstream("tls = { certificate = \"ca.pem\" }"),
            &[],
            "3:23: program.upstream[0].tls.certificate: ",
        ),
        (
            upstream("tls = { key = \"ca.pem\" }"),
            &[],
            "3:15: program.upstream[0].tls.key: ",
        ),
        (
            upstream("tls = { bundle = \"a\", key = \"b\" }"),
            &[],
            "3:18: program.upstream[0].tls.bundle: ",
        ),
        (
            upstream("authorization_file = \"no\""),
            &[],
            "3:22: program.upstream[0].authorization_file: ",
        ),
        (
            upstream("authorization_file = \"ca.pem\""),
            &[],
            "3:22: program.upstream[0].authorization_file: ",
        ),
        (
            upstream("") + &upstream(""),
            &[],
            "1:1: program.upstream: there must be one registry",
        ),
        (
            listener("") + &listener(""),
            &[],
            "5:11: program.listener[1].address: ",
        ),
        (
            listener("probes = [\"/v2/\"]"),
            &[],
            "3:11: program.listener[0].probes[0]: ",
        ),
        (
            listener("probes = []\nrequire = \"token\""),
            &[],
            "4:11: program.listener[0].require: ",
        ),
        (
            "[[program.listener]]\naddress = \"10.0.0.1:0\"\n".to_owned(),
            &[],
            "2:11: program.listener[0].address: ",
        ),
        (egress(tls), &[], "1:1: program.egress: it needs --egress"),
        (
            egress("tls = {}"),
            egress_flag,
            "4:7: program.egress.tls: `ca` is missing",
        ),
        (
            egress("hosts = [\"a\", \"b:1\"]\ntls.ca = \"ca.pem\""),
            egress_flag,
            "4:15: program.egress.hosts[1]: ",
        ),
        (
            egress("name = \"a b\"\ntls.ca = \"ca.pem\""),
            egress_flag,
            "4:8: program.egress.name: ",
        ),
        (
            egress("tls.ca = \"no.pem\""),
            egress_flag,
            "4:10: program.egress.tls.ca: ",
        ),
    ] {
        let rest = ["--upstream", "http://127.0.0.1:1"];
        // It would be one of two for the rest.
        let rest = if section.contains("upstream]]") && !section.contains("repositories") {
            &[][..]
        } else {
            &rest[..]
        };
        let config = format!("{section}{BY_TOKEN}").replace("\npreset = \"registry\"", "");
        let read = Program::read(&files, &config, &[rest, flags].concat());
        let error = read
            .err()
            .unwrap_or_else(|| panic!("taken: {section}"))
            .to_string();
        assert!(
            error.contains(&format!("gate.toml:{place}")),
            "{section}{error}"
        );
        assert!(!error.contains("u:p"), "{error}");
    }
}
