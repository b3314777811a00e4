//! Filters on metadata.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A condition on the metadata of an item. In JSON an object with one key: `{"eq": ["user", "ada"]}`,
/// `{"and": [...]}`, `{"not": {...}}`, `{"range": {"key": "year", "min": 2020, "max": 2024}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Filter {
    /// The value of the key is this one; for a list, one of its values is.
    Eq(String, Value),
    /// The value of the key is one of these.
    In(String, Vec<Value>),
    /// The value of the key is a text that begins with this one.
    Prefix(String, String),
    /// The value of the key is a number between `min` and `max`, both included.
    Range {
        /// The key.
        key: String,
        /// At least this.
        #[serde(default)]
        min: Option<f64>,
        /// At most this.
        #[serde(default)]
        max: Option<f64>,
    },
    /// The key is there.
    Exists(String),
    /// All hold.
    And(Vec<Filter>),
    /// One holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
}
