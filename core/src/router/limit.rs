//! Rate limits of one model, told by the generic cell rate algorithm: what was taken is one moment in time, the one at
//! which a bucket that leaks evenly is empty again. A minute's allowance may be taken at once; after that, waiting is
//! what evens calls out.

use std::time::{Duration, Instant};

use crate::model::RateLimit;

/// An allowance of so many units a minute. Time is passed in.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_minute: u32,
    /// When everything taken so far has leaked.
    empty_at: Instant,
}

impl Bucket {
    const FULL: Duration = Duration::from_mins(1);

    fn time_of(self, units: u64) -> Duration {
        // More than the whole allowance never fits: it waits for an empty bucket, and then goes.
        let units = units.min(u64::from(self.per_minute));
        Self::FULL.mul_f64(units as f64 / f64::from(self.per_minute.max(1)))
    }

    /// How long `units` have to wait.
    fn wait(self, units: u64, now: Instant) -> Duration {
        (self.empty_at.max(now) + self.time_of(units)).saturating_duration_since(now + Self::FULL)
    }

    fn take(&mut self, units: u64, now: Instant) {
        self.empty_at = self.empty_at.max(now) + self.time_of(units);
    }

    /// `taken` units were taken, and only `used` were used.
    fn give_back(&mut self, taken: u64, used: u64) {
        let unused = taken.min(u64::from(self.per_minute)).saturating_sub(used);
        if let Some(earlier) = self.empty_at.checked_sub(self.time_of(unused)) {
            self.empty_at = earlier;
        }
    }
}

/// Requests and tokens of one model.
#[derive(Clone, Copy, Debug)]
pub(super) struct RateLimiter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl RateLimiter {
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        let bucket = |per_minute: Option<u32>| per_minute.map(|per_minute| Bucket { per_minute, empty_at: now });
        Self { requests: bucket(limit.requests_per_minute), tokens: bucket(limit.tokens_per_minute) }
    }

    /// Takes one request of `tokens` and says how long it has to wait.
    ///
    /// # Errors
    /// How long it would have to, when that is more than `most`; nothing is taken then.
    pub(super) fn take(&mut self, tokens: u64, most: Duration, now: Instant) -> Result<Duration, Duration> {
        let wait = |bucket: Option<Bucket>, units| bucket.map_or(Duration::ZERO, |bucket| bucket.wait(units, now));
        let wait = wait(self.requests, 1).max(wait(self.tokens, tokens));
        if wait > most {
            return Err(wait);
        }
        if let Some(requests) = &mut self.requests {
            requests.take(1, now);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens, now);
        }
        Ok(wait)
    }

    /// Of the `tokens` of a request only `used` were used.
    pub(super) fn give_back(&mut self, tokens: u64, used: u64) {
        if let Some(bucket) = &mut self.tokens {
            bucket.give_back(tokens, used);
        }
    }

    /// A request of `tokens` was not sent.
    pub(super) fn take_back(&mut self, tokens: u64) {
        self.give_back(tokens, 0);
        if let Some(requests) = &mut self.requests {
            requests.give_back(1, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limiter(requests: Option<u32>, tokens: Option<u32>, now: Instant) -> RateLimiter {
        RateLimiter::new(RateLimit { requests_per_minute: requests, tokens_per_minute: tokens }, now)
    }

    #[test]
    fn a_minutes_requests_go_at_once_and_the_next_waits_its_part_of_the_minute() {
        let now = Instant::now();
        let mut limit = limiter(Some(60), None, now);
        assert!((0..60).all(|_| limit.take(0, SECOND, now) == Ok(Duration::ZERO)));
        let wait = limit.take(0, SECOND * 2, now).unwrap();
        assert!(wait.abs_diff(SECOND) < Duration::from_micros(1), "{wait:?}");
        assert!(limit.take(0, SECOND, now).unwrap_err() > SECOND, "two ahead of it");
        assert_eq!(limit.take(0, SECOND, now + SECOND * 3), Ok(Duration::ZERO));
    }

    #[test]
    fn unused_tokens_come_back_and_a_request_larger_than_the_limit_is_not_refused_for_ever() {
        let now = Instant::now();
        let mut limit = limiter(None, Some(600), now);
        assert_eq!(limit.take(600, Duration::ZERO, now), Ok(Duration::ZERO));
        assert!(limit.take(60, SECOND, now).is_err());
        limit.give_back(600, 60);
        assert_eq!(limit.take(60, SECOND, now), Ok(Duration::ZERO));
        let mut limit = limiter(None, Some(600), now);
        assert_eq!(limit.take(10_000, Duration::ZERO, now), Ok(Duration::ZERO));
        limit.give_back(10_000, 1000);
        assert!(limit.take(60, SECOND, now).is_err(), "it used more than a minute has");
        limit.give_back(10_000, 500);
        assert_eq!(limit.take(100, Duration::ZERO, now), Ok(Duration::ZERO));
    }

    proptest! {
        #[test]
        fn never_more_than_the_allowance_and_one_burst(calls in prop::collection::vec(0u64..3000, 1..200)) {
            let start = Instant::now();
            let mut limit = limiter(Some(60), None, start);
            let (mut now, mut taken) = (start, 0u32);
            for step in calls {
                now += Duration::from_millis(step);
                taken += u32::from(limit.take(0, Duration::ZERO, now).is_ok());
                let most = 60.0 + (now - start).as_secs_f64() + 1e-3;
                prop_assert!(f64::from(taken) <= most);
            }
        }
    }
}
