//! How facts become terms. The terms of a key lie together in the order of its values, and no term is the beginning of
//! another.

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

/// Bytes of a key that stand in its terms; a longer one stands there as a hash.
const NAME: usize = 100;
/// Bytes of a text that stand in its term; the rest is in a hash.
const CUT: usize = 200;
/// Members of a list that have terms of their own. Items with a longer list are few, and are looked at one by one.
const MEMBERS: usize = 1_000;

/// The first byte of terms that begin with no length of a key: above [`NAME`].
const HASHED: u8 = 253;
const SYSTEM: u8 = 254;
const ALL: u8 = 252;

/// What a term says of the value.
mod kind {
    pub(super) const EXISTS: u8 = 0;
    pub(super) const NULL: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const TRUE: u8 = 3;
    pub(super) const NUMBER: u8 = 4;
    pub(super) const TEXT: u8 = 5;
    pub(super) const LIST: u8 = 6;
    pub(super) const OBJECT: u8 = 7;
    pub(super) const LONG_LIST: u8 = 8;
    /// Added for a member of a list.
    pub(super) const MEMBER: u8 = 0x80;
}

/// What follows a number: nothing, or the integer itself where an f64 cannot tell it from its neighbours.
const ROUND: u8 = 0;
const EXACT: u8 = 1;
/// What follows a text: nothing, or a hash of the whole text.
const WHOLE: [u8; 2] = [0, 0];
const REST: [u8; 2] = [0, 1];

/// The term that every item has.
pub(super) const EVERY: &[u8] = &[ALL];

/// Whose facts are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Metadata,
    System,
}

/// Terms from the first on that are before the second.
pub(super) type Span = (Vec<u8>, Vec<u8>);

/// The beginning of the terms of a key.
#[derive(Clone, Debug)]
pub(super) struct Field(Vec<u8>);

impl Field {
    pub(super) fn new(scope: Scope, name: &str) -> Self {
        let mut bytes = Vec::with_capacity(NAME + CUT);
        if scope == Scope::System {
            bytes.push(SYSTEM);
        }
        if name.len() <= NAME {
            bytes.push(name.len() as u8);
            bytes.extend(name.as_bytes());
        } else {
            bytes.push(HASHED);
            bytes.extend(Sha256::digest(name.as_bytes()));
        }
        Self(bytes)
    }

    fn with(&self, kind: u8) -> Vec<u8> {
        [&self.0[..], &[kind]].concat()
    }

    /// The term of all items that have the key.
    pub(super) fn exists(&self) -> Vec<u8> {
        self.with(kind::EXISTS)
    }

    /// The term of items whose list is too long for terms of its members.
    pub(super) fn long_list(&self) -> Vec<u8> {
        self.with(kind::LONG_LIST)
    }

    /// The terms of items whose value equals `wanted` or has it as a member.
    pub(super) fn equal(&self, wanted: &Value) -> Vec<Span> {
        let mut spans = Vec::new();
        for member in [0, kind::MEMBER] {
            let mut term = self.0.clone();
            put_value(&mut term, member, wanted);
            if let Value::Number(number) = wanted {
                let round = [&self.0[..], &[kind::NUMBER | member], &ordered(number).to_be_bytes()[..]].concat();
                if number.is_f64() {
                    // It equals every integer that rounds to it, too.
                    spans.push(beginning_with(round));
                    continue;
                }
                let round = [&round[..], &[ROUND]].concat();
                if round != term {
                    spans.push(beginning_with(round));
                }
            }
            spans.push(beginning_with(term));
        }
        spans
    }

    /// The terms of numbers from `min` to `max`, both included.
    pub(super) fn between(&self, min: Option<f64>, max: Option<f64>) -> Option<Span> {
        if min.is_some_and(f64::is_nan) || max.is_some_and(f64::is_nan) {
            return None;
        }
        let bound = |number: u64| [&self.with(kind::NUMBER)[..], &number.to_be_bytes()].concat();
        let first = bound(min.map_or(0, ordered_f64));
        let end = match max.map(|max| ordered_f64(max).checked_add(1)) {
            Some(Some(end)) => bound(end),
            _ => self.with(kind::NUMBER + 1),
        };
        (first < end).then_some((first, end))
    }

    /// The terms of texts that begin with `prefix`, and whether each such item has to be looked at.
    pub(super) fn begins(&self, prefix: &str) -> (Span, bool) {
        let plain = plain(prefix);
        let mut term = [&self.with(kind::TEXT)[..], plain].concat();
        let cut = plain.len() < prefix.len();
        if cut {
            term.extend(REST);
        }
        (beginning_with(term), cut)
    }
}

/// All terms that begin with `first`.
pub(super) fn beginning_with(first: Vec<u8>) -> Span {
    let mut end = first.clone();
    // The bytes of a term that is asked for never are all 255.
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    (first, end)
}

/// Gives every term of an item to `each`.
pub(super) fn of_item(metadata: &Map<String, Value>, system: &[(&str, Value)], mut each: impl FnMut(&[u8])) {
    each(EVERY);
    for (name, value) in metadata {
        let field = Field::new(Scope::Metadata, name);
        each(&field.exists());
        of_value(field, value, &mut each);
    }
    for (name, value) in system {
        of_value(Field::new(Scope::System, name), value, &mut each);
    }
}

