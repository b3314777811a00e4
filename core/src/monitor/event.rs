//! What happened: typed events, emitted by every part and seen by whoever registered a sink.

use std::{fmt, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

use crate::money::NanoUsd;

/// One thing that happened, and in which call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The trace of the call, see [`Context::trace`](crate::Context).
    pub trace: Arc<str>,
    /// The tenant of the call; empty for none.
    pub tenant: Arc<str>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// An event of now.
    pub fn now(trace: Arc<str>, tenant: Arc<str>, kind: EventKind) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { at_ms: since.as_millis() as u64, trace, tenant, kind }
    }
}

/// What an event tells. Texts of users and keys are never in an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named after what they hold; times end in _ms")]
pub enum EventKind {
    /// A local model or embedder was read into memory.
    ModelLoaded { model: String, load_ms: u64, bytes: u64 },
    /// The router chose the order of models for a request.
    Routed { models: Vec<String>, reason: String },
    /// One model was tried.
    Attempted { model: String, attempt: u32, ok: bool, code: Option<String>, latency_ms: u64 },
    /// A call was paid for, or was free.
    Spent { model: String, input_tokens: u64, output_tokens: u64, cost: NanoUsd, saved: NanoUsd },
    /// A budget is past its soft limit; told once in its period.
    BudgetLow { budget: String, taken: NanoUsd, soft: NanoUsd, limit: NanoUsd },
    /// A circuit breaker opened: the model is left alone for a while.
    BreakerOpened { model: String, for_ms: u64 },
    /// A circuit breaker closed: the model is used again.
    BreakerClosed { model: String },
    /// Knowledge was stored.
    Stored { namespace: String, id: String },
    /// Knowledge was recalled.
    Recalled { namespace: String, hits: usize, latency_ms: u64 },
    /// Knowledge was forgotten.
    Forgotten { namespace: String, count: usize },
    /// A run of tasks started, or went on after its process died.
    RunStarted { run: String, tasks: usize, restored: usize },
    /// A task started.
    TaskStarted { run: String, task: String, attempt: u32 },
    /// A task failed and will be tried again.
    TaskRetried { run: String, task: String, attempt: u32, code: String, wait_ms: u64 },
    /// A task ended.
    TaskFinished { run: String, task: String, outcome: String, attempts: u32, latency_ms: u64 },
    /// A run ended.
    RunFinished { run: String, outcome: String, latency_ms: u64 },
    /// An idea was found, before ranking.
    IdeaFound { run: String, index: usize, model: String, novelty: Option<f64> },
    /// An epic became tasks.
    EpicPlanned { epic: String, tasks: usize, planner: String },
    /// An agent was given a task.
    TaskAssigned { epic: String, task: String, agent: String, similarity: f64 },
    /// A gate looked at what was generated.
    GateChecked { gate: String, artifact: String, passed: bool },
    /// An epic ended.
    EpicFinished { epic: String, outcome: String, cost: NanoUsd, saved: NanoUsd, latency_ms: u64 },
}

impl EventKind {
    /// The name of the event: the `type` of its JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ModelLoaded { .. } => "model_loaded",
            Self::Routed { .. } => "routed",
            Self::Attempted { .. } => "attempted",
            Self::Spent { .. } => "spent",
            Self::BudgetLow { .. } => "budget_low",
            Self::BreakerOpened { .. } => "breaker_opened",
            Self::BreakerClosed { .. } => "breaker_closed",
            Self::Stored { .. } => "stored",
            Self::Recalled { .. } => "recalled",
            Self::Forgotten { .. } => "forgotten",
            Self::RunStarted { .. } => "run_started",
            Self::TaskStarted { .. } => "task_started",
            Self::TaskRetried { .. } => "task_retried",
            Self::TaskFinished { .. } => "task_finished",
            Self::RunFinished { .. } => "run_finished",
            Self::IdeaFound { .. } => "idea_found",
            Self::EpicPlanned { .. } => "epic_planned",
            Self::TaskAssigned { .. } => "task_assigned",
            Self::GateChecked { .. } => "gate_checked",
            Self::EpicFinished { .. } => "epic_finished",
        }
    }
}

/// Sees every event.
///
/// # Contract
/// - `emit` never blocks and never panics; a sink that cannot keep up drops events and counts them.
/// - Events of one call arrive in order; events of concurrent calls interleave.
pub trait EventSink: Send + Sync + fmt::Debug + 'static {
    /// Takes note of `event`.
    fn emit(&self, event: &Event);
}

/// Sees nothing.
impl EventSink for () {
    fn emit(&self, _: &Event) {}
}

/// A closure is a sink through this wrapper.
pub struct FnSink<F>(pub F);

impl<F> fmt::Debug for FnSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnSink")
    }
}

impl<F: Fn(&Event) + Send + Sync + 'static> EventSink for FnSink<F> {
    fn emit(&self, event: &Event) {
        (self.0)(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_the_type_of_the_json_form() {
        let kind = EventKind::TaskRetried {
            run: "r".into(),
            task: "t".into(),
            attempt: 1,
            code: "TIMEOUT".into(),
            wait_ms: 5,
        };
        let name = kind.name();
        let json = serde_json::to_value(Event::now("trace".into(), "".into(), kind)).unwrap();
        assert_eq!(json["type"], name);
        assert_eq!(json["task"], "t");
        assert!(json["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
}
