//! The call that code of the host works for: calls which that code makes are a part of it.

use pyo3::{prelude::*, sync::PyOnceLock};
use triune::Context;

use crate::host::HostLoop;

/// The context that code of the host was called with. A context variable holds it while that code runs, so that threads
/// and asyncio tasks each have their own.
#[pyclass(frozen, module = "triune._native")]
#[derive(Clone)]
pub(crate) struct Scope {
    cx: Context,
    /// Which mind called: a call of another one is not a part of this.
    mind: HostLoop,
}

impl Scope {
    pub(crate) fn new(cx: &Context, mind: &HostLoop) -> Self {
        Self { cx: cx.clone(), mind: mind.clone() }
    }

    /// Does `work` for this call, and so what `work` schedules on an event loop.
    pub(crate) fn hold<T>(self, py: Python<'_>, work: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        let variable = variable(py)?;
        let token = variable.call_method1("set", (Py::new(py, self)?,))?;
        let done = work();
        variable.call_method1("reset", (token,))?;
        done
    }

    /// A context below that of the call of `mind` that the running code works for; none when it works for none.
    pub(crate) fn inner(py: Python<'_>, mind: &HostLoop) -> PyResult<Option<Context>> {
        let held = variable(py)?.call_method1("get", (py.None(),))?;
        let scope = held.cast::<Self>().ok().map(Bound::get);
        Ok(scope.filter(|scope| scope.mind.is(mind)).map(|scope| scope.cx.child()))
    }
}

fn variable(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static VARIABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = || Ok::<_, PyErr>(py.import("contextvars")?.call_method1("ContextVar", ("triune",))?.unbind());
    VARIABLE.get_or_try_init(py, make).map(|variable| variable.bind(py))
}
