use super::*;
use crate::{
    engine::FunctionSpec,
    error::ErrorKind,
    model::{ImageInput, Sampling, ToolCall},
};

/// Reads `events` to the end.
fn read(events: &[&str]) -> Vec<Delta> {
    let mut parser = ChatParser::new(9);
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
fn an_answer_of_openai_with_usage() {
    let deltas = read(&[
        r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"!"},"finish_reason":null}],"usage":null}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":8}}}"#,
        "[DONE]",
    ]);
    assert_eq!(deltas, [text("Hi"), text("!"), done(12, 8, 2, FinishReason::Stop)]);
}

#[test]
fn thoughts_and_the_tier_are_told_apart() {
    let end =
        |usage: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"stop"}}],"usage":{usage}}}"#);
    let usage = |events: &[&str]| match read(events).pop() {
        Some(Delta::Done { usage, .. }) => usage,
        other => panic!("{other:?}"),
    };
    let openai = end(
        r#"{"prompt_tokens":12,"completion_tokens":50,"total_tokens":62,"completion_tokens_details":{"reasoning_tokens":40}}"#,
    );
    let flex = r#"{"service_tier":"flex","choices":[]}"#;
    let expected = Usage { reasoning_tokens: 40, tier: ServiceTier::Flex, ..Usage::of(12, 50) };
    assert_eq!(usage(&[flex, &openai, "[DONE]"]), expected);
    let gemini = end(r#"{"prompt_tokens":12,"completion_tokens":10,"total_tokens":62}"#);
    assert_eq!(usage(&[&gemini, "[DONE]"]), Usage { reasoning_tokens: 40, ..Usage::of(12, 50) });
    let routed = end(
        r#"{"prompt_tokens":12,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":8}}"#,
    );
    assert_eq!(usage(&[&routed, "[DONE]"]), Usage { cached_tokens: 4, cache_write_tokens: 8, ..Usage::of(12, 1) });
}

#[test]
fn an_answer_of_llama_cpp_without_usage_is_estimated() {
    let deltas = read(&[
        r#"{"id": "c", "model": "smollm2", "choices": [{"index": 0, "delta": {"role": "assistant"}, "logprobs": null, "finish_reason": null}]}"#,
        r#"{"id": "c", "model": "smollm2", "choices": [{"index": 0, "delta": {"content": " a"}, "logprobs": null, "finish_reason": null}]}"#,
        r#"{"id": "c", "model": "smollm2", "choices": [{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length"}]}"#,
    ]);
    assert_eq!(deltas, [text(" a"), done(9, 0, 1, FinishReason::Length)]);
}

#[test]
fn tool_calls_are_put_together_by_index() {
    let deltas = read(&[
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"search","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"q\":"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"now","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"x\"}"}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
        "[DONE]",
    ]);
    let call = |id: &str, name: &str, arguments| Delta::ToolCall { call: ToolCall::new(id, name, arguments) };
    let calls = [call("a", "search", json!({ "q": "x" })), call("b", "now", json!({}))];
    assert_eq!(deltas, [&calls[..], &[done(1, 0, 2, FinishReason::ToolCalls)]].concat());
}

#[test]
fn arguments_that_are_not_json_are_an_error_and_a_short_answer_says_so() {
    for (reason, retryable) in [("tool_calls", true), ("length", false)] {
        let mut parser = ChatParser::new(1);
        let event = json!({ "choices": [{
            "delta": { "tool_calls": [{ "index": 0, "function": { "name": "f", "arguments": "{\"q\":" } }] },
            "finish_reason": reason,
        }], "usage": { "prompt_tokens": 7, "completion_tokens": 4096 } });
        parser.read(&event.to_string()).unwrap();
        let (deltas, end) = parser.end();
        // What the server said it took is not lost with the answer.
        assert_eq!(deltas, [Delta::Usage { usage: Usage::of(7, 4096), whole: true }]);
        let error = end.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Rejected, retryable));
    }
}

