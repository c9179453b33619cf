//! A client's certificate, answered as in a handshake, without one.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pki::{Ca, Files, Leaf};
use portcullis::crl::{Revocation, Verdict};
use portcullis::reload::WatchOptions;
use portcullis::tls::{ClientAnswer, ClientCas, ClientCheck, Reason, certificates_in};
use rcgen::{CertificateParams, KeyUsagePurpose, SanType};
use rustls::pki_types::CertificateDer;

/// A client CA, one below it, and their lists, of which one revokes 8.
struct World {
    files: Files,
    root: Ca,
    sub: Ca,
}

impl World {
    fn new() -> Self {
        let (files, root) = (Files::new(), Ca::new("Root"));
        let sub = root.sub("Sub", |_| {});
        files.put("root.pem", &root.pem);
        Self { files, root, sub }
    }

    fn revocation(&self) -> Revocation {
        let lists = [self.root.crl(1, &[]), self.sub.crl(2, &[8])];
        let authorities = [self.root.der.clone(), self.sub.der.clone()];
        let builder = Revocation::builder().with_authorities(authorities);
        let lists = lists.each_ref().map(|list| list.der().as_ref());
        builder.from_bytes(lists).unwrap()
    }

    fn at(&self, time: SystemTime) -> ClientCheck {
        let cas = ClientCas::new([self.files.path("root.pem")]);
        ClientCheck::new(&cas, self.revocation(), time).unwrap()
    }

    fn check(&self) -> ClientCheck {
        self.at(SystemTime::now())
    }

    fn leaf(&self, serial: u64, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        self.sub.client_with("node", |params| {
            params.serial_number = Some(serial.into());
            change(params);
        })
    }

    /// The answer where the client sends the CA below the client CA too.
    fn answer(&self, check: &ClientCheck, leaf: &Leaf) -> ClientAnswer {
        check.check(&leaf.der, std::slice::from_ref(&self.sub.der))
    }
}

#[test]
fn a_good_and_a_revoked_certificate_are_answered_with_the_findings_on_their_path() {
    let world = World::new();
    let check = world.check();
    let good = world.answer(&check, &world.leaf(7, |_| {}));
    assert_eq!((good.reason, good.verdict), (None, Some(Verdict::Good)));
    assert_eq!(good.why, Verdict::Good.to_string());
    let revoked = world.answer(&check, &world.leaf(8, |_| {}));
    assert_eq!(revoked.reason, Some(Reason::CertificateRevoked));
    assert!(matches!(revoked.verdict, Some(Verdict::Revoked { .. })));
    for answer in [&good.findings, &revoked.findings] {
        let subjects: Vec<_> = answer.iter().map(|one| &*one.subject).collect();
        assert_eq!(subjects, ["CN=node", "CN=Sub"]);
    }
    for anchor in [good.anchor, revoked.anchor] {
        assert_eq!(anchor.as_deref(), Some("CN=Root"));
    }
}

#[test]
fn without_a_path_there_is_no_verdict() {
    let world = World::new();
    let answer = world.check().check(&world.leaf(7, |_| {}).der, &[]);
    assert_eq!(answer.reason, Some(Reason::UnknownIssuer));
    assert!(answer.verdict.is_none() && answer.findings.is_empty() && answer.anchor.is_none());
    // Nor at a time at which the certificate had not begun.
    let check = world.at(SystemTime::now() - Duration::from_secs(24 * 60 * 60));
    let leaf = world.leaf(7, |params| {
        params.not_before = time::OffsetDateTime::now_utc();
    });
    let answer = world.answer(&check, &leaf);
    assert_eq!(answer.reason, Some(Reason::CertificateNotYetValid));
    assert!(answer.verdict.is_none());
}

type Require<'a> = &'a dyn Fn(ClientCheck) -> ClientCheck;

#[test]
fn each_requirement_holds_beside_the_others() {
    let world = World::new();
    let plain = world.leaf(7, |_| {});
    let svid = world.leaf(7, |params| {
        let id = "spiffe://example.org/node";
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![];
    });
    let bytes = svid.der.len() + world.sub.der.len();
    let domain = "example.org";
    let cases: [(Require<'_>, &Leaf, Option<Reason>); 10] = [
        (&|all| all.with_strict_svids(true), &svid, None),
        (
            &|all| all.with_strict_svids(true),
            &plain,
            Some(Reason::NotAnSvid),
        ),
        (&|all| all.with_strict_svids(false), &plain, None),
        (
            &|all| all.with_trust_domain(domain, ["CN=Root"]),
            &svid,
            None,
        ),
        (
            &|all| all.with_trust_domain(domain, ["CN=Other"]),
            &svid,
            Some(Reason::TrustDomain),
        ),
        (
            &|all| all.with_trust_domain(domain, ["CN=Other"]),
            &plain,
            None,
        ),
        (&|all| all.with_max_intermediates(1), &svid, None),
        (
            &|all| all.with_max_intermediates(0),
            &svid,
            Some(Reason::ChainTooLarge),
        ),
        (&|all| all.with_max_chain_size(bytes), &svid, None),
        (
            &|all| all.with_max_chain_size(bytes - 1),
            &svid,
            Some(Reason::ChainTooLarge),
        ),
    ];
    for (number, (require, leaf, reason)) in cases.into_iter().enumerate() {
        let loose = |all: ClientCheck| all.with_max_intermediates(3).with_max_chain_size(1 << 16);
        for check in [require(world.check()), require(loose(world.check()))] {
            let answer = world.answer(&check, leaf);
            assert_eq!(answer.reason, reason, "{number}: {}", answer.why);
            // What the lists say of it is answered all the same.
            assert_eq!(answer.verdict, Some(Verdict::Good), "{number}");
        }
    }
}

#[test]
fn a_key_with_which_a_client_can_prove_nothing_is_refused() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tls");
    let read = |name: &str| -> CertificateDer<'static> {
        certificates_in(vectors.join(name)).unwrap().remove(0)
    };
    let cas = ClientCas::new([vectors.join("root.pem")]);
    let without = Revocation::builder().without_crls();
    let revocation = without.from_files([] as [PathBuf; 0], WatchOptions::default());
    let check = ClientCheck::new(&cas, revocation.unwrap(), SystemTime::now()).unwrap();
    for (name, key) in [
        ("client-p224.pem", "an EC key on P-224"),
        ("client-rsa1024.pem", "an RSA key of 1024 bits"),
    ] {
        let answer = check.check(&read(name), &[]);
        assert_eq!(answer.reason, Some(Reason::UnsupportedAlgorithm), "{name}");
        let words = format!("the client's certificate `CN=node-7` has {key}");
        assert!(answer.why.starts_with(&words), "{}", answer.why);
        assert_eq!(answer.anchor.as_deref(), Some("CN=root"));
    }
}
