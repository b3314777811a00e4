//! The thread that writes: it reads a little of every answer in each step, so that answers join and leave at any step
//! and share what they have in common.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use super::{
    answer::Answer,
    decoder::{Part, Scores, Scratch, pages_of},
    gguf::corrupt,
    kernel::{PAGE, Pool},
    pages::{Memory, Pages},
    sampler::are_numbers,
    scheduler::{Limits, Shared, State},
    standing,
    tokenizer::Tokenizer,
};
use crate::error::{Error, Result};

/// Tokens of one step, beside one for each answer that is being written: large enough to use the processor well, small
/// enough that a long prompt holds up nobody for long.
pub(super) const STEP: usize = 64;
/// What follows is guessed while so few answers are written. With more, a step uses the processor well without.
const GUESS_BESIDE: usize = 2;
/// Of those that wait, so many are looked at between two steps: with thousands, all of them would take as long as a step.
const LOOKED_AT: usize = 256;
/// How often other models are asked to give memory up.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long tokens are counted before their rate is told.
const RATE_OVER: Duration = Duration::from_secs(1);

/// The thread at work.
pub(super) struct Work<'a> {
    shared: &'a Shared,
    /// In the order of their ranks at the last step: the last one makes way where memory is short.
    running: Vec<Answer>,
    pages: Pages,
    scratch: Scratch,
    pool: Pool,
    last_end: Instant,
    /// Tokens written since.
    recent: (Instant, u64),
    /// When other models were last asked for memory.
    asked: Option<Instant>,
}

