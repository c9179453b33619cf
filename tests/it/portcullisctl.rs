//! The operator's tool, as it is built.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};

const CONFIG: &str = r#"
[source]
allow = ["10.0.0.0/8"]
deny = ["10.9.0.0/16"]

[policy]
file = "policy.toml"
"#;

const POLICY: &str = r#"
[[rules]]
name = "ci"
who = ["token:ci"]
networks = ["10.0.0.0/8"]
actions = ["pull", "create"]
repositories = ["team/*"]
"#;

pub(crate) fn program() -> PathBuf {
    // A test's own program is in `target/<profile>/deps`.
    let mut file = std::env::current_exe().unwrap();
    file.pop();
    file.pop();
    file.extend(["examples", "portcullisctl"]);
    assert!(file.exists(), "cargo build --example portcullisctl");
    file
}

#[test]
fn an_entry_is_appended_to_a_deny_list_that_can_be_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("denied");
    let certificate = folder.path().join("node.crt");
    let ca = crate::pki::Ca::new("Nodes, \"2026\"");
    let node = ca.client_with("node", |params| {
        params.serial_number = Some(0xfa07_u64.into());
        let id = "spiffe://example.org/node/7".try_into().unwrap();
        params.subject_alt_names = vec![rcgen::SanType::URI(id)];
    });
    std::fs::write(&certificate, &node.pem).unwrap();
    let [list, shown] = [&file, &certificate].map(|path| path.to_str().unwrap());
    let deny = |arguments: &[&str]| {
        portcullisctl(&[&["deny", "--file", list, "--reason", "stolen"], arguments].concat())
    };
    let content = || std::fs::read_to_string(&file).unwrap();
    let (code, out, error) = deny(&["--certificate", shown]);
    assert_eq!((code, &*error), (0, ""), "{out}");
    for by in ["key", "serial", "spiffe"] {
        assert_eq!(deny(&["--certificate", shown, "--by", by]).0, 0, "{by}");
    }
    assert_eq!(
        deny(&["spiffe://example.org/a", "--until", "2999-01-31"]).0,
        0
    );
    let text = content();
    let entries = portcullis::crl::DenyList::parse("denied", text.as_bytes()).unwrap();
    let subjects: Vec<_> = entries
        .entries()
        .map(portcullis::crl::DenyEntry::subject)
        .collect();
    assert!(subjects[0].starts_with("fingerprint:") && subjects[1].starts_with("key:"));
    assert_eq!(
        subjects[2],
        "serial:fa:07 issuer:\"CN=Nodes\\, \\\"2026\\\"\""
    );
    assert_eq!(
        subjects[3..],
        ["spiffe://example.org/node/7", "spiffe://example.org/a"]
    );
    assert!(
        text.lines()
            .all(|line| line.contains("Z ") && line.ends_with(" stolen")),
        "{text}"
    );
    // Tried, and nothing written.
    let (code, out, _) = deny(&["spiffe://example.org/b", "--dry-run"]);
    assert!(
        code == 0 && out.starts_with("spiffe://example.org/b 20"),
        "{out}"
    );
    assert_eq!(content(), text);
    for (arguments, expected) in [
        (&["node-7"][..], "column 1: \"node-7\" names no certificate"),
        (
            &["spiffe://example.org/a", "--until", "2020-01-01"],
            "ends before it begins",
        ),
        (
            &["spiffe://example.org/a", "--until", "soon"],
            "\"soon\" is no date",
        ),
        (&[], "required"),
        (
            &["spiffe://example.org/a", "--certificate", shown],
            "cannot be used with",
        ),
    ] {
        let (code, _, error) = deny(arguments);
        assert!(code == 2 && error.contains(expected), "{error}");
        assert_eq!(content(), text);
    }
    // What cannot be read whole stays as it is.
    std::fs::write(&file, format!("{text}node-7 stolen\n")).unwrap();
    let (code, _, error) = deny(&["spiffe://example.org/c"]);
    assert!(
        code == 2 && error.contains("denied:6:1: \"node-7\""),
        "{error}"
    );
    assert_eq!(content(), format!("{text}node-7 stolen\n"));
    // A comment without an end.
    std::fs::write(&file, "# a comment").unwrap();
    assert_eq!(deny(&["spiffe://example.org/c"]).0, 0);
    assert!(content().starts_with("# a comment\nspiffe://example.org/c 20"));
    // Another run is at it.
    std::fs::write(folder.path().join(".denied.new"), "").unwrap();
    let (code, _, error) = deny(&["spiffe://example.org/d"]);
    assert!(
        code == 2 && error.contains("another run writes the list"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

/// The exit code, standard output and standard error of one call.
fn portcullisctl(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program()).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn config(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("gate.toml");
    std::fs::write(&file, text).unwrap();
    std::fs::write(folder.join("policy.toml"), POLICY).unwrap();
    file
}

#[test]
fn explain_tells_what_the_gate_would_do_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), CONFIG);
    let explain = |arguments: &[&str]| {
        let config = ["explain", "--config", config.to_str().unwrap()];
        portcullisctl(&[&config, arguments].concat())
    };
    let pull = ["GET", "/v2/team/app/manifests/v1"];
    let ci = ["--as", "token:ci", "--from", "10.1.1.1"];
    let (code, out, _) = explain(&[&ci[..], &pull].concat());
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("allowed\ntoken:ci to pull team/app:v1: allowed by rule \"ci\" (line 2)\n"),
        "{out}"
    );

    let (code, out, _) = explain(&[&["--as", "token:ci"][..], &pull].concat());
    assert_eq!(code, 1);
    assert!(
        out.contains("allow rule \"ci\" (line 2) is about other networks"),
        "{out}"
    );
    let (code, out, _) = explain(&pull);
    assert_eq!(code, 1);
    assert!(
        out.contains("no rule allows it without credentials"),
        "{out}"
    );

    let push = ["PUT", "/v2/team/app/manifests/v1"];
    let (code, out, _) = explain(&[&ci[..], &["--tag-exists", "false"], &push].concat());
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = explain(&[&ci[..], &["--tag-exists", "true"], &push].concat());
    assert_eq!(code, 1, "{out}");
    let (code, out, _) = explain(&[&ci[..], &["GET", "/v2/a%2Fb/manifests/x"]].concat());
    assert_eq!(code, 1);
    assert!(out.contains("not canonical"), "{out}");

    let digest = format!("sha256:{}", "a".repeat(64));
    let mount = format!("/v2/team/app/blobs/uploads/?mount={digest}&from=secret/app");
    let (code, out, _) = explain(&[&ci[..], &["POST", &mount]].concat());
    assert_eq!(code, 0, "{out}");
    assert!(
        out.starts_with("allowed as an ordinary upload, without the mount\n"),
        "{out}"
    );
    assert!(
        out.contains("token:ci to pull secret/app: no rule allows it\n"),
        "{out}"
    );

    let (code, _, err) = explain(&[&["--as", "somebody"][..], &pull].concat());
    assert_eq!(code, 2);
    assert!(err.contains("\"somebody\" is nobody"), "{err}");
}

