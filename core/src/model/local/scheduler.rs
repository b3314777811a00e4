//! Writes all answers of a model at once: one thread reads a little of each in every step, so that answers join and
//! leave at any step and share what they have in common.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    answer::Answer,
    decoder::{Decoder, Part, Scores, Scratch, pages_of},
    kernel::{PAGE, Pool},
    pages::Pages,
    tokenizer::Tokenizer,
};
use crate::error::{Error, ErrorKind, Result};

/// Tokens of one step, beside one for each answer that is being written: large enough to use the processor well, small
/// enough that a long prompt holds up nobody for long.
const STEP: usize = 64;

/// What a model needs to write.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
}

/// How much a model writes at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Answers written at once.
    pub(super) answers: usize,
    /// Answers that may wait.
    pub(super) waiting: usize,
    /// Threads that compute.
    pub(super) threads: usize,
    /// Bytes of what answers remember.
    pub(super) memory: u64,
    /// Tokens of one answer, its prompt included.
    pub(super) context: usize,
}

/// The thread of a model, from its first answer until the model is dropped.
#[derive(Debug)]
pub(super) struct Scheduler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Arc<Writer>,
    limits: Limits,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Answer>,
    /// Answers being written.
    running: usize,
    started: bool,
    closed: bool,
    /// Time from one end of an answer to the next, smoothed.
    pace: Option<Duration>,
    statistics: LocalStatistics,
}

/// What a local model did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LocalStatistics {
    /// Answers that wait for their turn.
    pub waiting: usize,
    /// Answers that are being written.
    pub running: usize,
    /// Tokens that were read, those written among them.
    pub tokens_read: u64,
    /// Tokens that need not be read, since answers before them began in the same way.
    pub tokens_found: u64,
    /// Tokens that were written.
    pub tokens_written: u64,
    /// Answers that had to make way for older ones and were read again.
    pub preempted: u64,
    /// Bytes of the weights.
    pub weight_bytes: usize,
    /// Bytes of what is remembered of tokens that were read.
    pub memory_bytes: usize,
}

impl Scheduler {
    pub(super) fn new(writer: Arc<Writer>, limits: Limits) -> Self {
        let shared = Shared { writer, limits, state: Mutex::default(), wake: Condvar::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Has `answer` written, as soon as there is room for it.
    ///
    /// # Errors
    /// `Overloaded`, with the time to wait, when too many are waiting already.
    pub(super) fn submit(&self, answer: Answer) -> Result<()> {
        let mut state = self.shared.lock();
        // Answers come to their places by way of the queue, so free places count too.
        let most = self.shared.limits.waiting.saturating_add(self.shared.limits.answers);
        if state.waiting.len() + state.running >= most {
            let wait = state.pace.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(50));
            return Err(Error::new(
                ErrorKind::Overloaded,
                "too many answers wait for this local model; ask again later",
            )
            .with("waiting", state.waiting.len())
            .with("retry_after_ms", wait.as_millis()));
        }
        if !state.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("triune-model".into()).spawn(move || Work::run(&shared));
            thread.map_err(|e| Error::new(ErrorKind::Overloaded, "the system gives no more threads").caused_by(e))?;
            state.started = true;
        }
        state.waiting.push_back(answer);
        drop(state);
        self.shared.wake.notify_one();
        Ok(())
    }

