//! `portcullisctl verify`, as it is built.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::process::Command;

use std::path::Path;

use pki::{Ca, Files, Leaf};
use portcullis::Watched;
use portcullis::crl::{Options, Revocation};
use portcullis::tls::{Acceptor, ClientCas};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;

/// A CA under a root, its node 7, and its list that revokes node 8.
struct World {
    files: Files,
    root: Ca,
    sub: Ca,
}

impl World {
    fn new() -> Self {
        let files = Files::new();
        let root = Ca::new("Root");
        let sub = root.sub("Sub", |params| params.serial_number = Some(99_u64.into()));
        files.put("root.pem", &root.pem);
        files.put("sub.der", &sub.der);
        let lists = root.crl(1, &[]).pem().unwrap() + &sub.crl(2, &[8]).pem().unwrap();
        files.put("crl.pem", lists);
        for serial in [7_u64, 8] {
            let leaf = sub.client_with("node", |params| params.serial_number = Some(serial.into()));
            files.put(&format!("{serial}.pem"), &leaf.pem);
        }
        Self { files, root, sub }
    }

    /// The exit code, standard output and standard error of `verify` with these arguments besides the
    /// CAs.
    fn verify(&self, arguments: &[&str]) -> (i32, String, String) {
        self.run(&[&["--ca", "root.pem", "--chain", "sub.der"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        // A test's own program is in `target/<profile>/deps`.
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        program.extend(["examples", "portcullisctl"]);
        let output = Command::new(program)
            .current_dir(self.files.directory.path())
            .arg("verify")
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }
}

#[test]
fn a_good_certificate_is_told_with_the_lists_that_say_so() {
    let world = World::new();
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "7.pem"]);
    assert_eq!(code, 0);
    for line in [
        "good: not revoked",
        "CN=node by CN=Sub: not revoked",
        "  CRL of CN=Sub (complete), number 02, from ",
        "CN=Sub by CN=Root: not revoked",
        "  CRL of CN=Root (complete), number 01, from ",
        "CN=Root: the client CA",
    ] {
        assert!(
            out.lines().any(|found| found.starts_with(line)),
            "{line}: {out}"
        );
    }
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "--json", "7.pem"]);
    assert_eq!(code, 0);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["good"], true);
    assert_eq!(told["verdict"], "good");
    assert_eq!(told["anchor"], "CN=Root");
    assert_eq!(told["unused_crls"], Value::Array(vec![]));
    let lists = told["path"][0]["decided_by"].as_array().unwrap();
    assert_eq!(lists.len(), 1);
    assert_eq!(lists[0]["issuer"], "CN=Sub");
    assert_eq!(lists[0]["number"], "02");
    assert!(lists[0]["next_update"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn what_a_gate_requires_besides_a_path_is_required_here_too() {
    let world = World::new();
    let id = |id: &str| {
        world.sub.client_with("svid", |params| {
            let id = id.try_into().unwrap();
            params.subject_alt_names = vec![rcgen::SanType::URI(id)];
            params.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![
                rcgen::ExtendedKeyUsagePurpose::ClientAuth,
                rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            ];
        })
    };
    world
        .files
        .put("svid.pem", &id("spiffe://example.org/node").pem);
    let asked = |arguments: &[&str]| world.verify(&[&["--crl", "crl.pem"], arguments].concat());
    for (arguments, good) in [
        (&["7.pem"][..], true),
        (&["--svid", "7.pem"], false),
        (&["--svid", "svid.pem"], true),
        (&["--trust-domain", "example.org=CN=Root", "svid.pem"], true),
        (
            &["--trust-domain", "example.org=CN=Other", "svid.pem"],
            false,
        ),
        (
            &["--trust-domain", "example.net=CN=Root", "svid.pem"],
            false,
        ),
        (&["--max-intermediates", "1", "7.pem"], true),
        (&["--max-intermediates", "0", "7.pem"], false),
        (&["--max-chain-size", "32768", "7.pem"], true),
        (&["--max-chain-size", "100", "7.pem"], false),
    ] {
        let (code, out, error) = asked(arguments);
        assert_eq!(code, i32::from(!good), "{arguments:?}: {out}{error}");
    }
}

#[test]
fn a_file_without_what_is_sought_in_it_is_told_by_name_and_a_folder_may_have_more() {
    let world = World::new();
    world.files.put("junk", "junk");
    let (code, _, error) = world.run(&["--ca", "junk", "--crl", "crl.pem", "7.pem"]);
    assert!(
        code == 2 && error.contains("junk: ") && !error.contains("CRL"),
        "{error}"
    );
    let folder = world.files.directory.path().join("lists");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(
        world.files.directory.path().join("crl.pem"),
        folder.join("crl.pem"),
    )
    .unwrap();
    let key = world.root.client("x").key_pem;
    std::fs::write(folder.join("tls.key"), key).unwrap();
    let before = |crl: &str| world.verify(&["--before", "crl.pem", "--crl", crl, "7.pem"]);
    let (code, out, error) = before("lists");
    assert_eq!(code, 0, "{out}{error}");
    let (code, _, error) = before("junk");
    assert!(
        code == 2 && error.contains("junk") && !error.contains("bytes"),
        "{error}"
    );
}

#[test]
fn a_revoked_certificate_is_told_with_the_list_that_revokes_it() {
    let world = World::new();
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "8.pem"]);
    assert_eq!(code, 1);
    assert!(
        out.starts_with("refused: the client's certificate `CN=node` was revoked on 20"),
        "{out}"
    );
    assert!(out.contains("(keyCompromise) by CRL 02"), "{out}");
    assert!(
        out.contains("\n  CRL of CN=Sub (complete), number 02"),
        "{out}"
    );
}