const AGREED: &str = r#"
[source]
allow = ["10.0.0.0/8"]
deny = ["10.9.0.0/16"]

[auth]
require = "token-or-certificate"

[[auth.token]]
id = "ci"
groups = ["builders"]
sha256 = ["$CI"]

[[auth.token]]
id = "guest"
sha256 = ["$GUEST"]

[[identity.map]]
id = "node:{name}"
groups = ["nodes"]
when = { "subject.CN" = "system:node:{name}" }

[[policy.rules]]
name = "builders"
who = ["group:builders"]
actions = ["pull", "push"]
repositories = ["team/**"]

[[policy.rules]]
name = "nodes"
who = ["group:nodes"]
actions = ["pull"]
repositories = ["team/**"]

[[policy.rules]]
name = "n1"
who = ["cert:node:n1"]
actions = ["list"]
repositories = ["**"]
"#;

/// The groups of credentials, the rules of `[identity]` and the networks of `[source]` count here too.
#[tokio::test]
async fn explain_says_what_the_gate_does() {
    use std::convert::Infallible;

    use http::Request;
    use http_body_util::Full;
    use portcullis::config::Config;
    use portcullis::{ClientAddr, Connection, Guard, PeerIdentity};
    use tower::{Layer, ServiceExt, service_fn};

    let folder = tempfile::tempdir().unwrap();
    let digest = |token: &str| {
        use sha2::{Digest, Sha256};
        let bytes = Sha256::digest(token.as_bytes());
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.concat()
    };
    let text = AGREED
        .replace("$CI", &digest("the-token-of-ci"))
        .replace("$GUEST", &digest("the-token-of-guest"));
    let file = config(folder.path(), &text);
    let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
    let service = guard.layer(service_fn(|_request| async {
        Ok::<_, Infallible>(http::Response::new(Full::<bytes::Bytes>::default()))
    }));
    let certificate = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
            .self_signed(&rcgen::KeyPair::generate().unwrap())
            .unwrap()
    };
    let certificates = ["system:node:n1", "system:node:n2", "somebody"].map(|name| {
        let certificate = certificate(name);
        let path = folder.path().join(name.replace(':', "-"));
        std::fs::write(&path, certificate.pem()).unwrap();
        (path, PeerIdentity::from_der(certificate.der()).unwrap())
    });

    let mut answers = Vec::new();
    for from in ["10.1.1.1", "10.9.1.1", "192.0.2.1"] {
        for caller in 0..6 {
            for (method, target) in [
                ("GET", "/v2/team/app/manifests/v1"),
                ("PUT", "/v2/team/app/manifests/v1"),
                ("GET", "/v2/other/tags/list"),
                ("GET", "/v2/"),
            ] {
                let mut request = Request::builder()
                    .header("host", "registry.example")
                    .method(method)
                    .uri(target);
                let mut connection = Connection::builder(format!("{from}:1").parse().unwrap());
                let mut arguments = vec!["explain", "--config", file.to_str().unwrap()];
                arguments.extend(["--from", from]);
                match caller {
                    0 => {}
                    1 | 2 => {
                        let id = ["ci", "guest"][caller - 1];
                        let value = format!("Bearer the-token-of-{id}");
                        request = request.header("authorization", value);
                        arguments.extend(["--as", ["token:ci", "token:guest"][caller - 1]]);
                    }
                    _ => {
                        let (path, peer) = &certificates[caller - 3];
                        connection = connection.identity(peer.clone());
                        arguments.extend(["--cert", path.to_str().unwrap()]);
                    }
                }
                arguments.extend([method, target]);
                let mut request = request.body(Full::<bytes::Bytes>::default()).unwrap();
                let connection = connection.build();
                let client = ClientAddr::new(format!("{from}:1").parse().unwrap());
                request.extensions_mut().insert(client);
                request.extensions_mut().insert(connection);
                let response = service.clone().oneshot(request).await.unwrap();
                let (code, out, err) = portcullisctl(&arguments);
                let allowed = response.status() == 200;
                assert_eq!(
                    code == 0,
                    allowed,
                    "{arguments:?} {}: {out}{err}",
                    response.status()
                );
                answers.push(allowed);
            }
        }
    }
    let allowed = answers.iter().filter(|allowed| **allowed).count();
    assert_eq!((answers.len(), allowed), (72, 8));
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(folder.path(), "[polcy]\n");
    let config = file.to_str().unwrap();
    let (code, _, err) = portcullisctl(&["explain", "--config", config, "GET", "/v2/"]);
    assert_eq!(code, 2);
    assert!(
        err.contains("gate.toml:1:2: ") && err.contains("unknown field `polcy`"),
        "{err}"
    );
    std::fs::write(&file, "").unwrap();
    let (code, _, err) = portcullisctl(&["explain", "--config", config, "GET", "/v2/"]);
    assert_eq!(code, 2);
    assert!(err.contains("no [policy]"), "{err}");
}

