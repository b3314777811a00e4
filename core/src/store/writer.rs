//! The writer thread: takes jobs from a bounded channel and commits them in groups, one fsync a group.

use std::{sync::Arc, thread};

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
    thread: Option<thread::JoinHandle<()>>,
}

struct Request {
    jobs: Vec<Job>,
    done: oneshot::Sender<Result<()>>,
}

impl Writer {
    pub(super) fn start(environment: Arc<Environment>, config: &StoreConfig) -> Result<Self> {
        let (requests, queue) = mpsc::channel(config.queue.max(1));
        let group = config.group.max(1);
        let thread = thread::Builder::new()
            .name("triune-writer".into())
            .spawn(move || write_loop(&environment, queue, group))
            .map_err(|e| Error::new(ErrorKind::Overloaded, "no thread for the writer").caused_by(e))?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
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

    pub(super) fn try_enqueue(&self, jobs: Vec<Job>) -> Result<(), Vec<Job>> {
        let Some(requests) = self.requests.as_ref() else { return Err(jobs) };
        let request = Request { jobs, done: oneshot::channel().0 };
        requests.try_send(request).map_err(|refused| refused.into_inner().jobs)
    }
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

fn write_loop(environment: &Environment, mut queue: mpsc::Receiver<Request>, group: usize) {
    while let Some(first) = queue.blocking_recv() {
        let mut requests = vec![first];
        while requests.len() < group
            && let Ok(next) = queue.try_recv()
        {
            requests.push(next);
        }
        commit_group(environment, requests);
    }
}

/// Commits `requests` in one transaction. A request that fails is undone alone; a full map grows and all run again.
fn commit_group(environment: &Environment, mut requests: Vec<Request>) {
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
            for (request, result) in requests.into_iter().zip(results) {
                let _ = request.done.send(result);
            }
        }
        Err(error) => {
            // One error for all: each gets its own copy of kind and message.
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
