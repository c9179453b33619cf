//! RFC 5280 §6.3.3 rule by rule: scopes, reasons, and what several lists say together.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::pki;

use std::time::{Duration, SystemTime};

use pki::{Ca, Leaf};
use portcullis::crl::{CertPath, CrlError, LoadError, Options, Revocation, UnknownCause, Verdict};
use rcgen::{CustomExtension, KeyIdMethod, RevocationReason};

/// `keyCompromise` and `cACompromise` as `ReasonFlags`, and all the others.
const COMPROMISE: &[u8] = &[5, 0b0110_0000];
const KEY_ALONE: &[u8] = &[6, 0b0100_0000];
const OTHERS: &[u8] = &[7, 0b0001_1111, 0b1000_0000];

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut value = vec![tag];
    match u8::try_from(content.len()).unwrap() {
        short @ 0..=0x7f => value.push(short),
        long => value.extend([0x81, long]),
    }
    value.extend(content);
    value
}

/// A `DistributionPointName` with these URLs.
fn full_name(urls: &[&str]) -> Vec<u8> {
    let names: Vec<_> = urls.iter().map(|url| der(0x86, url.as_bytes())).collect();
    der(0xa0, &der(0xa0, &names.concat()))
}

/// What a list is limited to: the fields of its `IssuingDistributionPoint`.
fn scope(fields: &[Vec<u8>]) -> Vec<u8> {
    let value = der(0x30, &fields.concat());
    let id = [0x06, 0x03, 0x55, 0x1d, 0x1c, 0x01, 0x01, 0xff];
    [&id[..], &der(0x04, &value)].concat()
}

fn only_reasons(flags: &[u8]) -> Vec<u8> {
    der(0x83, flags)
}

fn only_user_certificates() -> Vec<u8> {
    der(0x81, &[0xff])
}

fn only_ca_certificates() -> Vec<u8> {
    der(0x82, &[0xff])
}

/// A `DistributionPoint` of a certificate with these fields.
fn point(fields: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &fields.concat())
}

/// `CN=text` as a `GeneralName`.
fn name(text: &str) -> Vec<u8> {
    let attribute = [
        &[0x06, 0x03, 0x55, 0x04, 0x03][..],
        &der(0x0c, text.as_bytes()),
    ];
    let relative = der(0x31, &der(0x30, &attribute.concat()));
    der(0xa4, &der(0x30, &relative))
}

struct World {
    ca: Ca,
}

impl World {
    fn new() -> Self {
        Self {
            ca: Ca::new("Nodes 2026"),
        }
    }

    /// A list from an hour ago until so many hours from now.
    fn list(&self, number: u64, hours: i64, fields: &[Vec<u8>], revoked: &[u64]) -> Vec<u8> {
        let list = self.ca.crl_with(number, revoked, |list| {
            list.this_update = time::OffsetDateTime::now_utc() - time::Duration::hours(24);
            list.next_update = list.this_update + time::Duration::hours(24 + hours);
        });
        if fields.is_empty() {
            return list.der().to_vec();
        }
        self.ca.extended(&list, &scope(fields))
    }

    /// A client with serial number 7, whose CRLs are at these points.
    fn client(&self, points: &[Vec<u8>]) -> Leaf {
        self.ca.client_with("node", |params| {
            params.serial_number = Some(7_u64.into());
            if !points.is_empty() {
                let value = der(0x30, &points.concat());
                let extension = CustomExtension::from_oid_content(&[2, 5, 29, 31], value);
                params.custom_extensions.push(extension);
            }
        })
    }

    fn path(&self, client: &Leaf) -> CertPath {
        let anchor = self.ca.roots().roots.remove(0);
        CertPath::new(&client.der, &[], &anchor).unwrap()
    }

    fn says(&self, client: &Leaf, lists: &[Vec<u8>]) -> Verdict {
        revocation(lists).examine(&self.path(client), SystemTime::now())
    }
}

fn revocation(lists: &[Vec<u8>]) -> Revocation {
    // A list of another CA, so that there is one at least.
    let other = Ca::new("Others").crl(1, &[]).der().to_vec();
    let lists = lists.iter().chain([&other]).map(Vec::as_slice);
    Revocation::from_bytes(lists, Options::default()).unwrap()
}

fn unknown(verdict: &Verdict) -> Option<UnknownCause> {
    match verdict {
        Verdict::Unknown { cause, .. } => Some(*cause),
        _ => None,
    }
}