#[test]
fn at_another_time_the_lists_say_something_else() {
    let world = World::new();
    let later = rfc3339(time::Duration::days(2));
    let (code, out, _) = world.verify(&["--crl", "crl.pem", "--at", &later, "7.pem"]);
    assert_eq!(code, 1);
    assert!(out.contains("past its next update"), "{out}");
    assert!(!out.contains("CRL of"), "none decides: {out}");
    let grace = [
        "--crl", "crl.pem", "--at", &later, "--grace", "2days", "7.pem",
    ];
    assert_eq!(world.verify(&grace).0, 0);
}

/// A time so far from now.
fn rfc3339(from_now: time::Duration) -> String {
    let time = time::OffsetDateTime::now_utc() + from_now;
    time.format(&time::format_description::well_known::Rfc3339)
        .unwrap()
}

#[test]
fn in_the_past_the_list_of_that_time_decides_and_later_ones_are_told_of() {
    let world = World::new();
    let newer = world.sub.crl_with(3, &[7], |list| {
        list.this_update += time::Duration::minutes(50);
    });
    world.files.put("newer.pem", newer.pem().unwrap());
    let both = ["--crl", "crl.pem", "newer.pem"];
    let (code, out, error) = world.verify(&[&both[..], &["7.pem"]].concat());
    assert_eq!((code, &*error), (1, ""), "{out}");
    let past = rfc3339(time::Duration::minutes(-30));
    let (code, out, error) = world.verify(&[&both[..], &["--at", &past, "7.pem"]].concat());
    assert_eq!(code, 0, "{out}{error}");
    assert!(
        out.contains("\n  CRL of CN=Sub (complete), number 02"),
        "{out}"
    );
    assert!(
        error.contains("not used: newer.pem: CRL 1: it had not been issued then"),
        "{error}"
    );
    // The entry counts though the list begins later: it is dated ahead of now, and the gate has it.
    let ahead = world
        .sub
        .crl_with(3, &[7], |list| list.this_update += time::Duration::hours(2));
    world.files.put("newer.pem", ahead.pem().unwrap());
    assert_eq!(world.verify(&[&both[..], &["7.pem"]].concat()).0, 1);
}

