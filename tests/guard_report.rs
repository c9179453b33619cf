//! What a guard says of itself: at its start, and to probes.
#![cfg(feature = "config")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use portcullis::Guard;
use portcullis::admin::Admin;
use portcullis::config::{Config, ConfigError};
use portcullis::guard::SecurityWarning;
use tempfile::TempDir;
use tower::ServiceExt;

mod captured;
mod pki;

const TOKEN: &str = "[auth]\nrequire = \"token\"\n[[auth.token]]\nid = \"ci\"\ngroups = [\"builders\"]\n\
    sha256 = [\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]\n";
const CERTIFICATE: &str = "[auth]\nrequire = \"certificate\"\n";
const POLICY: &str = "[[policy.rules]]\nname = \"pull\"\nwho = [\"group:builders\"]\n\
    actions = [\"pull\"]\nrepositories = [\"**\"]\n";
const KNOWN: &str = "[[policy.rules]]\nname = \"pull\"\nwho = [\"authenticated\"]\n\
    actions = [\"pull\"]\nrepositories = [\"**\"]\n";
const LIMITS: &str = "[[limits.limit]]\nname = \"line\"\nkey = \"total\"\nrate = \"1MB\"\n";
const TLS: &str = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n";
const MTLS: &str =
    "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = [\"ca.crt\"]\n";
const CRL: &str = "[crl]\nfiles = [\"crl.pem\"]\n";

/// So that only the owner can read the keys in it.
#[cfg(unix)]
fn keep_others_out(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(not(unix))]
fn keep_others_out(_: &Path) {}