/// Each is compared with each list before the client is known, so their number is bounded.
#[test]
fn a_certificate_with_more_than_64_distribution_points_is_not_read() {
    let world = World::new();
    let at = |number: usize| {
        let mut names = der(0x86, format!("http://crl/{number}").as_bytes());
        names = der(0xa0, &der(0xa0, &names));
        der(0x30, &names)
    };
    let client = |count: usize| {
        world.ca.client_with("node", |params| {
            params.serial_number = Some(7_u64.into());
            let points: Vec<_> = (0..count).map(at).collect();
            let points = points.concat();
            let length = u16::try_from(points.len()).unwrap().to_be_bytes();
            let value = [&[0x30, 0x82], &length[..], &points].concat();
            let extension = CustomExtension::from_oid_content(&[2, 5, 29, 31], value);
            params.custom_extensions.push(extension);
        })
    };
    let anchor = world.ca.roots().roots.remove(0);
    let most = client(64);
    let last = world.list(1, 1, &[full_name(&["http://crl/63"])], &[7]);
    assert!(matches!(
        world.says(&most, &[last]),
        Verdict::Revoked { .. }
    ));
    let more = client(65);
    let error = CertPath::new(&more.der, &[], &anchor).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("more than 64 CRL distribution points"),
        "{error}"
    );
}

#[test]
fn what_is_said_to_be_missing_is_what_no_current_list_covers() {
    let world = World::new();
    let client = world.client(&[]);
    let current = |reasons| world.list(1, 1, &[only_reasons(reasons)], &[]);
    let over = |reasons| world.list(1, -1, &[only_reasons(reasons)], &[]);
    let over_of_users = |reasons| {
        let fields = [only_user_certificates(), only_reasons(reasons)];
        world.list(1, -1, &fields, &[])
    };
    for (lists, says) in [
        (vec![current(COMPROMISE), current(OTHERS)], None),
        (vec![current(COMPROMISE)], Some(UnknownCause::SomeReasons)),
        // The rest is in a list that is over: that is what the operator has to see to.
        (
            vec![current(COMPROMISE), over(OTHERS)],
            Some(UnknownCause::CrlExpired),
        ),
        // The one that is over would add nothing.
        (
            vec![current(COMPROMISE), over(KEY_ALONE)],
            Some(UnknownCause::SomeReasons),
        ),
        (
            vec![over(COMPROMISE), over(OTHERS)],
            Some(UnknownCause::CrlExpired),
        ),
        // Two that are over, of different scopes and the same reasons.
        (
            vec![current(COMPROMISE), over(OTHERS), over_of_users(OTHERS)],
            Some(UnknownCause::CrlExpired),
        ),
        (
            vec![current(COMPROMISE), current(OTHERS), over(KEY_ALONE)],
            None,
        ),
        (vec![], Some(UnknownCause::NoCrl)),
    ] {
        let verdict = world.says(&client, &lists);
        assert_eq!(unknown(&verdict), says, "{verdict}");
        assert_eq!(verdict == Verdict::Good, says.is_none(), "{verdict}");
    }
}

/// A CA may have certified it under its own name and let it sign CRLs: that is no word about itself.
#[test]
fn a_certificate_signs_no_list_that_counts_for_itself() {
    let world = World::new();
    let own = world.ca.sub("Nodes 2026", |params| {
        params.serial_number = Some(7_u64.into());
    });
    let anchor = world.ca.roots().roots.remove(0);
    let path = CertPath::new(&own.der, &[], &anchor).unwrap();
    let by = |ca: &Ca| {
        let lists = [ca.crl(1, &[]).der().to_vec()];
        revocation(&lists).examine(&path, SystemTime::now())
    };
    assert_eq!(by(&own).label(), "unknown");
    assert_eq!(by(&world.ca), Verdict::Good);
}

#[test]
fn a_list_answers_for_the_kind_of_certificate_that_it_is_about() {
    let world = World::new();
    let client = world.client(&[]);
    let sub = world
        .ca
        .sub("Sub", |params| params.serial_number = Some(9_u64.into()));
    let below = sub.client("below");
    let of_sub = sub.crl(1, &[]).der().to_vec();
    let anchor = world.ca.roots().roots.remove(0);
    let chain = CertPath::new(&below.der, std::slice::from_ref(&sub.der), &anchor).unwrap();
    let only_attribute_certificates = der(0x85, &[0xff]);
    for (fields, of_client, of_ca) in [
        (vec![], true, true),
        (vec![only_user_certificates()], true, false),
        (vec![only_ca_certificates()], false, true),
        (vec![only_attribute_certificates], false, false),
        // What is asserted not to be so.
        (vec![der(0x81, &[0])], true, true),
    ] {
        let list = world.list(1, 1, &fields, &[]);
        let verdict = world.says(&client, std::slice::from_ref(&list));
        assert_eq!(
            verdict == Verdict::Good,
            of_client,
            "{fields:02x?} {verdict}"
        );
        if !of_client {
            assert_eq!(unknown(&verdict), Some(UnknownCause::OtherScope));
        }
        let verdict = revocation(&[list, of_sub.clone()]).examine(&chain, SystemTime::now());
        assert_eq!(verdict == Verdict::Good, of_ca, "{fields:02x?} {verdict}");
    }
    // At most one of the kinds can be the only one.
    let both = world.list(
        1,
        1,
        &[only_user_certificates(), only_ca_certificates()],
        &[],
    );
    assert!(Revocation::from_bytes([both.as_slice()], Options::default()).is_err());
}