#[test]
fn network_policy_lets_in_the_networks_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), CONFIG);
    let (code, out, err) = portcullisctl(&[
        "network-policy",
        "--config",
        config.to_str().unwrap(),
        "--name",
        "mirror",
        "--pods",
        "app=mirror",
        "--port",
        "5000",
    ]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("cidr: \"10.0.0.0/8\"\n            except:\n              - \"10.9.0.0/16\""),
        "{out}"
    );
    assert!(out.contains("port: 5000"), "{out}");
    assert_eq!(err, "");
}

/// The cluster sees the proxy, and the gate the client behind it.
#[test]
fn network_policy_lets_in_the_proxies_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let forwarded = "[forwarded]\nproxies = [\"192.0.2.0/28\"]\naddress = \"x-forwarded-for\"\n";
    let config = config(folder.path(), &format!("{CONFIG}{forwarded}"));
    let file = config.to_str().unwrap();
    let (code, out, err) =
        portcullisctl(&["network-policy", "--config", file, "--pods", "app=mirror"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("cidr: \"192.0.2.0/28\""), "{out}");
    assert!(
        err.contains("warning: ") && err.contains("192.0.2.0/28"),
        "{err}"
    );
}

#[test]
fn a_made_token_is_found_by_scanners_and_its_digest_lets_it_in() {
    let (code, out, _) = portcullisctl(&["token", "farm", "--host", "mirror.example.org:5000"]);
    assert_eq!(code, 0);
    let token = out.lines().next().unwrap();
    assert!(token.starts_with("pcls_") && token.len() == 54, "{token}");
    let digest: portcullis::auth::Secret = out
        .lines()
        .find_map(|line| line.strip_prefix("digest = \"")?.strip_suffix('"'))
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(digest, portcullis::auth::Secret::of_token(token.as_bytes()));
    assert!(out.contains("[host.\"https://mirror.example.org:5000\".header]"));
    assert!(out.contains(&format!("Authorization = \"Bearer {token}\"")));
    let config: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let auth = config["auths"]["mirror.example.org:5000"]["auth"].as_str();
    let pair = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, auth.unwrap()).unwrap();
    assert_eq!(pair, format!("farm:{token}").into_bytes());
    assert_eq!(portcullisctl(&["token", "a:b"]).0, 2);
}

