//! Code of the host: plain or asynchronous callables and iterators, run so that leaving them cancels them.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pyo3::{
    exceptions::{PyRuntimeError, PyStopAsyncIteration, PyStopIteration},
    intern,
    prelude::*,
    types::{PyWeakrefMethods, PyWeakrefReference},
};
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};
use triune::{Context, Error, ErrorKind, Result};

use crate::{
    ending,
    error::{from_py, to_py},
    scope::Scope,
};

type Object = Arc<Py<PyAny>>;
type Answer = PyResult<Py<PyAny>>;

/// The event loop that coroutines of the host run on: the one that awaited this mind last, or, for a mind that is
/// never awaited, a loop of triune in a thread of its own.
#[derive(Clone, Default)]
pub(crate) struct HostLoop(Arc<Mutex<Option<Py<PyAny>>>>);

impl HostLoop {
    /// From now on the loop that runs in this thread.
    pub(crate) fn follow(&self, py: Python<'_>) -> PyResult<()> {
        let running = py.import("asyncio")?.call_method0(intern!(py, "get_running_loop"))?;
        let mut current = lock(&self.0);
        if !current.as_ref().is_some_and(|known| running.is(known)) {
            *current = Some(running.unbind());
        }
        Ok(())
    }

    /// Whether it is the loop of the same mind.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let current = lock(&self.0).as_ref().map(|known| known.bind(py).clone());
        match current {
            Some(known) if !known.call_method0(intern!(py, "is_closed"))?.is_truthy()? => Ok(known),
            _ => py.import("triune._loop")?.call_method0("background"),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A callable of the host that takes one text. It is referred to weakly, and kept by the Python half of the mind: what
/// the garbage collector of Python cannot see, a part that refers to its mind, would keep the mind open for ever.
pub(crate) struct HostCall {
    callable: Arc<Py<PyWeakrefReference>>,
    event_loop: HostLoop,
}

impl fmt::Debug for HostCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostCall")
    }
}

impl HostCall {
    pub(crate) fn new(callable: &Bound<'_, PyAny>, event_loop: &HostLoop) -> PyResult<Self> {
        let callable = Arc::new(PyWeakrefReference::new(callable)?.unbind());
        Ok(Self { callable, event_loop: event_loop.clone() })
    }

    pub(crate) fn event_loop(&self) -> &HostLoop {
        &self.event_loop
    }

    /// Calls it for the call of `cx`, and awaits what it answers when that can be awaited.
    pub(crate) async fn call(&self, cx: &Context, text: String) -> Result<Py<PyAny>> {
        let (callable, event_loop) = (Arc::clone(&self.callable), self.event_loop.clone());
        let scope = Scope::new(cx, &self.event_loop);
        let step = attached(move |py| {
            scope.hold(py, || {
                let callable = callable.bind(py).upgrade().ok_or_else(|| to_py(gone()))?;
                let answer = callable.call1((text,))?;
                Step::from(py, &event_loop, answer)
            })
        });
        step.await?.end().await.map_err(from_py)
    }

    /// Calls it for a text.
    pub(crate) async fn call_text(&self, cx: &Context, text: String) -> Result<String> {
        let answer = self.call(cx, text).await?;
        attached(move |py| answer.extract::<String>(py)).await
    }
}

fn gone() -> Error {
    // Of the model, not of the caller: another one may answer.
    Error::new(ErrorKind::Unavailable, "the part was replaced, or its mind is gone; keep a reference to the mind")
}

/// An iterator of the host over texts, asynchronous or not. Dropping it before its end closes it.
pub(crate) struct HostPieces {
    iterator: Option<Object>,
    asynchronous: bool,
    event_loop: HostLoop,
    scope: Scope,
}

