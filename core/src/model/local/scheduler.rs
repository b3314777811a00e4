//! Has all answers of a model written at once, by one thread: who may wait, and how long the others should.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    answer::Answer,
    decoder::Decoder,
    standing::{self, Entry},
    tokenizer::Tokenizer,
    work::Work,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::LocalStatistics,
};

/// What a model needs to write.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Arc<Tokenizer>,
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
    /// Tokens that are guessed for one answer in a step.
    pub(super) guess: usize,
}

/// The thread of a model, from its first answer until the model is dropped.
#[derive(Debug)]
pub(super) struct Scheduler {
    shared: Arc<Shared>,
    made: Instant,
}

/// What the thread and those who hand answers over have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) writer: Arc<Writer>,
    pub(super) limits: Limits,
    state: Mutex<State>,
    pub(super) wake: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// In no order.
    pub(super) waiting: Vec<Answer>,
    /// Answers being written.
    pub(super) running: usize,
    pub(super) closed: bool,
    started: bool,
    /// Answers that came.
    arrived: u64,
    /// Of these, refused since an answer last ended.
    refused: u32,
    /// Time from one end of an answer to the next, smoothed.
    pace: Option<Duration>,
    last_end: Option<Instant>,
    pub(super) statistics: LocalStatistics,
}

impl State {
    /// An answer ended, so long after the one before it.
    pub(super) fn ended(&mut self, took: Duration) {
        self.pace = Some(self.pace.map_or(took, |pace| (pace * 7 + took) / 8));
        self.refused = 0;
        self.last_end = Some(Instant::now());
    }

    fn overloaded(&mut self) -> Error {
        self.refused += 1;
        let waiting = self.waiting.len();
        Error::new(ErrorKind::Overloaded, "too many answers wait for this local model; ask again later")
            .with("waiting", waiting)
            .with("wait_ms", standing::wait(self.pace, waiting).as_millis())
            .with("retry_after_ms", standing::come_back(self.pace, self.refused).as_millis())
    }
}

impl Scheduler {
    /// Goes on with the counts of `before`.
    pub(super) fn new(writer: Arc<Writer>, limits: Limits, before: LocalStatistics) -> Self {
        let shared = Shared::new(writer, limits);
        shared.lock().statistics = before;
        Self { shared: Arc::new(shared), made: Instant::now() }
    }

    pub(super) fn writer(&self) -> &Writer {
        &self.shared.writer
    }

    /// When the last answer ended, or when it was made; none while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.shared.lock();
        let idle = state.waiting.is_empty() && state.running == 0;
        idle.then(|| state.last_end.unwrap_or(self.made))
    }

    /// Has `answer` written, as soon as it is its turn. Where no more may wait, it takes the place of one of a lower
    /// priority that has not begun, if there is one.
    ///
    /// # Errors
    /// `Overloaded`, with the time to wait, when too many are waiting already.
    pub(super) fn submit(&self, answer: Answer) -> Result<()> {
        let mut state = self.shared.lock();
        if !state.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("triune-model".into()).spawn(move || Work::run(&shared));
            thread.map_err(|e| Error::new(ErrorKind::Overloaded, "the system gives no more threads").caused_by(e))?;
            state.started = true;
        }
        let shed = state.enter(answer, self.shared.limits)?;
        drop(state);
        if let Some((shed, error)) = shed {
            shed.fail(error);
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    pub(super) fn statistics(&self) -> LocalStatistics {
        let state = self.shared.lock();
        LocalStatistics {
            loaded: true,
            waiting: state.waiting.len(),
            running: state.running,
            weight_bytes: self.shared.writer.decoder.bytes() as u64,
            ..state.statistics
        }
    }
}

impl State {
    /// Lets `answer` wait; gives back the one that does not wait any more because of it.
    pub(super) fn enter(&mut self, answer: Answer, limits: Limits) -> Result<Option<(Answer, Error)>> {
        let now = Instant::now();
        // Who waits for a turn that is free does not count.
        let most = limits.waiting.saturating_add(limits.answers.saturating_sub(self.running));
        let others = self.waiting.iter().enumerate().filter(|(_, other)| !other.has_begun());
        let others = others.map(|(at, other)| (at, &other.standing));
        let shed = match standing::enter(&answer.standing, self.waiting.len() < most, others, now) {
            Entry::Waits => None,
            Entry::Refused => return Err(self.overloaded()),
            Entry::InPlaceOf(at) => {
                let error = self.overloaded();
                Some((self.waiting.swap_remove(at), error))
            }
        };
        self.arrived += 1;
        self.waiting.push(answer.arrived(self.arrived));
        Ok(shed)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    pub(super) fn new(writer: Arc<Writer>, limits: Limits) -> Self {
        Self { writer, limits, state: Mutex::default(), wake: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
