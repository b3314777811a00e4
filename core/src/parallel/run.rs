//! A run at work: starts what the schedule says, waits for what happens, and stops when it must.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{sync::mpsc, time::Instant as TokioInstant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    RunReport, RunState, TaskOutcome, TaskResult,
    attempt::{Attempt, Shared, Told},
    graph::Graph,
    past::{self, Past},
    schedule::Schedule,
};
use crate::{
    error::{Error, ErrorKind, Result},
    monitor::EventKind,
    runtime::Runtime,
};

/// Results that may wait for their commit before no further task is started.
const MAX_COMMITTING: usize = 512;
/// How long a start may wait for a commit that takes it along.
const START_DELAY: Duration = Duration::from_millis(5);
/// How long a stopped run waits for its tasks to be dropped.
const GRACE: Duration = Duration::from_secs(2);

/// A run that this process holds.
#[derive(Debug)]
pub(super) struct Run {
    id: String,
    shared: Arc<Shared>,
    runtime: Runtime,
    graph: Arc<Graph>,
    schedule: Schedule,
    results: Vec<Option<TaskResult>>,
    attempts: Vec<u32>,
    failures: Vec<u32>,
    waits: Vec<Duration>,
    /// Tasks that wait to be tried again.
    again: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Workers that are out, and those of them that wait for their commit.
    out: Vec<bool>,
    working: usize,
    committing: usize,
    tell: mpsc::Sender<Told>,
    told: mpsc::Receiver<Told>,
    begun: Instant,
}

/// Why a run stops before its end.
enum Stop {
    /// The caller's context ended.
    Context(Error),
    /// The journal cannot be written.
    Broken(Error),
}

impl Run {
    pub(super) fn new(id: String, shared: Arc<Shared>, past: Past, concurrency: usize, runtime: Runtime) -> Self {
        let graph = Arc::new(past.graph);
        let count = graph.len();
        // Workers wait when the run is busy: what they have to tell is bounded by the channel.
        let (tell, told) = mpsc::channel(1024);
        let mut run = Self {
            id,
            shared,
            runtime,
            schedule: Schedule::new(Arc::clone(&graph), concurrency),
            graph,
            results: vec![None; count],
            attempts: past.attempts,
            failures: past.failures,
            waits: vec![Duration::ZERO; count],
            again: BinaryHeap::new(),
            out: vec![false; count],
            working: 0,
            committing: 0,
            tell,
            told,
            begun: Instant::now(),
        };
        for (task, result) in past.finished {
            run.end(task, result);
        }
        run
    }

    /// Works until every task has ended or the run must stop. The journal is given back in either case.
    ///
    /// # Errors
    /// `Timeout` when the deadline of the caller passed, `Conflict` when another process took the run over, and what
    /// the store reports.
    pub(super) async fn drive(mut self) -> Result<RunReport> {
        let restored = self.results.iter().flatten().count();
        self.emit(EventKind::RunStarted { run: self.id.clone(), tasks: self.results.len(), restored });
        let beating = self.keep_lease();
        let (state, error) = match self.work().await {
            Ok(()) if self.results.iter().flatten().any(|end| end.outcome == TaskOutcome::Failed) => {
                (RunState::Failed, None)
            }
            Ok(()) => (RunState::Succeeded, None),
            Err(stop) => {
                self.wind_up().await;
                match stop {
                    Stop::Context(error) if error.kind() == ErrorKind::Cancelled => (RunState::Cancelled, None),
                    // It was not the caller's wish, so the run counts as interrupted.
                    Stop::Context(error) | Stop::Broken(error) => (RunState::Running, Some(error)),
                }
            }
        };
        drop(beating);
        let released = self.shared.journal.release(state).await;
        let latency_ms = self.begun.elapsed().as_millis() as u64;
        let outcome = match (&error, state) {
            (Some(error), _) => error.code().to_lowercase(),
            (None, RunState::Succeeded) => "succeeded".into(),
            (None, RunState::Failed) => "failed".into(),
            (None, _) => "cancelled".into(),
        };
        self.emit(EventKind::RunFinished { run: self.id.clone(), outcome, latency_ms });
        if let Some(error) = error {
            return Err(error);
        }
        released?;
        let tasks = self.results.into_iter().flatten().collect();
        Ok(RunReport { run: self.id, state, tasks, latency_ms })
    }