impl<'a> Work<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let Limits { threads, memory, context, .. } = shared.limits;
        // Whatever the limit is, one answer can be written, with a page to copy.
        let budget = shared.writer.held.budget.clone();
        let pages = Pages::within(budget, shared.writer.decoder.page_numbers(), memory, pages_of(context) + 1);
        Self {
            shared,
            running: Vec::new(),
            pages,
            scratch: Scratch::default(),
            pool: Pool::new(threads),
            last_end: Instant::now(),
            recent: (Instant::now(), 0),
            asked: None,
        }
    }

    /// Until the model is gone and all is done.
    pub(super) fn run(shared: &'a Shared) {
        let mut work = Self::new(shared);
        while work.admit() {
            if catch_unwind(AssertUnwindSafe(|| work.step())).is_err() {
                work.fail_all();
            }
        }
    }

    /// Takes waiting answers while there is room; waits when there is nothing to do. False when the model is gone and
    /// all is done.
    pub(super) fn admit(&mut self) -> bool {
        let mut unwanted = Vec::new();
        let shared = self.shared;
        let mut state = shared.lock();
        loop {
            if std::mem::take(&mut state.forget) {
                self.pages.forget();
            }
            // Those who wait may leave too.
            state.let_leave(&mut unwanted);
            self.take(&mut state, &mut unwanted);
            if !self.running.is_empty() || !unwanted.is_empty() {
                break;
            }
            if state.closed {
                return false;
            }
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            // Time without work says nothing about the pace.
            (self.last_end, self.recent) = (Instant::now(), (Instant::now(), 0));
        }
        let next = state.waiting.first().map_or(0, lacking);
        drop(state);
        self.ask_others(next);
        for (answer, error) in unwanted {
            answer.fail(error);
        }
        true
    }

    /// Has models that write nothing give up what they remember, where there is no room for a step, or for the `next`
    /// answer. Not often, since it takes their beginnings of answers to come.
    fn ask_others(&mut self, next: usize) {
        let step = STEP.div_ceil(PAGE) + self.running.len();
        let lately = self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY);
        if !lately && self.pages.is_short_of(step.max(next)) {
            self.asked = Some(Instant::now());
            self.shared.writer.held.budget.have_idle_forget();
        }
    }

    /// Takes those whose turn it is. Where there is no place or no room, the last of a lower priority make way, if that is
    /// enough.
    fn take(&mut self, state: &mut State, unwanted: &mut Vec<(Answer, Error)>) {
        let now = Instant::now();
        while let Some(at) = standing::next(state.waiting.iter().map(|answer| &answer.standing), now) {
            let next = &state.waiting[at];
            if let Some(error) = next.unwanted() {
                unwanted.push((state.waiting.swap_remove(at), error));
                // Where many leave at once, they do not come up one by one.
                state.let_leave(unwanted);
                continue;
            }
            if self.running.len() < self.shared.limits.answers && self.has_room(next) {
                let mut answer = state.waiting.swap_remove(at);
                answer.begin();
                self.running.push(answer);
                continue;
            }
            let gives_way = |other: &Answer| other.standing.gives_way_to(&next.standing, now);
            let last = self.running.iter().enumerate().filter(|(_, other)| gives_way(other));
            let last = last.max_by_key(|(_, other)| other.standing.rank(now)).map(|(at, _)| at);
            let Some(last) = last.filter(|_| self.would_have_room(next, |other| !gives_way(other))) else { break };
            self.make_way(last, state);
        }
        self.tell(state);
    }

    /// Tells how many are written, and what they remember.
    fn tell(&self, state: &mut State) {
        state.running = self.running.len();
        state.statistics.memory_bytes = (self.pages.count() * self.pages.page_bytes()) as u64;
        state.statistics.kept_bytes = (self.pages.kept() * self.pages.page_bytes()) as u64;
    }

    /// Whether there are pages to read all of `answer`, beside those that are written already.
    fn has_room(&self, answer: &Answer) -> bool {
        let promised: usize = self.running.iter().map(lacking).sum();
        // The one that is copied among them.
        let more = (lacking(answer) + 1).saturating_sub(self.pages.in_use(answer.tokens()));
        self.running.is_empty() || self.pages.has_room(promised + more)
    }

    /// Whether there would be if only those were written that `stay`.
    fn would_have_room(&self, answer: &Answer, stay: impl Fn(&Answer) -> bool) -> bool {
        let staying: Vec<_> = self.running.iter().filter(|other| stay(other)).collect();
        let used: HashSet<_> = staying.iter().flat_map(|other| other.memory.pages()).map(Arc::as_ptr).collect();
        let promised: usize = staying.iter().map(|other| lacking(other)).sum();
        staying.is_empty() || self.pages.would_have_room(&used, answer.tokens(), promised + lacking(answer) + 1)
    }

    /// Reads a little of every answer, and writes a token of each that is read to its end.
    pub(super) fn step(&mut self) {
        for at in (0..self.running.len()).rev() {
            if let Some(error) = self.running[at].unwanted() {
                self.end(at, false).fail(error);
            }
        }
        let began = Instant::now();
        // Whoever is given nothing to read ages as if it waited.
        self.running.sort_by_key(|answer| answer.standing.rank(began));
        let counts = self.share_out();
        let mut parts = Vec::new();
        for (answer, &count) in self.running.iter_mut().zip(&counts) {
            if count == 0 {
                continue;
            }
            let scores = match (count == answer.unread(), answer.guessed()) {
                (false, _) => Scores::None,
                (true, []) => Scores::Last,
                (true, _) => Scores::All,
            };
            let (memory, tokens) = answer.part(count);
            parts.push(Part { memory, tokens, scores });
        }
        if parts.is_empty() {
            return;
        }
        let writer = &self.shared.writer;
        let tokens_read: usize = parts.iter().map(|part| part.tokens.len()).sum();
        let mut scores = writer.decoder.read(&mut parts, &self.pages, &mut self.scratch, &mut self.pool);
        let mut ended = Vec::new();
        let (mut written, mut drafted, mut accepted) = (0, 0, 0);
        for (at, (answer, &count)) in self.running.iter_mut().zip(&counts).enumerate() {
            if count == 0 {
                continue;
            }
            let guessed = answer.guessed().len();
            let (read, tokens) = (answer.memory.len(), answer.tokens().len());
            if read >= tokens {
                let own = (1 + guessed) * writer.decoder.vocabulary();
                let (own, rest) = std::mem::take(&mut scores).split_at_mut(own);
                scores = rest;
                match write(answer, own, &writer.tokenizer) {
                    Ok(false) => {}
                    Ok(true) => ended.push((at, None)),
                    Err(error) => ended.push((at, Some(error))),
                }
                let said = answer.tokens().len() - tokens;
                written += said;
                drafted += guessed;
                accepted += said.saturating_sub(1).min(guessed);
            }
            if answer.memory.len() / PAGE > (read - count - guessed) / PAGE {
                answer.keep(&mut self.pages);
            }
            answer.had_turn(began.elapsed());
        }
        // Whoever is told of the end finds its place free, and itself counted.
        let gone: Vec<_> = ended.into_iter().rev().map(|(at, error)| (self.end(at, error.is_none()), error)).collect();
        self.note(tokens_read, written, drafted, accepted);
        for (answer, error) in gone {
            match error {
                None => answer.finish(),
                Some(error) => answer.fail(error),
            }
        }
    }

    fn note(&mut self, read: usize, written: usize, drafted: usize, accepted: usize) {
        self.recent.1 += written as u64;
        let (since, recent) = self.recent;
        let elapsed = since.elapsed();
        let mut state = self.shared.lock();
        if elapsed >= RATE_OVER || (self.running.is_empty() && state.waiting.is_empty()) {
            state.statistics.tokens_per_s = recent as f64 / elapsed.as_secs_f64().max(1e-6);
            self.recent = (Instant::now(), 0);
        }
        let statistics = &mut state.statistics;
        statistics.tokens_read += read as u64;
        statistics.tokens_written += written as u64;
        statistics.tokens_drafted += drafted as u64;
        statistics.tokens_accepted += accepted as u64;
    }

    /// How many tokens of each answer are read in this step: one of each that is being written, with what is guessed
    /// to follow it, and of the others, in their order, as many as the step has left. Sees to it that there are pages
    /// for all of them.
    fn share_out(&mut self) -> Vec<usize> {
        let mut counts = vec![0; self.running.len()];
        let mut left = STEP;
        // Those that read more than one token in this step.
        let mut readers = Vec::new();
        let mut at = 0;
        while at < self.running.len() {
            let few = self.running.len() <= GUESS_BESIDE;
            let answer = &mut self.running[at];
            answer.guess_nothing();
            if answer.unread() > 1 && left > 0 {
                let found = answer.look_for(&mut self.pages);
                self.shared.lock().statistics.tokens_found += found as u64;
            }
            let answer = &self.running[at];
            let unread = answer.unread();
            let soon = left > 0 && readers.iter().any(|&reader: &usize| will_find(answer, &self.running[reader]));
            let count = match unread {
                1 => 1,
                // Another one is reading the same.
                _ if soon => 0,
                _ => unread.min(left),
            };
            let answer = &mut self.running[at];
            let guessed = if unread == 1 && few { answer.guess(self.shared.limits.guess) } else { 0 };
            let missing = |answer: &Answer, count: usize| answer.memory.missing(count + answer.guessed().len());
            let others: usize =
                self.running[..at].iter().zip(&counts).map(|(other, &count)| missing(other, count)).sum();
            let answer = &mut self.running[at];
            if count > 0 && !self.pages.make_room(others + missing(answer, count)) {
                if guessed > 0 {
                    answer.guess_nothing();
                }
                if guessed == 0 || !self.pages.make_room(others + missing(answer, count)) {
                    // The last makes way; its tokens are read again when there is room.
                    let last = self.running.len() - 1;
                    if last > 0 {
                        let shared = self.shared;
                        self.make_way(last, &mut shared.lock());
                        counts.pop();
                        continue;
                    }
                }
            }
            counts[at] = count;
            if unread > 1 && count > 0 {
                left -= count;
                readers.push(at);
            }
            at += 1;
        }
        counts
    }

    /// Lets answer `at` wait until it is its turn again.
    fn make_way(&mut self, at: usize, state: &mut State) {
        let mut answer = self.running.remove(at);
        answer.make_way();
        state.waiting.push(answer);
        state.running = self.running.len();
        state.statistics.preempted += 1;
    }

    /// Takes answer `at` out, which was `written` to its end or given up.
    fn end(&mut self, at: usize, written: bool) -> Answer {
        let mut answer = self.running.remove(at);
        answer.memory = Memory::default();
        let took = written.then(|| self.last_end.elapsed());
        if written {
            self.last_end = Instant::now();
        }
        let mut state = self.shared.lock();
        self.tell(&mut state);
        state.ended(took);
        answer
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

impl State {
    /// Moves those that nobody waits for any more to `unwanted`: of very many some, and the next ones the next time.
    fn let_leave(&mut self, unwanted: &mut Vec<(Answer, Error)>) {
        if self.waiting.len() <= LOOKED_AT {
            self.looked_at = 0;
        }
        for _ in 0..self.waiting.len().min(LOOKED_AT) {
            self.looked_at =
                self.looked_at.checked_sub(1).unwrap_or(self.waiting.len() - 1).min(self.waiting.len() - 1);
            if let Some(error) = self.waiting[self.looked_at].unwanted() {
                unwanted.push((self.waiting.swap_remove(self.looked_at), error));
            }
        }
    }
}

/// Pages that reading all of `answer` takes beyond those it has.
fn lacking(answer: &Answer) -> usize {
    pages_of(answer.tokens().len() + 1).saturating_sub(answer.memory.pages().len())
}

/// Whether `answer` need not read its next tokens, since `reader`, which is further, reads the same ones.
fn will_find(answer: &Answer, reader: &Answer) -> bool {
    let read = answer.memory.len();
    let common = answer.tokens().iter().zip(reader.tokens()).take_while(|(a, b)| a == b).count();
    read.is_multiple_of(PAGE) && common.min(answer.tokens().len() - 1) / PAGE > read / PAGE
}

/// Writes the next token, and one more for each that was guessed right; true when the last was among them.
fn write(answer: &mut Answer, scores: &mut [f32], tokenizer: &Tokenizer) -> Result<bool> {
    let rows = 1 + answer.guessed().len();
    let mut right = 0;
    let mut ended = Ok(false);
    for row in scores.chunks_exact_mut(scores.len() / rows) {
        ended = if are_numbers(row) {
            answer.write(row, tokenizer)
        } else {
            Err(corrupt("the weights give no numbers; the file is damaged, download it again"))
        };
        let guess = answer.guessed().get(right);
        if !matches!(ended, Ok(false)) || guess.is_none() || guess != answer.tokens().last() {
            break;
        }
        right += 1;
    }
    if rows > 1 {
        answer.guessed_right(right);
    }
    ended
}

#[cfg(test)]
#[path = "work_tests.rs"]
mod tests;
