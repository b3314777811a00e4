//! The entities of items as terms of the index: who or what an item mentions, and what it is about.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    associate::{ABOUT, Links, MENTIONED},
    entities::{Kind, Reading, normal},
    namespace::Namespace,
    postings,
    rows::terms_of,
    words,
};
use crate::{error::Result, store::Read};

/// What begins the term of an entity that is mentioned, and of one that an item is about. Words begin with a letter or a
/// digit.
const MENTIONS: char = '\u{1}';
const ABOUT_IT: char = '\u{2}';
/// Words of a question that may name something.
const MAX_ASKED: usize = 64;
/// Words of a name in a question.
const LONGEST: usize = 6;

/// How often each term is in a part of a text, sorted by term, as [`words::Words`] are.
pub(super) type Terms = Vec<(String, u16)>;

/// What a term that is not a word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TermKind {
    /// Which entity is mentioned.
    Mentioned,
    /// Which it is about.
    About,
}

/// What a stored term says when it is not a word.
pub(super) fn kind_of(term: &[u8]) -> Option<TermKind> {
    match char::from(*term.first()?) {
        MENTIONS => Some(TermKind::Mentioned),
        ABOUT_IT => Some(TermKind::About),
        _ => None,
    }
}

/// Whether a term is not a word but an entity.
pub(super) fn is_name(term: &str) -> bool {
    term.starts_with([MENTIONS, ABOUT_IT])
}

/// The terms of the entities in the part `range` of a text. What the text is about stands with its first part.
pub(super) fn terms(reading: &Reading, range: &Range<usize>) -> Terms {
    let mut counts: BTreeMap<String, u16> = BTreeMap::new();
    let within = reading.entities.iter().filter(|entity| range.contains(&entity.start));
    for entity in within.filter(|entity| is_thing(entity.kind)) {
        let count = counts.entry(format!("{MENTIONS}{}", entity.name)).or_default();
        *count = count.saturating_add(1);
    }
    if range.start == 0 {
        for name in &reading.subjects {
            counts.insert(format!("{ABOUT_IT}{name}"), 1);
        }
    }
    counts.into_iter().collect()
}

/// Dates and amounts are no things that something could be about.
fn is_thing(kind: Kind) -> bool {
    !matches!(kind, Kind::Date | Kind::Number)
}

/// The entities that a question names and some item mentions, the longest names first.
pub(super) fn asked(read: &Read<'_>, namespace: &Namespace, question: &str) -> Result<Vec<String>> {
    let plain = words::plain_words(question).join(" ");
    let plain: Vec<&str> = plain.split(' ').take(MAX_ASKED).collect();
    let mut taken = vec![false; plain.len()];
    let mut found = BTreeSet::new();
    for length in (1..=LONGEST.min(plain.len())).rev() {
        for at in 0..=plain.len() - length {
            let part = &plain[at..at + length];
            if taken[at..at + length].contains(&true) || length == 1 && words::says_little(part[0]) {
                continue;
            }
            let name = normal(&part.join(" "));
            if !name.is_empty() && postings::has(read, namespace, &format!("{MENTIONS}{name}"))? {
                taken[at..at + length].fill(true);
                found.insert(name);
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The graph of a namespace, in one snapshot.
pub(super) struct Stored<'a, 't, F> {
    pub(super) read: &'a Read<'t>,
    pub(super) namespace: &'a Namespace,
    /// Whether an item may be found.
    pub(super) admits: F,
}

impl<F: Fn(u32) -> bool> Links for Stored<'_, '_, F> {
    fn mentioned(&mut self, item: u32) -> Result<Vec<String>> {
        let (mut mentioned, mut about) = (Vec::new(), Vec::new());
        for term in of_item(self.read, self.namespace, item)? {
            if let Some(name) = term.strip_prefix(MENTIONS) {
                mentioned.push(name);
            } else if let Some(name) = term.strip_prefix(ABOUT_IT) {
                about.push(name);
            }
        }
        let others = mentioned.into_iter().filter(|name| !about.contains(name));
        Ok(others.take(MENTIONED).map(str::to_owned).collect())
    }

    fn about(&mut self, name: &str) -> Result<Vec<u32>> {
        let term = format!("{ABOUT_IT}{name}");
        let items = postings::some(self.read, self.namespace, &term, ABOUT + 1)?;
        if items.len() > ABOUT {
            return Ok(Vec::new());
        }
        Ok(items.into_iter().filter(|item| (self.admits)(*item)).collect())
    }
}

/// All terms of an item.
pub(super) fn of_item<'t>(read: &Read<'t>, namespace: &Namespace, item: u32) -> Result<Vec<&'t str>> {
    let Some(row) = read.tables.terms.get(read.txn, &namespace.item_key(item))? else { return Ok(Vec::new()) };
    Ok(terms_of(row)?.1.collect())
}
