//! The chat template that a GGUF file carries: messages and tools in, the text of the prompt out.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use minijinja::{
    Environment, Error as TemplateError, ErrorKind as TemplateErrorKind, State, Value, context, filters,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, Serde, StringInput, ValueOrKwargs},
};
use serde::Serialize;
use serde_json::{Value as Json, json, ser::PrettyFormatter};

use super::{
    gguf::Gguf,
    tokenizer::Tokenizer,
    tools::{CallSyntax, TAGS},
};
use crate::{
    engine::FunctionSpec,
    error::{Error, ErrorKind, Result},
    model::{ChatRequest, Message, Role, ToolCall},
};

/// Steps of a template at most: some seconds. A template comes with the file, and may have no end.
const FUEL: u64 = 20_000_000;
/// Spaces that a line is indented by at most: they are allocated at once, and a template might ask for more than there is
/// memory.
const WIDEST_INDENT: usize = 64;
/// Digits at most of a width in a format, for the same reason.
const WIDTH_DIGITS: usize = 3;

/// A chat template, compiled.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    /// Whether it tells the model about tools.
    knows_tools: bool,
    syntax: CallSyntax,
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChatTemplate")
    }
}

impl ChatTemplate {
    /// The template of `gguf`; none when it has none.
    pub(super) fn new(gguf: &Gguf) -> Result<Option<Self>> {
        gguf.text_if_any("tokenizer.chat_template")?.map(Self::of_source).transpose()
    }

    pub(super) fn of_source(source: &str) -> Result<Self> {
        let mut environment = Environment::new();
        // As transformers sets up Jinja, for which templates are written.
        environment.set_syntax(
            SyntaxConfig::builder()
                .trim_blocks(true)
                .lstrip_blocks(true)
                .build()
                .map_err(|e| Error::unexpected("the template syntax is refused").caused_by(e))?,
        );
        environment.set_debug(false);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(call_method);
        environment.add_filter("tojson", to_json);
        environment.add_filter("indent", indent);
        environment.add_filter("format", format_text);
        // They fill lists up to any length, and no template asks for them.
        environment.remove_filter("slice");
        environment.remove_filter("batch");
        environment.add_function("strftime_now", |format: &str| date(format, SystemTime::now()));
        environment.add_function("raise_exception", |message: String| -> Result<String, TemplateError> {
            Err(TemplateError::new(TemplateErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", without_generation(source)).map_err(|e| {
            let message = format!("the model's chat template cannot be used (line {})", e.line().unwrap_or(0));
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let knows_tools =
            environment.get_template("chat").is_ok_and(|chat| chat.undeclared_variables(false).contains("tools"));
        let syntax = if knows_tools { CallSyntax::of_template(source) } else { TAGS };
        Ok(Self { environment, knows_tools, syntax })
    }

    /// Whether the template tells the model about tools, so that it was made to call them.
    pub(super) fn knows_tools(&self) -> bool {
        self.knows_tools
    }

    /// How the model writes calls.
    pub(super) fn syntax(&self) -> CallSyntax {
        self.syntax
    }

    /// The tokens of the prompt for `request`, ending where the answer begins.
    ///
    /// Last messages of the assistant are the beginning of the answer: they stand after the words with which the template
    /// has the model begin, as if the model had written them.
    ///
    /// # Errors
    /// `Invalid` when the template refuses the messages, such as two of the user in a row.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, request: &ChatRequest) -> Result<Vec<u32>> {
        let said = |message: &&Message| message.role == Role::Assistant && message.tool_calls.is_empty();
        let begun = request.messages.iter().rev().take_while(said).count();
        let all = request.messages.len();
        let (messages, begun) = request.messages.split_at((all - begun).max(1).min(all));
        let has_calls = messages.iter().any(|message| !message.tool_calls.is_empty());
        let told = !self.knows_tools && (has_calls || !request.tools.is_empty());
        let messages = if told { Cow::Owned(tell_of_tools(messages, &request.tools)) } else { Cow::Borrowed(messages) };
        let (mut messages, mut tools) = (as_json(&messages), specs(&request.tools));
        let guard = guard_for([&messages, &tools])?;
        guarded(&mut messages, tokenizer, guard);
        guarded(&mut tools, tokenizer, guard);
        let [bos_token, eos_token] = tokenizer.names();
        // As transformers does, which templates ask for in both ways: none where there are none.
        let tools = (!request.tools.is_empty()).then_some(tools);
        let (messages, tools) = (Value::from(Serde(messages)), Value::from(Serde(tools)));
        let values = context! { messages, tools, add_generation_prompt => true, bos_token, eos_token };
        let chat = self.environment.get_template("chat");
        let prompt = chat.and_then(|template| template.render(values)).map_err(|e| refused(&e))?;
        let mut tokens = tokenizer.encode_prompt(&prompt, Some(guard))?;
        let begun: String = begun.iter().map(|message| message.content.as_str()).collect();
        tokenizer.go_on(&mut tokens, &begun)?;
        Ok(tokens)
    }
}

/// A chat for a template that knows no tools: they are told in the first system message, calls stand in the text, and
/// results are said by the user, all as Hermes has it.
fn tell_of_tools(messages: &[Message], tools: &[FunctionSpec]) -> Vec<Message> {
    let mut messages: Vec<_> = messages.iter().map(tell_of_calls).collect();
    if tools.is_empty() {
        return messages;
    }
    let tools: Vec<_> = specs(tools).as_array().into_iter().flatten().map(spaced).collect();
    let told = format!(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function \
         signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\nFor each function call, return a json \
         object with function name and arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": \
         <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>",
        tools.join("\n")
    );
    match messages.first_mut() {
        Some(first) if first.role == Role::System => first.content = format!("{}\n\n{told}", first.content),
        _ => messages.insert(0, Message::system(told)),
    }
    messages
}

fn tell_of_calls(message: &Message) -> Message {
    let call = |call: &ToolCall| {
        let call = spaced(&json!({ "name": call.name, "arguments": call.arguments }));
        format!("<tool_call>\n{call}\n</tool_call>")
    };
    let said = (!message.content.is_empty()).then(|| message.content.clone());
    match message.role {
        Role::Tool => Message::user(format!("<tool_response>\n{}\n</tool_response>", message.content)),
        role => {
            let parts: Vec<_> = said.into_iter().chain(message.tool_calls.iter().map(call)).collect();
            Message::new(role, parts.join("\n"))
        }
    }
}

/// Messages in the form of transformers. What is not there has no key: templates ask for keys.
fn as_json(messages: &[Message]) -> Json {
    let ids = ids(messages);
    let id = |id: &String| ids.get(id).unwrap_or(id).clone();
    let message = |message: &Message| {
        let mut out = json!({ "role": role(message.role), "content": message.content });
        if !message.tool_calls.is_empty() {
            let calls = message.tool_calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "id": id(&call.id), "type": "function", "function": function })
            });
            out["tool_calls"] = calls.collect();
        }
        if let Some(its) = &message.tool_call_id {
            out["tool_call_id"] = json!(id(its));
        }
        out
    };
    messages.iter().map(message).collect()
}

