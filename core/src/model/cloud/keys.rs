//! The keys of one model: the first that works is used, and one that was refused or has nothing left rests for a while.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use reqwest::header::HeaderValue;

use crate::error::{Error, ErrorKind};

/// How long a key rests that was told to slow down without being told for how long.
const SLOW_DOWN: Duration = Duration::from_secs(30);
/// How long a key rests that was refused, or whose account has no money or quota left.
const REFUSED: Duration = Duration::from_mins(10);

/// Keys, most wanted first. None stands for a server that wants none.
pub(super) struct Keys {
    headers: Vec<Option<HeaderValue>>,
    rest: Mutex<Vec<Option<Instant>>>,
}

/// How many, never what.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("count", &self.headers.len()).finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(headers: Vec<HeaderValue>) -> Self {
        let headers: Vec<_> = if headers.is_empty() { vec![None] } else { headers.into_iter().map(Some).collect() };
        let rest = Mutex::new(vec![None; headers.len()]);
        Self { headers, rest }
    }

    pub(super) fn header(&self, key: usize) -> Option<&HeaderValue> {
        self.headers.get(key)?.as_ref()
    }

    /// What `key` is called where the first one is called `first`; nothing for that one itself.
    pub(super) fn name(key: usize, first: Option<&str>) -> Option<String> {
        first.filter(|_| key > 0).map(|first| format!("{first}#{}", key + 1))
    }

    /// The first key that does not rest; when all do, the one that has rested enough first.
    pub(super) fn pick(&self, now: Instant) -> usize {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |key: &usize| rest[*key].map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        (0..rest.len()).min_by_key(left).unwrap_or(0)
    }

    /// Lets `key` rest when `error` is about it; says which key may serve the call instead.
    pub(super) fn instead_of(&self, key: usize, error: &Error, asked: Option<Duration>, now: Instant) -> Option<usize> {
        let time = match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::OverBudget => REFUSED,
            ErrorKind::RateLimited => asked.unwrap_or(SLOW_DOWN).min(REFUSED),
            _ => return None,
        };
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest[key] = Some(now + time);
        rest.iter().position(|until| until.is_none_or(|until| until <= now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_refused_rests_and_the_next_one_serves() {
        let keys = Keys::new(["a", "b"].map(HeaderValue::from_static).to_vec());
        let now = Instant::now();
        let refused = Error::new(ErrorKind::Unauthorized, "no");
        assert_eq!(keys.instead_of(0, &refused, None, now), Some(1));
        assert_eq!(keys.pick(now), 1);
        let slow = Error::new(ErrorKind::RateLimited, "slow");
        assert_eq!(keys.instead_of(1, &slow, Some(Duration::from_secs(5)), now), None, "both rest");
        assert_eq!(keys.pick(now), 1, "it has rested enough first");
        assert_eq!(keys.pick(now + REFUSED), 0);
        let down = Error::new(ErrorKind::Unavailable, "down");
        assert_eq!(keys.instead_of(0, &down, None, now + REFUSED), None, "no other key helps");
        let name = |key| Keys::name(key, Some("OPENAI_API_KEY"));
        assert_eq!((name(0), name(1).as_deref()), (None, Some("OPENAI_API_KEY#2")));
    }
}
