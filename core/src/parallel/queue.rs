//! A queue of tasks with leases, as a trait: what scale-out stands on.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{context::Context, error::Result};

/// A task in a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedTask {
    /// Its id, unique in the queue: a second task with it is not added.
    pub id: String,
    /// What it is.
    pub payload: Value,
    /// Higher is served first; equals in order of arrival.
    #[serde(default)]
    pub priority: i32,
    /// Times it was leased before.
    #[serde(default)]
    pub attempts: u32,
}

/// The right to work on a task, until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The task.
    pub task: QueuedTask,
    /// Grows with every lease of the task: a late worker's calls are refused by it.
    pub fence: u64,
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct QueueStats {
    /// Waiting for a worker.
    pub waiting: usize,
    /// Leased.
    pub leased: usize,
    /// Completed.
    pub completed: usize,
    /// Failed for good.
    pub failed: usize,
}

/// Tasks for workers, at least once each.
///
/// # Contract
/// - `enqueue` is idempotent by id and says whether the task is new.
/// - A leased task is given to nobody else until the lease expires; then it waits again.
/// - `extend`, `complete` and `fail` are `Conflict` when the lease expired and the task went on to another worker, or
///   was cancelled.
/// - `complete` happens exactly once a task.
#[async_trait]
pub trait TaskQueue: Send + Sync + fmt::Debug + 'static {
    /// Adds a task.
    async fn enqueue(&self, cx: &Context, queue: &str, task: QueuedTask) -> Result<bool>;
    /// The next task, for `time`; none when none waits.
    async fn lease(&self, cx: &Context, queue: &str, time: Duration) -> Result<Option<Lease>>;
    /// Keeps the lease for `time` from now.
    async fn extend(&self, cx: &Context, queue: &str, lease: &Lease, time: Duration) -> Result<()>;
    /// Ends the task with a result.
    async fn complete(&self, cx: &Context, queue: &str, lease: &Lease, result: Value) -> Result<()>;
    /// Gives the task back to wait again after `retry_in`, or ends it as failed when that is absent.
    async fn fail(&self, cx: &Context, queue: &str, lease: &Lease, retry_in: Option<Duration>) -> Result<()>;
    /// Removes a task that is waiting or leased; says whether it was there.
    async fn cancel(&self, cx: &Context, queue: &str, id: &str) -> Result<bool>;
    /// The result of a completed task; none when it is not completed.
    async fn result(&self, cx: &Context, queue: &str, id: &str) -> Result<Option<Value>>;
    /// How full the queue is.
    async fn stats(&self, cx: &Context, queue: &str) -> Result<QueueStats>;
}
