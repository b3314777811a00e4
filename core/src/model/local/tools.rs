//! Calls of tools: how a family of templates has them written, and which parts of an answer are some.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    call_grammar::{self, Calls},
    grammar::{Constraint, Grammars, json_schema},
    tokenizer::Tokenizer,
};
use crate::{
    engine::FunctionSpec,
    error::{Error, ErrorKind, Result},
    model::{ChatRequest, ToolCall, ToolChoice},
};

/// Bytes that may stand between the name of a tool and the separator.
const LONGEST_ID: usize = 64;

/// How a model writes calls: JSON with the name and the arguments, after an opening text; or the name, and then the
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallSyntax {
    /// Stands before calls.
    pub(super) open: &'static str,
    /// Stands after them; may be empty.
    pub(super) close: &'static str,
    /// Whether an answer that is JSON from its beginning on is a call too.
    pub(super) bare: bool,
    /// What arguments are called in the JSON.
    pub(super) arguments: &'static str,
    /// Stands between the name of a tool and its arguments, where the name is not in the JSON.
    pub(super) separator: Option<&'static str>,
}

/// Hermes, Qwen and SmolLM2; also what models are told whose template knows no tools.
pub(super) const TAGS: CallSyntax =
    CallSyntax { open: "<tool_call>", close: "</tool_call>", bare: false, arguments: "arguments", separator: None };
/// Phi-4.
const PIPES: CallSyntax = CallSyntax { open: "<|tool_call|>", close: "<|/tool_call|>", ..TAGS };
/// Mistral.
pub(super) const MISTRAL: CallSyntax = CallSyntax { open: "[TOOL_CALLS]", close: "", ..TAGS };
/// Mistral since version 11 of its tokenizer.
const NAMED: CallSyntax = CallSyntax { separator: Some("[ARGS]"), ..MISTRAL };
/// Llama 3.1 and later.
const LLAMA: CallSyntax =
    CallSyntax { open: "<|python_tag|>", close: "", bare: true, arguments: "parameters", separator: None };
/// Templates that know tools and are of no family above.
const OTHER: CallSyntax = CallSyntax { bare: true, ..TAGS };

impl CallSyntax {
    #[cfg(any(test, fuzzing))]
    pub(super) const ALL: [Self; 6] = [TAGS, PIPES, MISTRAL, NAMED, LLAMA, OTHER];

    /// That of a chat template.
    pub(super) fn of_template(source: &str) -> Self {
        let writes = |syntax: &Self| {
            source.contains(syntax.open) && syntax.separator.is_none_or(|separator| source.contains(separator))
        };
        let known = [TAGS, PIPES, NAMED, MISTRAL, LLAMA].into_iter().find(writes);
        // Small Llamas have a template without the tag.
        known.unwrap_or(if source.contains("\"parameters\"") { LLAMA } else { OTHER })
    }
}

/// What stands between the name of a tool and the id of its call, where names come first.
const CALL_ID: &str = "[CALL_ID]";

