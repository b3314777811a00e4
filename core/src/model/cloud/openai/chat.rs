//! Chat models behind OpenAI's chat completions.

use async_trait::async_trait;

use super::{
    super::{
        client::{Access, Client},
        events::events,
        profile::profile,
        request::{check, estimate_tokens},
        stream::deltas,
    },
    PROTOCOL, wire,
};
use crate::{
    context::Context,
    error::Result,
    model::{ChatModel, ChatRequest, ChatStream, ModelConfig, ModelProfile, Prices},
};

/// A chat model behind OpenAI's chat completions, of OpenAI or of any server that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenAiModel {
    client: Client,
    profile: ModelProfile,
    name: String,
}

impl OpenAiModel {
    /// The model that `config` names. Connects when it is first called.
    ///
    /// With a `base_url` no key is needed; `OPENAI_API_KEY` is sent to OpenAI only, so name `api_key` or
    /// `api_key_env` for another server.
    ///
    /// # Errors
    /// `Unauthorized`, naming the variable, when the key is missing; `Invalid` when the price or the context length
    /// is not known or the address is none.
    pub fn from_config(config: &ModelConfig, prices: &Prices) -> Result<Self> {
        let client = Client::new(PROTOCOL, &Access::of(config))?;
        let profile = profile(config, prices, "openai", client.official())?;
        Ok(Self { client, profile, name: config.source.clone() })
    }
}

#[async_trait]
impl ChatModel for OpenAiModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        check(&self.profile, &request)?;
        let body = wire::body(&self.profile, &self.name, self.client.official(), &request)?;
        let response = cx.run(self.client.post_for_events("chat/completions", &self.profile.id, &body)).await?;
        let parser = wire::ChatParser::new(estimate_tokens(&request));
        Ok(deltas(cx, &self.client, &self.profile.id, events(response, &self.profile.id), parser))
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(estimate_tokens(request))
    }
}
