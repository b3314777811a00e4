//! The queue of tasks in the folder itself, for the workers of several processes.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Lease, QueueStats, QueuedTask, TaskQueue, journal::now_ms};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    store::{Read, Store, Table, Write},
};

/// Bytes of the name of a queue.
const MAX_QUEUE: usize = 100;
/// Bytes of the id of a task.
const MAX_ID: usize = 200;

/// The [`TaskQueue`] in the folder of a store. Every process that opened the folder sees the same queues; each call is
/// one transaction, and what it changed is on disk when it returns.
#[derive(Clone, Debug)]
pub struct LmdbQueue {
    store: Store,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Waiting,
    Delayed,
    Leased,
    Completed,
    Failed,
}

/// A task as it is stored.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    task: QueuedTask,
    state: State,
    arrival: u64,
    fence: u64,
    /// When a delayed task waits again, or a lease ends.
    at_ms: u64,
    result: Value,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counters {
    waiting: usize,
    leased: usize,
    completed: usize,
    failed: usize,
    arrivals: u64,
    fences: u64,
}

/// The keys of one queue.
#[derive(Clone, Debug)]
struct Keys(Vec<u8>);

impl Keys {
    fn new(queue: &str) -> Result<Self> {
        check(queue, "the name of a queue", MAX_QUEUE)?;
        Ok(Self([queue.as_bytes(), &[0]].concat()))
    }

    fn under(&self, kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        [&self.0[..], &[kind], &parts.concat()].concat()
    }

    fn counters(&self) -> Vec<u8> {
        self.under(b'c', &[])
    }

    fn row(&self, id: &str) -> Vec<u8> {
        self.under(b't', &[id.as_bytes()])
    }

    /// The index entry of a task in its state; none when it has ended.
    fn index(&self, row: &Row) -> Option<Vec<u8>> {
        let arrival = row.arrival.to_be_bytes();
        let kind = match row.state {
            State::Waiting => {
                // Higher priorities sort first.
                let turned = (i64::from(i32::MAX) - i64::from(row.task.priority)) as u32;
                return Some(self.under(b'w', &[&turned.to_be_bytes(), &arrival]));
            }
            State::Delayed => b'd',
            State::Leased => b'l',
            State::Completed | State::Failed => return None,
        };
        Some(self.under(kind, &[&row.at_ms.to_be_bytes(), &arrival]))
    }
}

fn check(text: &str, what: &str, most: usize) -> Result<()> {
    if text.is_empty() || text.len() > most || text.chars().any(char::is_control) {
        let message = format!("{what} is 1 to {most} bytes of text without control characters");
        return Err(Error::invalid(message).during("TaskQueue"));
    }
    Ok(())
}

fn conflict(message: &str, id: &str) -> Error {
    Error::new(ErrorKind::Conflict, message).during("TaskQueue").with("task", id)
}

fn after(time: Duration) -> u64 {
    now_ms().saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// One queue in a write transaction.
struct Open<'w, 'a, 'p> {
    write: &'w mut Write<'a, 'p>,
    keys: &'w Keys,
    table: Table,
    counters: Counters,
}

impl<'w, 'a, 'p> Open<'w, 'a, 'p> {
    fn new(write: &'w mut Write<'a, 'p>, keys: &'w Keys) -> Result<Self> {
        let table = write.tables.queue;
        let counters = table.get_json(write.txn, &keys.counters())?.unwrap_or_default();
        Ok(Self { write, keys, table, counters })
    }

    fn row(&self, id: &str) -> Result<Option<Row>> {
        self.table.get_json(self.write.txn, &self.keys.row(id))
    }

    fn count(&mut self, state: State) -> &mut usize {
        match state {
            State::Waiting | State::Delayed => &mut self.counters.waiting,
            State::Leased => &mut self.counters.leased,
            State::Completed => &mut self.counters.completed,
            State::Failed => &mut self.counters.failed,
        }
    }

    fn put(&mut self, row: &Row) -> Result<()> {
        *self.count(row.state) += 1;
        if let Some(index) = self.keys.index(row) {
            self.table.put(self.write.txn, &index, row.task.id.as_bytes())?;
        }
        self.table.put_json(self.write.txn, &self.keys.row(&row.task.id), row)
    }

