//! The one Tokio runtime of the process: made on first use, and refused in a process that was forked after that.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::runtime::Runtime;
use triune::{Error, ErrorKind, Result};

/// The process the runtime was made in; 0 before it was.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// The runtime.
///
/// # Errors
/// `Unsupported` in a child of the process that made it.
pub(crate) fn get() -> Result<&'static Runtime> {
    let here = process::id();
    match OWNER.compare_exchange(0, here, Ordering::AcqRel, Ordering::Acquire) {
        Err(owner) if owner != here => Err(Error::new(
            ErrorKind::Unsupported,
            "this process was forked after triune had been used in its parent, and threads do not survive a fork; \
             start it by multiprocessing.get_context(\"spawn\"), or fork before triune is used",
        )),
        _ => Ok(pyo3_async_runtimes::tokio::get_runtime()),
    }
}

/// Whether this process was forked from the one that made the runtime.
pub(crate) fn is_forked() -> bool {
    let owner = OWNER.load(Ordering::Acquire);
    owner != 0 && owner != process::id()
}
