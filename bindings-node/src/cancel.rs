//! What stops a call.

use napi_derive::napi;
use tokio_util::sync::CancellationToken;

/// Stops the call it is given to. `lib/call.ts` connects it with an `AbortSignal`: napi's own bridge would take over
/// `signal.onabort` from the user.
#[napi]
#[derive(Debug)]
pub struct Cancel(CancellationToken);

#[napi]
impl Cancel {
    /// Stops the work.
    #[napi]
    pub fn abort(&self) {
        self.0.cancel();
    }
}

impl Cancel {
    pub(crate) fn new(token: CancellationToken) -> Self {
        Self(token)
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.0.clone()
    }
}
