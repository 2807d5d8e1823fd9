//! Any bytes into the GeoJSON reader.
#![no_main]

#[path = "../checks/reader.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::reader(bytes));
