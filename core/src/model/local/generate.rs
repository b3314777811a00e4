//! Writes one answer on a blocking thread, token by token.

use std::sync::Arc;

use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
};

use super::{
    chat::Parts,
    sampler::{Sampler, logprob},
    text::TextOut,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatStream, Delta, FinishReason, Sampling, Usage},
};

/// Tokens of a prompt read in one step. Small, so that a cancelled request stops soon; larger steps are not faster,
/// since candle's quantised kernels gain nothing from more rows.
const PREFILL_STEP: usize = 32;

/// One answer to be written.
pub(super) struct Generation {
    pub(super) parts: Arc<Parts>,
    pub(super) cx: Context,
    pub(super) prompt: Vec<u32>,
    pub(super) sampling: Sampling,
    /// Tokens to write at most.
    pub(super) limit: usize,
    /// The right to compute; given back when the answer ends, whatever way it does.
    pub(super) _turn: OwnedSemaphorePermit,
}

impl Generation {
    /// Begins to write.
    pub(super) fn start(self) -> ChatStream {
        // Room for a whole answer: a reader who is slow or gone never holds up the thread, whose turn others wait for.
        // It is bounded by the context length.
        let (out, pieces) = mpsc::channel(2 * self.limit + 4);
        let thread = tokio::task::spawn_blocking(move || {
            if let Err(error) = self.write(&out) {
                // No reader, no one to tell.
                let _ = out.try_send(Err(error));
            }
        });
        Box::pin(stream::unfold((pieces, Some(thread)), next))
    }

    fn write(&self, out: &mpsc::Sender<Result<Delta>>) -> Result<()> {
        let send = |delta| out.try_send(Ok(delta)).map_err(|_| unwanted());
        let tokenizer = &self.parts.tokenizer;
        let mut llama = self.parts.llama.clone();
        let mut sampler = Sampler::new(&self.sampling);
        let mut text = TextOut::new(self.sampling.stop.clone());
        let mut scores = Vec::new();
        for step in self.prompt.chunks(PREFILL_STEP) {
            self.check_wanted(out)?;
            scores = llama.read(step)?;
        }
        let mut written = 0;
        let reason = loop {
            let raw = self.sampling.logprobs.map(|top| (top, scores.clone()));
            let token = sampler.choose(&mut scores);
            if tokenizer.is_end(token) {
                break FinishReason::Stop;
            }
            written += 1;
            if let Some((top, raw)) = raw {
                send(Delta::Logprob {
                    logprob: logprob(&raw, token, usize::from(top), |token| tokenizer.text(token)),
                })?;
            }
            let shown = text.push(tokenizer.bytes(token));
            if !shown.text.is_empty() {
                send(Delta::Text { text: shown.text })?;
            }
            if shown.stopped {
                break FinishReason::Stop;
            }
            if written >= self.limit {
                break FinishReason::Length;
            }
            self.check_wanted(out)?;
            scores = llama.read(&[token])?;
        };
        let rest = text.finish();
        if !rest.is_empty() {
            send(Delta::Text { text: rest })?;
        }
        let usage = Usage { input_tokens: self.prompt.len() as u64, cached_tokens: 0, output_tokens: written as u64 };
        send(Delta::Done { usage, finish_reason: reason })
    }

    fn check_wanted(&self, out: &mpsc::Sender<Result<Delta>>) -> Result<()> {
        if out.is_closed() { Err(unwanted()) } else { self.cx.check() }
    }
}

type Pieces = (mpsc::Receiver<Result<Delta>>, Option<JoinHandle<()>>);

/// The next piece; when there is none, whether the thread came to grief.
async fn next((mut pieces, thread): Pieces) -> Option<(Result<Delta>, Pieces)> {
    if let Some(piece) = pieces.recv().await {
        return Some((piece, (pieces, thread)));
    }
    let failed = thread?.await.err()?;
    let error = if failed.is_panic() {
        Error::unexpected("the model panicked; please report this").caused_by(failed)
    } else {
        Error::new(ErrorKind::Cancelled, "the runtime is shutting down")
    };
    Some((Err(error.during("LocalModel::chat")), (pieces, None)))
}

fn unwanted() -> Error {
    Error::new(ErrorKind::Cancelled, "the answer is no longer wanted")
}
