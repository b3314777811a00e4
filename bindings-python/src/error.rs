//! Errors of the core as Python exceptions, and exceptions of the host as errors of the core and back, unchanged.

use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyType},
};
use triune::{Error, ErrorKind};

/// The exception for `error`: the host's own when it is what went wrong, or else the class of the code.
pub(crate) fn to_py(error: Error) -> PyErr {
    Python::try_attach(|py| raise(py, error)).unwrap_or_else(|| PyRuntimeError::new_err("Python is shutting down"))
}

fn raise(py: Python<'_>, error: Error) -> PyErr {
    let kind = error.kind();
    let made = build(py, &error);
    let own = find(error);
    match own {
        Some(own) if kind == ErrorKind::Host || kind_of(py, &own) == kind => own,
        own => {
            let made = made.unwrap_or_else(|failed| failed);
            made.set_cause(py, own);
            made
        }
    }
}

/// The host's exception among the causes of `error`.
fn find(error: Error) -> Option<PyErr> {
    let mut error = error;
    loop {
        match error.into_source()?.downcast::<PyErr>() {
            Ok(own) => return Some(*own),
            Err(cause) => error = *cause.downcast::<Error>().ok()?,
        }
    }
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let classes = module(py)?.getattr("BY_CODE")?.cast_into::<PyDict>()?;
    let class = match classes.get_item(error.code())? {
        Some(class) => class,
        None => module(py)?.getattr("TriuneError")?,
    };
    let facts = PyDict::new(py);
    facts.set_item("retryable", error.is_retryable())?;
    facts.set_item("operation", error.operation())?;
    facts.set_item("context", error.facts())?;
    Ok(PyErr::from_value(class.call((error.message(),), Some(&facts))?))
}

/// The error of the core for an exception raised by code of the host; it keeps the exception.
pub(crate) fn from_py(error: PyErr) -> Error {
    let made = Python::try_attach(|py| {
        let kind = kind_of(py, &error);
        let class = error.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
        if kind == ErrorKind::Host {
            return Error::new(kind, format!("{class}: {}", error.value(py)));
        }
        let message = error.value(py).getattr("message").and_then(|text| text.extract::<String>());
        let retryable = error.value(py).getattr("retryable").and_then(|flag| flag.extract::<bool>());
        let made = Error::new(kind, message.unwrap_or(class));
        let usual = made.is_retryable();
        made.retryable(retryable.unwrap_or(usual))
    });
    made.unwrap_or_else(|| Error::new(ErrorKind::Cancelled, "Python is shutting down")).caused_by(error)
}

/// The kind of an exception: that of its code for ours, `Cancelled` for asyncio's, `Host` for all others.
fn kind_of(py: Python<'_>, error: &PyErr) -> ErrorKind {
    static CANCELLED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    if CANCELLED.import(py, "asyncio", "CancelledError").is_ok_and(|class| error.is_instance(py, class)) {
        return ErrorKind::Cancelled;
    }
    let ours = module(py).and_then(|errors| errors.getattr("TriuneError"));
    if !ours.is_ok_and(|class| error.is_instance(py, &class)) {
        return ErrorKind::Host;
    }
    let code = error.value(py).getattr("code").and_then(|code| code.extract::<String>()).unwrap_or_default();
    ErrorKind::ALL.iter().copied().find(|kind| kind.code() == code).unwrap_or(ErrorKind::Host)
}

fn module(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import("triune.errors")
}
