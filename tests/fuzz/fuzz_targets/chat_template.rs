#![no_main]

libfuzzer_sys::fuzz_target!(|data: &str| triune::model::local::fuzzing::chat_template(data));
