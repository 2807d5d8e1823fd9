//! Neighborhoods made of any bytes, the index against brute force.
#![no_main]

#[path = "../checks/index.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::index(bytes));
