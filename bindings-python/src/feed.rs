//! A stream of JSON texts, read piece by piece.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use pyo3::prelude::*;
use tokio::sync::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};
use triune::{Error, ErrorKind, Result};

use crate::{
    host::HostLoop,
    runtime,
    work::{Outcome, Work},
};

type Pieces = Pin<Box<dyn Stream<Item = Result<String>> + Send>>;

/// A stream. Dropping or closing it stops what feeds it.
#[pyclass(frozen, module = "triune._native")]
pub(crate) struct Feed {
    pieces: Option<Arc<Mutex<Option<Pieces>>>>,
    stop: CancellationToken,
    event_loop: HostLoop,
    _stop_on_drop: DropGuard,
}

impl Feed {
    pub(crate) fn new(
        event_loop: &HostLoop,
        stop: CancellationToken,
        pieces: impl Stream<Item = Result<String>> + Send + 'static,
    ) -> Self {
        let pieces: Pieces = Box::pin(pieces);
        Self {
            pieces: Some(Arc::new(Mutex::new(Some(pieces)))),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            event_loop: event_loop.clone(),
        }
    }
}

#[pymethods]
impl Feed {
    /// The next piece, or none at the end. Leaving this work does not lose the piece.
    fn next(&self) -> Work {
        let (pieces, stop) = (self.pieces.clone(), self.stop.clone());
        Work::new(&self.event_loop, None, async move {
            let Some(pieces) = pieces else { return Ok(Outcome::Next(None)) };
            let mut pieces = pieces.lock().await;
            let Some(open) = pieces.as_mut() else { return Ok(Outcome::Next(None)) };
            let next = tokio::select! {
                biased;
                () = stop.cancelled() => Some(Err(Error::new(ErrorKind::Cancelled, "the stream was closed"))),
                next = open.next() => next,
            };
            if !matches!(next, Some(Ok(_))) {
                *pieces = None;
            }
            Ok(Outcome::Next(next.transpose()?))
        })
    }

    /// Ends the stream and stops what feeds it.
    fn close(&self, py: Python<'_>) {
        self.stop.cancel();
        let Some(pieces) = &self.pieces else { return };
        if let (false, Ok(mut pieces)) = (runtime::is_forked(), pieces.try_lock()) {
            let left = pieces.take();
            py.detach(|| leave(left));
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let pieces = self.pieces.take();
        if runtime::is_forked() {
            // What feeds it lives in the parent.
            std::mem::forget(pieces);
        } else {
            leave(pieces);
        }
    }
}

/// Drops parts of the core where they can reach the runtime.
fn leave<T>(parts: T) {
    let _inside = runtime::get().ok().map(tokio::runtime::Runtime::enter);
    drop(parts);
}
