//! Remote models.

use std::sync::Arc;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{
        ChatModel, Embedder, EmbedderConfig, ImageModel, ModelConfig, Prices, Provider,
        cloud::{AnthropicModel, OpenAiEmbedder, OpenAiImageModel, OpenAiModel},
    },
};

pub(super) fn open_chat(config: &ModelConfig, prices: &Prices) -> Result<Arc<dyn ChatModel>> {
    match config.provider {
        Provider::Anthropic => Ok(Arc::new(AnthropicModel::from_config(config, prices)?)),
        Provider::Openai | Provider::Gemini | Provider::Local => {
            Ok(Arc::new(OpenAiModel::from_config(config, prices)?))
        }
    }
}

pub(super) async fn open_embedder(cx: &Context, config: &EmbedderConfig, prices: &Prices) -> Result<Arc<dyn Embedder>> {
    if config.provider == Provider::Anthropic {
        return Err(Error::new(ErrorKind::Unsupported, "Anthropic has no embedder; use `local` or `openai`"));
    }
    Ok(Arc::new(OpenAiEmbedder::from_config(cx, config, prices).await?))
}

/// Images are made by OpenAI's format only, so `openai` need not be named.
pub(super) fn open_image_model(config: &ModelConfig, prices: &Prices) -> Result<Arc<dyn ImageModel>> {
    if config.provider == Provider::Anthropic {
        return Err(Error::new(ErrorKind::Unsupported, "Anthropic makes no images; use `openai`"));
    }
    Ok(Arc::new(OpenAiImageModel::from_config(config, prices)?))
}
