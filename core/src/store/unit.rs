//! Writes that wait for the task they belong to.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Job, Store};

/// A unit of work: writes made while a task runs are staged here and committed with the task's own result, in one
/// transaction, or not at all. Cheap to clone; clones share what is staged.
///
/// What is staged is not yet visible to reads of the task itself.
#[derive(Clone, Default)]
pub struct Unit(Arc<Mutex<Staged>>);

#[derive(Default)]
struct Staged {
    always: Vec<Job>,
    on_success: Vec<Job>,
    /// The task has ended: nothing that is staged now would be committed with it.
    closed: bool,
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let staged = self.staged();
        f.debug_struct("Unit")
            .field("always", &staged.always.len())
            .field("on_success", &staged.on_success.len())
            .field("closed", &staged.closed)
            .finish()
    }
}

impl Unit {
    /// Adds `job`. With `always` it is kept when the task fails: money that was spent stays spent. Gives it back when
    /// the task has ended.
    pub(crate) fn stage(&self, always: bool, job: Job) -> Result<(), Job> {
        let mut staged = self.staged();
        if staged.closed {
            return Err(job);
        }
        if always {
            staged.always.push(job);
        } else {
            staged.on_success.push(job);
        }
        Ok(())
    }

    /// Takes what is to be committed with the end of the task, as Parallel Mind does, and forgets the rest.
    #[cfg(test)]
    pub(crate) fn take(&self, success: bool) -> Vec<Job> {
        let (mut always, on_success) = self.split();
        if success {
            always.extend(on_success);
        }
        always
    }

    /// Ends the unit. Takes what is kept in any case, and apart from it what is kept only when the task succeeds.
    pub(crate) fn split(&self) -> (Vec<Job>, Vec<Job>) {
        let Staged { always, on_success, .. } =
            std::mem::replace(&mut *self.staged(), Staged { closed: true, ..Staged::default() });
        (always, on_success)
    }

    /// Ends the unit when it is dropped, also with the future of the task: what is kept in any case goes to `store`.
    pub(crate) fn keep_in(&self, store: &Store) -> KeepOnDrop {
        KeepOnDrop { unit: self.clone(), store: store.clone() }
    }

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Unit::keep_in`].
pub(crate) struct KeepOnDrop {
    unit: Unit,
    store: Store,
}

impl Drop for KeepOnDrop {
    fn drop(&mut self) {
        let (always, _) = self.unit.split();
        if !always.is_empty() {
            self.store.enqueue_soon(always);
        }
    }
}
