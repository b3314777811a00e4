//! Circuit breakers: a model that failed too often in a row is left alone for a while, then one call may look whether
//! it works again. That call has its turn for a while only: one that never reports gives it back.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{BreakerState, backoff::retry_after};
use crate::error::{Error, ErrorKind};

/// Answers that broke off, in a row, that open a breaker: it is a fault that one more try seldom mends, and each was paid.
const CUT_OFF_IN_A_ROW: u32 = 2;

/// The fact of an error that an answer broke off.
const CUT_OFF: &str = "cut_off";
/// The fact of an error that an answer ended and was empty: some requests have no other.
pub(super) const EMPTY: &str = "empty";

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerPolicy {
    /// Failures in a row that open it; 0 for never.
    pub(super) failures: u32,
    /// How long it stays open.
    pub(super) open_for: Duration,
    /// How long it stays open when the provider's account is exhausted: waiting a little does not fill it.
    pub(super) exhausted_for: Duration,
    /// How long the one call that looks again keeps its turn.
    pub(super) probe_for: Duration,
}

/// What an attempt says about the model, as opposed to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
    /// It is asked for more than it can do.
    Strained,
    /// It breaks off its answers.
    CutOff,
    /// The account behind it has no money or quota left.
    Exhausted,
    /// It asked to be left alone for so long.
    Busy(Duration),
    /// Nothing: the request was at fault, or the caller left.
    Neutral,
}

impl Outcome {
    /// What `error` says about the model that returned it.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::Cancelled
            | ErrorKind::Invalid
            | ErrorKind::ContextLength
            | ErrorKind::Unsupported
            | ErrorKind::Rejected
            | ErrorKind::Conflict
            // A full queue of ours is load, not a fault: leaving the model alone would waste it.
            | ErrorKind::Overloaded => Self::Neutral,
            _ if has_fact(error, EMPTY) => Self::Neutral,
            ErrorKind::OverBudget => Self::Exhausted,
            ErrorKind::RateLimited | ErrorKind::Timeout => Self::Strained,
            _ if has_fact(error, CUT_OFF) => Self::CutOff,
            _ => Self::Failure,
        }
    }

    /// Whether the model took the call well, or it was one too many; none where that is not said.
    pub(super) fn is_well(self) -> Option<bool> {
        match self {
            Self::Success => Some(true),
            Self::Strained | Self::Busy(_) => Some(false),
            Self::Failure | Self::CutOff | Self::Exhausted | Self::Neutral => None,
        }
    }

    /// What `error` says, after which the model is not asked again for this request: what it asked to wait holds for
    /// all requests.
    pub(super) fn last(error: &Error) -> Self {
        match (error.kind(), retry_after(error)) {
            (ErrorKind::RateLimited, Some(wait)) => Self::Busy(wait),
            _ => Self::of(error),
        }
    }
}

/// An answer broke off before its end.
pub(super) fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the answer was cut off before its end").with(CUT_OFF, true)
}

fn has_fact(error: &Error, fact: &str) -> bool {
    error.context().iter().any(|(name, _)| *name == fact)
}

/// A change that others should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// For so long.
    Opened(Duration),
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// The one call that looks whether the model works again is under way, and has its turn until then.
    Probing {
        until: Instant,
    },
}

/// The breaker of one model. Time is passed in.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    failures: u32,
    cut_off: u32,
    /// Counts the probes, so that one whose turn is over is told from the one that has it.
    probe: u64,
    state: State,
}

