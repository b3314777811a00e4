use super::*;
use crate::{
    engine::FunctionSpec,
    error::ErrorKind,
    model::{Sampling, ToolCall},
};

fn read(events: &[&str]) -> Vec<Delta> {
    let mut parser = MessageParser::new(9);
    let mut deltas: Vec<_> = events.iter().flat_map(|event| parser.read(event).unwrap()).collect();
    let (rest, end) = parser.end();
    end.unwrap();
    deltas.extend(rest);
    deltas.retain(|delta| !matches!(delta, Delta::Progress { .. } | Delta::Usage { .. }));
    deltas
}

fn text(text: &str) -> Delta {
    Delta::Text { text: text.into() }
}

fn done(input_tokens: u64, cached_tokens: u64, output_tokens: u64, finish_reason: FinishReason) -> Delta {
    Delta::Done { usage: Usage { cached_tokens, ..Usage::of(input_tokens, output_tokens) }, finish_reason }
}

#[test]
fn a_text_with_cached_tokens() {
    let deltas = read(&[
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":25,"cache_read_input_tokens":100,"cache_creation_input_tokens":10,"output_tokens":1}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"!"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let usage = Usage { cached_tokens: 100, cache_write_tokens: 10, ..Usage::of(135, 15) };
    let done = Delta::Done { usage, finish_reason: FinishReason::Stop };
    assert_eq!(deltas, [text("Hello"), text("!"), done]);
}

#[test]
fn what_was_cached_for_an_hour_is_told_apart_and_so_is_the_tier() {
    let deltas = read(&[
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":25,"cache_read_input_tokens":0,"cache_creation_input_tokens":30,"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"batch"}}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let usage =
        Usage { cache_write_tokens: 10, cache_write_1h_tokens: 20, tier: ServiceTier::Batch, ..Usage::of(55, 15) };
    assert_eq!(deltas, [Delta::Done { usage, finish_reason: FinishReason::Stop }]);
}

#[test]
fn an_answer_of_litellm_whose_first_word_on_tokens_is_zero() {
    let deltas = read(&[
        r#"{"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 0, "output_tokens": 0, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}}}"#,
        r#"{"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}"#,
        r#"{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}"#,
        r#"{"type": "content_block_stop", "index": 0}"#,
        r#"{"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"input_tokens": 12, "output_tokens": 4}}"#,
        r#"{"type": "message_stop"}"#,
    ]);
    assert_eq!(deltas, [text("Hello"), done(12, 0, 4, FinishReason::Length)]);
}

#[test]
fn tool_use_is_put_together_by_index() {
    let deltas = read(&[
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"I look"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"q\": \"a"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"b\"}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"input_tokens":3,"output_tokens":7}}"#,
        r#"{"type":"message_stop"}"#,
    ]);
    let call = ToolCall::new("t", "search", json!({ "q": "ab" }));
    assert_eq!(deltas, [text("I look"), Delta::ToolCall { call }, done(3, 0, 7, FinishReason::ToolCalls)]);
}

#[test]
fn what_is_not_given_out_as_it_comes_is_told_and_so_is_what_was_read() {
    let mut parser = MessageParser::new(9);
    let mut read = |event: &str| parser.read(event).unwrap();
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":5,"cache_read_input_tokens":100,"output_tokens":1}}}"#;
    let usage = Usage { cached_tokens: 100, ..Usage::of(105, 1) };
    assert_eq!(read(start), [Delta::Usage { usage, whole: false }]);
    let thinking = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hmm"}}"#;
    assert_eq!(read(thinking), [Delta::Progress { bytes: 3 }]);
    let call = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"fly","input":{}}}"#;
    assert_eq!(read(call), [Delta::Progress { bytes: 3 }]);
    let piece =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"to"}}"#;
    assert_eq!(read(piece), [Delta::Progress { bytes: 4 }]);
    read(r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":15}}"#);
    assert!(parser.finished() && !parser.ended());
    let (deltas, end) = parser.end();
    assert_eq!(deltas, [Delta::Usage { usage: Usage { output_tokens: 15, ..usage }, whole: true }]);
    assert!(end.is_err_and(|error| error.message().contains("max_tokens")));
}

#[test]
fn a_block_may_begin_with_text() {
    let event = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#;
    assert_eq!(MessageParser::new(1).read(event).unwrap(), [text("Hi")]);
}

