//! The one place where work is spawned, so that closing can wait for it.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::error::{Error, ErrorKind, Result};

/// Spawns work on the Tokio runtime of the caller and waits for it when closed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Runtime {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Runtime {
    /// Runs `work` on its own. It is dropped, at its next await, when the runtime closes.
    ///
    /// # Panics
    /// Outside a Tokio runtime; every public call of triune is made inside one.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closing = self.closing.clone();
        drop(self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = work => {}
            }
        }));
    }

    /// Runs `work` on its own and to its end: closing waits for it. It must watch [`closing`](Self::closing) and end
    /// soon.
    ///
    /// # Panics
    /// Outside a Tokio runtime; every public call of triune is made inside one.
    pub fn spawn_to_end(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn(work));
    }

    /// Cancelled when the runtime closes.
    pub fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// Stops what was spawned and waits for it.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Runs `work` on a thread where it may block. A panic in it becomes an error.
///
/// # Errors
/// What `work` returns; `Unexpected` when it panicked; `Cancelled` when the process is shutting down.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failed) if failed.is_panic() => {
            let panic = failed.into_panic();
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::unexpected("a worker of triune panicked; please report this").with("panic", text))
        }
        Err(_) => Err(Error::new(ErrorKind::Cancelled, "the runtime is shutting down")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    #[tokio::test]
    async fn closing_drops_and_waits() {
        struct Flag(Arc<AtomicBool>);
        impl Drop for Flag {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let (runtime, dropped) = (Runtime::default(), Arc::new(AtomicBool::new(false)));
        let flag = Flag(dropped.clone());
        runtime.spawn(async move {
            let _flag = flag;
            std::future::pending::<()>().await;
        });
        runtime.close().await;
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        let error = blocking::<()>(|| panic!("boom")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unexpected);
        assert_eq!(error.context()[0].1, "boom");
    }
}
