//! A streamed answer.

use std::{fmt, sync::Arc};

use futures_util::{FutureExt, StreamExt};
use napi_derive::napi;
use tokio::sync::Mutex;
use triune::{
    Context,
    router::{GenerateStream, StreamEvent},
};

use crate::error::{Thrown, write};

/// Pieces handed over at once, at most: a fast model would otherwise cost a turn of the event loop for each token.
const BATCH: usize = 64;

/// The pieces of an answer. Nothing is read ahead of what JavaScript asks for.
#[napi]
pub struct Pieces {
    cx: Context,
    stream: Arc<Mutex<Option<GenerateStream>>>,
}

impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pieces")
    }
}

impl Pieces {
    pub(crate) fn new(cx: Context, stream: GenerateStream) -> Self {
        Self { cx, stream: Arc::new(Mutex::new(Some(stream))) }
    }
}

#[napi]
impl Pieces {
    /// The pieces that are there, at least one, as a JSON list; none at the end.
    #[napi]
    pub async fn next(&self) -> Result<Option<String>, Thrown> {
        let mut slot = self.stream.lock().await;
        let Some(stream) = slot.as_mut() else { return Ok(None) };
        let first = self.cx.run(async { stream.next().await.transpose() }).await;
        let first = match first {
            Ok(Some(first)) => first,
            Ok(None) => {
                *slot = None;
                return Ok(None);
            }
            Err(error) => {
                *slot = None;
                return Err(error.into());
            }
        };
        let mut pieces = vec![first];
        // An error that is ready now would be lost among the pieces: the batch ends with the text before it.
        while pieces.len() < BATCH && !matches!(pieces.last(), Some(StreamEvent::Done { .. })) {
            match stream.next().now_or_never() {
                Some(Some(Ok(piece))) => pieces.push(piece),
                Some(Some(Err(error))) => {
                    *slot = Some(Box::pin(futures_util::stream::iter([Err(error)])));
                    break;
                }
                Some(None) | None => break,
            }
        }
        Ok(Some(write(&pieces)?))
    }

    /// Stops the model.
    #[napi]
    pub fn close(&self) {
        self.cx.cancel.cancel();
        let stream = Arc::clone(&self.stream);
        napi::bindgen_prelude::spawn(async move { *stream.lock().await = None });
    }
}
