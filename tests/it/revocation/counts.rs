//! What makes a CRL count: its issuer's name by what it means, a signer that may sign it, an algorithm and
//! a key that are supported, and its place among the versions before it.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::time::{Duration, SystemTime};

use pki::extended::{SEQUENCE, encode};
use pki::{Ca, Files, accepted, client, refused};
use portcullis::Watched;
use portcullis::crl::{CertPath, CrlError, LoadError, Options, Revocation, UnknownCause, Verdict};
use portcullis::tls::{Acceptor, ClientCas, Reason};
use rcgen::string::{BmpString, Ia5String, PrintableString, TeletexString};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, DnValue, Issuer,
    KeyPair, KeyUsagePurpose,
};

fn path(ca: &Ca, serial: u64) -> CertPath {
    let leaf = ca.client_with("node", |params| params.serial_number = Some(serial.into()));
    CertPath::with_anchor_certificate(&leaf.der, &[], &ca.der).unwrap()
}

fn after(time: Duration) -> SystemTime {
    SystemTime::now() + time
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn cause(verdict: &Verdict) -> UnknownCause {
    match verdict {
        Verdict::Unknown { cause, .. } | Verdict::UnknownAllowed { cause, .. } => *cause,
        other => panic!("{other}"),
    }
}

/// The same CA, which writes its own name otherwise in what it signs from now on.
fn spelled(ca: &Ca, name: DistinguishedName) -> Ca {
    let key = KeyPair::try_from(ca.issuer.key().serialize_der()).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ca {
        pem: ca.pem.clone(),
        der: ca.der.clone(),
        issuer: Issuer::new(params, key),
    }
}

fn common(value: DnValue) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, value);
    name
}

#[test]
fn a_list_counts_however_the_name_of_its_issuer_is_written() {
    let ca = Ca::new("Nodes 2026");
    let (good, revoked) = (path(&ca, 6), path(&ca, 7));
    for name in [
        DnValue::PrintableString(PrintableString::try_from("Nodes 2026").unwrap()),
        DnValue::PrintableString(PrintableString::try_from("NODES  2026").unwrap()),
        DnValue::Utf8String(" nodes 2026 ".to_owned()),
        DnValue::TeletexString(TeletexString::try_from("Nodes 2026").unwrap()),
        DnValue::BmpString(BmpString::try_from("Nodes 2026").unwrap()),
        DnValue::Ia5String(Ia5String::try_from("nodes 2026").unwrap()),
    ] {
        let list = spelled(&ca, common(name.clone())).crl(1, &[7]);
        for unknown in [false, true] {
            for authorities in [vec![], vec![ca.der.clone()]] {
                let revocation = Revocation::builder()
                    .with_options(Options::default().with_unknown_allowed(unknown))
                    .with_authorities(authorities)
                    .from_bytes([list.der().as_ref()])
                    .unwrap();
                assert_eq!(revocation.examine(&good, now()), Verdict::Good, "{name:?}");
                let verdict = revocation.examine(&revoked, now());
                assert!(
                    matches!(verdict, Verdict::Revoked { .. }),
                    "{name:?}: {verdict}"
                );
            }
        }
    }
}

#[test]
fn a_newer_list_takes_the_place_of_one_whose_issuer_is_written_otherwise() {
    let ca = Ca::new("Nodes 2026");
    let printable = PrintableString::try_from("Nodes 2026").unwrap();
    let other = spelled(&ca, common(DnValue::PrintableString(printable)));
    let revocation = Revocation::builder().with_authorities([ca.der.clone()]);
    let revocation = revocation
        .from_bytes([ca.crl(1, &[7]).der().as_ref()])
        .unwrap();
    let newer = other.crl_with(2, &[8], |list| {
        list.this_update += time::Duration::MINUTE;
    });
    revocation.publish([newer.der().as_ref()]).unwrap();
    assert_eq!(revocation.lists().load().len(), 1);
    assert_eq!(revocation.examine(&path(&ca, 7), now()), Verdict::Good);
    // And an old one replayed does not, however it is written.
    revocation.publish([ca.crl(1, &[]).der().as_ref()]).unwrap();
    let verdict = revocation.examine(&path(&ca, 8), now());
    assert!(matches!(verdict, Verdict::Revoked { .. }), "{verdict}");
}

