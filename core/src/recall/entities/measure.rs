//! Entities and relations by rules, for the programs in `benches/`.

use std::ops::Range;

/// The mentions of entities in `text`: what it is, its normal name, and its bytes.
#[must_use]
pub fn entities(text: &str, speaker: Option<&str>) -> Vec<(&'static str, String, Range<usize>)> {
    let found = super::extract(text, speaker);
    found.into_iter().map(|entity| (entity.kind.code(), entity.name, entity.start..entity.end)).collect()
}

/// The relations that `text` states: subject, kind, object, and the date of the sentence as in ISO 8601.
#[must_use]
pub fn relations(text: &str, speaker: Option<&str>) -> Vec<(String, &'static str, String, Option<String>)> {
    let found = super::read(text, speaker).relations;
    found.into_iter().map(|one| (one.subject, one.kind, one.object, one.when)).collect()
}
