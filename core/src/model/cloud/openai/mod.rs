//! OpenAI's wire format, which most servers speak: OpenAI itself, Gemini's endpoint for it, and servers of one's own.

mod chat;
mod embed;
mod image;
mod responses;
mod wire;

pub use chat::OpenAiModel;
pub use embed::OpenAiEmbedder;
pub use image::OpenAiImageModel;

#[cfg(test)]
pub(super) use wire::tests::json_event;

use serde_json::{Value, json};

use super::{
    client::{Client, Protocol},
    profile::Seller,
};
use crate::model::{Provider, ToolChoice};

const OPENAI: Protocol = Protocol {
    base_url: "https://api.openai.com/v1",
    key_env: "OPENAI_API_KEY",
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};
const GEMINI: Protocol = Protocol {
    base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
    key_env: "GEMINI_API_KEY",
    ..OPENAI
};

/// How `provider` is reached.
fn protocol(provider: Provider) -> Protocol {
    if provider == Provider::Gemini { GEMINI } else { OPENAI }
}

/// Whose models `provider` has.
fn seller(provider: Provider) -> Seller {
    if provider == Provider::Gemini {
        Seller { name: "gcp.gemini", listed_under: "gemini/", key_env: GEMINI.key_env }
    } else {
        Seller { name: "openai", listed_under: "", key_env: OPENAI.key_env }
    }
}

/// Who reads a request: each takes more or less than the common form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    OpenAi,
    Gemini,
    /// A server of one's own, which takes what such servers commonly do.
    Other,
}

impl Dialect {
    fn of(provider: Provider, client: &Client) -> Self {
        match (provider, client.official()) {
            (Provider::Gemini, _) => Self::Gemini,
            (_, true) => Self::OpenAi,
            (_, false) => Self::Other,
        }
    }
}

/// What `choice` is on the wire, where `one` names a tool; nothing for what servers do anyway.
fn tool_choice(choice: &ToolChoice, one: impl Fn(&str) -> Value) -> Value {
    match choice {
        ToolChoice::Auto => Value::Null,
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => one(name),
    }
}

/// What reads the events of chat completions.
#[cfg(fuzzing)]
pub(super) fn chat_parser() -> impl super::stream::Parser {
    wire::ChatParser::new(10)
}

/// What reads the events of responses.
#[cfg(fuzzing)]
pub(super) fn response_parser() -> impl super::stream::Parser {
    responses::ResponseParser::new(10)
}
