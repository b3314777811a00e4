#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| triune::recall::fuzzing::entities(data));
