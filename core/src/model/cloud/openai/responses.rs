//! OpenAI's responses as they go over the wire: a request to JSON, events to pieces. Pure functions.

use serde_json::{Map, Value, json};

use super::{
    super::{
        calls::PartialCalls,
        request::{reasoning_effort, unsupported},
        stream::{Parser, Unreadable},
    },
    tool_choice,
    wire::logprob,
};
use crate::{
    error::Result,
    model::{
        ChatRequest, Delta, FinishReason, Message, ModelProfile, ResponseFormat, Role, ServiceTier, Usage,
        estimate_tokens,
    },
};

/// Tokens of an answer that the API takes at least.
const LEAST_MAX_TOKENS: u32 = 16;

/// The body of a streamed request.
pub(super) fn body(profile: &ModelProfile, name: &str, request: &ChatRequest) -> Result<Value> {
    let sampling = &request.sampling;
    let absent = [
        (sampling.seed.is_some(), "seed"),
        (!sampling.stop.is_empty(), "stop"),
        (!sampling.logit_bias.is_empty(), "logit_bias"),
        (sampling.top_k.is_some(), "top_k"),
        (sampling.min_p.is_some(), "min_p"),
        (sampling.repetition_penalty.is_some(), "repetition_penalty"),
    ];
    if let Some((_, what)) = absent.into_iter().find(|(asked, _)| *asked) {
        return Err(unsupported(profile, &format!("takes no {what} by `responses`; leave it out, or use `chat`")));
    }
    if sampling.max_tokens.is_some_and(|tokens| tokens < LEAST_MAX_TOKENS) {
        let message =
            format!("takes a max_tokens of {LEAST_MAX_TOKENS} or more by `responses`; allow more, or use `chat`");
        return Err(unsupported(profile, &message));
    }
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.into(), value);
        }
    };
    put("model", json!(name));
    put("input", request.messages.iter().flat_map(items).collect());
    put("stream", json!(true));
    // The server would keep prompt and answer for weeks.
    put("store", json!(false));
    put("max_output_tokens", json!(sampling.max_tokens));
    put("temperature", json!(sampling.temperature));
    put("top_p", json!(sampling.top_p));
    if let Some(top) = sampling.logprobs {
        put("top_logprobs", json!(top));
        put("include", json!(["message.output_text.logprobs"]));
    }
    if let Some(effort) = reasoning_effort(profile, sampling) {
        put("reasoning", json!({ "effort": effort }));
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| {
            let (name, description, parameters) = (&tool.name, &tool.description, &tool.parameters);
            // By default the API asks more of a schema than JSON schema does.
            json!({ "type": "function", "name": name, "description": description, "parameters": parameters, "strict": false })
        });
        put("tools", tools.collect());
        put("tool_choice", tool_choice(&request.tool_choice, |name| json!({ "type": "function", "name": name })));
        put("parallel_tool_calls", json!(request.parallel_tool_calls));
    }
    put("text", text_format(&request.response_format));
    Ok(Value::Object(body))
}

/// What stands for `message` in the input: calls and their results are items of their own.
fn items(message: &Message) -> Vec<Value> {
    if let (Role::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        return vec![json!({ "type": "function_call_output", "call_id": id, "output": message.content })];
    }
    let role = match message.role {
        Role::System => "system",
        Role::User | Role::Tool => "user",
        Role::Assistant => "assistant",
    };
    let mut items = Vec::new();
    if !message.images.is_empty() {
        let text = json!({ "type": "input_text", "text": message.content });
        let images = message.images.iter().map(|image| json!({ "type": "input_image", "image_url": image.url }));
        items.push(json!({ "role": role, "content": std::iter::once(text).chain(images).collect::<Value>() }));
    } else if !message.content.is_empty() || message.tool_calls.is_empty() {
        items.push(json!({ "role": role, "content": message.content }));
    }
    items.extend(message.tool_calls.iter().map(|call| {
        let arguments = call.arguments.to_string();
        json!({ "type": "function_call", "call_id": call.id, "name": call.name, "arguments": arguments })
    }));
    items
}