fn of_value(Field(mut term): Field, value: &Value, each: &mut impl FnMut(&[u8])) {
    let begin = term.len();
    put_value(&mut term, 0, value);
    each(&term);
    let Value::Array(members) = value else { return };
    if members.len() > MEMBERS {
        term.truncate(begin);
        term.push(kind::LONG_LIST);
        return each(&term);
    }
    for member in members {
        term.truncate(begin);
        put_value(&mut term, kind::MEMBER, member);
        each(&term);
    }
}

fn put_value(term: &mut Vec<u8>, member: u8, value: &Value) {
    let kind = match value {
        Value::Null => kind::NULL,
        Value::Bool(false) => kind::FALSE,
        Value::Bool(true) => kind::TRUE,
        Value::Number(_) => kind::NUMBER,
        Value::String(_) => kind::TEXT,
        Value::Array(_) => kind::LIST,
        Value::Object(_) => kind::OBJECT,
    };
    term.push(kind | member);
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => put_number(term, number),
        Value::String(text) => put_text(term, text),
        Value::Array(_) | Value::Object(_) => {
            let mut hasher = Sha256::new();
            hash(&mut hasher, value);
            term.extend(hasher.finalize());
        }
    }
}

fn put_number(term: &mut Vec<u8>, number: &Number) {
    term.extend(ordered(number).to_be_bytes());
    match integer(number).filter(|integer| integer.unsigned_abs() >= 1 << 53) {
        Some(large) => {
            term.push(EXACT);
            term.extend(large.to_be_bytes());
        }
        None => term.push(ROUND),
    }
}

fn put_text(term: &mut Vec<u8>, text: &str) {
    let plain = plain(text);
    term.extend(plain);
    if plain.len() == text.len() {
        term.extend(WHOLE);
    } else {
        term.extend(REST);
        term.extend(Sha256::digest(text.as_bytes()));
    }
}

/// What stands in a term of a text as it is: NUL ends it.
fn plain(text: &str) -> &[u8] {
    let bytes = &text.as_bytes()[..text.len().min(CUT)];
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

fn integer(number: &Number) -> Option<i128> {
    number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
}

fn ordered(number: &Number) -> u64 {
    ordered_f64(number.as_f64().unwrap_or_default())
}

/// Bits in the order of the numbers; -0 is 0.
fn ordered_f64(number: f64) -> u64 {
    let bits = (number + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// Hashes so that two values are hashed alike if `==` says that they are equal: the order of keys is nothing, that of
/// members is.
fn hash(hasher: &mut Sha256, value: &Value) {
    let text = |hasher: &mut Sha256, text: &str| {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(value) => hasher.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => {
            if let Some(integer) = integer(number) {
                hasher.update(b"i");
                hasher.update(integer.to_le_bytes());
            } else {
                hasher.update(b"d");
                hasher.update(ordered(number).to_le_bytes());
            }
        }
        Value::String(value) => {
            hasher.update(b"s");
            text(hasher, value);
        }
        Value::Array(members) => {
            hasher.update(b"a");
            hasher.update((members.len() as u64).to_le_bytes());
            for member in members {
                hash(hasher, member);
            }
        }
        Value::Object(members) => {
            hasher.update(b"o");
            hasher.update((members.len() as u64).to_le_bytes());
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            for (key, member) in members {
                text(hasher, key);
                hash(hasher, member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn term(value: &Value) -> Vec<u8> {
        let mut term = Vec::new();
        put_value(&mut term, 0, value);
        term
    }

    #[test]
    fn integers_that_round_alike_are_told_apart() {
        let large = 1_u64 << 60;
        assert_ne!(term(&json!(large)), term(&json!(large + 1)));
        assert_eq!(term(&json!(1)), term(&json!(1.0)));
        assert_eq!(term(&json!(0)), term(&json!(-0.0)));
    }

    #[test]
    fn equal_objects_have_one_term() {
        let same = [json!({"a": [1, null], "b": "x"}), json!({"b": "x", "a": [1, null]})];
        assert_eq!(term(&same[0]), term(&same[1]));
        for other in [json!({"a": [null, 1], "b": "x"}), json!({"a": [1.0, null], "b": "x"}), json!({"a": [1, null]})] {
            assert_ne!(term(&same[0]), term(&other));
        }
    }

    #[test]
    fn a_long_key_and_a_long_text_fit_a_key_of_lmdb() {
        let metadata = json!({"k".repeat(500): "v".repeat(9_999)});
        of_item(metadata.as_object().unwrap(), &[], |term| assert!(term.len() <= 400));
    }

    proptest! {
        #[test]
        fn terms_are_in_the_order_of_numbers(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(term(&json!(a)).cmp(&term(&json!(b))), a.partial_cmp(&b).unwrap());
        }

        #[test]
        fn no_term_begins_another(a in "[a\0]{0,4}", b in "[a\0]{0,4}") {
            prop_assume!(a != b);
            prop_assert!(!term(&json!(a)).starts_with(&term(&json!(b))));
        }
    }
}
