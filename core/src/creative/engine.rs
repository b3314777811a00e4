//! The engine `creative`.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::{
    CreativeConfig, CreativeReply, CreativeRequest, CreativeSolution, SolveRequest, check,
    judge::{Bill, Calibration, Judge},
    solve::solve,
};
use crate::{
    context::Context,
    engine::Engine,
    error::{Error, Result},
    recall::RecallEngine,
    router::{Needs, RouterEngine},
};

/// Ideas one call may ask for.
const MAX_IDEAS: usize = 100;
/// Bytes of a problem.
const MAX_PROBLEM: usize = 20_000;
/// Constraints of a problem.
const MAX_CONSTRAINTS: usize = 50;

/// The engine `creative`: ideas, measured. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CreativeEngine(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: CreativeConfig,
    pub(super) router: RouterEngine,
    pub(super) recall: RecallEngine,
    /// How the judge did, once it was asked.
    calibration: OnceCell<Calibration>,
}

impl CreativeEngine {
    /// An engine that asks `router` and remembers in `recall`.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(config: CreativeConfig, router: RouterEngine, recall: RecallEngine) -> Result<Self> {
        config.validate()?;
        Ok(Self(Arc::new(Inner { config, router, recall, calibration: OnceCell::new() })))
    }

    /// Finds ideas for a problem, measures and ranks them, and remembers them in recall.
    ///
    /// # Errors
    /// `Invalid` for a request out of range; `NotFound` when there is no model; what the last model reports when none
    /// gave an idea; `Rejected` when there were only empty answers.
    pub async fn solve(&self, cx: &Context, request: SolveRequest) -> Result<CreativeSolution> {
        validate(&request)?;
        cx.check()?;
        Box::pin(solve(cx, &self.0, &request)).await
    }
}

impl Inner {
    /// The judge, if there is one that can be believed, and otherwise why not.
    pub(super) async fn judge<'a>(
        &'a self,
        cx: &Context,
        needs: &'a Needs,
        bill: &mut Bill,
    ) -> Result<Result<Judge<'a>, String>> {
        let Some(model) = &self.config.judge else {
            return Ok(Err("no judge is configured, so constraints in words were not checked".into()));
        };
        let judge = Judge { router: &self.router, model, needs, concurrency: self.config.concurrency };
        // Once a process: a judge that was cut off in its calibration is calibrated again.
        let calibration = *self.calibration.get_or_try_init(|| judge.calibrate(cx, bill)).await?;
        if calibration.agreement() >= self.config.judge_floor {
            return Ok(Ok(judge));
        }
        Ok(Err(format!(
            "the judge {model} was refused: it got {} of {} known pairs right, which is below {:.0} %; constraints in \
             words were not checked",
            calibration.right,
            calibration.pairs,
            self.config.judge_floor * 100.0
        )))
    }
}

fn validate(request: &SolveRequest) -> Result<()> {
    let invalid = |message: String| Err(Error::invalid(message).during("CreativeEngine::solve"));
    if request.problem.trim().is_empty() || request.problem.len() > MAX_PROBLEM {
        return invalid(format!("a problem is a text of 1 to {MAX_PROBLEM} bytes"));
    }
    if request.ideas == 0 || request.ideas > MAX_IDEAS {
        return invalid(format!("ideas is {}; ask for 1 to {MAX_IDEAS}", request.ideas));
    }
    if request.constraints.len() > MAX_CONSTRAINTS {
        return invalid(format!("a problem has at most {MAX_CONSTRAINTS} constraints"));
    }
    if request.max_tokens == 0 {
        return invalid("max_tokens is 0; ask for at least one token".into());
    }
    if request.namespace.is_empty() {
        return invalid("the namespace is empty; leave it out for `ideas`".into());
    }
    request.constraints.iter().try_for_each(check::validate)
}

#[async_trait]
impl Engine for CreativeEngine {
    type Request = CreativeRequest;
    type Reply = CreativeReply;
    fn name(&self) -> &'static str {
        "creative"
    }
    async fn call(&self, cx: &Context, request: CreativeRequest) -> Result<CreativeReply> {
        match request {
            CreativeRequest::Solve(request) => Ok(CreativeReply::Solved(self.solve(cx, request).await?)),
        }
    }
}