#[test]
fn what_is_not_given_out_as_it_comes_is_told_as_progress() {
    let pieces =
        |delta: Value| ChatParser::new(1).read(&json!({ "choices": [{ "delta": delta }] }).to_string()).unwrap();
    let progress = |bytes| [Delta::Progress { bytes }];
    let call = json!({ "index": 0, "id": "a", "function": { "name": "fly", "arguments": "{\"to\"" } });
    assert_eq!(pieces(json!({ "tool_calls": [call] })), progress(8));
    assert_eq!(pieces(json!({ "content": "", "reasoning_content": "hmm" })), progress(3));
    assert_eq!(pieces(json!({ "reasoning": "hmm", "reasoning_content": "hmm" })), progress(3));
    assert_eq!(pieces(json!({ "content": null, "reasoning": null })), []);
    let parts = json!({ "content": [
        { "type": "thinking", "thinking": [{ "type": "text", "text": "hm" }] },
        { "type": "text", "text": "Pa" }, { "type": "text", "text": "ris" },
    ] });
    assert_eq!(pieces(parts), [text("Paris"), Delta::Progress { bytes: 2 }]);
}

#[test]
fn what_is_said_of_tokens_before_the_end_is_told() {
    let mut parser = ChatParser::new(1);
    let event = r#"{"choices":[{"delta":{"content":"Hi"}}],"usage":{"prompt_tokens":5,"completion_tokens":1}}"#;
    assert_eq!(parser.read(event).unwrap(), [text("Hi"), Delta::Usage { usage: Usage::of(5, 1), whole: false }]);
}

#[test]
fn calls_are_called_so_whatever_the_server_says_of_the_end_and_what_it_sent_beside_them_goes_back() {
    let deltas = read(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{\"x\":1}"},"extra_content":{"google":{"thought_signature":"sig"}}},{"id":"b","function":{"name":"g","arguments":"{}"}}]}}]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
    ]);
    let signed = json!({ "google": { "thought_signature": "sig" } });
    let one = ToolCall { extra_content: Some(signed.clone()), ..ToolCall::new("a", "f", json!({ "x": 1 })) };
    let other = ToolCall::new("b", "g", json!({}));
    let calls = [one.clone(), other].map(|call| Delta::ToolCall { call });
    assert_eq!(deltas, [&calls[..], &[done(1, 0, 2, FinishReason::ToolCalls)]].concat());

    let profile = ModelProfile::local("m", 10_000);
    let mut request = ChatRequest::user("look");
    request.messages.push(Message { tool_calls: vec![one], ..Message::new(Role::Assistant, "") });
    let sent = |dialect, name| {
        let body = body(&profile, name, dialect, &request).unwrap();
        body["messages"][1]["tool_calls"][0]["extra_content"].clone()
    };
    assert_eq!((sent(Dialect::Gemini, "m"), sent(Dialect::Other, "gemini-3")), (signed.clone(), signed));
    assert_eq!((sent(Dialect::OpenAi, "m"), sent(Dialect::Other, "m")), (Value::Null, Value::Null), "others refuse it");
}

