#![no_main]

mod begin;
#[path = "../../targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(
    init: begin::begin("crl"),
    |input: &[u8]| {
        targets::crl(input);
    }
);
