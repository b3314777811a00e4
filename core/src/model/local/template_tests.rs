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
fn a_template_that_asks_for_all_memory_is_refused() {
    let tokenizer = Tokenizer::new(&testing::tiny_gguf()).unwrap();
    for (source, fits) in [
        ("{{ 'x\ny'|indent(1099511627776) }}", false),
        ("{{ 'x\ny'|indent(width=1099511627776) }}", false),
        ("{{ '{:1099511627776}'.format('x') }}", false),
        ("{{ '%1099511627776s'|format('x') }}", false),
        ("{{ '%*d'|format(1099511627776, 1) }}", false),
        ("{{ [1]|batch(1099511627776, 0)|list|length }}", false),
        ("{{ 'x\ny'|indent(4) }}{{ '{:4}'.format('x') }}{{ '%4s'|format('x') }}", true),
    ] {
        let prompt = ChatTemplate::of_source(source).and_then(|it| it.encode(&tokenizer, &ChatRequest::user("hi")));
        assert_eq!(prompt.is_ok(), fits, "{source}");
    }
}

#[test]
fn as_many_beginnings_of_an_answer_as_there_are_take_one_turn() {
    let mut request = ChatRequest::user("Why?");
    request.messages.extend((0..20_000).map(|_| Message::new(Role::Assistant, "a")));
    let plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>";
    assert_eq!(prompt(plain, &request), format!("<user>Why?<assistant>{}", "a".repeat(20_000)));
    // Where nobody asked, the first is no beginning.
    request.messages.drain(..20_000);
    assert_eq!(prompt(plain, &request), "<assistant>a<assistant>");
}

#[test]
fn dates_and_tags_of_transformers_are_known() {
    let time = UNIX_EPOCH + std::time::Duration::from_secs(1_709_210_096);
    assert_eq!(
        date("%Y-%m-%d %H:%M:%S %A %a %B %b 100%% %q%", time),
        "2024-02-29 12:34:56 Thursday Thu February Feb 100% %q%"
    );
    assert_eq!(date("%d %b %Y", UNIX_EPOCH + std::time::Duration::from_hours(24 * 365)), "01 Jan 1971");
    let source = "{% set today = strftime_now('%Y') %}{{ today|length }}\n{%- generation -%} a {% endgeneration %}b";
    assert_eq!(prompt(source, &ChatRequest::user("x")), "4a b");
}

#[test]
fn ids_of_other_models_become_such_as_all_templates_take() {
    let call = |id: &str| ToolCall::new(id, "f", json!({}));
    let answer = |id: &str| Message { tool_call_id: Some(id.into()), ..Message::new(Role::Tool, "x") };
    let calls = vec![call("call_Ab3xxxxxxxxxxx"), call("aB3dE6gH9"), call("toolu_01")];
    let request = ChatRequest {
        messages: vec![
            Message::user("?"),
            Message { tool_calls: calls, ..Message::new(Role::Assistant, "") },
            answer("toolu_01"),
            answer("call_Ab3xxxxxxxxxxx"),
            answer("call00000"),
        ],
        ..ChatRequest::default()
    };
    let ids = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.id }} {% endfor %}\
        {% if m.tool_call_id is defined %}{{ m.tool_call_id }} {% endif %}{% endfor %}{{ tools is none }}";
    assert_eq!(prompt(ids, &request), "call00001 aB3dE6gH9 call00002 call00002 call00001 call00000 True");
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

#[test]
fn a_tag_without_an_end_is_refused() {
    for source in ["{%}", "a {%", "{%", "a {% generation", "{%-%}", "{%%}"] {
        assert!(ChatTemplate::of_source(source).is_err(), "{source}");
    }
    assert_eq!(without_generation("a {% if b"), "a {% if b");
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