#[test]
fn an_empty_reason_to_end_is_none() {
    let mut parser = ChatParser::new(1);
    parser.read(r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":""}]}"#).unwrap();
    assert!(!parser.finished());
}

#[test]
fn a_model_that_cannot_reason_is_not_told_not_to() {
    let mut profile = ModelProfile::local("m", 10_000);
    let sampling = Sampling { reasoning_effort: Some(crate::model::ReasoningEffort::None), ..Sampling::default() };
    let request = ChatRequest { sampling, ..ChatRequest::user("x") };
    let effort =
        |profile: &ModelProfile| body(profile, "m", Dialect::OpenAi, &request).unwrap()["reasoning_effort"].clone();
    assert_eq!(effort(&profile), Value::Null);
    profile.capabilities.reasoning = true;
    assert_eq!(effort(&profile), "none");
}

#[test]
fn log_probabilities_come_with_their_alternatives() {
    let deltas = read(&[
        r#"{"choices": [{"index": 0, "delta": {"content": "In"}, "logprobs": {"content": [{"token": "In", "bytes": null, "logprob": -3.25, "top_logprobs": [{"token": "The", "logprob": -1.5, "bytes": null}]}], "refusal": null}, "finish_reason": "stop"}]}"#,
    ]);
    let logprob = TokenLogprob { token: "In".into(), logprob: -3.25, top: vec![("The".into(), -1.5)] };
    assert_eq!(deltas[1], Delta::Logprob { logprob });
}

#[test]
fn a_stream_without_a_reason_to_end_was_cut_off() {
    assert_eq!(read(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#]), [text("Hi")]);
    assert_eq!(read(&["[DONE]"]), []);
}

#[test]
fn an_error_in_the_stream_is_the_providers() {
    let mut parser = ChatParser::new(1);
    let refused = parser.read(r#"{"error":{"type":"server_error","message":"x"}}"#);
    assert!(matches!(refused, Err(Unreadable::Refusal(_))));
    assert!(matches!(parser.read("<html>"), Err(Unreadable::Foreign)));
    assert!(matches!(parser.read("[]"), Err(Unreadable::Foreign)));
}

#[test]
fn a_request_has_openais_form() {
    let profile = ModelProfile::local("m", 10_000);
    let mut request = ChatRequest::user("look");
    request.messages.insert(0, Message::system("be brief"));
    request.messages[1].images.push(ImageInput { url: "https://example.com/a.png".into() });
    let call = ToolCall::new("a", "search", json!({ "q": 1 }));
    request.messages.push(Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") });
    request.messages.push(Message { tool_call_id: Some("a".into()), ..Message::new(Role::Tool, "found") });
    request.tools.push(FunctionSpec::new("search"));
    request.response_format = ResponseFormat::JsonSchema { name: "city".into(), schema: json!({ "type": "object" }) };
    request.sampling = Sampling { max_tokens: Some(5), stop: vec!["\n".into()], ..Sampling::default() };
    let body = body(&profile, "name", Dialect::OpenAi, &request).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "name",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": [
                    { "type": "text", "text": "look" },
                    { "type": "image_url", "image_url": { "url": "https://example.com/a.png" } },
                ] },
                { "role": "assistant", "content": "", "tool_calls": [
                    { "id": "a", "type": "function", "function": { "name": "search", "arguments": "{\"q\":1}" } },
                ] },
                { "role": "tool", "content": "found", "tool_call_id": "a" },
            ],
            "stream": true,
            "stream_options": { "include_usage": true },
            "max_completion_tokens": 5,
            "stop": ["\n"],
            "tools": [{ "type": "function", "function": {
                "name": "search", "description": "", "parameters": { "type": "object" },
            } }],
            "response_format": { "type": "json_schema", "json_schema": {
                "name": "city", "schema": { "type": "object" }, "strict": true,
            } },
        })
    );
}

#[test]
fn sampling_that_openai_does_not_take_goes_to_other_servers_only() {
    let profile = ModelProfile::local("m", 10_000);
    let sampling = Sampling { top_k: Some(5), max_tokens: Some(3), ..Sampling::default() };
    let request = ChatRequest { sampling, ..ChatRequest::user("x") };
    assert_eq!(body(&profile, "m", Dialect::OpenAi, &request).unwrap_err().kind(), ErrorKind::Unsupported);
    let other = body(&profile, "m", Dialect::Other, &request).unwrap();
    assert_eq!((&other["top_k"], &other["max_tokens"]), (&json!(5), &json!(3)));
}

/// Any JSON, often with the names that the parsers look for.
pub(in crate::model::cloud) fn json_event() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let names = [
        "choices",
        "delta",
        "content",
        "tool_calls",
        "index",
        "function",
        "arguments",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "logprobs",
        "top_logprobs",
        "token",
        "type",
        "content_block",
        "partial_json",
        "text",
        "message",
        "stop_reason",
        "input_tokens",
        "error",
    ];
    let kinds = ["content_block_start", "content_block_delta", "message_delta", "tool_use", "input_json_delta", "stop"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(kinds.to_vec()).prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
    ];
    let names = names.to_vec();
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(prop::sample::select(names.clone()), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

proptest::proptest! {
    #[test]
    fn no_json_makes_it_panic(events in proptest::collection::vec(json_event(), 0..4)) {
        let mut parser = ChatParser::new(1);
        for event in &events {
            let _ = parser.read(&event.to_string());
        }
        let _ = parser.end();
    }
}
