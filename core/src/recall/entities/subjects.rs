//! What a text is about.

use super::{
    Entity, Kind,
    tokens::{Shape, Token},
    words::{self, among},
};

/// Words after a comma that go on about what is before it: `Bach, the composer`.
const ASIDES: &[&str] = &["a", "also", "an", "born", "formerly", "known", "or", "originally", "the", "which", "who"];
/// Verbs and their like that a subject stands before, besides those that end like one.
const VERBS: &[&str] = &["also", "may", "often", "originally", "refers", "will"];

/// The normal names of what a text is about: what its heading names, and what its first sentence begins with. `heading`
/// is the token after the heading.
pub(super) fn subjects_of(text: &str, tokens: &[Token], entities: &[Entity], heading: usize) -> Vec<String> {
    let mut subjects = Vec::new();
    if heading > 0
        && let (Some(entity), Some(token)) = (entities.first(), tokens.first())
        && entity.start == token.start
    {
        subjects.push(entity.name.clone());
    }
    let body = tokens.get(heading).map_or(usize::MAX, |token| token.start);
    let first = entities.iter().find(|entity| entity.start >= body);
    if let Some(entity) =
        first.filter(|entity| begins(text, tokens, entity, heading) && !subjects.contains(&entity.name))
    {
        subjects.push(entity.name.clone());
    }
    subjects
}

/// Whether the sentence that begins at token `from` is about `entity`, its first.
fn begins(text: &str, tokens: &[Token], entity: &Entity, from: usize) -> bool {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text(text));
    let is_quote = |at: usize| matches!(word(at), "\"" | "“" | "”" | "``" | "''" | "«" | "»" | "„");
    if matches!(entity.kind, Kind::Date | Kind::Number | Kind::Url | Kind::Email) {
        return false;
    }
    let mut at = from;
    while is_quote(at) || matches!(word(at), "The" | "A" | "An") {
        at += 1;
    }
    if tokens.get(at).is_none_or(|token| token.start != entity.start) {
        return false;
    }
    let mut next = tokens.partition_point(|token| token.start < entity.end);
    while is_quote(next) {
        next += 1;
    }
    match word(next) {
        "(" => true,
        "," => among(ASIDES, word(next + 1)),
        verb => {
            tokens.get(next).is_some_and(|token| token.shape == Shape::Lower)
                && (words::is_verb(verb) || among(VERBS, verb))
        }
    }
}
