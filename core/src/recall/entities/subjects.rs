//! What a text is about.

use super::{
    Entity, Kind,
    tokens::{Shape, Token},
    words::{self, among},
};

/// Tokens in parentheses after a heading, at most.
const MAX_ASIDE: usize = 8;
/// Words after a comma that go on about what is before it: `Bach, the composer`.
const ASIDES: &[&str] = &["a", "also", "an", "born", "formerly", "known", "or", "originally", "the", "which", "who"];
/// Verbs and their like that a subject stands before, besides those that end like one.
const VERBS: &[&str] = &["also", "may", "often", "originally", "refers", "will"];

/// The normal names of what a text is about: what its heading names, and what its first sentence begins with. `heading`
/// is the token after the heading. A first sentence that is nothing but a name is a heading, too.
pub(super) fn subjects_of(text: &str, tokens: &[Token], entities: &[Entity], heading: usize) -> Vec<String> {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text(text));
    let mut subjects = Vec::new();
    if heading > 0
        && let (Some(entity), Some(token)) = (entities.first(), tokens.first())
        && entity.start == token.start
    {
        subjects.push(entity.name.clone());
    }
    let mut from = heading;
    for _ in 0..2 {
        let body = tokens.get(from).map_or(usize::MAX, |token| token.start);
        let Some(entity) = entities.iter().find(|entity| entity.start >= body) else { break };
        let Some(next) = after(text, tokens, entity, from) else { break };
        let ends = match word(next) {
            "." => Some(next + 1),
            // `Transition (novel).`
            "(" => (next + 1..next + MAX_ASIDE).find(|at| word(*at) == ")" && word(*at + 1) == ".").map(|at| at + 2),
            // `Young, New South Wales.`
            "," => {
                let end = (next + 1..next + MAX_ASIDE).find(|at| !tokens.get(*at).is_some_and(Token::is_name));
                end.filter(|at| *at > next + 1 && word(*at) == ".").map(|at| at + 1)
            }
            _ => None,
        };
        if (ends.is_some() || goes_on(text, tokens, next)) && !subjects.contains(&entity.name) {
            subjects.push(entity.name.clone());
        }
        match ends {
            Some(end) if heading == 0 && from == 0 => from = end,
            _ => break,
        }
    }
    subjects
}

/// The token after `entity` and the quote around it, when the sentence that begins at token `from` begins with it.
fn after(text: &str, tokens: &[Token], entity: &Entity, from: usize) -> Option<usize> {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text(text));
    let is_quote = |at: usize| matches!(word(at), "\"" | "“" | "”" | "``" | "''" | "«" | "»" | "„");
    if matches!(entity.kind, Kind::Date | Kind::Number | Kind::Url | Kind::Email) {
        return None;
    }
    let mut at = from;
    while is_quote(at) || matches!(word(at), "The" | "A" | "An") {
        at += 1;
    }
    if tokens.get(at)?.start != entity.start {
        return None;
    }
    let mut next = tokens.partition_point(|token| token.start < entity.end);
    while is_quote(next) {
        next += 1;
    }
    Some(next)
}

/// Whether a sentence goes on at token `next` as after its subject.
fn goes_on(text: &str, tokens: &[Token], next: usize) -> bool {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text(text));
    match word(next) {
        "(" => true,
        "," => among(ASIDES, word(next + 1)),
        verb => {
            let small = tokens.get(next).is_some_and(|token| token.shape == Shape::Lower);
            small && (words::is_verb(verb) || among(VERBS, verb))
        }
    }
}
