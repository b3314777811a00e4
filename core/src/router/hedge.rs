//! Hedged requests: a model that takes longer to begin than it nearly ever does gets company, and the first of the two
//! to begin answers. What the other one cost is booked.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// First pieces that are remembered of a model, and those without which nothing is said.
const REMEMBERED: usize = 128;
const ENOUGH: usize = 20;

/// How long models took to begin, lately.
#[derive(Debug, Default)]
pub(super) struct FirstPieces(Mutex<HashMap<String, Recent>>);

#[derive(Debug, Default)]
struct Recent {
    times: Vec<Duration>,
    next: usize,
}

impl FirstPieces {
    /// The model began after `time`.
    pub(super) fn note(&self, model: &str, time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = all.entry(model.to_owned()).or_default();
        if recent.times.len() < REMEMBERED {
            recent.times.push(time);
        } else {
            recent.times[recent.next] = time;
            recent.next = (recent.next + 1) % REMEMBERED;
        }
    }

    /// The time within which 95 of 100 answers began; none while too few are known.
    pub(super) fn p95(&self, model: &str) -> Option<Duration> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times = all.get(model).filter(|recent| recent.times.len() >= ENOUGH)?.times.clone();
        drop(all);
        let at = (times.len() * 95).div_ceil(100) - 1;
        let (_, p95, _) = times.select_nth_unstable(at);
        Some(*p95)
    }
}

/// Waits until a model that was asked at `since` has taken longer than `usual`.
pub(super) async fn late(since: Instant, usual: Duration) {
    tokio::time::sleep(usual.saturating_sub(since.elapsed())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p95_is_of_the_latest_and_needs_enough_of_them() {
        let pieces = FirstPieces::default();
        (1..ENOUGH as u64).for_each(|ms| pieces.note("m", Duration::from_millis(ms)));
        assert_eq!(pieces.p95("m"), None);
        pieces.note("m", Duration::from_millis(20));
        assert_eq!(pieces.p95("m"), Some(Duration::from_millis(19)));
        (0..REMEMBERED).for_each(|_| pieces.note("m", Duration::from_secs(9)));
        assert_eq!(pieces.p95("m"), Some(Duration::from_secs(9)), "old ones are forgotten");
    }
}