    pub(super) fn statistics(&self) -> LocalStatistics {
        let state = self.shared.lock();
        LocalStatistics {
            waiting: state.waiting.len(),
            running: state.running,
            weight_bytes: self.shared.writer.decoder.bytes(),
            ..state.statistics
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread at work.
struct Work<'a> {
    shared: &'a Shared,
    running: Vec<Answer>,
    pages: Pages,
    scratch: Scratch,
    pool: Pool,
    last_end: Instant,
}

impl<'a> Work<'a> {
    fn run(shared: &'a Shared) {
        let Limits { threads, memory, context, .. } = shared.limits;
        // Whatever the limit is, one answer can be written, with a page to copy.
        let pages = Pages::new(shared.writer.decoder.page_numbers(), memory, pages_of(context) + 1);
        let mut work = Self {
            shared,
            running: Vec::new(),
            pages,
            scratch: Scratch::default(),
            pool: Pool::new(threads),
            last_end: Instant::now(),
        };
        while work.admit() {
            if catch_unwind(AssertUnwindSafe(|| work.step())).is_err() {
                work.fail_all();
            }
        }
    }

    /// Takes waiting answers while there is room; waits when there is nothing to do. False when the model is gone and
    /// all is done.
    fn admit(&mut self) -> bool {
        let mut unwanted = Vec::new();
        let mut state = self.shared.lock();
        loop {
            // Those who wait may leave too.
            for at in (0..state.waiting.len()).rev() {
                if let Some(error) = state.waiting[at].unwanted() {
                    unwanted.extend(state.waiting.remove(at).map(|answer| (answer, error)));
                }
            }
            let room = self.shared.limits.answers.saturating_sub(self.running.len()).min(state.waiting.len());
            self.running.extend(state.waiting.drain(..room));
            state.running = self.running.len();
            if !self.running.is_empty() || !unwanted.is_empty() {
                break;
            }
            if state.closed {
                return false;
            }
            state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.statistics.memory_bytes = self.pages.count() * self.pages.page_bytes();
        drop(state);
        for (answer, error) in unwanted {
            answer.fail(error);
        }
        true
    }

    /// Reads a little of every answer, and writes a token of each that is read to its end.
    fn step(&mut self) {
        for at in (0..self.running.len()).rev() {
            if let Some(error) = self.running[at].unwanted() {
                self.end(at, Some(error));
            }
        }
        let counts = self.share_out();
        let mut parts = Vec::new();
        for (answer, &count) in self.running.iter_mut().zip(&counts) {
            let scores = if count == answer.unread().len() { Scores::Last } else { Scores::None };
            let (memory, tokens) = answer.part(count);
            if count > 0 {
                parts.push(Part { memory, tokens, scores });
            }
        }
        if parts.is_empty() {
            return;
        }
        let writer = &self.shared.writer;
        let scores = writer.decoder.read(&mut parts, &self.pages, &mut self.scratch, &mut self.pool);
        let mut scores = scores.chunks_exact_mut(writer.decoder.vocabulary());
        let mut ended = Vec::new();
        let mut written = 0;
        for (at, (answer, &count)) in self.running.iter_mut().zip(&counts).enumerate() {
            if count == 0 {
                continue;
            }
            let read = answer.memory.len();
            if read / PAGE > (read - count) / PAGE {
                answer.keep(&mut self.pages);
            }
            if !answer.unread().is_empty() {
                continue;
            }
            let Some(scores) = scores.next() else { continue };
            written += 1;
            let result = if scores.iter().all(|score| score.is_finite()) {
                answer.write(scores, &writer.tokenizer)
            } else {
                Err(super::gguf::corrupt("the weights give no numbers; the file is damaged, download it again"))
            };
            match result {
                Ok(false) => {}
                Ok(true) => ended.push((at, None)),
                Err(error) => ended.push((at, Some(error))),
            }
        }
        for (at, error) in ended.into_iter().rev() {
            self.end(at, error);
        }
        let mut state = self.shared.lock();
        state.statistics.tokens_read += counts.iter().sum::<usize>() as u64;
        state.statistics.tokens_written += written;
    }

    /// How many tokens of each answer are read in this step: one of each that is being written, and of the others, in
    /// the order they came, as many as the step has left. Sees to it that there are pages for all of them.
    fn share_out(&mut self) -> Vec<usize> {
        let mut counts = vec![0; self.running.len()];
        let mut left = STEP;
        let mut at = 0;
        while at < self.running.len() {
            let answer = &mut self.running[at];
            let unread = answer.unread().len();
            if unread > 1 && left > 0 {
                let found = answer.look_for(&mut self.pages);
                self.shared.lock().statistics.tokens_found += found as u64;
            }
            let answer = &self.running[at];
            let unread = answer.unread().len();
            let count = if unread == 1 { 1 } else { unread.min(left) };
            let missing: usize =
                self.running[..at].iter().zip(&counts).map(|(a, &count)| a.memory.missing(count)).sum();
            if count > 0 && !self.pages.make_room(missing + answer.memory.missing(count)) {
                // The youngest makes way; its tokens are read again when there is room.
                let youngest = self.running.len() - 1;
                if youngest > at {
                    self.make_way(youngest);
                    counts.pop();
                    continue;
                }
                if at > 0 {
                    self.make_way(at);
                    counts.truncate(at);
                    break;
                }
            }
            counts[at] = count;
            if unread > 1 {
                left -= count;
            }
            at += 1;
        }
        counts
    }

    /// Lets answer `at` wait, first of all, until there is room again.
    fn make_way(&mut self, at: usize) {
        let mut answer = self.running.remove(at);
        answer.make_way();
        let mut state = self.shared.lock();
        state.waiting.push_front(answer);
        state.running = self.running.len();
        state.statistics.preempted += 1;
    }

    fn end(&mut self, at: usize, error: Option<Error>) {
        let answer = self.running.remove(at);
        if let Some(error) = error {
            answer.fail(error);
        }
        let took = self.last_end.elapsed();
        self.last_end = Instant::now();
        let mut state = self.shared.lock();
        state.running = self.running.len();
        state.pace = Some(state.pace.map_or(took, |pace| (pace * 7 + took) / 8));
    }

    /// After a panic: what is half computed is thrown away, and the next answers start anew.
    fn fail_all(&mut self) {
        for answer in self.running.drain(..) {
            answer.fail(Error::unexpected("the model panicked; please report this"));
        }
        self.scratch = Scratch::default();
        self.shared.lock().running = 0;
    }
}
