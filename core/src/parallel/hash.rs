//! Whether two plans are the same, and what differs when they are not.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Plan;
use crate::error::{Error, Result};

/// SHA-256, in hex, of the canonical JSON of `plan`: without spaces, names sorted.
pub(super) fn hash(plan: &Plan) -> Result<String> {
    let value = serde_json::to_value(plan).map_err(|e| Error::unexpected("a plan has no JSON form").caused_by(e))?;
    let mut hasher = Sha256::new();
    feed(&value, &mut hasher);
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

fn feed(value: &Value, hasher: &mut Sha256) {
    match value {
        Value::Array(items) => {
            hasher.update(b"[");
            for item in items {
                feed(item, hasher);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            hasher.update(b"{");
            for (name, value) in fields {
                feed(&Value::String(name.clone()), hasher);
                hasher.update(b":");
                feed(value, hasher);
                hasher.update(b",");
            }
            hasher.update(b"}");
        }
        plain => hasher.update(plain.to_string()),
    }
}

/// What differs, by names; what stands in the plans is not shown.
pub(super) fn difference(known: &Plan, given: &Plan) -> String {
    for (known, given) in known.tasks.iter().zip(&given.tasks) {
        if known.name != given.name {
            return format!("it has task \"{}\" where \"{}\" is given", known.name, given.name);
        }
        let fields = [
            ("do", known.body != given.body),
            ("after", known.after != given.after),
            ("input", known.input != given.input),
            ("retries", known.retries != given.retries),
            ("timeout_ms", known.timeout_ms != given.timeout_ms),
        ];
        if let Some((field, _)) = fields.iter().find(|(_, differs)| *differs) {
            return format!("`{field}` of task \"{}\" differs", known.name);
        }
    }
    format!("it has {} tasks, {} are given", known.tasks.len(), given.tasks.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::Task;
    use serde_json::json;

    #[test]
    fn the_order_of_names_in_objects_does_not_count_but_everything_else_does() {
        let plan =
            |input: &str| Plan { tasks: vec![Task::function("t", "f").input(serde_json::from_str(input).unwrap())] };
        let of = |input| hash(&plan(input)).unwrap();
        assert_eq!(of(r#"{"a": 1, "b": [1, "x"]}"#), of(r#"{ "b": [1,"x"], "a": 1 }"#));
        for other in [r#"{"a": 1, "b": ["x", 1]}"#, r#"{"a": 1}"#, r#"{"a": 1, "b": [1, "x"], "c": null}"#, "null"] {
            assert_ne!(of(r#"{"a": 1, "b": [1, "x"]}"#), of(other));
        }
    }

    #[test]
    fn a_plan_read_back_is_the_same() {
        let plan = Plan { tasks: vec![Task::function("t", "f").input(json!({"x": 0.1, "y": 1e300}))] };
        let back: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
        assert_eq!(hash(&plan).unwrap(), hash(&back).unwrap());
    }

    #[test]
    fn the_difference_is_named() {
        let plan = |tasks: &[Task]| Plan { tasks: tasks.to_vec() };
        let (a, b) = (Task::function("a", "f"), Task::function("b", "f"));
        assert_eq!(difference(&plan(&[a.clone()]), &plan(&[b.clone()])), "it has task \"a\" where \"b\" is given");
        let changed = b.clone().input(json!(1));
        assert_eq!(
            difference(&plan(&[a.clone(), b.clone()]), &plan(&[a.clone(), changed])),
            "`input` of task \"b\" differs"
        );
        assert_eq!(difference(&plan(&[a.clone()]), &plan(&[a, b])), "it has 1 tasks, 2 are given");
    }
}
