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
            let expired = due(&read.tables.queue, read.txn, keys, b'l', now_ms())?.count();
            Ok(QueueStats {
                waiting: counters.waiting + expired,
                leased: counters.leased.saturating_sub(expired),
                completed: counters.completed,
                failed: counters.failed,
            })
        })
    }
}
