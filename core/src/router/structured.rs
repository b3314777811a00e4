//! Answers that must be JSON: whether they are, and small faults of writing mended. Pure functions.
//!
//! Mended is only how the JSON is written, never what it says: text or a fence around it, a comma too many, quotes of
//! Python, its `True`, `False` and `None`, line breaks within a string. An answer that breaks off is not completed.

use std::borrow::Cow;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    model::{ChatRequest, Message, ResponseFormat, Role, estimate_tokens},
};

/// Faults that are told of one answer.
const MAX_FAULTS: usize = 3;

/// The form that answers are checked by.
#[derive(Debug)]
pub(super) enum Form {
    /// Any text.
    Any,
    /// A JSON object.
    Object,
    /// JSON that fits a schema.
    Schema(Box<Validator>),
}

impl Form {
    /// That of `format`. What a grammar derives is checked by the model that keeps to it.
    ///
    /// # Errors
    /// `Invalid` for a schema that is none, or refers to another document.
    pub(super) fn of(format: &ResponseFormat) -> Result<Self> {
        Ok(match format {
            ResponseFormat::Text | ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. } => Self::Any,
            ResponseFormat::JsonObject => Self::Object,
            ResponseFormat::JsonSchema { schema, .. } => Self::Schema(Box::new(validator(schema)?)),
        })
    }

    /// `text`, mended where it must be.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub(super) fn read<'t>(&self, text: &'t str) -> std::result::Result<Cow<'t, str>, String> {
        if matches!(self, Self::Any) {
            return Ok(Cow::Borrowed(text));
        }
        let fault = match self.check(text) {
            Ok(()) => return Ok(Cow::Borrowed(text)),
            Err(fault) => fault,
        };
        let mut last = fault;
        let mut fitting: Option<(Value, String)> = None;
        for inner in values(text) {
            let mended = match self.check(inner) {
                Ok(()) => inner.to_owned(),
                Err(fault) => {
                    let rewritten = rewritten(inner);
                    if self.check(&rewritten).is_err() {
                        last = fault;
                        continue;
                    }
                    rewritten
                }
            };
            let value = serde_json::from_str(&mended).unwrap_or_default();
            match &fitting {
                // Which of them is meant is not for this side to say.
                Some((other, _)) if *other != value => {
                    return Err("it has more than one JSON value that fits".into());
                }
                Some(_) => {}
                None => fitting = Some((value, mended)),
            }
        }
        fitting.map(|(_, mended)| Cow::Owned(mended)).ok_or(last)
    }

    fn check(&self, text: &str) -> std::result::Result<(), String> {
        let value: Value = serde_json::from_str(text).map_err(|e| {
            // Only the place: the message could repeat the answer.
            format!("it is not JSON from line {}, column {} on", e.line(), e.column())
        })?;
        match self {
            Self::Any => Ok(()),
            Self::Object if value.is_object() => Ok(()),
            Self::Object => Err("it is JSON, and no object".into()),
            Self::Schema(validator) => {
                let faults = validator.iter_errors(&value).take(MAX_FAULTS).map(|error| {
                    let path = error.instance_path().to_string();
                    format!("{}: {}", if path.is_empty() { "the whole" } else { &path }, error.masked())
                });
                let faults = faults.collect::<Vec<_>>().join("; ");
                if faults.is_empty() { Ok(()) } else { Err(faults) }
            }
        }
    }
}

/// An answer that did not have its form, and what is wrong with it: its model is asked again with both.
#[derive(Clone, Debug)]
pub(super) struct Repair {
    pub(super) answer: String,
    pub(super) fault: String,
}

impl Repair {
    /// Adds both to `request`; says how many tokens that are, as far as that is known.
    pub(super) fn tell(self, request: &mut ChatRequest) -> u64 {
        let told = format!(
            "Your answer is not of the form that was asked for: {}. Answer again: only the JSON, nothing before or \
             after it.",
            self.fault
        );
        let tokens = estimate_tokens(self.answer.len() + told.len()) + 16;
        // Some servers refuse a message that is empty.
        if !self.answer.is_empty() {
            request.messages.push(Message::new(Role::Assistant, self.answer));
        }
        request.messages.push(Message::user(told));
        tokens
    }
}

/// Checks the schema too. Patterns run on a linear-time matcher, so that no schema can stall a request.
fn validator(schema: &Value) -> Result<Validator> {
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema).map_err(|e| {
        Error::invalid(format!(
            "the schema of the response_format is not a JSON schema that can be used: {}",
            e.masked()
        ))
    })
}

/// The objects and arrays in `text` that stand in no other one. What comes after one that breaks off is part of it.
fn values(text: &str) -> Vec<&str> {
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(start) = text[from..].find(['{', '[']).map(|at| from + at) {
        let inside = text[start + 1..].trim_start();
        let begins = if text[start..].starts_with('{') { "\"'}" } else { "\"'[]{-0123456789tfnTFN" };
        if inside.starts_with(|c| begins.contains(c)) {
            let Some(value) = value(&text[start..]) else { break };
            found.push(value);
            from = start + value.len();
        } else {
            // A bracket of prose.
            from = start + 1;
        }
    }
    found
}