    /// Takes a task out of counters and index; its row stays.
    fn lift(&mut self, row: &Row) -> Result<()> {
        let count = self.count(row.state);
        *count = count.saturating_sub(1);
        if let Some(index) = self.keys.index(row) {
            self.table.delete(self.write.txn, &index)?;
        }
        Ok(())
    }

    /// Lets tasks wait again whose delay or lease has ended.
    fn wake(&mut self, kind: u8, now: u64) -> Result<()> {
        let due: Vec<_> = due(&self.table, self.write.txn, self.keys, kind, now)?.collect::<Result<_>>()?;
        for id in due {
            if let Some(mut row) = self.row(&id)? {
                self.lift(&row)?;
                row.state = State::Waiting;
                self.put(&row)?;
            }
        }
        Ok(())
    }

    fn first_waiting(&self) -> Result<Option<Row>> {
        let first = self.table.prefix(self.write.txn, &self.keys.under(b'w', &[]))?.next().transpose()?;
        let id = first.map(|(_, id)| String::from_utf8_lossy(id).into_owned());
        id.map_or(Ok(None), |id| self.row(&id))
    }

    /// The task of `lease`, if the lease is still good.
    fn held(&self, lease: &Lease) -> Result<Row> {
        let id = &lease.task.id;
        let row = self.row(id)?.ok_or_else(|| conflict("the task was cancelled; drop its work", id))?;
        match row.state {
            State::Completed => Err(conflict("the task is completed already; drop this result", id)),
            State::Failed => Err(conflict("the task has failed for good; drop this result", id)),
            _ if row.fence != lease.fence => Err(conflict("the lease expired and the task went on; drop its work", id)),
            // The lease may have expired, but nobody took the task since.
            _ => Ok(row),
        }
    }

    fn close(self) -> Result<()> {
        self.table.put_json(self.write.txn, &self.keys.counters(), &self.counters)
    }
}

/// Ids of delayed (`d`) or leased (`l`) tasks whose time has come.
fn due<'t>(
    table: &Table,
    txn: &'t heed::RoTxn<'_, heed::AnyTls>,
    keys: &Keys,
    kind: u8,
    now: u64,
) -> Result<impl Iterator<Item = Result<String>> + use<'t>> {
    let prefix = keys.under(kind, &[]);
    let at = prefix.len()..prefix.len() + 8;
    let is_due = move |key: &[u8]| key.get(at.clone()).is_some_and(|at| at <= &now.to_be_bytes()[..]);
    let rows = table.prefix(txn, &prefix)?;
    let rows = rows.take_while(move |row| row.as_ref().map_or(true, |(key, _)| is_due(key)));
    Ok(rows.map(|row| row.map(|(_, id)| String::from_utf8_lossy(id).into_owned())))
}

impl LmdbQueue {
    /// The queues in the folder of `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    async fn change<T: Send + 'static>(
        &self,
        cx: &Context,
        queue: &str,
        mut change: impl FnMut(&mut Open<'_, '_, '_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        cx.check()?;
        let keys = Keys::new(queue)?;
        let write = self.store.write(move |write| {
            let mut open = Open::new(write, &keys)?;
            let value = change(&mut open)?;
            open.close()?;
            Ok(value)
        });
        cx.run(write).await
    }

    fn look<T>(&self, cx: &Context, queue: &str, look: impl FnOnce(&Read<'_>, &Keys) -> Result<T>) -> Result<T> {
        cx.check()?;
        let keys = Keys::new(queue)?;
        self.store.read(|read| look(read, &keys))
    }
}

#[async_trait]
impl TaskQueue for LmdbQueue {
    async fn enqueue(&self, cx: &Context, queue: &str, task: QueuedTask) -> Result<bool> {
        check(&task.id, "the id of a task", MAX_ID)?;
        self.change(cx, queue, move |open| {
            if open.row(&task.id)?.is_some() {
                return Ok(false);
            }
            open.counters.arrivals += 1;
            let arrival = open.counters.arrivals;
            let (task, result) = (task.clone(), Value::Null);
            open.put(&Row { task, state: State::Waiting, arrival, fence: 0, at_ms: 0, result })?;
            Ok(true)
        })
        .await
    }

