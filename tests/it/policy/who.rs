//! The callers that a rule is about.

use portcullis::policy::Who;
use portcullis::{PeerIdentity, Principal};

#[test]
fn certificates_are_matched_by_their_names() {
    let mut params =
        rcgen::CertificateParams::new(vec!["n1.nodes.example.org".to_owned()]).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "n1");
    let id = "spiffe://example.org/ns/prod/sa/reader";
    params
        .subject_alt_names
        .push(rcgen::SanType::URI(id.try_into().unwrap()));
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let peer = PeerIdentity::from_der(certificate.der()).unwrap();
    let fingerprint = peer.fingerprint().map(|byte| format!("{byte:02X}"));
    let fingerprint = fingerprint.join(":");
    let node = Principal::from_peer(peer);
    for (who, included) in [
        ("spiffe://example.org/ns/*/sa/reader", true),
        ("spiffe://example.org/ns/prod/**", true),
        ("spiffe://example.org/**", true),
        // Full matches only.
        ("spiffe://example.org/ns/prod/sa/read", false),
        ("spiffe://example.org/ns/prod", false),
        ("spiffe://example.org/ns/*/reader", false),
        ("spiffe://example.com/**", false),
        ("dns:*.nodes.example.org", true),
        ("dns:*.example.org", false),
        ("dns:nodes.example.org", false),
        ("subject:CN=n1", true),
        ("subject:CN=n", false),
        ("issuer:CN=n1", true),
        (&format!("fingerprint:{fingerprint}"), true),
        (&format!("fingerprint:{}", "0".repeat(64)), false),
        ("uri:https://**", false),
        ("email:*@example.org", false),
        ("cert:spiffe://example.org/ns/prod/sa/reader", true),
        ("token:spiffe://example.org/ns/prod/sa/reader", false),
        ("authenticated", true),
        ("anonymous", false),
    ] {
        let who: Who = who.parse().unwrap();
        assert_eq!(who.includes(Some(&node)), included, "{who}");
        assert_eq!(who.to_string().parse::<Who>().unwrap(), who);
    }
}

#[test]
fn a_name_that_names_nobody_is_an_error() {
    for text in [
        "",
        "*",
        "everyone",
        "ci",
        "token:",
        "group: ",
        "spiffe://",
        "spiffe://*/x",
        "spiffe:x",
        "fingerprint:ab",
        "dns:a..b",
        "dns:",
        "user:ci",
    ] {
        assert!(text.parse::<Who>().is_err(), "{text}");
    }
}
