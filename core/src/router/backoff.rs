//! How long to wait before the next try.

use std::time::Duration;

use crate::error::Error;

/// The longest wait that chance alone makes.
const LONGEST: Duration = Duration::from_secs(30);

/// Decorrelated jitter: each wait is between the first and three times the one before, so that many callers who
/// failed together do not come back together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    previous: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration) -> Self {
        Self { first, previous: first }
    }

    /// The wait after `error`: never shorter than the other side asked for.
    pub(super) fn after(&mut self, error: &Error) -> Duration {
        self.next(rand::random_range(0.0..1.0)).max(retry_after(error).unwrap_or_default())
    }

    /// The next wait; `chance` is from [0, 1).
    fn next(&mut self, chance: f64) -> Duration {
        let most = self.previous.saturating_mul(3).max(self.first);
        self.previous = (self.first + most.saturating_sub(self.first).mul_f64(chance)).min(LONGEST.max(self.first));
        self.previous
    }
}

/// How long the other side asked to wait: the fact `retry_after_ms` of `error`.
pub(super) fn retry_after(error: &Error) -> Option<Duration> {
    let asked = error.context().iter().find(|(name, _)| *name == "retry_after_ms")?;
    asked.1.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;

    #[test]
    fn the_other_side_can_only_make_it_longer() {
        let error = |ms: u64| Error::new(ErrorKind::RateLimited, "slow down").with("retry_after_ms", ms);
        let mut backoff = Backoff::new(Duration::from_millis(100));
        assert!(backoff.after(&error(60_000)) == Duration::from_mins(1));
        assert!(backoff.after(&error(0)) >= Duration::from_millis(100));
    }

    proptest! {
        #[test]
        fn waits_are_bounded(first in 0u64..100_000, chances in prop::collection::vec(0.0..1.0f64, 1..50)) {
            let first = Duration::from_millis(first);
            let mut backoff = Backoff::new(first);
            for chance in chances {
                let wait = backoff.next(chance);
                prop_assert!(wait >= first && wait <= LONGEST.max(first));
            }
        }
    }
}
