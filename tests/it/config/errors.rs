//! What is wrong with a configuration is reported with its file, line, column and key, in an operator's words.
#![cfg(feature = "config")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests and their tables"
)]

use std::error::Error;
use std::fs;
use std::path::Path;

use portcullis::Guard;
use portcullis::config::{Config, ConfigError};
use tempfile::TempDir;

use crate::pki;

const TOKEN: &str = "fCn2kmVjQXyEV3vN0UuU1xcnZgnM5cV9g1YJqf3sQbE";

/// A folder with what the configurations below name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    let ca = pki::Ca::new("clients");
    let (one, other) = (ca.server(&["localhost"]), ca.server(&["other"]));
    let crl = ca.crl(1, &[]).pem().unwrap();
    for (name, text) in [
        ("ca.crt", &*ca.pem),
        ("one.crt", &*one.pem),
        ("one.key", &*one.key_pem),
        ("other.crt", &*other.pem),
        ("other.key", &*other.key_pem),
        ("crl.pem", &*crl),
        ("token", TOKEN),
        ("same", TOKEN),
        ("weak", "hunter2"),
        ("empty", ""),
        (
            "no-der.crt",
            "-----BEGIN CERTIFICATE-----\nMAMCAQA=\n-----END CERTIFICATE-----\n",
        ),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let signed_data = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    fs::write(folder.path().join("chain.p7b"), signed_data).unwrap();
    folder
}

fn guard(folder: &Path, text: &str) -> Result<Guard, ConfigError> {
    let file = folder.join("gate.toml");
    fs::write(&file, text).unwrap();
    Guard::from_config(&Config::load(&file)?)
}

const TLS: &str = "[tls]\ncertificate = \"one.crt\"\nkey = \"one.key\"\n";
const MTLS: &str =
    "[tls]\ncertificate = \"one.crt\"\nkey = \"one.key\"\nclient_ca = [\"ca.crt\"]\n";

fn token(rest: &str) -> String {
    format!("[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\n{rest}")
}