/// What an answer may call, and how.
#[derive(Debug)]
pub(super) struct Tools {
    parser: CallParser,
    /// Control tokens that stand around calls: an answer does not show them, and the parser has to see them.
    marks: Vec<(u32, &'static str)>,
    /// The answer is over after so many calls.
    most: usize,
    held: Held,
}

/// What holds an answer to its tools.
#[derive(Debug)]
enum Held {
    /// From its beginning on; none once it was handed over.
    Whole(Option<Constraint>),
    /// Wherever a call begins.
    Calls {
        /// What comes after the opening text; none where the schemas of the tools cannot be kept to.
        grammar: Option<Constraint>,
        /// The same of the arguments of each tool, where they come after its name.
        arguments: BTreeMap<String, Constraint>,
    },
}

impl Tools {
    /// Those of `request`; none when it has none. Blocks, see [`Grammars::constraint`].
    ///
    /// # Errors
    /// `Unsupported` when the answer has to be calls, and a schema cannot be kept to; as for [`Grammars::constraint`]
    /// when it has a form beside them.
    pub(super) fn new(
        grammars: &Grammars,
        tokenizer: &Tokenizer,
        syntax: CallSyntax,
        request: &ChatRequest,
    ) -> Result<Option<Self>> {
        let chosen = |tool: &&FunctionSpec| match &request.tool_choice {
            ToolChoice::Tool(name) => tool.name == *name,
            _ => true,
        };
        let tools: Vec<_> = request.tools.iter().filter(chosen).collect();
        if tools.is_empty() {
            return Ok(None);
        }
        let mark = |(token, text): (u32, &str)| {
            let all = [Some(syntax.open), Some(syntax.close), syntax.separator, syntax.separator.and(Some(CALL_ID))];
            all.into_iter().flatten().find(|mark| *mark == text).map(|mark| (token, mark))
        };
        let marks: Vec<_> = tokenizer.controls().filter_map(mark).collect();
        let one = request.parallel_tool_calls == Some(false) || matches!(request.tool_choice, ToolChoice::Tool(_));
        let calls = Calls { syntax, several: !one, marks: &marks };
        let forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Tool(_));
        let other = if forced { None } else { json_schema(&request.response_format)? };
        let held = if forced || other.is_some() {
            Held::Whole(Some(whole(grammars, tokenizer, calls, &tools, other.as_ref())?))
        } else {
            let make = |grammar| grammars.make(tokenizer, grammar).ok().and_then(Result::ok);
            let arguments = tools.iter().filter(|_| syntax.separator.is_some());
            let arguments =
                arguments.filter_map(|tool| Some((tool.name.clone(), make(call_grammar::arguments_of(tool))?)));
            Held::Calls { grammar: make(calls.after_opening(&tools)), arguments: arguments.collect() }
        };
        let called = request.messages.iter().map(|message| message.tool_calls.len()).sum();
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        let most = if one { 1 } else { usize::MAX };
        Ok(Some(Self { parser: CallParser::new(syntax, names, called, most), marks, most, held }))
    }

    /// What holds the whole answer, where that is how it is held. To be asked once.
    pub(super) fn take_whole(&mut self) -> Option<Constraint> {
        match &mut self.held {
            Held::Whole(constraint) => constraint.take(),
            Held::Calls { .. } => None,
        }
    }

    /// Whether the answer is held to a form from its beginning on.
    pub(super) fn hold_whole(&self) -> bool {
        matches!(self.held, Held::Whole(_))
    }

    /// Whether there were as many calls as there may be.
    pub(super) fn are_done(&self) -> bool {
        self.parser.calls >= self.most
    }

    /// The text of `token` when it stands around calls.
    pub(super) fn mark(&self, token: u32) -> Option<&'static str> {
        self.marks.iter().find(|(mark, _)| *mark == token).map(|(_, text)| *text)
    }

    /// Takes more of the answer.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.parser.push(text)
    }

    /// The rest, once nothing more comes.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        self.parser.finish()
    }

    /// Whether there was a call.
    pub(super) fn called(&self) -> bool {
        self.parser.calls > 0
    }

    /// What holds the call that has begun to the tools; none when there is no such call, or when it went its own way.
    pub(super) fn constraint(&self) -> Option<Constraint> {
        let Held::Calls { grammar, arguments } = &self.held else { return None };
        let grammar = match &self.parser.named {
            Some(name) => arguments.get(name),
            None => grammar.as_ref(),
        };
        let mut constraint = grammar?.again();
        constraint.take_text(self.parser.begun()?).then_some(constraint).filter(|constraint| !constraint.is_complete())
    }

    /// Whether a call has begun and not ended.
    pub(super) fn is_calling(&self) -> bool {
        self.parser.begun().is_some()
    }
}

