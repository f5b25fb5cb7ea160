#![no_main]
#[path = "../src/guest.rs"]
mod guest;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    guest::json(data);
});