#[test]
fn a_bare_token_is_alone_on_standard_output_and_its_digest_on_the_other() {
    let (code, out, err) = portcullisctl(&["token", "--bare"]);
    assert_eq!(code, 0);
    let token = out.strip_suffix('\n').unwrap();
    assert!(token.starts_with("pcls_") && token.len() == 54, "{token}");
    let digest = err.trim_end().strip_prefix("digest = \"").unwrap();
    let digest: portcullis::auth::Secret = digest.strip_suffix('"').unwrap().parse().unwrap();
    assert_eq!(digest, portcullis::auth::Secret::of_token(token.as_bytes()));
    assert!(!err.contains(token));
}

/// As [`portcullisctl`], with this on standard input.
fn told(input: &str, arguments: &[&str]) -> (i32, String) {
    use std::io::Write;

    let mut child = Command::new(program())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A child that has ended before it read all has said why by its exit code.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap(), out)
}

#[test]
fn a_hashed_password_lets_in_and_is_not_shown() {
    let costs = ["hash", "--memory", "64", "--passes", "1"];
    for input in ["open sesame\n", "open sesame\r\n", "open sesame"] {
        let (code, out) = told(input, &costs);
        assert_eq!(code, 0);
        assert!(!out.contains("sesame"), "{out}");
        let hash = out.trim_end().strip_prefix("digest = \"").unwrap();
        let hash = hash.strip_suffix('"').unwrap();
        assert!(hash.parse::<portcullis::auth::Secret>().is_ok(), "{hash}");
        let hash = PasswordHash::new(hash).unwrap();
        let verify = |password: &[u8]| Argon2::default().verify_password(password, &hash).is_ok();
        assert!(verify(b"open sesame") && !verify(b"open says me"));
    }
    assert_ne!(told("same", &costs), told("same", &costs));
    for (input, arguments) in [
        ("", costs.as_slice()),
        ("\n", &costs),
        ("x", &["hash", "--memory", "1"]),
    ] {
        assert_eq!(told(input, arguments), (2, String::new()), "{input:?}");
    }
}

#[test]
fn the_certificate_of_a_root_is_denied_by_its_key_which_is_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let ca = crate::pki::Ca::new("Nodes");
    std::fs::write(path("ca.crt"), &ca.pem).unwrap();
    let (list, certificate) = (path("denied"), path("ca.crt"));
    let arguments = [
        "deny",
        "--file",
        &list,
        "--reason",
        "lost",
        "--certificate",
        &certificate,
    ];
    for by in ["fingerprint", "serial"] {
        let (code, _, error) = portcullisctl(&[&arguments[..], &["--by", by]].concat());
        assert_ne!(code, 0);
        assert!(error.contains("--by key"), "{error}");
    }
    assert!(!Path::new(&list).exists());
    let (code, out, error) = portcullisctl(&arguments);
    assert_eq!((code, &*error), (0, ""));
    assert!(out.contains(" key:") && std::fs::read_to_string(&list).unwrap().starts_with("key:"));
}

#[cfg(unix)]
#[test]
fn what_is_no_file_with_an_end_is_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let sparse = folder.path().join("sparse");
    std::fs::File::create(&sparse)
        .unwrap()
        .set_len(3 << 30)
        .unwrap();
    let beside = folder.path().join("denied");
    for (file, told) in [
        (fifo.as_path(), "not a regular file"),
        (&sparse, "it is larger than"),
    ] {
        // Through a link, so that what is made beside it is in the folder.
        let _ = std::fs::remove_file(&beside);
        std::os::unix::fs::symlink(file, &beside).unwrap();
        let list = beside.to_str().unwrap();
        let name = "spiffe://example.org/node/7";
        let arguments = ["deny", "--file", list, "--reason", "lost", name];
        let (code, _, error) = portcullisctl(&arguments);
        assert_ne!(code, 0);
        assert!(error.contains(told), "{error}");
    }
}