impl Breaker {
    fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } | State::Probing { until } if now >= until => BreakerState::HalfOpen,
            State::Open { .. } | State::Probing { .. } => BreakerState::Open,
        }
    }

    /// How long calls are refused still.
    fn left(&self, now: Instant) -> Duration {
        match self.state {
            State::Closed => Duration::ZERO,
            State::Open { until } | State::Probing { until } => until.saturating_duration_since(now),
        }
    }

    /// Lets a call through, or not; a probe has its number, other calls have 0.
    fn admit(&mut self, now: Instant, policy: BreakerPolicy) -> Option<u64> {
        match self.state(now) {
            BreakerState::Closed => Some(0),
            BreakerState::HalfOpen => {
                self.state = State::Probing { until: now + policy.probe_for };
                self.probe += 1;
                Some(self.probe)
            }
            BreakerState::Open => None,
        }
    }

    /// The answer of a call has begun. After that of a probe others need not wait for its end; when it fails all the
    /// same, it opens again, since only a success forgets what was counted.
    fn begun(&mut self, probe: u64) -> Option<Change> {
        self.is_probing(probe).then(|| {
            self.state = State::Closed;
            Change::Closed
        })
    }

    fn is_probing(&self, probe: u64) -> bool {
        matches!(self.state, State::Probing { .. }) && probe == self.probe
    }

    fn record(&mut self, outcome: Outcome, probe: u64, now: Instant, policy: BreakerPolicy) -> Option<Change> {
        let probing = self.is_probing(probe);
        if !probing && self.state != State::Closed {
            // A call from before the breaker opened, or a probe whose turn is over: it says nothing new.
            return None;
        }
        let open_for = match outcome {
            Outcome::Success => {
                *self = Self { probe: self.probe, ..Self::default() };
                return probing.then_some(Change::Closed);
            }
            Outcome::Neutral => {
                if probing {
                    // The probe learnt nothing: the next call may probe at once.
                    self.state = State::Open { until: now };
                }
                return None;
            }
            Outcome::Failure | Outcome::Strained | Outcome::CutOff => {
                let cut_off = outcome == Outcome::CutOff;
                self.failures = self.failures.saturating_add(1);
                self.cut_off = if cut_off { self.cut_off.saturating_add(1) } else { 0 };
                let cut_often = self.cut_off >= CUT_OFF_IN_A_ROW;
                if policy.failures == 0 && probing {
                    // It was left alone for another reason; failures never are one.
                    self.state = State::Closed;
                    return Some(Change::Closed);
                }
                if policy.failures == 0 || !(probing || cut_often || self.failures >= policy.failures) {
                    return None;
                }
                policy.open_for * if cut_often { 2 } else { 1 }
            }
            Outcome::Exhausted => policy.exhausted_for,
            Outcome::Busy(wait) => wait.min(policy.exhausted_for),
        };
        self.state = State::Open { until: now + open_for };
        Some(Change::Opened(open_for))
    }
}

/// The breakers of all models. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Breakers {
    policy: BreakerPolicy,
    by_model: Arc<Mutex<HashMap<String, Breaker>>>,
}

