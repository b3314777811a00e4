//! The journal of a run: what happened, in order, each commit guarded by the fence of the run.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::SystemTime,
};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{Plan, RunState, TaskOutcome, TaskResult};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{Job, Owner, Read, Store, Unit, Write},
};

/// What is known of a run besides its events. Small: every commit of the run reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunRecord {
    /// SHA-256 of the canonical JSON of the plan.
    pub(super) plan_hash: String,
    pub(super) concurrency: Option<usize>,
    pub(super) state: RunState,
    pub(super) created_ms: u64,
    pub(super) ended_ms: Option<u64>,
    /// Grows each time a process takes the run: a late owner's commits are refused by it.
    pub(super) fence: u64,
    /// Who works on it.
    pub(super) owner: Option<Owner>,
    pub(super) lease_until_ms: u64,
}

/// One thing that happened in a run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum JournalEvent {
    /// Always the first.
    Planned {
        plan: Plan,
    },
    Started {
        task: String,
        attempt: u32,
    },
    AttemptFailed {
        task: String,
        attempt: u32,
        code: String,
        error: String,
    },
    Finished {
        result: TaskResult,
    },
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// All events of `run` begin with this.
fn prefix(run: &str) -> Vec<u8> {
    [run.as_bytes(), &[0]].concat()
}

fn key(run: &str, sequence: u64) -> Vec<u8> {
    [run.as_bytes(), &[0], &sequence.to_be_bytes()].concat()
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::unexpected("a journal event has no JSON form").caused_by(e))
}

/// The record of `run`; none when there is no such run.
pub(super) fn record(read: &Read<'_>, run: &str) -> Result<Option<RunRecord>> {
    read.tables.runs.get_json(read.txn, run.as_bytes())
}

/// The events of `run`, oldest first.
pub(super) fn events(read: &Read<'_>, run: &str) -> Result<Vec<JournalEvent>> {
    let rows = read.tables.journal.prefix(read.txn, &prefix(run))?;
    rows.map(|row| read.tables.journal.parse(row?.1)).collect()
}

/// Ids of runs that have not ended, oldest first.
pub(super) fn unfinished(read: &Read<'_>) -> Result<Vec<String>> {
    let mut runs = Vec::new();
    for row in read.tables.runs.prefix(read.txn, b"")? {
        let (key, value) = row?;
        let record: RunRecord = read.tables.runs.parse(value)?;
        if record.state == RunState::Running {
            runs.push((record.created_ms, String::from_utf8_lossy(key).into_owned()));
        }
    }
    runs.sort();
    Ok(runs.into_iter().map(|(_, run)| run).collect())
}

/// What came of trying to take a run.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is ours, under this fence; the number of the next event.
    Ours { fence: u64, next: u64 },
    /// It has ended; nothing is to do.
    Ended,
    /// Another process works on it until then, or longer.
    Busy { until_ms: u64 },
    /// The plan is another one.
    OtherPlan,
    /// There is no such run, and no plan to make it.
    Missing,
}

/// A plan to be run under an id.
#[derive(Clone, Debug)]
pub(super) struct NewRun {
    /// JSON of [`JournalEvent::Planned`].
    pub(super) planned: Arc<Vec<u8>>,
    pub(super) hash: String,
    pub(super) concurrency: Option<usize>,
}

