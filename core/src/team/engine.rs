//! The engine `team`.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Coordinator, Epic, EpicPlan, EpicReport, TeamConfig, TeamReply, TeamRequest};
use crate::{
    context::Context,
    engine::Engine,
    error::{Error, Result},
    gate::GateEngine,
    parallel::ParallelEngine,
    recall::RecallEngine,
    router::RouterEngine,
    runtime::Runtime,
    store::Store,
};

/// The engine `team`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TeamEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: TeamConfig,
    store: Store,
    router: RouterEngine,
    recall: RecallEngine,
    parallel: ParallelEngine,
    gate: GateEngine,
    runtime: Runtime,
}

/// An epic at work. Dropping it cancels the work; what finished stays in the journal.
#[derive(Debug)]
pub struct EpicRun {
    /// The id of the epic.
    pub epic: String,
    done: oneshot::Receiver<Result<EpicReport>>,
}

impl EpicRun {
    /// Waits for the end.
    pub async fn report(self) -> Result<EpicReport> {
        self.done.await.map_err(|_| Error::unexpected("the epic ended without a report"))?
    }
}

impl TeamEngine {
    /// A team that works by these engines.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(
        config: TeamConfig,
        store: Store,
        router: RouterEngine,
        recall: RecallEngine,
        parallel: ParallelEngine,
        gate: GateEngine,
        runtime: Runtime,
    ) -> Result<Self> {
        Ok(Self(Arc::new(Inner { config, store, router, recall, parallel, gate, runtime })))
    }
}

#[async_trait]
impl Coordinator for TeamEngine {
    async fn plan(&self, _cx: &Context, _epic: &Epic) -> Result<EpicPlan> {
        Err(Error::unexpected("UNFINISHED"))
    }
    async fn run(&self, _cx: &Context, _plan: EpicPlan) -> Result<EpicRun> {
        Err(Error::unexpected("UNFINISHED"))
    }
}

#[async_trait]
impl Engine for TeamEngine {
    type Request = TeamRequest;
    type Reply = TeamReply;
    fn name(&self) -> &str {
        "team"
    }
    async fn call(&self, _cx: &Context, _request: TeamRequest) -> Result<TeamReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
