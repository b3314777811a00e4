//! One answer while it is written: what was asked, what was said so far, and who reads it.

use tokio::sync::mpsc;

use super::{
    grammar::Constraint,
    pages::{Memory, Pages},
    sampler::{Sampler, logprob},
    text::TextOut,
    tokenizer::Tokenizer,
    tools::{Piece, Tools},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Delta, FinishReason, Sampling, Usage},
};

/// The form of an answer.
#[derive(Debug)]
pub(super) enum Form {
    /// Any text.
    Text,
    /// All of it is held to a form.
    Whole(Constraint),
    /// Parts of it may be calls of tools.
    Calls(Box<Tools>),
}

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
    /// The form it is held to.
    constraint: Option<Constraint>,
    /// What it may call.
    tools: Option<Tools>,
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
        let (out, pieces) = mpsc::channel(2 * limit + 8);
        let answer = Self {
            cx: cx.clone(),
            out,
            prompt: prompt.len(),
            tokens: prompt,
            cached: 0,
            limit,
            constraint: None,
            tools: None,
            sampler: Sampler::new(sampling),
            logprobs: sampling.logprobs,
            text: TextOut::new(sampling.stop.clone()),
            memory: Memory::default(),
        };
        (answer, pieces)
    }

    /// Holds it to `form`.
    pub(super) fn held_to(mut self, form: Form) -> Self {
        match form {
            Form::Text => {}
            Form::Whole(constraint) => self.constraint = Some(constraint),
            Form::Calls(tools) => self.tools = Some(*tools),
        }
        self
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
    /// `Cancelled` when nobody reads any more; `Unsupported` when it cannot be held to its form any further.
    pub(super) fn write(&mut self, scores: &mut [f32], tokenizer: &Tokenizer) -> Result<bool> {
        let raw = self.logprobs.map(|top| (top, scores.to_vec()));
        if let Some(constraint) = &mut self.constraint {
            constraint.mask(scores)?;
        }
        let token = self.sampler.choose(scores);
        if tokenizer.is_end(token) {
            return self.end(FinishReason::Stop);
        }
        self.tokens.push(token);
        let mut complete = self.constraint.as_mut().map_or(Ok(false), |constraint| constraint.take(token))?;
        if let Some((top, raw)) = raw {
            let logprob = logprob(&raw, token, usize::from(top), |token| tokenizer.text(token));
            self.send(Delta::Logprob { logprob })?;
        }
        let mark = self.tools.as_ref().and_then(|tools| tools.mark(token));
        let shown = self.text.push(mark.map_or_else(|| tokenizer.bytes(token), str::as_bytes));
        match &mut self.tools {
            None => self.send_text(shown.text)?,
            Some(tools) => {
                let was_calling = tools.is_calling();
                let pieces = tools.push(&shown.text);
                // What is held back was not seen by the parser, and a constraint must see all.
                let begins = !was_calling && tools.is_calling() && !self.text.holds();
                if begins || complete || !tools.is_calling() {
                    self.constraint = if begins { tools.constraint() } else { None };
                }
                complete = false;
                self.send_pieces(pieces)?;
            }
        }
        if shown.stopped || complete {
            return self.end(FinishReason::Stop);
        }
        if self.written() >= self.limit {
            return self.end(FinishReason::Length);
        }
        Ok(false)
    }

    fn end(&mut self, finish_reason: FinishReason) -> Result<bool> {
        let rest = self.text.finish();
        let called = match &mut self.tools {
            None => {
                self.send_text(rest)?;
                false
            }
            Some(tools) => {
                let pieces = [tools.push(&rest), tools.finish()].concat();
                let called = tools.called();
                self.send_pieces(pieces)?;
                called
            }
        };
        let stopped = finish_reason == FinishReason::Stop;
        let finish_reason = if called && stopped { FinishReason::ToolCalls } else { finish_reason };
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

    fn send_text(&self, text: String) -> Result<()> {
        if text.is_empty() { Ok(()) } else { self.send(Delta::Text { text }) }
    }

    fn send_pieces(&self, pieces: Vec<Piece>) -> Result<()> {
        pieces.into_iter().try_for_each(|piece| match piece {
            Piece::Text(text) => self.send_text(text),
            Piece::Call(call) => self.send(Delta::ToolCall { call }),
        })
    }

    fn send(&self, delta: Delta) -> Result<()> {
        self.out.try_send(Ok(delta)).map_err(|_| unwanted())
    }
}

fn unwanted() -> Error {
    Error::new(ErrorKind::Cancelled, "the answer is no longer wanted")
}