/// Ids in place of those that are not nine letters and digits: Mistral's templates take no other, and a chat may have
/// begun at another model.
fn ids(messages: &[Message]) -> HashMap<&String, String> {
    let is_fit = |id: &str| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let all = || {
        messages.iter().flat_map(|message| message.tool_calls.iter().map(|call| &call.id).chain(&message.tool_call_id))
    };
    let mut taken: HashSet<String> = all().filter(|id| is_fit(id)).cloned().collect();
    let mut ids = HashMap::new();
    let mut numbers = 0_u32..;
    for id in all().filter(|id| !is_fit(id)) {
        ids.entry(id).or_insert_with(|| {
            let fresh = numbers.by_ref().map(|number| format!("call{number:05}")).find(|id| !taken.contains(id));
            let fresh = fresh.unwrap_or_default();
            taken.insert(fresh.clone());
            fresh
        });
    }
    ids
}

fn specs(tools: &[FunctionSpec]) -> Json {
    tools.iter().map(|tool| json!({ "type": "function", "function": tool })).collect()
}

/// Puts `guard` into all texts, see [`Tokenizer::guarded`].
fn guarded(value: &mut Json, tokenizer: &Tokenizer, guard: char) {
    match value {
        Json::String(text) => *text = tokenizer.guarded(text, guard),
        Json::Array(items) => items.iter_mut().for_each(|item| guarded(item, tokenizer, guard)),
        Json::Object(fields) => {
            let named = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                guarded(&mut value, tokenizer, guard);
                (tokenizer.guarded(&name, guard), value)
            });
            *fields = named.collect();
        }
        _ => {}
    }
}

