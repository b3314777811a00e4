//! What the fuzz targets of `tests/fuzz` ask of the router.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "a fuzz target tells by panicking")]

use serde_json::Value;

use super::structured::Form;

/// An answer that must be JSON, and is mended where it is not: what comes out is JSON, and what was JSON stays as it is.
pub fn mend(text: &str) {
    let parsed = serde_json::from_str::<Value>(text);
    match Form::Object.read(text) {
        Ok(read) => {
            assert!(serde_json::from_str::<Value>(&read).is_ok_and(|value| value.is_object()), "it is an object");
            assert!(!parsed.is_ok_and(|value| value.is_object()) || read == text, "what is sound is not touched");
        }
        Err(fault) => assert!(!fault.is_empty()),
    }
}
