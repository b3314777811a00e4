//! Grammars of calls: of what follows the opening text of one, and of a whole answer that has to be calls.

use llguidance::api::TopLevelGrammar;
use serde_json::{Map, Value, json};

use super::{
    grammar::compact,
    tools::{CallSyntax, MISTRAL},
};
use crate::engine::FunctionSpec;

/// Which calls an answer may have, and how they are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'a> {
    pub(super) syntax: CallSyntax,
    /// Whether there may be more than one.
    pub(super) several: bool,
    /// Texts that stand around calls and are tokens of their own, which no text gives.
    pub(super) marks: &'a [(u32, &'static str)],
}

impl Calls<'_> {
    /// What follows the opening text: JSON of one call, or of several in an array. A schema that no grammar can hold is
    /// that of any object.
    pub(super) fn after_opening(self, tools: &[&FunctionSpec]) -> TopLevelGrammar {
        let mut definitions = Map::new();
        let schemas = tools.iter().enumerate().map(|(at, tool)| {
            let schema = arguments(tool, &format!("tool{at}"), &mut definitions);
            (tool.name.as_str(), schema.unwrap_or_else(|_| any_object()))
        });
        let schemas = schemas.collect::<Vec<_>>();
        after_space(&self.json(&schemas, definitions))
    }

    /// An answer that is calls of `tools`, or else JSON of the schema `other`.
    ///
    /// # Errors
    /// The reason, when a schema cannot be kept to.
    pub(super) fn whole(self, tools: &[&FunctionSpec], other: Option<&Value>) -> Result<TopLevelGrammar, String> {
        let CallSyntax { open, close, bare, separator, .. } = self.syntax;
        let mut definitions = Map::new();
        let mut schemas = Vec::new();
        for (at, tool) in tools.iter().enumerate() {
            let schema = arguments(tool, &format!("tool{at}"), &mut definitions);
            schemas.push((tool.name.as_str(), schema?));
        }
        let open = if bare { String::new() } else { self.mark(open) };
        let mut rules = Vec::new();
        let between = if let Some(separator) = separator {
            // The arguments of each tool are JSON of their own, so references stay as they are.
            let one_of: Vec<_> = (0..tools.len()).map(|at| format!("tool{at}")).collect();
            rules.push(format!("call: {open} \" \"? ({})", one_of.join(" | ")));
            for (at, tool) in tools.iter().enumerate() {
                rules.push(format!("tool{at}: {} {} \" \"? json{at}", json!(tool.name), self.mark(separator)));
                rules.push(format!("json{at}: %json {}", compact(own_arguments(tool)?)));
            }
            Some("")
        } else {
            let close = if close.is_empty() || bare { String::new() } else { format!("\"\\n\"? {}", self.mark(close)) };
            rules.push(format!("call: {open} (\" \" | \"\\n\")? calls {close}"));
            rules.push(format!("calls: %json {}", compact(self.json(&schemas, definitions))));
            match (bare, close.is_empty()) {
                (true, _) => Some("\"; \""),
                (false, false) => Some("\"\\n\""),
                // All of them are in one array.
                (false, true) => None,
            }
        };
        let more = between.filter(|_| self.several).map(|between| format!(" ({between} call)*")).unwrap_or_default();
        let other = other.map(|schema| {
            rules.push(format!("other: %json {}", compact(schema.clone())));
            " | other"
        });
        rules.insert(0, format!("start: call{more}{}", other.unwrap_or_default()));
        Ok(TopLevelGrammar::from_lark(rules.join("\n")))
    }

    /// The schema of calls in JSON, where the tools of these names take arguments of these schemas.
    fn json(self, tools: &[(&str, Value)], definitions: Map<String, Value>) -> Value {
        let key = self.syntax.arguments;
        let one = tools.iter().map(|(name, schema)| {
            json!({"type": "object", "properties": {"name": {"const": name}, key: schema}, "required": ["name", key],
                "additionalProperties": false})
        });
        let one = json!({"anyOf": one.collect::<Vec<_>>()});
        let mut array = json!({"type": "array", "items": one, "minItems": 1});
        if !self.several {
            array["maxItems"] = json!(1);
        }
        let mut calls = if self.syntax.open == MISTRAL.open {
            array
        } else if self.syntax.bare {
            one
        } else {
            json!({"anyOf": [one, array]})
        };
        if !definitions.is_empty() {
            calls["$defs"] = Value::Object(definitions);
        }
        calls
    }

    /// `text` in a grammar.
    fn mark(self, text: &str) -> String {
        let token = self.marks.iter().find(|(_, mark)| *mark == text);
        token.map_or_else(|| json!(text).to_string(), |(token, _)| format!("<[{token}]>"))
    }
}

