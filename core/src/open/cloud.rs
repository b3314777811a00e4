//! Remote models.

use std::sync::Arc;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{
        ChatModel, Embedder, EmbedderConfig, ModelConfig, Prices, Provider,
        cloud::{AnthropicModel, OpenAiEmbedder, OpenAiModel},
    },
};

pub(super) fn open_chat(config: &ModelConfig, prices: &Prices) -> Result<Arc<dyn ChatModel>> {
    match config.provider {
        Provider::Anthropic => Ok(Arc::new(AnthropicModel::from_config(config, prices)?)),
        Provider::Openai | Provider::Local => Ok(Arc::new(OpenAiModel::from_config(config, prices)?)),
    }
}

pub(super) async fn open_embedder(cx: &Context, config: &EmbedderConfig, prices: &Prices) -> Result<Arc<dyn Embedder>> {
    if config.provider == Provider::Anthropic {
        return Err(Error::new(ErrorKind::Unsupported, "Anthropic has no embedder; use `local` or `openai`"));
    }
    Ok(Arc::new(OpenAiEmbedder::from_config(cx, config, prices).await?))
}
