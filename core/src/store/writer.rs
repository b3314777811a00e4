//! The writer thread: takes jobs from a bounded channel and commits them in groups, one fsync a group.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use heed::{Env, RwTxn, WithoutTls};
use tokio::sync::{mpsc, oneshot};

use super::{
    Job, StoreConfig, Write,
    environment::Environment,
    table::{StoreResultExt, is_map_full, is_transaction_full},
};
use crate::error::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Writer {
    requests: Option<mpsc::Sender<Request>>,
    late: Late,
    thread: Option<thread::JoinHandle<()>>,
}

struct Request {
    jobs: Vec<Job>,
    done: oneshot::Sender<Result<()>>,
}

impl Request {
    /// One that nobody waits for.
    fn alone(jobs: Vec<Job>) -> Self {
        Self { jobs, done: oneshot::channel().0 }
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} jobs)", self.jobs.len())
    }
}

/// Requests that found the queue full and could not wait: few, since whoever can wait does.
type Late = Arc<Mutex<Vec<Request>>>;

impl Writer {
    pub(super) fn start(environment: Arc<Environment>, config: &StoreConfig) -> Result<Self> {
        let (requests, queue) = mpsc::channel(config.queue.max(1));
        let group = config.group.max(1);
        let late = Late::default();
        let of_thread = Arc::clone(&late);
        let thread = thread::Builder::new()
            .name("triune-writer".into())
            .spawn(move || write_loop(&environment, queue, &of_thread, group))
            .map_err(|e| Error::new(ErrorKind::Overloaded, "no thread for the writer").caused_by(e))?;
        Ok(Self { requests: Some(requests), late, thread: Some(thread) })
    }

    pub(super) async fn commit(&self, jobs: Vec<Job>) -> Result<()> {
        self.enqueue(jobs).await?.committed().await
    }

    pub(super) async fn enqueue(&self, jobs: Vec<Job>) -> Result<Receipt> {
        let (done, result) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(ended)?;
        requests.send(Request { jobs, done }).await.map_err(|_| ended())?;
        Ok(Receipt(result))
    }

    pub(super) fn enqueue_soon(&self, jobs: Vec<Job>) {
        let Some(requests) = self.requests.as_ref() else { return };
        if let Err(refused) = requests.try_send(Request::alone(jobs)) {
            lock(&self.late).push(refused.into_inner());
            // Wakes the thread, in case it emptied the queue in between; else it comes by anyway.
            let _ = requests.try_send(Request::alone(Vec::new()));
        }
    }
}

fn lock(late: &Late) -> std::sync::MutexGuard<'_, Vec<Request>> {
    late.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says when queued jobs are on disk.
#[derive(Debug)]
pub(crate) struct Receipt(oneshot::Receiver<Result<()>>);

impl Receipt {
    pub(crate) async fn committed(self) -> Result<()> {
        self.0.await.map_err(|_| ended())?
    }
}

fn ended() -> Error {
    Error::unexpected("the writer of the store ended; open the folder again")
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // The thread commits what is queued and ends; a panic in it was already reported to the callers.
            let _ = thread.join();
        }
    }
}

fn write_loop(environment: &Environment, mut queue: mpsc::Receiver<Request>, late: &Late, group: usize) {
    while let Some(first) = queue.blocking_recv() {
        let mut requests = vec![first];
        while requests.len() < group
            && let Ok(next) = queue.try_recv()
        {
            requests.push(next);
        }
        // Taken last: what was late before a request of this group was queued is committed with it. It found the queue
        // full, so all that is queued goes before it: what ends a hold must not overtake what writes it.
        let mut late = lock(late);
        if !late.is_empty() {
            requests.extend((0..queue.len()).map_while(|_| queue.try_recv().ok()));
            requests.append(&mut late);
        }
        drop(late);
        commit_group(environment, requests);
    }
    commit_group(environment, std::mem::take(&mut *lock(late)));
}

/// Commits `requests` in one transaction. A request that fails is undone alone; a full map grows and all run again.
fn commit_group(environment: &Environment, mut requests: Vec<Request>) {
    if requests.is_empty() {
        return;
    }
    let results = loop {
        let results = environment.write(|env, txn| match requests.as_mut_slice() {
            [one] => commit_one(environment, one, txn),
            several => commit_several(environment, several, env, txn),
        });
        match results {
            Err(error) if is_map_full(&error) => match environment.grow() {
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            // Together they are too large; each half may not be.
            Err(error) if is_transaction_full(&error) && requests.len() > 1 => {
                let second = requests.split_off(requests.len() / 2);
                commit_group(environment, requests);
                return commit_group(environment, second);
            }
            other => break other,
        }
    };
    match results {
        Ok(results) => {
            for (Request { jobs, done }, result) in requests.into_iter().zip(results) {
                // What the jobs hold for as long as they are not committed is given back before anybody goes on.
                drop(jobs);
                if let Err(Err(error)) = done.send(result) {
                    tracing::warn!(%error, "a write that nobody waited for failed");
                }
            }
        }
        Err(error) => {
            // One error for all: each gets its own copy of kind and message.
            tracing::warn!(%error, writes = requests.len(), "writes failed");
            for request in requests {
                let copy = Error::new(error.kind(), error.message()).during("Store::commit").with("cause", &error);
                let _ = request.done.send(Err(copy));
            }
        }
    }
}

/// Without a transaction inside the other, which would keep LMDB from writing out pages of a large job early.
fn commit_one(environment: &Environment, request: &mut Request, mut txn: RwTxn<'_>) -> Result<Vec<Result<()>>> {
    match run(environment, request, &mut txn) {
        Ok(()) => {
            txn.commit().stored("write")?;
            Ok(vec![Ok(())])
        }
        Err(error) if is_map_full(&error) => Err(error),
        Err(error) => Ok(vec![Err(error)]),
    }
}

fn commit_several(
    environment: &Environment,
    requests: &mut [Request],
    env: &Env<WithoutTls>,
    mut txn: RwTxn<'_>,
) -> Result<Vec<Result<()>>> {
    let mut results = Vec::with_capacity(requests.len());
    for request in requests {
        let mut nested = env.nested_write_txn(&mut txn).stored("write")?;
        let result = run(environment, request, &mut nested);
        match result {
            Err(error) if is_map_full(&error) || is_transaction_full(&error) => return Err(error),
            Ok(()) => nested.commit().stored("write")?,
            Err(_) => nested.abort(),
        }
        results.push(result);
    }
    txn.commit().stored("write")?;
    Ok(results)
}

fn run(environment: &Environment, request: &mut Request, txn: &mut RwTxn<'_>) -> Result<()> {
    let mut write = Write { tables: environment.tables(), txn };
    for job in &mut request.jobs {
        let job = std::panic::AssertUnwindSafe(|| job(&mut write));
        std::panic::catch_unwind(job)
            .unwrap_or_else(|_| Err(Error::unexpected("a write job panicked; please report this")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn what_is_late_overtakes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = StoreConfig::default();
        let environment = Environment::open(folder.path(), &config).unwrap();
        let (requests, queue) = mpsc::channel(4);
        let writer = Writer { requests: Some(requests), late: Late::default(), thread: None };
        let order = Arc::new(Mutex::new(Vec::new()));
        for number in 0..6 {
            let order = Arc::clone(&order);
            writer.enqueue_soon(vec![Box::new(move |_| {
                order.lock().unwrap().push(number);
                Ok(())
            })]);
        }
        let late = Arc::clone(&writer.late);
        assert_eq!(lock(&late).len(), 2, "the queue was full");
        drop(writer);
        write_loop(&environment, queue, &late, 1);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
    }
}