fn text_format(format: &ResponseFormat) -> Value {
    match format {
        // The last two are refused before, see `check`.
        ResponseFormat::Text | ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. } => Value::Null,
        ResponseFormat::JsonObject => json!({ "format": { "type": "json_object" } }),
        ResponseFormat::JsonSchema { name, schema } => json!({
            "format": { "type": "json_schema", "name": name, "schema": schema, "strict": true },
        }),
    }
}

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct ResponseParser {
    /// Tokens of the request as estimated, for servers that do not say.
    estimated_input: u64,
    usage: Option<Usage>,
    finish_reason: Option<FinishReason>,
    calls: PartialCalls,
    called: bool,
    bytes: usize,
}

impl ResponseParser {
    pub(super) fn new(estimated_input: u64) -> Self {
        Self {
            estimated_input,
            usage: None,
            finish_reason: None,
            calls: PartialCalls::default(),
            called: false,
            bytes: 0,
        }
    }

    fn text(&mut self, event: &Value) -> Vec<Delta> {
        let text = event["delta"].as_str().unwrap_or_default();
        self.bytes += text.len();
        let text = (!text.is_empty()).then(|| Delta::Text { text: text.to_owned() });
        let logprobs = event["logprobs"].as_array().into_iter().flatten().filter_map(logprob);
        text.into_iter().chain(logprobs.map(|logprob| Delta::Logprob { logprob })).collect()
    }

    /// An item began or ended; the end says again what its pieces said.
    fn item(&mut self, event: &Value) -> Result<(), Unreadable> {
        let item = &event["item"];
        if item["type"] == "function_call" {
            self.called = true;
            let partial = self.calls.at(event["output_index"].as_u64().unwrap_or(0))?;
            item["call_id"].as_str().unwrap_or_default().clone_into(&mut partial.id);
            item["name"].as_str().unwrap_or_default().clone_into(&mut partial.name);
            if let Some(arguments) = item["arguments"].as_str().filter(|arguments| !arguments.is_empty()) {
                arguments.clone_into(&mut partial.arguments);
            }
        }
        Ok(())
    }

    fn arguments(&mut self, event: &Value) -> Result<(), Unreadable> {
        let index = event["output_index"].as_u64().unwrap_or(0);
        if self.calls.existing(index).is_some() {
            self.calls.at(index)?.arguments.push_str(event["delta"].as_str().unwrap_or_default());
        }
        Ok(())
    }

    /// A piece of what is not given out as it comes: of arguments, or of a thought.
    fn hidden(event: &Value) -> Vec<Delta> {
        let bytes = event["delta"].as_str().map_or(0, str::len);
        (bytes > 0).then_some(Delta::Progress { bytes }).into_iter().collect()
    }

    fn over(&mut self, response: &Value) {
        let tier = ServiceTier::of_provider(response["service_tier"].as_str());
        self.usage = usage(&response["usage"]).map(|usage| Usage { tier, ..usage });
        self.finish_reason = Some(match response["incomplete_details"]["reason"].as_str() {
            Some("content_filter") => FinishReason::ContentFilter,
            Some(_) => FinishReason::Length,
            None if self.called => FinishReason::ToolCalls,
            None => FinishReason::Stop,
        });
    }

    /// What the server said, or an estimate that is rather too high.
    fn usage(&self) -> Usage {
        self.usage.unwrap_or_else(|| {
            tracing::debug!("the server did not say how many tokens it used; they are estimated");
            let output_tokens = estimate_tokens(self.bytes + self.calls.bytes());
            Usage::of(self.estimated_input, output_tokens)
        })
    }
}

impl Parser for ResponseParser {
    fn read(&mut self, data: &str) -> Result<Vec<Delta>, Unreadable> {
        if data.trim() == "[DONE]" {
            return Ok(Vec::new());
        }
        let event: Value = serde_json::from_str(data).map_err(|_| Unreadable::Foreign)?;
        match event["type"].as_str().ok_or(Unreadable::Foreign)? {
            "response.output_text.delta" | "response.refusal.delta" => return Ok(self.text(&event)),
            "response.output_item.added" | "response.output_item.done" => self.item(&event)?,
            "response.function_call_arguments.delta" => {
                self.arguments(&event)?;
                return Ok(Self::hidden(&event));
            }
            "response.reasoning_text.delta" | "response.reasoning_summary_text.delta" => {
                return Ok(Self::hidden(&event));
            }
            "response.completed" | "response.incomplete" => self.over(&event["response"]),
            "response.failed" => return Err(Unreadable::Refusal(event["response"].clone())),
            "error" => return Err(Unreadable::Refusal(event)),
            // Progress, ends of parts, and kinds that come later.
            _ => {}
        }
        Ok(Vec::new())
    }

