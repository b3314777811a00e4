#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| triune::router::fuzzing::mend(data));
