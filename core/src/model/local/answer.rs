//! One answer while it is written: what was asked, what was said so far, and who reads it.

use tokio::sync::mpsc;

use super::{
    pages::{Memory, Pages},
    sampler::{Sampler, logprob},
    text::TextOut,
    tokenizer::Tokenizer,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Delta, FinishReason, Sampling, Usage},
};

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Answer {
    cx: Context,
    out: mpsc::Sender<Result<Delta>>,
    /// Those of the prompt, and those written.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens of the prompt that need not be read.
    cached: usize,
    limit: usize,
    sampler: Sampler,
    logprobs: Option<u8>,
    text: TextOut,
    /// What the model remembers of it.
    pub(super) memory: Memory,
}

impl Answer {
    /// An answer to `prompt` of at most `limit` tokens, and its pieces as they come.
    pub(super) fn new(
        cx: &Context,
        prompt: Vec<u32>,
        sampling: &Sampling,
        limit: usize,
    ) -> (Self, mpsc::Receiver<Result<Delta>>) {
        // Room for a whole answer: a reader who is slow never holds up the thread that writes for all. It is bounded by
        // the context length.
        let (out, pieces) = mpsc::channel(2 * limit + 4);
        let answer = Self {
            cx: cx.clone(),
            out,
            prompt: prompt.len(),
            tokens: prompt,
            cached: 0,
            limit,
            sampler: Sampler::new(sampling),
            logprobs: sampling.logprobs,
            text: TextOut::new(sampling.stop.clone()),
            memory: Memory::default(),
        };
        (answer, pieces)
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that the model has not read.
    pub(super) fn unread(&self) -> &[u32] {
        &self.tokens[self.memory.len()..]
    }

    /// The unread tokens, and the memory they go to.
    pub(super) fn part(&mut self, count: usize) -> (&mut Memory, &[u32]) {
        let read = self.memory.len();
        (&mut self.memory, &self.tokens[read..read + count])
    }

    /// Goes on with what others have read of the same tokens; says how many of them.
    pub(super) fn look_for(&mut self, pages: &mut Pages) -> usize {
        let found = pages.find(&mut self.memory, &self.tokens);
        // What is found again after it made way for others is not news.
        self.cached = (self.cached + found).min(self.prompt);
        found
    }

    /// Forgets what the model has read, to be read again.
    pub(super) fn make_way(&mut self) {
        self.memory = Memory::default();
        self.cached = 0;
    }

    /// Why nobody waits for it any more, if so.
    pub(super) fn unwanted(&self) -> Option<Error> {
        if self.out.is_closed() { Some(unwanted()) } else { self.cx.check().err() }
    }

    /// Ends it with `error`.
    pub(super) fn fail(self, error: Error) {
        // No reader, no one to tell.
        let _ = self.out.try_send(Err(error.during("LocalModel::chat")));
    }

    /// Writes the next token, chosen by the scores that the model gave; true when it was the last.
    ///
    /// # Errors
    /// `Cancelled` when nobody reads any more.
    pub(super) fn write(&mut self, scores: &mut [f32], tokenizer: &Tokenizer) -> Result<bool> {
        let raw = self.logprobs.map(|top| (top, scores.to_vec()));
        let token = self.sampler.choose(scores);
        if tokenizer.is_end(token) {
            return self.end(FinishReason::Stop);
        }
        let before = self.tokens.last().copied().unwrap_or(token);
        self.tokens.push(token);
        if let Some((top, raw)) = raw {
            let logprob = logprob(&raw, token, usize::from(top), |token| tokenizer.text(token));
            self.send(Delta::Logprob { logprob })?;
        }
        let shown = self.text.push(tokenizer.bytes_after(before, token));
        if !shown.text.is_empty() {
            self.send(Delta::Text { text: shown.text })?;
        }
        if shown.stopped {
            return self.end(FinishReason::Stop);
        }
        if self.written() >= self.limit {
            return self.end(FinishReason::Length);
        }
        Ok(false)
    }

    fn end(&mut self, finish_reason: FinishReason) -> Result<bool> {
        let rest = self.text.finish();
        if !rest.is_empty() {
            self.send(Delta::Text { text: rest })?;
        }
        let usage = Usage {
            input_tokens: self.prompt as u64,
            cached_tokens: self.cached as u64,
            output_tokens: self.written() as u64,
        };
        self.send(Delta::Done { usage, finish_reason })?;
        Ok(true)
    }

    fn written(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    fn send(&self, delta: Delta) -> Result<()> {
        self.out.try_send(Ok(delta)).map_err(|_| unwanted())
    }
}

fn unwanted() -> Error {
    Error::new(ErrorKind::Cancelled, "the answer is no longer wanted")
}