/// Takes `run` for this process, making it when `new` is given and it is not there.
pub(super) async fn claim(store: &Store, run: &str, new: Option<NewRun>, lease_ms: u64) -> Result<Claim> {
    let run = run.to_owned();
    let me = Owner::me();
    store
        .write(move |write| {
            let now = now_ms();
            let found: Option<RunRecord> = write.tables.runs.get_json(write.txn, run.as_bytes())?;
            let mut record = match (found, &new) {
                (None, None) => return Ok(Claim::Missing),
                (None, Some(new)) => {
                    write.tables.journal.put(write.txn, &key(&run, 0), &new.planned)?;
                    RunRecord {
                        plan_hash: new.hash.clone(),
                        concurrency: new.concurrency,
                        state: RunState::Running,
                        created_ms: now,
                        ended_ms: None,
                        fence: 0,
                        owner: None,
                        lease_until_ms: 0,
                    }
                }
                (Some(record), Some(new)) if record.plan_hash != new.hash => return Ok(Claim::OtherPlan),
                (Some(record), _) => record,
            };
            if matches!(record.state, RunState::Succeeded | RunState::Failed) {
                return Ok(Claim::Ended);
            }
            let held = record.owner.as_ref().is_some_and(|owner| !owner.is_me() && !owner.is_gone());
            if held && record.lease_until_ms > now {
                return Ok(Claim::Busy { until_ms: record.lease_until_ms });
            }
            record.state = RunState::Running;
            record.ended_ms = None;
            record.fence += 1;
            record.owner = Some(me.clone());
            record.lease_until_ms = now.saturating_add(lease_ms);
            write.tables.runs.put_json(write.txn, run.as_bytes(), &record)?;
            let last = write.tables.journal.last(write.txn, &prefix(&run))?;
            let last = last.and_then(|(key, _)| key.last_chunk().map(|last| u64::from_be_bytes(*last)));
            Ok(Claim::Ours { fence: record.fence, next: last.map_or(0, |last| last + 1) })
        })
        .await
}

/// The journal of a run that this process holds. Workers share it.
#[derive(Debug)]
pub(super) struct Journal {
    store: Store,
    run: String,
    fence: u64,
    lease_ms: u64,
    next: AtomicU64,
    /// Starts to be written with the next commit: they need none of their own.
    starts: Mutex<Vec<(Vec<u8>, Vec<u8>)>>,
    lost: Arc<AtomicBool>,
}

/// Writes of a task that are kept in any case. They can be committed again when the commit they were in failed.
pub(super) struct Kept(Vec<Arc<Mutex<Job>>>);

impl Kept {
    fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        self.0
            .iter()
            .cloned()
            .map(|job| -> Job { Box::new(move |write| (job.lock().unwrap_or_else(PoisonError::into_inner))(write)) })
    }
}

/// What a task staged: what is kept in any case, and what is kept when it succeeded.
pub(super) fn split(unit: &Unit) -> (Kept, Vec<Job>) {
    let (always, on_success) = unit.split();
    (Kept(always.into_iter().map(|job| Arc::new(Mutex::new(job))).collect()), on_success)
}

impl Journal {
    pub(super) fn new(store: Store, run: String, fence: u64, next: u64, lease_ms: u64) -> Self {
        let (starts, lost) = (Mutex::default(), Arc::default());
        Self { store, run, fence, lease_ms, next: AtomicU64::new(next), starts, lost }
    }

