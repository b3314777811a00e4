//! One LMDB environment for everything that must survive: one folder, one transaction, several processes.
//!
//! A writer thread takes write jobs from a bounded channel and commits them in groups, one fsync a group; the future
//! of a write resolves after the commit. Reads run where they are, in a snapshot, and never wait for the writer.

mod backup;
mod check;
mod claim;
mod config;
mod environment;
mod filesystem;
mod owner;
mod pages;
mod part;
mod preflight;
mod scratch;
mod statistics;
mod table;
mod tables;
mod unit;
mod walk;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

pub use backup::{Compacted, backup, compact, restore};
pub use check::{CheckReport, check_here, check_in};
pub use config::{Durability, StoreConfig};
pub(crate) use owner::Owner;
pub(crate) use scratch::Scratch;
pub use statistics::{StoreStatistics, TableStatistics};
pub(crate) use table::{StoreResultExt, Table, is_lmdb};
pub(crate) use tables::Tables;
pub use unit::Unit;
pub(crate) use writer::Receipt;

use crate::error::{Error, ErrorKind, Result};
use environment::Environment;
use heed::{AnyTls, RoTxn, RwTxn};
use writer::Writer;

/// The version of the layout in `tables.rs`. A folder of a newer version is refused, an older one migrated.
pub const SCHEMA_VERSION: u32 = 3;

/// A snapshot of everything stored, for as long as the read lasts.
pub(crate) struct Read<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) txn: &'a RoTxn<'a, AnyTls>,
}

/// A write in progress. What it changes becomes visible, to everyone at once, when its group is committed.
pub(crate) struct Write<'a, 'p> {
    pub(crate) tables: &'a Tables,
    pub(crate) txn: &'a mut RwTxn<'p>,
}

impl Write<'_, '_> {
    /// What is stored so far, with what this write changed.
    pub(crate) fn reading(&self) -> Read<'_> {
        Read { tables: self.tables, txn: self.txn }
    }
}

/// Changes to make in one transaction. Called again from the start when the map had to grow, so it must not move
/// anything out of what it captured. An error undoes this job only.
pub(crate) type Job = Box<dyn FnMut(&mut Write<'_, '_>) -> Result<()> + Send>;

/// The store of one folder. Cheap to clone; clones, and every `open` of the same folder in this process, share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    // The writer goes first: it must have ended before the environment is closed.
    writer: Writer,
    environment: Arc<Environment>,
}

impl Store {
    /// Opens the store in `folder`, making it when it is not there. Blocks; call it where that is allowed.
    ///
    /// # Errors
    /// `Corrupt` when the files are damaged or foreign, `Unsupported` for a newer schema or a network file system,
    /// `Unavailable` when the folder cannot be read or written.
    pub fn open(folder: &Path, config: &StoreConfig) -> Result<Self> {
        environment::open_shared(folder, config)
    }

    /// As [`open`](Self::open), of a folder that has a store.
    ///
    /// # Errors
    /// `NotFound` when there is none, and those of [`open`](Self::open).
    pub fn open_existing(folder: &Path, config: &StoreConfig) -> Result<Self> {
        if folder.join(preflight::DATA).exists() {
            Self::open(folder, config)
        } else {
            Err(preflight::no_store(folder))
        }
    }

    fn start(folder: &Path, config: &StoreConfig) -> Result<Self> {
        let environment = Arc::new(Environment::open(folder, config)?);
        let writer = Writer::start(Arc::clone(&environment), config)?;
        Ok(Self(Arc::new(Opened { writer, environment })))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.environment.folder()
    }

    /// Reads in one snapshot. Blocks for as long as `look` takes: microseconds for a few keys; use
    /// [`blocking`](crate::runtime::blocking) for more. Never nest reads.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Read<'_>) -> Result<T>) -> Result<T> {
        self.0.environment.read(look)
    }

    /// Makes changes in one transaction and returns after they are on disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        mut change: impl FnMut(&mut Write<'_, '_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        // Filled by the last run of the job: it runs again when the map had to grow.
        let slot = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&slot);
        let job: Job = Box::new(move |write| {
            let value = change(write)?;
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(())
        });
        self.commit(vec![job]).await?;
        let value = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.ok_or_else(|| Error::unexpected("a write was committed without a result").during("Store::write"))
    }

    /// Runs `jobs` in one transaction: all of them or, when one fails, none. Returns after they are on disk.
    pub(crate) async fn commit(&self, jobs: Vec<Job>) -> Result<()> {
        self.0.writer.commit(jobs).await
    }

    /// Queues `jobs` as one transaction. Once this returned they are committed, also when the receipt is dropped.
    pub(crate) async fn enqueue(&self, jobs: Vec<Job>) -> Result<Receipt> {
        self.0.writer.enqueue(jobs).await
    }

    /// Queues `jobs` as one transaction without waiting, and outside a runtime too: they are on disk before any later
    /// [`commit`](Self::commit) returns, or before the store is closed.
    pub(crate) fn enqueue_soon(&self, jobs: Vec<Job>) {
        self.0.writer.enqueue_soon(jobs);
    }

    /// Returns after everything that was queued before is on disk.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.commit(Vec::new()).await
    }

    /// Runs `job` with the unit of work of the call, or now when it has none. `always` keeps it when the unit fails: it
    /// runs now when the unit has ended.
    pub(crate) async fn commit_with(&self, unit: Option<&Unit>, always: bool, job: Job) -> Result<()> {
        let Some(unit) = unit else { return self.commit(vec![job]).await };
        match unit.stage(always, job) {
            Ok(()) => Ok(()),
            Err(job) if always => self.commit(vec![job]).await,
            Err(_) => {
                Err(Error::new(ErrorKind::Cancelled, "the task has ended, so nothing can be stored with it any more"))
            }
        }
    }
}

#[cfg(test)]
mod backup_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;