/// Holds an answer that has to be calls, or JSON of the schema `other`.
fn whole(
    grammars: &Grammars,
    tokenizer: &Tokenizer,
    calls: Calls<'_>,
    tools: &[&FunctionSpec],
    other: Option<&Value>,
) -> Result<Constraint> {
    let made = |tools: &[&FunctionSpec], other| match calls.whole(tools, other) {
        Ok(grammar) => grammars.make(tokenizer, grammar),
        Err(reason) => Ok(Err(reason)),
    };
    let reason = match made(tools, other)? {
        Ok(constraint) => return Ok(constraint),
        Err(reason) => reason,
    };
    // Which of them it is, for whoever wrote it.
    for tool in tools {
        if let Err(reason) = made(std::slice::from_ref(tool), None)? {
            let message = format!(
                "a local model cannot be held to the parameters of the tool \"{}\", as this request asks; make its \
                 schema simpler, or leave out tool_choice and response_format: {reason}",
                tool.name
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    }
    let message = format!("a local model cannot be held to these tools and the schema of the answer: {reason}");
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Call(ToolCall),
}

/// Finds the calls in an answer that comes in pieces. What begins like a call is held back until it is one, and is text
/// if it is none.
#[derive(Debug)]
pub(super) struct CallParser {
    syntax: CallSyntax,
    /// The tools there are; JSON that names another is no call.
    names: Vec<String>,
    /// Calls before this answer, for ids that are unique in the chat.
    before: usize,
    calls: usize,
    /// More than so many are not read.
    most: usize,
    held: String,
    /// The tool whose arguments come, where its name came before them.
    named: Option<String>,
    at: Place,
    /// JSON in `held` as far as it was looked at.
    scan: Scan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing but space was written.
    Beginning,
    InText,
    /// Behind an opening text of so many bytes, with which `held` begins, where a name may come.
    Naming(usize),
    /// Where JSON comes, behind so many bytes with which `held` begins.
    Calling(usize),
    /// The calls have ended: space, a closing text and more calls may follow.
    Called,
}

impl CallParser {
    pub(super) fn new(syntax: CallSyntax, names: Vec<String>, before: usize, most: usize) -> Self {
        Self {
            syntax,
            names,
            before,
            calls: 0,
            most,
            held: String::new(),
            named: None,
            at: Place::Beginning,
            scan: Scan::default(),
        }
    }

    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    pub(super) fn finish(&mut self) -> Vec<Piece> {
        // A call that was not ended is text. Not so space and half a closing text behind a call.
        let rest = std::mem::take(&mut self.held);
        let is_over =
            self.at == Place::Called && (rest.trim().is_empty() || self.syntax.close.starts_with(rest.trim()));
        if rest.is_empty() || is_over { Vec::new() } else { vec![Piece::Text(rest)] }
    }

    /// What was written of a call that has begun.
    fn begun(&self) -> Option<&str> {
        match self.at {
            Place::Calling(opening) => self.held.get(opening..),
            _ => None,
        }
    }

    /// Decides about the beginning of `held`; false when more has to come first.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        if self.calls >= self.most {
            // A closing text, or what a model went on to say.
            self.held.clear();
            return false;
        }
        match self.at {
            Place::Naming(opening) => self.step_in_name(opening, pieces),
            Place::Calling(opening) => self.step_in_call(opening, pieces),
            Place::Called => self.step_behind_call(),
            Place::Beginning | Place::InText => self.step_in_text(pieces),
        }
    }

    fn step_in_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let space = self.held.len() - self.held.trim_start().len();
        if self.at == Place::Beginning && self.syntax.bare {
            match self.held[space..].chars().next() {
                None => return false,
                Some('{' | '[') => {
                    self.call(space);
                    return true;
                }
                Some(_) => {}
            }
        }
        if let Some(start) = self.held.find(self.syntax.open) {
            let rest = self.held.split_off(start);
            self.show(pieces);
            self.held = rest;
            self.call(self.syntax.open.len());
            return true;
        }
        let keep = super::text::overlap(&self.held, self.syntax.open);
        let rest = self.held.split_off(self.held.len() - keep);
        if !self.held.trim_start().is_empty() {
            self.at = Place::InText;
        }
        self.show(pieces);
        self.held = rest;
        false
    }

    /// The name of a tool and what separates it from the arguments, or JSON all the same.
    fn step_in_name(&mut self, opening: usize, pieces: &mut Vec<Piece>) -> bool {
        let (rest, separator) = (&self.held[opening..], self.syntax.separator.unwrap_or_default());
        if rest.trim_start().starts_with(['[', '{']) {
            self.arguments(opening, None);
            return true;
        }
        // An id may stand between the two, which nobody needs.
        let (end, separated) = rest.find(separator).map_or((rest.len(), false), |end| (end, true));
        let name = rest[..end].split(CALL_ID).next().unwrap_or_default().trim();
        // No further away than is waited for where it comes in pieces.
        let near = |known: &&String| end + separator.len() <= known.len() + LONGEST_ID;
        let known = self.names.iter().find(|known| *known == name).filter(near).cloned();
        if separated && known.is_some() {
            self.arguments(opening + end + separator.len(), known);
            return true;
        }
        let may_become = |known: &String| {
            known.starts_with(rest.trim_start())
                || rest.trim_start().starts_with(known.as_str()) && rest.len() < known.len() + LONGEST_ID
        };
        if !separated && self.names.iter().any(may_become) {
            return false;
        }
        self.at = Place::InText;
        let rest = self.held.split_off(opening);
        self.show(pieces);
        self.held = rest;
        true
    }

    fn step_in_call(&mut self, opening: usize, pieces: &mut Vec<Piece>) -> bool {
        let end = match self.scan.go_on(&self.held) {
            Scanned::Half => return false,
            Scanned::Whole(end) => end,
            Scanned::NoJson => opening,
        };
        let mut calls: Vec<_> = match self.named.take() {
            Some(name) => self.call_of(&name, &self.held[opening..end]).into_iter().collect(),
            None => self.calls_in(&self.held[opening..end]),
        };
        calls.truncate(self.most.saturating_sub(self.calls));
        let rest = self.held.split_off(end);
        if calls.is_empty() {
            self.at = Place::InText;
            self.show(pieces);
        } else {
            self.at = Place::Called;
            self.calls += calls.len();
            pieces.extend(calls.into_iter().map(Piece::Call));
        }
        self.held = rest;
        true
    }

    fn step_behind_call(&mut self) -> bool {
        let rest = self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
        let (space, CallSyntax { open, close, bare, .. }) = (self.held.len() - rest.len(), self.syntax);
        if !close.is_empty() && rest.starts_with(close) {
            self.held.drain(..space + close.len());
            return true;
        }
        if rest.starts_with(open) || bare && rest.starts_with(['{', '[']) {
            self.held.drain(..space);
            self.call(if self.held.starts_with(open) { open.len() } else { 0 });
            return true;
        }
        if open.starts_with(rest) || close.starts_with(rest) {
            return false;
        }
        self.at = Place::InText;
        true
    }

    fn call(&mut self, opening: usize) {
        if self.syntax.separator.is_some() {
            self.at = Place::Naming(opening);
        } else {
            self.arguments(opening, None);
        }
    }

    /// JSON comes: of calls, or of the arguments of the tool that was `named`.
    fn arguments(&mut self, opening: usize, named: Option<String>) {
        (self.at, self.named) = (Place::Calling(opening), named);
        self.scan = Scan { at: opening, ..Scan::default() };
    }

    /// Shows what is held, with the text before it.
    fn show(&mut self, pieces: &mut Vec<Piece>) {
        let text = std::mem::take(&mut self.held);
        match pieces.last_mut() {
            _ if text.is_empty() => {}
            Some(Piece::Text(before)) => before.push_str(&text),
            _ => pieces.push(Piece::Text(text)),
        }
    }

    /// The calls that `json` is; none when it is anything else.
    fn calls_in(&self, json: &str) -> Vec<ToolCall> {
        let calls = match serde_json::from_str(json) {
            Ok(Value::Array(all)) => all,
            Ok(one) => vec![one],
            Err(_) => return Vec::new(),
        };
        let first = self.before + self.calls;
        let call = |(at, call): (usize, Value)| self.read(call, first + at);
        calls.into_iter().enumerate().map(call).collect::<Option<_>>().unwrap_or_default()
    }

    /// The call of a tool whose name came before its arguments.
    fn call_of(&self, name: &str, arguments: &str) -> Option<ToolCall> {
        let arguments: Value = serde_json::from_str(arguments).ok()?;
        let call = json!({"name": name, "arguments": arguments});
        self.read(call, self.before + self.calls)
    }

    fn read(&self, mut call: Value, number: usize) -> Option<ToolCall> {
        let name = call.get("name")?.as_str().filter(|name| self.names.iter().any(|known| known == name))?.to_owned();
        let arguments = ["arguments", "parameters"].into_iter().find_map(|key| Some(call.get_mut(key)?.take()));
        let arguments = match arguments {
            Some(Value::String(text)) => serde_json::from_str(&text).ok()?,
            Some(Value::Null) | None => Value::Object(Map::new()),
            Some(arguments) => arguments,
        };
        // Nine letters and digits: Mistral's templates take no other.
        arguments.is_object().then(|| ToolCall::new(format!("call{number:05}"), name, arguments))
    }
}

/// Looks for the end of a JSON object or array, going on where it stopped.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

enum Scanned {
    /// The end has not come.
    Half,
    /// It ends before this byte.
    Whole(usize),
    /// It begins with something else.
    NoJson,
}

impl Scan {
    fn go_on(&mut self, text: &str) -> Scanned {
        for &byte in &text.as_bytes()[self.at..] {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' if self.depth > 0 => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Scanned::Whole(self.at);
                    }
                }
                byte if self.depth == 0 && !byte.is_ascii_whitespace() => return Scanned::NoJson,
                _ => {}
            }
        }
        Scanned::Half
    }
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
