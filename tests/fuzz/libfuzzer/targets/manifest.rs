#![no_main]

mod begin;
#[path = "../../targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(
    init: begin::begin("manifest"),
    |input: &[u8]| {
        targets::manifest(input);
    }
);
