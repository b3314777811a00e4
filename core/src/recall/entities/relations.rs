//! Relations that a text states in so many words: typed patterns between the entities of a sentence.

use super::{
    Entity, Kind,
    normal::{MAX_NAME, normal},
    patterns::{self, Object, Order},
    tokens::{Shape, Token},
    words::among,
};

/// Relations of a text at most.
const MAX_TRIPLES: usize = 1_000;
/// Tokens between a verb and what it is about, at most.
const REACH: usize = 8;
/// Tokens of a sentence at most; what is longer is read in parts.
const MAX_SENTENCE: usize = 200;
/// Words of an object that is not an entity, at most.
const MAX_PHRASE: usize = 5;

/// A relation that a text states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recall) struct Triple {
    /// Normal name of who or what it is about.
    pub(in crate::recall) subject: String,
    /// What is said of it, in `snake_case`.
    pub(in crate::recall) kind: &'static str,
    /// Normal name, or the words, of the other end.
    pub(in crate::recall) object: String,
    /// The date of the sentence as in ISO 8601, when it has one that is not the object.
    pub(in crate::recall) when: Option<String>,
}

/// Words at which an object that is not an entity ends.
const ENDS: &[&str] = &[
    "about",
    "after",
    "although",
    "and",
    "are",
    "as",
    "at",
    "because",
    "before",
    "but",
    "by",
    "during",
    "every",
    "for",
    "from",
    "if",
    "in",
    "is",
    "last",
    "like",
    "near",
    "next",
    "nor",
    "on",
    "or",
    "over",
    "since",
    "so",
    "than",
    "that",
    "then",
    "these",
    "this",
    "though",
    "through",
    "to",
    "today",
    "together",
    "too",
    "under",
    "until",
    "very",
    "was",
    "were",
    "when",
    "where",
    "which",
    "while",
    "who",
    "with",
    "without",
    "yesterday",
    "yet",
];

/// Words that are left out at the beginning of an object.
const ARTICLES: &[&str] = &["a", "an", "her", "his", "its", "my", "our", "some", "the", "their", "your"];

/// Words after which a name is not what the sentence is about.
const BEFORE_ASIDE: &[&str] = &["at", "by", "for", "from", "in", "of", "on", "to", "with"];

/// The relations between `entities` of `text`, 1,000 at most; `speaker` is who says `I`.
pub(super) fn relations_of(text: &str, tokens: &[Token], entities: &[Entity], speaker: Option<&str>) -> Vec<Triple> {
    let speaker = speaker.map(normal).filter(|name| !name.is_empty());
    let mut found = Vec::new();
    let mut topic: Option<(String, Kind)> = None;
    let (mut from, mut mentions) = (0, entities);
    while from < tokens.len() && found.len() < MAX_TRIPLES {
        let limit = tokens.len().min(from + MAX_SENTENCE);
        let to = (from + 1..limit).find(|at| tokens[*at].first || tokens[*at].line).unwrap_or(limit);
        let end = tokens[to - 1].end;
        let (here, later) = mentions.split_at(mentions.partition_point(|entity| entity.start < end));
        let sentence = Sentence {
            text,
            tokens: &tokens[from..to],
            mentions: here,
            speaker: speaker.as_deref(),
            topic: topic.as_ref(),
        };
        sentence.read(&mut found);
        if let Some(entity) = here.iter().find(|entity| is_named(entity.kind)) {
            topic = Some((entity.name.clone(), entity.kind));
        }
        (from, mentions) = (to, later);
    }
    found.truncate(MAX_TRIPLES);
    found
}

fn is_named(kind: Kind) -> bool {
    !matches!(kind, Kind::Date | Kind::Number | Kind::Url | Kind::Email)
}

struct Sentence<'t> {
    text: &'t str,
    tokens: &'t [Token],
    mentions: &'t [Entity],
    speaker: Option<&'t str>,
    /// What the sentences before were about.
    topic: Option<&'t (String, Kind)>,
}

