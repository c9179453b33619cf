//! NIST PKITS, sections 4.4, 4.5, 4.7, 4.14 and 4.15: every test that is about CRLs.
//!
//! The certificates and CRLs come with the package `cryptography-vectors`, which `scripts/test.sh` fetches.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::path::PathBuf;

use portcullis::crl::{CertPath, CrlError, LoadError, Revocation, Verdict};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use serde::Deserialize;
use webpki::{EndEntityCert, KeyUsage};

#[derive(Deserialize)]
struct Case {
    id: String,
    name: String,
    trust_anchor: String,
    path: Vec<String>,
    extra_certs: Vec<String>,
    crls: Vec<String>,
    end_entity: String,
    expected: String,
}

fn data() -> PathBuf {
    let folder = std::env::var_os("PORTCULLIS_PKITS").map_or_else(
        || "target/vectors/cryptography_vectors/x509/PKITS_data".into(),
        PathBuf::from,
    );
    assert!(
        folder.join("crls").is_dir(),
        "{} is missing: `scripts/test.sh vectors` fetches it",
        folder.display()
    );
    folder
}

fn read(name: &str) -> Vec<u8> {
    fs::read(data().join(name)).unwrap()
}

/// Why the path or the CRLs were refused; `None` if they were not.
fn refused(case: &Case) -> Option<String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certificate = |name: &String| CertificateDer::from(read(name));
    let root = certificate(&case.trust_anchor);
    let anchor: TrustAnchor<'_> = webpki::anchor_from_trusted_cert(&root).unwrap();
    let end_entity = certificate(&case.end_entity);
    let others: Vec<_> = case
        .path
        .iter()
        .chain(&case.extra_certs)
        .map(certificate)
        .collect();
    // The first day of 2025: the certificates are valid from 2010 to 2030.
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(482_136 * 60 * 60));
    let leaf = match EndEntityCert::try_from(&end_entity) {
        Ok(leaf) => leaf,
        Err(error) => return Some(format!("path: {error:?}")),
    };
    let anchors = [anchor];
    let path = leaf.verify_for_usage(
        provider.signature_verification_algorithms.all,
        &anchors,
        &others,
        now,
        KeyUsage::client_auth(),
        None,
        None,
    );
    let intermediates: Vec<_> = match &path {
        Ok(path) => path
            .intermediate_certificates()
            .map(|one| one.der().into_owned())
            .collect(),
        // webpki takes no CA's certificate for a client's. What these two tests are about can be
        // asked all the same, of the path that NIST gives.
        Err(webpki::Error::CaUsedAsEndEntity) => {
            println!(
                "{} is by NIST's own path: webpki says CaUsedAsEndEntity",
                case.id
            );
            let between = &case.path[1..case.path.len() - 1];
            between.iter().rev().map(certificate).collect()
        }
        Err(error) => return Some(format!("path: {error:?}")),
    };
    let path = match CertPath::new(&end_entity, &intermediates, &anchors[0]) {
        Ok(path) => path,
        Err(CrlError::MayNotSign(_)) => return Some("path: may not sign".to_owned()),
        Err(error) => return Some(format!("path: {error}")),
    };
    let lists: Vec<_> = case.crls.iter().map(|name| read(name)).collect();
    let revocation = Revocation::builder()
        .with_authorities(others)
        .from_bytes(lists.iter().map(Vec::as_slice));
    let revocation = match revocation {
        Ok(revocation) => revocation,
        // The bad signature of 4.4.4 is one of no whole octets.
        Err(LoadError::List {
            error: CrlError::Malformed { .. },
            ..
        }) => return Some("load: malformed".to_owned()),
        Err(error) => return Some(format!("load: {error}")),
    };
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs());
    if revocation.examine(&path, at) == Verdict::Good {
        return None;
    }
    let findings = revocation.explain(&path, at);
    let at = findings.iter().position(|one| one.verdict != Verdict::Good);
    let at = at.expect("a verdict that no certificate has");
    let who = if at == 0 { "EE" } else { "CA" };
    Some(match &findings[at].verdict {
        Verdict::Revoked {
            reason, crl_number, ..
        } => {
            let number = crl_number.as_deref().unwrap_or("none");
            format!("{who}: {reason} by CRL {number}")
        }
        Verdict::Unknown { cause, .. } => format!("{who}: {cause:?}"),
        other => format!("{who}: {other}"),
    })
}