#[test]
fn a_list_of_one_place_answers_for_the_certificates_that_name_the_place() {
    let world = World::new();
    let at = |urls: &[&str]| point(&[full_name(urls)]);
    let [here, there] = ["http://here.example/crl", "http://there.example/crl"];
    for (points, list, good) in [
        (vec![at(&[here])], vec![full_name(&[here])], true),
        (vec![at(&[here])], vec![full_name(&[there])], false),
        (vec![at(&[here])], vec![full_name(&[there, here])], true),
        (vec![at(&[there, here])], vec![full_name(&[here])], true),
        (
            vec![at(&[there]), at(&[here])],
            vec![full_name(&[here])],
            true,
        ),
        (vec![at(&[here])], vec![], true),
        // A certificate that names no place is covered by what is at none, or at the issuer's name.
        (vec![], vec![full_name(&[here])], false),
        // A point of reasons alone, which is nowhere.
        (
            vec![point(&[der(0x81, OTHERS)])],
            vec![full_name(&[here])],
            false,
        ),
    ] {
        let client = world.client(&points);
        let lists = [world.list(1, 1, &list, &[])];
        let verdict = world.says(&client, &lists);
        assert_eq!(
            verdict == Verdict::Good,
            good,
            "{points:02x?} {list:02x?} {verdict}"
        );
        if !good {
            assert_eq!(unknown(&verdict), Some(UnknownCause::OtherScope));
        }
        let revoking = [world.list(1, 1, &list, &[7])];
        let verdict = world.says(&client, &revoking);
        assert_eq!(
            verdict.label() == "revoked",
            good,
            "{points:02x?} {list:02x?} {verdict}"
        );
    }
}

#[test]
fn at_a_point_a_list_answers_for_the_reasons_of_both() {
    let world = World::new();
    // At a place, since the list of an issuer's that is at none answers for all it issued.
    let place = || full_name(&["http://here.example/crl"]);
    let some = |flags: &[u8]| point(&[place(), der(0x81, flags)]);
    for (points, lists, cause) in [
        (
            vec![some(COMPROMISE)],
            vec![vec![]],
            Some(UnknownCause::SomeReasons),
        ),
        (vec![some(COMPROMISE), some(OTHERS)], vec![vec![]], None),
        (
            vec![some(COMPROMISE)],
            vec![vec![only_reasons(OTHERS)]],
            Some(UnknownCause::OtherScope),
        ),
        (
            vec![some(KEY_ALONE), some(OTHERS)],
            vec![vec![only_reasons(COMPROMISE)], vec![only_reasons(OTHERS)]],
            Some(UnknownCause::SomeReasons),
        ),
        // Bits that are no reason add none.
        (
            vec![some(&[7, 0b1110_0000, 0b1000_0000])],
            vec![vec![only_reasons(&[0, 0b1001_1111, 0xff])]],
            Some(UnknownCause::SomeReasons),
        ),
        (
            vec![some(&[0, 0xff, 0xff])],
            vec![vec![only_reasons(&[0, 0xff, 0xff])]],
            None,
        ),
    ] {
        let client = world.client(&points);
        let lists: Vec<_> = lists
            .iter()
            .map(|fields| world.list(1, 1, &[&[place()][..], fields].concat(), &[]))
            .collect();
        let verdict = world.says(&client, &lists);
        assert_eq!(unknown(&verdict), cause, "{points:02x?} {verdict}");
        assert_eq!(
            verdict == Verdict::Good,
            cause.is_none(),
            "{points:02x?} {verdict}"
        );
    }
}

