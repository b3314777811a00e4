//! OpenAI's wire format, which most servers speak.

mod chat;
mod embed;
mod image;
mod wire;

pub use chat::OpenAiModel;
pub use embed::OpenAiEmbedder;
pub use image::OpenAiImageModel;

#[cfg(test)]
pub(super) use wire::tests::json_event;

use super::client::Protocol;

const PROTOCOL: Protocol = Protocol {
    base_url: "https://api.openai.com/v1",
    key_env: "OPENAI_API_KEY",
    key_header: "authorization",
    key_prefix: "Bearer ",
    headers: &[],
};
