//! What a configuration says that is no error and yet probably not meant is reported with its place.
#![cfg(all(feature = "config", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;

use portcullis::Guard;
use portcullis::config::Config;
use portcullis::guard::SecurityWarning;
use tempfile::TempDir;

use crate::pki;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const TLS: &str = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n";
const CRL: &str = "[crl]\nfiles = [\"crl.pem\"]\n";
const LIMITS: &str = "[[limits.limit]]\nname = \"line\"\nkey = \"total\"\nrate = \"1MB\"\n";

/// The public key of RFC 8037, appendix A.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
const ISSUER: &str = if cfg!(feature = "jwt") {
    "[[auth.jwt]]\nkind = \"service-account\"\nissuer = \"cluster\"\naudiences = [\"us\"]\nkeys = \"keys.json\"\n"
} else {
    ""
};

/// So that only the owner can read the keys in it.
#[cfg(unix)]
fn keep_others_out(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(not(unix))]
fn keep_others_out(_: &Path) {}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    keep_others_out(folder.path());
    let (ca, other) = (pki::Ca::new("clients"), pki::Ca::new("others"));
    let server = ca.server(&["localhost"]);
    let client = ca.client("node-7");
    let crl = ca.crl(1, &[]).pem().unwrap();
    for (name, text) in [
        ("ca.crt", &*ca.pem),
        ("both.crt", &format!("{}\n{}", ca.pem, other.pem)),
        ("tls.crt", &*server.pem),
        ("tls.key", &*server.key_pem),
        ("client.crt", &*client.pem),
        ("client.key", &*client.key_pem),
        ("crl.pem", &*crl),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn token(rest: &str) -> String {
    format!(
        "[auth]\nrequire = \"token-or-certificate\"\n[[auth.token]]\nid = \"ci\"\n\
         sha256 = [\"{DIGEST}\"]\n{rest}"
    )
}

fn rule(rest: &str) -> String {
    format!(
        "[[policy.rules]]\nname = \"pull\"\nwho = [\"authenticated\"]\nactions = [\"pull\"]\n\
         repositories = [\"**\"]\n{rest}"
    )
}

fn told(folder: &Path, text: &str) -> Vec<String> {
    let file = folder.join("gate.toml");
    fs::write(&file, text).unwrap();
    let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
    let doubtful = |warning: &&SecurityWarning| matches!(warning, SecurityWarning::Doubtful { .. });
    let warnings = guard.report().warnings.iter().filter(doubtful);
    warnings.map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_configuration_in_which_all_is_meant_has_nothing_doubtful() {
    let folder = folder();
    let text = [
        &token("expires = 2999-01-01T00:00:00Z\n"),
        &rule(""),
        LIMITS,
        TLS,
        CRL,
    ]
    .concat();
    assert_eq!(told(folder.path(), &text), [""; 0]);
    let example = include_str!("../../../examples/mirror.toml");
    assert!(Config::from_toml(example, folder.path()).is_ok());
}

#[tokio::test]
async fn what_lets_nobody_in_or_means_something_else_is_told_with_its_place() {
    let folder = folder();
    let all = |token: &str, rule: &str, rest: &str| [token, rule, LIMITS, TLS, CRL, rest].concat();
    let (known, pull) = (token(""), rule(""));
    let who = |who: &str| rule("").replace("authenticated", who);
    for (text, place, says) in [
        (
            all(&known, &pull, "").replace("ca.crt", "both.crt"),
            ": tls.client_ca[0]: ",
            "no CRL of \"CN=others\"",
        ),
        (
            all(&token("expires = 2020-01-01T00:00:00Z\n"), &pull, ""),
            ":6:11: auth.token[0].expires: ",
            "has expired",
        ),
        (
            all(&token("not_before = 2999-01-01T00:00:00Z\n"), &pull, ""),
            ":6:14: auth.token[0].not_before: ",
            "not good yet",
        ),
        (
            all(&token("networks = []\n"), &pull, ""),
            ":6:12: auth.token[0].networks: ",
            "nobody is let in",
        ),
        (
            all(&known, &pull, "[forwarded]\nproxies = [\"0.0.0.0/0\"]\n"),
            ": forwarded.proxies[0]: ",
            "every address",
        ),
        (
            all(
                &known,
                &pull,
                "[serve]\nproxy_protocol = [\"10.0.0.0/8\", \"::/0\"]\n",
            ),
            ": serve.proxy_protocol[1]: ",
            "every address",
        ),
        (
            all(&known, &pull, "").replace("[tls]", "[tls]\nproxy_protocol = [\"0.0.0.0/0\"]"),
            ": tls.proxy_protocol[0]: ",
            "every address",
        ),
        (
            all(
                &token("[auth.throttle]\nexempt = [\"0.0.0.0/0\"]\n"),
                &pull,
                "",
            ),
            ":7:11: auth.throttle.exempt[0]: ",
            "nobody's failures are throttled",
        ),
        (
            all(&known, &pull, "[serve]\nhead_timeout = \"300ms\"\n"),
            ": serve.head_timeout: ",
            "300ms is shorter",
        ),
        (
            all(
                &known,
                &pull,
                "[serve]\nbody_pace = { bytes = \"1GiB\", window = \"1s\" }\n",
            ),
            ": serve.body_pace: ",
            "1073741824 bytes a second",
        ),
        (
            all(
                &known,
                &pull,
                "[[identity.map]]\nid = \"x\"\nwhen = { \"anchor.key\" = \"00ff\" }\n",
            ),
            ": identity.map[0].when.\"anchor.key\": ",
            "no client CA has the key \"00ff\"",
        ),
        (
            all(&known, &pull, "[source]\nallow = []\n"),
            ": source.allow: ",
            "nobody is let in",
        ),
        (
            all(
                &known,
                &pull,
                "[source]\nallow = [\"10.0.0.0/8\", \"192.0.2.7/24\"]\n",
            ),
            ": source.allow[1]: ",
            "write 192.0.2.0/24, or 192.0.2.7/32 for one host",
        ),
        (
            all(&known, &rule("networks = [\"10.1.2.3/8\"]\n"), ""),
            ":11:13: policy.rules[0].networks[0]: ",
            "means 10.0.0.0/8",
        ),
        (
            all(&known, &rule("").replace("**", "docker.io/library/**"), ""),
            ":10:17: policy.rules[0].repositories[0]: ",
            "write \"library/**\"",
        ),
        (
            all(&known, &who("token:cj"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "no credential of this id",
        ),
        (
            all(&known, &who("jwt:alice"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "nobody can be \"jwt:alice\"",
        ),
        (
            all(&known, &who("cert:*"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "is no pattern",
        ),
        (
            all(&known, &who("jwt:system:serviceaccount:ci:*"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "is no pattern",
        ),
        (
            all(&known, &who("anonymous"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "anonymous = true",
        ),
        (
            all(&known, &who("issuer:CN=client"), ""),
            ":8:8: policy.rules[0].who[0]: ",
            "no client CA is named \"CN=client\"",
        ),
        (
            all(
                &known,
                &pull,
                "[[identity.map]]\nid = \"x\"\nwhen = { anchor = \"CN=client\" }\n",
            ),
            ": identity.map[0].when.anchor: ",
            "no client CA is named",
        ),
        (
            all(&known, &rule("effect = \"deny\"\n"), ""),
            ":6:1: policy.rules: ",
            "every request is denied",
        ),
        (
            all(&known, &pull, "").replace("key = \"total\"", "key = \"total\"\nclass = \"slow\""),
            ": limits.limit[0].class: ",
            "this limit never applies",
        ),
        (
            all(&known, &pull, "").replace("key = \"total\"", "key = \"group\""),
            ": limits.limit[0].key: ",
            "no request has a group",
        ),
        (
            all(&known, &pull, "[[limits.exempt]]\ngroup = \"ops\"\n"),
            ": limits.exempt[0].group: ",
            "nobody can be in the group \"ops\"",
        ),
        (
            all(&known, &pull, "")
                .replace("tls.crt", "client.crt")
                .replace("tls.key", "client.key"),
            ": tls.certificate: ",
            "not for servers",
        ),
    ] {
        let told = told(folder.path(), &text);
        // Where the line is not what the case is about, the key is enough.
        let place = match place.strip_prefix(": ") {
            Some(key) => format!(": {key}"),
            None => format!("gate.toml{place}"),
        };
        let is_it = |warning: &&String| warning.contains(&place) && warning.contains(says);
        assert!(
            told.iter().any(|warning| is_it(&warning)),
            "{text}\n{place}{says}\n{told:#?}"
        );
        assert_eq!(told.len(), 1, "{text}\n{told:#?}");
    }
}

#[tokio::test]
async fn client_cas_are_known_in_each_form_in_which_the_server_reads_them() {
    let folder = folder();
    let ca = pki::Ca::new("clients");
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    put("crl.pem", ca.crl(1, &[]).pem().unwrap().as_bytes());
    let who = rule("").replace("authenticated", "issuer:CN=clients\", \"dns:*.example.org");
    let text = [&token(""), &who, LIMITS, TLS, CRL].concat();
    for content in [
        ca.pem.as_bytes().to_vec(),
        ca.der.to_vec(),
        ca.pem
            .replace("CERTIFICATE", "X509 CERTIFICATE")
            .into_bytes(),
        format!("\u{feff}{}", ca.pem).into_bytes(),
    ] {
        put("ca.crt", &content);
        assert_eq!(told(folder.path(), &text), [""; 0]);
    }
}

#[tokio::test]
async fn a_policy_or_credentials_file_is_told_of_with_its_own_place() {
    let folder = folder();
    let rules = rule("")
        .replace("policy.rules", "rules")
        .replace("authenticated", "token:cj");
    fs::write(folder.path().join("policy.toml"), rules).unwrap();
    let digest = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";
    let credentials = format!(
        "[[credential]]\nid = \"old\"\n[[credential.secret]]\ndigest = \"{digest}\"\n\
         expires = 2020-01-01T00:00:00Z\n"
    );
    fs::write(folder.path().join("credentials.toml"), credentials).unwrap();
    let auth = token("").replace("[[auth", "credentials = [\"credentials.toml\"]\n[[auth");
    let text = [
        &auth,
        "[policy]\nfile = \"policy.toml\"\n",
        LIMITS,
        TLS,
        CRL,
    ]
    .concat();
    let told = told(folder.path(), &text);
    for part in [
        "policy.toml:3:8: rules[0].who[0]: nobody can be \"token:cj\"",
        "credentials.toml:1:1: credential[0]: the credential \"old\" has expired",
    ] {
        assert!(
            told.iter().any(|warning| warning.contains(part)),
            "{part}: {told:#?}"
        );
    }
}

#[tokio::test]
async fn credentials_that_are_good_for_no_caller_and_a_shadow_policy_are_told_of_in_their_files() {
    let folder = folder();
    let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let digest = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752";
    put(
        "credentials.toml",
        &format!(
            "[[credential]]\nid = \"next\"\nnetworks = [\"10.1.2.3/8\"]\n[[credential.secret]]\n\
             digest = \"{digest}\"\nnot_before = 2999-01-01T00:00:00Z\n\
             [[credential]]\nid = \"none\"\nnetworks = []\n[[credential.secret]]\n\
             digest = \"sha256:{DIGEST}\"\n"
        ),
    );
    put(
        "htpasswd",
        "ann:$2y$05$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u\n",
    );
    let shadow = rule("networks = [\"10.9.8.7/8\"]\n")
        .replace("policy.rules", "rules")
        .replace("authenticated", "token:cj")
        .replace("**", "docker.io/**");
    put("shadow.toml", &shadow);
    put("policy.toml", &rule("").replace("policy.rules", "rules"));
    let text = [
        "[auth]\nrequire = \"token-or-certificate\"\ncredentials = [\"credentials.toml\"]\n\
         [[auth.htpasswd]]\nfile = \"htpasswd\"\nnetworks = []\n\
         [policy]\nfile = \"policy.toml\"\nshadow = \"shadow.toml\"\n",
        LIMITS,
        TLS,
        CRL,
    ]
    .concat();
    let told = told(folder.path(), &text);
    let parts = [
        "gate.toml:6:12: auth.htpasswd[0].networks: no network is listed",
        "credentials.toml:3:13: credential[0].networks[0]: 10.1.2.3/8 has bits set",
        "credentials.toml:6:14: credential[0].secret[0].not_before: the credential \"next\" is not good yet",
        "credentials.toml:9:12: credential[1].networks: no network is listed",
        "shadow.toml:3:8: rules[0].who[0]: nobody can be \"token:cj\"",
        "shadow.toml:5:17: rules[0].repositories[0]: \"docker.io/**\" begins with",
        "shadow.toml:6:13: rules[0].networks[0]: 10.9.8.7/8 has bits set",
    ];
    for part in parts {
        let is_it = |warning: &String| warning.contains(part);
        assert!(told.iter().any(is_it), "{part}: {told:#?}");
    }
    assert_eq!(told.len(), parts.len(), "{told:#?}");
}

#[tokio::test]
async fn a_throttle_that_exempts_every_address_is_reported_as_none() {
    let folder = folder();
    let file = folder.path().join("gate.toml");
    let text = token("[auth.throttle]\nexempt = [\"::/0\"]\n");
    fs::write(&file, text).unwrap();
    let guard = Guard::from_config(&Config::load(&file).unwrap()).unwrap();
    let report = guard.report().to_string();
    assert!(
        report.contains("failed authentications are not throttled")
            && !report.contains("are throttled by"),
        "{report}"
    );
}

#[tokio::test]
async fn a_certificate_that_no_client_is_asked_for_is_told_where_it_is_required() {
    let folder = folder();
    let tls = TLS.replace("client_ca = [\"ca.crt\"]\n", "");
    let text = [
        "[auth]\nrequire = \"certificate\"\n",
        &rule(""),
        LIMITS,
        &tls,
    ]
    .concat();
    let told = told(folder.path(), &text);
    assert!(
        told.iter().any(
            |one| one.contains("gate.toml:2:11: auth.require: callers must show a certificate")
        ),
        "{told:?}"
    );
}

#[cfg(unix)]
#[tokio::test]
async fn what_everybody_on_the_machine_may_write_or_guess_from_is_told_of_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    let path = folder.path();
    fs::write(
        path.join("htpasswd"),
        "ann:$2y$05$L6Bc/AlTQHyd9liGgGEZyOFLPHNgyxeEPfgYfBCVxJ7JIlwxyVU3u\n",
    )
    .unwrap();
    let auth = token("").replace("[[auth", "htpasswd = [\"htpasswd\"]\n[[auth");
    fs::write(path.join("keys.json"), KEYS).unwrap();
    let text = [&auth, ISSUER, &rule(""), LIMITS, TLS, CRL].concat();
    let set = |name: &str, mode| {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    set("tls.key", 0o600);
    set("htpasswd", 0o640);
    set(".", 0o755);
    assert_eq!(told(path, &text), [""; 0]);
    for (name, mode, usual, key, says) in [
        ("ca.crt", 0o666, 0o644, ": tls.client_ca[0]: ", "may write"),
        ("crl.pem", 0o646, 0o644, ": crl.files[0]: ", "may write"),
        ("gate.toml", 0o666, 0o644, "gate.toml:1:1: ", "may write"),
        ("htpasswd", 0o644, 0o640, ": auth.htpasswd[0]: ", "may read"),
        #[cfg(feature = "jwt")]
        (
            "keys.json",
            0o646,
            0o644,
            ": auth.jwt[0].keys: ",
            "may write",
        ),
        (".", 0o777, 0o755, ": ", "may write"),
    ] {
        set(name, mode);
        let told = told(path, &text);
        set(name, usual);
        let mode = format!("(mode {mode:o})");
        assert!(
            told.len() == 1
                && told[0].contains(key)
                && told[0].contains(says)
                && told[0].contains(&mode),
            "{name}: {told:?}"
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_everybody_on_the_machine_may_read_is_told_of_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;

    let folder = folder();
    let text = [&token(""), &rule(""), LIMITS, TLS, CRL].concat();
    let set = |name: &str, mode| {
        let file = folder.path().join(name);
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    };
    set("tls.key", 0o644);
    // A folder that others cannot enter keeps them from what is in it.
    assert_eq!(told(folder.path(), &text), [""; 0]);
    set(".", 0o755);
    let warnings = told(folder.path(), &text);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains(": tls.key: ") && warnings[0].contains("mode 644"),
        "{warnings:?}"
    );
    set("tls.key", 0o640);
    assert_eq!(told(folder.path(), &text), [""; 0]);
}

#[tokio::test]
async fn a_list_by_which_no_certificate_is_good_is_no_list_that_is_enough() {
    let folder = folder();
    let ca = pki::Ca::new("clients");
    fs::write(folder.path().join("ca.crt"), &ca.pem).unwrap();
    let put = |list: &rcgen::CertificateRevocationList| {
        fs::write(folder.path().join("crl.pem"), list.pem().unwrap()).unwrap();
    };
    let text = [TLS, CRL].concat();
    put(&ca.crl(1, &[]));
    assert!(
        !told(folder.path(), &text)
            .iter()
            .any(|one| one.contains("none says"))
    );
    let ahead = ca.crl_with(1, &[], |list| list.this_update += time::Duration::days(1));
    let of_cas = ca.crl_with(1, &[], |list| {
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl.example.org/1".to_owned()],
            },
            scope: Some(rcgen::CrlScope::CaCertsOnly),
        });
    });
    for (list, why) in [
        (&ahead, "its thisUpdate is still to come"),
        (&of_cas, "it is about CAs or attribute certificates only"),
    ] {
        put(list);
        for unknown in ["refuse", "allow"] {
            let text = format!("{text}unknown = \"{unknown}\"\n");
            let told = told(folder.path(), &text);
            assert!(told.iter().any(|one| one.contains(why)), "{why}: {told:?}");
        }
    }
}
