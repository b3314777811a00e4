//! Holds answers to a form: JSON, a JSON schema, a regular expression or a grammar.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use llguidance::{
    JsonCompileOptions, Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};

use super::tokenizer::Tokenizer;
use crate::{
    error::{Error, ErrorKind, Result},
    model::ResponseFormat,
};

/// Longer tokens are not written under a grammar: what walks the tokens holds their length in a byte.
const LONGEST_TOKEN: usize = 200;
/// Of a grammar or an expression, in bytes.
const LONGEST_GRAMMAR: usize = 256 << 10;
/// Brackets inside brackets, in a grammar or an expression. Parsers of both are recursive.
const DEEPEST: usize = 100;
/// Of what llguidance says about a form that it refuses.
const LONGEST_REASON: usize = 300;

/// Makes constraints for the tokens of one model.
#[derive(Default)]
pub(super) struct Grammars {
    /// Made when the first answer has a form: it takes a part of a second and some memory.
    factory: OnceLock<Result<ParserFactory, String>>,
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// What holds an answer to `format`; none for text. Blocks: takes up to a second for a large schema.
    ///
    /// # Errors
    /// `Invalid` for a form that is wrong; `Unsupported` for a schema that is right and cannot be kept to.
    pub(super) fn constraint(&self, tokenizer: &Tokenizer, format: &ResponseFormat) -> Result<Option<Constraint>> {
        let grammar = match format {
            ResponseFormat::Text => return Ok(None),
            ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. } => {
                TopLevelGrammar::from_json_schema(compact(json_schema(format)?.unwrap_or_default()))
            }
            ResponseFormat::Regex { pattern } => {
                within(pattern)?;
                TopLevelGrammar::from_regex(pattern)
            }
            ResponseFormat::Grammar { lark } => {
                within(lark)?;
                TopLevelGrammar::from_lark(lark.clone())
            }
        };
        let (kind, what) = match format {
            ResponseFormat::Regex { .. } => (ErrorKind::Invalid, "the regular expression cannot be used"),
            ResponseFormat::Grammar { .. } => (ErrorKind::Invalid, "the grammar cannot be used"),
            _ => (ErrorKind::Unsupported, "a local model cannot keep to this schema"),
        };
        let made = self.make(tokenizer, grammar)?;
        made.map(Some).map_err(|reason| Error::new(kind, format!("{what}: {reason}")))
    }

    /// What holds an answer to `grammar`, or why it cannot be.
    ///
    /// # Errors
    /// When the tokens of the model cannot be used for any grammar.
    pub(super) fn make(
        &self,
        tokenizer: &Tokenizer,
        grammar: TopLevelGrammar,
    ) -> Result<std::result::Result<Constraint, String>> {
        let factory = self.factory.get_or_init(|| factory(tokenizer)).as_ref().map_err(|reason| {
            Error::new(ErrorKind::Unsupported, format!("this model cannot be held to a form: {reason}"))
        })?;
        let mut matcher = Matcher::new(factory.create_parser(grammar));
        // A form that nothing can begin is seen here; an error stays in the matcher.
        let _ = matcher.compute_mask_or_eos();
        Ok(match matcher.get_error() {
            None => Ok(Constraint { matcher, env: factory.tok_env().clone() }),
            Some(error) => Err(reason(&error)),
        })
    }
}

/// Holds one answer to its form.
pub(super) struct Constraint {
    matcher: Matcher,
    env: TokEnv,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

impl Constraint {
    /// Makes the tokens impossible that the form does not allow next. At least one is left.
    ///
    /// # Errors
    /// `Unsupported` when the form turns out to be too large to keep to.
    pub(super) fn mask(&mut self, scores: &mut [f32]) -> Result<()> {
        let allowed = self.matcher.compute_mask_or_eos().map_err(|e| too_large(&e.to_string()))?;
        let words = allowed.as_slice();
        for (block, &bits) in scores.chunks_mut(32).zip(words.iter().chain(std::iter::repeat(&0))) {
            if bits == u32::MAX {
                continue;
            }
            for (at, score) in block.iter_mut().enumerate() {
                if bits >> at & 1 == 0 {
                    *score = f32::NEG_INFINITY;
                }
            }
        }
        if scores.iter().all(|score| *score == f32::NEG_INFINITY) {
            return Err(too_large("no token of the model goes on with it"));
        }
        Ok(())
    }

