//! Circuit breakers: a model that failed too often in a row is left alone for a while, then one call may look whether
//! it works again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::BreakerState;
use crate::error::{Error, ErrorKind};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct BreakerPolicy {
    /// Failures in a row that open it; 0 for never.
    pub(super) failures: u32,
    /// How long it stays open.
    pub(super) open_for: Duration,
}

/// What an attempt says about the model, as opposed to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It works.
    Success,
    /// It does not.
    Failure,
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
            _ => Self::Failure,
        }
    }
}

/// A change that others should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Opened,
    Closed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    /// The one call that looks whether the model works again is under way.
    Probing,
}

/// The breaker of one model. Time is passed in.
#[derive(Clone, Copy, Debug, Default)]
struct Breaker {
    failures: u32,
    state: State,
}

impl Breaker {
    fn state(&self, now: Instant) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { until } if now >= until => BreakerState::HalfOpen,
            State::Open { .. } | State::Probing => BreakerState::Open,
        }
    }

    /// Lets a call through, or not; says whether it is the probe.
    fn admit(&mut self, now: Instant) -> Option<bool> {
        match self.state(now) {
            BreakerState::Closed => Some(false),
            BreakerState::HalfOpen => {
                self.state = State::Probing;
                Some(true)
            }
            BreakerState::Open => None,
        }
    }

    fn record(&mut self, outcome: Outcome, probe: bool, now: Instant, policy: BreakerPolicy) -> Option<Change> {
        match (outcome, probe, self.state) {
            (Outcome::Success, true, _) => {
                *self = Self::default();
                Some(Change::Closed)
            }
            (Outcome::Failure, true, _) => {
                self.state = State::Open { until: now + policy.open_for };
                Some(Change::Opened)
            }
            // The probe learnt nothing: the next call may probe at once.
            (Outcome::Neutral, true, _) => {
                self.state = State::Open { until: now };
                None
            }
            (Outcome::Success, false, State::Closed) => {
                self.failures = 0;
                None
            }
            (Outcome::Failure, false, State::Closed) => {
                self.failures = self.failures.saturating_add(1);
                if policy.failures == 0 || self.failures < policy.failures {
                    return None;
                }
                self.state = State::Open { until: now + policy.open_for };
                Some(Change::Opened)
            }
            // A call from before the breaker opened says nothing new, and neither does a neutral one.
            (Outcome::Neutral, false, _) | (_, false, State::Open { .. } | State::Probing) => None,
        }
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

    pub(super) fn open_for(&self) -> Duration {
        self.policy.open_for
    }

    pub(super) fn state(&self, model: &str, now: Instant) -> BreakerState {
        self.lock().get(model).map_or(BreakerState::Closed, |breaker| breaker.state(now))
    }

    /// A permit to call `model`, or none when it is to be left alone.
    pub(super) fn admit(&self, model: &str, now: Instant) -> Option<Permit> {
        let probe = self.lock().entry(model.to_owned()).or_default().admit(now)?;
        Some(Permit { breakers: self.clone(), model: model.to_owned(), probe, open: true })
    }

    fn record(&self, model: &str, outcome: Outcome, probe: bool, now: Instant) -> Option<Change> {
        self.lock().entry(model.to_owned()).or_default().record(outcome, probe, now, self.policy)
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
    probe: bool,
    open: bool,
}

impl Permit {
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

    const POLICY: BreakerPolicy = BreakerPolicy { failures: 3, open_for: Duration::from_secs(30) };

    fn fail(breakers: &Breakers, now: Instant) -> Option<Change> {
        breakers.admit("m", now).unwrap().record(Outcome::Failure, now)
    }

    #[test]
    fn opens_after_failures_in_a_row_and_closes_after_one_probe() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        assert_eq!((fail(&breakers, now), fail(&breakers, now)), (None, None));
        assert_eq!(fail(&breakers, now), Some(Change::Opened));
        assert!(breakers.admit("m", now).is_none());
        let later = now + POLICY.open_for;
        assert_eq!(breakers.state("m", later), BreakerState::HalfOpen);
        let probe = breakers.admit("m", later).unwrap();
        assert!(breakers.admit("m", later).is_none(), "one probe at a time");
        assert_eq!(probe.record(Outcome::Success, later), Some(Change::Closed));
        assert_eq!(breakers.state("m", later), BreakerState::Closed);
    }

    #[test]
    fn a_success_starts_the_count_anew_and_neutral_outcomes_do_not() {
        let (breakers, now) = (Breakers::new(POLICY), Instant::now());
        fail(&breakers, now);
        fail(&breakers, now);
        breakers.admit("m", now).unwrap().record(Outcome::Neutral, now);
        assert_eq!(fail(&breakers, now), Some(Change::Opened), "a neutral outcome is not a success");
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
        assert_eq!(fail(&breakers, later), Some(Change::Opened));
        assert_eq!(breakers.state("m", later + POLICY.open_for / 2), BreakerState::Open);
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

    proptest! {
        #[test]
        fn never_two_probes_and_never_stuck(steps in prop::collection::vec((0u8..4, 0u64..40), 0..80)) {
            let breakers = Breakers::new(POLICY);
            let mut now = Instant::now();
            let mut held: Vec<Permit> = Vec::new();
            for (what, seconds) in steps {
                now += Duration::from_secs(seconds);
                held.extend(breakers.admit("m", now));
                prop_assert!(held.iter().filter(|permit| permit.probe).count() <= 1);
                let Some(permit) = (what < 3).then(|| held.pop()).flatten() else { continue };
                let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Neutral];
                permit.record(outcomes[usize::from(what)], now);
            }
            for permit in held.drain(..) {
                permit.record(Outcome::Neutral, now);
            }
            prop_assert!(breakers.admit("m", now + POLICY.open_for).is_some());
        }
    }
}