#[test]
fn an_older_list_does_not_take_the_place_of_the_one_before_it() {
    let world = World::new();
    world.files.put("root.crl", world.root.crl(1, &[]).der());
    world.files.put("old.crl", world.sub.crl(2, &[]).der());
    let newer = world.sub.crl_with(3, &[7], |list| {
        list.this_update += time::Duration::minutes(50);
    });
    world.files.put("new.crl", newer.der());
    let restored = world.sub.crl_with(1, &[], |list| {
        list.this_update += time::Duration::minutes(55);
    });
    world.files.put("restored.crl", restored.der());
    for (before, now, expected) in [
        (&[][..], "old.crl", 0),
        (&["--before", "root.crl", "new.crl"], "old.crl", 1),
        // Lower by its number alone, as of a CA that was restored.
        (&["--before", "root.crl", "new.crl"], "restored.crl", 1),
        (&["--before", "root.crl", "old.crl"], "new.crl", 1),
        (&["--before", "root.crl", "old.crl"], "old.crl", 0),
    ] {
        let arguments = [before, &["--crl", "root.crl", now, "7.pem"]].concat();
        let (code, out, error) = world.verify(&arguments);
        assert_eq!(code, expected, "{arguments:?}: {out}{error}");
        if expected == 1 {
            assert!(out.contains("was revoked on 20"), "{arguments:?}: {out}");
        }
    }
}

/// A certificate of `tests/vectors`, with a key that is not its own.
fn foreign(name: &str) -> (String, Leaf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tls");
    let file = folder.join(name);
    let pem = std::fs::read_to_string(&file).unwrap();
    let leaf = Leaf {
        der: CertificateDer::from_pem_slice(pem.as_bytes()).unwrap(),
        pem,
        ..Ca::new("Other").client("other")
    };
    (file.display().to_string(), leaf)
}

/// Why a gate with these client CAs, which lets unknown status pass, refuses the client in the handshake.
async fn refused_by_a_gate(ca: &str, leaf: &Leaf) -> &'static str {
    let ours = Ca::new("Ours");
    let files = Files::new();
    let list = files.put("ours.crl", ours.crl(1, &[]).der());
    let options = Options::default().with_unknown_allowed(true);
    let material = files
        .server(&ours.server(&["localhost"]))
        .require_client_certificates(ClientCas::new([ca]))
        .with_crls(Revocation::builder().with_options(options), [list])
        .load()
        .unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let (error, _) = pki::refused(&acceptor, pki::client(&ours, Some((leaf, &[])))).await;
    error.reason().label()
}

#[tokio::test]
async fn a_key_a_signature_or_a_name_that_a_gate_refuses_is_refused_for_the_same_reason() {
    let world = World::new();
    let unnamed = world.root.client_with("", |leaf| {
        leaf.distinguished_name = rcgen::DistinguishedName::new();
    });
    let file = world.files.put("unnamed.pem", &unnamed.pem);
    let unnamed = (file.display().to_string(), unnamed);
    let root = world.files.path("root.pem").display().to_string();
    let vector = |name| foreign(name).0;
    for (ca, (file, leaf), reason, words) in [
        (
            vector("root-rsa1024.pem"),
            foreign("client-of-rsa1024.pem"),
            "bad_signature",
            "it has an RSA key of 1024 bits",
        ),
        (
            vector("root-p224.pem"),
            foreign("client-of-p224.pem"),
            "unsupported_algorithm",
            "it has a key on the curve P-224",
        ),
        (
            vector("root.pem"),
            foreign("client-p224.pem"),
            "unsupported_algorithm",
            "has an EC key on P-224",
        ),
        (
            vector("root.pem"),
            foreign("client-sha1.pem"),
            "unsupported_algorithm",
            "ECDSA with SHA-1",
        ),
        (root, unnamed, "certificate_malformed", "names nobody"),
    ] {
        let arguments = [
            "--ca",
            &ca,
            "--crl",
            "crl.pem",
            "--unknown",
            "allow",
            "--json",
            &file,
        ];
        let (code, out, error) = world.run(&arguments);
        assert_eq!(code, 1, "{file}: {out}{error}");
        let told: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&told["good"], &told["reason"]),
            (&false.into(), &reason.into())
        );
        let why = told["why"].as_str().unwrap();
        assert!(why.contains(words), "{why}");
        assert_eq!(refused_by_a_gate(&ca, &leaf).await, reason, "{file}");
    }
    // A gate sees this one at the signature by which the client proves that the key is its own.
    let arguments = [
        "--ca",
        &vector("root.pem"),
        "--crl",
        "crl.pem",
        "--unknown",
        "allow",
        &vector("client-rsa1024.pem"),
    ];
    let (code, out, error) = world.run(&arguments);
    assert_eq!(code, 1, "{out}{error}");
    assert!(out.contains("has an RSA key of 1024 bits"), "{out}");
}

