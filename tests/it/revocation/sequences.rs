//! Whatever is written over the files of CRLs, in whatever order: what the newest list of a CA revokes stays revoked,
//! and nothing else is.
#![cfg(all(feature = "crl", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use portcullis::crl::{CertPath, Options, Revocation, Verdict};
use portcullis::reload::WatchOptions;
use proptest::prelude::*;

use crate::pki::extended::{SEQUENCE, encode};
use crate::pki::{Ca, Files};
use crate::waiting::until;

const SERIALS: std::ops::RangeInclusive<u64> = 1..=4;
/// In no list.
const NEVER: u64 = 9;

/// What is written into a file.
#[derive(Clone, Debug)]
enum Content {
    Complete(Complete),
    /// Both in one file, one after the other.
    Joined(Complete, Complete),
    Delta(Complete, u8),
    /// Of a list only so much, in hundredths.
    Cut(Complete, usize),
    Nothing,
    Text,
}

#[derive(Clone, Debug)]
struct Complete {
    /// Of which of the two CAs.
    ca: usize,
    number: u8,
    revoked: BTreeSet<u64>,
}

/// The newest complete list of a CA that was ever there.
#[derive(Clone, Debug)]
struct Newest {
    number: u8,
    revoked: BTreeSet<u64>,
}

struct World {
    /// An hour ago: what is made later is no newer for that.
    begun: time::OffsetDateTime,
    cas: [Ca; 2],
    sentinel: Ca,
    /// By CA and serial number.
    paths: Vec<[CertPath; 2]>,
}

impl World {
    fn new() -> Self {
        let cas = ["A", "B"].map(Ca::new);
        let path = |ca: &Ca, serial: u64| {
            let leaf = ca.client_with("node", |params| params.serial_number = Some(serial.into()));
            CertPath::with_anchor_certificate(&leaf.der, &[], &ca.der).unwrap()
        };
        let paths = (0..=NEVER).map(|serial| [path(&cas[0], serial), path(&cas[1], serial)]);
        Self {
            begun: time::OffsetDateTime::now_utc() - time::Duration::HOUR,
            paths: paths.collect(),
            cas,
            sentinel: Ca::new("sentinel"),
        }
    }

    fn list(&self, list: &Complete) -> rcgen::CertificateRevocationList {
        let revoked: Vec<u64> = list.revoked.iter().copied().collect();
        self.numbered(&self.cas[list.ca], list.number, &revoked)
    }

    /// A list that is as much newer as its number is higher.
    fn numbered(&self, ca: &Ca, number: u8, revoked: &[u64]) -> rcgen::CertificateRevocationList {
        ca.crl_with(number.into(), revoked, |list| {
            list.this_update = self.begun + time::Duration::seconds(i64::from(number));
        })
    }

    fn bytes(&self, content: &Content) -> Vec<u8> {
        let pem = |list| self.list(list).pem().unwrap().into_bytes();
        match content {
            Content::Complete(list) => pem(list),
            Content::Joined(first, second) => [pem(first), pem(second)].concat(),
            Content::Delta(list, base) => self.cas[list.ca].delta(&self.list(list), *base),
            Content::Cut(list, hundredths) => {
                let whole = pem(list);
                whole[..whole.len() * hundredths / 100].to_vec()
            }
            Content::Nothing => Vec::new(),
            Content::Text => b"<html>502 Bad Gateway</html>".to_vec(),
        }
    }

    fn reading(&self, files: &Files) -> Result<Revocation, portcullis::crl::LoadError> {
        let allowing = Options::default().with_unknown_allowed(true);
        let authorities = self.cas.iter().chain([&self.sentinel]);
        let builder = Revocation::builder()
            .with_options(allowing)
            .with_authorities(authorities.map(|ca| ca.der.clone()));
        let watch = WatchOptions::default()
            .with_poll_interval(Duration::from_millis(10))
            .with_settle(Duration::from_millis(1));
        let names = ["0.crl", "1.crl", "sentinel.crl"];
        builder.from_files(names.map(|name| files.path(name)), watch)
    }

    fn is_revoked(&self, revocation: &Revocation, ca: usize, serial: u64) -> bool {
        let path = &self.paths[usize::try_from(serial).unwrap()][ca];
        let verdict = revocation.examine(path, SystemTime::now());
        matches!(verdict, Verdict::Revoked { .. })
    }

