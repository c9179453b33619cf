//! The fuzz targets under a driver that needs nothing but a stable toolchain: a fixed sequence of random
//! changes to inputs that lead deep, where whatever has a new kind of outcome is changed further.
//!
//! `scripts/fuzz.sh TARGET` lets libFuzzer drive the same targets, guided by coverage, for as long as one
//! likes.
#![cfg(all(feature = "config", feature = "digest-binding"))]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests")]

use std::collections::HashSet;

#[path = "fuzz/targets.rs"]
mod targets;

/// The same sequence in each run (xorshift64*, Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).unwrap() % bound.max(1)
    }
}

fn change(input: &mut Vec<u8>, random: &mut Random, words: &[&str], other: &[u8]) {
    let at = random.below(input.len() + 1);
    let end = (at + random.below(8)).min(input.len());
    match random.below(7) {
        0 => drop(input.drain(at..end)),
        1 => {
            let word = words[random.below(words.len())];
            input.splice(at..at, word.bytes());
        }
        2 => {
            let word = words[random.below(words.len())];
            input.splice(at..end, word.bytes());
        }
        3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        4 => {
            let copied = input[at..end].to_vec();
            input.splice(at..at, copied);
        }
        5 => {
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => {
            let byte = u8::try_from(random.below(256)).unwrap();
            input.insert(at, byte);
        }
    }
    input.truncate(4096);
}

/// Gives how many kinds of outcomes there were.
fn drive(name: &str, changes: usize) -> usize {
    let target = targets::ALL.iter().find(|target| target.name == name);
    let target = target.unwrap();
    let mut seen = HashSet::new();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for seed in target.seeds {
        seen.insert((target.run)(seed.as_bytes()));
        kept.push(seed.as_bytes().to_vec());
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..changes {
        let mut input = kept[random.below(kept.len())].clone();
        let other = kept[random.below(kept.len())].clone();
        for _ in 0..=random.below(4) {
            change(&mut input, &mut random, target.words, &other);
        }
        if seen.insert((target.run)(&input)) {
            kept.push(input);
        }
    }
    seen.len()
}

#[test]
fn no_target_is_two_routes() {
    let kinds = drive("route", 60_000);
    assert!(kinds > 40, "{kinds}");
}

#[test]
fn no_authorization_header_shows_more_than_it_says() {
    let kinds = drive("authorization", 20_000);
    assert!(kinds >= 2, "{kinds}");
}

#[test]
fn no_pattern_matches_more_than_it_is_defined_to() {
    let kinds = drive("pattern", 20_000);
    assert!(kinds > 10, "{kinds}");
}

#[test]
fn no_policy_decides_otherwise_than_it_explains() {
    let kinds = drive("policy", 4_000);
    assert!(kinds > 20, "{kinds}");
}

#[test]
fn no_forwarded_certificate_is_read_in_two_ways() {
    let kinds = drive("xfcc", 20_000);
    assert!(kinds > 20, "{kinds}");
}

#[test]
fn no_certificate_is_called_by_anothers_name() {
    let kinds = drive("certificate", 20_000);
    assert!(kinds > 5, "{kinds}");
}

#[test]
fn no_manifest_leads_to_what_another_reader_does_not_find_in_it() {
    let kinds = drive("manifest", 12_000);
    assert!(kinds > 8, "{kinds}");
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[test]
fn no_list_says_otherwise_than_another_reader_finds_in_it() {
    let kinds = drive("crl", 12_000);
    assert!(kinds > 12, "{kinds}");
}