impl HostPieces {
    /// Reads `object`, an iterator or asynchronous iterator, for the call of `scope`.
    pub(crate) fn new(object: &Bound<'_, PyAny>, event_loop: &HostLoop, scope: Scope) -> PyResult<Self> {
        let asynchronous = object.hasattr(intern!(object.py(), "__anext__"))?;
        let iterator = Some(Arc::new(object.clone().unbind()));
        Ok(Self { iterator, asynchronous, event_loop: event_loop.clone(), scope })
    }

    /// The next text.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        let Some(iterator) = self.iterator.clone() else { return Ok(None) };
        let (asynchronous, event_loop, scope) = (self.asynchronous, self.event_loop.clone(), self.scope.clone());
        let read = move |py: Python<'_>| {
            let step = if asynchronous { intern!(py, "__anext__") } else { intern!(py, "__next__") };
            let piece = match iterator.bind(py).call_method0(step) {
                Err(end) if end.is_instance_of::<PyStopIteration>(py) => return Ok(None),
                piece => piece?,
            };
            if asynchronous {
                Step::from(py, &event_loop, piece).map(Some)
            } else {
                Ok(Some(Step::Ended(piece.unbind())))
            }
        };
        let step = attached(move |py| scope.hold(py, || read(py)));
        let Some(step) = step.await? else {
            self.iterator = None;
            return Ok(None);
        };
        let piece = step.end().await;
        attached(move |py| match piece {
            Err(end) if end.is_instance_of::<PyStopAsyncIteration>(py) => Ok(None),
            piece => Ok(Some(piece?.extract::<String>(py)?)),
        })
        .await
        .inspect(|piece| {
            if piece.is_none() {
                self.iterator = None;
            }
        })
    }
}

impl Drop for HostPieces {
    fn drop(&mut self) {
        let Some(iterator) = self.iterator.take() else { return };
        let (asynchronous, event_loop) = (self.asynchronous, self.event_loop.clone());
        aside(move |py| {
            let close = if asynchronous { intern!(py, "aclose") } else { intern!(py, "close") };
            if !iterator.bind(py).hasattr(close)? {
                return Ok(());
            }
            let closing = iterator.bind(py).call_method0(close)?;
            if asynchronous {
                HostTask::start(py, &event_loop.get(py)?, &closing)?.keep();
            }
            Ok(())
        });
    }
}

/// What a call of the host came to.
enum Step {
    Ended(Py<PyAny>),
    Going(HostTask),
}

impl Step {
    fn from(py: Python<'_>, event_loop: &HostLoop, answer: Bound<'_, PyAny>) -> PyResult<Self> {
        if answer.hasattr(intern!(py, "__await__"))? {
            return Ok(Self::Going(HostTask::start(py, &event_loop.get(py)?, &answer)?));
        }
        Ok(Self::Ended(answer.unbind()))
    }

    async fn end(self) -> Answer {
        match self {
            Self::Ended(answer) => Ok(answer),
            Self::Going(task) => task.end().await,
        }
    }
}

/// Where a task of the host is.
enum Place {
    Waiting,
    Running(Py<PyAny>),
    /// Ended, or left by the core.
    Gone,
}

/// An awaitable that runs as an asyncio task. Dropping it cancels it there.
struct HostTask {
    place: Arc<Mutex<Place>>,
    event_loop: Object,
    ended: oneshot::Receiver<Answer>,
    kept: bool,
}

impl HostTask {
    fn start(py: Python<'_>, event_loop: &Bound<'_, PyAny>, awaitable: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (sender, ended) = oneshot::channel();
        let place = Arc::new(Mutex::new(Place::Waiting));
        let ended_callback = Py::new(py, Ended { sender: Mutex::new(Some(sender)) })?;
        let begin = Begin { awaitable: awaitable.clone().unbind(), place: Arc::clone(&place), ended: ended_callback };
        if let Err(closed) = event_loop.call_method1(intern!(py, "call_soon_threadsafe"), (Py::new(py, begin)?,)) {
            close(awaitable)?;
            return Err(closed);
        }
        Ok(Self { place, event_loop: Arc::new(event_loop.clone().unbind()), ended, kept: false })
    }

