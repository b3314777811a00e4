//! Chat completions as they go over the wire: a request to JSON, events to pieces. Pure functions.

use serde_json::{Map, Value, json};

use super::{
    super::{
        calls::PartialCalls,
        request::{reasoning_effort, unsupported},
        stream::{Parser, Unreadable},
    },
    Dialect, tool_choice,
};
use crate::{
    error::Result,
    model::{
        ChatRequest, Delta, FinishReason, Message, ModelProfile, ResponseFormat, Role, ServiceTier, TokenLogprob,
        Usage, estimate_tokens,
    },
};

/// The body of a streamed request.
pub(super) fn body(profile: &ModelProfile, name: &str, dialect: Dialect, request: &ChatRequest) -> Result<Value> {
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.into(), value);
        }
    };
    put("model", json!(name));
    // Gemini wants back what it said beside a call; others refuse what they do not know.
    let extra = dialect == Dialect::Gemini || dialect == Dialect::Other && name.contains("gemini");
    put("messages", request.messages.iter().map(|one| message(one, extra)).collect());
    put("stream", json!(true));
    put("stream_options", json!({ "include_usage": true }));
    let sampling = &request.sampling;
    // OpenAI's newer models refuse the old name, other servers do not know the new one.
    put(if dialect == Dialect::OpenAi { "max_completion_tokens" } else { "max_tokens" }, json!(sampling.max_tokens));
    put("temperature", json!(sampling.temperature));
    put("top_p", json!(sampling.top_p));
    put("seed", json!(sampling.seed));
    if !sampling.stop.is_empty() {
        put("stop", json!(sampling.stop));
    }
    if let Some(top) = sampling.logprobs {
        put("logprobs", json!(true));
        put("top_logprobs", json!(top));
    }
    if !sampling.logit_bias.is_empty() {
        if dialect == Dialect::Gemini {
            return Err(unsupported(profile, "takes no logit_bias; leave it out"));
        }
        put("logit_bias", json!(sampling.logit_bias));
    }
    put("reasoning_effort", json!(reasoning_effort(profile, sampling)));
    // Providers take fewer ways of sampling than other servers.
    let others = [
        ("top_k", json!(sampling.top_k)),
        ("min_p", json!(sampling.min_p)),
        ("repetition_penalty", json!(sampling.repetition_penalty)),
    ];
    for (name, value) in others {
        if dialect != Dialect::Other && !value.is_null() {
            return Err(unsupported(profile, &format!("takes no {name}; leave it out")));
        }
        put(name, value);
    }
    if !request.tools.is_empty() {
        put("tools", request.tools.iter().map(|tool| json!({ "type": "function", "function": tool })).collect());
        put(
            "tool_choice",
            tool_choice(&request.tool_choice, |name| json!({ "type": "function", "function": { "name": name } })),
        );
        put("parallel_tool_calls", json!(request.parallel_tool_calls));
    }
    put("response_format", response_format(&request.response_format));
    Ok(Value::Object(body))
}

fn message(message: &Message, extra: bool) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut out = json!({ "role": role, "content": message.content });
    if !message.images.is_empty() {
        let images =
            message.images.iter().map(|image| json!({ "type": "image_url", "image_url": { "url": image.url } }));
        let text = json!({ "type": "text", "text": message.content });
        out["content"] = std::iter::once(text).chain(images).collect();
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments.to_string() });
            let mut out = json!({ "id": call.id, "type": "function", "function": function });
            if let Some(content) = call.extra_content.as_ref().filter(|_| extra) {
                out["extra_content"] = content.clone();
            }
            out
        });
        out["tool_calls"] = calls.collect();
    }
    if let Some(id) = &message.tool_call_id {
        out["tool_call_id"] = json!(id);
    }
    out
}

fn response_format(format: &ResponseFormat) -> Value {
    match format {
        // The last two are refused before, see `check`.
        ResponseFormat::Text | ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. } => Value::Null,
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, schema } => json!({
            "type": "json_schema",
            "json_schema": { "name": name, "schema": schema, "strict": true },
        }),
    }
}

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct ChatParser {
    /// Tokens of the request as estimated, for servers that do not say.
    estimated_input: u64,
    usage: Option<Usage>,
    tier: ServiceTier,
    finish_reason: Option<FinishReason>,
    calls: PartialCalls,
    pieces: u64,
    bytes: usize,
    ended: bool,
}

impl ChatParser {
    pub(super) fn new(estimated_input: u64) -> Self {
        Self {
            estimated_input,
            usage: None,
            tier: ServiceTier::Standard,
            finish_reason: None,
            calls: PartialCalls::default(),
            pieces: 0,
            bytes: 0,
            ended: false,
        }
    }

