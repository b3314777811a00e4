//! The team: an epic becomes tasks for agents, run to the end.

mod assign;
mod config;
mod crew;
mod engine;
mod plan;
mod planner;
mod prompt;
mod record;
mod report;
mod request;
mod tally;
mod work;

use std::fmt;

use async_trait::async_trait;
pub use config::TeamConfig;
pub use engine::{EpicRun, TeamEngine};
pub use request::{Agent, Epic, EpicPlan, EpicReport, EpicTask, Planner, TaskReport, TaskWork, TeamReply, TeamRequest};

use crate::{context::Context, error::Result};

/// Agents an epic may have. An agent is a few texts; what works at once is bounded by `team.concurrency`.
const MAX_AGENTS: usize = 1000;

/// Where recall keeps the shared memory of epic `id`.
fn namespace(id: &str) -> String {
    format!("team/{id}")
}

/// Turns epics into plans and plans into results. Plan and run are apart: a plan can be seen, tested and edited.
///
/// # Contract
/// - `plan` covers every requirement of the epic by at least one task, has no cycle, and says who planned it.
/// - `run` starts the work and returns a handle at once; the plan may have been edited, and is checked again.
/// - A run of an epic id that was interrupted goes on: finished tasks are not done again.
#[async_trait]
pub trait Coordinator: Send + Sync + fmt::Debug + 'static {
    /// Plans `epic`.
    async fn plan(&self, cx: &Context, epic: &Epic) -> Result<EpicPlan>;
    /// Runs `plan`.
    async fn run(&self, cx: &Context, plan: EpicPlan) -> Result<EpicRun>;
}

#[cfg(test)]
pub(crate) mod scripted;
#[cfg(test)]
mod tests;
