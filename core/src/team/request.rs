//! What the team is asked and answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    gate::{ArtifactKind, Verdict},
    money::NanoUsd,
    parallel::TaskOutcome,
    router::Needs,
};

/// Work to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Epic {
    /// Its id. With the id of an epic that was interrupted, that one goes on. A fresh one when absent.
    pub id: Option<String>,
    /// What it is called.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// What must be there in the end; at least one.
    pub requirements: Vec<String>,
    /// Who works on it. When empty, `team.agents` agents with roles that cover common skills.
    pub agents: Vec<Agent>,
    /// How many agents, when `agents` is empty. Default: `team.agents`.
    pub team_size: Option<usize>,
    /// What the models must offer.
    pub needs: Needs,
    /// Tokens of one task's answer at most. Default: `team.max_tokens`.
    pub max_tokens: Option<u32>,
}

/// A worker of the team.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// Its name, unique in the team.
    pub name: String,
    /// Its role, in a word or two.
    pub role: String,
    /// What it is good at; tasks are given by their similarity to it.
    pub skills: Vec<String>,
    /// Instructions for its model.
    pub instructions: String,
    /// This model and no other; any when absent.
    pub model: Option<String>,
    /// Names of the functions it may call as tools.
    pub tools: Vec<String>,
}

/// Who made a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Planner {
    /// A model, whose JSON was valid.
    Model {
        /// The model.
        model: String,
    },
    /// The rule: one task a requirement, then, if there are several, one that puts their results together.
    Rules {
        /// Why not a model.
        because: String,
    },
    /// The caller.
    Caller,
}

/// A task of an epic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpicTask {
    /// Its name, unique in the plan.
    pub name: String,
    /// What is to be done.
    pub description: String,
    /// Indexes of the requirements it serves, from 0.
    #[serde(default)]
    pub requirements: Vec<usize>,
    /// Tasks whose results it needs.
    #[serde(default)]
    pub after: Vec<String>,
    /// The agent it is given to; the best one when absent.
    #[serde(default)]
    pub agent: Option<String>,
    /// What kind of thing it makes; its gates go by that.
    #[serde(default)]
    pub produces: ArtifactKind,
}

/// A plan of an epic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpicPlan {
    /// The epic, with its id and its agents.
    pub epic: Epic,
    /// The tasks, each with its agent.
    pub tasks: Vec<EpicTask>,
    /// Who made it.
    pub planner: Planner,
}

/// One task in a report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskReport {
    /// The task.
    pub task: String,
    /// The agent.
    pub agent: String,
    /// How it ended.
    pub outcome: TaskOutcome,
    /// What it made.
    pub result: String,
    /// The model that made it.
    pub model: Option<String>,
    /// What the gates said.
    pub gates: Vec<Verdict>,
    /// What went wrong.
    pub error: Option<String>,
    /// What was not done as asked.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Tokens read, those of embeddings and of tries that failed included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost, as the ledger has it.
    pub cost: NanoUsd,
    /// What it saved.
    pub saved: NanoUsd,
    /// Answers asked of models, refused ones included, over all processes.
    pub attempts: u32,
    /// Whether it had finished before this process took the epic over.
    pub restored: bool,
    /// Time of the last attempt.
    pub latency_ms: u64,
}

/// What came of an epic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpicReport {
    /// Its id.
    pub epic: String,
    /// What it is called.
    pub title: String,
    /// `succeeded`, `failed` or `cancelled`.
    pub outcome: String,
    /// Who planned it.
    pub planner: Planner,
    /// The tasks, in the order of the plan.
    pub tasks: Vec<TaskReport>,
    /// Agents that worked.
    pub agents: usize,
    /// Tokens read, by its planning and its tasks.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What planning and tasks cost: the sum of their entries in the ledger.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
    /// Time this process worked on it.
    pub latency_ms: u64,
    /// The namespace of the memory it left behind.
    pub namespace: String,
}

/// What the engine `team` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TeamRequest {
    /// Plans an epic.
    Plan {
        /// The epic.
        epic: Epic,
    },
    /// Plans and runs an epic, or goes on with one that was interrupted, to its end.
    Run {
        /// The epic.
        epic: Epic,
    },
    /// Runs a plan, which may have been edited, to its end.
    RunPlan {
        /// The plan.
        plan: EpicPlan,
    },
    /// Goes on with an epic that was interrupted.
    Resume {
        /// Its id.
        epic: String,
    },
    /// Epics that have not ended, oldest first. One that was cancelled has ended, though it can be resumed.
    Unfinished {},
    /// Does one task of an epic that runs: what the tasks of its run are made of. Not for callers.
    #[doc(hidden)]
    Work {
        /// The epic.
        epic: String,
        /// The task.
        task: String,
        /// Results of the tasks before it, by name.
        results: BTreeMap<String, TaskWork>,
    },
}

/// What a task of an epic made: the value of the task in the journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TaskWork {
    /// What was made.
    pub text: String,
    /// The model that made it.
    pub model: String,
    /// What the gates said.
    pub gates: Vec<Verdict>,
    /// What was not done as asked: tools that no model could call.
    pub notes: Vec<String>,
}

/// What the engine `team` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum TeamReply {
    /// To `plan`.
    Plan(Box<EpicPlan>),
    /// To `run`, `run_plan` and `resume`.
    Report(Box<EpicReport>),
    /// To `unfinished`.
    Epics {
        /// Ids of epics.
        epics: Vec<String>,
    },
    /// To `work`.
    #[doc(hidden)]
    Work(Box<TaskWork>),
}