/// The object or array that `text` begins with; none where it does not end.
fn value(text: &str) -> Option<&str> {
    let (mut depth, mut quote) = (0_usize, None);
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(&text[..at + c.len_utf8()]);
                }
            }
            _ => {}
        }
    }
    None
}

/// `text` written as JSON is.
fn rewritten(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '"' || c == '\'' {
            rest = string(c, &rest[1..], &mut out);
            continue;
        }
        let word = rest.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let after = &rest[word.len().max(c.len_utf8())..];
        match word {
            "True" => out.push_str("true"),
            "False" => out.push_str("false"),
            "None" => out.push_str("null"),
            "" if c == ',' && after.trim_start().starts_with(['}', ']']) => {}
            "" => out.push(c),
            word => out.push_str(word),
        }
        rest = after;
    }
    out
}

/// Writes the string that `rest` begins with, up to `quote`, as JSON; gives what comes after it.
fn string<'t>(quote: char, rest: &'t str, out: &mut String) -> &'t str {
    out.push('"');
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // JSON knows no escaped apostrophe.
                Some((_, '\'')) => out.push('\''),
                Some((_, next)) => out.extend(['\\', next]),
                None => out.push('\\'),
            },
            c if c == quote => {
                out.push('"');
                return &rest[at + 1..];
            }
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn schema() -> Form {
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
        Form::of(&ResponseFormat::JsonSchema { name: "n".into(), schema }).unwrap()
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        for text in ["{\"n\": 1}", " {\"n\":1}\n"] {
            assert!(matches!(schema().read(text), Ok(Cow::Borrowed(same)) if same == text));
        }
        assert_eq!(Form::Any.read("no json").unwrap(), "no json");
    }

    #[test]
    fn faults_of_writing_are_mended() {
        for text in [
            "```json\n{\"n\": 1}\n```",
            "Sure! Here it is: {\"n\": 1}. Anything else?",
            "{\"n\": 1,}",
            "{'n': 1, 'why': 'it\\'s \"one\"'}",
            "{\"n\": 1, \"ok\": True, \"no\": None, \"list\": [1, 2, ],}",
            "{\"n\": 1, \"text\": \"two\nlines\"}",
        ] {
            let read = schema().read(text).unwrap();
            let value: Value = serde_json::from_str(&read).unwrap();
            assert_eq!(value["n"], 1, "{text}");
        }
        let read = schema().read("{'n': 1, 'why': 'it\\'s \"one\"', 'True': 'None'}").unwrap().into_owned();
        assert_eq!(
            serde_json::from_str::<Value>(&read).unwrap(),
            json!({"n": 1, "why": "it's \"one\"", "True": "None"})
        );
    }

    #[test]
    fn among_several_values_none_is_chosen() {
        let read = |text: &str| schema().read(text).map(Cow::into_owned);
        assert!(read("At first sight {\"n\": 1}, but no: {\"n\": 3}").unwrap_err().contains("more than one"));
        assert!(read("{\"n\": 1}\n{\"n\": 2}").is_err());
        assert_eq!(read("{\"n\": 1}, so again: {\"n\":1}").unwrap(), "{\"n\": 1}");
        assert_eq!(read("As [1] and [I've said] say {\"n\": 1}").unwrap(), "{\"n\": 1}");
        assert!(read("{\"result\": {\"n\": 1}, \"more\": ").is_err(), "what breaks off is not its own inner part");
    }

    #[test]
    fn what_it_says_is_never_changed() {
        for text in ["{\"n\": \"secret\"}", "{\"m\": 1}", "{\"n\": 1", "[1]", "", "none", "{\"n\": 1.5}"] {
            let fault = schema().read(text).unwrap_err();
            assert!(!fault.contains("secret") && !fault.is_empty(), "{text}: {fault}");
        }
        assert_eq!(Form::Object.read("[1]").unwrap_err(), "it is JSON, and no object");
    }

    #[test]
    fn a_schema_that_is_none_is_told_before_anything_is_asked() {
        for schema in [json!({"type": "objekt"}), json!({"$ref": "https://example.com/schema.json"})] {
            assert!(Form::of(&ResponseFormat::JsonSchema { name: "x".into(), schema }).is_err());
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{},:'\"\\\\a1 \n\u{e9}TrueNone]{0,40}") {
            let _ = Form::Object.read(&text);
        }

        #[test]
        fn json_in_any_surroundings_is_found(n in any::<i32>(), text in "[a-z \"\\\\]{0,12}", before in "[a-z .]{0,9}") {
            let value = json!({"n": n, "text": text});
            let wrapped = format!("{before}{value}{before}");
            let read = schema().read(&wrapped).unwrap().into_owned();
            prop_assert_eq!(serde_json::from_str::<Value>(&read).unwrap(), value);
        }
    }
}