    fn ended(&self) -> bool {
        self.finish_reason.is_some()
    }

    fn finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    fn end(&mut self) -> (Vec<Delta>, Result<()>) {
        let Some(finish_reason) = self.finish_reason else { return (Vec::new(), Ok(())) };
        self.calls.end(self.usage(), finish_reason)
    }
}

fn usage(value: &Value) -> Option<Usage> {
    let number = |part: &str, name: &str| value[part][name].as_u64().unwrap_or(0);
    Some(Usage {
        cached_tokens: number("input_tokens_details", "cached_tokens"),
        reasoning_tokens: number("output_tokens_details", "reasoning_tokens"),
        ..Usage::of(value["input_tokens"].as_u64()?, value["output_tokens"].as_u64()?)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::json_event, *};
    use crate::{
        engine::FunctionSpec,
        error::ErrorKind,
        model::{ImageInput, ReasoningEffort, Sampling, ToolCall, ToolChoice},
    };
    use proptest::prelude::*;

    fn profile() -> ModelProfile {
        ModelProfile::local("m", 4096)
    }

    fn read(events: &[Value]) -> Vec<Delta> {
        let mut parser = ResponseParser::new(9);
        let mut deltas: Vec<_> = events.iter().flat_map(|event| parser.read(&event.to_string()).unwrap()).collect();
        let (rest, end) = parser.end();
        end.unwrap();
        deltas.extend(rest);
        deltas.retain(|delta| !matches!(delta, Delta::Progress { .. } | Delta::Usage { .. }));
        deltas
    }

    fn done(input_tokens: u64, output_tokens: u64, finish_reason: FinishReason) -> Delta {
        Delta::Done { usage: Usage::of(input_tokens, output_tokens), finish_reason }
    }

    #[test]
    fn a_chat_with_a_tool_goes_as_items() {
        let mut request = ChatRequest::user("look");
        request.messages[0].images.push(ImageInput { url: "https://example.com/a.png".into() });
        let call = ToolCall::new("c1", "search", json!({ "q": 1 }));
        request.messages.push(Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") });
        request.messages.push(Message { tool_call_id: Some("c1".into()), ..Message::new(Role::Tool, "found") });
        request.tools.push(FunctionSpec::new("search"));
        request.tool_choice = ToolChoice::Tool("search".into());
        request.parallel_tool_calls = Some(false);
        request.sampling.max_tokens = Some(50);
        request.sampling.reasoning_effort = Some(ReasoningEffort::Low);
        let body = body(&profile(), "gpt", &request).unwrap();
        assert_eq!(body["input"][0]["content"][1]["image_url"], "https://example.com/a.png");
        assert_eq!(
            body["input"][1],
            json!({ "type": "function_call", "call_id": "c1", "name": "search", "arguments": "{\"q\":1}" })
        );
        assert_eq!(body["input"][2], json!({ "type": "function_call_output", "call_id": "c1", "output": "found" }));
        assert_eq!(body["input"].as_array().unwrap().len(), 3);
        assert_eq!(body["tool_choice"], json!({ "type": "function", "name": "search" }));
        assert_eq!((&body["parallel_tool_calls"], &body["store"]), (&json!(false), &json!(false)));
        assert_eq!((&body["max_output_tokens"], &body["reasoning"]["effort"]), (&json!(50), &json!("low")));
    }

    #[test]
    fn what_responses_do_not_take_is_refused() {
        let sampling = Sampling { max_tokens: Some(15), ..Sampling::default() };
        let error = body(&profile(), "gpt", &ChatRequest { sampling, ..ChatRequest::user("x") }).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("16"), "{error}");
        let sampling = Sampling { seed: Some(1), ..Sampling::default() };
        let error = body(&profile(), "gpt", &ChatRequest { sampling, ..ChatRequest::user("x") }).unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("seed"), "{error}");
    }

    #[test]
    fn an_answer_with_text_and_a_call() {
        let deltas = read(&[
            json!({ "type": "response.created", "response": { "status": "in_progress" } }),
            json!({ "type": "response.output_text.delta", "output_index": 0, "delta": "Hi", "logprobs": [{ "token": "Hi", "logprob": -0.5, "top_logprobs": [] }] }),
            json!({ "type": "response.output_item.added", "output_index": 1, "item": { "type": "function_call", "call_id": "c", "name": "now", "arguments": "" } }),
            json!({ "type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{\"z\"" }),
            json!({ "type": "response.function_call_arguments.delta", "output_index": 1, "delta": ":1}" }),
            json!({ "type": "response.output_item.done", "output_index": 1, "item": { "type": "function_call", "call_id": "c", "name": "now", "arguments": "{\"z\":1}" } }),
            json!({ "type": "response.completed", "response": { "status": "completed", "usage": { "input_tokens": 4, "output_tokens": 2 } } }),
        ]);
        let call = ToolCall::new("c", "now", json!({ "z": 1 }));
        assert_eq!(deltas[0], Delta::Text { text: "Hi".into() });
        assert!(matches!(&deltas[1], Delta::Logprob { logprob } if logprob.token == "Hi"));
        assert_eq!(deltas[2..], [Delta::ToolCall { call }, done(4, 2, FinishReason::ToolCalls)]);
    }

    #[test]
    fn an_answer_without_its_end_was_cut_off_and_a_short_one_says_why() {
        let text = json!({ "type": "response.output_text.delta", "delta": "Hi" });
        assert_eq!(read(std::slice::from_ref(&text)), [Delta::Text { text: "Hi".into() }]);
        let why = |reason: &str| {
            let details = json!({ "reason": reason });
            let over = json!({ "type": "response.incomplete", "response": { "incomplete_details": details } });
            read(&[text.clone(), over])[1].clone()
        };
        assert_eq!(why("max_output_tokens"), done(9, 1, FinishReason::Length));
        assert_eq!(why("content_filter"), done(9, 1, FinishReason::ContentFilter));
    }

    #[test]
    fn arguments_and_thoughts_are_told_as_progress() {
        let mut parser = ResponseParser::new(9);
        let mut bytes = |kind: &str| {
            let event = json!({ "type": format!("response.{kind}.delta"), "output_index": 0, "delta": "abc" });
            parser.read(&event.to_string()).unwrap()
        };
        for kind in ["function_call_arguments", "reasoning_text", "reasoning_summary_text"] {
            assert_eq!(bytes(kind), [Delta::Progress { bytes: 3 }], "{kind}");
        }
    }

    #[test]
    fn a_model_that_cannot_reason_is_not_told_not_to() {
        let sampling = Sampling { reasoning_effort: Some(ReasoningEffort::None), ..Sampling::default() };
        let request = ChatRequest { sampling, ..ChatRequest::user("x") };
        assert_eq!(body(&profile(), "gpt", &request).unwrap()["reasoning"], Value::Null);
    }

    #[test]
    fn what_was_taken_is_told_also_when_a_call_is_none() {
        let mut parser = ResponseParser::new(9);
        let item = json!({ "type": "function_call", "call_id": "c", "name": "now", "arguments": "{\"z\"" });
        let usage = json!({ "input_tokens": 4, "output_tokens": 2 });
        let over = json!({ "type": "response.completed", "response": { "usage": usage } });
        for event in [json!({ "type": "response.output_item.done", "item": item }), over] {
            parser.read(&event.to_string()).unwrap();
        }
        let (deltas, end) = parser.end();
        assert_eq!(deltas, [Delta::Usage { usage: Usage::of(4, 2), whole: true }]);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::Rejected);
    }

    #[test]
    fn a_failure_inside_is_the_servers_error() {
        let event = json!({ "type": "response.failed", "response": { "error": { "code": "rate_limit_exceeded" } } });
        let failed = ResponseParser::new(1).read(&event.to_string());
        assert!(matches!(failed, Err(Unreadable::Refusal(body)) if body["error"]["code"] == "rate_limit_exceeded"));
    }

    proptest! {
        #[test]
        fn no_event_makes_it_panic(events in prop::collection::vec(json_event(), 0..6), kind in 0usize..5) {
            let kinds = ["response.output_item.added", "response.completed", "response.output_text.delta",
                "response.function_call_arguments.delta", "response.incomplete"];
            let mut parser = ResponseParser::new(1);
            for mut event in events {
                if let Some(event) = event.as_object_mut() {
                    event.insert("type".into(), json!(kinds[kind]));
                }
                let _ = parser.read(&event.to_string());
            }
            let _ = parser.end();
        }
    }
}
