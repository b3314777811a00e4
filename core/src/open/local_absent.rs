//! Without the feature `local` there are no models in this process.

use std::sync::Arc;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, Embedder, EmbedderConfig, ModelConfig, ModelKind, Reranker, RerankerConfig},
};

/// There is nothing to share it.
#[derive(Debug)]
pub(super) struct MemoryBudget;

impl MemoryBudget {
    pub(super) fn new(_: Option<u64>) -> Self {
        Self
    }
}

#[expect(clippy::unused_async, reason = "the signature of the part that is there")]
pub(super) async fn open_chat(_: &Context, _: &ModelConfig, _: &MemoryBudget) -> Result<Arc<dyn ChatModel>> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the signature of the part that is there")]
pub(super) async fn open_embedder(_: &Context, _: &str, _: &EmbedderConfig) -> Result<Arc<dyn Embedder>> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the signature of the part that is there")]
pub(super) async fn open_reranker(_: &Context, _: &RerankerConfig) -> Result<Arc<dyn Reranker>> {
    Err(absent())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of the part that is there")]
pub(super) fn present(_: ModelKind) -> Result<Vec<String>> {
    Ok(Vec::new())
}

fn absent() -> Error {
    Error::new(ErrorKind::Unsupported, "models in this process need the cargo feature `local`")
}
