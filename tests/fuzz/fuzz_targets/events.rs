#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| triune::model::cloud::fuzzing::events(data));