    /// Takes the token that was chosen; true when the form is complete and nothing can follow.
    ///
    /// # Errors
    /// As for [`Constraint::mask`].
    pub(super) fn take(&mut self, token: u32) -> Result<bool> {
        self.matcher.consume_token(token).map_err(|e| too_large(&e.to_string()))?;
        Ok(self.matcher.is_stopped())
    }

    /// Takes `text`, in whatever tokens; whether the form allows it.
    pub(super) fn take_text(&mut self, text: &str) -> bool {
        let tokens = self.env.tok_trie().greedy_tokenize(text.as_bytes());
        matches!(self.matcher.try_consume_tokens(&tokens), Ok(taken) if taken == tokens.len())
    }

    /// Whether `text`, in whatever tokens, is a whole answer.
    #[cfg(test)]
    pub(super) fn may_be(mut self, text: &str) -> bool {
        self.take_text(text) && self.matcher.is_accepting().unwrap()
    }

    /// The same, for another text.
    pub(super) fn again(&self) -> Self {
        Self { matcher: self.matcher.clone(), env: self.env.clone() }
    }

    /// Whether nothing can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }
}

/// The schema of an answer that is to be JSON; none of another.
///
/// # Errors
/// `Invalid` for what is no schema.
pub(super) fn json_schema(format: &ResponseFormat) -> Result<Option<Value>> {
    match format {
        ResponseFormat::JsonObject => Ok(Some(json!({"type": "object"}))),
        ResponseFormat::JsonSchema { schema, .. } => {
            jsonschema::meta::validate(schema)
                .map_err(|e| Error::invalid(format!("the schema of the answer is no JSON schema: {}", e.masked())))?;
            Ok(Some(schema.clone()))
        }
        _ => Ok(None),
    }
}

/// Separators as most JSON of one line has them, and no other space: a model that may write spaces can do so until its
/// tokens are used up.
pub(super) fn compact(mut schema: Value) -> Value {
    if schema == Value::Bool(true) {
        schema = json!({});
    }
    let options = JsonCompileOptions {
        item_separator: ", ".into(),
        key_separator: ": ".into(),
        whitespace_flexible: false,
        ..JsonCompileOptions::default()
    };
    if schema.is_object() {
        options.apply_to(&mut schema);
    }
    schema
}

fn within(grammar: &str) -> Result<()> {
    if grammar.len() > LONGEST_GRAMMAR {
        return Err(Error::invalid(format!(
            "the form of the answer is longer than {LONGEST_GRAMMAR} bytes; shorten it"
        )));
    }
    let mut depth = 0_usize;
    for c in grammar.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(Error::invalid(format!(
                "the form of the answer has more than {DEEPEST} brackets inside each other"
            )));
        }
    }
    Ok(())
}

fn factory(tokenizer: &Tokenizer) -> Result<ParserFactory, String> {
    let tokens = tokenizer.len() as u32;
    let mut words: Vec<_> = (0..tokens).map(|token| tokenizer.bytes(token).to_vec()).collect();
    for (token, text) in tokenizer.controls() {
        words[token as usize] = [&[TokTrie::SPECIAL_TOKEN_MARKER], text.as_bytes()].concat();
    }
    words.iter_mut().filter(|word| word.len() > LONGEST_TOKEN).for_each(Vec::clear);
    let ends: Vec<_> = tokenizer.end_tokens().collect();
    let end = ends.first().copied().unwrap_or_default();
    let trie = TokTrie::from(&TokRxInfo::new(tokens, end), &words).with_eos_tokens(&ends);
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).map_err(|e| reason(&e.to_string()))?;
    // Errors would repeat what was written.
    *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
    factory.quiet();
    Ok(factory)
}

/// The first words of an error of llguidance.
fn reason(error: &str) -> String {
    let text = error.trim_end_matches("<non-verbose/>").trim();
    text.chars().take(LONGEST_REASON).collect()
}

fn too_large(error: &str) -> Error {
    let message = format!("the form of the answer cannot be kept to any further; make it simpler: {}", reason(error));
    Error::new(ErrorKind::Unsupported, message)
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
mod tests;
#[cfg(test)]
pub(super) use tests::random_schema;
