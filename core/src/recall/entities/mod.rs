//! Entities and relations of a text by rules: no model, no network, some microseconds.

mod dates;
mod extract;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
pub(super) mod measure;
mod merge;
mod normal;
mod patterns;
mod relations;
mod seen;
mod subjects;
#[cfg(test)]
mod tests;
mod tokens;
mod words;

pub(super) use normal::normal;
pub(super) use relations::Triple;

use tokens::cut;

/// What rules find in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Mentions of entities, in their order.
    pub(super) entities: Vec<Entity>,
    /// Relations between them, in their order.
    pub(super) relations: Vec<Triple>,
    /// Normal names of what the text is about: its heading, and the subject of the first sentence.
    pub(super) subjects: Vec<String>,
}

/// Reads `text` once for its entities and what it says of them. `speaker` is who says `I`: a mention of the first name
/// alone is of the speaker, unless somebody else in the text bears it.
pub(super) fn read(text: &str, speaker: Option<&str>) -> Reading {
    let tokens = cut(text);
    let (entities, heading) = extract::entities_of(text, &tokens, speaker);
    let relations = relations::relations_of(text, &tokens, &entities, speaker);
    let subjects = subjects::subjects_of(text, &tokens, &entities, heading);
    Reading { entities, relations, subjects }
}

/// The mentions of entities in `text`, in their order.
pub(super) fn extract(text: &str, speaker: Option<&str>) -> Vec<Entity> {
    extract::entities_of(text, &cut(text), speaker).0
}

/// What sort of thing an entity is, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Somebody.
    Person,
    /// A country, a city, a street, a river.
    Place,
    /// A company, a band, a party, an office.
    Organisation,
    /// A book, a film, a song: what stands in quotes or before `(film)`.
    Title,
    /// A day, a month, a year or some of them.
    Date,
    /// A number with its unit.
    Number,
    /// `ada@example.org`.
    Email,
    /// `https://example.org`.
    Url,
    /// `#rust`.
    Hashtag,
    /// `@ada`.
    Handle,
    /// Something with a name.
    Other,
}

impl Kind {
    /// The name it is stored under.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Place => "place",
            Self::Organisation => "organisation",
            Self::Title => "title",
            Self::Date => "date",
            Self::Number => "number",
            Self::Email => "email",
            Self::Url => "url",
            Self::Hashtag => "hashtag",
            Self::Handle => "handle",
            Self::Other => "other",
        }
    }
}

/// A mention of an entity in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entity {
    /// What it is.
    pub(super) kind: Kind,
    /// The name that is the same for all its mentions; not empty, 96 bytes at most.
    pub(super) name: String,
    /// The first byte of the mention in the text.
    pub(super) start: usize,
    /// The byte after its last one.
    pub(super) end: usize,
}
