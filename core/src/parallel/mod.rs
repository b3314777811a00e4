//! Parallel Mind: task graphs run at once where they can, journalled, so that a killed run goes on.

mod attempt;
mod body;
mod config;
mod engine;
mod graph;
mod hash;
mod journal;
mod lmdb_queue;
mod past;
mod plan;
mod queue;
mod request;
mod run;
mod schedule;
mod template;

pub use config::ParallelConfig;
pub use engine::{ParallelEngine, RunHandle};
pub use lmdb_queue::LmdbQueue;
pub use plan::{Plan, Task, TaskBody};
pub use queue::{Lease, QueueStats, QueuedTask, TaskQueue};
pub use request::{ParallelReply, ParallelRequest, RunReport, RunRequest, RunState, TaskCall, TaskOutcome, TaskResult};

#[cfg(test)]
mod tests;
