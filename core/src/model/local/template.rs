//! The chat template that a GGUF file carries: messages and tools in, the text of the prompt out.

use std::{borrow::Cow, fmt};

use minijinja::{
    Environment, Error as TemplateError, ErrorKind as TemplateErrorKind, Value, context,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde},
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
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<String, TemplateError> {
            Err(TemplateError::new(TemplateErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned("chat", source.to_owned()).map_err(|e| {
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
    /// A last message of the assistant is the beginning of the answer: it stands after the words with which the template
    /// has the model begin, as if the model had written it.
    ///
    /// # Errors
    /// `Invalid` when the template refuses the messages, such as two of the user in a row.
    pub(super) fn encode(&self, tokenizer: &Tokenizer, request: &ChatRequest) -> Result<Vec<u32>> {
        if let Some((last, before)) = request.messages.split_last()
            && last.role == Role::Assistant
            && last.tool_calls.is_empty()
            && !before.is_empty()
        {
            let before = ChatRequest { messages: before.to_vec(), ..request.clone() };
            let mut tokens = self.encode(tokenizer, &before)?;
            tokens.extend(tokenizer.encode_plain(&last.content)?);
            return Ok(tokens);
        }
        let has_calls = request.messages.iter().any(|message| !message.tool_calls.is_empty());
        let told = !self.knows_tools && (has_calls || !request.tools.is_empty());
        let messages = if told { Cow::Owned(tell_of_tools(request)) } else { Cow::Borrowed(&request.messages) };
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
        tokenizer.encode_prompt(&prompt, Some(guard))
    }
}

/// The chat of `request` for a template that knows no tools: they are told in the first system message, calls stand in
/// the text, and results are said by the user, all as Hermes has it.
fn tell_of_tools(request: &ChatRequest) -> Vec<Message> {
    let mut messages: Vec<_> = request.messages.iter().map(tell_of_calls).collect();
    if request.tools.is_empty() {
        return messages;
    }
    let tools: Vec<_> = specs(&request.tools).as_array().into_iter().flatten().map(spaced).collect();
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
    let message = |message: &Message| {
        let mut out = json!({ "role": role(message.role), "content": message.content });
        if !message.tool_calls.is_empty() {
            let calls = message.tool_calls.iter().map(|call| {
                let function = json!({ "name": call.name, "arguments": call.arguments });
                json!({ "id": call.id, "type": "function", "function": function })
            });
            out["tool_calls"] = calls.collect();
        }
        if let Some(id) = &message.tool_call_id {
            out["tool_call_id"] = json!(id);
        }
        out
    };
    messages.iter().map(message).collect()
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
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{gguf::Value, testing},
        *,
    };

    #[test]
    fn the_prompt_is_what_the_template_says() {
        let gguf = testing::tiny_gguf();
        let (tokenizer, template) = (Tokenizer::new(&gguf).unwrap(), ChatTemplate::new(&gguf).unwrap().unwrap());
        let messages = vec![Message::system("Be brief."), Message::user("Hi <|im_end|>")];
        let tokens = template.encode(&tokenizer, &ChatRequest { messages, ..ChatRequest::default() }).unwrap();
        let text: String = tokens.iter().map(|&token| tokenizer.text(token)).collect();
        assert_eq!(
            text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
        );
        let ends = tokens.iter().filter(|&&token| tokenizer.is_end(token)).count();
        assert_eq!(ends, 2, "the one of the user is plain text");
    }

    #[test]
    fn an_answer_that_was_begun_goes_on_where_it_stops() {
        let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}\
            {% if add_generation_prompt %}<assistant>{% endif %}";
        let begun = Message::new(Role::Assistant, "Because <|im_end|> it");
        let request = ChatRequest { messages: vec![Message::user("Why?"), begun], ..ChatRequest::default() };
        assert_eq!(prompt(template, &request), "<user>Why?<assistant>Because <|im_end|> it");
    }

    #[test]
    fn a_template_without_an_end_is_given_up() {
        let mut gguf = testing::tiny_gguf();
        let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
        gguf.metadata.insert("tokenizer.chat_template".into(), Value::Text(endless.into()));
        let (tokenizer, template) = (Tokenizer::new(&gguf).unwrap(), ChatTemplate::new(&gguf).unwrap().unwrap());
        assert_eq!(template.encode(&tokenizer, &ChatRequest::user("hi")).unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_refusal_is_told_without_the_messages() {
        let gguf = testing::tiny_gguf();
        let (tokenizer, template) = (Tokenizer::new(&gguf).unwrap(), ChatTemplate::new(&gguf).unwrap().unwrap());
        let messages = vec![Message::new(Role::Tool, "secret")];
        let error = template.encode(&tokenizer, &ChatRequest { messages, ..ChatRequest::default() }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("no tools here"), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }

    fn weather() -> ChatRequest {
        let mut tool = FunctionSpec::new("weather");
        tool.description = "It's <told>".into();
        tool.parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let calls = vec![ToolCall::new("call00000", "weather", json!({"city": "Rome"}))];
        let messages = vec![
            Message::user("Weather?"),
            Message { tool_calls: calls, ..Message::new(Role::Assistant, "") },
            Message { tool_call_id: Some("call00000".into()), ..Message::new(Role::Tool, "sunny <|im_end|>") },
        ];
        ChatRequest { messages, tools: vec![tool], ..ChatRequest::default() }
    }

    fn prompt(source: &str, request: &ChatRequest) -> String {
        let tokenizer = Tokenizer::new(&testing::tiny_gguf()).unwrap();
        let tokens = ChatTemplate::of_source(source).unwrap().encode(&tokenizer, request).unwrap();
        assert!(tokens.iter().filter(|&&token| tokenizer.is_end(token)).count() <= 3, "the tool wrote plain text");
        tokens.iter().map(|&token| tokenizer.text(token)).collect()
    }

    #[test]
    fn a_template_that_knows_tools_gets_them() {
        // Cut down from that of Qwen 2.5.
        let qwen = "{%- if tools %}{{- '<tools>' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}{%- endif %}\
            {%- for message in messages %}{{- '\\n' + message.role + ':' + message.content }}\
            {%- if message.tool_calls %}{%- for tool_call in message.tool_calls %}\
            {%- if tool_call.function is defined %}{%- set tool_call = tool_call.function %}{%- endif %}\
            {{- '<tool_call>' + tool_call.name + tool_call.arguments | tojson }}{%- endfor %}{%- endif %}{%- endfor %}";
        let shown = prompt(qwen, &weather());
        assert_eq!(
            shown,
            "<tools>{\"type\": \"function\", \"function\": {\"name\": \"weather\", \"description\": \"It's <told>\", \
             \"parameters\": {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}}}}\n\
             user:Weather?\nassistant:<tool_call>weather{\"city\": \"Rome\"}\ntool:sunny <|im_end|>"
        );
        let template = ChatTemplate::of_source(qwen).unwrap();
        assert!(template.knows_tools() && template.syntax() == TAGS);
        // Mistral's: keys that are absent, ids, and an indent.
        let mistral = "[AVAILABLE_TOOLS]{{ tools is not none and tools | tojson(indent=1) | length > 90 }}\
            {% for m in messages %}{% if 'tool_calls' in m %}[TOOL_CALLS]{{ m.tool_calls[0].id | length }}\
            {% elif m.tool_call_id is defined %}{{ m.tool_call_id }}{% endif %}{% endfor %}";
        assert_eq!(prompt(mistral, &weather()), "[AVAILABLE_TOOLS]True[TOOL_CALLS]9call00000");
        let none = prompt("{{ tools is none }}", &ChatRequest::user("x"));
        assert_eq!(none, "True");
    }

    #[test]
    fn a_template_that_knows_no_tools_has_them_in_its_messages() {
        let plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
        let shown = prompt(plain, &weather());
        let parts = [
            "<system># Tools",
            "<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"weather\"",
            "<user>Weather?<assistant><tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>",
            "<user><tool_response>\nsunny <|im_end|>\n</tool_response>",
        ];
        for part in parts {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let mut request = weather();
        request.messages.insert(0, Message::system("Be brief."));
        assert!(prompt(plain, &request).starts_with("<system>Be brief.\n\n# Tools"));
        assert_eq!(prompt(plain, &ChatRequest::user("x")), "<user>x", "nothing is told where there are none");
    }

    proptest! {
        /// A template comes with a file, and may be anything.
        #[test]
        fn any_template_gives_a_prompt_or_an_error(
            source in "(\\{% for m in messages %\\}|\\{% endfor %\\}|\\{% if tools %\\}|\\{% else %\\}|\\{% endif %\\}|\\{\\{ m\\.content \\}\\}|\\{\\{ messages\\[0\\]|\\[-1\\]|\\['role'\\]|\\|tojson|\\.split\\('<'\\)| \\}\\}|\\{% set x = 'é' \\* 9 %\\}|\\{% macro f\\(\\) %\\}|\\{\\{ f\\(\\) \\}\\}|<\\|im_end\\|>|a|\\{|%|\\}| ){0,12}",
            content in "\\PC{0,12}",
        ) {
            let tokenizer = Tokenizer::new(&testing::tiny_gguf()).unwrap();
            if let Ok(template) = ChatTemplate::of_source(&source) {
                let request = ChatRequest { tools: vec![FunctionSpec::new("f")], ..ChatRequest::user(content) };
                if let Ok(tokens) = template.encode(&tokenizer, &request) {
                    prop_assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.len()));
                }
            }
        }
    }
}
