//! Has all answers of a model written at once, by one thread: who may wait, and how long the others should.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{answer::Answer, decoder::Decoder, resident::Held, standing, tokenizer::Tokenizer, work::Work};
use crate::{
    error::{Error, ErrorKind, Result},
    model::LocalStatistics,
};

/// What a model needs to write.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Arc<Tokenizer>,
    /// What the weights take of the budget of all models.
    pub(super) held: Held,
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
    /// Whether what is kept for answers to come is to be given up.
    pub(super) forget: bool,
    /// Where those who wait are next looked at.
    pub(super) looked_at: usize,
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
    /// An answer ended, and so long after the one before it where it was written to its end: that one is given up tells
    /// nothing of how long they take.
    pub(super) fn ended(&mut self, took: Option<Duration>) {
        if let Some(took) = took {
            self.pace = Some(self.pace.map_or(took, |pace| (pace * 7 + took) / 8));
        }
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

    /// Has the thread give up what is kept for answers to come; says how many bytes that is, where no answer is written.
    pub(super) fn forget(&self) -> u64 {
        let mut state = self.shared.lock();
        state.forget = true;
        self.shared.wake.notify_one();
        std::mem::take(&mut state.statistics.memory_bytes)
    }

    /// Has `answers` of one call written, as soon as it is their turn. Where no more may wait, they take the places of such
    /// of a lower priority that have not begun, if there are as many.
    ///
    /// # Errors
    /// `Overloaded`, with the time to wait, when too many are waiting already; then none is written.
    pub(super) fn submit(&self, answers: Vec<Answer>) -> Result<()> {
        let mut state = self.shared.lock();
        if !state.started {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("triune-model".into()).spawn(move || Work::run(&shared));
            thread.map_err(|e| Error::new(ErrorKind::Overloaded, "the system gives no more threads").caused_by(e))?;
            state.started = true;
        }
        let shed = state.enter(answers, self.shared.limits)?;
        drop(state);
        for (shed, error) in shed {
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
    /// Lets `answers` of one call wait, all or none; gives back those that do not wait any more because of them.
    pub(super) fn enter(&mut self, answers: Vec<Answer>, limits: Limits) -> Result<Vec<(Answer, Error)>> {
        let Some(first) = answers.first() else { return Ok(Vec::new()) };
        // Who waits for a turn that is free does not count.
        let most = limits.waiting.saturating_add(limits.answers.saturating_sub(self.running));
        let lacking = (self.waiting.len() + answers.len()).saturating_sub(most);
        let others = self.waiting.iter().enumerate().filter(|(_, other)| !other.has_begun());
        let others = others.map(|(at, other)| (at, &other.standing));
        let Some(mut places) = standing::shed(&first.standing, lacking.min(answers.len()), others, Instant::now())
        else {
            return Err(self.overloaded());
        };
        // From the back, so that the places of the others stay.
        places.sort_unstable_by(|a, b| b.cmp(a));
        let shed = places.into_iter().map(|at| {
            let error = self.overloaded();
            (self.waiting.swap_remove(at), error)
        });
        let shed = shed.collect();
        for answer in answers {
            self.arrived += 1;
            self.waiting.push(answer.arrived(self.arrived));
        }
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
