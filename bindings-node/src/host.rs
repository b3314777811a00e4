//! Calls into code of the user.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use napi::{
    Status,
    bindgen_prelude::{FnArgs, FromNapiValue, Function, Promise},
    threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode},
};
use triune::{Context, Error, Result};

use crate::{
    error::{Thrown, from_host},
    scope::Scope,
};

/// The number of a turn, what is asked in it, and for which call; nothing to ask means that the turn was given up.
type Arguments = FnArgs<(u32, Option<String>, Option<Scope>)>;

/// A function of `lib/host.ts`.
pub(crate) type HostCallback<'a, R> = Function<'a, Arguments, Promise<R>>;

/// Weak, so that a registered part does not keep the process alive.
type Callback<R> = ThreadsafeFunction<Arguments, Promise<R>, Arguments, Status, false, true>;

/// A part that is written in JavaScript.
pub(crate) struct Host<R: FromNapiValue + 'static> {
    callback: Arc<Callback<R>>,
    turns: AtomicU32,
}

impl<R: FromNapiValue + Send + 'static> Host<R> {
    pub(crate) fn new(callback: &HostCallback<'_, R>) -> Result<Self, Thrown> {
        let callback = callback.build_threadsafe_function().weak::<true>().build().map_err(|e| {
            Error::unexpected("a function of JavaScript cannot be called from other threads").caused_by(e)
        })?;
        Ok(Self { callback: Arc::new(callback), turns: AtomicU32::new(0) })
    }

    /// Begins a turn. Dropping it before [`Turn::end`] aborts the `AbortSignal` that the user's code was given.
    pub(crate) fn turn(&self) -> Turn<R> {
        let id = self.turns.fetch_add(1, Ordering::Relaxed);
        Turn { callback: Arc::clone(&self.callback), id, open: true }
    }

    /// A turn of one question.
    pub(crate) async fn ask(&self, cx: &Context, question: String) -> Result<R> {
        let turn = self.turn();
        let answer = cx.run(turn.ask(cx, question)).await?;
        turn.end();
        Ok(answer)
    }
}

/// One use of a host part: a question and its answer, or several for a stream.
pub(crate) struct Turn<R: FromNapiValue + 'static> {
    callback: Arc<Callback<R>>,
    id: u32,
    open: bool,
}

impl<R: FromNapiValue + Send + 'static> Turn<R> {
    /// Asks for the call of `cx`, and waits for the answer.
    pub(crate) async fn ask(&self, cx: &Context, question: String) -> Result<R> {
        let arguments = (self.id, Some(question), Some(Scope::new(cx)));
        let promise = self.callback.call_async_catch(arguments.into()).await.map_err(from_host)?;
        promise.await.map_err(from_host)
    }

    /// Ends the turn: nothing is left to abort.
    pub(crate) fn end(mut self) {
        self.open = false;
    }
}

impl<R: FromNapiValue + 'static> Drop for Turn<R> {
    fn drop(&mut self) {
        if self.open {
            self.callback.call((self.id, None, None).into(), ThreadsafeFunctionCallMode::NonBlocking);
        }
    }
}
