//! The end of the interpreter. Python ends a thread that comes back to it too late by unwinding it, through the frames
//! of Rust, and that aborts the process; Python 3.14 holds such threads up instead, as is done here.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use pyo3::prelude::*;

/// How long the end waits for threads of Rust that are inside Python.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// The thread that ends the interpreter, once it does.
static ENDING: OnceLock<ThreadId> = OnceLock::new();

/// Threads of Rust that are inside Python, or about to be.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Tells that the interpreter ends: called by the thread that ends it, before anything is taken down. From now on no
/// thread of Rust enters Python, and those inside are waited for, for a second at most.
#[pyfunction]
pub(crate) fn ending(py: Python<'_>) {
    let _ = ENDING.set(thread::current().id());
    py.detach(|| {
        let last = Instant::now() + LAST_CALLS;
        // Once in any case: a thread that waits for the interpreter gets it now.
        thread::sleep(Duration::from_millis(2));
        while INSIDE.load(Ordering::SeqCst) > 0 && Instant::now() < last {
            thread::sleep(Duration::from_millis(1));
        }
    });
}

/// Runs `work` inside Python; nothing when there is none any more.
pub(crate) fn attach<T>(work: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
    INSIDE.fetch_add(1, Ordering::SeqCst);
    let _leave = Leave;
    if is_over() { None } else { Python::try_attach(work) }
}

/// Holds up a thread of Python, which is about to go back there, for ever once the interpreter ends.
pub(crate) fn stay_out() {
    while is_over() {
        thread::park();
    }
}

/// Whether another thread ends the interpreter.
fn is_over() -> bool {
    ENDING.get().is_some_and(|ending| *ending != thread::current().id())
}
