//! How many calls a model gets at once: one more after each that went well while all places were taken, and a part fewer
//! when the model says that it is too much (additive increase, multiplicative decrease, as TCP does it).

use std::time::{Duration, Instant};

/// What is left of the places after the model was overloaded.
const DECREASE: f64 = 0.7;
/// Signs of overload within this time are one: they come from calls that were under way together.
const ONE_SIGN: Duration = Duration::from_secs(1);

/// The places of one model. Time is passed in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    limit: f64,
    most: f64,
    taken: usize,
    decreased: Option<Instant>,
}

impl Places {
    pub(super) fn new(most: u32) -> Self {
        let most = f64::from(most.max(1));
        Self { limit: most, most, taken: 0, decreased: None }
    }

    /// Takes a place, if there is one; says whether there is another.
    pub(super) fn take(&mut self) -> Option<bool> {
        let free = |taken: usize| (taken as f64) < self.limit.floor();
        let more = free(self.taken).then(|| free(self.taken + 1))?;
        self.taken += 1;
        Some(more)
    }

    /// Gives a place back after a call that went well, was too much for the model, or says nothing.
    pub(super) fn give_back(&mut self, well: Option<bool>, now: Instant) {
        match well {
            // With places to spare, the limit says nothing about the model.
            Some(true) if self.taken as f64 * 2.0 >= self.limit => {
                self.limit = (self.limit + 1.0 / self.limit).min(self.most);
            }
            Some(false) if self.decreased.is_none_or(|then| now.duration_since(then) >= ONE_SIGN) => {
                // The calls that were too many are those under way, however many might have been.
                self.limit = (self.limit.min(self.taken as f64) * DECREASE).max(1.0);
                self.decreased = Some(now);
            }
            _ => {}
        }
        self.taken = self.taken.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(places: &mut Places) -> usize {
        std::iter::from_fn(|| places.take()).count()
    }

    #[test]
    fn overload_takes_places_once_and_success_brings_them_back() {
        let (mut places, mut now) = (Places::new(100), Instant::now());
        for _ in 0..10 {
            assert!(places.take().is_some());
        }
        // All ten tell of the same overload.
        (0..10).for_each(|_| places.give_back(Some(false), now));
        assert_eq!(take_all(&mut places), 7, "of the ten that were under way, not of a hundred");
        for _ in 0..100 {
            now += ONE_SIGN;
            places.give_back(Some(true), now);
            assert!(places.take().is_some());
        }
        let more = take_all(&mut places);
        assert!((5..30).contains(&more), "about one more for each full round: {more}");
    }

    #[test]
    fn there_is_always_one_place_and_never_more_than_the_most() {
        let (mut places, mut now) = (Places::new(2), Instant::now());
        for _ in 0..20 {
            now += ONE_SIGN;
            assert!(places.take().is_some());
            places.give_back(Some(false), now);
        }
        for _ in 0..20 {
            assert!(places.take().is_some());
            places.give_back(Some(true), now);
        }
        assert_eq!(take_all(&mut places), 2);
    }
}
