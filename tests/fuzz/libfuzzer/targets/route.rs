#![no_main]

mod begin;
#[path = "../../targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(
    init: begin::begin("route"),
    |input: &[u8]| {
        targets::route(input);
    }
);