#[test]
fn a_point_of_another_issuer_is_not_answered_by_the_certificates_own() {
    let world = World::new();
    let own = name("Nodes 2026");
    let place = || full_name(&["http://here.example/crl"]);
    for (names, indirect, good) in [
        (vec![own.clone()], false, false),
        // Who issues for others has to say so, even where it is the issuer itself.
        (vec![own.clone()], true, true),
        (vec![name("Others")], true, false),
        (vec![name("Others"), own.clone()], true, true),
        // Only a directory name names an issuer.
        (vec![der(0x82, b"others.example")], false, false),
        (vec![der(0x82, b"others.example"), own.clone()], true, true),
    ] {
        let client = world.client(&[point(&[place(), der(0xa2, &names.concat())])]);
        let mut fields = vec![place()];
        fields.extend(indirect.then(|| der(0x84, &[0xff])));
        let lists = [world.list(1, 1, &fields, &[])];
        let verdict = world.says(&client, &lists);
        assert_eq!(verdict == Verdict::Good, good, "{names:02x?} {verdict}");
    }
    // A list that is at a place, which is the issuer's name, answers at a point without a place.
    let client = world.client(&[point(&[der(0xa2, &own)])]);
    for (place, good) in [(&own, true), (&name("Others"), false)] {
        let place = der(0xa0, &der(0xa0, place));
        let lists = [world.list(1, 1, &[place, der(0x84, &[0xff])], &[])];
        let verdict = world.says(&client, &lists);
        assert_eq!(verdict == Verdict::Good, good, "{verdict}");
    }
}

#[test]
fn a_point_without_a_place_is_that_of_the_issuer_that_it_names() {
    let world = World::new();
    let others = world.ca.sub("Others", |params| {
        params.serial_number = Some(99_u64.into());
    });
    // The root's own says nothing of the client.
    let cas = world.list(1, 1, &[only_ca_certificates()], &[]);
    let client = world.client(&[point(&[der(0xa2, &name("Others"))])]);
    for (place, good) in [("Others", true), ("Elsewhere", false)] {
        let place = der(0xa0, &der(0xa0, &name(place)));
        let list = others.crl(1, &[]);
        let list = others.extended(&list, &scope(&[place, der(0x84, &[0xff])]));
        let authorities = [world.ca.der.clone(), others.der.clone()];
        let revocation = Revocation::builder().with_authorities(authorities);
        let revocation = revocation.from_bytes([&*cas, &*list]).unwrap();
        let verdict = revocation.examine(&world.path(&client), SystemTime::now());
        assert_eq!(verdict == Verdict::Good, good, "{verdict}");
    }
}

#[test]
fn an_explanation_tells_what_a_list_is_limited_to_and_a_certificate_that_is_over() {
    let world = World::new();
    let place = "http://here.example/crl";
    let client = world.client(&[point(&[full_name(&[place])])]);
    for (fields, scope) in [
        (vec![only_user_certificates()], "complete users"),
        (vec![only_reasons(KEY_ALONE)], "complete reasons=0x002"),
        (
            vec![
                full_name(&[place]),
                only_user_certificates(),
                only_reasons(COMPROMISE),
            ],
            "complete users reasons=0x006 http://here.example/crl",
        ),
    ] {
        let lists = [world.list(1, 1, &fields, &[])];
        let findings = revocation(&lists).explain(&world.path(&client), SystemTime::now());
        assert_eq!(findings[0].decided_by[0].scope, scope);
    }

    let lists = [world.list(1, 1, &[], &[])];
    let path = world.path(&client);
    let revocation = revocation(&lists);
    let finding = |at| revocation.explain(&path, at).remove(0);
    assert_eq!(finding(SystemTime::now()).verdict, Verdict::Good);
    // rcgen's certificates end in the year 4096.
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(80_000_000_000);
    let over = finding(at);
    assert_eq!(over.verdict, Verdict::Expired);
    assert_eq!(revocation.examine(&path, at), Verdict::Expired);
}

#[test]
fn a_forged_list_is_not_what_is_missing() {
    let world = World::new();
    let client = world.client(&[]);
    let forged = World::new().list(1, 1, &[only_reasons(OTHERS)], &[]);
    let current = world.list(1, 1, &[only_reasons(COMPROMISE)], &[]);
    let verdict = world.says(&client, &[current, forged.clone()]);
    assert_eq!(unknown(&verdict), Some(UnknownCause::SomeReasons));
    let verdict = world.says(&client, &[forged]);
    assert_eq!(unknown(&verdict), Some(UnknownCause::NotSigned));
}

#[test]
fn a_list_replaces_only_one_whose_scope_is_written_alike() {
    let world = World::new();
    let client = world.client(&[]);
    let newer = world.list(5, 1, &[], &[]);
    // The same to a reader, and another list to its issuer.
    let older = world.list(4, 1, &[der(0x81, &[0])], &[7]);
    assert_eq!(world.says(&client, &[newer, older]).label(), "revoked");
}

