//! The router at work: walks a plan, pays for it and writes the ledger.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    EmbedReply, EmbedRequest, GenerateReply, GenerateRequest, GenerateStream, Router, RouterConfig, RouterReply,
    RouterRequest,
};
use crate::{
    context::Context,
    engine::{Engine, Registry},
    error::{Error, Result},
    model::{ChatModel, Embedder},
    store::Store,
};

/// The engine `router`: every request to the cheapest model that meets its needs, with fallbacks, breakers, budgets
/// and a ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RouterEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    router: Arc<dyn Router>,
    models: Registry<dyn ChatModel>,
    embedder: std::sync::RwLock<Option<Arc<dyn Embedder>>>,
    store: Store,
    config: RouterConfig,
}

impl RouterEngine {
    /// A router engine over `models`, deciding by `router`.
    ///
    /// # Errors
    /// `Invalid` when the configuration names a price file that cannot be read or a reference model without a price.
    pub fn new(
        config: RouterConfig,
        router: Arc<dyn Router>,
        models: Registry<dyn ChatModel>,
        store: Store,
    ) -> Result<Self> {
        Ok(Self(Arc::new(Inner { router, models, embedder: std::sync::RwLock::default(), store, config })))
    }
    /// The chat models; more can be registered at any time.
    pub fn models(&self) -> &Registry<dyn ChatModel> {
        &self.0.models
    }
    /// Sets the embedder.
    pub fn set_embedder(&self, embedder: Arc<dyn Embedder>) {
        *self.0.embedder.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(embedder);
    }
    /// The embedder. `NotFound`, with the command that gets one, when there is none.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        let embedder = self.0.embedder.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        embedder
            .clone()
            .ok_or_else(|| Error::not_found("there is no embedder; get one with `triune models pull all-minilm-l6-v2`"))
    }
    /// Answers `request`.
    pub async fn generate(&self, _cx: &Context, _request: GenerateRequest) -> Result<GenerateReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
    /// Answers `request` piece by piece. Once text was given out, a failure of the model is an error of the stream.
    pub async fn stream(&self, _cx: &Context, _request: GenerateRequest) -> Result<GenerateStream> {
        Err(Error::unexpected("UNFINISHED"))
    }
    /// Embeds texts.
    pub async fn embed(&self, _cx: &Context, _request: EmbedRequest) -> Result<EmbedReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}

#[async_trait]
impl Engine for RouterEngine {
    type Request = RouterRequest;
    type Reply = RouterReply;
    fn name(&self) -> &str {
        "router"
    }
    async fn call(&self, _cx: &Context, _request: RouterRequest) -> Result<RouterReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