#[test]
fn a_signer_counts_whose_issuer_is_written_otherwise() {
    let root = Ca::new("Root");
    let upper = PrintableString::try_from("ROOT").unwrap();
    let other = spelled(&root, common(DnValue::PrintableString(upper)));
    let signer = other.sub("Root", |params| {
        params.serial_number = Some(9_u64.into());
        params.is_ca = rcgen::IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
    });
    let (of_root, of_signer) = (root.crl(1, &[]), signer.crl(1, &[7]));
    let revocation = Revocation::builder()
        .with_authorities([root.der.clone(), signer.der.clone()])
        .from_bytes([of_root.der().as_ref(), of_signer.der().as_ref()])
        .unwrap();
    let verdict = revocation.examine(&path(&root, 7), now());
    assert!(matches!(verdict, Verdict::Revoked { .. }), "{verdict}");
}

#[test]
fn a_root_whose_key_usage_lacks_crl_sign_signs_no_list_that_counts() {
    let root = Ca::with("Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    // rcgen signs no list by such a CA.
    let signing = spelled(&root, common(DnValue::Utf8String("Root".to_owned())));
    let list = signing.crl(1, &[]);
    for authorities in [vec![], vec![root.der.clone()]] {
        let revocation = Revocation::builder().with_authorities(authorities);
        let revocation = revocation.from_bytes([list.der().as_ref()]).unwrap();
        let verdict = revocation.examine(&path(&root, 7), now());
        assert_eq!(cause(&verdict), UnknownCause::SignerMayNotSign);
    }
    let without = Ca::with("Root", |params| params.key_usages = vec![]);
    let signing = spelled(&without, common(DnValue::Utf8String("Root".to_owned())));
    let revocation =
        Revocation::from_bytes([signing.crl(1, &[]).der().as_ref()], Options::default());
    assert_eq!(
        revocation.unwrap().examine(&path(&without, 7), now()),
        Verdict::Good
    );
}

#[tokio::test]
async fn a_handshake_is_refused_where_only_a_root_without_crl_sign_signed_the_list() {
    let root = Ca::with("Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let files = Files::new();
    let signing = spelled(&root, common(DnValue::Utf8String("Root".to_owned())));
    let revocation =
        Revocation::from_bytes([signing.crl(1, &[]).der().as_ref()], Options::default()).unwrap();
    let builder = files.requiring(&root.server(&["localhost"]), &root);
    let material = builder.with_revocation(revocation).load().unwrap();
    let acceptor = Acceptor::new(Watched::fixed(material));
    let leaf = root.client("node");
    let (error, _) = refused(&acceptor, client(&root, Some((&leaf, &[])))).await;
    assert_eq!(error.reason(), Reason::RevocationUnknown);
    assert!(error.to_string().contains("cRLSign is missing"), "{error}");
}

/// RFC 5280 §4.2.1.3 is about a key: a CA that has renewed its certificate may have said another thing before.
#[tokio::test]
async fn of_several_certificates_of_a_root_one_with_crl_sign_is_enough() {
    let root = Ca::with("Root", |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    let signing = spelled(&root, common(DnValue::Utf8String("Root".to_owned())));
    let list = signing.crl(1, &[]);
    let numbered =
        |serial: u64| root.renewed("Root", |params| params.serial_number = Some(serial.into()));
    let (without, with, another) = (root.pem.clone(), numbered(2), numbered(3));
    let leaf = root.client("node");
    for pems in [[&without, &with], [&with, &without], [&with, &another]] {
        let files = Files::new();
        let bundle = files.put("ca.crt", pems.map(String::as_str).concat());
        let revocation = Revocation::from_bytes([list.der().as_ref()], Options::default()).unwrap();
        let builder = files.server(&root.server(&["localhost"]));
        let builder = builder.require_client_certificates(ClientCas::new([bundle]));
        let material = builder.with_revocation(revocation).load().unwrap();
        let acceptor = Acceptor::new(Watched::fixed(material));
        accepted(&acceptor, client(&root, Some((&leaf, &[])))).await;
    }
}

/// The list with the object identifier of ecdsa-with-SHA224 in place of its own, in both places.
fn by_sha224(list: &[u8]) -> Vec<u8> {
    replaced(
        list,
        b"\x2a\x86\x48\xce\x3d\x04\x03\x02",
        b"\x2a\x86\x48\xce\x3d\x04\x03\x01",
    )
}

fn replaced(der: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut der = der.to_vec();
    let mut found = 0;
    while let Some(at) = der.windows(from.len()).position(|part| part == from) {
        der[at..at + to.len()].copy_from_slice(to);
        found += 1;
    }
    assert!(found > 0);
    der
}

#[test]
fn a_list_in_an_algorithm_that_is_not_supported_is_refused_by_its_name() {
    let ca = Ca::new("Nodes");
    let list = by_sha224(ca.crl(2, &[]).der());
    let name = "ECDSA with SHA-224 (1.2.840.10045.4.3.1)";
    for authorities in [vec![], vec![ca.der.clone()]] {
        let begin = |lists: &[&[u8]]| {
            let builder = Revocation::builder().with_authorities(authorities.clone());
            builder.from_bytes(lists.iter().copied())
        };
        match begin(&[&list]) {
            Err(LoadError::List {
                error: CrlError::UnsupportedAlgorithm(found),
                ..
            }) => assert_eq!(found, name),
            other => panic!("{other:?}"),
        }
        // Of what is active none is lost.
        let revocation = begin(&[ca.crl(1, &[7]).der()]).unwrap();
        let error = revocation.publish([&*list]).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        let verdict = revocation.examine(&path(&ca, 7), now());
        assert!(matches!(verdict, Verdict::Revoked { .. }), "{verdict}");
    }
}

#[test]
fn a_list_by_a_key_that_is_not_supported_is_refused_by_the_name_of_the_key() {
    let ca = Ca::new("Nodes");
    // prime192v1 in place of prime256v1.
    let p192 = replaced(
        &ca.der,
        b"\x2a\x86\x48\xce\x3d\x03\x01\x07",
        b"\x2a\x86\x48\xce\x3d\x03\x01\x01",
    );
    let builder = Revocation::builder().with_authorities([p192.into()]);
    match builder.from_bytes([ca.crl(1, &[]).der().as_ref()]) {
        Err(LoadError::List {
            error: CrlError::UnsupportedKey { signer, key },
            ..
        }) => assert_eq!((&*signer, &*key), ("CN=Nodes", "an EC key on P-192")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn why_no_list_counts_is_told_apart() {
    let ca = Ca::new("Nodes");
    let node = path(&ca, 7);
    let said = |lists: &[&[u8]], authorities: &[&Ca]| {
        let builder =
            Revocation::builder().with_authorities(authorities.iter().map(|ca| ca.der.clone()));
        let revocation = builder.from_bytes(lists.iter().copied()).unwrap();
        cause(&revocation.examine(&node, now()))
    };
    let other = Ca::new("Users").crl(1, &[]);
    assert_eq!(said(&[other.der()], &[]), UnknownCause::NoCrl);
    let shard = ca.crl_with(1, &[], |list| {
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl.example.org/1".to_owned()],
            },
            scope: None,
        });
    });
    assert_eq!(said(&[shard.der()], &[]), UnknownCause::OtherScope);
    let delta = ca.delta(&ca.crl(2, &[]), 1);
    assert_eq!(said(&[&delta], &[]), UnknownCause::NoBase);
    // The bytes before the signature's last one are changed.
    let mut damaged = ca.crl(1, &[]).der().to_vec();
    let end = damaged.len() - 5;
    damaged[end] ^= 1;
    assert_eq!(said(&[&damaged], &[]), UnknownCause::NotSigned);
    // Another CA of that name, whose key identifier is another.
    let impostor = Ca::new("Nodes");
    let of_impostor = impostor.crl(1, &[]);
    assert_eq!(said(&[of_impostor.der()], &[]), UnknownCause::NotSigned);
    assert_eq!(
        said(&[of_impostor.der()], &[&impostor]),
        UnknownCause::SignerNotTrusted
    );
}

/// A list that begins so many minutes after the others, and ends so many after now.
fn version(ca: &Ca, number: u64, revoked: &[u64], minutes: i64, left: i64) -> Vec<u8> {
    let change = |list: &mut CertificateRevocationListParams| {
        list.this_update += time::Duration::minutes(minutes);
        list.next_update = time::OffsetDateTime::now_utc() + time::Duration::minutes(left);
    };
    ca.crl_with(number, revoked, change).der().to_vec()
}

#[test]
fn what_contradicts_the_active_list_waits_until_that_is_over() {
    let ca = Ca::new("Nodes");
    let of = |serial| path(&ca, serial);
    let (kept, forgotten, later) = (of(6), of(7), of(8));
    // A restored CA begins anew with a lower number, and forgets; one whose clock was wrong goes back.
    for (number, minutes) in [(5, 10), (200, -10)] {
        let in_force = version(&ca, 100, &[7], 0, 10);
        let restored = version(&ca, number, &[8], minutes, 60);
        for authorities in [vec![], vec![ca.der.clone()]] {
            let builder = Revocation::builder().with_authorities(authorities);
            let revocation = builder.from_bytes([&*in_force]).unwrap();
            assert_eq!(revocation.examine(&kept, now()), Verdict::Good);
            for _ in 0..2 {
                revocation.publish([&*restored]).unwrap();
                let lists = revocation.lists().load();
                let held_back: Vec<_> = lists.held_back().collect();
                assert_eq!((lists.len(), held_back.len()), (2, 1));
                let versions = held_back[0].split_once("contradicts").unwrap();
                assert!(versions.0.contains(&format!("number {number:02x} of ")));
                assert!(versions.1.contains("number 64 of "));
                let at = |path, minutes: u64| {
                    revocation.examine(path, after(Duration::from_secs(minutes * 60)))
                };
                let is_revoked = |verdict| matches!(verdict, Verdict::Revoked { .. });
                assert_eq!(at(&kept, 0), Verdict::Good);
                assert!(is_revoked(at(&forgotten, 0)));
                // What the issuer says is revoked is so, whichever list says it.
                assert!(is_revoked(at(&later, 0)));
                // The active one is over.
                assert_eq!(at(&kept, 11), Verdict::Good);
                assert_eq!(at(&forgotten, 11), Verdict::Good);
                assert!(is_revoked(at(&later, 11)));
                // And so is the other.
                assert_eq!(at(&kept, 61).label(), "unknown");
                assert!(is_revoked(at(&forgotten, 61)));
            }
            // One that is later by both ends it.
            let mended = version(&ca, 300, &[], 20, 60);
            revocation.publish([&*mended]).unwrap();
            assert_eq!(revocation.lists().load().len(), 1);
            assert_eq!(revocation.examine(&later, now()), Verdict::Good);
        }
    }
}

/// In one file, as where a folder was never cleared.
#[test]
fn a_list_that_is_later_by_both_measures_ends_what_the_ones_before_it_contradict() {
    let ca = Ca::new("Nodes");
    let shard = |number: u64, minutes: i64| {
        let list = ca.crl_with(number, &[], |list| {
            list.this_update += time::Duration::minutes(minutes);
            list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
                distribution_point: rcgen::CrlDistributionPoint {
                    uris: vec!["http://crl.example.org/shard".to_owned()],
                },
                scope: None,
            });
        });
        list.der().to_vec()
    };
    let lists = [
        version(&ca, 100, &[7], 0, 60),
        version(&ca, 5, &[8], 10, 60),
        shard(100, 0),
        shard(5, 10),
        version(&ca, 300, &[], 20, 60),
    ];
    let revocation = Revocation::builder().with_authorities([ca.der.clone()]);
    let revocation = revocation
        .from_bytes(lists.iter().map(Vec::as_slice))
        .unwrap();
    let lists = revocation.lists().load();
    let held_back: Vec<_> = lists.held_back().collect();
    assert_eq!((lists.len(), held_back.len()), (3, 1));
    assert!(held_back[0].contains("(complete http://crl.example.org/shard)"));
    for serial in [7, 8] {
        let verdict = revocation.examine(&path(&ca, serial), now());
        assert_eq!(verdict, Verdict::Good, "{serial}");
    }
}

#[test]
fn a_list_that_is_over_gives_way_to_one_with_a_lower_number_and_not_to_an_older_one() {
    let ca = Ca::new("Nodes");
    let node = path(&ca, 7);
    let over = version(&ca, 100, &[], 0, -10);
    let revocation = Revocation::builder().with_authorities([ca.der.clone()]);
    let revocation = revocation.from_bytes([&*over]).unwrap();
    assert_eq!(
        cause(&revocation.examine(&node, now())),
        UnknownCause::CrlExpired
    );
    // Older by both, and still current: a replay.
    revocation
        .publish([&*version(&ca, 99, &[], -5, 60)])
        .unwrap();
    assert_eq!(
        cause(&revocation.examine(&node, now())),
        UnknownCause::CrlExpired
    );
    // Of a restored CA, but over too.
    revocation.publish([&*version(&ca, 5, &[], 5, -5)]).unwrap();
    assert_eq!(
        cause(&revocation.examine(&node, now())),
        UnknownCause::CrlExpired
    );
    // Neither of the two is current: the first stays active.
    let lists = revocation.lists().load();
    let held_back: Vec<_> = lists.held_back().collect();
    assert_eq!((lists.len(), held_back.len()), (2, 1));
    assert!(held_back[0].contains("the one in force, number 64 of "));
    drop(lists);
    revocation.publish([&*version(&ca, 5, &[], 6, 60)]).unwrap();
    assert_eq!(revocation.examine(&node, now()), Verdict::Good);
    assert_eq!(revocation.lists().load().len(), 1);
}

#[test]
fn an_error_names_the_field_and_the_byte() {
    let ca = Ca::new("Nodes");
    let good = ca.crl(1, &[7]).der().to_vec();
    let at = good.windows(2).position(|part| part == [0x17, 13]).unwrap();
    let mut bad = good.clone();
    bad[at + 3] = b'x';
    let error = Revocation::from_bytes([&*bad], Options::default()).unwrap_err();
    let expected = format!("it is malformed: thisUpdate at byte {at}");
    assert!(error.to_string().ends_with(&expected), "{error}");
    // The date of the entry, which is the third.
    let dates = good
        .windows(2)
        .enumerate()
        .filter(|(_, part)| *part == [0x17, 13]);
    let at = dates.map(|(at, _)| at).nth(2).unwrap();
    let mut bad = good.clone();
    bad[at + 3] = b'x';
    let error = Revocation::from_bytes([&*bad], Options::default()).unwrap_err();
    let expected = format!("it is malformed: revocationDate at byte {at}");
    assert!(error.to_string().ends_with(&expected), "{error}");
}

/// Of two values it would depend on the reader which one counts: one that lets a client in, perhaps.
#[test]
fn an_extension_that_is_there_twice_is_an_error_of_a_list_and_of_an_entry() {
    let ca = Ca::new("Nodes");
    let list = ca.crl(1, &[7]);
    let says = |list: &[u8]| Revocation::from_bytes([list], Options::default()).map(|_| ());
    let number = [6, 3, 0x55, 0x1d, 20, 4, 3, 2, 1, 9];
    let unknown = [6, 3, 0x2a, 3, 4, 4, 1, 0];
    let twice = [&encode(SEQUENCE, &unknown)[..], &encode(SEQUENCE, &unknown)].concat();
    let of_list = |extension: &[u8]| ca.extended(&list, extension);
    // `extended` puts it into a SEQUENCE, behind which another may follow.
    assert!(says(&of_list(&unknown)).is_ok());
    let reason = |code| [6, 3, 0x55, 0x1d, 21, 4, 3, 10, 1, code];
    let entry = |extensions: &[u8]| {
        let fields = [
            &[2, 1, 7, 0x17, 13][..],
            b"260101000000Z",
            &encode(SEQUENCE, extensions),
        ]
        .concat();
        ca.with_entries(&list, &encode(SEQUENCE, &fields))
    };
    assert!(says(&entry(&encode(SEQUENCE, &reason(1)))).is_ok());
    let reasons = [encode(SEQUENCE, &reason(1)), encode(SEQUENCE, &reason(8))].concat();
    for (list, oid) in [
        (of_list(&number), "2.5.29.20"),
        (entry(&reasons), "2.5.29.21"),
        (entry(&twice), "1.2.3.4"),
    ] {
        let error = says(&list).unwrap_err().to_string();
        let expected = format!("its extension {oid}, or that of an entry, is there twice");
        assert!(error.ends_with(&expected), "{error}");
    }
    // An entry of two issuers.
    let name = encode(0xa4, &encode(SEQUENCE, &[]));
    let issuer = |names: &[u8]| {
        let names = encode(4, &encode(SEQUENCE, names));
        let fields = [&[6, 3, 0x55, 0x1d, 29, 1, 1, 0xff][..], &names].concat();
        encode(SEQUENCE, &encode(SEQUENCE, &fields))
    };
    let indirect = [
        6, 3, 0x55, 0x1d, 28, 1, 1, 0xff, 4, 5, 0x30, 3, 0x84, 1, 0xff,
    ];
    let of_issuers = |names: &[u8]| {
        let list = ca.extended(&list, &indirect);
        let fields = [&[2, 1, 7, 0x17, 13][..], b"260101000000Z", &issuer(names)].concat();
        says(&ca.with_entries_in(&list, &encode(SEQUENCE, &fields)))
    };
    assert!(of_issuers(&name).is_ok());
    let error = of_issuers(&[&*name, &name].concat()).unwrap_err();
    assert!(error.to_string().contains("certificateIssuer"), "{error}");
    let many: Vec<u8> = (0..40)
        .flat_map(|last| encode(SEQUENCE, &[6, 3, 0x2a, 3, last, 4, 1, 0]))
        .collect();
    assert!(says(&entry(&many)).is_err());
}

#[test]
fn a_list_with_extensions_that_says_it_has_none_is_an_error() {
    let ca = Ca::new("Nodes");
    let first = ca.without_version(&ca.crl(1, &[]));
    let error = Revocation::from_bytes([&*first], Options::default()).unwrap_err();
    assert!(
        error.to_string().ends_with("it is not of version 2"),
        "{error}"
    );
}

#[test]
fn a_list_that_is_over_before_it_begins_is_an_error() {
    let ca = Ca::new("Nodes");
    let list = ca.crl(1, &[]);
    let times = list.der().windows(2).enumerate();
    let times = times.filter(|(_, part)| *part == [0x17, 13]);
    let [begins, ends] = [0, 1].map(|nth| {
        let at = times.clone().nth(nth).unwrap().0;
        list.der()[at..at + 15].to_vec()
    });
    let ending = |ends_then: &[u8]| {
        let list = ca.renaming(list.der(), &ends, ends_then);
        Revocation::from_bytes([&*list], Options::default()).map(|_| ())
    };
    assert!(ending(&begins).is_ok());
    let earlier = [&[0x17, 13][..], b"200101000000Z"].concat();
    let error = ending(&earlier).unwrap_err().to_string();
    assert!(
        error.ends_with("its nextUpdate is before its thisUpdate"),
        "{error}"
    );
}

#[test]
fn a_list_that_its_issuer_did_not_sign_takes_the_place_of_none() {
    let ca = Ca::new("Nodes");
    let impostor = spelled(
        &Ca::new("Impostor"),
        common(DnValue::Utf8String("Nodes".to_owned())),
    );
    let list = ca.crl(1, &[7]);
    let newer = |issuer: &Ca| {
        let list = issuer.crl_with(2, &[], |list| {
            list.this_update += time::Duration::MINUTE;
        });
        list.der().to_vec()
    };
    let mut damaged = newer(&ca);
    let end = damaged.len() - 5;
    damaged[end] ^= 1;
    let options = || Options::default().with_unknown_allowed(true);
    // The one names the key that did not sign it, the other a key that is not known.
    for (forged, is_refused) in [(&damaged, true), (&newer(&impostor), false)] {
        let builder = || {
            let builder = Revocation::builder().with_options(options());
            builder.with_authorities([ca.der.clone()])
        };
        let at_start = builder().from_bytes([&forged[..]]);
        assert_eq!(at_start.is_err(), is_refused);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("crl.der");
        std::fs::write(&file, list.der()).unwrap();
        let watch = portcullis::reload::WatchOptions::default()
            .with_poll_interval(Duration::from_millis(20))
            .with_settle(Duration::from_millis(5));
        let revocation = builder().from_files([&file], watch).unwrap();
        let generation = revocation.lists().generation();
        std::fs::write(&file, forged).unwrap();
        let began = std::time::Instant::now();
        while revocation.lists().generation() == generation {
            assert!(began.elapsed() < Duration::from_secs(30), "never read");
            std::thread::sleep(Duration::from_millis(5));
        }
        let verdict = revocation.examine(&path(&ca, 7), now());
        assert!(matches!(verdict, Verdict::Revoked { .. }), "{verdict}");
        assert_eq!(revocation.lists().load().refused().count() > 0, is_refused);
        // A right one takes the place of both.
        let right = ca.crl_with(3, &[8], |list| {
            list.this_update += time::Duration::minutes(2);
        });
        std::fs::write(&file, right.der()).unwrap();
        let began = std::time::Instant::now();
        while revocation.examine(&path(&ca, 7), now()) != Verdict::Good {
            assert!(began.elapsed() < Duration::from_secs(30), "never read");
            std::thread::sleep(Duration::from_millis(5));
        }
        let verdict = revocation.examine(&path(&ca, 8), now());
        assert!(matches!(verdict, Verdict::Revoked { .. }), "{verdict}");
    }
}

#[test]
fn of_two_lists_that_are_one_version_neither_takes_back_what_the_other_revokes() {
    let ca = Ca::new("Nodes");
    let at = time::OffsetDateTime::now_utc() - time::Duration::HOUR;
    let list = |revoked: &[u64]| {
        let list = ca.crl_with(5, revoked, |list| {
            list.this_update = at;
        });
        list.der().to_vec()
    };
    let (seven, none, eight) = (list(&[7]), list(&[]), list(&[8]));
    let is_revoked = |revocation: &Revocation, serial: u64| {
        let verdict = revocation.examine(&path(&ca, serial), now());
        matches!(verdict, Verdict::Revoked { .. })
    };
    let builder = || Revocation::builder().with_authorities([ca.der.clone()]);
    for lists in [[&seven, &none], [&none, &seven]] {
        let revocation = builder().from_bytes(lists.map(|list| &list[..])).unwrap();
        assert!(is_revoked(&revocation, 7));
        assert!(!is_revoked(&revocation, 9));
        assert_eq!(revocation.lists().load().held_back().count(), 1);
    }
    let revocation = builder().from_bytes([&seven[..]]).unwrap();
    revocation.publish([&none[..]]).unwrap();
    assert!(is_revoked(&revocation, 7));
    revocation.publish([&eight[..]]).unwrap();
    assert!(is_revoked(&revocation, 7) && is_revoked(&revocation, 8));
    let told = revocation.lists().load().held_back().next().unwrap();
    assert!(told.contains("the same number and thisUpdate"), "{told}");
    // The same list again is no other one, and a later one replaces all of them.
    revocation.publish([&seven[..]]).unwrap();
    let later = ca.crl_with(6, &[], |list| {
        list.this_update = at + time::Duration::MINUTE;
    });
    revocation.publish([later.der().as_ref()]).unwrap();
    assert!(!is_revoked(&revocation, 7) && !is_revoked(&revocation, 8));
    assert_eq!(revocation.lists().load().held_back().count(), 0);
}

#[test]
fn of_two_lists_that_contradict_each_other_the_active_one_stays_active() {
    let ca = Ca::new("Nodes");
    let at = time::OffsetDateTime::now_utc() - time::Duration::HOUR;
    let list = |number: u64, minutes: i64, of_shard: bool| {
        let list = ca.crl_with(number, &[], |list| {
            list.this_update = at + time::Duration::minutes(minutes);
            list.issuing_distribution_point =
                of_shard.then(|| rcgen::CrlIssuingDistributionPoint {
                    distribution_point: rcgen::CrlDistributionPoint {
                        uris: vec!["http://crl.example.org/shard".to_owned()],
                    },
                    scope: None,
                });
        });
        list.der().to_vec()
    };
    let (restored, other) = (list(5, 10, false), list(100, 0, false));
    for (before, in_force) in [
        (vec![restored.clone()], "05"),
        (vec![other.clone()], "64"),
        // Neither was: the one with the higher number is.
        (vec![list(3, -10, false)], "64"),
        (vec![list(5, 10, true)], "64"),
        // It waited before, and waits on.
        (vec![restored.clone(), other.clone()], "64"),
    ] {
        for lists in [[&restored, &other], [&other, &restored]] {
            let builder = Revocation::builder().with_authorities([ca.der.clone()]);
            let revocation = builder
                .from_bytes(before.iter().map(Vec::as_slice))
                .unwrap();
            revocation.publish(lists.map(Vec::as_slice)).unwrap();
            let lists = revocation.lists().load();
            let held_back: Vec<_> = lists.held_back().collect();
            assert_eq!((lists.len(), held_back.len()), (2, 1));
            let active = format!("the one in force, number {in_force} of ");
            assert!(held_back[0].contains(&active), "{}", held_back[0]);
        }
    }
}

#[test]
fn a_list_that_stays_takes_nothing_from_those_of_another_scope() {
    let ca = Ca::new("Nodes");
    let at = time::OffsetDateTime::now_utc() - time::Duration::HOUR;
    let list = |number: u64, minutes: i64, shard: &str, revoked: &[u64]| {
        let list = ca.crl_with(number, revoked, |list| {
            list.this_update = at + time::Duration::minutes(minutes);
            list.issuing_distribution_point =
                (!shard.is_empty()).then(|| rcgen::CrlIssuingDistributionPoint {
                    distribution_point: rcgen::CrlDistributionPoint {
                        uris: vec![format!("http://crl.example.org/{shard}")],
                    },
                    scope: None,
                });
        });
        list.der().to_vec()
    };
    let newest = list(10, 0, "", &[7]);
    // An old copy of it, and shards of which one is older by both measures and the other by one.
    let next = [
        list(9, -5, "", &[]),
        list(3, -10, "older", &[8]),
        list(4, 10, "other", &[9]),
    ];
    let builder = Revocation::builder().with_authorities([ca.der.clone()]);
    let revocation = builder.from_bytes([&*newest]).unwrap();
    for _ in 0..2 {
        revocation.publish(next.iter().map(Vec::as_slice)).unwrap();
        let lists = revocation.lists().load();
        assert_eq!((lists.len(), lists.entries()), (3, 3));
        assert_eq!(lists.held_back().count(), 0);
    }
}

#[test]
fn a_certificate_is_looked_up_by_its_issuers_name_and_its_number_whatever_the_list_is_about() {
    let (nodes, users) = (Ca::new("Nodes"), Ca::new("Users"));
    let of_cas = nodes.crl_with(2, &[8], |list| {
        list.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://crl/1".to_owned()],
            },
            scope: Some(rcgen::CrlScope::CaCertsOnly),
        });
    });
    let lists = [nodes.crl(1, &[7]), of_cas, users.crl(3, &[9])];
    let lists = lists.each_ref().map(|list| list.der().as_ref());
    // Of no list the signer is known.
    let revocation = Revocation::from_bytes(lists, Options::default()).unwrap();
    let lists = revocation.lists().load();
    let name = |ca: &Ca| {
        let anchor = webpki::anchor_from_trusted_cert(&ca.der).unwrap();
        pki::extended::encode(0x30, &anchor.subject)
    };
    let otherwise = Ca::with("", |ca| {
        let name = PrintableString::try_from("NODES ").unwrap();
        ca.distinguished_name = common(DnValue::PrintableString(name));
    });
    for (issuer, serial, number) in [
        (&nodes, 7, Some("01")),
        (&nodes, 8, Some("02")),
        (&nodes, 9, None),
        (&users, 9, Some("03")),
        (&users, 7, None),
        (&otherwise, 7, Some("01")),
        (&Ca::new("Others"), 7, None),
    ] {
        let found = lists.find(&name(issuer), &[serial]);
        let told = match &found {
            Some(Verdict::Revoked { crl_number, .. }) => crl_number.as_deref(),
            Some(other) => panic!("{other}"),
            None => None,
        };
        assert_eq!(told, number, "{serial}: {found:?}");
    }
}

