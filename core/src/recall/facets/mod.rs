//! Which items have which facts: an index of metadata, and of what the engine itself knows of items, as sets of items.
//!
//! A fact becomes [`terms`], bytes in the order of the values; a term has a set of items. Few items of a term stand in
//! [`pairs`], sorted blocks of (term, item); where many of a term are near each other they move into [`bits`], sets of
//! 8,192 items. So a value that every item shares costs a bit an item, one that no other item has a few bytes, and a range
//! is a walk over neighbours, whatever the values are. The items of a term are those of both together.

mod bits;
mod change;
mod evaluate;
mod gather;
mod pairs;
mod terms;

pub(super) use change::Facets;
pub(super) use evaluate::Index;

/// What the engine itself knows of items: names that stand apart from those of metadata.
pub(super) mod system {
    /// The session of an item, a text.
    pub(in crate::recall) const SESSION: &str = "session";
    /// Who said it, a text.
    pub(in crate::recall) const SPEAKER: &str = "speaker";
    /// From when on it is true, in milliseconds since the Unix epoch.
    pub(in crate::recall) const VALID_FROM: &str = "valid_from";
    /// From when on it is true no more, in milliseconds since the Unix epoch.
    pub(in crate::recall) const VALID_TO: &str = "valid_to";
    /// When it was stored, in milliseconds since the Unix epoch.
    pub(in crate::recall) const STORED: &str = "stored";
    /// When it expires, in milliseconds since the Unix epoch.
    pub(in crate::recall) const EXPIRES: &str = "expires";
    /// When another one superseded it, in milliseconds since the Unix epoch.
    pub(in crate::recall) const SUPERSEDED: &str = "superseded";
}

use crate::error::{Error, ErrorKind};

fn malformed() -> Error {
    Error::new(ErrorKind::Corrupt, "a row of the index of metadata is malformed; run `triune check`")
        .with("table", "facets")
}

#[cfg(test)]
mod tests;
