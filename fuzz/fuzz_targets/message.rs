#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| capscache_service::fuzzing::received(data));
