//! Anthropic's messages as they go over the wire: a request to JSON, events to pieces. Pure functions.

use serde_json::{Map, Value, json};

use super::super::{
    calls::PartialCalls,
    request::{reasoning_effort, unsupported},
    stream::{Parser, Unreadable},
};
use crate::{
    error::{Error, Result},
    model::{
        CacheFor, ChatRequest, Delta, FinishReason, ImageInput, Message, ModelProfile, ReasoningEffort, ResponseFormat,
        Role, ServiceTier, ToolChoice, Usage, estimate_tokens,
    },
};

/// Tokens an answer may have when the request does not say; the protocol wants a number.
const DEFAULT_MAX_TOKENS: u64 = 1024;

/// The body of a streamed request that has `input_tokens`.
pub(super) fn body(profile: &ModelProfile, name: &str, request: &ChatRequest, input_tokens: u64) -> Result<Value> {
    let sampling = &request.sampling;
    let absent = [
        (sampling.seed.is_some(), "seed"),
        (sampling.min_p.is_some(), "min_p"),
        (sampling.repetition_penalty.is_some(), "repetition_penalty"),
        (sampling.logprobs.is_some(), "logprobs"),
        (!sampling.logit_bias.is_empty(), "logit_bias"),
        (sampling.temperature.is_some_and(|t| t > 1.0), "temperature above 1"),
    ];
    if let Some((_, what)) = absent.into_iter().find(|(asked, _)| *asked) {
        return Err(unsupported(profile, &format!("takes no {what}; leave it out")));
    }
    let left = profile.context_length.saturating_sub(input_tokens).max(1);
    let max_tokens = sampling.max_tokens.map_or(DEFAULT_MAX_TOKENS.min(left), u64::from);
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            body.insert(name.into(), value);
        }
    };
    put("model", json!(name));
    put("max_tokens", json!(max_tokens));
    put("stream", json!(true));
    put("system", system(&request.messages));
    put("messages", messages(&request.messages)?);
    put("temperature", json!(sampling.temperature));
    put("top_p", json!(sampling.top_p));
    put("top_k", json!(sampling.top_k));
    if !sampling.stop.is_empty() {
        put("stop_sequences", json!(sampling.stop));
    }
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|tool| json!({ "name": tool.name, "description": tool.description, "input_schema": tool.parameters }));
        put("tools", tools.collect());
        put("tool_choice", tool_choice(&request.tool_choice, request.parallel_tool_calls));
    }
    let mut output = Map::new();
    match &request.response_format {
        // The last two are refused before, see `check`.
        ResponseFormat::Text | ResponseFormat::Regex { .. } | ResponseFormat::Grammar { .. } => {}
        ResponseFormat::JsonSchema { schema, .. } => {
            output.insert("format".into(), json!({ "type": "json_schema", "schema": schema }));
        }
        ResponseFormat::JsonObject => {
            return Err(unsupported(profile, "writes JSON to a schema only; ask for `json_schema`"));
        }
    }
    match reasoning_effort(profile, sampling) {
        None => {}
        Some(ReasoningEffort::None) => put("thinking", json!({ "type": "disabled" })),
        Some(effort) => {
            put("thinking", json!({ "type": "adaptive" }));
            // The least that the protocol has a name for.
            let effort = if effort == ReasoningEffort::Minimal { ReasoningEffort::Low } else { effort };
            output.insert("effort".into(), json!(effort));
        }
    }
    if !output.is_empty() {
        put("output_config", Value::Object(output));
    }
    Ok(Value::Object(body))
}

fn tool_choice(choice: &ToolChoice, parallel: Option<bool>) -> Value {
    let mut choice = match choice {
        ToolChoice::Auto if parallel.is_none() => return Value::Null,
        ToolChoice::Auto => json!({ "type": "auto" }),
        ToolChoice::None => return json!({ "type": "none" }),
        ToolChoice::Required => json!({ "type": "any" }),
        ToolChoice::Tool(name) => json!({ "type": "tool", "name": name }),
    };
    if let Some(parallel) = parallel {
        choice["disable_parallel_tool_use"] = json!(!parallel);
    }
    choice
}

