//! Hits that differ: maximal marginal relevance (Carbonell and Goldstein 1998).

use std::collections::HashMap;

use super::fuse::Candidate;

/// Candidates that are compared with each other for each that is wanted.
const POOL: usize = 5;

/// Leaves the `wanted` best of `candidates`, which are sorted, each the best of those left when what it has in common with
/// those chosen before counts against it by `diversity`, 0 to 1.
pub(super) fn choose(
    candidates: Vec<Candidate>,
    vectors: &HashMap<u32, Vec<f32>>,
    diversity: f64,
    wanted: usize,
) -> Vec<Candidate> {
    let mut left = candidates;
    left.truncate(wanted.saturating_mul(POOL).max(50));
    // The cosine of each with the nearest of those chosen.
    let mut nearest = vec![0.0_f64; left.len()];
    let mut chosen: Vec<Candidate> = Vec::with_capacity(wanted.min(left.len()));
    while chosen.len() < wanted && !left.is_empty() {
        let worth = |at: usize| (1.0 - diversity) * left[at].score - diversity * nearest[at];
        let best = (0..left.len()).max_by(|a, b| worth(*a).total_cmp(&worth(*b)).then(b.cmp(a))).unwrap_or_default();
        let next = left.remove(best);
        nearest.remove(best);
        if let Some(vector) = vectors.get(&next.item) {
            for (candidate, nearest) in left.iter().zip(&mut nearest) {
                if let Some(other) = vectors.get(&candidate.item) {
                    *nearest = nearest.max(f64::from(crate::model::cosine(vector, other)));
                }
            }
        }
        chosen.push(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(diversity: f64) -> Vec<u32> {
        let candidate = |(item, score)| Candidate { item, meaning: None, words: None, score, boosts: Vec::new() };
        let candidates = [(1, 0.9), (2, 0.89), (3, 0.5)].map(candidate).to_vec();
        let vectors = HashMap::from([(1, vec![1.0, 0.0]), (2, vec![1.0, 0.01]), (3, vec![0.0, 1.0])]);
        choose(candidates, &vectors, diversity, 2).iter().map(|candidate| candidate.item).collect()
    }

    #[test]
    fn what_says_the_same_comes_later() {
        assert_eq!(order(0.0), [1, 2]);
        assert_eq!(order(0.5), [1, 3]);
    }
}
