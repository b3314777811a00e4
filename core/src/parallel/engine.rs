//! The engine `parallel`.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{ParallelConfig, ParallelReply, ParallelRequest, RunReport, RunRequest};
use crate::{
    context::Context,
    engine::{DynEngine, Engine, Function, Registry},
    error::{Error, Result},
    router::RouterEngine,
    runtime::Runtime,
    store::Store,
};

/// The engine `parallel`: runs plans. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ParallelEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ParallelConfig,
    store: Store,
    router: RouterEngine,
    engines: Registry<dyn DynEngine>,
    functions: Registry<dyn Function>,
    runtime: Runtime,
}

/// A run at work. Dropping it cancels the run; what finished stays in the journal.
#[derive(Debug)]
pub struct RunHandle {
    /// The id of the run.
    pub run: String,
    done: oneshot::Receiver<Result<RunReport>>,
}

impl RunHandle {
    /// Waits for the end.
    pub async fn report(self) -> Result<RunReport> {
        self.done.await.map_err(|_| Error::unexpected("the run ended without a report"))?
    }
}

impl ParallelEngine {
    /// An engine that journals in `store`, and whose tasks call `router`, `engines` and `functions`.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(
        config: ParallelConfig,
        store: Store,
        router: RouterEngine,
        engines: Registry<dyn DynEngine>,
        functions: Registry<dyn Function>,
        runtime: Runtime,
    ) -> Result<Self> {
        Ok(Self(Arc::new(Inner { config, store, router, engines, functions, runtime })))
    }
    /// The functions of the host; more can be registered at any time.
    pub fn functions(&self) -> &Registry<dyn Function> {
        &self.0.functions
    }
    /// Runs a plan to its end.
    pub async fn run(&self, _cx: &Context, _request: RunRequest) -> Result<RunReport> {
        Err(Error::unexpected("UNFINISHED"))
    }
}

#[async_trait]
impl Engine for ParallelEngine {
    type Request = ParallelRequest;
    type Reply = ParallelReply;
    fn name(&self) -> &str {
        "parallel"
    }
    async fn call(&self, _cx: &Context, _request: ParallelRequest) -> Result<ParallelReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