    /// Writes and waits until it was read.
    fn write(&self, files: &Files, revocation: &Revocation, name: &str, content: &[u8], step: u8) {
        let put = |name: &str, content: &[u8]| {
            let whole = files.put("next", content);
            fs::rename(whole, files.path(name)).unwrap();
        };
        put(name, content);
        put(
            "sentinel.crl",
            self.numbered(&self.sentinel, step, &[NEVER]).der(),
        );
        let number = format!("{step:02x}");
        let anchor = webpki::anchor_from_trusted_cert(&self.sentinel.der).unwrap();
        let issuer = encode(SEQUENCE, &anchor.subject);
        until("read", || {
            let lists = revocation.lists().load();
            match lists.find(&issuer, &NEVER.to_be_bytes()[7..]) {
                Some(Verdict::Revoked { crl_number, .. }) => crl_number.as_deref() == Some(&number),
                _ => false,
            }
        });
    }
}

fn complete() -> impl Strategy<Value = Complete> {
    let revoked = prop::collection::btree_set(SERIALS, 0..3);
    (0..2_usize, 1..12_u8, revoked).prop_map(|(ca, number, revoked)| Complete {
        ca,
        number,
        revoked,
    })
}

fn content() -> impl Strategy<Value = Content> {
    prop_oneof![
        8 => complete().prop_map(Content::Complete),
        2 => (complete(), complete()).prop_map(|(one, other)| Content::Joined(one, other)),
        3 => (complete(), 1..12_u8).prop_map(|(list, base)| Content::Delta(list, base)),
        2 => (complete(), 1..100_usize).prop_map(|(list, part)| Content::Cut(list, part)),
        1 => Just(Content::Nothing),
        1 => Just(Content::Text),
    ]
}

/// Takes what is written into account.
fn note(newest: &mut [Newest; 2], changed: &mut [BTreeSet<u64>; 2], content: &Content) {
    let lists = match content {
        Content::Complete(list) => vec![list],
        Content::Joined(one, other) => vec![one, other],
        Content::Delta(list, _) => {
            changed[list.ca].extend(&list.revoked);
            vec![]
        }
        _ => vec![],
    };
    for list in lists {
        let known = &mut newest[list.ca];
        if list.number > known.number {
            known.number = list.number;
            known.revoked.clone_from(&list.revoked);
        } else if list.number == known.number {
            // Of two of one version neither takes back what the other revokes.
            known.revoked.extend(&list.revoked);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 16,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_the_newest_list_of_a_ca_revokes_stays_revoked_whatever_is_written_over_it(
        steps in prop::collection::vec((0..2_usize, content()), 1..9),
        first in complete(),
        second in complete(),
    ) {
        let (world, files) = (World::new(), Files::new());
        let first = Complete { ca: 0, ..first };
        let second = Complete { ca: 1, ..second };
        let mut newest = [&first, &second].map(|list| Newest {
            number: list.number,
            revoked: list.revoked.clone(),
        });
        // What a delta ever revoked may be revoked or not: whether it counts is another test's.
        let mut changed = [BTreeSet::new(), BTreeSet::new()];
        let mut content_of = [first, second].map(Content::Complete);
        files.put("0.crl", world.bytes(&content_of[0]));
        files.put("1.crl", world.bytes(&content_of[1]));
        files.put("sentinel.crl", world.numbered(&world.sentinel, 0, &[NEVER]).der());
        let revocation = world.reading(&files).unwrap();
        for (step, (file, content)) in (1..).zip(&steps) {
            let name = format!("{file}.crl");
            world.write(&files, &revocation, &name, &world.bytes(content), step);
            note(&mut newest, &mut changed, content);
            content_of[*file] = content.clone();
            for ca in 0..2 {
                for serial in SERIALS.chain([NEVER]) {
                    let is_revoked = world.is_revoked(&revocation, ca, serial);
                    if newest[ca].revoked.contains(&serial) {
                        prop_assert!(is_revoked, "step {step}: {serial} of {ca} is revoked by {:?}", newest[ca]);
                    } else if !changed[ca].contains(&serial) {
                        prop_assert!(!is_revoked, "step {step}: {serial} of {ca} is not revoked by {:?}", newest[ca]);
                    }
                }
            }
        }
        // A start with the same files fails, or goes by the newest lists that are in them.
        let mut there = [0, 1].map(|_| Newest { number: 0, revoked: BTreeSet::new() });
        for content in &content_of {
            note(&mut there, &mut changed, content);
        }
        if let Ok(started) = world.reading(&files) {
            for (ca, newest) in there.iter().enumerate() {
                for serial in &newest.revoked {
                    prop_assert!(world.is_revoked(&started, ca, *serial), "{serial} of {ca} after a start");
                }
            }
        }
    }
}
