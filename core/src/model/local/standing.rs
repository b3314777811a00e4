//! Who is served first. Decisions only: nothing here waits or writes.

use std::{
    cmp::Reverse,
    time::{Duration, Instant},
};

use crate::context::{Context, Priority};

/// So long a wait counts as one priority higher.
const AGEING: Duration = Duration::from_secs(10);
/// What is guessed until an answer has ended.
const FIRST_PACE: Duration = Duration::from_secs(1);
/// Nobody is told to come back sooner.
const LEAST_WAIT: Duration = Duration::from_millis(50);

/// What an answer has to say for itself among those that wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    priority: Priority,
    deadline: Option<Instant>,
    since: Instant,
    /// Order of arrival.
    number: u64,
}

/// What answers are ordered by: level, deadline, arrival.
type Rank = (i64, bool, Option<Instant>, u64);

impl Standing {
    pub(super) fn new(cx: &Context) -> Self {
        Self { priority: cx.priority, deadline: cx.deadline, since: Instant::now(), number: 0 }
    }

    /// The same, as number so and so that came.
    pub(super) fn arrived(self, number: u64) -> Self {
        Self { number, ..self }
    }

    /// The same, after a step of so long that read or wrote some of it: only time in which nothing of it is done counts
    /// as a wait, before its turn or in it.
    pub(super) fn had_turn(self, turn: Duration) -> Self {
        Self { since: self.since.checked_add(turn).unwrap_or(self.since), ..self }
    }

    /// The same, having waited for so long already.
    #[cfg(test)]
    pub(super) fn waited(self, time: Duration) -> Self {
        Self { since: self.since.checked_sub(time).unwrap(), ..self }
    }

    /// Lower goes first. It falls without end while an answer waits, so that each has its turn whatever comes after it.
    fn level(&self, now: Instant) -> i64 {
        let waited = now.saturating_duration_since(self.since).as_secs() / AGEING.as_secs();
        self.priority as i64 - i64::try_from(waited).unwrap_or(i64::MAX - 2)
    }

    /// Whoever has the least goes first.
    pub(super) fn rank(&self, now: Instant) -> Rank {
        (self.level(now), self.deadline.is_none(), self.deadline, self.number)
    }

    /// Whether it gives its turn to `other`. Only one of a lower priority does: among equals, an answer that waited for
    /// long would take the turn of one that runs, which then waits for long, and all would be read again and again. And
    /// one that waited until its turn came keeps it.
    pub(super) fn gives_way_to(&self, other: &Self, now: Instant) -> bool {
        other.priority < self.priority && other.level(now) < self.level(now)
    }
}

/// Which of `waiting` is next.
pub(super) fn next<'a>(waiting: impl Iterator<Item = &'a Standing>, now: Instant) -> Option<usize> {
    waiting.enumerate().min_by_key(|(_, standing)| standing.rank(now)).map(|(at, _)| at)
}

/// Which of `others` make room for so many more that came with the standing of `new`: the last ones of a lower level.
/// None where those are too few.
pub(super) fn shed<'a>(
    new: &Standing,
    lacking: usize,
    others: impl Iterator<Item = (usize, &'a Standing)>,
    now: Instant,
) -> Option<Vec<usize>> {
    let mut lower: Vec<_> = others.filter(|(_, standing)| standing.level(now) > new.level(now)).collect();
    lower.sort_by_key(|(_, standing)| Reverse(standing.rank(now)));
    (lower.len() >= lacking).then(|| lower[..lacking].iter().map(|(at, _)| *at).collect())
}

/// When one who is refused may come back: `pace` is the time from one end of an answer to the next, and `refused` came
/// since the last end and will be back too.
pub(super) fn come_back(pace: Option<Duration>, refused: u32) -> Duration {
    pace.unwrap_or(FIRST_PACE).saturating_mul(refused.max(1)).max(LEAST_WAIT)
}

