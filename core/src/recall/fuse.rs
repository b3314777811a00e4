//! Two scores to one.

use std::cmp::Ordering;

use super::{Fusion, RecallConfig};

/// An item that may be an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) item: u32,
    /// Cosine with the query; none when one has no vector.
    pub(super) meaning: Option<f64>,
    /// BM25; none when no word is shared.
    pub(super) words: Option<f64>,
    /// Filled here.
    pub(super) score: f64,
    /// What was added to it later, by name.
    pub(super) boosts: Vec<(&'static str, f64)>,
}

/// Scores `candidates`, 0 to 1, and sorts them, best first. Equal scores stay in the order of the items.
pub(super) fn fuse(config: &RecallConfig, candidates: &mut [Candidate]) {
    match config.fusion {
        Fusion::Convex => convex(config.dense_weight, candidates),
        Fusion::Rrf => reciprocal_ranks(candidates),
    }
    sort(candidates);
}

/// Sorts `candidates` by score, best first.
pub(super) fn sort(candidates: &mut [Candidate]) {
    candidates.sort_by(|a, b| best_first(a.score, b.score).then(a.item.cmp(&b.item)));
}

/// Order of scores, the higher first.
pub(super) fn best_first(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

fn convex(dense_weight: f64, candidates: &mut [Candidate]) {
    let ends = |score: fn(&Candidate) -> Option<f64>| {
        let scores = candidates.iter().filter_map(score);
        scores.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| (low.min(s), high.max(s)))
    };
    let meaning = ends(|c| c.meaning);
    // An item without a shared word has 0 words: the lowest BM25 there is.
    let words = (0.0, ends(|c| c.words).1);
    // A signal that no candidate has leaves its weight to the other.
    let weight = match (meaning.1.is_finite(), words.1.is_finite()) {
        (true, false) => 1.0,
        (false, true) => 0.0,
        _ => dense_weight,
    };
    for candidate in candidates {
        let dense = candidate.meaning.map_or(0.0, |score| scale(score, meaning));
        let sparse = candidate.words.map_or(0.0, |score| scale(score, words));
        candidate.score = weight * dense + (1.0 - weight) * sparse;
    }
}

fn scale(score: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { ((score - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 }
}

fn reciprocal_ranks(candidates: &mut [Candidate]) {
    const K: f64 = 60.0;
    for candidate in candidates.iter_mut() {
        candidate.score = 0.0;
    }
    for signal in [|c: &Candidate| c.meaning, |c: &Candidate| c.words] {
        let mut order: Vec<_> =
            candidates.iter().enumerate().filter_map(|(at, c)| Some((signal(c)?, c.item, at))).collect();
        order.sort_by(|a, b| best_first(a.0, b.0).then(a.1.cmp(&b.1)));
        for (rank, (_, _, at)) in order.into_iter().enumerate() {
            // Scaled, so that what is first by both has 1.
            candidates[at].score += 0.5 * (K + 1.0) / (K + 1.0 + rank as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(item: u32, meaning: Option<f64>, words: Option<f64>) -> Candidate {
        Candidate { item, meaning, words, score: 0.0, boosts: Vec::new() }
    }

    fn order(fusion: Fusion, mut candidates: Vec<Candidate>) -> Vec<(u32, f64)> {
        fuse(&RecallConfig { fusion, ..RecallConfig::default() }, &mut candidates);
        candidates.iter().map(|c| (c.item, c.score)).collect()
    }

    #[test]
    fn convex_takes_the_mean_of_both_scaled_scores() {
        let candidates =
            vec![candidate(1, Some(0.2), Some(4.0)), candidate(2, Some(0.6), None), candidate(3, Some(0.4), Some(2.0))];
        let found = order(Fusion::Convex, candidates);
        for ((item, score), (wanted, expected)) in found.iter().zip([(1, 0.5), (2, 0.5), (3, 0.5)]) {
            assert!(*item == wanted && (score - expected).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn a_lone_signal_counts_in_full() {
        assert_eq!(
            order(Fusion::Convex, vec![candidate(1, None, Some(1.0)), candidate(2, None, Some(2.0))])[0],
            (2, 1.0)
        );
        assert_eq!(order(Fusion::Convex, vec![candidate(1, Some(-0.1), None)]), [(1, 1.0)]);
    }

    #[test]
    fn reciprocal_ranks_add_up() {
        let found = order(Fusion::Rrf, vec![candidate(1, Some(0.9), None), candidate(2, Some(0.8), Some(1.0))]);
        assert_eq!(found[0].0, 2);
        assert!((found[0].1 - 30.5 * (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn scores_are_in_range_and_sorted(
            raw in prop::collection::vec((prop::option::of(-1.0..1.0_f64), prop::option::of(0.0..50.0_f64)), 0..40)
        ) {
            let candidates = raw.iter().zip(0..).map(|((m, w), item)| candidate(item, *m, *w)).collect::<Vec<_>>();
            for fusion in [Fusion::Convex, Fusion::Rrf] {
                let found = order(fusion, candidates.clone());
                prop_assert!(found.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
                prop_assert!(found.windows(2).all(|pair| pair[0].1 >= pair[1].1));
            }
        }
    }
}