impl<'t> Sentence<'t> {
    fn word(&self, at: usize) -> &'t str {
        self.tokens.get(at).map_or("", |token| token.text(self.text))
    }

    fn read(&self, found: &mut Vec<Triple>) {
        let mut at = 0;
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            let word = self.word(at);
            let small = token.shape == Shape::Lower || is_me(word);
            let next = if small { self.pattern(at, word, found).or_else(|| self.kin(at, word, found)) } else { None };
            at = next.unwrap_or(at + 1);
        }
    }

    /// Adds what the longest pattern at `at` says; gives the token after its words.
    fn pattern(&self, at: usize, word: &str, found: &mut Vec<Triple>) -> Option<usize> {
        let word = if word.starts_with('I') { "i'm" } else { word };
        for (phrase, pattern) in patterns::beginning_with(word) {
            let Some(taken) = self.fits(at, phrase) else { continue };
            if self.is_denied(at) || !self.is_meant(at, phrase) {
                return None;
            }
            let Some(subject) = self.subject(at) else { continue };
            let Some((object, place)) = self.object(at + taken, pattern.object) else { continue };
            if subject == object {
                continue;
            }
            let when = self.mentions.iter().enumerate().find(|(i, m)| m.kind == Kind::Date && Some(*i) != place);
            let when = when.map(|(_, mention)| mention.name.clone());
            let (subject, object) = if pattern.order == Order::Back { (object, subject) } else { (subject, object) };
            found.push(Triple { subject, kind: pattern.kind, object, when });
            return Some(at + taken);
        }
        None
    }

    /// The tokens that `phrase`, the first word of which stands at `at`, takes when all of it does.
    fn fits(&self, at: usize, phrase: &str) -> Option<usize> {
        let mut taken = 1;
        for word in phrase.split(' ').skip(1) {
            if self.word(at + taken) != word {
                return None;
            }
            taken += 1;
        }
        Some(taken)
    }

    /// Whether a word just before says that it is not so.
    fn is_denied(&self, at: usize) -> bool {
        let before = (at.saturating_sub(2)..at).map(|before| self.word(before));
        before
            .into_iter()
            .any(|word| matches!(word, "not" | "never" | "no") || word.ends_with("n't") || word.ends_with("n’t"))
    }

    /// `like` and `own` are verbs after a subject only; `would like` is a wish.
    fn is_meant(&self, at: usize, phrase: &str) -> bool {
        if !matches!(phrase, "like" | "love" | "own" | "play" | "enjoy" | "prefer" | "hate" | "speak" | "need" | "want")
        {
            return true;
        }
        let before = at.checked_sub(1).map_or("", |before| self.word(before));
        is_me(before)
            || matches!(before, "really" | "also" | "still" | "always" | "we" | "We" | "they" | "They" | "and")
    }

    /// Who or what is spoken of before `at`.
    fn subject(&self, at: usize) -> Option<String> {
        if is_me(self.word(at)) {
            return self.speaker.map(str::to_owned);
        }
        let mut limit = at;
        // `Hall, the first president, wrote`: what stands between two commas is an aside.
        if at > 1
            && self.word(at - 1) == ","
            && let Some(comma) = (1..at - 1).rev().find(|at| self.word(*at) == ",")
        {
            limit = comma;
        }
        let start = self.tokens.get(limit).map_or(usize::MAX, |token| token.start);
        let before = self.mentions.partition_point(|mention| mention.end <= start);
        let mut nearest = None;
        for mention in self.mentions[..before].iter().rev().filter(|mention| is_named(mention.kind)) {
            let place = self.place(mention.start);
            let aside = place.checked_sub(1).is_some_and(|before| BEFORE_ASIDE.contains(&self.word(before)))
                || place
                    .checked_sub(2)
                    .is_some_and(|before| self.word(place - 1) == "the" && BEFORE_ASIDE.contains(&self.word(before)));
            if !aside {
                nearest = Some((place, mention));
                break;
            }
        }
        let pronoun = (0..limit).rev().find(|at| is_pronoun(self.word(*at)));
        match (nearest, pronoun) {
            (Some((place, mention)), pronoun) if pronoun.is_none_or(|at| place > at) => Some(mention.name.clone()),
            (_, Some(pronoun)) => self.meant_by(self.word(pronoun)),
            _ => None,
        }
    }

    /// Who or what a pronoun stands for.
    fn meant_by(&self, pronoun: &str) -> Option<String> {
        if is_me(pronoun) {
            return self.speaker.map(str::to_owned);
        }
        let (name, kind) = self.topic?;
        let person = matches!(pronoun, "he" | "He" | "she" | "She");
        let fits = if person { matches!(kind, Kind::Person | Kind::Other) } else { *kind != Kind::Person };
        fits.then(|| name.clone())
    }

    /// The token that begins at byte `start` or after it.
    fn place(&self, start: usize) -> usize {
        self.tokens.partition_point(|token| token.start < start)
    }

    /// What is said at `at`, and which mention it is.
    fn object(&self, at: usize, wanted: Object) -> Option<(String, Option<usize>)> {
        let start = self.tokens.get(at)?.start;
        let first = self.mentions.partition_point(|mention| mention.start < start);
        let clause = (at..self.tokens.len()).find(|at| matches!(self.word(*at), ";" | "(" | "." | "!" | "?"));
        let clause = clause.unwrap_or(self.tokens.len()).min(at + REACH);
        let reach = if wanted == Object::Any { clause.min(at + 2) } else { clause };
        for (index, mention) in self.mentions.iter().enumerate().skip(first) {
            let place = self.place(mention.start);
            if place >= reach || wanted == Object::Any && (at..place).any(|at| !ARTICLES.contains(&self.word(at))) {
                break;
            }
            let comma = (at..place).any(|at| self.word(at) == ",");
            let fits = match wanted {
                Object::Dated => mention.kind == Kind::Date && (!comma || place < at + 4),
                _ => is_named(mention.kind) && !comma,
            };
            if fits {
                return Some((mention.name.clone(), Some(index)));
            }
        }
        if wanted == Object::Any { self.phrase(at).map(|phrase| (phrase, None)) } else { None }
    }

    /// The words at `at` up to where something else begins.
    fn phrase(&self, at: usize) -> Option<String> {
        let first = (at..self.tokens.len()).find(|at| !ARTICLES.contains(&self.word(*at)))?;
        let mut end = first;
        while end < first + MAX_PHRASE
            && self.tokens.get(end).is_some_and(|token| token.is_word() || token.shape == Shape::Number)
        {
            if among(ENDS, self.word(end)) || is_pronoun(self.word(end)) {
                break;
            }
            end += 1;
        }
        let last = end.checked_sub(1).filter(|last| *last >= first)?;
        let words = self.text.get(self.tokens[first].start..self.tokens[last].end)?;
        let phrase = normal(words);
        (phrase.len() > 1 && phrase.len() <= MAX_NAME).then_some(phrase)
    }

    /// `my sister Anna`, `Tom's wife, Anna`, `my dog is called Rex`.
    fn kin(&self, at: usize, word: &str, found: &mut Vec<Triple>) -> Option<usize> {
        let kind = patterns::kin(word)?;
        let before = at.checked_sub(1)?;
        let owner = match self.word(before) {
            "my" | "My" => self.speaker?.to_owned(),
            _ if self.tokens[before].owner => {
                let end = self.tokens[before].end;
                self.mentions.iter().find(|mention| mention.end == end)?.name.clone()
            }
            "his" | "her" | "His" | "Her" => {
                self.topic.filter(|(_, kind)| matches!(kind, Kind::Person | Kind::Other))?.0.clone()
            }
            _ => return None,
        };
        let mut next = at + 1;
        while next < at + 4 && matches!(self.word(next), "," | "is" | "was" | "named" | "called" | "name") {
            next += 1;
        }
        let start = self.tokens.get(next)?.start;
        let named = self.mentions.iter().find(|mention| mention.start == start)?;
        if !matches!(named.kind, Kind::Person | Kind::Other) || named.name == owner {
            return None;
        }
        found.push(Triple { subject: owner, kind, object: named.name.clone(), when: None });
        Some(next)
    }
}

fn is_me(word: &str) -> bool {
    matches!(word, "I" | "I'm" | "I've" | "I’m" | "I’ve")
}

fn is_pronoun(word: &str) -> bool {
    is_me(word) || matches!(word, "he" | "He" | "she" | "She" | "it" | "It")
}