#[tokio::test]
async fn an_error_of_what_a_key_names_points_at_the_key() {
    let folder = folder();
    let two = |file: &str, id: &str| {
        token(&format!(
            "file = \"token\"\n[[auth.token]]\nid = \"{id}\"\nfile = \"{file}\"\n"
        ))
    };
    for (text, place, says) in [
        (
            token("file = \"none\"\n"),
            ":5:8: auth.token[0].file: ",
            "none",
        ),
        (
            token("file = \"weak\"\n"),
            ":5:8: auth.token[0].file: ",
            "guessed",
        ),
        (
            token("file = \"empty\"\n"),
            ":5:8: auth.token[0].file: ",
            "the token is empty",
        ),
        (
            token("env = \"PORTCULLIS_NO_SUCH_VARIABLE\"\n"),
            ":5:7: auth.token[0].env: ",
            "the environment variable PORTCULLIS_NO_SUCH_VARIABLE is not set, nor",
        ),
        (
            token("sha256 = [\"abc\"]\n"),
            ":5:10: auth.token[0].sha256: ",
            "not a digest",
        ),
        (
            two("same", "other"),
            ":8:8: auth.token[1].file: ",
            "the same token",
        ),
        (
            two("same", "ci"),
            ":7:6: auth.token[1].id: ",
            "give each its own",
        ),
        (
            "[auth]\nrequire = \"token\"\ncredentials = [\"weak\"]\n".to_owned(),
            ":3:16: auth.credentials[0]: ",
            "weak:1",
        ),
        (
            TLS.replace("one.crt", "empty"),
            ":2:15: tls.certificate: ",
            "no certificate",
        ),
        (
            TLS.replace("one.crt", "none"),
            ":2:15: tls.certificate: ",
            "none",
        ),
        (
            TLS.replace("one.key", "empty"),
            ":3:7: tls.key: ",
            "private key",
        ),
        (
            TLS.replace("one.key", "other.key"),
            ":3:7: tls.key: ",
            "give the one that",
        ),
        (
            format!("{TLS}[[tls.sni]]\ncertificate = \"other.crt\"\nkey = \"one.key\"\n"),
            ":6:7: tls.sni[0].key: ",
            "other.crt",
        ),
        (
            MTLS.replace("ca.crt", "empty"),
            ":4:14: tls.client_ca[0]: ",
            "no certificate",
        ),
        (
            format!("{MTLS}[crl]\nfiles = [\"crl.pem\", \"none\"]\n"),
            ":6:21: crl.files[1]: ",
            "none",
        ),
        (
            format!("{TLS}[crl]\nfiles = [\"crl.pem\"]\n"),
            ":4:1: crl: ",
            "`client_ca`",
        ),
        (
            format!(
                "{TLS}[forwarded]\nproxies = [\"10.0.0.0/8\"]\ncertificate = {{ form = \"xfcc\" }}\n"
            ),
            ":6:15: forwarded.certificate: ",
            "`client_ca`",
        ),
        (
            "[[policy.rules]]\nname = \"a\"\nwho = [\"anyone\"]\nactions = [\"probe\"]\n".repeat(2),
            ":6:8: policy.rules[1].name: ",
            "both named",
        ),
        (
            "[policy]\nfile = \"none\"\n".to_owned(),
            ":2:8: policy.file: ",
            "none",
        ),
        (
            "realm = \"a\\nb\"\npreset = \"registry\"\n".to_owned(),
            ":1:9: realm: ",
            "",
        ),
    ] {
        let error = guard(folder.path(), &text).err();
        let error = error.unwrap_or_else(|| panic!("taken: {text}")).to_string();
        assert!(
            error.contains(&format!("gate.toml{place}")),
            "{text}{error}"
        );
        assert!(error.contains(says), "{text}{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[cfg(feature = "jwt")]
fn issuer(name: &str, rest: &str) -> String {
    format!("[[auth.jwt]]\nkind = \"registry\"\nissuer = \"{name}\"\n{rest}")
}

#[tokio::test]
async fn a_name_of_nothing_is_an_error_with_its_place() {
    let folder = folder();
    let of_credentials = "[auth]\nrequire = \"token\"\ncredentials = [\"people.toml\"]\n";
    fs::write(
        folder.path().join("people.toml"),
        "[[credential]]\nid = \"ann\"\ngroups = [\"people\", \"\"]\n",
    )
    .unwrap();
    let limit = "[[limits.limit]]\nname = \"line\"\nkey = \"total\"\nrate = \"1MB\"\n";
    let map = |rest: &str| format!("[[identity.map]]\n{rest}when = {{ dns = \"*\" }}\n");
    for (text, place) in [
        (
            token("file = \"token\"\ngroups = [\"a\", \" \"]\n"),
            "gate.toml:6:16: auth.token[0].groups[1]: ",
        ),
        (
            token("file = \"token\"\n").replace("\"ci\"", "\"\""),
            "gate.toml:4:6: auth.token[0].id: ",
        ),
        (
            of_credentials.to_owned(),
            "people.toml:3:21: credential[0].groups[1]: ",
        ),
        (
            format!("{limit}class = \"\"\n"),
            "gate.toml:5:9: limits.limit[0].class: ",
        ),
        (
            format!("{limit}[[limits.exempt]]\ngroup = \"\"\n"),
            "gate.toml:6:9: limits.exempt[0].group: ",
        ),
        (map("id = \"\"\n"), "gate.toml:2:6: identity.map[0].id: "),
        (
            map("id = \"x\"\ngroups = [\"\"]\n"),
            "gate.toml:3:11: identity.map[0].groups[0]: ",
        ),
        #[cfg(feature = "jwt")]
        (
            token("file = \"token\"\n")
                + &issuer("", "audiences = [\"us\"]\nkeys = \"keys.json\"\n"),
            "gate.toml:8:10: auth.jwt[0].issuer: ",
        ),
        #[cfg(feature = "jwt")]
        (
            token("file = \"token\"\n")
                + &issuer("hub", "audiences = [\"us\", \"\"]\nkeys = \"keys.json\"\n"),
            "gate.toml:9:20: auth.jwt[0].audiences[1]: ",
        ),
    ] {
        let error = guard(folder.path(), &text).err();
        let error = error.unwrap_or_else(|| panic!("taken: {text}")).to_string();
        let expected = format!("{place}it is empty");
        assert!(error.contains(&expected), "{text}{error}");
    }
    // What the program around the guard sets for itself is its own.
    let program = "[program]\nname = \"\"\n";
    assert!(guard(folder.path(), program).is_ok());
}

#[tokio::test]
async fn a_secret_that_expires_before_it_begins_is_an_error_with_its_place() {
    let folder = folder();
    let times = |until: &str| format!("not_before = 2027-01-01T00:00:00Z\nexpires = {until}\n");
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for (until, is_never) in [
        ("2026-01-01T00:00:00Z", true),
        ("2027-01-01T01:00:00+01:00", true),
        ("2027-01-01T00:00:01Z", false),
    ] {
        let times = times(until);
        fs::write(
            folder.path().join("people.toml"),
            format!(
                "[[credential]]\nid = \"ann\"\n[[credential.secret]]\ndigest = \"{digest}\"\n{times}"
            ),
        )
        .unwrap();
        for (text, place) in [
            (
                token(&format!("file = \"token\"\n{times}")),
                "gate.toml:3:1: auth.token[0]: ",
            ),
            (
                "[auth]\nrequire = \"token\"\ncredentials = [\"people.toml\"]\n".to_owned(),
                "people.toml:3:1: credential[0].secret[0]: ",
            ),
        ] {
            let error = guard(folder.path(), &text)
                .err()
                .map(|error| error.to_string());
            assert_eq!(error.is_some(), is_never, "{until}: {error:?}");
            let expected = format!("{place}it is good at no time");
            let is_it = error.is_none_or(|error| error.contains(&expected));
            assert!(is_it, "{text}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_kind_is_told_how_it_is_written() {
    let folder = folder();
    for (text, says) in [
        (
            format!("{TLS}client_ca = \"ca.crt\"\n"),
            ":4:13: tls.client_ca: a list is expected, not the text \"ca.crt\": write it as [\"ca.crt\"]",
        ),
        (
            "realm = 5\n".to_owned(),
            ":1:9: realm: a text is expected, not the number 5: write it in quotes, as \"5\"",
        ),
        (
            "hidden = \"yes\"\n".to_owned(),
            ":1:10: hidden: true or false is expected, not the text \"yes\", without quotes",
        ),
        (
            "tls = true\n".to_owned(),
            ":1:7: tls: a table is expected, not true",
        ),
        (
            format!("{TLS}alpn = [\"h3\"]\n"),
            ":4:9: tls.alpn[0]: one of \"h2\", \"http/1.1\", \"http/1.0\" is expected, not \"h3\"",
        ),
        (
            format!("{TLS}key = \"other.key\"\n"),
            ":4:1: key: it is in its table twice: take one out",
        ),
        (
            format!("{MTLS}[crl]\nfiles = [\"crl.pem\"]\nsigners = [\"no-der.crt\"]\n"),
            ":7:12: crl.signers[0]: ",
        ),
        (
            format!("{MTLS}[crl]\nfiles = [\"crl.pem\"]\nshort_lived = \"40days\"\n"),
            ":7:15: crl.short_lived: \"40days\" is not from \"1s\" to \"31days\"",
        ),
        (
            format!("{TLS}client_auth = \"require\"\n"),
            ":4:15: tls.client_auth: without a CA no client certificate could be good",
        ),
        (
            TLS.replace("one.crt", "chain.p7b"),
            ":2:15: tls.certificate: ",
        ),
        (
            format!("{MTLS}[crl]\nfiles = []\n"),
            ":5:1: crl: no file or folder of CRLs is named",
        ),
        (
            format!("{TLS}max_handshakes = -1\n"),
            ":4:18: tls.max_handshakes: ",
        ),
    ] {
        let error = guard(folder.path(), &text).unwrap_err().to_string();
        assert!(
            error.contains(&format!("gate.toml{says}")),
            "{error}\n{says}"
        );
    }
}

#[tokio::test]
async fn a_text_is_a_configuration_whose_paths_are_relative_to_a_folder() {
    let folder = folder();
    let text = token("file = \"token\"\n") + MTLS + "[crl]\nfiles = [\"crl.pem\"]\n";
    let config = Config::from_toml(&text, folder.path()).unwrap();
    let guard = Guard::from_config(&config).unwrap();
    assert!(guard.acceptor().is_some());
    let report = guard.report().to_string();
    assert!(report.contains("callers must show a token"), "{report}");

    let error = Config::from_toml("[tls]\nkey = 5\n", folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("configuration:2:7: tls.key: "),
        "{error}"
    );
    let elsewhere = Config::from_toml(&text, folder.path().join("none")).unwrap();
    let error = Guard::from_config(&elsewhere).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("configuration:5:8: auth.token[0].file: "),
        "{error}"
    );
}

#[tokio::test]
async fn a_main_that_returns_the_error_prints_a_sentence() {
    let folder = folder();
    let load = || -> Result<(), Box<dyn Error>> {
        guard(folder.path(), &token("file = \"weak\"\n"))?;
        Ok(())
    };
    // As `main` prints it.
    let printed = format!("Error: {:?}", load().unwrap_err());
    assert!(
        printed.contains("gate.toml:5:8: auth.token[0].file: "),
        "{printed}"
    );
    assert!(
        !printed.contains(['{', '}']) && !printed.contains("TooWeak"),
        "{printed}"
    );
    assert_eq!(printed.matches("guessed").count(), 1, "{printed}");
    // A cause that the error does not say itself is said after it.
    let missing = guard(folder.path(), &TLS.replace("one.crt", "none")).unwrap_err();
    let printed = format!("{missing:?}");
    assert!(printed.to_lowercase().contains("no such file"), "{printed}");
}

/// Each of the warnings has its place, which is found in a text that is read once.
#[tokio::test]
async fn many_rules_with_a_warning_each_are_checked_in_moments() {
    const RULES: usize = 3_000;
    let folder = folder();
    let rule = |number: usize| {
        format!(
            "[[policy.rules]]\nname = \"r{number}\"\nwho = [\"token:nobody-{number}\"]\nactions = [\"pull\"]\n\
             repositories = [\"team-{number}/**\"]\n"
        )
    };
    let rules: String = (0..RULES).map(rule).collect();
    let begun = std::time::Instant::now();
    let guard = guard(folder.path(), &(token("file = \"token\"\n") + &rules)).unwrap();
    let warnings = &guard.report().warnings;
    // With the text read anew for each it was half a minute.
    let took = begun.elapsed();
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    let last = warnings.iter().filter(|warning| {
        let warning = warning.to_string();
        warning.contains("policy.rules[2999].who[0]: ")
    });
    assert_eq!(last.count(), 1);
}