#[test]
fn a_client_ca_that_has_expired_does_not_count() {
    let world = World::new();
    let soon = rfc3339(time::Duration::minutes(30));
    let short = Ca::with("Short", |params| {
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::minutes(10);
    });
    let leaf = short.client("node");
    world.files.put("short.pem", &short.pem);
    world
        .files
        .put("short-crl.pem", short.crl(1, &[]).pem().unwrap());
    world.files.put("leaf.pem", &leaf.pem);
    let arguments = ["--ca", "short.pem", "--crl", "short-crl.pem", "leaf.pem"];
    assert_eq!(world.run(&arguments).0, 0);
    let (code, out, error) = world.run(&[&["--at", &*soon], &arguments[..]].concat());
    assert_eq!(code, 1, "{out}");
    assert!(out.starts_with("refused: no path to a client CA"), "{out}");
    assert!(
        error.contains("the client CA CN=Short has expired at "),
        "{error}"
    );
    let (_, out, _) = world.run(&[&["--json", "--at", &*soon], &arguments[..]].concat());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&told["good"], &told["verdict"]),
        (&Value::Bool(false), &Value::Null)
    );
    assert!(
        told["notes"][0]
            .as_str()
            .unwrap()
            .contains("CN=Short has expired")
    );
}

#[test]
fn a_list_that_cannot_be_used_is_told_of() {
    let world = World::new();
    let unknown = world.sub.with_unknown_extension(&world.sub.crl(9, &[]));
    world.files.put("unknown.crl", unknown);
    world.files.put("root.crl", world.root.crl(1, &[]).der());
    let lists = ["--crl", "root.crl", "unknown.crl"];
    let (code, out, error) = world.verify(&[&lists[..], &["7.pem"]].concat());
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("no CRL of its issuer covers it"), "{out}");
    let why = "its critical extension 1.2.3 is unknown";
    assert!(
        error.contains(&format!("not used: unknown.crl: CRL 1: {why}")),
        "{error}"
    );
    let (_, out, _) = world.verify(&[&lists[..], &["--json", "7.pem"]].concat());
    let told: Value = serde_json::from_str(&out).unwrap();
    let unused = &told["unused_crls"][0];
    assert_eq!(
        (&unused["file"], &unused["number"]),
        (&"unknown.crl".into(), &1.into())
    );
    assert_eq!(unused["why"], why);
    // And where there is no other.
    let (code, out, error) = world.verify(&["--crl", "unknown.crl", "7.pem"]);
    assert_eq!((code, &*out), (2, ""));
    assert!(error.contains(why), "{error}");
}

#[test]
fn depth_and_unknown_are_the_gates() {
    let world = World::new();
    world.files.put("root.crl", world.root.crl(1, &[]).der());
    world.files.put("sub.crl", world.sub.crl(1, &[]).der());
    let with = |list, options: &[&str]| {
        let (code, out, _) =
            world.verify(&[&["--crl", list], options, &["--json", "7.pem"]].concat());
        let told: Value = serde_json::from_str(&out).unwrap();
        (code, told["verdict"].as_str().unwrap().to_owned())
    };
    for (list, options, expected) in [
        ("root.crl", &[][..], (1, "unknown")),
        ("root.crl", &["--unknown", "allow"], (0, "unknown_allowed")),
        ("root.crl", &["--depth", "leaf"], (1, "unknown")),
        ("sub.crl", &["--depth", "chain"], (1, "unknown")),
        ("sub.crl", &["--depth", "leaf"], (0, "good")),
    ] {
        let (code, verdict) = with(list, options);
        assert_eq!((code, &*verdict), expected, "{list} {options:?}");
    }
}