impl Breakers {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, by_model: Arc::default() }
    }

    /// How long calls to `model` are refused still.
    pub(super) fn left(&self, model: &str, now: Instant) -> Duration {
        self.lock().get(model).map_or(Duration::ZERO, |breaker| breaker.left(now))
    }

    pub(super) fn state(&self, model: &str, now: Instant) -> BreakerState {
        self.lock().get(model).map_or(BreakerState::Closed, |breaker| breaker.state(now))
    }

    /// Has `model` begin anew; probes on their way count no more.
    pub(super) fn renew(&self, model: &str) {
        if let Some(breaker) = self.lock().get_mut(model) {
            *breaker = Breaker { probe: breaker.probe, ..Breaker::default() };
        }
    }

    /// A permit to call `model`, or none when it is to be left alone.
    pub(super) fn admit(&self, model: &str, now: Instant) -> Option<Permit> {
        let probe = self.with(model, |breaker| breaker.admit(now, self.policy))?;
        Some(Permit { breakers: self.clone(), model: model.to_owned(), probe, open: true })
    }

    fn record(&self, model: &str, outcome: Outcome, probe: u64, now: Instant) -> Option<Change> {
        self.with(model, |breaker| breaker.record(outcome, probe, now, self.policy))
    }

    fn with<T>(&self, model: &str, act: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut all = self.lock();
        if let Some(breaker) = all.get_mut(model) {
            return act(breaker);
        }
        act(all.entry(model.to_owned()).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Breaker>> {
        self.by_model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to make one call. Dropped without an outcome it counts neither way, and a probe is given back.
#[derive(Debug)]
pub(super) struct Permit {
    breakers: Breakers,
    model: String,
    /// Its number, or 0 when it is none.
    probe: u64,
    open: bool,
}

impl Permit {
    pub(super) fn begun(&self) -> Option<Change> {
        if self.probe == 0 {
            return None;
        }
        self.breakers.with(&self.model, |breaker| breaker.begun(self.probe))
    }

    pub(super) fn record(mut self, outcome: Outcome, now: Instant) -> Option<Change> {
        self.open = false;
        self.breakers.record(&self.model, outcome, self.probe, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.open {
            self.breakers.record(&self.model, Outcome::Neutral, self.probe, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        open_for: Duration::from_secs(30),
        exhausted_for: Duration::from_mins(10),
        probe_for: Duration::from_hours(1),
    };
    const OPENED: Option<Change> = Some(Change::Opened(POLICY.open_for));

    fn fail(breakers: &Breakers, now: Instant) -> Option<Change> {
        breakers.admit("m", now).unwrap().record(Outcome::Failure, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_one_probe() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        assert_eq!((fail(&breakers, now), fail(&breakers, now)), (None, None));
        assert_eq!(fail(&breakers, now), OPENED);
        assert!(breakers.admit("m", now).is_none());
        let later = now + POLICY.open_for;
        assert_eq!(breakers.state("m", later), BreakerState::HalfOpen);
        let probe = breakers.admit("m", later).unwrap();
        assert!(breakers.admit("m", later).is_none(), "one probe at a time");
        assert_eq!(probe.record(Outcome::Success, later), Some(Change::Closed));
        assert_eq!(breakers.state("m", later), BreakerState::Closed);
    }

    #[test]
    fn a_model_that_was_replaced_begins_anew() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        for _ in 0..3 {
            fail(&breakers, now);
        }
        assert_eq!(breakers.state("m", now), BreakerState::Open);
        breakers.renew("m");
        assert_eq!(breakers.state("m", now), BreakerState::Closed);
        assert_eq!(fail(&breakers, now), None);
    }

    #[test]
    fn a_success_starts_the_count_anew_and_neutral_outcomes_do_not() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        fail(&breakers, now);
        fail(&breakers, now);
        breakers.admit("m", now).unwrap().record(Outcome::Neutral, now);
        assert_eq!(fail(&breakers, now), OPENED, "a neutral outcome is not a success");
        let other = Breakers::new(POLICY);
        fail(&other, now);
        fail(&other, now);
        other.admit("m", now).unwrap().record(Outcome::Success, now);
        assert_eq!(fail(&other, now), None);
    }

    #[test]
    fn a_dropped_probe_is_given_back() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        for _ in 0..3 {
            fail(&breakers, now);
        }
        let later = Instant::now() + POLICY.open_for + Duration::from_secs(1);
        drop(breakers.admit("m", later).unwrap());
        assert!(breakers.admit("m", later).is_some());
    }

    #[test]
    fn a_failed_probe_opens_for_the_whole_time_again() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        for _ in 0..3 {
            fail(&breakers, now);
        }
        let later = now + POLICY.open_for;
        assert_eq!(fail(&breakers, later), OPENED);
        assert_eq!(breakers.state("m", later + POLICY.open_for / 2), BreakerState::Open);
    }

    #[test]
    fn a_probe_whose_answer_begins_lets_others_in_and_opens_it_again_when_it_fails() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        for _ in 0..3 {
            fail(&breakers, now);
        }
        let later = now + POLICY.open_for;
        let probe = breakers.admit("m", later).unwrap();
        assert_eq!((probe.begun(), probe.begun()), (Some(Change::Closed), None));
        assert!(breakers.admit("m", later).is_some(), "others need not wait for its end");
        assert_eq!(probe.record(Outcome::Failure, later), OPENED);
    }

    #[test]
    fn a_probe_that_fails_where_failures_never_open_it_is_the_end_of_probing() {
        let breakers = Breakers::new(BreakerPolicy { failures: 0, ..POLICY });
        let now = Instant::now();
        assert!(breakers.admit("m", now).unwrap().record(Outcome::Exhausted, now).is_some());
        let later = now + POLICY.exhausted_for;
        assert_eq!(fail(&breakers, later), Some(Change::Closed));
        assert!(breakers.admit("m", later).is_some());
    }

    #[test]
    fn a_late_success_of_an_old_call_does_not_close_it() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        let old = breakers.admit("m", now).unwrap();
        for _ in 0..3 {
            fail(&breakers, now);
        }
        assert_eq!(old.record(Outcome::Success, now), None);
        assert_eq!(breakers.state("m", now), BreakerState::Open);
    }

    #[test]
    fn a_probe_that_never_reports_gives_its_turn_back() {
        let policy = BreakerPolicy { probe_for: Duration::from_mins(1), ..POLICY };
        let (breakers, now) = (Breakers::new(policy), Instant::now());
        for _ in 0..3 {
            fail(&breakers, now);
        }
        let later = now + POLICY.open_for;
        let lost = breakers.admit("m", later).unwrap();
        assert_eq!(breakers.left("m", later), policy.probe_for);
        let much_later = later + policy.probe_for;
        let next = breakers.admit("m", much_later).unwrap();
        assert_eq!(lost.record(Outcome::Failure, much_later), None, "its turn is over");
        assert_eq!(next.record(Outcome::Success, much_later), Some(Change::Closed));
    }

    #[test]
    fn an_empty_account_and_a_request_to_wait_open_it_at_once() {
        let tell = |error: &Error| {
            let (breakers, now) = (Breakers::new(POLICY), Instant::now());
            let change = breakers.admit("m", now).unwrap().record(Outcome::last(error), now);
            (change, breakers.left("m", now))
        };
        let no_money = Error::new(ErrorKind::OverBudget, "no money");
        assert_eq!(tell(&no_money).1, POLICY.exhausted_for);
        let busy = Error::new(ErrorKind::RateLimited, "slow down");
        assert_eq!(tell(&busy).0, None, "one of many failures");
        let wait = Duration::from_secs(7);
        assert_eq!(tell(&busy.with("retry_after_ms", 7000)), (Some(Change::Opened(wait)), wait));
    }

    #[test]
    fn answers_that_break_off_back_to_back_open_it_for_longer() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        let cut = |breakers: &Breakers| breakers.admit("m", now).unwrap().record(Outcome::of(&cut_off()), now);
        assert_eq!((cut(&breakers), cut(&breakers)), (None, Some(Change::Opened(POLICY.open_for * 2))));
        let between = Breakers::new(POLICY);
        cut(&between);
        between.admit("m", now).unwrap().record(Outcome::Success, now);
        assert_eq!(cut(&between), None);
    }

    proptest! {
        #[test]
        fn never_two_probes_and_never_stuck(steps in prop::collection::vec((0u8..4, 0u64..40), 0..80)) {
            let breakers = Breakers::new(POLICY);
            let mut now = Instant::now();
            let mut held: Vec<Permit> = Vec::new();
            for (what, seconds) in steps {
                now += Duration::from_secs(seconds);
                held.extend(breakers.admit("m", now));
                prop_assert!(held.iter().filter(|permit| permit.probe > 0).count() <= 1);
                let Some(permit) = (what < 3).then(|| held.pop()).flatten() else { continue };
                let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Neutral];
                permit.record(outcomes[usize::from(what)], now);
            }
            for permit in held.drain(..) {
                permit.record(Outcome::Neutral, now);
            }
            prop_assert!(breakers.admit("m", now + POLICY.open_for * 2).is_some());
        }
    }
}
