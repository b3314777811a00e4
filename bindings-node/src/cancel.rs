//! What stops a call.

use napi_derive::napi;
use tokio_util::sync::CancellationToken;
use triune::{Context, Triune};

/// Stops the call it is given to. `lib/call.ts` connects it with an `AbortSignal`: napi's own bridge would take over
/// `signal.onabort` from the user.
#[napi]
#[derive(Debug)]
pub struct Cancel {
    token: CancellationToken,
    /// The context of the call when it is a part of another one.
    inner: Option<Context>,
}

#[napi]
impl Cancel {
    /// Stops the work.
    #[napi]
    pub fn abort(&self) {
        self.token.cancel();
    }
}

impl Cancel {
    /// For a call by itself.
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self { token, inner: None }
    }

    /// For a part of a call, with a context below that of the call.
    pub(crate) fn within(inner: Context) -> Self {
        Self { token: inner.cancel.clone(), inner: Some(inner) }
    }

    /// The context of the call.
    pub(crate) fn context(&self, triune: &Triune) -> Context {
        let mut cx = self.inner.clone().unwrap_or_else(|| triune.context());
        cx.cancel = self.token.clone();
        cx
    }
}