#[test]
fn rules_for_a_client_ca_are_the_gates() {
    let world = World::new();
    world.files.put("sub.crl", world.sub.crl(1, &[8]).der());
    let with = |arguments: &[&str]| {
        let (code, out, error) = world.verify(&[arguments, &["--json"]].concat());
        let told = serde_json::from_str::<Value>(&out);
        let verdict = told.map(|told| told["verdict"].as_str().unwrap().to_owned());
        (code, verdict.unwrap_or(error))
    };
    let list = ["--crl", "sub.crl"];
    for (arguments, expected) in [
        (&["7.pem"][..], (1, "unknown")),
        (
            &["--authority", "if-listed=CN=Root", "7.pem"],
            (0, "unknown_allowed"),
        ),
        (
            &["--authority", "if-listed=CN=Root", "8.pem"],
            (1, "revoked"),
        ),
        (&["--authority", "none=cn=root", "8.pem"], (0, "exempt")),
        (&["--authority", "none=CN=Other", "7.pem"], (1, "unknown")),
        (
            &[
                "--unknown",
                "allow",
                "--authority",
                "required=CN=Root",
                "7.pem",
            ],
            (1, "unknown"),
        ),
        (&["--depth", "leaf", "7.pem"], (0, "good")),
    ] {
        let (code, verdict) = with(&[&list[..], arguments].concat());
        assert_eq!((code, &*verdict), expected, "{arguments:?}");
    }
    assert_eq!(
        with(&["--authority", "none=CN=Root", "7.pem"]).0,
        0,
        "without a list"
    );
    let (code, error) = with(&["--authority", "never=CN=Root", "7.pem"]);
    assert!(code == 2 && error.contains("a rule begins with"), "{error}");
    // rcgen's certificates are good for ever, unless they say otherwise.
    let hour = world.sub.client_with("node", |params| {
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::MINUTE;
        params.not_after = params.not_before + time::Duration::HOUR;
    });
    world.files.put("hour.pem", &hour.pem);
    let short = ["--short-lived", "1h", "--depth", "leaf"];
    let (code, verdict) = with(&[&short[..], &["hour.pem"]].concat());
    assert_eq!((code, &*verdict), (0, "exempt"));
    assert_eq!(with(&[&short[..], &["7.pem"]].concat()).0, 1);
}

#[test]
fn a_deny_list_is_the_gates() {
    let world = World::new();
    let lines = "serial:07 issuer:\"CN=Sub\" 2026-11-30 laptop stolen\n";
    world.files.put("denied", lines);
    for list in [&["--crl", "crl.pem"][..], &[]] {
        let (code, out, _) = world.verify(&[list, &["--deny", "denied", "7.pem"]].concat());
        assert_eq!(code, 1);
        let why = "refused: the client's certificate `CN=node` is denied since 2026-11-30T00:00:00Z: laptop \
            stolen (denied:1, serial:07 issuer:\"CN=Sub\")";
        assert!(out.starts_with(why), "{out}");
    }
    let other = world.sub.client("node");
    world.files.put("other.pem", &other.pem);
    let (code, out, _) = world.verify(&["--deny", "denied", "other.pem"]);
    assert!(code == 0 && out.starts_with("good: no CRL needed"), "{out}");
    world.files.put("denied", "node-7\n");
    let (code, _, error) = world.verify(&["--deny", "denied", "other.pem"]);
    assert!(code == 2 && error.contains("denied:1:1: "), "{error}");
}

#[test]
fn a_signer_signs_lists_and_is_no_client_ca() {
    let world = World::new();
    let signer = world
        .root
        .sub("Sub", |params| params.serial_number = Some(98_u64.into()));
    world.files.put("signer.pem", &signer.pem);
    world.files.put("root.crl", world.root.crl(1, &[]).der());
    world.files.put("sub.crl", signer.crl(2, &[]).der());
    let lists = ["--crl", "root.crl", "sub.crl"];
    assert_eq!(world.verify(&[&lists[..], &["7.pem"]].concat()).0, 1);
    let with = [&lists[..], &["--signer", "signer.pem", "7.pem"]].concat();
    assert_eq!(world.verify(&with).0, 0);
    let leaf = signer.client("node");
    world.files.put("leaf.pem", &leaf.pem);
    let with = [
        "--signer",
        "signer.pem",
        "--crl",
        "root.crl",
        "sub.crl",
        "leaf.pem",
    ];
    assert_eq!(
        world.run(&[&["--ca", "signer.pem"], &with[..]].concat()).0,
        0
    );
    let other = Ca::new("Other");
    world.files.put("other.pem", &other.pem);
    assert_eq!(
        world.run(&[&["--ca", "other.pem"], &with[..]].concat()).0,
        1
    );
}