/// Until the last of `waiting` begins.
pub(super) fn wait(pace: Option<Duration>, waiting: usize) -> Duration {
    pace.unwrap_or(FIRST_PACE).saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    use Priority::{Background, Interactive, Normal};

    /// Priority, second of arrival, and second of the deadline.
    type Waiting = &'static [(Priority, u64, Option<u64>)];

    struct Case {
        start: Instant,
    }

    impl Case {
        /// Came `at` seconds after the start, and must have ended `end` seconds after it.
        fn standing(&self, number: u64, priority: Priority, at: u64, end: Option<u64>) -> Standing {
            let after = |seconds| self.start + Duration::from_secs(seconds);
            Standing { priority, deadline: end.map(after), since: after(at), number }
        }
    }

    #[test]
    fn by_priority_then_deadline_then_arrival_and_whoever_waited_long() {
        let case = Case { start: Instant::now() };
        let cases: &[(Waiting, usize)] = &[
            (&[(Background, 40, None), (Normal, 41, None), (Interactive, 42, None)], 2),
            (&[(Normal, 40, None), (Normal, 42, None)], 0),
            (&[(Normal, 40, None), (Normal, 42, Some(90))], 1),
            (&[(Normal, 40, Some(80)), (Normal, 42, Some(60))], 1),
            (&[(Interactive, 42, None), (Normal, 40, Some(44))], 0),
            // Ten seconds make one level, which a deadline does not make up for.
            (&[(Normal, 42, Some(50)), (Normal, 30, None)], 1),
            (&[(Interactive, 42, Some(50)), (Background, 13, None)], 1),
            (&[(Interactive, 42, Some(50)), (Background, 15, None)], 0),
            // One that cannot be done in time is still tried.
            (&[(Normal, 42, None), (Normal, 41, Some(43))], 1),
        ];
        let now = case.start + Duration::from_secs(43);
        for (at, (waiting, expected)) in cases.iter().enumerate() {
            let waiting: Vec<_> = (0..)
                .zip(waiting.iter())
                .map(|(number, &(priority, at, end))| case.standing(number, priority, at, end))
                .collect();
            assert_eq!(next(waiting.iter(), now), Some(*expected), "case {at}");
        }
        assert_eq!(next([].iter(), now), None);
    }

    #[test]
    fn a_turn_does_not_count_as_a_wait() {
        let case = Case { start: Instant::now() };
        let waited = case.standing(0, Background, 0, None);
        let now = case.start + Duration::from_secs(25);
        assert_eq!((waited.level(now), waited.had_turn(Duration::from_secs(20)).level(now)), (0, 2));
    }

    #[test]
    fn where_all_may_not_wait_the_least_urgent_does_not() {
        let case = Case { start: Instant::now() };
        let at = |number, priority| case.standing(number, priority, 0, None);
        let waiting = [at(0, Background), at(1, Normal), at(2, Background)];
        let shed = |priority, lacking| shed(&at(9, priority), lacking, waiting.iter().enumerate(), case.start);
        assert_eq!(shed(Background, 0), Some(vec![]));
        assert_eq!(shed(Background, 1), None);
        assert_eq!(shed(Normal, 1), Some(vec![2]), "of two the younger");
        assert_eq!(shed(Normal, 3), None);
        assert_eq!(shed(Interactive, 3), Some(vec![2, 0, 1]));
    }

    #[test]
    fn only_a_lower_priority_gives_way_and_not_where_it_waited_for_its_turn() {
        let case = Case { start: Instant::now() };
        let now = case.start + Duration::from_mins(1);
        let gives = |own: (Priority, u64), other: (Priority, u64)| {
            let [own, other] = [own, other].map(|(priority, at)| case.standing(0, priority, at, None));
            own.gives_way_to(&other, now)
        };
        assert!(gives((Background, 60), (Normal, 60)) && gives((Normal, 60), (Interactive, 60)));
        assert!(!gives((Normal, 60), (Normal, 0)), "however long an equal waited");
        assert!(!gives((Normal, 60), (Background, 0)));
        assert!(!gives((Background, 30), (Interactive, 60)), "it waited for 30 seconds");
    }

    #[test]
    fn the_refused_come_back_one_after_the_other() {
        let pace = Some(Duration::from_millis(200));
        assert_eq!(come_back(pace, 1), Duration::from_millis(200));
        assert_eq!(come_back(pace, 5), Duration::from_secs(1));
        assert_eq!(come_back(Some(Duration::ZERO), 3), LEAST_WAIT);
        assert_eq!(come_back(None, 0), FIRST_PACE);
        assert_eq!(wait(pace, 10), Duration::from_secs(2));
    }

    proptest! {
        /// Whatever comes after it, an answer of any priority is next after half a minute more than those that came.
        #[test]
        fn nobody_starves(
            priority in 0_usize..3, others in prop::collection::vec((0_usize..3, 0_u64..30, prop::option::of(0_u64..99)), 0..20)
        ) {
            let case = Case { start: Instant::now() };
            let of = |at: usize| [Interactive, Normal, Background][at];
            let mut waiting = vec![case.standing(0, of(priority), 0, None)];
            for (number, (priority, at, end)) in (1..).zip(others) {
                waiting.push(case.standing(number, of(priority), 30 + at, end));
            }
            prop_assert_eq!(next(waiting.iter(), case.start + Duration::from_mins(1)), Some(0));
        }
    }
}
