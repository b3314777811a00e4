#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| triune::model::local::fuzzing::tokenizer(data));
