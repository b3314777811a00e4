//! What the fuzz target of `tests/fuzz` asks of extraction.
#![allow(missing_docs, clippy::missing_panics_doc, reason = "a fuzz target tells by panicking")]

use super::{normal::MAX_NAME, read};

/// Any text: mentions are where they say they are, in order and apart, and every name is a key.
pub fn entities(text: &str) {
    let speaker = text.split_whitespace().next();
    let reading = read(text, speaker);
    let mut end = 0;
    for entity in &reading.entities {
        assert!(entity.start >= end && entity.start < entity.end, "in order and apart");
        assert!(text.get(entity.start..entity.end).is_some(), "whole characters");
        assert!(!entity.name.is_empty() && entity.name.len() <= MAX_NAME && !entity.name.contains('\0'));
        end = entity.end;
    }
    for relation in &reading.relations {
        for name in [&relation.subject, &relation.object] {
            assert!(!name.is_empty() && name.len() <= MAX_NAME && !name.contains('\0'));
        }
    }
    assert!(reading.subjects.iter().all(|name| reading.entities.iter().any(|entity| entity.name == *name)));
    assert_eq!(reading, read(text, speaker), "the same each time");
}
