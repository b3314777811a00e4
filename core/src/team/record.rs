//! What is kept of an epic in table `epics`: its plan before it runs, what each task took, its report in the end.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{EpicPlan, EpicReport, tally::Spent};
use crate::{
    error::{Error, ErrorKind, Result},
    gate::Verdict,
    store::{Job, Store, Unit},
};

/// An epic; its key is the id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct EpicRecord {
    pub(super) plan: EpicPlan,
    pub(super) begun_ms: u64,
    /// Set when it ended; one that was cancelled may go on.
    pub(super) report: Option<EpicReport>,
}

/// What a task took so far, refused answers and failed runs included; its key is the id of the epic, 0, its name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct TaskRecord {
    pub(super) attempts: u32,
    #[serde(flatten)]
    pub(super) spent: Spent,
    pub(super) model: Option<String>,
    pub(super) gates: Vec<Verdict>,
    pub(super) notes: Vec<String>,
}

fn task_key(epic: &str, task: &str) -> Vec<u8> {
    [epic.as_bytes(), &[0], task.as_bytes()].concat()
}

/// The epic called `id`.
///
/// # Errors
/// `NotFound` when there is none.
pub(super) fn epic(store: &Store, id: &str) -> Result<EpicRecord> {
    find(store, id)?.ok_or_else(|| Error::not_found("there is no epic with this id in this store").with("epic", id))
}

/// The epic called `id`, if there is one.
pub(super) fn find(store: &Store, id: &str) -> Result<Option<EpicRecord>> {
    store.read(|read| read.tables.epics.get_json(read.txn, id.as_bytes()))
}

/// What `task` of `epic` took so far.
pub(super) fn task(store: &Store, epic: &str, task: &str) -> Result<TaskRecord> {
    let record = store.read(|read| read.tables.epics.get_json(read.txn, &task_key(epic, task)))?;
    Ok(record.unwrap_or_default())
}

/// Keeps `plan` before it runs; answers what is known of the epic.
///
/// # Errors
/// `Conflict` when the epic was begun by another plan.
pub(super) async fn begin(store: &Store, id: String, plan: &EpicPlan) -> Result<EpicRecord> {
    // As it will be read: a number may lose its last digit on its way through JSON.
    let plan: EpicPlan = serde_json::to_vec(plan)
        .and_then(|json| serde_json::from_slice(&json))
        .map_err(|e| Error::unexpected("a plan has no JSON form").caused_by(e))?;
    store
        .write(move |write| match write.tables.epics.get_json::<EpicRecord>(write.txn, id.as_bytes())? {
            Some(known) if known.plan == plan => Ok(known),
            Some(_) => Err(Error::new(
                ErrorKind::Conflict,
                "an epic with this id was begun by another plan; resume it by its id, or choose another id",
            )
            .during("Coordinator::run")
            .with("epic", &id)),
            None => {
                let record = EpicRecord { plan: plan.clone(), begun_ms: now_ms(), report: None };
                write.tables.epics.put_json(write.txn, id.as_bytes(), &record)?;
                Ok(record)
            }
        })
        .await
}

/// Keeps what `task` of `epic` took, whether the task succeeds or not: what was spent stays spent.
pub(super) async fn keep(store: &Store, unit: Option<&Unit>, epic: &str, task: &str, record: TaskRecord) -> Result<()> {
    store.commit_with(unit, true, keeping(epic, task, record)).await
}

/// The same where nobody can wait for it: the work of a task was dropped. It goes with the unit of the task, or by itself
/// when that has ended.
pub(super) fn keep_soon(store: &Store, unit: &Unit, epic: &str, task: &str, record: TaskRecord) {
    if let Err(job) = unit.stage(true, keeping(epic, task, record)) {
        store.enqueue_soon(vec![job]);
    }
}

fn keeping(epic: &str, task: &str, record: TaskRecord) -> Job {
    let key = task_key(epic, task);
    Box::new(move |write| write.tables.epics.put_json(write.txn, &key, &record))
}

/// What the planning of `epic` took so far. It is kept beside the tasks; no task has an empty name.
pub(super) fn planning(store: &Store, epic: &str) -> Result<Spent> {
    let spent = store.read(|read| read.tables.epics.get_json(read.txn, &task_key(epic, "")))?;
    Ok(spent.unwrap_or_default())
}

/// Adds to what the planning of `epic` took.
pub(super) async fn add_planning(store: &Store, epic: &str, more: Spent) -> Result<()> {
    if more == Spent::default() {
        return Ok(());
    }
    let key = task_key(epic, "");
    store
        .write(move |write| {
            let known: Spent = write.tables.epics.get_json(write.txn, &key)?.unwrap_or_default();
            write.tables.epics.put_json(write.txn, &key, &known.plus(more))
        })
        .await
}

/// Keeps the report of an epic that ended.
pub(super) async fn end(store: &Store, report: EpicReport) -> Result<()> {
    store
        .write(move |write| {
            let key = report.epic.as_bytes();
            let Some(mut record) = write.tables.epics.get_json::<EpicRecord>(write.txn, key)? else { return Ok(()) };
            record.report = Some(report.clone());
            write.tables.epics.put_json(write.txn, key, &record)
        })
        .await
}

/// Ids of epics without a report, oldest first.
pub(super) fn unfinished(store: &Store) -> Result<Vec<String>> {
    let mut epics = store.read(|read| {
        let mut epics = Vec::new();
        for row in read.tables.epics.prefix(read.txn, b"")? {
            let (key, value) = row?;
            if key.contains(&0) {
                continue;
            }
            let record: EpicRecord = read.tables.epics.parse(value)?;
            if record.report.is_none() {
                epics.push((record.begun_ms, String::from_utf8_lossy(key).into_owned()));
            }
        }
        Ok(epics)
    })?;
    epics.sort();
    Ok(epics.into_iter().map(|(_, id)| id).collect())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
