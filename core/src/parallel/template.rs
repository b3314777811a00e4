//! Texts with places for data: Jinja over `input` and `results`. Templates see data only; there is nothing to include
//! and nothing to call, and the steps they may take are counted.

use std::{collections::BTreeMap, sync::LazyLock};

use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// Steps of one template: a loop over ten thousand items, not one without end.
const FUEL: u64 = 1_000_000;

static JINJA: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut jinja = Environment::new();
    jinja.set_undefined_behavior(UndefinedBehavior::Strict);
    jinja.set_fuel(Some(FUEL));
    jinja
});

/// What templates see.
#[derive(Debug, Serialize)]
pub(super) struct Data<'a> {
    /// The input of the task.
    pub(super) input: &'a Value,
    /// Results of the tasks it waited for.
    pub(super) results: &'a BTreeMap<String, Value>,
}

impl Data<'_> {
    /// `text` with its places filled.
    ///
    /// # Errors
    /// `Invalid` for a template that cannot be read or names what there is not.
    pub(super) fn text(&self, text: &str) -> Result<String> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let template = JINJA.template_from_str(text).map_err(|e| failed(&e, text))?;
        template.render(minijinja::Value::from(minijinja::value::Serde(self))).map_err(|e| failed(&e, text))
    }

    /// `value` with every text in it filled. A text that is nothing but one `{{ … }}` becomes what stands in it, with
    /// its type.
    ///
    /// # Errors
    /// Those of [`text`](Self::text).
    pub(super) fn value(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => match expression(text) {
                Some(expression) => self.evaluate(expression)?,
                None => Value::String(self.text(text)?),
            },
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_>>()?),
            Value::Object(fields) => {
                let field = |(name, value): (&String, &Value)| Ok((name.clone(), self.value(value)?));
                Value::Object(fields.iter().map(field).collect::<Result<_>>()?)
            }
            plain => plain.clone(),
        })
    }

    fn evaluate(&self, source: &str) -> Result<Value> {
        let expression = JINJA.compile_expression(source).map_err(|e| failed(&e, source))?;
        let value =
            expression.eval(minijinja::Value::from(minijinja::value::Serde(self))).map_err(|e| failed(&e, source))?;
        if value.is_undefined() {
            return Err(missing(source));
        }
        serde_json::to_value(&value)
            .map_err(|e| Error::invalid(format!("`{source}` has no JSON form; ask for plain data")).caused_by(e))
    }
}

fn is_template(text: &str) -> bool {
    ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
}

/// What stands in `{{ … }}` when there is nothing else in `text`.
fn expression(text: &str) -> Option<&str> {
    let inner = text.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    let plain = !["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark));
    plain.then(|| inner.trim_matches('-').trim())
}

fn missing(what: &str) -> Error {
    Error::invalid(format!(
        "a template names `{what}`, which there is not; it sees `input`, and `results` of the tasks in `after`"
    ))
    .during("Task::template")
}

fn failed(error: &minijinja::Error, source: &str) -> Error {
    use minijinja::ErrorKind::{OutOfFuel, UndefinedError};
    // The part of the template at fault is the plan's own text; the data in it are not shown.
    let part = error.range().map_or("", |range| whole_path(source, &range)).trim();
    match error.kind() {
        UndefinedError => missing(part),
        OutOfFuel => Error::invalid("a template takes too many steps; make the data in a task before")
            .during("Task::template")
            .with("steps", FUEL),
        kind => Error::invalid(format!("a template cannot be used: {kind}; mend it in the plan"))
            .during("Task::template")
            .with("line", error.line().unwrap_or(1))
            .with("at", part),
    }
}

/// The part of `source` in `range`, and what of a path such as `results.a.b` stands before it.
fn whole_path<'a>(source: &'a str, range: &std::ops::Range<usize>) -> &'a str {
    let outside = |c: char| !(c.is_alphanumeric() || "_.[]'\"-".contains(c));
    let before = source.get(..range.start).unwrap_or("");
    let start = before.rfind(outside).map_or(0, |at| at + before[at..].chars().next().map_or(0, char::len_utf8));
    source.get(start..range.end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use serde_json::json;

    fn with<T>(run: impl FnOnce(&Data<'_>) -> T) -> T {
        let input = json!({"topic": "rain", "n": 3});
        let results = BTreeMap::from([
            ("fetch".to_owned(), json!({"rows": [1, 2.5, null], "big": u64::MAX})),
            ("a-b".to_owned(), json!("{{ input.topic }}")),
        ]);
        run(&Data { input: &input, results: &results })
    }

    #[test]
    fn texts_are_filled() {
        with(|data| {
            assert_eq!(data.text("About {{ input.topic }} <&>").unwrap(), "About rain <&>");
            assert_eq!(data.text("no places { } here").unwrap(), "no places { } here");
            let list = "{% for row in results.fetch.rows %}{{ row }};{% endfor %}";
            assert_eq!(data.text(list).unwrap(), "1;2.5;None;");
        });
    }

    #[test]
    fn what_is_filled_in_is_not_a_template_again() {
        with(|data| assert_eq!(data.text("{{ results['a-b'] }}!").unwrap(), "{{ input.topic }}!"));
    }

    #[test]
    fn a_lone_place_keeps_its_type() {
        with(|data| {
            let request =
                json!({"k": "{{ input.n }}", "deep": [{"all": " {{ results.fetch }} "}], "t": "n={{ input.n }}"});
            let filled = data.value(&request).unwrap();
            let fetch = json!({"rows": [1, 2.5, null], "big": u64::MAX});
            assert_eq!(filled, json!({"k": 3, "deep": [{"all": fetch}], "t": "n=3"}));
        });
    }

    #[test]
    fn what_is_missing_is_named() {
        with(|data| {
            for result in [
                data.text("Sum {{ results.fetsh }} up"),
                data.value(&json!("{{ results.fetsh }}")).map(|_| String::new()),
            ] {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.message().contains("results.fetsh"), "{error}");
            }
            let deep = data.value(&json!("{{ results.nobody.at.all }}")).unwrap_err();
            assert!(deep.message().contains("results.nobody"), "{deep}");
        });
    }

    #[test]
    fn templates_reach_nothing_else_and_end() {
        with(|data| {
            assert!(data.text("{% include '/etc/passwd' %}").is_err());
            assert!(data.text("{{ unclosed").is_err());
            let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
            assert!(data.text(endless).unwrap_err().message().contains("too many steps"));
        });
    }
}