    fn choice<'a>(&mut self, choice: &'a Value, deltas: &mut Vec<Delta>) -> Result<(), Unreadable> {
        let delta = &choice["delta"];
        // What the model thinks, by the names of DeepSeek and vLLM, and of OpenRouter.
        let thoughts = ["reasoning_content", "reasoning"].map(|name| delta[name].as_str().map_or(0, str::len));
        // Some say the same in both.
        let mut hidden = thoughts.into_iter().max().unwrap_or(0);
        // Some servers send a list of parts, thoughts among them.
        let parts = delta["content"].as_array().into_iter().flatten();
        let parts = parts.filter_map(|part| match part["text"].as_str() {
            Some(text) if part["type"] == "text" => Some(text),
            _ => {
                hidden += thought_bytes(&part["thinking"]);
                None
            }
        });
        let parts: String = parts.collect();
        // A refusal is what the model says, in a field of its own.
        let texts = [delta["content"].as_str(), delta["refusal"].as_str(), Some(parts.as_str())];
        for text in texts.into_iter().flatten().filter(|text| !text.is_empty()) {
            self.pieces += 1;
            self.bytes += text.len();
            deltas.push(Delta::Text { text: text.to_owned() });
        }
        self.bytes += hidden;
        let logprobs = choice["logprobs"]["content"].as_array().into_iter().flatten();
        deltas.extend(logprobs.filter_map(logprob).map(|logprob| Delta::Logprob { logprob }));
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let text = |value: &'a Value| value.as_str().unwrap_or_default();
            let (id, function) = (text(&call["id"]), &call["function"]);
            let (name, arguments) = (text(&function["name"]), text(&function["arguments"]));
            let partial = self.calls.of_piece(call["index"].as_u64().unwrap_or(0), id, name)?;
            if partial.id.is_empty() {
                id.clone_into(&mut partial.id);
            }
            if partial.name.is_empty() {
                name.clone_into(&mut partial.name);
            }
            partial.arguments.push_str(arguments);
            if let Some(content) = call.get("extra_content").filter(|content| !content.is_null()) {
                partial.extra_content = Some(content.clone());
            }
            hidden += name.len() + arguments.len();
        }
        if hidden > 0 {
            deltas.push(Delta::Progress { bytes: hidden });
        }
        // Some servers say an empty one until they know.
        if let Some(reason) = choice["finish_reason"].as_str().filter(|reason| !reason.is_empty()) {
            self.finish_reason = Some(finish_reason(reason));
        }
        Ok(())
    }

    /// What the server said, or an estimate that is rather too high.
    fn usage(&self) -> Usage {
        let said = self.usage.map(|usage| Usage { tier: self.tier, ..usage });
        said.unwrap_or_else(|| {
            tracing::debug!("the server did not say how many tokens it used; they are estimated");
            let output_tokens = self.pieces.max(estimate_tokens(self.bytes + self.calls.bytes()));
            Usage { tier: self.tier, ..Usage::of(self.estimated_input, output_tokens) }
        })
    }
}

impl Parser for ChatParser {
    fn read(&mut self, data: &str) -> Result<Vec<Delta>, Unreadable> {
        if data.trim() == "[DONE]" {
            self.ended = true;
            return Ok(Vec::new());
        }
        let event: Value = serde_json::from_str(data).map_err(|_| Unreadable::Foreign)?;
        if event.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Unreadable::Refusal(event));
        }
        if !event.is_object() {
            return Err(Unreadable::Foreign);
        }
        let mut deltas = Vec::new();
        if let Some(choice) = event["choices"].get(0) {
            self.choice(choice, &mut deltas)?;
        }
        if let Some(tier) = event["service_tier"].as_str() {
            self.tier = ServiceTier::of_provider(Some(tier));
        }
        if let Some(usage) = usage(&event["usage"]) {
            self.usage = Some(usage);
            deltas.push(Delta::Usage { usage: self.usage(), whole: false });
        }
        Ok(deltas)
    }

    fn ended(&self) -> bool {
        self.ended
    }

    fn finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    fn end(&mut self) -> (Vec<Delta>, Result<()>) {
        // Some servers close without [DONE]; one that gave no reason to end was cut off.
        let Some(finish_reason) = self.finish_reason else { return (Vec::new(), Ok(())) };
        self.calls.end(self.usage(), finish_reason)
    }
}

/// Bytes of a thought: a text, or a list of parts that have one.
fn thought_bytes(value: &Value) -> usize {
    let parts = value.as_array().into_iter().flatten();
    value.as_str().map_or(0, str::len) + parts.filter_map(|part| part["text"].as_str()).map(str::len).sum::<usize>()
}

/// What the server counted. Gemini's endpoint leaves thoughts out of `completion_tokens` and has them in the total only.
fn usage(value: &Value) -> Option<Usage> {
    let (read, written) = (&value["prompt_tokens_details"], &value["completion_tokens_details"]);
    let (input_tokens, said) = (value["prompt_tokens"].as_u64()?, value["completion_tokens"].as_u64()?);
    let total = value["total_tokens"].as_u64().unwrap_or(0);
    let unsaid = total.saturating_sub(input_tokens.saturating_add(said));
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    Some(Usage {
        cached_tokens: number(&read["cached_tokens"]),
        // By the names of OpenRouter and of LiteLLM; OpenAI has none.
        cache_write_tokens: number(&read["cache_write_tokens"]).max(number(&read["cache_creation_tokens"])),
        reasoning_tokens: number(&written["reasoning_tokens"]).max(unsaid),
        image_output_tokens: number(&written["image_tokens"]),
        ..Usage::of(input_tokens, said.saturating_add(unsaid))
    })
}

pub(super) fn logprob(value: &Value) -> Option<TokenLogprob> {
    let one = |value: &Value| Some((value["token"].as_str()?.to_owned(), value["logprob"].as_f64()? as f32));
    let (token, logprob) = one(value)?;
    let top = value["top_logprobs"].as_array().into_iter().flatten().filter_map(one).collect();
    Some(TokenLogprob { token, logprob, top })
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "length" => FinishReason::Length,
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(super) mod tests;
