//! What follows a failure: the same model again, the next one, or the caller's error.

use std::time::{Duration, Instant};

use super::{
    Attempt, RouteOutcome,
    admission::in_ms,
    attempt::Live,
    backoff::{Backoff, retry_after},
    breaker::Outcome,
    executor::{Mode, Walk},
    seam,
    single::tell_breaker,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::estimate_tokens,
    monitor::EventKind,
};

/// The longest wait for a model that asked for one, while another model could answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Walk {
    /// Notes a failed attempt and prepares the next one.
    ///
    /// # Errors
    /// What the caller gets, when there is to be no next one.
    pub(super) fn fail(&mut self, error: Error) -> Result<()> {
        // The caller's own end says nothing about the model.
        let left = self.cx.check().err();
        let again = left.is_none() && self.may_retry(&error);
        // However it ended, an answer that had begun was cut off.
        let begun = self.live.as_ref().is_some_and(|live| live.pieces > 0);
        let outcome = match (&left, again) {
            (Some(_), _) => Outcome::Neutral,
            // A long answer takes its time.
            _ if error.kind() == ErrorKind::Timeout && self.live.as_ref().is_some_and(Live::wrote_to_the_end) => {
                Outcome::Neutral
            }
            _ if begun && error.kind() == ErrorKind::Unavailable => Outcome::CutOff,
            (None, true) => Outcome::of(&error),
            (None, false) => Outcome::last(&error),
        };
        let failed = self.live.take();
        let broke_off = self.take_given(failed.as_ref());
        self.note_failure(failed, &error, outcome);
        if let Some(left) = left {
            return Err(left.during("RouterEngine::generate"));
        }
        let given_out = !self.given.is_empty();
        let of_the_request = error.kind() == ErrorKind::Invalid && !given_out;
        if of_the_request || error.kind() == ErrorKind::Cancelled || self.is_final_refusal(&error) {
            return Err(error);
        }
        if given_out && !(self.engine.config().continue_answers && seam::can_go_on(&self.request)) {
            return Err(error);
        }
        let first = broke_off && self.broke_off.is_none();
        if again {
            // A model that is told what was wrong need not wait.
            self.pause = self.repair.is_none().then(|| self.backoff.after(&error));
        } else {
            self.steps.pop_front();
            (self.tries, self.backoff) = (0, Backoff::new(self.engine.first_wait()));
            (self.repair, self.told) = (None, false);
        }
        if self.steps.is_empty() {
            // That no model could go on is not what went wrong first.
            let error = if first { error } else { self.broke_off.take().unwrap_or(error) };
            return Err(self.exhausted(error));
        }
        if first {
            self.broke_off = Some(error);
        }
        Ok(())
    }

    /// Keeps what the model that failed gave out; says whether it did.
    fn take_given(&mut self, failed: Option<&Live>) -> bool {
        let Some(failed) = failed.filter(|failed| self.mode == Mode::Pieces && !failed.text.is_empty()) else {
            return false;
        };
        self.given.push_str(&failed.text);
        self.given_usage.input_tokens += failed.step.input_tokens;
        // Most servers send a token a piece; a third of the bytes is more than most texts have.
        self.given_usage.output_tokens += failed.pieces.min(estimate_tokens(failed.text.len()));
        true
    }

    /// A provider's content filter refused the request, and the settings do not look for a provider that lets it pass.
    pub(super) fn is_final_refusal(&self, error: &Error) -> bool {
        let refused = error.context().iter().any(|(name, value)| *name == "filter" && value == "request");
        refused && !self.engine.config().reroute_filtered.requests()
    }

    fn may_retry(&self, error: &Error) -> bool {
        let others = self.steps.len() > 1;
        let broke_off = self.mode == Mode::Pieces && self.live.as_ref().is_some_and(|live| !live.text.is_empty());
        error.is_retryable()
            && (self.tries < self.engine.attempts() || self.repair.is_some())
            && error.kind() != ErrorKind::CircuitOpen
            // A model that was silent for the whole time, or broke its answer off before the caller's eyes, is not asked
            // again while another can be.
            && !(others && (error.kind() == ErrorKind::Timeout || broke_off || !self.given.is_empty()))
            && retry_after(error).unwrap_or_default() <= self.longest_wait()
    }

    /// Waiting longer than the caller or one try may take is a failure told late; while another model could answer,
    /// waiting long is a waste.
    pub(super) fn longest_wait(&self) -> Duration {
        let longest = self.cx.time_left().map_or(self.engine.timeout(), |left| left.min(self.engine.timeout()));
        if self.steps.len() > 1 { longest.min(PATIENCE) } else { longest }
    }

    /// Books an attempt without an answer and tells of it. Without `failed`, the model was not even asked.
    pub(super) fn note_failure(&mut self, failed: Option<Live>, error: &Error, outcome: Outcome) {
        let asked = failed.as_ref().map(|live| live.step.id().to_owned());
        let Some(model) = asked.or_else(|| Some(self.steps.front()?.id().to_owned())) else { return };
        let (mut latency_ms, mut cost) = (0, crate::money::NanoUsd::ZERO);
        if let Some(live) = failed {
            latency_ms = live.latency_ms();
            live.span.record("error.type", error.code());
            tell_breaker(&self.cx, &model, live.leave.record(outcome, None, Instant::now()));
            cost = match self.doubted.as_mut().filter(|doubted| doubted.wants_bill()) {
                Some(doubted) => doubted.keep(live.bill),
                None => live.bill.give_up(),
            };
            self.wasted = self.wasted + cost;
        }
        let code = Some(error.code().to_owned());
        self.cx.emit(EventKind::Attempted {
            model: model.clone(),
            attempt: self.tries,
            ok: false,
            code: code.clone(),
            latency_ms,
        });
        self.engine.router().observe(&RouteOutcome { model: model.clone(), code: code.clone(), latency_ms, cost });
        self.attempts.push(Attempt { model, code, message: Some(error.message().to_owned()), latency_ms });
    }

    /// The last error, with the story of all of them and when a model can be asked again.
    fn exhausted(&self, last: Error) -> Error {
        let tried = self.attempts.iter().map(|attempt| {
            let code = attempt.code.as_deref().unwrap_or_default();
            format!("{} {code}", attempt.model)
        });
        let tried = tried.collect::<Vec<_>>().join(", ");
        let soonest = self.engine.soonest(self.planned());
        let known = retry_after(&last).is_some() || soonest.is_zero();
        let last = last.retryable(false).during("RouterEngine::generate").with("tried", tried);
        if known { last } else { last.with("retry_after_ms", in_ms(soonest)) }
    }
}
