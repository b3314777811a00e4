//! Chat models behind OpenAI's chat completions and responses.

use async_trait::async_trait;

use super::{
    super::{
        client::{Access, Client},
        events::events,
        profile::profile,
        request::{check, estimate_tokens, most_tokens},
        stream::deltas,
    },
    Dialect, protocol,
    responses::{self, ResponseParser},
    seller, wire,
};
use crate::{
    context::Context,
    error::Result,
    model::{ChatModel, ChatRequest, ChatStream, ModelConfig, ModelProfile, OpenAiApi, Prices},
};

/// A chat model behind OpenAI's chat completions or responses, of OpenAI, of Gemini's endpoint for them or of any server
/// that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenAiModel {
    client: Client,
    profile: ModelProfile,
    name: String,
    dialect: Dialect,
    api: OpenAiApi,
}

impl OpenAiModel {
    /// The model that `config` names. Connects when it is first called.
    ///
    /// With a `base_url` no key is needed; `OPENAI_API_KEY` is sent to OpenAI only, and `GEMINI_API_KEY` to Google, so
    /// name `api_key` or `api_key_env` for another server.
    ///
    /// # Errors
    /// `Unauthorized`, naming the variable, when the key is missing; `Invalid` when the price or the context length
    /// is not known or the address is none.
    pub fn from_config(config: &ModelConfig, prices: &Prices) -> Result<Self> {
        let client = Client::new(protocol(config.provider), &Access::of(config))?;
        let profile = profile(config, prices, seller(config.provider), client.official())?;
        let dialect = Dialect::of(config.provider, &client);
        Ok(Self { client, profile, name: config.source.clone(), dialect, api: config.api })
    }
}

#[async_trait]
impl ChatModel for OpenAiModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        check(&self.profile, &request)?;
        let (id, tokens) = (&self.profile.id, estimate_tokens(&request));
        match self.api {
            OpenAiApi::Chat => {
                let body = wire::body(&self.profile, &self.name, self.dialect, &request)?;
                let asked = self.client.post_for_events("chat/completions", &self.profile, &body);
                let (response, paid_by) = cx.run(asked).await?;
                Ok(deltas(cx, &self.client, id, (events(response, id), paid_by), wire::ChatParser::new(tokens)))
            }
            OpenAiApi::Responses => {
                let body = responses::body(&self.profile, &self.name, &request)?;
                let asked = self.client.post_for_events("responses", &self.profile, &body);
                let (response, paid_by) = cx.run(asked).await?;
                Ok(deltas(cx, &self.client, id, (events(response, id), paid_by), ResponseParser::new(tokens)))
            }
        }
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(estimate_tokens(request))
    }

    fn most_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(most_tokens(&self.profile, &self.name, request))
    }
}
