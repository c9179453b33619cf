//! Whose certificates count: by client CA, by a deny list, by a load balancer's header; which certificate the gate
//! shows; and which host it answers to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::refused::{handshake_failed, no_secret_is_logged};
use crate::support::commands::{curl, curl_push, fresh};
use crate::support::gate::{Demands, Gate, Place, Shown};
use crate::support::image::Image;
use crate::support::mirror::example;
use crate::support::pki::Pair;
use crate::support::process::{Daemon, run, serve, tool};
use crate::support::secret;
use crate::support::wait::until;
use tempfile::TempDir;

fn shows(pair: Option<&Pair>) -> Shown<'_> {
    Shown { token: None, pair }
}

/// The status of `/v2/`, `000` if there is no answer, by TLS 1.2 so that a refused certificate shows in the handshake.
fn status(gate: &Gate, shown: Shown<'_>, more: &[&str]) -> String {
    let mut curl = curl(gate, shown, "/v2/");
    let write = [
        "--tls-max",
        "1.2",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ];
    run(curl.args(write).args(more)).out
}

/// A mirror by certificate whose client CAs are two, of which the second has no CRL.
fn two_cas(more: &str) -> Gate {
    let demands = Demands {
        certificates: false,
        tokens: false,
        tls: "client_ca = [\"ca.crt\", \"../others/ca.crt\"]\n",
        more: format!("[crl]\nfiles = [\"crl.pem\"]\n{more}{ANYONE}"),
        ..Demands::default()
    };
    demands.start()
}

const ANYONE: &str = "[[policy.rules]]\nname = \"probe\"\nwho = [\"authenticated\"]\n\
    actions = [\"probe\"]\n";

#[test]
fn a_ca_without_a_crl_lets_curl_in_only_where_a_rule_says_so() {
    let gate = two_cas("");
    let stranger = shows(Some(&gate.keys.stranger));
    assert_eq!(status(&gate, shows(Some(&gate.keys.ci)), &[]), "200");
    assert_eq!(status(&gate, stranger, &[]), "000");
    handshake_failed(&gate, "revocation_unknown");
    for rule in ["none", "if-listed"] {
        let gate = two_cas(&format!(
            "[[crl.authority]]\nca = \"CN=another CA\"\nrevocation = {rule:?}\n"
        ));
        assert_eq!(
            status(&gate, shows(Some(&gate.keys.stranger)), &[]),
            "200",
            "{rule}"
        );
        assert_eq!(
            status(&gate, shows(Some(&gate.keys.ci)), &[]),
            "200",
            "{rule}"
        );
        // The other CA is held to its list.
        assert_eq!(
            status(&gate, shows(Some(&gate.keys.revoked)), &[]),
            "000",
            "{rule}"
        );
        handshake_failed(&gate, "certificate_revoked");
    }
}

/// A mirror by certificate with an empty deny list.
fn with_deny_list() -> Gate {
    let demands = Demands {
        tokens: false,
        more: format!("[deny]\nfiles = [\"denied\"]\n{ANYONE}"),
        ..Demands::default()
    };
    demands.start()
}

/// Adds a certificate to the gate's deny list, as its operator does it.
fn deny(gate: &Gate, pair: &Pair) {
    let mut deny = Command::new(example("portcullisctl"));
    deny.args(["deny", "--reason", "laptop stolen", "--file"]);
    deny.arg(gate.keys.folder.join("denied"));
    run(deny.arg("--certificate").arg(&pair.certificate)).succeeded();
}

#[test]
fn a_certificate_that_portcullisctl_denies_is_refused_in_the_handshake() {
    let gate = with_deny_list();
    let reader = || status(&gate, shows(Some(&gate.keys.reader)), &[]);
    assert_eq!(reader(), "200");
    deny(&gate, &gate.keys.reader);
    until("a refused certificate", || {
        (reader() == "000").then_some(())
    });
    handshake_failed(&gate, "certificate_denied");
    assert_eq!(status(&gate, shows(Some(&gate.keys.ci)), &[]), "200");
}

/// A connection of `openssl` that has had an answer and is idle.
struct Idle {
    child: Child,
    _stdin: ChildStdin,
    _stdout: BufReader<ChildStdout>,
}

