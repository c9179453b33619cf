//! Lists that are made to be slow, each over an ordinary one of as many entries.

use std::time::{Duration, Instant};

use portcullis::crl::Revocation;

use crate::figures::Figures;
use crate::lists::{list, sampled};
use crate::looking;
use crate::serials::serial;

const ENTRIES: u64 = 1_000_000;

/// The serial number of one of so many.
type Make = fn(u64) -> Vec<u8>;

const KINDS: [(&str, Make); 7] = [
    ("the first 8 octets all the same", |number| {
        let mut serial = serial(number);
        serial.copy_within(..8, 8);
        serial[..8].copy_from_slice(b"AAAAAAAA");
        serial.to_vec()
    }),
    ("the last 8 octets all the same", |number| {
        let mut serial = serial(number);
        serial[8..].copy_from_slice(b"AAAAAAAA");
        serial.to_vec()
    }),
    ("each listed twice", |number| {
        // What is not listed is not looked up twice.
        let half = if number < ENTRIES { number / 2 } else { number };
        serial(half).to_vec()
    }),
    ("not minimal", |number| {
        [&[0, 0, 0, 0][..], &serial(number)].concat()
    }),
    ("of 21 octets", |number| {
        [b"AAAAA", &serial(number)[..]].concat()
    }),
    ("negative", |number| {
        let mut serial = serial(number);
        serial[0] |= 0x80;
        serial.to_vec()
    }),
    ("of every length and sign", |number| {
        let serial = serial(number);
        let mut serial = [&serial[..], &serial[..4]].concat();
        serial.truncate(8 + usize::from(serial[1]) % 13);
        serial[0] ^= serial[2] & 0x80;
        serial
    }),
];

struct Cost {
    load: f64,
    hit: f64,
    miss: f64,
}

pub(crate) fn measure(figures: &mut Figures) {
    let ordinary = cost(|number| serial(number).to_vec());
    for (name, make) in KINDS {
        let cost = cost(make);
        for (what, of) in [
            ("load, signature included", (cost.load, ordinary.load, "ms")),
            ("look-up, revoked", (cost.hit, ordinary.hit, "ns")),
            ("look-up, good", (cost.miss, ordinary.miss, "ns")),
        ] {
            let (ours, usual, unit) = of;
            let row = figures.row(format!("{ENTRIES} entries, {name}: {what}"), unit, ours);
            row.peer("an ordinary list", usual).ratio_at_most(2.0);
        }
    }
}

fn cost(make: Make) -> Cost {
    let serials: Vec<_> = (0..ENTRIES).map(make).collect();
    let (ca, issuer, der) = list(&serials);
    let load = || {
        let builder = Revocation::builder().with_authorities([ca.clone()]);
        builder.from_bytes([&*der]).unwrap()
    };
    let mut least = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        let loaded = load();
        least = least.min(began.elapsed());
        drop(loaded);
    }
    let revocation = load();
    let lists = revocation.lists().load();
    let good: Vec<_> = (ENTRIES..ENTRIES + 200_000).map(make).collect();
    let find = |serial: &[u8]| lists.find(&issuer, serial).is_some();
    Cost {
        load: least.as_secs_f64() * 1e3,
        hit: looking(&sampled(&serials), find, true),
        miss: looking(&good, find, false),
    }
}
