//! What an answer that is not one means. Pure functions; messages of providers may repeat the prompt, so they are
//! looked into but never passed on.

use serde_json::Value;

use crate::error::{Error, ErrorKind};

/// Longest `type` or `code` of a provider that is passed on.
const LONGEST_WORD: usize = 64;

/// What a server said besides an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    /// The status, or 200 for an error inside a stream.
    pub(super) status: u16,
    /// How long it asks to wait.
    pub(super) retry_after_ms: Option<u64>,
    /// The beginning of its body.
    pub(super) body: &'a [u8],
    /// Where the key came from, for a person.
    pub(super) key_from: &'a str,
    /// What the provider calls the model.
    pub(super) model: &'a str,
}

/// The error that `refusal` is.
pub(super) fn error(refusal: Refusal<'_>) -> Error {
    let body: Value = serde_json::from_slice(refusal.body).unwrap_or_default();
    let detail = body.get("error").unwrap_or(&body);
    let (kind_word, code_word) = (word(detail.get("type")), word(detail.get("code")));
    let status =
        if refusal.status == 200 { status_in_stream(detail, [&kind_word, &code_word]) } else { refusal.status };
    let kind = kind(status, detail, &[&kind_word, &code_word]);
    let mut error = Error::new(kind, message(kind, &refusal)).with("model", refusal.model).with("status", status);
    for (name, value) in [("type", kind_word), ("code", code_word)] {
        if !value.is_empty() {
            error = error.with(name, value);
        }
    }
    if kind == ErrorKind::Rejected {
        error = error.with("filter", "request");
    }
    if let Some(ms) = refusal.retry_after_ms {
        error = error.with("retry_after_ms", ms);
    }
    error
}

fn kind(status: u16, detail: &Value, words: &[&str]) -> ErrorKind {
    let said = |any: &[&str]| words.iter().any(|word| any.contains(word));
    let message = detail.get("message").and_then(Value::as_str).unwrap_or_default().to_lowercase();
    let mentions = |any: &[&str]| any.iter().any(|part| message.contains(part));
    // Anthropic tells these two apart in words only.
    let too_long = ["prompt is too long", "maximum context length", "context window"];
    let unpaid = ["credit balance is too low", "usage limit", "exceeded your current quota", "insufficient credits"];
    // A refusal may repeat the request, and it is one tenant's; an empty account is everybody's: only words of the
    // provider count, and those it begins with are its own.
    let begins = |any: &[&str]| any.iter().any(|part| message.starts_with(part));
    let exhausted = ["your credit balance is too low", "you have reached your specified api usage limits"];
    if said(&["context_length_exceeded", "request_too_large"]) || status == 413 {
        return ErrorKind::ContextLength;
    }
    if said(&["insufficient_quota", "billing_hard_limit_reached", "billing_error"]) || status == 402 {
        return ErrorKind::OverBudget;
    }
    if said(&[
        "content_policy_violation",
        "content_filter",
        "ResponsibleAIPolicyViolation",
        "image_content_policy_violation",
    ]) {
        return ErrorKind::Rejected;
    }
    match status {
        401 | 403 => ErrorKind::Unauthorized,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout,
        429 if mentions(&unpaid) => ErrorKind::OverBudget,
        429 => ErrorKind::RateLimited,
        400..500 if mentions(&too_long) => ErrorKind::ContextLength,
        400..500 if begins(&exhausted) => ErrorKind::OverBudget,
        300..500 => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    }
}

fn message(kind: ErrorKind, refusal: &Refusal<'_>) -> String {
    match kind {
        ErrorKind::ContextLength => "the request is longer than the model's context; shorten it".into(),
        ErrorKind::OverBudget => "the provider's account has no money left; add some, or use another model".into(),
        ErrorKind::Rejected => "the provider's content filter refused the request; change it".into(),
        ErrorKind::Unauthorized => format!("the server refused the key; check {}", refusal.key_from),
        ErrorKind::NotFound => "the server does not know this model or address; check `source` and `base_url`".into(),
        ErrorKind::Timeout => "the server gave up waiting; try again".into(),
        ErrorKind::RateLimited => "the provider asks to slow down; wait and call again".into(),
        ErrorKind::Invalid if refusal.status < 400 => {
            "the server sends elsewhere; set `base_url` to the address it sends to".into()
        }
        ErrorKind::Invalid => "the server refused the request; check that the model takes every option of it".into(),
        _ => "the server cannot answer right now; try again later".into(),
    }
}