    async fn end(mut self) -> Answer {
        let answer = (&mut self.ended).await;
        *lock(&self.place) = Place::Gone;
        answer.unwrap_or_else(|_| Err(PyRuntimeError::new_err("the event loop was closed before the coroutine ended")))
    }

    /// Lets it run to its end though nobody waits for it.
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for HostTask {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let Place::Running(task) = std::mem::replace(&mut *lock(&self.place), Place::Gone) else { return };
        let event_loop = Arc::clone(&self.event_loop);
        aside(move |py| {
            let cancel = task.getattr(py, intern!(py, "cancel"))?;
            event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (cancel,)).map(drop)
        });
    }
}

fn close(awaitable: &Bound<'_, PyAny>) -> PyResult<()> {
    if awaitable.hasattr("close")? { awaitable.call_method0("close").map(drop) } else { Ok(()) }
}

/// Runs on the event loop: makes the task, unless the core has left it.
#[pyclass(frozen)]
struct Begin {
    awaitable: Py<PyAny>,
    place: Arc<Mutex<Place>>,
    ended: Py<Ended>,
}

#[pymethods]
impl Begin {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(*lock(&self.place), Place::Gone) {
            return close(self.awaitable.bind(py));
        }
        let task = py.import("asyncio")?.call_method1(intern!(py, "ensure_future"), (&self.awaitable,))?;
        task.call_method1(intern!(py, "add_done_callback"), (&self.ended,))?;
        let left = {
            let mut place = lock(&self.place);
            let left = matches!(*place, Place::Gone);
            if !left {
                *place = Place::Running(task.clone().unbind());
            }
            left
        };
        if left { task.call_method0(intern!(py, "cancel")).map(drop) } else { Ok(()) }
    }
}

/// Called by the event loop at the end of the task.
#[pyclass(frozen)]
struct Ended {
    sender: Mutex<Option<oneshot::Sender<Answer>>>,
}

#[pymethods]
impl Ended {
    fn __call__(&self, task: &Bound<'_, PyAny>) {
        let answer = task.call_method0(intern!(task.py(), "result")).map(Bound::unbind);
        if let Some(sender) = lock(&self.sender).take() {
            // Nobody waits any more when the core has left the task.
            let _ = sender.send(answer);
        }
    }
}

/// Runs `work` on a thread where it may block, holding the interpreter. When it is left before it began, it never
/// begins.
pub(crate) async fn attached<T: Send + 'static>(
    work: impl FnOnce(Python<'_>) -> PyResult<T> + Send + 'static,
) -> Result<T> {
    struct Abort(AbortHandle);
    impl Drop for Abort {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let task = tokio::task::spawn_blocking(move || ending::attach(work));
    let _abort = Abort(task.abort_handle());
    match task.await {
        Ok(Some(answer)) => answer.map_err(from_py),
        Ok(None) => Err(Error::new(ErrorKind::Cancelled, "Python is shutting down")),
        Err(failed) if failed.is_panic() => {
            Err(Error::unexpected("the binding of triune panicked; please report this"))
        }
        Err(_) => Err(Error::new(ErrorKind::Cancelled, "the call was left")),
    }
}

/// Runs `work` when nobody waits for it: on another thread inside the runtime, so that no worker waits for the
/// interpreter, or here. Its failure has no one to go to.
fn aside(work: impl FnOnce(Python<'_>) -> PyResult<()> + Send + 'static) {
    let work = move || drop(ending::attach(work));
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// The words for what a part of the host answered in a wrong form.
pub(crate) fn misfit(what: &str, error: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Host, format!("{what}: {error}"))
}

/// Reads `text` as `T`.
pub(crate) fn read<T: serde::de::DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| misfit(what, error))
}

/// Writes `value` as JSON.
pub(crate) fn write(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::unexpected("a value has no JSON form").caused_by(error))
}
