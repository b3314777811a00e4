//! Anthropic's messages.

mod wire;

use async_trait::async_trait;

use super::{
    client::{Access, Client, Protocol},
    events::events,
    profile::{Seller, profile},
    request::{check, estimate_tokens, most_tokens},
    stream::deltas,
};
use crate::{
    context::Context,
    error::Result,
    model::{ChatModel, ChatRequest, ChatStream, ModelConfig, ModelProfile, Prices},
};

const PROTOCOL: Protocol = Protocol {
    base_url: "https://api.anthropic.com/v1",
    key_env: "ANTHROPIC_API_KEY",
    key_header: "x-api-key",
    key_prefix: "",
    headers: &[("anthropic-version", "2023-06-01")],
};

const SELLER: Seller = Seller { name: "anthropic", listed_under: "", key_env: PROTOCOL.key_env };

/// A chat model behind Anthropic's messages, of Anthropic or of any server that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AnthropicModel {
    client: Client,
    profile: ModelProfile,
    name: String,
}

impl AnthropicModel {
    /// The model that `config` names. Connects when it is first called.
    ///
    /// With a `base_url` no key is needed; `ANTHROPIC_API_KEY` is sent to Anthropic only, so name `api_key` or
    /// `api_key_env` for another server.
    ///
    /// # Errors
    /// `Unauthorized`, naming the variable, when the key is missing; `Invalid` when the price or the context length
    /// is not known or the address is none.
    pub fn from_config(config: &ModelConfig, prices: &Prices) -> Result<Self> {
        let client = Client::new(PROTOCOL, &Access::of(config))?;
        let profile = profile(config, prices, SELLER, client.official())?;
        Ok(Self { client, profile, name: config.source.clone() })
    }
}

#[async_trait]
impl ChatModel for AnthropicModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        check(&self.profile, &request)?;
        let input_tokens = estimate_tokens(&request);
        let body = wire::body(&self.profile, &self.name, &request, input_tokens)?;
        let (response, paid_by) = cx.run(self.client.post_for_events("messages", &self.profile, &body)).await?;
        let parser = wire::MessageParser::new(input_tokens);
        let id = &self.profile.id;
        Ok(deltas(cx, &self.client, id, (events(response, id), paid_by), parser))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(estimate_tokens(request))
    }

    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(most_tokens(&self.profile, &self.name, request))
    }
}

/// What reads the events of messages.
#[cfg(fuzzing)]
pub(super) fn message_parser() -> impl super::stream::Parser {
    wire::MessageParser::new(10)
}
