//! One answer while it is written: what was asked, what was said so far, and who reads it.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{
    grammar::Constraint,
    pages::{Memory, Pages},
    sampler::{Sampler, logprob},
    speculation::Speculation,
    standing::Standing,
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
    Whole(Box<Constraint>),
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
    speculation: Speculation,
    /// Tokens guessed to follow, to be read in this step.
    guessed: Vec<u32>,
    /// The tokens to be read in this step.
    reading: Vec<u32>,
    pub(super) standing: Standing,
    /// Whether it was given a turn already.
    begun: bool,
    /// Whether it made way for others after some of it was read.
    again: bool,
    /// How it ended, to be told.
    done: Option<Delta>,
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
            speculation: Speculation::default(),
            guessed: Vec::new(),
            reading: Vec::new(),
            standing: Standing::new(cx),
            begun: false,
            again: false,
            done: None,
            memory: Memory::default(),
        };
        (answer, pieces)
    }

    /// Holds it to `form`.
    pub(super) fn held_to(mut self, form: Form) -> Self {
        match form {
            Form::Text => {}
            Form::Whole(constraint) => self.constraint = Some(*constraint),
            Form::Calls(mut tools) => {
                self.constraint = tools.take_whole();
                self.tools = Some(*tools);
            }
        }
        self
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that the model has not read.
    pub(super) fn unread(&self) -> usize {
        self.tokens.len() - self.memory.len()
    }

    /// The next `count` unread tokens with what is guessed to follow, and the memory they go to.
    pub(super) fn part(&mut self, count: usize) -> (&mut Memory, &[u32]) {
        let read = self.memory.len();
        self.reading.clear();
        self.reading.extend_from_slice(&self.tokens[read..read + count]);
        self.reading.extend_from_slice(&self.guessed);
        (&mut self.memory, &self.reading)
    }

    /// Guesses what follows, at most `most` tokens; says how many.
    pub(super) fn guess(&mut self, most: usize) -> usize {
        // The token after the last guess is written too.
        let most = most.min(self.limit.saturating_sub(self.written() + 1));
        self.guessed.clear();
        self.guessed.extend_from_slice(self.speculation.guess(&self.tokens, most));
        self.guessed.len()
    }

    /// Guesses nothing in this step.
    pub(super) fn guess_nothing(&mut self) {
        self.guessed.clear();
    }

    pub(super) fn guessed(&self) -> &[u32] {
        &self.guessed
    }

    /// Of what was guessed the first `right` tokens were; the others are forgotten.
    pub(super) fn guessed_right(&mut self, right: usize) {
        self.speculation.learn(self.guessed.len(), right);
        self.guessed.clear();
        self.memory.truncate(self.tokens.len() - 1);
    }

    /// Goes on with what others have read of the same tokens; says how many of them.
    pub(super) fn look_for(&mut self, pages: &mut Pages) -> usize {
        let found = pages.find(&mut self.memory, &self.tokens);
        // What is found again after it made way may be what it read itself.
        if self.again {
            return 0;
        }
        self.cached = (self.cached + found).min(self.prompt);
        found
    }

    /// Keeps what the model has read for others that begin in the same way.
    pub(super) fn keep(&mut self, pages: &mut Pages) {
        pages.keep(&mut self.memory, &self.tokens);
    }

    /// The same, as number so and so that came.
    pub(super) fn arrived(mut self, number: u64) -> Self {
        self.standing = self.standing.arrived(number);
        self
    }

    /// Whether it was given a turn already.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Its turn has come.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// A step of so long read or wrote some of it.
    pub(super) fn had_turn(&mut self, took: Duration) {
        self.standing = self.standing.had_turn(took);
    }

    /// Forgets what the model has read, to be read again when it is its turn again.
    pub(super) fn make_way(&mut self) {
        self.again |= self.memory.len() > 0;
        self.memory = Memory::default();
        self.guessed.clear();
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

    /// Tells whoever reads it that all was said.
    pub(super) fn finish(mut self) {
        if let Some(done) = self.done.take() {
            // No reader, no one to tell.
            let _ = self.out.try_send(Ok(done));
        }
    }

    /// Writes the next token, chosen by the scores that the model gave; true when it was the last, see
    /// [`Answer::finish`].
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
        let before = self.tokens.last().copied().unwrap_or(token);
        self.tokens.push(token);
        let mut complete = self.constraint.as_mut().map_or(Ok(false), |constraint| constraint.take(token))?;
        if let Some((top, raw)) = raw {
            let logprob = logprob(&raw, token, usize::from(top), |token| tokenizer.text_after(before, token));
            self.send(Delta::Logprob { logprob })?;
        }
        let mark = self.tools.as_ref().and_then(|tools| tools.mark(token));
        let shown = self.text.push(mark.map_or_else(|| tokenizer.bytes_after(before, token), str::as_bytes));
        match &mut self.tools {
            None => self.send_text(shown.text)?,
            Some(tools) => {
                let was_calling = tools.is_calling();
                let pieces = tools.push(&shown.text);
                if !tools.hold_whole() {
                    // What is held back was not seen by the parser, and a constraint must see all.
                    let begins = !was_calling && tools.is_calling() && !self.text.holds();
                    if begins || complete || !tools.is_calling() {
                        self.constraint = if begins { tools.constraint() } else { None };
                    }
                    complete = false;
                }
                complete |= tools.are_done();
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
        let tokens = Usage::of(self.prompt as u64, self.written() as u64);
        let usage = Usage { cached_tokens: self.cached as u64, ..tokens };
        self.done = Some(Delta::Done { usage, finish_reason });
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
