//! What is checked and counted before a request leaves.

use crate::{
    error::{Error, ErrorKind, Result},
    model::{self, ChatRequest, ModelProfile, ReasoningEffort, ResponseFormat, Sampling},
};

/// Tokens that an image counts for at the providers' usual sizes.
const IMAGE_TOKENS: u64 = 1600;
/// Tokens that an image counts for at most for gpt-4o-mini, which bills 2,833 and 5,667 for each of up to eight tiles.
const MOST_IMAGE_TOKENS_4O_MINI: u64 = 2_833 + 8 * 5_667;
/// Tokens of what a provider tells its model of tools, at most; Anthropic documents up to 700.
const TOOL_PROMPT: u64 = 1024;

/// Tokens of `request`, by the bytes of everything that is sent.
pub(super) fn estimate_tokens(request: &ChatRequest) -> u64 {
    let (bytes, images) = request.size();
    model::estimate_tokens(bytes) + images * IMAGE_TOKENS
}

/// Tokens that `request` has at most for the model that its provider calls `name`: no text has more than bytes, and none
/// has more than the context, which the provider would refuse.
pub(super) fn most_tokens(profile: &ModelProfile, name: &str, request: &ChatRequest) -> u64 {
    let (bytes, images) = request.size();
    let image = if name.contains("gpt-4o-mini") { MOST_IMAGE_TOKENS_4O_MINI } else { model::MOST_IMAGE_TOKENS };
    let tools = if request.tools.is_empty() { 0 } else { TOOL_PROMPT };
    (bytes as u64 + images * image + tools).min(profile.context_length)
}

/// Checks `request` against what the model can do, before any money is spent.
///
/// # Errors
/// `Invalid` for sampling out of range, `Unsupported` for a capability that is missing, `ContextLength`.
pub(super) fn check(profile: &ModelProfile, request: &ChatRequest) -> Result<()> {
    request.validate()?;
    let (can, sampling) = (profile.capabilities, &request.sampling);
    let schema = matches!(request.response_format, ResponseFormat::JsonSchema { .. });
    let images = request.messages.iter().any(|message| !message.images.is_empty());
    let reasons = sampling.reasoning_effort.is_some_and(|effort| effort != ReasoningEffort::None);
    let missing = [
        (!request.tools.is_empty() && !can.tools, "call tools", "tools"),
        (schema && !can.json_schema, "keep to a JSON schema", "json_schema"),
        (images && !can.images, "read images", "images"),
        (sampling.logprobs.is_some() && !can.logprobs, "give log-probabilities", "logprobs"),
        (reasons && !can.reasoning, "reason for a time that is set", "reasoning"),
    ];
    for (missing, ability, capability) in missing {
        if missing {
            return Err(unsupported(
                profile,
                &format!("cannot {ability}; if it can, set `{capability}` of its `capabilities`"),
            ));
        }
    }
    if can.fixed_sampling && (sampling.temperature.is_some() || sampling.top_p.is_some() || sampling.top_k.is_some()) {
        return Err(unsupported(profile, "takes no temperature, top_p or top_k; leave them out"));
    }
    if request.response_format.needs_grammar() {
        return Err(unsupported(profile, "keeps to no regular expression or grammar; local models do"));
    }
    let tokens = estimate_tokens(request) + u64::from(sampling.max_tokens.unwrap_or(1));
    if tokens > profile.context_length {
        return Err(Error::new(ErrorKind::ContextLength, "the request is longer than the model's context; shorten it")
            .with("model", &profile.id)
            .with("tokens", tokens)
            .with("context", profile.context_length));
    }
    Ok(())
}

/// How long the model is told to reason: one that never does is not told not to, which it would refuse.
pub(super) fn reasoning_effort(profile: &ModelProfile, sampling: &Sampling) -> Option<ReasoningEffort> {
    sampling.reasoning_effort.filter(|effort| *effort != ReasoningEffort::None || profile.capabilities.reasoning)
}

/// The model does not do `what`.
pub(super) fn unsupported(profile: &ModelProfile, what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("\"{}\" {what}", profile.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::FunctionSpec, model::ImageInput};

    #[test]
    fn what_a_model_cannot_do_is_told_before_it_is_called() {
        let profile = ModelProfile::local("m", 100);
        let kind = |request: &ChatRequest| check(&profile, request).unwrap_err().kind();
        let mut request = ChatRequest::user("hello");
        check(&profile, &request).unwrap();
        request.tools.push(FunctionSpec::new("f"));
        assert_eq!(kind(&request), ErrorKind::Unsupported);
        let mut request = ChatRequest::user("hello");
        request.messages[0].images.push(ImageInput { url: "https://example.com/a.png".into() });
        assert_eq!(kind(&request), ErrorKind::Unsupported);
        let response_format = ResponseFormat::Regex { pattern: "[0-9]+".into() };
        assert_eq!(kind(&ChatRequest { response_format, ..ChatRequest::user("x") }), ErrorKind::Unsupported);
        let request =
            ChatRequest { sampling: Sampling { logprobs: Some(1), ..Sampling::default() }, ..ChatRequest::user("x") };
        assert_eq!(kind(&request), ErrorKind::Unsupported);
        let sampling = Sampling { reasoning_effort: Some(ReasoningEffort::Low), ..Sampling::default() };
        assert_eq!(kind(&ChatRequest { sampling, ..ChatRequest::user("x") }), ErrorKind::Unsupported);
        let request =
            ChatRequest { sampling: Sampling { top_p: Some(2.0), ..Sampling::default() }, ..ChatRequest::user("x") };
        assert_eq!(kind(&request), ErrorKind::Invalid);
        assert_eq!(kind(&ChatRequest::user("word ".repeat(100))), ErrorKind::ContextLength);
    }

    #[test]
    fn no_request_has_more_tokens_than_what_is_held_for() {
        let profile = ModelProfile::local("m", 100_000);
        let most = |request: &ChatRequest| most_tokens(&profile, "gpt-4o-mini", request);
        // A digit, an emoji byte or a rare letter may be a token of its own.
        assert!(most(&ChatRequest::user("7".repeat(3000))) >= 3000);
        let mut request = ChatRequest::user("look");
        request.messages[0].images.push(ImageInput { url: "https://example.com/a.png".into() });
        assert!(most(&request) >= 2833 + 6 * 5667 && most_tokens(&profile, "gpt-4o", &request) < 6000);
        assert_eq!(most(&ChatRequest::user("7".repeat(300_000))), 100_000, "the provider would refuse more");
    }

    #[test]
    fn everything_that_is_sent_counts() {
        let mut request = ChatRequest::user("hello");
        let plain = estimate_tokens(&request);
        request.tools.push(FunctionSpec::new("search"));
        assert!(estimate_tokens(&request) > plain);
        request.messages[0].images.push(ImageInput { url: "data:image/png;base64,AAAA".into() });
        assert!(estimate_tokens(&request) > plain + IMAGE_TOKENS);
    }
}
