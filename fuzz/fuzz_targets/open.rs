#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| capscache_fuzz::open(data));
