//! One attempt of a task, from its start to the commit of its end.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Plan, TaskCall, TaskOutcome, TaskResult,
    body::Tools,
    journal::{self, Journal},
    past::ended,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    store::Unit,
};

/// The longest wait before another attempt.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// What a worker tells its run.
#[derive(Debug)]
pub(super) enum Told {
    /// The work of the task ended; its slot is free, its result not yet safe.
    Paused(u32),
    /// The task ended, and that is committed.
    Ended(u32, Box<TaskResult>),
    /// The task is to be tried again after a wait.
    Again { task: u32, wait: Duration, code: &'static str },
    /// The run stopped the task.
    Stopped(u32),
    /// The journal cannot be written; the run must stop.
    Broken(Error),
}

/// What every attempt of a run shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) journal: Journal,
    pub(super) tools: Arc<Tools>,
    pub(super) cx: Context,
    /// Cancelled when the engine closes.
    pub(super) closing: CancellationToken,
    pub(super) timeout_ms: u64,
    pub(super) backoff_ms: u64,
    pub(super) lease_ms: u64,
}

/// An attempt to be made.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) run: String,
    pub(super) task: u32,
    /// 1 for the first.
    pub(super) number: u32,
    /// Attempts that failed before.
    pub(super) failures: u32,
    /// The wait before this attempt.
    pub(super) waited: Duration,
    pub(super) results: BTreeMap<String, Value>,
}

impl Attempt {
    /// Makes the attempt and tells how it went. When the engine closes it stops its work, as when the caller cancels,
    /// and ends after the money that was spent is in the journal: it is not to be dropped before.
    pub(super) async fn run(self, shared: Arc<Shared>, tell: mpsc::Sender<Told>) {
        let number = self.task;
        let told = match self.work(&shared, &tell).await {
            Ok(told) => told,
            // The run counts the workers that are out, so each comes back by one of the two.
            Err(error) => {
                let _ = tell.send(Told::Broken(error)).await;
                Told::Stopped(number)
            }
        };
        // A run that stopped without waiting no longer listens.
        let _ = tell.send(told).await;
    }

    async fn work(self, shared: &Shared, tell: &mpsc::Sender<Told>) -> Result<Told> {
        let task = &shared.plan.tasks[self.task as usize];
        let timeout = Duration::from_millis(task.timeout_ms.unwrap_or(shared.timeout_ms));
        let unit = Unit::default();
        // For a process that ends without closing, and so drops this future.
        let _keep = unit.keep_in(shared.journal.store());
        let cx = shared.cx.child().within(timeout).unit(Some(unit.clone()));
        let call = TaskCall {
            run: self.run,
            task: task.name.clone(),
            attempt: self.number,
            input: task.input.clone(),
            results: self.results,
        };
        let begun = Instant::now();
        let result = tokio::select! {
            biased;
            () = shared.closing.cancelled() => Err(Error::new(ErrorKind::Cancelled, "the engine was closed")),
            result = Box::pin(shared.tools.perform(&cx, task, call)) => result,
        };
        // What the task left running must not go on spending.
        cx.cancel.cancel();
        let latency_ms = begun.elapsed().as_millis() as u64;
        let _ = tell.send(Told::Paused(self.task)).await;

        let (kept, on_success) = journal::split(&unit);
        let mut end = TaskResult { attempts: self.number, latency_ms, ..ended(&task.name, TaskOutcome::Succeeded) };
        let error = match result {
            Ok(value) => {
                end.value = value;
                match shared.journal.finished(&end, &kept, on_success).await {
                    Ok(()) => return Ok(Told::Ended(self.task, Box::new(end))),
                    Err(error) if shared.journal.is_lost() => return Err(error),
                    // What the task staged was refused, so the task has not succeeded.
                    Err(error) => error,
                }
            }
            Err(error) if shared.closing.is_cancelled() || shared.cx.check().is_err() => {
                tracing::debug!(task = task.name, %error, "stopped");
                shared.journal.stopped(&kept).await?;
                return Ok(Told::Stopped(self.task));
            }
            Err(error) if error.kind() == ErrorKind::Timeout && begun.elapsed() >= timeout => too_slow(timeout),
            Err(error) => error,
        };
        if may_help(&error) && self.failures < task.retries {
            let wait = next_wait(Duration::from_millis(shared.backoff_ms), self.waited, rand::random());
            shared.journal.attempt_failed(&task.name, self.number, &error, &kept).await?;
            return Ok(Told::Again { task: self.task, wait, code: error.code() });
        }
        let (code, text) = (Some(error.code().to_owned()), Some(error.to_string()));
        let end = TaskResult { outcome: TaskOutcome::Failed, value: Value::Null, code, error: text, ..end };
        shared.journal.finished(&end, &kept, Vec::new()).await?;
        Ok(Told::Ended(self.task, Box::new(end)))
    }
}

/// Whether the same attempt may succeed later. Errors of the host are tried again too: only the plan knows them.
fn may_help(error: &Error) -> bool {
    error.is_retryable() || error.kind() == ErrorKind::Host
}

fn too_slow(timeout: Duration) -> Error {
    let ms = timeout.as_millis();
    Error::new(ErrorKind::Timeout, format!("the task took longer than {ms} ms; give it a longer `timeout_ms`"))
        .during("Task::run")
}

/// Decorrelated jitter: somewhere between the first wait and three times the last one, at most a minute. `die` is in
/// [0, 1).
fn next_wait(first: Duration, last: Duration, die: f64) -> Duration {
    let most = last.max(first).saturating_mul(3).min(MAX_WAIT);
    first.min(MAX_WAIT) + most.saturating_sub(first).mul_f64(die)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_first_nor_longer_than_a_minute(
            first in 0_u64..200_000, last in 0_u64..200_000, die in 0.0..1.0_f64
        ) {
            let (first, last) = (Duration::from_millis(first), Duration::from_millis(last));
            let wait = next_wait(first, last, die);
            prop_assert!(wait >= first.min(MAX_WAIT) && wait <= MAX_WAIT);
            prop_assert!(wait <= first.max(last) * 3);
        }
    }
}