#[test]
fn several_files_may_follow_one_option_and_the_certificate_comes_last() {
    let world = World::new();
    world.files.put("other.pem", &Ca::new("Other").pem);
    world.files.put("root.crl", world.root.crl(1, &[]).der());
    world.files.put("sub.crl", world.sub.crl(2, &[8]).der());
    for (serial, expected) in [("7.pem", 0), ("8.pem", 1)] {
        for arguments in [
            &[
                "--ca",
                "other.pem",
                "root.pem",
                "--chain",
                "sub.der",
                "--crl",
                "root.crl",
                "sub.crl",
                serial,
            ][..],
            &[
                "--crl",
                "root.crl",
                "sub.crl",
                "--chain",
                "sub.der",
                "--ca",
                "other.pem",
                "root.pem",
                serial,
            ],
            &[
                "--crl", "root.crl", "--crl", "sub.crl", "--ca", "root.pem", "--chain", "sub.der",
                serial,
            ],
            &[
                "--ca", "root.pem", "--chain", "sub.der", "--crl", "root.crl", "sub.crl", "--json",
                serial,
            ],
            &[
                "--ca", "root.pem", "--chain", "sub.der", "--crl", "root.crl", "sub.crl", "--",
                serial,
            ],
            &[
                serial, "--ca", "root.pem", "--chain", "sub.der", "--crl", "root.crl", "sub.crl",
            ],
        ] {
            let (code, out, error) = world.run(arguments);
            assert_eq!(code, expected, "{arguments:?}: {out}{error}");
        }
    }
}

#[test]
fn without_the_issuers_list_nothing_is_known() {
    let world = World::new();
    let other = Ca::new("Other").crl(1, &[]).pem().unwrap();
    world.files.put("other.pem", other);
    let (code, out, _) = world.verify(&["--crl", "other.pem", "7.pem"]);
    assert_eq!(code, 1);
    assert!(out.contains("no CRL of its issuer covers it"), "{out}");
}

#[test]
fn a_compressed_list_is_read() {
    use std::io::Write;
    let world = World::new();
    let lists = std::fs::read(world.files.path("crl.pem")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&lists).unwrap();
    world.files.put("crl.pem.gz", gzip.finish().unwrap());
    assert_eq!(world.verify(&["--crl", "crl.pem.gz", "7.pem"]).0, 0);
    assert_eq!(world.verify(&["--crl", "crl.pem.gz", "8.pem"]).0, 1);
}

#[test]
fn bad_input_is_neither_good_nor_refused() {
    let world = World::new();
    world.files.put("noise", "noise");
    let damaged = |name: &str, der: &[u8]| {
        let mut der = der.to_vec();
        // The tag of what is signed.
        der[4] = 0x31;
        world.files.put(name, der);
    };
    damaged("damaged-ca.der", &world.root.der);
    damaged("damaged-leaf.der", &world.sub.client("node").der);
    let mut longer = world.sub.client("node").der.to_vec();
    longer.push(0);
    world.files.put("longer.der", longer);
    for arguments in [
        &["--crl", "missing", "7.pem"][..],
        &["--crl", "noise", "7.pem"],
        &["--crl", "crl.pem", "noise"],
        &["--crl", "crl.pem", "missing"],
        &["--crl", "crl.pem", "--at", "yesterday", "7.pem"],
        &["--crl", "crl.pem", "--grace", "soon", "7.pem"],
        &["--crl", "crl.pem", "--unknown", "maybe", "7.pem"],
        &["--crl", "crl.pem", "damaged-leaf.der"],
        &["--crl", "crl.pem", "longer.der"],
        &[
            "--crl",
            "crl.pem",
            "--ca",
            "damaged-ca.der",
            "--json",
            "7.pem",
        ],
        &[
            "--crl",
            "crl.pem",
            "--chain",
            "damaged-ca.der",
            "--json",
            "7.pem",
        ],
        &["--crl", "crl.pem", "--json"],
        &["7.pem"],
        &["--crl", "crl.pem"],
    ] {
        let (code, out, error) = world.verify(arguments);
        assert_eq!(code, 2, "{arguments:?}: {out}{error}");
        assert!(out.is_empty() && !error.is_empty(), "{arguments:?}: {out}");
    }
}
