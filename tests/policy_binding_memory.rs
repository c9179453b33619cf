//! How much memory a million bound digests take.
#![cfg(feature = "digest-binding")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::alloc::System;
use std::io::Cursor;

use portcullis::policy::DigestBinding;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const COUNT: usize = 1_000_000;

/// Bytes that are held now and were not when `region` began.
fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}

/// The only test of its program: what others allocate would be counted.
#[test]
fn a_million_digests_take_at_most_64_bytes_each() {
    let digest = |number: usize| format!("sha256:{number:064x}");
    let region = Region::new(ALLOCATOR);
    let binding = DigestBinding::new(COUNT);
    let empty = held(&region);
    for number in 0..COUNT {
        binding.bind(Some("docker.io"), "library/x", &digest(number));
    }
    let full = held(&region);
    assert!(empty <= 64 * COUNT, "{empty} bytes when empty");
    assert!(full <= 64 * COUNT, "{full} bytes when full");
    assert!(full >= 16 * COUNT, "{full} bytes cannot be all");
    let known = (0..COUNT)
        .filter(|number| binding.leads_to(Some("docker.io"), "library/x", &digest(*number)))
        .count();
    assert!(known > COUNT - COUNT / 10_000, "{known}");

    let mut file = Vec::with_capacity(64 * COUNT);
    let before = Region::new(ALLOCATOR);
    binding.write_to(&mut file).unwrap();
    binding.read_from(Cursor::new(&file)).unwrap();
    let most = before.change().bytes_allocated;
    assert!(most < 64 * 1024, "{most} bytes to write and read it");
    assert!(file.len() <= 16 * COUNT + 53);
}
