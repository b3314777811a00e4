//! Filters on metadata.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

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

/// Conditions inside each other at most, so that a filter from outside cannot exhaust the stack.
const MAX_DEPTH: usize = 32;
/// Conditions at most.
const MAX_CONDITIONS: usize = 1_000;

impl Filter {
    /// Whether `metadata` meets the condition. A missing key meets none but `not`.
    pub fn matches(&self, metadata: &Map<String, Value>) -> bool {
        match self {
            Self::Eq(key, wanted) => metadata.get(key).is_some_and(|value| equals(value, wanted)),
            Self::In(key, wanted) => {
                metadata.get(key).is_some_and(|value| wanted.iter().any(|wanted| equals(value, wanted)))
            }
            Self::Prefix(key, prefix) => {
                metadata.get(key).and_then(Value::as_str).is_some_and(|text| text.starts_with(prefix.as_str()))
            }
            Self::Range { key, min, max } => metadata
                .get(key)
                .and_then(Value::as_f64)
                .is_some_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)),
            Self::Exists(key) => metadata.contains_key(key),
            Self::And(all) => all.iter().all(|filter| filter.matches(metadata)),
            Self::Or(any) => any.iter().any(|filter| filter.matches(metadata)),
            Self::Not(filter) => !filter.matches(metadata),
        }
    }

    /// Checks that the condition can be evaluated.
    ///
    /// # Errors
    /// `Invalid` when it is too deep or too large, a range has no end or its ends are crossed.
    pub fn validate(&self) -> Result<()> {
        let mut left = MAX_CONDITIONS;
        self.check(MAX_DEPTH, &mut left)
    }

    fn check(&self, depth: usize, left: &mut usize) -> Result<()> {
        if depth == 0 {
            return Err(Error::invalid(format!("a filter is at most {MAX_DEPTH} conditions deep; flatten it")));
        }
        let conditions = if let Self::In(_, wanted) = self { wanted.len().max(1) } else { 1 };
        *left = left.checked_sub(conditions).ok_or_else(|| {
            Error::invalid(format!("a filter has at most {MAX_CONDITIONS} conditions and values; split the call"))
        })?;
        match self {
            Self::Range { key, min, max } => match (min, max) {
                (None, None) => {
                    Err(Error::invalid("a range needs `min` or `max`; use `exists` for any value").with("key", key))
                }
                (Some(min), Some(max)) if min > max => {
                    Err(Error::invalid("the `min` of a range is above its `max`").with("key", key))
                }
                _ => Ok(()),
            },
            Self::And(filters) | Self::Or(filters) => filters.iter().try_for_each(|f| f.check(depth - 1, left)),
            Self::Not(filter) => filter.check(depth - 1, left),
            Self::Eq(..) | Self::In(..) | Self::Prefix(..) | Self::Exists(_) => Ok(()),
        }
    }
}

/// Whether `value` is `wanted` or, for a list, has it. Numbers are equal by value: 1 is 1.0.
fn equals(value: &Value, wanted: &Value) -> bool {
    let same = |value: &Value| match (value, wanted) {
        (Value::Number(a), Value::Number(b)) => a == b || (a.as_f64() == b.as_f64() && (a.is_f64() || b.is_f64())),
        _ => value == wanted,
    };
    same(value) || matches!(value, Value::Array(values) if values.iter().any(same))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn facts() -> Map<String, Value> {
        let Value::Object(facts) = json!({"user": "ada", "year": 2024, "tags": ["a", "b"], "none": null}) else {
            unreachable!()
        };
        facts
    }

    #[test]
    fn each_condition_does_what_it_says() {
        let cases = [
            (json!({"eq": ["user", "ada"]}), true),
            (json!({"eq": ["user", "bob"]}), false),
            (json!({"eq": ["year", 2024.0]}), true),
            (json!({"eq": ["tags", "b"]}), true),
            (json!({"eq": ["tags", ["a", "b"]]}), true),
            (json!({"eq": ["absent", null]}), false),
            (json!({"eq": ["none", null]}), true),
            (json!({"in": ["year", [2023, 2024]]}), true),
            (json!({"in": ["year", []]}), false),
            (json!({"prefix": ["user", "ad"]}), true),
            (json!({"prefix": ["year", "20"]}), false),
            (json!({"range": {"key": "year", "min": 2024}}), true),
            (json!({"range": {"key": "year", "max": 2023}}), false),
            (json!({"range": {"key": "user", "min": 0}}), false),
            (json!({"exists": "none"}), true),
            (json!({"and": []}), true),
            (json!({"or": []}), false),
            (json!({"not": {"exists": "absent"}}), true),
        ];
        for (filter, expected) in cases {
            let parsed: Filter = serde_json::from_value(filter.clone()).unwrap();
            assert_eq!(parsed.matches(&facts()), expected, "{filter}");
            assert_eq!(serde_json::to_value(&parsed).unwrap()["not"].is_null(), filter["not"].is_null());
        }
    }

    #[test]
    fn what_cannot_be_evaluated_is_refused() {
        let range = |min, max| Filter::Range { key: "k".into(), min, max };
        assert!(range(None, None).validate().is_err());
        assert!(range(Some(2.0), Some(1.0)).validate().is_err());
        assert!(range(Some(1.0), Some(1.0)).validate().is_ok());
        let deep = (0..40).fold(Filter::Exists("k".into()), |inner, _| Filter::Not(Box::new(inner)));
        assert!(deep.validate().is_err());
        assert!(Filter::In("k".into(), vec![Value::Null; 1_001]).validate().is_err());
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![Just(json!("ada")), Just(json!("adam")), (0..3).prop_map(|n| json!(n)), Just(json!(["ada", 1]))]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let leaf = prop_oneof![
            ("[ab]", value()).prop_map(|(key, value)| Filter::Eq(key, value)),
            ("[ab]", "[ad]{0,2}").prop_map(|(key, prefix)| Filter::Prefix(key, prefix)),
            ("[ab]", 0..3).prop_map(|(key, min)| Filter::Range { key, min: Some(f64::from(min)), max: None }),
            "[ab]".prop_map(Filter::Exists),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Filter::Or),
                inner.prop_map(|f| Filter::Not(Box::new(f))),
            ]
        })
    }

    proptest! {
        #[test]
        fn logic_holds(a in filter(), b in filter(), facts in prop::collection::btree_map("[ab]", value(), 0..3)) {
            let facts: Map<String, Value> = facts.into_iter().collect();
            let not = |f: &Filter| Filter::Not(Box::new(f.clone()));
            prop_assert_eq!(not(&not(&a)).matches(&facts), a.matches(&facts));
            let neither = Filter::And(vec![not(&a), not(&b)]);
            let not_or = not(&Filter::Or(vec![a.clone(), b.clone()]));
            prop_assert_eq!(neither.matches(&facts), not_or.matches(&facts));
            let json = serde_json::to_value(&a).unwrap();
            prop_assert_eq!(serde_json::from_value::<Filter>(json).unwrap(), a);
        }
    }
}
