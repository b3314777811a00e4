//! The engine `recall`.

use std::sync::Arc;

use async_trait::async_trait;

use super::{RecallConfig, RecallReply, RecallRequest};
use crate::{
    context::Context,
    engine::Engine,
    error::{Error, Result},
    router::RouterEngine,
    runtime::Runtime,
    store::Store,
};

/// The engine `recall`: stores knowledge and finds it again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RecallEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RecallConfig,
    store: Store,
    router: RouterEngine,
    runtime: Runtime,
}

impl RecallEngine {
    /// A memory in `store` that embeds by `router`'s embedder.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(config: RecallConfig, store: Store, router: RouterEngine, runtime: Runtime) -> Result<Self> {
        Ok(Self(Arc::new(Inner { config, store, router, runtime })))
    }
}

#[async_trait]
impl Engine for RecallEngine {
    type Request = RecallRequest;
    type Reply = RecallReply;
    fn name(&self) -> &str {
        "recall"
    }
    async fn call(&self, _cx: &Context, _request: RecallRequest) -> Result<RecallReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
