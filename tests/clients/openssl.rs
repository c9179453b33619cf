use std::process::Command;

use crate::refused::handshake_failed;
use crate::support::gate::{Demands, Gate};
use crate::support::pki::Pair;
use crate::support::process::{Said, run_with_input, tool};

/// Asks for `/v2/` over HTTP/1.1.
fn s_client(gate: &Gate, pair: Option<&Pair>, more: &[&str]) -> Said {
    let mut openssl = Command::new(tool("openssl", "openssl"));
    openssl
        .args(["s_client", "-ign_eof", "-verify_return_error"])
        .args(["-verify_ip", "127.0.0.1", "-connect", &gate.mirror.host()])
        .arg("-CAfile")
        .arg(&gate.keys.ca)
        .args(more);
    if let Some(pair) = pair {
        openssl.arg("-cert").arg(&pair.certificate);
        openssl.arg("-key").arg(&pair.key);
    }
    let request = format!(
        "GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        gate.mirror.host()
    );
    run_with_input(&mut openssl, &request)
}

fn gate() -> Gate {
    Demands::certificate().start()
}

#[test]
fn tls_1_3_and_1_2_are_spoken_and_nothing_older() {
    let gate = gate();
    for (version, name) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = s_client(&gate, Some(&gate.keys.reader), &[version]).succeeded();
        assert!(said.out.contains(&format!("New, {name}")), "{said}");
        assert!(said.out.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.out.contains("HTTP/1.1 200"), "{said}");
    }
    // Its own default forbids it what is asked of it here.
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
    let said = s_client(&gate, Some(&gate.keys.reader), &old);
    said.failed_saying(&["SSL alert number"]);
}

#[test]
fn http_2_and_1_1_are_offered_by_alpn() {
    let gate = gate();
    for protocol in ["h2", "http/1.1"] {
        let said = s_client(&gate, Some(&gate.keys.reader), &["-alpn", protocol]);
        let chosen = format!("ALPN protocol: {protocol}");
        assert!(said.out.contains(&chosen), "{said}");
    }
}

#[test]
fn the_client_cas_are_named_in_the_handshake() {
    let gate = gate();
    let said = s_client(&gate, Some(&gate.keys.reader), &[]).succeeded();
    assert!(said.out.contains("CN = the mirror's CA"), "{said}");
}

#[test]
fn each_certificate_that_is_refused_gets_the_alert_that_says_why() {
    let gate = gate();
    let keys = &gate.keys;
    for version in ["-tls1_3", "-tls1_2"] {
        s_client(&gate, None, &[version]).failed_saying(&["alert certificate required"]);
        let said = s_client(&gate, Some(&keys.revoked), &[version]);
        said.failed_saying(&["alert certificate revoked"]);
        let said = s_client(&gate, Some(&keys.stranger), &[version]);
        said.failed_saying(&["alert unknown ca"]);
    }
    handshake_failed(&gate, "certificate_revoked");
}

#[test]
fn a_resumed_session_of_a_certificate_revoked_since_gets_nothing() {
    let gate = gate();
    let session = gate.mirror.folder().join("session");
    let session = session.to_str().unwrap();
    let said = s_client(&gate, Some(&gate.keys.reader), &["-sess_out", session]).succeeded();
    assert!(said.out.contains("HTTP/1.1 200"), "{said}");
    gate.keys
        .pki
        .revoke(&[&gate.keys.revoked, &gate.keys.reader]);
    crate::support::wait::until("the new CRL to take hold", || {
        let said = s_client(&gate, Some(&gate.keys.reader), &[]);
        (!said.out.contains("HTTP/1.1 200")).then_some(())
    });
    let said = s_client(&gate, Some(&gate.keys.reader), &["-sess_in", session]);
    assert!(!said.out.contains("HTTP/1.1 200"), "{said}");
}