    async fn lease(&self, cx: &Context, queue: &str, time: Duration) -> Result<Option<Lease>> {
        self.change(cx, queue, move |open| {
            let now = now_ms();
            open.wake(b'd', now)?;
            open.wake(b'l', now)?;
            let Some(mut row) = open.first_waiting()? else { return Ok(None) };
            open.lift(&row)?;
            // Fences are counted over the whole queue: an id that is cancelled and added again starts no new count.
            open.counters.fences += 1;
            let lease = Lease { task: row.task.clone(), fence: open.counters.fences };
            row.task.attempts = row.task.attempts.saturating_add(1);
            (row.state, row.fence, row.at_ms) = (State::Leased, lease.fence, after(time));
            open.put(&row)?;
            Ok(Some(lease))
        })
        .await
    }

    async fn extend(&self, cx: &Context, queue: &str, lease: &Lease, time: Duration) -> Result<()> {
        let lease = lease.clone();
        self.change(cx, queue, move |open| {
            let mut row = open.held(&lease)?;
            open.lift(&row)?;
            (row.state, row.at_ms) = (State::Leased, after(time));
            open.put(&row)
        })
        .await
    }

    async fn complete(&self, cx: &Context, queue: &str, lease: &Lease, result: Value) -> Result<()> {
        let lease = lease.clone();
        self.change(cx, queue, move |open| {
            let mut row = open.held(&lease)?;
            open.lift(&row)?;
            (row.state, row.result) = (State::Completed, result.clone());
            open.put(&row)
        })
        .await
    }

    async fn fail(&self, cx: &Context, queue: &str, lease: &Lease, retry_in: Option<Duration>) -> Result<()> {
        let lease = lease.clone();
        self.change(cx, queue, move |open| {
            let mut row = open.held(&lease)?;
            open.lift(&row)?;
            // The lease ends here: a fence that nobody holds.
            open.counters.fences += 1;
            row.fence = open.counters.fences;
            match retry_in {
                Some(wait) => (row.state, row.at_ms) = (State::Delayed, after(wait)),
                None => row.state = State::Failed,
            }
            open.put(&row)
        })
        .await
    }

    async fn cancel(&self, cx: &Context, queue: &str, id: &str) -> Result<bool> {
        check(id, "the id of a task", MAX_ID)?;
        let id = id.to_owned();
        self.change(cx, queue, move |open| {
            let Some(row) = open.row(&id)? else { return Ok(false) };
            if matches!(row.state, State::Completed | State::Failed) {
                return Ok(false);
            }
            open.lift(&row)?;
            open.table.delete(open.write.txn, &open.keys.row(&id))
        })
        .await
    }

    async fn result(&self, cx: &Context, queue: &str, id: &str) -> Result<Option<Value>> {
        check(id, "the id of a task", MAX_ID)?;
        self.look(cx, queue, |read, keys| {
            let row: Option<Row> = read.tables.queue.get_json(read.txn, &keys.row(id))?;
            Ok(row.filter(|row| row.state == State::Completed).map(|row| row.result))
        })
    }

