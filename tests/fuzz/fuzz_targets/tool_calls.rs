#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| triune::model::local::fuzzing::tool_calls(data));