/// Instructions go beside the chat.
fn system(messages: &[Message]) -> Value {
    let said = messages.iter().filter(|message| message.role == Role::System && !message.content.is_empty());
    let said: Vec<_> = said.collect();
    if said.is_empty() {
        return Value::Null;
    }
    if said.iter().all(|message| message.cache.is_none()) {
        return json!(said.iter().map(|message| message.content.as_str()).collect::<Vec<_>>().join("\n\n"));
    }
    let blocks = said.into_iter().map(|message| {
        let mut blocks = vec![json!({ "type": "text", "text": message.content })];
        mark(&mut blocks, message.cache);
        blocks.remove(0)
    });
    blocks.collect()
}

/// Asks for everything up to the last of `blocks` to be kept.
fn mark(blocks: &mut [Value], cache: Option<CacheFor>) {
    if let (Some(last), Some(cache)) = (blocks.last_mut(), cache) {
        last["cache_control"] = json!({ "type": "ephemeral", "ttl": cache });
    }
}

/// The chat. Results of tools are the user's, and neighbours of one role are one message: the protocol wants turns.
fn messages(messages: &[Message]) -> Result<Value> {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages.iter().filter(|message| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let mut blocks = blocks(message)?;
        mark(&mut blocks, message.cache);
        match turns.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => turns.push((role, blocks)),
        }
    }
    // An empty turn is refused.
    let turns = turns.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    Ok(turns.map(|(role, blocks)| json!({ "role": role, "content": content(blocks) })).collect())
}

/// One text goes as it is: some servers that speak the protocol read blocks badly.
fn content(blocks: Vec<Value>) -> Value {
    match blocks.as_slice() {
        [only] if only["type"] == "text" && only.get("cache_control").is_none() => only["text"].clone(),
        _ => Value::Array(blocks),
    }
}

