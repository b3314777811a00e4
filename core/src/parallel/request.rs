//! What Parallel Mind is asked and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Plan;

/// What a function is given when it is the body of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskCall {
    /// The run.
    pub run: String,
    /// The task.
    pub task: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The input of the task.
    pub input: Value,
    /// Results of the tasks it waited for, by name.
    pub results: BTreeMap<String, Value>,
}

/// A plan to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunRequest {
    /// The tasks.
    pub tasks: Plan,
    /// The id of the run. With the id of a run that was interrupted, that run goes on: finished tasks are not run
    /// again, and the plan must be the same. A fresh one when absent.
    #[serde(default)]
    pub run: Option<String>,
    /// Tasks at once. Default: the configured number.
    #[serde(default)]
    pub concurrency: Option<usize>,
}

impl RunRequest {
    /// Runs `tasks` under a fresh id.
    pub fn new(tasks: Plan) -> Self {
        Self { tasks, run: None, concurrency: None }
    }
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskOutcome {
    /// With a result.
    Succeeded,
    /// With an error, after its last attempt.
    Failed,
    /// Not started, since a task before it failed.
    Skipped,
    /// Stopped by the caller.
    Cancelled,
}

/// The end of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskResult {
    /// The task.
    pub task: String,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// Its result; null unless it succeeded.
    pub value: Value,
    /// The error code when it failed.
    pub code: Option<String>,
    /// The error in words when it failed, or why it was skipped.
    pub error: Option<String>,
    /// Attempts made, over all processes.
    pub attempts: u32,
    /// Time of the last attempt.
    pub latency_ms: u64,
    /// Whether it had finished before this process took the run over.
    pub restored: bool,
}

/// How a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RunState {
    /// Not ended; if no process works on it, it was interrupted and can go on.
    Running,
    /// All tasks succeeded.
    Succeeded,
    /// A task failed.
    Failed,
    /// Stopped by the caller.
    Cancelled,
}

/// A run and its tasks, in the order of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunReport {
    /// Its id.
    pub run: String,
    /// How it is.
    pub state: RunState,
    /// The tasks that ended.
    pub tasks: Vec<TaskResult>,
    /// Time this process worked on it.
    pub latency_ms: u64,
}

/// What the engine `parallel` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ParallelRequest {
    /// Runs a plan, or goes on with an interrupted run, to its end.
    Run(RunRequest),
    /// Goes on with an interrupted run by the plan in the journal.
    Resume {
        /// The run.
        run: String,
    },
    /// Checks a plan; answers the names of the tasks in an order in which they can run.
    Validate {
        /// The tasks.
        tasks: Plan,
    },
    /// A run as it is in the journal.
    Get {
        /// The run.
        run: String,
    },
    /// Runs that have not ended.
    Unfinished {},
}

/// What the engine `parallel` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ParallelReply {
    /// To `run`, `resume` and `get`.
    Report(RunReport),
    /// To `validate`.
    Order {
        /// Names of the tasks.
        order: Vec<String>,
    },
    /// To `unfinished`.
    Runs {
        /// Ids of runs, oldest first.
        runs: Vec<String>,
    },
}
