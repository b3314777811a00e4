//! Leave to call a model: its breaker is not open, there is a place for one more call, and its rate limit allows it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    breaker::{Breakers, Change, Outcome, Permit},
    concurrency::Places,
    limit::RateLimiter,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ModelProfile, RateLimit},
};

/// Who may call which model now.
#[derive(Debug)]
pub(super) struct Admission {
    breakers: Breakers,
    /// Calls of one remote model at once, at most; 0 for any number.
    most: u32,
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

/// Places and rate of one remote model.
#[derive(Debug)]
struct Gate {
    limit: Option<RateLimit>,
    state: Mutex<(Option<Places>, Option<RateLimiter>)>,
    freed: Notify,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, (Option<Places>, Option<RateLimiter>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn place(self: &Arc<Self>) -> Place {
        loop {
            let freed = self.freed.notified();
            let taken = self.lock().0.as_mut().map_or(Some(false), Places::take);
            if let Some(more) = taken {
                // Two places are free where a success also raised the limit, and only one call was woken.
                if more {
                    self.freed.notify_one();
                }
                return Place { gate: Arc::clone(self), tokens: None, used: None, sent: false, well: None };
            }
            freed.await;
        }
    }
}

/// A call's place. Dropped, it is free again.
#[derive(Debug)]
struct Place {
    gate: Arc<Gate>,
    /// What the rate limit gave, once it did.
    tokens: Option<u64>,
    /// What of that was used, where it is known.
    used: Option<u64>,
    /// Whether the call was made: else the rate limit has everything back.
    sent: bool,
    well: Option<bool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(places) = &mut state.0 {
            places.give_back(self.well, Instant::now());
        }
        if let (Some(limiter), Some(tokens)) = (&mut state.1, self.tokens) {
            match self.used {
                _ if !self.sent => limiter.take_back(tokens),
                Some(used) => limiter.give_back(tokens, used),
                None => {}
            }
        }
        drop(state);
        self.gate.freed.notify_one();
    }
}

/// Leave to make one call. Dropped without an outcome it counts neither way.
#[derive(Debug)]
pub(super) struct Leave {
    permit: Permit,
    place: Option<Place>,
}

impl Leave {
    /// The call is made: dropped before that, it counts for no rate.
    pub(super) fn sent(&mut self) {
        if let Some(place) = &mut self.place {
            place.sent = true;
        }
    }

    /// The answer has begun: the model works again, whatever becomes of the rest.
    pub(super) fn begun(&self) -> Option<Change> {
        self.permit.begun()
    }

    /// Notes what came of the call, and that it took `tokens`, where that is known.
    pub(super) fn record(self, outcome: Outcome, tokens: Option<u64>, now: Instant) -> Option<Change> {
        if let Some(mut place) = self.place {
            (place.well, place.used) = (outcome.is_well(), tokens);
        }
        self.permit.record(outcome, now)
    }
}

impl Admission {
    pub(super) fn new(breakers: Breakers, most: u32) -> Self {
        Self { breakers, most, gates: Mutex::default() }
    }

    pub(super) fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Leave to call the model, for a request that may take so many `tokens`. Waits up to `longest` for its turn.
    ///
    /// # Errors
    /// `CircuitOpen`, `Overloaded` or `RateLimited`, with the fact `retry_after_ms` where it is known; `Cancelled` and
    /// `Timeout` of the caller.
    pub(super) async fn enter(
        &self,
        cx: &Context,
        profile: &ModelProfile,
        tokens: u64,
        longest: Duration,
    ) -> Result<Leave> {
        let place = match self.gate(profile) {
            None => None,
            Some(gate) => {
                // A model that is left alone needs no place.
                self.check_breaker(&profile.id)?;
                Some(enter_gate(cx, &gate, &profile.id, tokens, longest).await?)
            }
        };
        self.leave(&profile.id, place)
    }

    /// The same, at once or not at all; `tokens` are not kept to.
    pub(super) fn enter_now(&self, model: &str) -> Result<Leave> {
        self.leave(model, None)
    }

    fn leave(&self, model: &str, place: Option<Place>) -> Result<Leave> {
        let now = Instant::now();
        let permit = self.breakers.admit(model, now).ok_or_else(|| self.closed(model, now))?;
        Ok(Leave { permit, place })
    }

    fn check_breaker(&self, model: &str) -> Result<()> {
        let now = Instant::now();
        if self.breakers.state(model, now) == super::BreakerState::Open { Err(self.closed(model, now)) } else { Ok(()) }
    }

    fn closed(&self, model: &str, now: Instant) -> Error {
        Error::new(ErrorKind::CircuitOpen, "the model failed too often and is left alone for a while; call later")
            .with("model", model)
            .with("retry_after_ms", in_ms(self.breakers.left(model, now)))
    }

    /// Models in this process have a queue of their own.
    fn gate(&self, profile: &ModelProfile) -> Option<Arc<Gate>> {
        if profile.local && profile.rate_limit.is_none() || self.most == 0 && profile.rate_limit.is_none() {
            return None;
        }
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&profile.id).filter(|gate| gate.limit == profile.rate_limit) {
            return Some(Arc::clone(gate));
        }
        let places = (self.most > 0 && !profile.local).then(|| Places::new(self.most));
        let limiter = profile.rate_limit.map(|limit| RateLimiter::new(limit, Instant::now()));
        let gate = Gate { limit: profile.rate_limit, state: Mutex::new((places, limiter)), freed: Notify::new() };
        let gate = Arc::new(gate);
        gates.insert(profile.id.clone(), Arc::clone(&gate));
        Some(gate)
    }
}