impl Idle {
    fn of(gate: &Gate, pair: &Pair) -> Self {
        let mut openssl = Command::new(tool("openssl", "openssl"));
        openssl.args(["s_client", "-quiet", "-connect", &gate.mirror.host()]);
        openssl.arg("-CAfile").arg(&gate.keys.ca);
        openssl.arg("-cert").arg(&pair.certificate);
        openssl.arg("-key").arg(&pair.key);
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = openssl.stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let host = gate.mirror.host();
        write!(stdin, "GET /v2/ HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), "HTTP/1.1 200 OK");
        Self {
            child,
            _stdin: stdin,
            _stdout: stdout,
        }
    }

    fn is_open(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_denied_certificate_loses_its_transfer_in_flight_and_its_idle_connection_and_no_other_does() {
    let gate = with_deny_list();
    let image = Image::build(64 << 20);
    curl_push(&gate, shows(Some(&gate.keys.ci)), &image, "lib/busybox:1");
    let path = format!("/v2/lib/busybox/blobs/{}", image.layout().layers()[1]);
    let slow = |pair| {
        let out = fresh(&gate, "blob");
        let mut slow = curl(&gate, shows(Some(pair)), &path);
        slow.args(["--limit-rate", "1M", "--output"]).arg(&out);
        let slow = slow.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
        until("the first bytes", || {
            let file = fs::metadata(&out);
            file.is_ok_and(|file| file.len() > 0).then_some(())
        });
        slow.unwrap()
    };
    let (mut denied, mut other) = (slow(&gate.keys.reader), slow(&gate.keys.ci));
    let mut idle = Idle::of(&gate, &gate.keys.reader);
    let mut other_idle = Idle::of(&gate, &gate.keys.ci);
    deny(&gate, &gate.keys.reader);
    let entry = gate.mirror.logged("the cut", |entry| {
        entry.text("url.path") == path && entry.text("outcome") != "finished"
    });
    assert_eq!(entry.text("outcome"), "cut_revoked", "{entry:?}");
    assert!(!denied.wait().unwrap().success());
    until("the end of the idle connection", || {
        (!idle.is_open()).then_some(())
    });
    assert!(other_idle.is_open());
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_client_is_warned_of_a_repository_that_is_deprecated_unless_that_is_turned_off() {
    const OLD: &str = "[[policy.rules]]\nname = \"old\"\nwho = [\"spiffe://example.org/reader\"]\n\
        actions = [\"pull\"]\nrepositories = [\"old/**\"]\ndeprecated = \"pull lib/busybox instead\"\n";
    let image = Image::small();
    for (more, expected) in [
        ("", Some("pull lib/busybox instead")),
        ("[client_warnings]\nenabled = false\n", None),
    ] {
        let demands = Demands {
            tokens: false,
            more: format!("{OLD}{more}"),
            ..Demands::default()
        };
        let gate = demands.start();
        let ci = shows(Some(&gate.keys.ci));
        for name in ["old/busybox:1", "lib/busybox:1"] {
            curl_push(&gate, ci, &image, name);
        }
        let warning = |repository: &str, pair| {
            let path = format!("/v2/{repository}/manifests/1");
            let mut curl = curl(&gate, shows(Some(pair)), &path);
            let write = ["--output", "/dev/null", "--write-out", "%header{warning}"];
            run(curl.arg("--fail").args(write)).succeeded().out
        };
        let warned = warning("old/busybox", &gate.keys.reader);
        match expected {
            Some(text) => {
                assert!(warned.starts_with("299 - \""), "{warned}");
                assert!(warned.contains(text), "{warned}");
            }
            None => assert_eq!(warned, ""),
        }
        // Of what another rule allows nothing is said.
        assert_eq!(warning("lib/busybox", &gate.keys.reader), "");
        assert_eq!(warning("old/busybox", &gate.keys.ci), "");
    }
}

#[test]
fn curl_is_shown_the_newest_certificate_of_a_bundle_that_is_written_over_in_its_place() {
    shows_the_newest(Place::Plain, |gate, pair| {
        fs::write(gate.keys.folder.join("server.pem"), pair.bundled()).unwrap();
    });
}

#[test]
fn curl_is_shown_the_newest_certificate_of_a_bundle_whose_volume_is_swapped() {
    shows_the_newest(Place::Secret, |gate, pair| {
        secret::update(&gate.keys.folder, "server.pem", pair.bundled().as_bytes());
    });
}

fn shows_the_newest(place: Place, renew: impl FnOnce(&Gate, &Pair)) {
    let gate = Demands {
        server: "bundle = \"server.pem\"\n",
        place,
        ..Demands::token()
    };
    let gate = gate.start();
    let shown = || {
        let mut curl = curl(&gate, gate.ci().without_pair(), "/v2/");
        let write = ["--fail", "--output", "/dev/null", "--write-out", "%{certs}"];
        run(curl.args(write)).succeeded().out
    };
    let first = shown();
    assert!(first.contains("BEGIN CERTIFICATE"), "{first}");
    renew(&gate, &gate.keys.pki.server());
    until("another certificate", || (shown() != first).then_some(()));
    no_secret_is_logged(&gate);
}

#[test]
fn a_host_that_is_not_the_name_of_the_handshake_is_421() {
    let gate = Demands {
        tls: "strict_host = true\n",
        ..Demands::token()
    };
    let gate = gate.start();
    let port = gate.mirror.address().port();
    let (_, token) = gate.ci().token.unwrap();
    let ask = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "60", "--cacert"]);
        curl.arg(&gate.keys.ca);
        curl.args(["--header", &format!("Authorization: Bearer {token}")]);
        curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
        curl.args(["--resolve", &format!("localhost:{port}:127.0.0.1")]);
        run(curl.args(more).arg(format!("https://localhost:{port}/v2/"))).out
    };
    for version in ["--http1.1", "--http2"] {
        assert_eq!(ask(&[version]), "200");
        assert_eq!(ask(&[version, "--header", "Host: other.example"]), "421");
    }
    gate.mirror.refused("host_mismatch");
}

#[test]
fn a_certificate_in_the_header_of_an_aws_load_balancer_counts_from_a_proxy_only() {
    let gate = |proxies: &str| {
        let demands = Demands {
            certificates: false,
            tokens: false,
            tls: "client_ca = [\"ca.crt\"]\nclient_auth = \"request\"\n",
            more: format!(
                "[crl]\nfiles = [\"crl.pem\"]\n[forwarded]\nproxies = [{proxies:?}]\n\
                 certificate = {{ form = \"alb\", mode = \"passthrough\" }}\n{ANYONE}"
            ),
            ..Demands::default()
        };
        demands.start()
    };
    let header = |pair: &Pair| {
        let pem = fs::read_to_string(&pair.certificate).unwrap();
        // What AWS leaves as it is: `+=/`.
        let pem = pem.replace(' ', "%20").replace('\n', "%0A");
        format!("X-Amzn-Mtls-Clientcert: {pem}")
    };
    let behind = gate("127.0.0.0/8");
    let ask = |gate: &Gate, pair: &Pair| {
        let header = header(pair);
        status(gate, shows(None), &["--header", &header])
    };
    assert_eq!(ask(&behind, &behind.keys.ci), "200");
    let entry = behind.mirror.logged("the forwarded caller", |entry| {
        entry.text("principal").contains("spiffe://example.org/ci")
    });
    assert_eq!(entry.status(), 200, "{entry:?}");
    assert_eq!(ask(&behind, &behind.keys.revoked), "403");
    behind.mirror.refused("certificate_revoked");
    assert_eq!(ask(&behind, &behind.keys.stranger), "403");
    behind.mirror.refused("certificate_invalid");
    let elsewhere = gate("192.0.2.0/24");
    // The header of a client is removed.
    assert_eq!(ask(&elsewhere, &elsewhere.keys.ci), "401");
    elsewhere.mirror.refused("certificate_missing");
}

/// nginx that answers each request with the certificate in its header.
fn echo_of_certificates(folder: &Path) -> (Daemon, u16) {
    let at = |name: &str| folder.join(name).display().to_string();
    serve("nginx", |port| {
        let text = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}\n\
             http {{ access_log off;\n\
             client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp};\n\
             uwsgi_temp_path {temp}; scgi_temp_path {temp};\n\
             server {{ listen 127.0.0.1:{port}; location / {{\n\
             default_type text/plain; return 200 \"$http_x_forwarded_client_cert\";\n\
             }} }} }}\n",
            pid = at("pid"),
            temp = at("temp"),
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new(tool("nginx", "nginx-light"));
        command.arg("-e").arg("stderr").arg("-c").arg(&file);
        command
    })
}

#[test]
fn a_registry_behind_the_gate_gets_the_certificate_that_curl_shows_and_no_other() {
    let folder = TempDir::new().unwrap();
    let (_nginx, port) = echo_of_certificates(folder.path());
    let told = |flags| {
        let demands = Demands {
            in_front_of: Some(format!("http://127.0.0.1:{port}")),
            flags,
            ..Demands::certificate()
        };
        let gate = demands.start();
        let ask = |more: &[&str]| {
            let path = "/v2/lib/busybox/manifests/1";
            let mut curl = curl(&gate, shows(Some(&gate.keys.reader)), path);
            run(curl.arg("--fail").args(more)).succeeded().out
        };
        let forged = "X-Forwarded-Client-Cert: Hash=00;URI=spiffe://example.org/ci";
        (ask(&[]), ask(&["--header", forged]))
    };
    let (shown, forged) = told(&["--forward-client-cert"]);
    assert!(shown.contains("URI=spiffe://example.org/reader"), "{shown}");
    assert_eq!(forged, shown);
    assert_eq!(told(&[]), (String::new(), String::new()));
}
