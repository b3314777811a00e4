//! What the journal tells of a run: replayed, so that a resumed run and a report say the same.

use std::collections::HashMap;

use super::{
    Plan, RunReport, RunState, TaskOutcome, TaskResult,
    graph::Graph,
    journal::JournalEvent,
    schedule::{Schedule, Skip},
};
use crate::error::{Error, ErrorKind, Result};

/// What happened to a run so far.
#[derive(Debug)]
pub(super) struct Past {
    pub(super) plan: Plan,
    pub(super) graph: Graph,
    /// Tasks that finished, in the order in which they did.
    pub(super) finished: Vec<(u32, TaskResult)>,
    /// For each task, the attempts that were started.
    pub(super) attempts: Vec<u32>,
    /// For each task, the attempts that failed; an attempt that was cut off did not.
    pub(super) failures: Vec<u32>,
}

impl Past {
    /// Reads `events`, the first of which holds the plan.
    ///
    /// # Errors
    /// `Corrupt` when the events do not belong together.
    pub(super) fn new(events: Vec<JournalEvent>) -> Result<Self> {
        let corrupt = || Error::new(ErrorKind::Corrupt, "the journal of the run is damaged; start the plan afresh");
        let mut events = events.into_iter();
        let Some(JournalEvent::Planned { plan }) = events.next() else { return Err(corrupt()) };
        let graph = Graph::new(&plan)?;
        let names: HashMap<_, _> = plan.tasks.iter().zip(0_u32..).map(|(task, i)| (task.name.clone(), i)).collect();
        let number = |name: &str| names.get(name).copied().ok_or_else(corrupt);
        let (mut attempts, mut failures) = (vec![0; graph.len()], vec![0; graph.len()]);
        let mut finished = Vec::new();
        for event in events {
            match event {
                JournalEvent::Planned { .. } => return Err(corrupt()),
                JournalEvent::Started { task, attempt } => {
                    let task = number(&task)? as usize;
                    attempts[task] = attempt.max(attempts[task]);
                }
                JournalEvent::AttemptFailed { task, attempt, .. } => {
                    let task = number(&task)? as usize;
                    attempts[task] = attempt.max(attempts[task]);
                    failures[task] += 1;
                }
                JournalEvent::Finished { mut result } => {
                    result.restored = true;
                    finished.push((number(&result.task)?, result));
                }
            }
        }
        Ok(Self { plan, graph, finished, attempts, failures })
    }

    /// The report of the run as it is in the journal.
    pub(super) fn into_report(self, run: String, state: RunState) -> RunReport {
        let mut schedule = Schedule::new(self.graph.into(), 1);
        let mut results = vec![None; self.plan.tasks.len()];
        for (task, result) in self.finished {
            for skip in end(&mut schedule, task, &result) {
                let mut skipped = skipped(&self.plan, skip);
                skipped.restored = true;
                results[skip.task as usize] = Some(skipped);
            }
            results[task as usize] = Some(result);
        }
        RunReport { run, state, tasks: results.into_iter().flatten().collect(), latency_ms: 0 }
    }
}

/// Tells `schedule` how `task` ended; the tasks that are skipped for it.
pub(super) fn end(schedule: &mut Schedule, task: u32, result: &TaskResult) -> Vec<Skip> {
    if result.outcome == TaskOutcome::Succeeded {
        schedule.finish(task);
        return Vec::new();
    }
    schedule.fail(task)
}

/// The end of a task that was skipped.
pub(super) fn skipped(plan: &Plan, skip: Skip) -> TaskResult {
    let name = |task: u32| plan.tasks[task as usize].name.as_str();
    TaskResult {
        error: Some(format!("`{}` failed", name(skip.because))),
        ..ended(name(skip.task), TaskOutcome::Skipped)
    }
}

/// The end of a task, without result and error.
pub(super) fn ended(task: &str, outcome: TaskOutcome) -> TaskResult {
    TaskResult {
        task: task.to_owned(),
        outcome,
        value: serde_json::Value::Null,
        code: None,
        error: None,
        attempts: 0,
        latency_ms: 0,
        restored: false,
    }
}