#[test]
fn an_error_or_an_early_end_is_no_answer() {
    let mut parser = MessageParser::new(1);
    let event = r#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
    assert!(matches!(parser.read(event), Err(Unreadable::Refusal(_))));
    assert!(matches!(parser.read("{}"), Err(Unreadable::Foreign)));
    assert_eq!(read(&[r#"{"type":"message_stop"}"#]), []);
}

#[test]
fn a_request_has_anthropics_form() {
    let profile = ModelProfile::local("m", 10_000);
    let mut request = ChatRequest::user("look");
    request.messages.insert(0, Message::system("be brief"));
    request.messages[1].images.push(ImageInput { url: "data:image/png;base64,AAAA".into() });
    let call = |id: &str| ToolCall::new(id, "search", json!({ "q": 1 }));
    request.messages.push(Message { tool_calls: vec![call("a"), call("b")], ..Message::new(Role::Assistant, "") });
    for id in ["a", "b"] {
        request.messages.push(Message { tool_call_id: Some(id.into()), ..Message::new(Role::Tool, "found") });
    }
    request.tools.push(FunctionSpec::new("search"));
    request.response_format = ResponseFormat::JsonSchema { name: "city".into(), schema: json!({ "type": "object" }) };
    let body = body(&profile, "name", &request, 9_900).unwrap();
    let used = |id: &str| json!({ "type": "tool_use", "id": id, "name": "search", "input": { "q": 1 } });
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "found" });
    assert_eq!(
        body,
        json!({
            "model": "name",
            "max_tokens": 100,
            "stream": true,
            "system": "be brief",
            "messages": [
                { "role": "user", "content": [
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } },
                    { "type": "text", "text": "look" },
                ] },
                { "role": "assistant", "content": [used("a"), used("b")] },
                { "role": "user", "content": [result("a"), result("b")] },
            ],
            "tools": [{ "name": "search", "description": "", "input_schema": { "type": "object" } }],
            "output_config": { "format": { "type": "json_schema", "schema": { "type": "object" } } },
        })
    );
}

#[test]
fn marks_choices_and_effort_go_in_the_words_of_the_protocol() {
    let mut profile = ModelProfile::local("m", 10_000);
    profile.capabilities.reasoning = true;
    let mut request = ChatRequest::user("hi");
    request.messages.insert(0, Message { cache: Some(CacheFor::OneHour), ..Message::system("long") });
    request.messages.insert(1, Message::system("short"));
    request.messages[2].cache = Some(CacheFor::FiveMinutes);
    request.tools.push(FunctionSpec::new("search"));
    request.parallel_tool_calls = Some(false);
    request.sampling.reasoning_effort = Some(ReasoningEffort::Minimal);
    let sent = body(&profile, "m", &request, 5).unwrap();
    let kept = |ttl: &str| json!({ "type": "ephemeral", "ttl": ttl });
    assert_eq!(sent["system"][0], json!({ "type": "text", "text": "long", "cache_control": kept("1h") }));
    assert_eq!(sent["system"][1], json!({ "type": "text", "text": "short" }));
    assert_eq!(sent["messages"][0]["content"][0]["cache_control"], kept("5m"));
    assert_eq!(sent["tool_choice"], json!({ "type": "auto", "disable_parallel_tool_use": true }));
    assert_eq!((&sent["thinking"]["type"], &sent["output_config"]["effort"]), (&json!("adaptive"), &json!("low")));
    let choices = [
        (ToolChoice::None, json!({ "type": "none" })),
        (ToolChoice::Required, json!({ "type": "any" })),
        (ToolChoice::Tool("search".into()), json!({ "type": "tool", "name": "search" })),
    ];
    request.parallel_tool_calls = None;
    for (choice, sent) in choices {
        request.tool_choice = choice;
        assert_eq!(body(&profile, "m", &request, 5).unwrap()["tool_choice"], sent);
    }
    request.sampling.reasoning_effort = Some(ReasoningEffort::None);
    assert_eq!(body(&profile, "m", &request, 5).unwrap()["thinking"]["type"], "disabled");
}

#[test]
fn one_text_goes_as_a_text() {
    let body = body(&ModelProfile::local("m", 10_000), "m", &ChatRequest::user("hi"), 5).unwrap();
    assert_eq!(body["messages"], json!([{ "role": "user", "content": "hi" }]));
    assert_eq!(body["max_tokens"], json!(1024));
}

#[test]
fn what_the_protocol_does_not_have_is_refused() {
    let profile = ModelProfile::local("m", 10_000);
    let samplings = [
        Sampling { seed: Some(1), ..Sampling::default() },
        Sampling { temperature: Some(1.5), ..Sampling::default() },
        Sampling { logprobs: Some(1), ..Sampling::default() },
    ];
    for sampling in samplings {
        let request = ChatRequest { sampling, ..ChatRequest::user("x") };
        assert_eq!(body(&profile, "m", &request, 1).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    let request = ChatRequest { response_format: ResponseFormat::JsonObject, ..ChatRequest::user("x") };
    assert_eq!(body(&profile, "m", &request, 1).unwrap_err().kind(), ErrorKind::Unsupported);
}

proptest::proptest! {
    #[test]
    fn no_json_makes_it_panic(
        events in proptest::collection::vec(super::super::super::openai::json_event(), 0..4)
    ) {
        let mut parser = MessageParser::new(1);
        for event in &events {
            let _ = parser.read(&event.to_string());
        }
        let _ = parser.end();
    }
}
