//! A piece of work that was not started yet: to be waited for by a thread, or awaited by an event loop.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use pyo3::{IntoPyObjectExt, prelude::*};
use tokio_util::sync::CancellationToken;
use triune::{Error, Result};

use crate::{ending, error::to_py, host::HostLoop, mind::Mind, runtime};

/// How often a waiting thread looks for Ctrl-C.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// What work ends with.
pub(crate) enum Outcome {
    /// A JSON text.
    Json(String),
    /// A JSON text, or the end of a stream.
    Next(Option<String>),
    /// An opened mind.
    Opened(Box<Mind>),
    /// Nothing.
    Done,
}

impl<'py> IntoPyObject<'py> for Outcome {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Json(text) => text.into_bound_py_any(py),
            Self::Next(text) => text.into_bound_py_any(py),
            Self::Opened(mind) => mind.into_bound_py_any(py),
            Self::Done => Ok(py.None().into_bound(py)),
        }
    }
}

type Pending = Pin<Box<dyn Future<Output = Result<Outcome>> + Send>>;

/// Work of the core. It runs only while it is waited for; leaving it stops it.
#[pyclass(frozen, module = "triune._native")]
pub(crate) struct Work {
    pending: Mutex<Option<Pending>>,
    event_loop: HostLoop,
}

impl Work {
    /// Work that cancels `cancel` when it is left before its end, and that fails instead of panicking.
    pub(crate) fn new(
        event_loop: &HostLoop,
        cancel: Option<CancellationToken>,
        work: impl Future<Output = Result<Outcome>> + Send + 'static,
    ) -> Self {
        let pending = async move {
            let guard = cancel.map(CancellationToken::drop_guard);
            let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)));
            guard.map(tokio_util::sync::DropGuard::disarm);
            outcome
        };
        Self { pending: Mutex::new(Some(Box::pin(pending))), event_loop: event_loop.clone() }
    }

    fn take(&self) -> Result<Pending> {
        let taken = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.ok_or_else(|| Error::invalid("this work was waited for already"))
    }
}

#[pymethods]
impl Work {
    /// Waits for the end with the interpreter released. A signal handler that raises, such as that of Ctrl-C, stops
    /// the work.
    fn wait(&self, py: Python<'_>) -> PyResult<Outcome> {
        let runtime = runtime::get().map_err(to_py)?;
        let mut pending = Some(self.take().map_err(to_py)?);
        loop {
            let ended = py.detach(|| {
                let work = pending.as_mut()?;
                let ended = runtime.block_on(async { tokio::time::timeout(SIGNALS_EVERY, work).await.ok() });
                ending::stay_out();
                ended
            });
            if let Some(outcome) = ended {
                return outcome.map_err(to_py);
            }
            if let Err(interrupt) = py.check_signals() {
                py.detach(|| {
                    let _inside = runtime.enter();
                    drop(pending.take());
                });
                return Err(interrupt);
            }
        }
    }

    /// Starts the work; the answer is a future of the running event loop. Cancelling it stops the work.
    fn start<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        runtime::get().map_err(to_py)?;
        self.event_loop.follow(py)?;
        let pending = self.take().map_err(to_py)?;
        pyo3_async_runtimes::tokio::future_into_py(py, async move { pending.await.map_err(to_py) })
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::unexpected("triune panicked; please report this").with("panic", text)
}