/// The arguments of `tool`, where they come after its name.
pub(super) fn arguments_of(tool: &FunctionSpec) -> TopLevelGrammar {
    after_space(&own_arguments(tool).unwrap_or_else(|_| any_object()))
}

fn after_space(schema: &Value) -> TopLevelGrammar {
    TopLevelGrammar::from_lark(format!("start: (\" \" | \"\\n\")? calls\ncalls: %json {}", compact(schema.clone())))
}

fn any_object() -> Value {
    json!({"type": "object"})
}

/// The schema of the arguments of `tool`, which are an object even where it does not say so: a call with others is none.
///
/// # Errors
/// The reason, when no object fits it.
fn own_arguments(tool: &FunctionSpec) -> Result<Value, &'static str> {
    let mut schema = match &tool.parameters {
        Value::Bool(true) => any_object(),
        other => other.clone(),
    };
    let keys = schema.as_object_mut().ok_or("it is no schema")?;
    let object = || json!("object");
    match keys.get("type") {
        None => {}
        Some(Value::Array(kinds)) if kinds.contains(&object()) => {}
        Some(kind) if *kind == object() => {}
        Some(_) => return Err("its arguments are to be an object, and it is the schema of something else"),
    }
    keys.insert("type".into(), object());
    Ok(schema)
}

/// The same within a schema of calls: one with references stands among the `definitions` under `name`, and its references
/// lead there, since they are to the root of the tool's own schema.
///
/// # Errors
/// The reason, when no object fits it or references lead out of it.
fn arguments(tool: &FunctionSpec, name: &str, definitions: &mut Map<String, Value>) -> Result<Value, &'static str> {
    let mut schema = own_arguments(tool)?;
    if !schema.to_string().contains("\"$ref\"") {
        return Ok(schema);
    }
    // The name of the whole schema changes nothing: references to it by that name lead out of it.
    if let Some(keys) = schema.as_object_mut() {
        keys.shift_remove("$id");
    }
    let text = schema.to_string();
    // Under an address of its own, references would be to that.
    if text.contains("\"$id\"") || text.contains("\"$anchor\"") || !lead_to(&mut schema, &format!("#/$defs/{name}")) {
        return Err("it has references that lead out of it");
    }
    definitions.insert(name.into(), schema);
    Ok(json!({"$ref": format!("#/$defs/{name}")}))
}

/// Makes the references in `schema` lead to where its root now is; false when one leads out of it.
fn lead_to(schema: &mut Value, root: &str) -> bool {
    match schema {
        Value::Array(all) => all.iter_mut().all(|one| lead_to(one, root)),
        Value::Object(all) => all.iter_mut().all(|(key, value)| match (key.as_str(), &mut *value) {
            ("const" | "enum" | "default" | "examples", _) => true,
            ("$ref", Value::String(to)) => {
                let within = to.strip_prefix('#').map(|path| format!("{root}{path}"));
                within.is_some_and(|within| {
                    *to = within;
                    true
                })
            }
            _ => lead_to(value, root),
        }),
        _ => true,
    }
}
