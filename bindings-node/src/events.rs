//! Events as they happen.

use futures_util::FutureExt;
use napi::{Status, threadsafe_function::ThreadsafeFunction};
use napi_derive::napi;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};
use triune::monitor::EventStream;

/// Events handed over at once, at most.
const BATCH: usize = 256;

/// Weak, so that listening does not keep the process alive.
pub(crate) type Listener = ThreadsafeFunction<String, (), String, Status, false, true>;

/// A listener. It ends when it is closed or collected.
#[napi]
#[derive(Debug)]
pub struct Events {
    listening: CancellationToken,
    _end: DropGuard,
}

impl Events {
    /// Hands `events` to `listener`, a batch at a time: the next one is made when the last one was taken, so that a
    /// busy event loop bounds what waits for it.
    pub(crate) fn new(mut events: EventStream, listener: Listener) -> Self {
        let listening = CancellationToken::new();
        let end = listening.clone().drop_guard();
        let ended = listening.clone();
        napi::bindgen_prelude::spawn(async move {
            let hand_over = async {
                while let Some(event) = events.next().await {
                    let mut batch = vec![event];
                    while let (true, Some(Some(event))) = (batch.len() < BATCH, events.next().now_or_never()) {
                        batch.push(event);
                    }
                    let text = json!({ "missed": events.missed(), "events": batch }).to_string();
                    if listener.call_async(text).await.is_err() {
                        return;
                    }
                }
                // An empty text tells that no more events will come.
                let _ = listener.call_async(String::new()).await;
            };
            tokio::select! {
                () = ended.cancelled() => {}
                () = hand_over => {}
            }
        });
        Self { listening, _end: end }
    }
}

#[napi]
impl Events {
    /// Stops listening.
    #[napi]
    pub fn close(&self) {
        self.listening.cancel();
    }
}
