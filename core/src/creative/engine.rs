//! The engine `creative`.

use std::sync::Arc;

use async_trait::async_trait;

use super::{CreativeConfig, CreativeReply, CreativeRequest};
use crate::{
    context::Context,
    engine::Engine,
    error::{Error, Result},
    recall::RecallEngine,
    router::RouterEngine,
};

/// The engine `creative`: ideas, measured. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CreativeEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: CreativeConfig,
    router: RouterEngine,
    recall: RecallEngine,
}

impl CreativeEngine {
    /// An engine that asks `router` and remembers in `recall`.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(config: CreativeConfig, router: RouterEngine, recall: RecallEngine) -> Result<Self> {
        Ok(Self(Arc::new(Inner { config, router, recall })))
    }
}

#[async_trait]
impl Engine for CreativeEngine {
    type Request = CreativeRequest;
    type Reply = CreativeReply;
    fn name(&self) -> &str {
        "creative"
    }
    async fn call(&self, _cx: &Context, _request: CreativeRequest) -> Result<CreativeReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
