//! Parallel Mind: task graphs run at once where they can, journalled, so that a killed run goes on.

mod config;
mod engine;
mod plan;
mod queue;
mod request;

pub use config::ParallelConfig;
pub use engine::{ParallelEngine, RunHandle};
pub use plan::{Plan, Task, TaskBody};
pub use queue::{Lease, QueueStats, QueuedTask, TaskQueue};
pub use request::{ParallelReply, ParallelRequest, RunReport, RunRequest, RunState, TaskCall, TaskOutcome, TaskResult};
