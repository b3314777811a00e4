//! The words that state a relation.

use std::{collections::HashMap, sync::LazyLock};

/// What may be the object of a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Object {
    /// An entity that is no date.
    Named,
    /// A date.
    Dated,
    /// An entity, or else the words that follow.
    Any,
}

/// Which end of a relation comes first in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Its subject: `Ada lives in London`.
    Forth,
    /// Its object: `Jaws was directed by Steven Spielberg`.
    Back,
}

/// Words that state a relation of one kind.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) kind: &'static str,
    pub(super) object: Object,
    pub(super) order: Order,
    phrases: &'static [&'static str],
}

const fn named(kind: &'static str, phrases: &'static [&'static str]) -> Pattern {
    Pattern { kind, object: Object::Named, order: Order::Forth, phrases }
}

const fn dated(kind: &'static str, phrases: &'static [&'static str]) -> Pattern {
    Pattern { kind, object: Object::Dated, order: Order::Forth, phrases }
}

const fn any(kind: &'static str, phrases: &'static [&'static str]) -> Pattern {
    Pattern { kind, object: Object::Any, order: Order::Forth, phrases }
}

const fn back(kind: &'static str, phrases: &'static [&'static str]) -> Pattern {
    Pattern { kind, object: Object::Named, order: Order::Back, phrases }
}

#[rustfmt::skip]
const PATTERNS: &[Pattern] = &[
    named("lives_in", &[
        "live in", "lives in", "lived in", "living in", "resides in", "resided in", "settled in", "grew up in",
    ]),
    named("moved_to", &["move to", "moved to", "moving to", "moves to", "relocated to", "emigrated to"]),
    named("moved_from", &["moved from", "relocated from", "emigrated from", "moving from"]),
    named("works_at", &[
        "work at", "works at", "worked at", "working at", "work for", "works for", "worked for", "working for",
        "employed by", "employed at", "job at", "intern at", "interning at",
    ]),
    any("works_as", &["works as", "worked as", "work as", "working as", "job as"]),
    named("married_to", &["married", "married to", "marrying", "wife of", "husband of", "engaged to"]),
    named("born_in", &["born in", "born at", "raised in"]),
    dated("born_on", &["born in", "born on", "born"]),
    named("died_in", &["died in", "died at", "buried in"]),
    dated("died_on", &["died in", "died on"]),
    any("likes", &[
        "likes", "like", "love", "loves", "loved", "enjoy", "enjoys", "enjoyed", "fond of", "fan of", "fans of",
        "adore", "adores",
    ]),
    any("prefers", &["prefer", "prefers", "preferred"]),
    any("dislikes", &["hate", "hates", "hated", "dislike", "dislikes", "disliked"]),
    any("allergic_to", &["allergic to"]),
    any("afraid_of", &["afraid of", "scared of"]),
    any("interested_in", &["interested in", "passionate about"]),
    any("owns", &["own", "owns", "owned", "adopted"]),
    any("bought", &["bought", "purchased", "ordered"]),
    named("acquired", &["acquired"]),
    back("acquired", &["acquired by"]),
    back("owns", &["owned by"]),
    named("founded", &["founded", "co-founded", "cofounded", "established"]),
    back("founded", &["founded by", "established by", "co-founded by"]),
    dated("founded_on", &["founded in", "founded on", "established in", "formed in"]),
    back("directed", &["directed by"]),
    named("directed", &["directed"]),
    back("wrote", &["written by", "authored by"]),
    named("wrote", &["wrote", "authored"]),
    back("produced", &["produced by", "manufactured by"]),
    named("produced", &["produced"]),
    back("published", &["published by", "released by"]),
    dated("released_on", &["released in", "released on", "published in", "published on"]),
    back("performed", &["performed by", "sung by", "recorded by"]),
    back("composed", &["composed by"]),
    named("composed", &["composed"]),
    back("created", &["created by", "invented by", "developed by", "designed by", "built by"]),
    named("created", &["created", "invented", "developed", "designed"]),
    named("stars", &["starring", "stars"]),
    named("starred_in", &["starred in", "appeared in"]),
    named("member_of", &["member of", "members of", "joined", "belongs to", "belong to", "belonged to"]),
    named("part_of", &["part of", "division of", "subsidiary of", "branch of"]),
    named("located_in", &[
        "located in", "situated in", "lies in", "based in", "headquartered in", "located on", "situated on",
        "district of", "suburb of", "city in", "town in", "village in", "county in", "municipality in", "river in",
        "island in", "neighborhood in",
    ]),
    named("capital_of", &["capital of", "capital city of"]),
    named("child_of", &["daughter of", "son of", "child of"]),
    named("parent_of", &["father of", "mother of", "parent of"]),
    named("sibling_of", &["brother of", "sister of", "sibling of"]),
    named("friend_of", &["friend of", "friends with"]),
    any("plays", &["play", "plays", "played", "playing"]),
    named("plays_for", &["plays for", "played for", "playing for"]),
    any("won", &["won", "wins", "winner of", "awarded"]),
    named("visited", &[
        "visited", "visiting", "visits", "went to", "travelled to", "traveled to", "trip to", "been to", "flew to",
    ]),
    named("studied_at", &[
        "studied at", "attended", "attends", "graduated from", "graduate of", "studies at", "studying at",
        "educated at", "alumnus of",
    ]),
    any("studies", &["studied", "studies", "studying", "majored in", "majoring in", "degree in"]),
    any("speaks", &["speak", "speaks", "fluent in"]),
    any("teaches", &["teaches", "taught"]),
    named("citizen_of", &["citizen of", "native of"]),
    named("preceded_by", &["preceded by", "succeeded"]),
    named("succeeded_by", &["succeeded by", "replaced by", "followed by"]),
    named("named_after", &["named after", "named for"]),
    any("known_as", &["known as", "called", "nicknamed", "renamed"]),
    named("leads", &[
        "president of", "ceo of", "head of", "leader of", "chairman of", "mayor of", "governor of", "king of",
        "queen of", "director of", "captain of", "coach of", "led",
    ]),
    named("borders", &["borders", "bordered by", "borders with"]),
    any("wants", &["want to", "wants to", "plans to", "plan to", "planning to", "hopes to"]),
    any("is_a", &[
        "is a", "is an", "was a", "was an", "am a", "am an", "i'm a", "i'm an", "became a", "became an", "is the",
        "was the", "became the",
    ]),
];

/// First word → the whole phrases that begin with it, the longest first, and what they state.
static BY_FIRST_WORD: LazyLock<HashMap<&str, Vec<(&str, &Pattern)>>> = LazyLock::new(|| {
    let mut by_first: HashMap<&str, Vec<(&str, &Pattern)>> = HashMap::new();
    for pattern in PATTERNS {
        for phrase in pattern.phrases {
            let first = phrase.split_once(' ').map_or(*phrase, |(first, _)| first);
            by_first.entry(first).or_default().push((phrase, pattern));
        }
    }
    for phrases in by_first.values_mut() {
        phrases.sort_by_key(|(phrase, _)| std::cmp::Reverse(phrase.split(' ').count()));
    }
    by_first
});

/// The phrases that begin with `word`, the longest first, and what they state.
pub(super) fn beginning_with(word: &str) -> &'static [(&'static str, &'static Pattern)] {
    BY_FIRST_WORD.get(word).map_or(&[], Vec::as_slice)
}

/// Who is who: a word after `my` or a possessive, and the relation of the owner to who is named next.
#[rustfmt::skip]
const KIN: &[(&str, &str)] = &[
    ("aunt", "niece_or_nephew_of"), ("boss", "works_for"), ("boyfriend", "partner_of"), ("brother", "sibling_of"),
    ("cat", "has_pet"), ("colleague", "works_with"), ("cousin", "cousin_of"), ("coworker", "works_with"),
    ("dad", "child_of"), ("daughter", "parent_of"), ("dog", "has_pet"), ("father", "child_of"),
    ("fiance", "partner_of"), ("fiancee", "partner_of"), ("friend", "friend_of"), ("girlfriend", "partner_of"),
    ("grandfather", "grandchild_of"), ("grandma", "grandchild_of"), ("grandmother", "grandchild_of"),
    ("grandpa", "grandchild_of"), ("husband", "married_to"), ("mom", "child_of"), ("mother", "child_of"),
    ("mum", "child_of"), ("neighbor", "neighbour_of"), ("neighbour", "neighbour_of"), ("partner", "partner_of"),
    ("puppy", "has_pet"), ("sister", "sibling_of"), ("son", "parent_of"), ("uncle", "niece_or_nephew_of"),
    ("wife", "married_to"),
];

/// The relation of somebody to who is named as their `word`.
pub(super) fn kin(word: &str) -> Option<&'static str> {
    KIN.binary_search_by(|(known, _)| (*known).cmp(word)).ok().map(|at| KIN[at].1)
}
