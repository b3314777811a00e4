//! The call that code of the user works for: calls which that code makes are a part of it.

use napi_derive::napi;
use triune::Context;

/// The context that code of the user was called with. `lib/scopes.ts` holds it while that code runs.
#[napi]
#[derive(Debug)]
pub struct Scope(Context);

impl Scope {
    pub(crate) fn new(cx: &Context) -> Self {
        Self(cx.clone())
    }

    /// A context below that of the call.
    pub(crate) fn inner(&self) -> Context {
        self.0.child()
    }
}