/// Whose certificate each of the invalid paths is refused for, and why, by the descriptions of NIST's
/// document: not only that it is.
const REASONS: [(&str, &str); 49] = [
    ("4.4.1", "EE: NoCrl"),
    ("4.4.2", "CA: keyCompromise by CRL 01"),
    ("4.4.3", "EE: keyCompromise by CRL 01"),
    ("4.4.4", "load: malformed"),
    ("4.4.5", "EE: NoCrl"),
    ("4.4.6", "EE: NoCrl"),
    ("4.4.8", "EE: NoCrl"),
    ("4.4.9", "EE: NoCrl"),
    ("4.4.10", "EE: NoCrl"),
    ("4.4.11", "EE: CrlExpired"),
    ("4.4.12", "EE: CrlExpired"),
    ("4.4.15", "EE: keyCompromise by CRL 01"),
    ("4.4.18", "EE: keyCompromise by CRL 01"),
    ("4.4.20", "EE: keyCompromise by CRL 01"),
    ("4.4.21", "EE: SignerNotTrusted"),
    ("4.5.2", "EE: keyCompromise by CRL 01"),
    ("4.5.5", "EE: keyCompromise by CRL 01"),
    ("4.5.7", "EE: keyCompromise by CRL 01"),
    ("4.5.8", "path: InvalidSignatureForPublicKey"),
    ("4.7.1", "path: may not sign"),
    ("4.7.2", "path: may not sign"),
    ("4.7.4", "EE: SignerMayNotSign"),
    ("4.7.5", "EE: SignerMayNotSign"),
    ("4.14.2", "EE: keyCompromise by CRL 01"),
    ("4.14.3", "EE: OtherScope"),
    ("4.14.6", "EE: keyCompromise by CRL 01"),
    ("4.14.8", "EE: OtherScope"),
    ("4.14.9", "EE: OtherScope"),
    ("4.14.11", "EE: OtherScope"),
    ("4.14.12", "EE: OtherScope"),
    ("4.14.14", "EE: OtherScope"),
    ("4.14.15", "EE: keyCompromise by CRL 01"),
    ("4.14.16", "EE: certificateHold by CRL 01"),
    ("4.14.17", "EE: SomeReasons"),
    ("4.14.20", "EE: keyCompromise by CRL 01"),
    ("4.14.21", "EE: affiliationChanged by CRL 01"),
    ("4.14.23", "EE: keyCompromise by CRL 01"),
    ("4.14.26", "EE: NoCrl"),
    ("4.14.27", "EE: OtherScope"),
    ("4.14.31", "EE: keyCompromise by CRL 01"),
    ("4.14.32", "EE: keyCompromise by CRL 01"),
    ("4.14.34", "EE: keyCompromise by CRL 01"),
    ("4.14.35", "EE: OtherScope"),
    ("4.15.1", "EE: NoBase"),
    ("4.15.3", "EE: keyCompromise by CRL 01"),
    ("4.15.4", "EE: keyCompromise by CRL 05"),
    ("4.15.6", "EE: keyCompromise by CRL 05"),
    ("4.15.9", "EE: keyCompromise by CRL 03"),
    ("4.15.10", "EE: CrlExpired"),
];

#[test]
fn every_pkits_test_about_crls_has_the_outcome_that_nist_says_for_its_reason() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../vectors/pkits.json")).unwrap();
    assert_eq!(cases.len(), 79);
    let mut wrong = Vec::new();
    for case in &cases {
        let refused = refused(case);
        let reason = REASONS.iter().find(|(id, _)| *id == case.id);
        assert_eq!(reason.is_some(), case.expected == "invalid", "{}", case.id);
        let right = refused.as_deref() == reason.map(|(_, why)| *why);
        let said = refused.as_deref().unwrap_or("good");
        println!("{} {:8} {said} ({})", case.id, case.expected, case.name);
        if !right {
            wrong.push(format!("{} ({}): {said}", case.id, case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
