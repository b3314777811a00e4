//! Without the feature `cloud` there are no remote models.

use std::sync::Arc;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, Embedder, EmbedderConfig, ImageModel, ModelConfig, Prices},
};

pub(super) fn open_chat(_: &ModelConfig, _: &Prices) -> Result<Arc<dyn ChatModel>> {
    Err(absent())
}

#[expect(clippy::unused_async, reason = "the signature of the part that is there")]
pub(super) async fn open_embedder(_: &Context, _: &EmbedderConfig, _: &Prices) -> Result<Arc<dyn Embedder>> {
    Err(absent())
}

pub(super) fn open_image_model(_: &ModelConfig, _: &Prices) -> Result<Arc<dyn ImageModel>> {
    Err(absent())
}

fn absent() -> Error {
    Error::new(ErrorKind::Unsupported, "remote models need the cargo feature `cloud`")
}
