#![no_main]

mod begin;
#[path = "../../targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(
    init: begin::begin("certificate"),
    |input: &[u8]| {
        targets::certificate(input);
    }
);