    async fn stats(&self, cx: &Context, queue: &str) -> Result<QueueStats> {
        self.look(cx, queue, |read, keys| {
            let counters: Counters = read.tables.queue.get_json(read.txn, &keys.counters())?.unwrap_or_default();
            // Leases that expired are moved by the next call of `lease`; until then they are counted here.
            let expired =
                due(&read.tables.queue, read.txn, keys, b'l', now_ms())?.try_fold(0, |n, row| row.map(|_| n + 1))?;
            Ok(QueueStats {
                waiting: counters.waiting + expired,
                leased: counters.leased.saturating_sub(expired),
                completed: counters.completed,
                failed: counters.failed,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Durability, StoreConfig};
    use proptest::prelude::*;
    use std::{
        cmp::Reverse,
        collections::{BTreeMap, BTreeSet},
    };

    const LONG: Duration = Duration::from_mins(10);

    #[derive(Clone, Debug)]
    enum Step {
        Enqueue(u8, i32),
        Lease,
        Complete(prop::sample::Index),
        Fail(prop::sample::Index, bool),
        Cancel(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0_u8..8, -2..3).prop_map(|(id, priority)| Step::Enqueue(id, priority)),
            3 => Just(Step::Lease),
            1 => any::<prop::sample::Index>().prop_map(Step::Complete),
            1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(lease, again)| Step::Fail(lease, again)),
            1 => (0_u8..8).prop_map(Step::Cancel),
        ]
    }

    /// The queue as it should be: what waits by priority and arrival, who holds what, what has ended.
    #[derive(Default)]
    struct Model {
        arrivals: u64,
        waiting: BTreeSet<(Reverse<i32>, u64, String)>,
        leased: BTreeMap<String, (u64, i32, u64)>,
        completed: BTreeSet<String>,
        failed: BTreeSet<String>,
    }

    impl Model {
        fn knows(&self, id: &str) -> bool {
            self.waiting.iter().any(|(_, _, waits)| waits == id)
                || self.leased.contains_key(id)
                || self.completed.contains(id)
                || self.failed.contains(id)
        }

        fn stats(&self) -> QueueStats {
            QueueStats {
                waiting: self.waiting.len(),
                leased: self.leased.len(),
                completed: self.completed.len(),
                failed: self.failed.len(),
            }
        }

        /// Ends a lease in the model; says where the task stood in the queue, if the lease was good.
        fn end(&mut self, lease: &Lease) -> Option<(i32, u64)> {
            let id = &lease.task.id;
            let (_, priority, arrival) = *self.leased.get(id).filter(|(fence, ..)| *fence == lease.fence)?;
            self.leased.remove(id);
            Some((priority, arrival))
        }
    }

    async fn act(queue: &LmdbQueue, cx: &Context, model: &mut Model, leases: &mut Vec<Lease>, step: Step) {
        match step {
            Step::Enqueue(id, priority) => {
                let id = id.to_string();
                let task = QueuedTask { id: id.clone(), payload: Value::Null, priority, attempts: 0 };
                assert_eq!(queue.enqueue(cx, "q", task).await.unwrap(), !model.knows(&id));
                if !model.knows(&id) {
                    model.arrivals += 1;
                    model.waiting.insert((Reverse(priority), model.arrivals, id));
                }
            }
            Step::Lease => {
                let lease = queue.lease(cx, "q", LONG).await.unwrap();
                let first = model.waiting.pop_first();
                assert_eq!(lease.as_ref().map(|lease| &lease.task.id), first.as_ref().map(|(_, _, id)| id));
                if let (Some(lease), Some((Reverse(priority), arrival, id))) = (lease, first) {
                    assert!(leases.iter().all(|old| old.fence < lease.fence));
                    model.leased.insert(id, (lease.fence, priority, arrival));
                    leases.push(lease);
                }
            }
            Step::Complete(index) if !leases.is_empty() => {
                let lease = index.get(leases);
                let held = model.end(lease);
                assert_eq!(queue.complete(cx, "q", lease, Value::Null).await.is_ok(), held.is_some());
                if held.is_some() {
                    model.completed.insert(lease.task.id.clone());
                }
            }
            Step::Fail(index, again) if !leases.is_empty() => {
                let lease = index.get(leases);
                let held = model.end(lease);
                let retry_in = again.then_some(Duration::ZERO);
                assert_eq!(queue.fail(cx, "q", lease, retry_in).await.is_ok(), held.is_some());
                match held {
                    Some((priority, arrival)) if again => {
                        model.waiting.insert((Reverse(priority), arrival, lease.task.id.clone()));
                    }
                    Some(_) => {
                        model.failed.insert(lease.task.id.clone());
                    }
                    None => {}
                }
            }
            Step::Cancel(id) => {
                let id = id.to_string();
                let before = model.waiting.len() + model.leased.len();
                model.waiting.retain(|(_, _, waits)| *waits != id);
                model.leased.remove(&id);
                let was_there = model.waiting.len() + model.leased.len() < before;
                assert_eq!(queue.cancel(cx, "q", &id).await.unwrap(), was_there);
            }
            Step::Complete(_) | Step::Fail(..) => {}
        }
        assert_eq!(queue.stats(cx, "q").await.unwrap(), model.stats());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn any_sequence_of_calls_does_what_the_model_does(steps in prop::collection::vec(step(), 1..40)) {
            let folder = tempfile::tempdir().unwrap();
            let config = StoreConfig { durability: Durability::Relaxed, ..StoreConfig::default() };
            let queue = LmdbQueue::new(Store::open(folder.path(), &config).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (cx, mut model, mut leases) = (Context::new(), Model::default(), Vec::new());
                for step in steps {
                    act(&queue, &cx, &mut model, &mut leases, step).await;
                }
            });
        }
    }
}