/// A folder with all the files that the sections above name.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    keep_others_out(folder.path());
    let ca = pki::Ca::new("clients");
    let server = ca.server(&["localhost"]);
    let crl = ca.crl(1, &[]).pem().unwrap();
    for (name, text) in [
        ("ca.crt", &ca.pem),
        ("tls.crt", &server.pem),
        ("tls.key", &server.key_pem),
        ("crl.pem", &crl),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(folder: &Path, sections: &[&str]) -> Result<Guard, ConfigError> {
    let file = folder.join("gate.toml");
    let head = "[reload]\npoll_interval = \"50ms\"\nsettle = \"5ms\"\n";
    fs::write(&file, format!("{head}{}", sections.concat())).unwrap();
    Guard::from_config(&Config::load(&file).unwrap())
}

fn warnings(sections: &[&str]) -> Vec<SecurityWarning> {
    let folder = folder();
    let guard = load(folder.path(), sections).unwrap();
    guard.report().warnings.clone()
}

#[tokio::test]
async fn a_gate_with_every_section_has_nothing_dangerous_to_tell() {
    for sections in [
        [TOKEN, POLICY, LIMITS, TLS, ""],
        [TOKEN, POLICY, LIMITS, MTLS, CRL],
        [CERTIFICATE, KNOWN, LIMITS, MTLS, CRL],
    ] {
        assert_eq!(warnings(&sections), [], "{sections:?}");
    }
}

#[tokio::test]
async fn each_section_that_is_missing_is_told_as_what_it_means() {
    for (sections, warning) in [
        ([KNOWN, LIMITS, TLS, ""], SecurityWarning::NoAuthentication),
        ([TOKEN, LIMITS, TLS, ""], SecurityWarning::NoPolicy),
        ([TOKEN, POLICY, TLS, ""], SecurityWarning::NoLimits),
        ([TOKEN, POLICY, LIMITS, MTLS], SecurityWarning::NoRevocation),
        (
            [TOKEN, "[auth.throttle]\nenabled = false\n", POLICY, LIMITS],
            SecurityWarning::NoThrottle,
        ),
    ] {
        assert_eq!(warnings(&sections), [warning], "{sections:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_every_client_must_have_is_authentication_enough() {
    assert_eq!(warnings(&[KNOWN, LIMITS, MTLS, CRL]), []);
}

#[tokio::test]
async fn letting_in_whom_no_crl_answers_for_is_dangerous() {
    let lenient = "[crl]\nfiles = [\"crl.pem\"]\nunknown = \"allow\"\n";
    assert_eq!(
        warnings(&[TOKEN, POLICY, LIMITS, MTLS, lenient]),
        [SecurityWarning::UnknownStatusAllowed]
    );
}

#[tokio::test]
async fn a_group_that_no_credential_is_in_is_told_with_its_rule() {
    let misspelt = POLICY.replace("group:builders", "group:bilders");
    let [warning] = warnings(&[TOKEN, &misspelt, LIMITS, TLS])
        .try_into()
        .unwrap();
    let SecurityWarning::UnknownGroup { rule, group, .. } = &warning else {
        panic!("{warning:?}");
    };
    assert_eq!((&**rule, &**group), ("pull", "bilders"));
    // After three lines of [reload], two of [auth] and four of its token.
    let told = warning.to_string();
    assert!(told.contains("gate.toml:10:1: rule \"pull\""), "{told}");
    // Certificates are in the groups that the rules of `[identity]` give, and else in none.
    let either = TOKEN.replace("\"token\"", "\"token-or-certificate\"");
    let map = |groups: &str| {
        format!(
            "[[identity.map]]\nid = \"{{n}}\"\ngroups = [\"{groups}\"]\nwhen = {{ dns = \"{{n}}\" }}\n"
        )
    };
    assert_eq!(warnings(&[&either, &misspelt, LIMITS, MTLS, CRL]).len(), 1);
    for (groups, unknown) in [("nodes", 1), ("bilders", 0), ("of-{n}", 0)] {
        let map = map(groups);
        for auth in [&*either, ""] {
            let told = warnings(&[auth, &map, &misspelt, LIMITS, MTLS, CRL]);
            assert_eq!(told.len(), unknown, "{groups} {auth:?}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_group_that_a_new_policy_misspells_is_told_of() {
    let folder = folder();
    let log = captured::Sink::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(log.clone())
        .finish();
    // The file is read again on a thread of its own.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let _guard = load(folder.path(), &[TOKEN, POLICY, LIMITS, TLS]).unwrap();
    assert!(!log.text().contains("in which nobody can be"));
    let file = folder.path().join("gate.toml");
    let text = fs::read_to_string(&file).unwrap();
    let next = folder.path().join("next.toml");
    fs::write(&next, text.replace("group:builders", "group:bilders")).unwrap();
    fs::rename(&next, &file).unwrap();
    for _ in 0..500 {
        if log.text().contains("in which nobody can be") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(log.text().contains("bilders"), "{}", log.text());
}

#[tokio::test]
async fn making_a_layer_and_asking_for_the_report_log_nothing() {
    use tower::Layer;

    let folder = folder();
    let guard = load(folder.path(), &[TOKEN, POLICY, LIMITS, TLS]).unwrap();
    let log = captured::Captured::from(tracing::Level::TRACE);
    let _ = guard.layer(());
    let _ = guard.clone().layer(());
    let _ = guard.report();
    let _ = guard.report_on("127.0.0.1:1".parse().unwrap());
    assert_eq!(log.text(), "");
    guard.report().log();
    let told = log.text();
    assert!(
        told.contains("enforced: callers must show a token"),
        "{told}"
    );
}

#[tokio::test]
async fn tokens_in_the_clear_are_dangerous_on_an_address_that_others_reach() {
    let folder = folder();
    let clear = load(folder.path(), &[TOKEN, POLICY, LIMITS]).unwrap();
    for (address, dangerous) in [
        ("127.0.0.1:5000", false),
        ("[::1]:5000", false),
        ("[::ffff:127.0.0.1]:5000", false),
        ("0.0.0.0:5000", true),
        ("[::]:5000", true),
        ("192.0.2.1:5000", true),
    ] {
        let address = address.parse().unwrap();
        let warnings = clear.report_on(address).warnings;
        let expected = dangerous.then_some(SecurityWarning::TokensInTheClear(address));
        assert_eq!(warnings, Vec::from_iter(expected), "{address}");
    }
    let address = "0.0.0.0:5000".parse().unwrap();
    for sections in [
        [TOKEN, POLICY, LIMITS, TLS],
        [CERTIFICATE, KNOWN, LIMITS, ""],
    ] {
        let guard = load(folder.path(), &sections).unwrap();
        assert_eq!(guard.report_on(address).warnings, [], "{sections:?}");
    }
}

#[tokio::test]
async fn crls_that_nothing_would_look_at_are_an_error() {
    let folder = folder();
    let unasked = format!("{MTLS}client_auth = \"none\"\n");
    for tls in ["", TLS, &unasked] {
        let error = load(folder.path(), &[tls, CRL]).unwrap_err();
        assert!(
            matches!(error, ConfigError::NothingToRevoke { .. }),
            "{error}"
        );
        assert!(error.to_string().contains("client_ca"), "{error}");
    }
}

#[tokio::test]
async fn the_report_is_plain_words_a_line_a_fact_and_goes_to_the_log() {
    let folder = folder();
    let source = "[source]\nallow = [\"10.0.0.0/8\", \"192.0.2.0/24\"]\ndeny = [\"10.9.0.0/16\"]\n";
    let mtls = format!("{MTLS}client_auth = \"request\"\n");
    let sections = [source, TOKEN, POLICY, &mtls, CRL];
    let guard = load(folder.path(), &sections).unwrap();
    let told = "\
enforced: only 2 networks may ask, and 1 network never
enforced: connections are TLS, and a client's certificate, if it has one, must be of the client CAs
enforced: 1 client CA may vouch for clients
enforced: revoked certificates are refused, on open connections too, by 1 CRL
enforced: a CRL must answer for each certificate of \"CN=clients\"
enforced: callers must show a token
enforced: failed authentications are throttled by source, passwords by id too
enforced: a policy of 1 rule says who may do what
left open: where the service finds content by its digest, any repository gives it
left open: nothing limits how fast and how much bodies go
warning: there is no [limits]: one caller can take the whole line
";
    assert_eq!(guard.report().to_string(), told);
    let log = captured::Captured::from(tracing::Level::INFO);
    guard.report().log();
    let log = log.text();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), told.lines().count());
    for (line, told) in lines.iter().zip(told.lines()) {
        let (level, message) = match told.strip_prefix("warning: ") {
            Some(warning) => ("WARN", warning),
            None => ("INFO", told),
        };
        assert_eq!(
            (&line["level"], &line["message"]),
            (&level.into(), &message.into())
        );
    }
}

async fn ready(admin: &Admin) -> (u16, String) {
    let request = Request::get("/readyz").body(()).unwrap();
    let response = admin.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.into()).unwrap())
}

async fn ready_tells(admin: &Admin, line: &str) -> (u16, String) {
    for _ in 0..300 {
        let told = ready(admin).await;
        if told.1.contains(line) {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{line:?} is never told: {}", ready(admin).await.1);
}

#[tokio::test]
async fn readiness_tells_of_every_part_whose_reload_failed() {
    let folder = folder();
    let token = TOKEN.replace(
        "sha256 = [\"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"]",
        "file = \"ci.token\"",
    );
    fs::write(
        folder.path().join("ci.token"),
        "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg",
    )
    .unwrap();
    let rules = POLICY.replace("policy.rules", "rules");
    for name in ["policy.toml", "stricter.toml"] {
        fs::write(folder.path().join(name), &rules).unwrap();
    }
    let policy = "[policy]\nfile = \"policy.toml\"\nshadow = \"stricter.toml\"\n";
    let source = "[source]\ndeny = [\"192.0.2.0/24\"]\n";
    let sections = [source, &token, policy, LIMITS, MTLS, CRL];
    let guard = load(folder.path(), &sections).unwrap();
    let admin = Admin::new().with_checks(guard.checks());
    let names = [
        "networks",
        "credentials",
        "policy",
        "shadow_policy",
        "limits",
        "tls",
        "crl",
    ];
    let (status, told) = ready(&admin).await;
    assert_eq!(status, 200);
    for name in names {
        assert!(told.contains(&format!("[+] {name}: ok\n")), "{told}");
    }
    for file in [
        "gate.toml",
        "ci.token",
        "policy.toml",
        "stricter.toml",
        "tls.crt",
        "crl.pem",
    ] {
        fs::write(folder.path().join(file), "\u{1}").unwrap();
    }
    for name in names {
        let (status, told) = ready_tells(&admin, &format!("[~] {name}: ")).await;
        // The last good values serve on.
        assert_eq!(status, 200, "{told}");
    }
}

/// A folder with a CA, a certificate of its for the server, and this list.
fn folder_with(ca: &pki::Ca, list: &rcgen::CertificateRevocationList) -> TempDir {
    let folder = folder();
    let server = ca.server(&["localhost"]);
    for (name, text) in [
        ("ca.crt", ca.pem.clone()),
        ("tls.crt", server.pem),
        ("tls.key", server.key_pem),
        ("crl.pem", list.pem().unwrap()),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[tokio::test]
async fn readiness_tells_when_crls_have_ended() {
    let ca = pki::Ca::new("clients");
    let late = |params: &mut rcgen::CertificateRevocationListParams| {
        params.next_update = time::OffsetDateTime::now_utc() - time::Duration::MINUTE;
    };
    let folder = folder_with(&ca, &ca.crl_with(1, &[], late));
    let request = format!("{MTLS}client_auth = \"request\"\n");
    let patient = format!("{CRL}grace = \"1h\"\n");
    let lenient = format!("{CRL}unknown = \"allow\"\n");
    for (tls, crl, status, sign) in [
        (
            MTLS,
            CRL,
            503,
            "[-] crl: CRLs past their nextUpdate: 1 of 1",
        ),
        (
            &request,
            CRL,
            200,
            "[~] crl: CRLs past their nextUpdate: 1 of 1",
        ),
        (
            MTLS,
            &lenient,
            200,
            "[~] crl: CRLs past their nextUpdate: 1 of 1",
        ),
        (MTLS, &patient, 200, "[+] crl: ok"),
    ] {
        let guard = load(folder.path(), &[TOKEN, tls, crl]).unwrap();
        let told = ready(&Admin::new().with_checks(guard.checks())).await;
        assert_eq!(told.0, status, "{}", told.1);
        assert!(told.1.contains(sign), "{}", told.1);
    }
}

/// After a restart too, when what an earlier delta revoked is not known any more.
#[tokio::test]
async fn a_delta_whose_base_is_not_here_is_told_by_the_check_and_by_readiness() {
    let ca = pki::Ca::new("clients");
    let folder = folder_with(&ca, &ca.crl(10, &[]));
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let lists = CRL.replace("\"crl.pem\"", "\"crl.pem\", \"delta.crl\"");
    for (base, is_here) in [(10, true), (12, false), (9, true)] {
        put("delta.crl", &ca.delta(&ca.crl_with(13, &[7], |_| {}), base));
        let guard = load(folder.path(), &[TOKEN, MTLS, &lists]).unwrap();
        let report = guard.report().to_string();
        let advice = "crl.files: a delta CRL of \"CN=clients\" is over its complete list 0c, which is not here";
        assert_eq!(report.contains(advice), !is_here, "{base}: {report}");
        let (status, told) = ready(&Admin::new().with_checks(guard.checks())).await;
        assert_eq!(status, 200, "{told}");
        let sign = "[~] crl: the complete CRL 0c of CN=clients, which a delta is over, is not here";
        assert_eq!(told.contains(sign), !is_here, "{base}: {told}");
    }
}

/// One has the higher number and the other the later time: which is the old one is for a person to find out.
#[tokio::test]
async fn a_list_that_is_held_back_is_told_by_the_check_and_by_readiness() {
    let ca = pki::Ca::new("clients");
    let folder = folder_with(&ca, &ca.crl(10, &[]));
    let earlier = ca.crl_with(12, &[], |list| {
        list.this_update -= time::Duration::MINUTE;
    });
    fs::write(folder.path().join("other.pem"), earlier.pem().unwrap()).unwrap();
    let lists = CRL.replace("\"crl.pem\"", "\"crl.pem\", \"other.pem\"");
    let guard = load(folder.path(), &[TOKEN, MTLS, &lists]).unwrap();
    let told = "contradicts the one in force";
    let report = guard.report().to_string();
    assert!(report.contains(told), "{report}");
    let (status, ready) = ready(&Admin::new().with_checks(guard.checks())).await;
    assert_eq!(status, 200, "{ready}");
    assert!(
        ready.contains("[~] crl: ") && ready.contains(told),
        "{ready}"
    );
}