/// `tojson` as transformers has it: spaces behind separators, and nothing escaped for HTML.
#[expect(clippy::needless_pass_by_value, reason = "a filter takes its options so")]
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<String, TemplateError> {
    let indent = indent.map_or_else(|| options.get("indent"), |indent| Ok(Some(indent)))?;
    let written = match indent {
        None => serde_json::to_value(value).map(|value| spaced(&value)),
        Some(indent) => {
            let (mut out, space) = (Vec::new(), " ".repeat(indent.min(16)));
            let mut to =
                serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(space.as_bytes()));
            value.serialize(&mut to).map(|()| String::from_utf8_lossy(&out).into_owned())
        }
    };
    written.map_err(|_| TemplateError::new(TemplateErrorKind::InvalidOperation, "a value has no JSON form"))
}

/// `indent` of at most [`WIDEST_INDENT`].
fn indent(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, TemplateError> {
    let width = match width {
        Some(width) => Some(width),
        None => options.get("width")?,
    };
    if width.is_some_and(|width| width > WIDEST_INDENT) {
        return Err(TemplateError::new(TemplateErrorKind::InvalidOperation, "it indents by too much"));
    }
    filters::indent(value, width, first, blank, options)
}

/// Methods of Python's values.
fn call_method(state: &mut State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, TemplateError> {
    if method == "format" {
        check_widths(value)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
}

fn format_text(state: &mut State<'_, '_>, format: &Value, args: Rest<ValueOrKwargs>) -> Result<Value, TemplateError> {
    check_widths(format)?;
    filters::format(state, format, args)
}

/// Refuses a format that may pad to more than there is memory.
fn check_widths(format: &Value) -> Result<(), TemplateError> {
    let wide = |text: &str| {
        text.contains('*') || text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > WIDTH_DIGITS)
    };
    if format.as_str().is_some_and(wide) {
        return Err(TemplateError::new(TemplateErrorKind::InvalidOperation, "it pads by too much"));
    }
    Ok(())
}

/// The date and time of `now` in `format`, as Python has them; in UTC, since a process does not know where its users are.
fn date(format: &str, now: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (weekday, name) = (DAYS[(days % 7) as usize], MONTHS[month - 1]);
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let part = match chars.next() {
            Some('Y') => year.to_string(),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('B') => name.to_owned(),
            Some('b') => name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('%') => "%".to_owned(),
            other => std::iter::once('%').chain(other).collect(),
        };
        out.push_str(&part);
    }
    out
}

/// Year, month and day of a day since 1970. Source: `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level
/// Date Algorithms".
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month as usize, day)
}

/// `source` with tags that do nothing in place of `generation`: transformers trains by them, and answers as if they
/// were not there.
fn without_generation(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        // Behind the opening: in `{%}` one percent sign does not do for both.
        let Some(end) = tag[2..].find("%}").map(|end| end + 4) else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end);
        match tag[2..end - 2].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+') {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// `value` as JSON in one line, with a space behind each comma and colon.
fn spaced(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(name, value)| format!("{}: {}", json!(name), spaced(value))).collect();
            format!("{{{}}}", fields.join(", "))
        }
        plain => plain.to_string(),
    }
}

/// The template's error without its cause: that would show the messages.
fn refused(error: &TemplateError) -> Error {
    let why = match (error.kind(), error.detail()) {
        (TemplateErrorKind::InvalidOperation, Some(detail)) => detail.chars().take(200).collect(),
        (kind, _) => kind.to_string(),
    };
    Error::invalid(format!("the model's chat template refuses these messages: {why}")).during("LocalModel::chat")
}

/// A character for private use that no text in `values` has.
fn guard_for(values: [&Json; 2]) -> Result<char> {
    fn has(value: &Json, c: char) -> bool {
        match value {
            Json::String(text) => text.contains(c),
            Json::Array(items) => items.iter().any(|item| has(item, c)),
            Json::Object(fields) => fields.iter().any(|(name, value)| name.contains(c) || has(value, c)),
            _ => false,
        }
    }
    ('\u{f0000}'..='\u{f00ff}')
        .find(|&c| !values.iter().any(|value| has(value, c)))
        .ok_or_else(|| Error::invalid("the messages use too many characters of the private use area U+F0000"))
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