    /// Keeps the lease until the guard is dropped; tells the run when it is lost.
    fn keep_lease(&self) -> DropGuard {
        let (shared, tell, stop) = (Arc::clone(&self.shared), self.tell.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = heartbeat(&shared, &tell) => {}
            }
        });
        guard
    }

    async fn work(&mut self) -> Result<(), Stop> {
        let cx = self.shared.cx.clone();
        let mut flush_at = None;
        loop {
            cx.check().map_err(Stop::Context)?;
            self.start_ready().map_err(Stop::Broken)?;
            if self.schedule.is_done() {
                return Ok(());
            }
            if flush_at.is_none() && self.shared.journal.has_starts() {
                flush_at = Some(Instant::now() + START_DELAY);
            }
            let next_again = self.again.peek().map(|Reverse((at, _))| *at);
            let wake = [flush_at, next_again, cx.deadline].into_iter().flatten().min();
            let alarm = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(TokioInstant::from_std(at)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = cx.cancel.cancelled() => {}
                Some(told) = self.told.recv() => {
                    self.hear(told).map_err(Stop::Broken)?;
                    while let Ok(told) = self.told.try_recv() {
                        self.hear(told).map_err(Stop::Broken)?;
                    }
                }
                () = alarm => {}
            }
            let now = Instant::now();
            while let Some(Reverse((at, task))) = self.again.peek().copied()
                && at <= now
            {
                self.again.pop();
                self.schedule.again(task);
            }
            if flush_at.is_some_and(|at| at <= now) {
                flush_at = None;
                self.flush();
            }
        }
    }

    fn start_ready(&mut self) -> Result<()> {
        while self.committing < MAX_COMMITTING
            && let Some(task) = self.schedule.start()
        {
            let at = task as usize;
            self.attempts[at] += 1;
            let attempt = Attempt {
                run: self.id.clone(),
                task,
                number: self.attempts[at],
                failures: self.failures[at],
                waited: self.waits[at],
                results: self.results_before(task),
            };
            let name = &self.shared.plan.tasks[at].name;
            self.shared.journal.started(name, attempt.number)?;
            self.emit(EventKind::TaskStarted { run: self.id.clone(), task: name.clone(), attempt: attempt.number });
            self.out[at] = true;
            self.working += 1;
            self.runtime.spawn_to_end(attempt.run(Arc::clone(&self.shared), self.tell.clone()));
        }
        Ok(())
    }

    fn results_before(&self, task: u32) -> BTreeMap<String, Value> {
        let before = self.graph.before[task as usize].iter();
        let results = before.filter_map(|first| self.results[*first as usize].as_ref());
        results.map(|result| (result.task.clone(), result.value.clone())).collect()
    }

    fn hear(&mut self, told: Told) -> Result<()> {
        match told {
            Told::Paused(task) => {
                self.committing += 1;
                self.schedule.pause(task);
            }
            Told::Ended(task, result) => {
                self.came_back(task);
                self.end(task, *result);
            }
            Told::Again { task, wait, code } => {
                self.came_back(task);
                let at = task as usize;
                self.failures[at] += 1;
                self.waits[at] = wait;
                self.again.push(Reverse((Instant::now() + wait, task)));
                let (run, name) = (self.id.clone(), self.shared.plan.tasks[at].name.clone());
                let (attempt, wait_ms) = (self.attempts[at], wait.as_millis() as u64);
                self.emit(EventKind::TaskRetried { run, task: name, attempt, code: code.into(), wait_ms });
            }
            Told::Stopped(task) => self.came_back(task),
            Told::Broken(error) => return Err(error),
        }
        Ok(())
    }

    /// A worker has told its last.
    fn came_back(&mut self, task: u32) {
        if std::mem::take(&mut self.out[task as usize]) {
            self.working -= 1;
            self.committing = self.committing.saturating_sub(1);
        }
    }

    fn end(&mut self, task: u32, result: TaskResult) {
        let restored = result.restored;
        for skip in past::end(&mut self.schedule, task, &result) {
            let skipped = TaskResult { restored, ..past::skipped(&self.shared.plan, skip) };
            self.finished_event(&skipped);
            self.results[skip.task as usize] = Some(skipped);
        }
        self.finished_event(&result);
        self.results[task as usize] = Some(result);
    }

    /// Writes starts that no commit took along. A failure shows at the next commit.
    fn flush(&self) {
        let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
        self.runtime.spawn(async move {
            if let Err(error) = shared.journal.flush().await {
                let _ = tell.send(Told::Broken(error)).await;
            }
        });
    }

    /// Drops what still runs, and hears what ended in the meantime.
    async fn wind_up(&mut self) {
        self.shared.cx.cancel.cancel();
        let end = TokioInstant::now() + GRACE;
        while self.working > 0
            && let Ok(Some(told)) = tokio::time::timeout_at(end, self.told.recv()).await
        {
            // That the journal is broken is known by now, or no longer matters.
            let _ = self.hear(told);
        }
        // What was started and did not end: dropped while it ran, or while it waited to be tried again.
        for at in 0..self.results.len() {
            if self.attempts[at] > 0 && self.results[at].is_none() {
                let name = &self.shared.plan.tasks[at].name;
                let end = TaskResult { attempts: self.attempts[at], ..past::ended(name, TaskOutcome::Cancelled) };
                self.finished_event(&end);
                self.results[at] = Some(end);
            }
        }
    }

    fn finished_event(&self, end: &TaskResult) {
        if end.restored {
            return;
        }
        let outcome = match end.outcome {
            TaskOutcome::Succeeded => "succeeded",
            TaskOutcome::Failed => "failed",
            TaskOutcome::Skipped => "skipped",
            TaskOutcome::Cancelled => "cancelled",
        };
        let (run, task, outcome) = (self.id.clone(), end.task.clone(), outcome.to_owned());
        let (attempts, latency_ms) = (end.attempts, end.latency_ms);
        self.emit(EventKind::TaskFinished { run, task, outcome, attempts, latency_ms });
    }

    fn emit(&self, kind: EventKind) {
        self.shared.cx.emit(kind);
    }
}

async fn heartbeat(shared: &Shared, tell: &mpsc::Sender<Told>) {
    loop {
        tokio::time::sleep(Duration::from_millis((shared.lease_ms / 3).max(1))).await;
        match shared.journal.renew().await {
            Err(error) if shared.journal.is_lost() => {
                let _ = tell.send(Told::Broken(error)).await;
                return;
            }
            // A store that failed may work again before the lease ends.
            Err(error) => tracing::warn!(%error, "the lease of a run could not be renewed"),
            Ok(()) => {}
        }
    }
}
