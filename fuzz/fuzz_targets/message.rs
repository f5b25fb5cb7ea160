#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| capscache_cli::fuzzing::received(data));