fn blocks(message: &Message) -> Result<Vec<Value>> {
    if let (Role::Tool, Some(id)) = (message.role, &message.tool_call_id) {
        return Ok(vec![json!({ "type": "tool_result", "tool_use_id": id, "content": message.content })]);
    }
    let mut blocks = message.images.iter().map(image).collect::<Result<Vec<_>>>()?;
    if !message.content.trim().is_empty() {
        blocks.push(json!({ "type": "text", "text": message.content }));
    }
    blocks.extend(
        message
            .tool_calls
            .iter()
            .map(|call| json!({ "type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments })),
    );
    Ok(blocks)
}

fn image(image: &ImageInput) -> Result<Value> {
    let source = match image.url.strip_prefix("data:") {
        None => json!({ "type": "url", "url": image.url }),
        Some(rest) => {
            let (kind, data) = rest.split_once(";base64,").ok_or_else(|| {
                Error::invalid("an image is an https: address or data:image/...;base64,...; give it so")
            })?;
            json!({ "type": "base64", "media_type": kind, "data": data })
        }
    };
    Ok(json!({ "type": "image", "source": source }))
}

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct MessageParser {
    /// Tokens of the request as estimated, for servers that do not say.
    estimated_input: u64,
    said: Said,
    finish_reason: Option<FinishReason>,
    calls: PartialCalls,
    bytes: usize,
    ended: bool,
}

/// What the server said of tokens; the last word counts.
#[derive(Debug, Default)]
struct Said {
    fresh: Option<u64>,
    cache_read: u64,
    /// For five minutes and for an hour together.
    cache_written: u64,
    cache_written_1h: u64,
    output: Option<u64>,
    tier: ServiceTier,
}

impl Said {
    fn hear(&mut self, usage: &Value) {
        let number = |name: &str| usage[name].as_u64();
        // Some servers say 0 until they know.
        self.fresh = number("input_tokens").filter(|n| *n > 0).or(self.fresh);
        self.cache_read = number("cache_read_input_tokens").unwrap_or(self.cache_read);
        self.cache_written = number("cache_creation_input_tokens").unwrap_or(self.cache_written);
        let hour = usage["cache_creation"]["ephemeral_1h_input_tokens"].as_u64();
        self.cache_written_1h = hour.unwrap_or(self.cache_written_1h);
        if let Some(tier) = usage["service_tier"].as_str() {
            self.tier = ServiceTier::of_provider(Some(tier));
        }
        self.output = number("output_tokens").filter(|n| *n > 0).or(self.output);
    }
}

impl MessageParser {
    pub(super) fn new(estimated_input: u64) -> Self {
        Self {
            estimated_input,
            said: Said::default(),
            finish_reason: None,
            calls: PartialCalls::default(),
            bytes: 0,
            ended: false,
        }
    }

    fn block_start(&mut self, event: &Value, deltas: &mut Vec<Delta>) -> Result<(), Unreadable> {
        let block = &event["content_block"];
        self.text(&block["text"], deltas);
        if block["type"] == "tool_use" {
            let partial = self.calls.at(event["index"].as_u64().unwrap_or(0))?;
            block["id"].as_str().unwrap_or_default().clone_into(&mut partial.id);
            block["name"].as_str().unwrap_or_default().clone_into(&mut partial.name);
            // Usually empty, and then what follows is the input.
            if block["input"].as_object().is_some_and(|input| !input.is_empty()) {
                partial.arguments = block["input"].to_string();
            }
            deltas.push(Delta::Progress { bytes: partial.name.len() + partial.arguments.len() });
        }
        Ok(())
    }

    fn block_delta(&mut self, event: &Value, deltas: &mut Vec<Delta>) -> Result<(), Unreadable> {
        let delta = &event["delta"];
        let index = event["index"].as_u64().unwrap_or(0);
        self.text(&delta["text"], deltas);
        let mut hidden = delta["thinking"].as_str().map_or(0, str::len);
        self.bytes += hidden;
        if let Some(piece) = delta["partial_json"].as_str()
            && self.calls.existing(index).is_some()
        {
            self.calls.at(index)?.arguments.push_str(piece);
            hidden += piece.len();
        }
        if hidden > 0 {
            deltas.push(Delta::Progress { bytes: hidden });
        }
        Ok(())
    }

    fn text(&mut self, text: &Value, deltas: &mut Vec<Delta>) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.bytes += text.len();
            deltas.push(Delta::Text { text: text.to_owned() });
        }
    }

    /// What the server said, or an estimate that is rather too high. Its tokens of the request are those that no cache has
    /// to do with.
    fn usage(&self) -> Usage {
        let Said { fresh, cache_read, cache_written, cache_written_1h, output, tier } = self.said;
        if fresh.is_none() || output.is_none() {
            tracing::debug!("the server did not say how many tokens it used; they are estimated");
        }
        let written = cache_written.max(cache_written_1h);
        let all = cache_read.saturating_add(written);
        let input_tokens = fresh.map_or(self.estimated_input.max(all), |fresh| fresh.saturating_add(all));
        let estimate = estimate_tokens(self.bytes + self.calls.bytes());
        Usage {
            cached_tokens: cache_read,
            cache_write_tokens: written - cache_written_1h,
            cache_write_1h_tokens: cache_written_1h,
            tier,
            ..Usage::of(input_tokens, output.unwrap_or(estimate))
        }
    }
}

impl Parser for MessageParser {
    fn read(&mut self, data: &str) -> Result<Vec<Delta>, Unreadable> {
        let event: Value = serde_json::from_str(data).map_err(|_| Unreadable::Foreign)?;
        let mut deltas = Vec::new();
        match event["type"].as_str().ok_or(Unreadable::Foreign)? {
            "message_start" => {
                self.said.hear(&event["message"]["usage"]);
                if self.said.fresh.is_some() {
                    deltas.push(Delta::Usage { usage: self.usage(), whole: false });
                }
            }
            "content_block_start" => self.block_start(&event, &mut deltas)?,
            "content_block_delta" => self.block_delta(&event, &mut deltas)?,
            "message_delta" => {
                self.said.hear(&event["usage"]);
                self.finish_reason = event["delta"]["stop_reason"].as_str().map(finish_reason).or(self.finish_reason);
            }
            "message_stop" => self.ended = true,
            "error" => return Err(Unreadable::Refusal(event)),
            // Pings, ends of blocks, and kinds that come later.
            _ => {}
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
        let Some(finish_reason) = self.finish_reason else { return (Vec::new(), Ok(())) };
        self.calls.end(self.usage(), finish_reason)
    }
}

fn finish_reason(reason: &str) -> FinishReason {
    match reason {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