/// What waits, or is dated ahead, answers for no certificate; but what it revokes is not taken back by what came before
/// it.
#[test]
fn an_older_list_takes_the_revocations_of_one_that_waits_back_no_more_than_of_an_active_one() {
    let ca = Ca::new("Nodes");
    let at = |number: u64, minutes: i64, revoked: &[u64]| {
        let list = ca.crl_with(number, revoked, |list| {
            list.this_update += time::Duration::minutes(minutes);
            list.next_update = list.this_update + time::Duration::DAY;
        });
        list.der().to_vec()
    };
    let (older, active) = (at(1, -20, &[]), at(18, 0, &[]));
    let (another, restored, early) = (at(18, 0, &[7]), at(9, 5, &[7]), at(19, 600, &[7]));
    let known = || Revocation::builder().with_authorities([ca.der.clone()]);
    for what in [&another, &restored, &early] {
        let revocation = known().from_bytes([&*active]).unwrap();
        let is_revoked = || revocation.examine(&path(&ca, 7), now()).label() == "revoked";
        revocation.publish([&**what]).unwrap();
        assert!(is_revoked());
        for _ in 0..2 {
            revocation.publish([&*older]).unwrap();
            assert!(is_revoked());
        }
        // What is later by both is the CA's word.
        revocation
            .publish([&*at(20, 700, &[]), &*at(20, 30, &[])])
            .unwrap();
        revocation.publish([&*at(21, 40, &[])]).unwrap();
        assert!(
            !is_revoked(),
            "{:?}",
            revocation.examine(&path(&ca, 7), now())
        );
    }
}