/// The status that an error inside a stream would have had. Chats tell it by its type, responses by its code.
fn status_in_stream(detail: &Value, words: [&str; 2]) -> u16 {
    let code = detail.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let of_word = |word: &str| match word {
        "authentication_error" | "invalid_api_key" => Some(401),
        "permission_error" => Some(403),
        "not_found_error" => Some(404),
        "rate_limit_error" | "rate_limit_exceeded" => Some(429),
        "empty_image_file" | "unsupported_image_media_type" | "failed_to_download_image" => Some(400),
        // `invalid_request_error`, `invalid_prompt`, `invalid_image_url`, `image_too_large` and so on.
        _ if word.starts_with("invalid_") || word.starts_with("image_") => Some(400),
        _ => None,
    };
    let told = words.into_iter().find_map(of_word);
    code.filter(|code| (400..600).contains(code)).or(told).unwrap_or(503)
}

/// A short name of a kind or code; anything that could be a text of the user becomes nothing.
fn word(value: Option<&Value>) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    match value {
        Some(Value::String(text)) if text.len() <= LONGEST_WORD && text.chars().all(fits) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(status: u16, body: &[u8]) -> Error {
        error(Refusal { status, retry_after_ms: None, body, key_from: "OPENAI_API_KEY", model: "m" })
    }

    #[test]
    fn each_status_and_code_has_its_kind() {
        let cases: &[(u16, &str, ErrorKind)] = &[
            (401, "", ErrorKind::Unauthorized),
            (403, "{}", ErrorKind::Unauthorized),
            (404, r#"{"error":{"code":"model_not_found"}}"#, ErrorKind::NotFound),
            (408, "", ErrorKind::Timeout),
            (413, "", ErrorKind::ContextLength),
            (400, r#"{"error":{"code":"context_length_exceeded"}}"#, ErrorKind::ContextLength),
            (400, r#"{"error":{"message":"prompt is too long: 9 tokens > 8 maximum"}}"#, ErrorKind::ContextLength),
            (429, r#"{"error":{"type":"rate_limit_error"}}"#, ErrorKind::RateLimited),
            (429, r#"{"error":{"code":"insufficient_quota"}}"#, ErrorKind::OverBudget),
            (400, r#"{"error":{"message":"Your credit balance is too low to go on"}}"#, ErrorKind::OverBudget),
            (402, "", ErrorKind::OverBudget),
            (
                400,
                r#"{"error":{"message":"You have reached your specified API usage limits."}}"#,
                ErrorKind::OverBudget,
            ),
            (429, r#"{"error":{"message":"You exceeded your current quota, check billing"}}"#, ErrorKind::OverBudget),
            (400, r#"{"error":{"code":"content_policy_violation"}}"#, ErrorKind::Rejected),
            (422, "", ErrorKind::Invalid),
            (302, "", ErrorKind::Invalid),
            (500, "<html>", ErrorKind::Unavailable),
            (529, r#"{"error":{"type":"overloaded_error"}}"#, ErrorKind::Unavailable),
            (200, r#"{"error":{"type":"overloaded_error"}}"#, ErrorKind::Unavailable),
            (200, r#"{"error":{"type":"invalid_request_error"}}"#, ErrorKind::Invalid),
            (200, r#"{"error":{"code":429}}"#, ErrorKind::RateLimited),
            (200, r#"{"type":"error","code":"rate_limit_exceeded","message":"x"}"#, ErrorKind::RateLimited),
            (200, r#"{"error":{"code":"server_error","message":"x"}}"#, ErrorKind::Unavailable),
            (200, r#"{"error":{"code":"invalid_prompt","message":"x"}}"#, ErrorKind::Invalid),
            (200, r#"{"error":{"code":"image_too_large","message":"x"}}"#, ErrorKind::Invalid),
            (200, r#"{"error":{"code":"image_content_policy_violation","message":"x"}}"#, ErrorKind::Rejected),
            (400, r#"{"error":{"message":"Invalid schema for response_format 'usage limit'"}}"#, ErrorKind::Invalid),
            (422, r#"{"error":{"message":"no tool 'insufficient credits'"}}"#, ErrorKind::Invalid),
        ];
        for (status, body, kind) in cases {
            assert_eq!(refused(*status, body.as_bytes()).kind(), *kind, "{status} {body}");
        }
        assert!(!refused(429, br#"{"error":{"type":"insufficient_quota"}}"#).is_retryable());
        assert!(refused(401, b"").message().contains("OPENAI_API_KEY"));
    }

    #[test]
    fn what_a_provider_repeats_of_the_prompt_stays_out() {
        let body = br#"{"error":{"message":"bad: my secret diary","type":"my secret diary","code":"ok_code"}}"#;
        let error = refused(400, body);
        assert!(!format!("{error} {error:?}").contains("diary"));
        assert!(error.to_string().contains("code=ok_code"));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(status in 0u16..1000, body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = refused(status, &body);
        }
    }
}