const KEY: &[u8] = &[1, 2, 3];

/// A list by this CA that says so of the client's certificate, with this `AuthorityKeyIdentifier`: a delta
/// over the complete list of the number `base`, or a complete one, limited to these fields.
fn identified(
    ca: &Ca,
    key: &[u8],
    number: u64,
    base: Option<u8>,
    says: Option<RevocationReason>,
    fields: &[Vec<u8>],
) -> Vec<u8> {
    let serials: &[u64] = if says.is_some() { &[7] } else { &[] };
    let list = ca.crl_with(number, serials, |list| {
        list.key_identifier_method = KeyIdMethod::PreSpecified(key.to_vec());
        for entry in &mut list.revoked_certs {
            entry.reason_code = says;
        }
    });
    let indicator = base.map(|base| {
        let id = [0x06, 0x03, 0x55, 0x1d, 0x1b, 0x01, 0x01, 0xff];
        [&id[..], &der(0x04, &der(0x02, &[base]))].concat()
    });
    let limited = (!fields.is_empty()).then(|| scope(fields));
    match indicator.or(limited) {
        Some(extension) => ca.extended(&list, &extension),
        None => list.der().to_vec(),
    }
}

#[test]
fn a_delta_is_put_over_a_list_of_the_same_key_and_scope_only() {
    let (hold, back) = (
        Some(RevocationReason::CertificateHold),
        Some(RevocationReason::RemoveFromCrl),
    );
    let keyed = |params: &mut rcgen::CertificateParams| {
        params.key_identifier_method = KeyIdMethod::PreSpecified(KEY.to_vec());
    };
    let ca = Ca::with("Nodes 2026", keyed);
    let renewed = ca.sub("Nodes 2026", keyed);
    let impostor = Ca::with("Nodes 2026", keyed);
    let anchor = ca.roots().roots.remove(0);
    let client = ca.client_with("node", |params| params.serial_number = Some(7_u64.into()));
    let path = CertPath::new(&client.der, &[], &anchor).unwrap();
    let says = |lists: &[Vec<u8>]| {
        let revocation = Revocation::builder()
            .with_authorities([ca.der.clone(), renewed.der.clone()])
            .from_bytes(lists.iter().map(Vec::as_slice));
        match revocation {
            Ok(revocation) => revocation.examine(&path, SystemTime::now()).label(),
            Err(LoadError::List {
                error: CrlError::NotSigned { .. },
                ..
            }) => "not taken",
            Err(error) => panic!("{error}"),
        }
    };
    let complete = |number, says| identified(&ca, KEY, number, None, says, &[]);
    let delta = |ca: &Ca, key: &[u8], number, says| identified(ca, key, number, Some(1), says, &[]);
    let whole = complete(1, hold);
    for (delta, expected) in [
        (delta(&ca, KEY, 2, back), "good"),
        // Another identifier, another key of the same name and identifier, and a stranger's.
        (delta(&ca, &[9], 2, back), "revoked"),
        (delta(&renewed, KEY, 2, back), "revoked"),
        (delta(&impostor, KEY, 2, back), "not taken"),
        // No newer than the complete list.
        (delta(&ca, KEY, 1, back), "revoked"),
    ] {
        assert_eq!(says(&[whole.clone(), delta]), expected);
    }
    // A delta of all certificates takes nothing back from a list of users'.
    let of_users = identified(&ca, KEY, 1, None, hold, &[only_user_certificates()]);
    assert_eq!(
        says(&[of_users.clone(), delta(&ca, KEY, 2, back)]),
        "revoked"
    );

    // Without its complete list a delta revokes all the same, but only its issuer's does.
    let good_users = identified(&ca, KEY, 1, None, None, &[only_user_certificates()]);
    let forged = identified(&impostor, KEY, 1, None, None, &[]);
    let revoking = delta(&ca, KEY, 2, hold);
    assert_eq!(says(std::slice::from_ref(&revoking)), "revoked");
    assert_eq!(says(&[good_users.clone(), revoking.clone()]), "revoked");
    assert_eq!(says(&[forged, revoking]), "not taken");
    let of_impostor = delta(&impostor, KEY, 2, hold);
    assert_eq!(says(&[good_users, of_impostor]), "not taken");
    // With it the list decides that is as new.
    assert_eq!(says(&[complete(3, None), delta(&ca, KEY, 2, hold)]), "good");
}