    /// Where it is written.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether another process took the run over, so that nothing can be written any more.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Notes that a task started. Written with the next commit, or by [`flush`](Self::flush).
    pub(super) fn started(&self, task: &str, attempt: u32) -> Result<()> {
        let row = self.row(&JournalEvent::Started { task: task.to_owned(), attempt })?;
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).push(row);
        Ok(())
    }

    /// Whether starts wait to be written.
    pub(super) fn has_starts(&self) -> bool {
        !self.starts.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Writes starts that no commit took along.
    pub(super) async fn flush(&self) -> Result<()> {
        if self.has_starts() { self.commit(Vec::new()).await } else { Ok(()) }
    }

    /// Commits the end of a task, and with it what the task staged.
    pub(super) async fn finished(&self, result: &TaskResult, kept: &Kept, on_success: Vec<Job>) -> Result<()> {
        let mut jobs: Vec<Job> = kept.jobs().collect();
        if result.outcome == TaskOutcome::Succeeded {
            jobs.extend(on_success);
        }
        jobs.push(put_event(self.row(&JournalEvent::Finished { result: result.clone() })?));
        self.commit_kept(jobs, kept).await
    }

    /// Commits the end of an attempt that will be followed by another, and what it staged to be kept.
    pub(super) async fn attempt_failed(&self, task: &str, attempt: u32, error: &Error, kept: &Kept) -> Result<()> {
        let mut jobs: Vec<Job> = kept.jobs().collect();
        let (task, code) = (task.to_owned(), error.code().to_owned());
        let event = JournalEvent::AttemptFailed { task, attempt, code, error: error.to_string() };
        jobs.push(put_event(self.row(&event)?));
        self.commit_kept(jobs, kept).await
    }

    /// Commits what a stopped attempt staged to be kept.
    pub(super) async fn stopped(&self, kept: &Kept) -> Result<()> {
        if kept.0.is_empty() { Ok(()) } else { self.commit_kept(kept.jobs().collect(), kept).await }
    }

    /// Keeps the run for another lease.
    pub(super) async fn renew(&self) -> Result<()> {
        let lease_ms = self.lease_ms;
        self.change(move |record| record.lease_until_ms = now_ms().saturating_add(lease_ms)).await
    }

    /// Gives the run back, in `state`.
    pub(super) async fn release(&self, state: RunState) -> Result<()> {
        self.change(move |record| {
            record.state = state;
            record.owner = None;
            record.lease_until_ms = 0;
            record.ended_ms = (state != RunState::Running).then(now_ms);
        })
        .await
    }

    async fn change(&self, mut change: impl FnMut(&mut RunRecord) + Send + 'static) -> Result<()> {
        let run = self.run.clone();
        let change: Job = Box::new(move |write| {
            let record: Option<RunRecord> = write.tables.runs.get_json(write.txn, run.as_bytes())?;
            let mut record = record.ok_or_else(|| Error::unexpected("the record of a run vanished"))?;
            change(&mut record);
            write.tables.runs.put_json(write.txn, run.as_bytes(), &record)
        });
        self.commit(vec![change]).await
    }

    /// Money that was spent stays spent, also when the run belongs to another process by now.
    async fn commit_kept(&self, jobs: Vec<Job>, kept: &Kept) -> Result<()> {
        let result = self.commit(jobs).await;
        if result.is_err() && self.is_lost() && !kept.0.is_empty() {
            self.store.commit(kept.jobs().collect()).await?;
        }
        result
    }

    /// Commits `jobs`, and the starts that wait, if the run is still ours.
    async fn commit(&self, jobs: Vec<Job>) -> Result<()> {
        let starts = std::mem::take(&mut *self.starts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut all: Vec<Job> = Vec::with_capacity(jobs.len() + starts.len() + 1);
        all.push(self.guard());
        all.extend(starts.iter().cloned().map(put_event));
        all.extend(jobs);
        let result = self.store.commit(all).await;
        if result.is_err() && !self.is_lost() {
            self.starts.lock().unwrap_or_else(PoisonError::into_inner).extend(starts);
        }
        result
    }

    /// Refuses the commit when the run has been taken over or given back.
    fn guard(&self) -> Job {
        #[derive(Deserialize)]
        struct Held {
            fence: u64,
            owner: Option<IgnoredAny>,
        }
        let (run, fence, lost) = (self.run.clone(), self.fence, Arc::clone(&self.lost));
        Box::new(move |write: &mut Write<'_, '_>| {
            let held: Option<Held> = write.tables.runs.get_json(write.txn, run.as_bytes())?;
            if held.is_some_and(|held| held.fence == fence && held.owner.is_some()) {
                return Ok(());
            }
            lost.store(true, Ordering::SeqCst);
            Err(Error::new(ErrorKind::Conflict, "the run was taken over by another process; this one stops")
                .during("Journal::commit")
                .with("fence", fence))
        })
    }

    fn row(&self, event: &JournalEvent) -> Result<(Vec<u8>, Vec<u8>)> {
        Ok((key(&self.run, self.next.fetch_add(1, Ordering::SeqCst)), to_json(event)?))
    }
}

fn put_event((key, value): (Vec<u8>, Vec<u8>)) -> Job {
    Box::new(move |write| write.tables.journal.put(write.txn, &key, &value))
}