async fn enter_gate(cx: &Context, gate: &Arc<Gate>, model: &str, tokens: u64, longest: Duration) -> Result<Place> {
    let since = Instant::now();
    let place = cx.run(async { Ok(tokio::time::timeout(longest, gate.place()).await) }).await?;
    let mut place = place.map_err(|_| {
        Error::new(ErrorKind::Overloaded, "as many calls are under way as the model takes at once; call later")
            .with("model", model)
            .with("retry_after_ms", 1000)
    })?;
    let (left, now) = (longest.saturating_sub(since.elapsed()), Instant::now());
    let taken = gate.lock().1.as_mut().map_or(Ok(Duration::ZERO), |limiter| limiter.take(tokens, left, now));
    let wait = taken.map_err(|wait| {
        Error::new(ErrorKind::RateLimited, "the model's `rate_limit` is reached; call later, or raise it")
            .with("model", model)
            .with("retry_after_ms", in_ms(wait))
    })?;
    place.tokens = Some(tokens);
    if wait > Duration::ZERO {
        cx.sleep(wait).await?;
    }
    Ok(place)
}

/// Rounded up: who waits so long waited enough.
pub(super) fn in_ms(time: Duration) -> u64 {
    time.as_micros().div_ceil(1000) as u64
}

#[cfg(test)]
mod tests {
    use super::{super::breaker::BreakerPolicy, *};

    const LONG: Duration = Duration::from_secs(5);

    fn admission(most: u32) -> Admission {
        let policy = BreakerPolicy { failures: 1, open_for: LONG, exhausted_for: LONG, probe_for: LONG };
        Admission::new(Breakers::new(policy), most)
    }

    fn remote(rate_limit: Option<RateLimit>) -> ModelProfile {
        ModelProfile { local: false, rate_limit, ..ModelProfile::local("m", 100) }
    }

    #[tokio::test]
    async fn a_call_waits_for_a_place_and_gets_it_when_one_is_free() {
        let (admission, cx, profile) = (admission(1), Context::new(), remote(None));
        let first = admission.enter(&cx, &profile, 0, LONG).await.unwrap();
        let full = admission.enter(&cx, &profile, 0, Duration::from_millis(5)).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Overloaded);
        let free = async {
            tokio::task::yield_now().await;
            first.record(Outcome::Success, None, Instant::now());
        };
        let (second, ()) = tokio::join!(admission.enter(&cx, &profile, 0, LONG), free);
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn a_reached_rate_limit_says_when_to_come_again_and_unused_tokens_come_back() {
        let limit = RateLimit { requests_per_minute: None, tokens_per_minute: Some(600) };
        let (admission, cx, profile) = (admission(0), Context::new(), remote(Some(limit)));
        let mut leave = admission.enter(&cx, &profile, 600, Duration::ZERO).await.unwrap();
        leave.sent();
        let error = admission.enter(&cx, &profile, 100, Duration::ZERO).await.unwrap_err();
        let wait: u64 = error.facts()["retry_after_ms"].parse().unwrap();
        assert!(error.kind() == ErrorKind::RateLimited && (9_000..=10_000).contains(&wait), "{error}");
        leave.record(Outcome::Success, Some(200), Instant::now());
        assert!(admission.enter(&cx, &profile, 300, Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn a_call_that_is_not_made_counts_for_no_rate() {
        let limit = RateLimit { requests_per_minute: Some(1), tokens_per_minute: Some(600) };
        let (admission, cx, profile) = (admission(0), Context::new(), remote(Some(limit)));
        let enter = |cx: &Context, longest| {
            let (cx, admission, profile) = (cx.clone(), &admission, &profile);
            async move { admission.enter(&cx, profile, 600, longest).await }
        };
        for _ in 0..3 {
            drop(enter(&cx, Duration::ZERO).await.unwrap());
        }
        let mut made = enter(&cx, Duration::ZERO).await.unwrap();
        let minute = Duration::from_mins(2);
        let left = tokio::time::timeout(Duration::from_millis(5), enter(&cx, minute)).await;
        assert!(left.is_err(), "it waits, and its caller leaves");
        made.sent();
        drop(made);
        let error = enter(&cx, Duration::ZERO).await.unwrap_err();
        let wait: u64 = error.facts()["retry_after_ms"].parse().unwrap();
        assert!(wait <= 60_000, "one call was made, not two: {error}");
    }

    #[tokio::test]
    async fn every_free_place_finds_one_who_waits() {
        let (admission, cx, profile) = (admission(2), Context::new(), remote(None));
        // The limit is one place after the overload, and nearly two after the successes.
        let gate = admission.gate(&profile).unwrap();
        let mut places = Places::new(2);
        places.take();
        places.give_back(Some(false), Instant::now());
        gate.lock().0 = Some(places);
        let first = admission.enter(&cx, &profile, 0, LONG).await.unwrap();
        let wait = || admission.enter(&cx, &profile, 0, Duration::from_millis(200));
        let free = async {
            tokio::task::yield_now().await;
            first.record(Outcome::Success, None, Instant::now());
        };
        let (second, third, ()) = tokio::join!(wait(), wait(), free);
        assert!(second.is_ok() && third.is_ok());
    }

    #[tokio::test]
    async fn an_open_breaker_says_for_how_long() {
        let (admission, cx, profile) = (admission(8), Context::new(), remote(None));
        let leave = admission.enter(&cx, &profile, 0, LONG).await.unwrap();
        leave.record(Outcome::Failure, None, Instant::now());
        let error = admission.enter(&cx, &profile, 0, LONG).await.unwrap_err();
        let wait: u64 = error.facts()["retry_after_ms"].parse().unwrap();
        assert!(error.kind() == ErrorKind::CircuitOpen && (4_000..=5_000).contains(&wait), "{error}");
    }
}
