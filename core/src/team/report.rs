//! What came of an epic, from its run and from what its tasks took.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{EpicPlan, EpicReport, EpicTask, TaskReport, TaskWork, namespace, record::TaskRecord, tally::Spent};
use crate::parallel::{RunReport, RunState, TaskOutcome, TaskResult};

/// The report of epic `id`, from what its planning and its tasks took. Tasks that the run does not speak of were
/// stopped before they began.
pub(super) fn report(
    id: &str,
    plan: EpicPlan,
    run: RunReport,
    planning: Spent,
    mut took: BTreeMap<String, TaskRecord>,
) -> EpicReport {
    let outcome = match run.state {
        RunState::Succeeded => "succeeded",
        RunState::Failed => "failed",
        RunState::Cancelled | RunState::Running => "cancelled",
    };
    let mut ended: HashMap<_, _> = run.tasks.into_iter().map(|result| (result.task.clone(), result)).collect();
    let mut sums = planning;
    let mut workers = HashSet::new();
    let mut tasks = Vec::with_capacity(plan.tasks.len());
    for task in plan.tasks {
        let record = took.remove(&task.name).unwrap_or_default();
        sums = sums.plus(record.spent);
        if record.attempts > 0 {
            workers.insert(task.agent.clone());
        }
        let result = ended.remove(&task.name);
        tasks.push(one(task, result, record));
    }
    EpicReport {
        epic: id.to_owned(),
        title: plan.epic.title,
        outcome: outcome.into(),
        planner: plan.planner,
        tasks,
        agents: workers.len(),
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        cost: sums.cost,
        reference_cost: sums.reference_cost,
        saved: sums.saved,
        latency_ms: run.latency_ms,
        namespace: namespace(id),
    }
}

fn one(task: EpicTask, result: Option<TaskResult>, record: TaskRecord) -> TaskReport {
    let work = result.as_ref().and_then(|result| serde_json::from_value::<TaskWork>(result.value.clone()).ok());
    let work = work.unwrap_or_default();
    TaskReport {
        task: task.name,
        agent: task.agent.unwrap_or_default(),
        outcome: result.as_ref().map_or(TaskOutcome::Cancelled, |result| result.outcome),
        result: work.text,
        model: record.model,
        gates: record.gates,
        error: result.as_ref().and_then(|result| result.error.clone()),
        notes: record.notes,
        input_tokens: record.spent.input_tokens,
        output_tokens: record.spent.output_tokens,
        cost: record.spent.cost,
        saved: record.spent.saved,
        attempts: record.attempts,
        restored: result.as_ref().is_some_and(|result| result.restored),
        latency_ms: result.map_or(0, |result| result.latency_ms),
    }
}
