//! What is added to the fused scores: neighbours in a session, speakers, times, phrases, importance and age. Weights were
//! tuned on three of five conversations of LoCoMo, see `docs/benchmarks.md`.

use std::collections::{BTreeMap, HashMap};

use super::{
    fuse::Candidate,
    question::{Question, SLACK_MS},
    slots::Slot,
};

/// What the score of the item next to one, and of the one after that, in a session adds.
const NEAR: f64 = 0.2;
const NEXT: f64 = 0.1;
/// What is added to an item of the only speaker that is named.
const SPEAKER: f64 = 0.5;
/// What is added to an item that tells a time, when that is asked for.
const TELLS_TIME: f64 = 0.2;
/// What is added to an item of the time that the question names.
const IN_WINDOW: f64 = 0.15;
/// What is added to an item that has a phrase of the question word by word.
const PHRASE: f64 = 0.3;
/// What the most important item gets; half of it one of which nothing was said, where something was said of others.
const IMPORTANCE: f64 = 0.1;
/// What is added to the item that is associated most with the question, see `associate`.
const ASSOCIATED: f64 = 0.5;
/// The part of a score that age can take.
const DECAY: f64 = 0.2;

/// What is known of a candidate beside its signals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) slot: Slot,
    pub(super) tells_time: bool,
    /// How many of the phrases it has.
    pub(super) phrases: usize,
}

/// Adds to the scores of `candidates`, which were fused, what is `known` of them. They are 0 to 1 again, and their order
/// is to be made anew.
pub(super) fn blend(
    candidates: &mut [Candidate],
    known: &HashMap<u32, Known>,
    (question, linked, decay): (&Question, bool, Option<(i64, u64)>),
) {
    let before: HashMap<u32, f64> = candidates.iter().map(|candidate| (candidate.item, candidate.score)).collect();
    let one_speaker = question.named == 1;
    let some_matter = known.values().any(|known| known.slot.importance.is_some());
    let mut most = 1.0;
    for (applies, adds) in [
        (linked, 2.0 * (NEAR + NEXT)),
        (one_speaker, SPEAKER),
        (question.asks_when, TELLS_TIME),
        (question.window.is_some(), IN_WINDOW),
        (!question.phrases.is_empty(), PHRASE),
        (some_matter, IMPORTANCE),
    ] {
        most += if applies { adds } else { 0.0 };
    }
    let of = |item: Option<u32>| item.and_then(|item| known.get(&item));
    let score = |item: Option<u32>| item.and_then(|item| before.get(&item)).copied().unwrap_or(0.0);
    for candidate in candidates {
        let Some(this) = known.get(&candidate.item) else { continue };
        let slot = &this.slot;
        let mut add = |name: &'static str, more: f64| {
            if more != 0.0 {
                candidate.boosts.push((name, more / most));
                candidate.score += more;
            }
        };
        if linked {
            let second = |next: Option<u32>, go: fn(&Slot) -> Option<u32>| of(next).and_then(|known| go(&known.slot));
            let near = score(slot.before) + score(slot.after);
            let next = score(second(slot.before, |slot| slot.before)) + score(second(slot.after, |slot| slot.after));
            add("neighbours", NEAR * near + NEXT * next);
        }
        if one_speaker && question.speakers.contains(&slot.speaker) {
            add("speaker", SPEAKER);
        }
        if question.asks_when && this.tells_time {
            add("time", TELLS_TIME);
        }
        if let Some((from, to)) = question.window
            && (from - SLACK_MS..to + SLACK_MS).contains(&slot.at_ms)
        {
            add("time", IN_WINDOW);
        }
        if !question.phrases.is_empty() {
            add("phrase", PHRASE * this.phrases as f64 / question.phrases.len() as f64);
        }
        if some_matter {
            add("importance", IMPORTANCE * f64::from(slot.importance.unwrap_or(0.5)));
        }
        if let Some((now_ms, half_life_ms)) = decay {
            let age = now_ms.saturating_sub(slot.at_ms).max(0) as f64;
            let lost = 1.0 - (-age / half_life_ms.max(1) as f64).exp2();
            let takes = -DECAY * lost * candidate.score;
            candidate.boosts.push(("decay", takes / most));
            candidate.score += takes;
        }
        candidate.score /= most;
    }
}

/// Adds how strongly `candidates`, best first, are `associated` with the question, 0 to 1; none comes to more than the best
/// had. Their order is to be made anew.
pub(super) fn associate(candidates: &mut [Candidate], associated: &BTreeMap<u32, f64>) {
    let most = candidates.first().map_or(0.0, |best| best.score);
    for candidate in candidates {
        if let Some(part) = associated.get(&candidate.item) {
            let with = candidate.score + ASSOCIATED * part;
            // The more they would have, the better they stay among themselves.
            let with = if with > most { most * (1.0 - 1e-6 * (1.0 - with / (1.0 + ASSOCIATED))) } else { with };
            let more = (with - candidate.score).max(0.0);
            candidate.boosts.push(("graph", more));
            candidate.score += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(item: u32, score: f64) -> Candidate {
        Candidate { item, meaning: None, words: None, score, boosts: Vec::new() }
    }

    fn chain(items: u32) -> HashMap<u32, Known> {
        let slot = |item: u32| Slot {
            before: item.checked_sub(1),
            after: (item + 1 < items).then_some(item + 1),
            speaker: item % 2 + 1,
            at_ms: i64::from(item) * 1_000,
            ..Slot::default()
        };
        (0..items).map(|item| (item, Known { slot: slot(item), ..Known::default() })).collect()
    }

    fn blended(scores: &[f64], question: &Question, decay: Option<(i64, u64)>) -> Vec<f64> {
        let mut candidates: Vec<_> = scores.iter().zip(0..).map(|(score, item)| candidate(item, *score)).collect();
        blend(&mut candidates, &chain(scores.len() as u32), (question, true, decay));
        candidates.iter().map(|candidate| candidate.score).collect()
    }

    #[test]
    fn neighbours_help_the_nearer_the_more() {
        let scores = blended(&[0.5, 0.0, 0.0, 0.0], &Question::default(), None);
        assert!(scores[0] > scores[1] && scores[1] > scores[2] && scores[2] > scores[3], "{scores:?}");
        assert!((scores[1] / scores[0] - NEAR).abs() < 1e-9 && scores[3] == 0.0, "{scores:?}");
    }

    #[test]
    fn the_one_speaker_that_is_named_comes_first() {
        let one = Question { speakers: vec![2], named: 1, ..Question::default() };
        let scores = blended(&[0.4, 0.4, 0.4], &one, None);
        assert!(scores[1] > scores[0] && scores[1] > scores[2], "{scores:?}");
        let two = Question { speakers: vec![1, 2], named: 2, ..Question::default() };
        let scores = blended(&[0.4, 0.4, 0.4], &two, None);
        assert!((scores[0] - scores[2]).abs() < 1e-9, "{scores:?}");
    }

    #[test]
    fn age_takes_a_fifth_at_most() {
        let at = |now: i64| blended(&[0.5], &Question::default(), Some((now, 1_000)))[0];
        let fresh = at(0);
        assert!((at(1_000) / fresh - 0.9).abs() < 1e-9 && (at(1_000_000) / fresh - 0.8).abs() < 1e-9);
    }
}
