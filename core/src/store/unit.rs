//! Writes that wait for the task they belong to.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::Job;

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
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let staged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Unit")
            .field("always", &staged.always.len())
            .field("on_success", &staged.on_success.len())
            .finish()
    }
}

impl Unit {
    /// Adds `job`. With `always` it is kept when the task fails: money that was spent stays spent.
    pub(crate) fn stage(&self, always: bool, job: Job) {
        let mut staged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if always { staged.always.push(job) } else { staged.on_success.push(job) }
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

    /// Takes what is kept in any case, and apart from it what is kept only when the task succeeds.
    pub(crate) fn split(&self) -> (Vec<Job>, Vec<Job>) {
        let Staged { always, on_success } = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (always, on_success)
    }
}
