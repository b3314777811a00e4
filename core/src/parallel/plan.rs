//! Tasks and what they wait for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::graph::Graph;
use crate::{error::Result, router::GenerateRequest};

/// What a task does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TaskBody {
    /// Calls a registered function of the host by name, with a [`TaskCall`](super::TaskCall); the result is what the
    /// function returns.
    Function(String),
    /// Calls an engine by name with a JSON request; the result is its reply. Texts in the request are templates: see
    /// `Prompt`.
    Engine {
        /// The engine.
        name: String,
        /// The request.
        request: Value,
    },
    /// Asks a model; the result is the text of the answer. The prompt is a template (Jinja) over `input` and
    /// `results`, the results by task name: `Summarise: {{ results.fetch }}`.
    Prompt(Box<GenerateRequest>),
    /// Nothing but the value itself: a constant for the tasks after it.
    Value(Value),
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Task {
    /// Its name, unique in the plan.
    pub name: String,
    /// What it does.
    #[serde(rename = "do")]
    pub body: TaskBody,
    /// Names of the tasks that must have succeeded before.
    #[serde(default)]
    pub after: Vec<String>,
    /// What it is given.
    #[serde(default)]
    pub input: Value,
    /// Attempts after the first, on errors that may go away and on errors of the host. Default 0.
    #[serde(default)]
    pub retries: u32,
    /// Time of one attempt in milliseconds. Default: the configured one.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
}

impl Task {
    /// A task called `name` that does `body`.
    pub fn new(name: impl Into<String>, body: TaskBody) -> Self {
        Self { name: name.into(), body, after: Vec::new(), input: Value::Null, retries: 0, timeout_ms: None }
    }

    /// A task that calls the registered function `function`.
    pub fn function(name: impl Into<String>, function: impl Into<String>) -> Self {
        Self::new(name, TaskBody::Function(function.into()))
    }

    /// Waits for `tasks`.
    #[must_use]
    pub fn after<S: Into<String>>(mut self, tasks: impl IntoIterator<Item = S>) -> Self {
        self.after.extend(tasks.into_iter().map(Into::into));
        self
    }

    /// Is given `input`.
    #[must_use]
    pub fn input(mut self, input: Value) -> Self {
        self.input = input;
        self
    }

    /// Is tried again up to `retries` times.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }
}

/// Tasks, in the order their results are given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan {
    /// The tasks.
    pub tasks: Vec<Task>,
}

impl Plan {
    /// Checks names, dependencies and size. An empty plan is fine.
    ///
    /// # Errors
    /// `Invalid`, saying what is wrong; a cycle is named in order (`a → b → a`).
    pub fn validate(&self) -> Result<()> {
        Graph::new(self).map(drop)
    }

    /// Names of the tasks in an order in which they can run; plan order where there is a choice.
    ///
    /// # Errors
    /// Those of [`validate`](Self::validate).
    pub fn order(&self) -> Result<Vec<String>> {
        let graph = Graph::new(self)?;
        Ok(graph.order.iter().map(|task| self.tasks[*task as usize].name.clone()).collect())
    }
}

impl FromIterator<Task> for Plan {
    fn from_iter<T: IntoIterator<Item = Task>>(tasks: T) -> Self {
        Self { tasks: tasks.into_iter().collect() }
    }
}
