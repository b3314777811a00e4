//! Mentions by a part of a name, to the whole name.

use std::collections::HashMap;

use super::{
    Entity, Kind,
    normal::{TITLES, normal},
};

/// Names in parentheses after the longer ones they stand for, at most.
const MAX_SHORTS: usize = 100;

/// Gives mentions by a part of a name the whole name, where it can be only one: a first or a last name, and initials in
/// parentheses.
pub(super) fn merge(text: &str, speaker: Option<&str>, found: &mut [Entity]) {
    // Part → whole name; none when there are several.
    let mut wholes: HashMap<String, Option<String>> = HashMap::new();
    let speaker = speaker.map(normal).unwrap_or_default();
    let people = found.iter().filter(|entity| entity.kind == Kind::Person).map(|entity| entity.name.as_str());
    for name in people.chain([speaker.as_str()]) {
        let Some((first, rest)) = name.split_once(' ') else { continue };
        let last = rest.rsplit(' ').next().unwrap_or(rest);
        for part in [first, last] {
            if TITLES.contains(&part) || part.len() < 2 {
                continue;
            }
            let whole = wholes.entry(part.to_owned()).or_insert_with(|| Some(name.to_owned()));
            if whole.as_deref().is_some_and(|whole| whole != name) {
                *whole = None;
            }
        }
    }
    if !wholes.is_empty() {
        for entity in found.iter_mut() {
            let whole = matches!(entity.kind, Kind::Person | Kind::Other) && !entity.name.contains(' ');
            if whole && let Some(Some(name)) = wholes.get(&entity.name) {
                entity.name.clone_from(name);
                entity.kind = Kind::Person;
            }
        }
    }
    short_names(text, found);
}

/// `World Health Organization (WHO)`: the initials are the name from there on.
fn short_names(text: &str, found: &mut [Entity]) {
    let mut shorts: Vec<(String, String, Kind)> = Vec::new();
    for pair in found.windows(2) {
        let [long, short] = pair else { continue };
        if shorts.len() == MAX_SHORTS {
            break;
        }
        if text.get(long.end..short.start).map(str::trim) != Some("(") || !text[short.end..].starts_with(')') {
            continue;
        }
        let initials = |all: bool| -> String {
            let words =
                text[long.start..long.end].split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
            words
                .filter_map(|word| word.chars().next())
                .filter(|c| all || c.is_uppercase())
                .flat_map(char::to_uppercase)
                .collect()
        };
        let letters: String = text[short.start..short.end].chars().filter(|c| c.is_alphanumeric()).collect();
        if letters.len() >= 2 && (letters == initials(false) || letters.to_uppercase() == initials(true)) {
            shorts.push((short.name.clone(), long.name.clone(), long.kind));
        }
    }
    if shorts.is_empty() {
        return;
    }
    for entity in found {
        if let Some((_, long, kind)) = shorts.iter().find(|(short, ..)| *short == entity.name) {
            entity.name.clone_from(long);
            entity.kind = *kind;
        }
    }
}
