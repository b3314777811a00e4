//! Chooses the next token. Filters look at the model's own distribution; temperature bends what they leave.

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::model::{Sampling, TokenLogprob};

/// What is taken where a request leaves a field out: lively, yet without the tail that makes small models ramble.
const TEMPERATURE: f64 = 0.7;
const TOP_K: usize = 40;
const TOP_P: f64 = 0.95;
const MIN_P: f64 = 0.05;

/// The candidates sorted at first when the likeliest tokens are looked for; doubled until enough.
const FIRST_SORTED: usize = 256;

/// Chooses tokens by a [`Sampling`].
#[derive(Debug)]
pub(super) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    penalty: f32,
    /// Tokens said in this answer; each is penalised once.
    said: Vec<u32>,
    random: StdRng,
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        Self {
            temperature: sampling.temperature.unwrap_or(TEMPERATURE),
            // Whoever sets one filter wants that one: the others' defaults would hide it.
            top_k: sampling.top_k.unwrap_or(if sampling.top_p.or(sampling.min_p).is_some() {
                usize::MAX
            } else {
                TOP_K
            }),
            top_p: sampling.top_p.unwrap_or(if sampling.top_k.is_some() || sampling.min_p.is_some() {
                1.0
            } else {
                TOP_P
            }),
            min_p: sampling.min_p.unwrap_or(if sampling.top_k.is_some() || sampling.top_p.is_some() {
                0.0
            } else {
                MIN_P
            }),
            penalty: sampling.repetition_penalty.unwrap_or(1.0) as f32,
            said: Vec::new(),
            random: sampling.seed.map_or_else(rand::make_rng, StdRng::seed_from_u64),
            candidates: Vec::new(),
        }
    }

    /// The next token. `scores` holds numbers, and negative infinity for tokens that may not be chosen; one is a number.
    /// They are changed when there is a penalty.
    pub(super) fn choose(&mut self, scores: &mut [f32]) -> u32 {
        self.penalise(scores);
        let (best, max) = likeliest(scores);
        let token = if self.temperature <= 0.0 { best } else { self.sample(scores, max) };
        if self.penalty.to_bits() != 1.0_f32.to_bits() && !self.said.contains(&token) {
            self.said.push(token);
        }
        token
    }

    fn penalise(&self, scores: &mut [f32]) {
        for &token in &self.said {
            let score = &mut scores[token as usize];
            *score = if *score > 0.0 { *score / self.penalty } else { *score * self.penalty };
        }
    }

    fn sample(&mut self, scores: &[f32], max: f32) -> u32 {
        let least = if self.min_p > 0.0 { max + (self.min_p.ln() as f32) } else { f32::MIN };
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        candidates.extend((0..).zip(scores.iter().copied()).filter(|&(_, score)| score >= least));
        if self.top_k < candidates.len() {
            candidates.select_nth_unstable_by(self.top_k - 1, likelier);
            candidates.truncate(self.top_k);
        }
        if self.top_p < 1.0 {
            let all: f64 = scores.iter().map(|&score| f64::from((score - max).exp())).sum();
            keep_mass(&mut candidates, self.top_p * all, max);
        }
        let weight = |score: f32| (f64::from(score - max) / self.temperature).exp();
        let total: f64 = candidates.iter().map(|&(_, score)| weight(score)).sum();
        let mut left = self.random.random::<f64>() * total;
        let chosen = candidates.iter().find(|&&(_, score)| {
            left -= weight(score);
            left < 0.0
        });
        // Rounding can leave a crumb after the last one.
        let token = chosen.or(candidates.last()).map_or(0, |&(token, _)| token);
        self.candidates = candidates;
        token
    }
}

/// Likelier first; equal ones in the order of their numbers, so that a seed always gives the same answer.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "sorting asks for this form")]
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

fn likeliest(scores: &[f32]) -> (u32, f32) {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &score) in (0..).zip(scores) {
        if score > best.1 {
            best = (token, score);
        }
    }
    best
}

/// Keeps the fewest likeliest candidates whose weights sum to `mass`, sorting no more of them than needed.
fn keep_mass(candidates: &mut Vec<(u32, f32)>, mass: f64, max: f32) {
    let (mut sum, mut done, mut size) = (0.0, 0, FIRST_SORTED);
    while done < candidates.len() {
        let rest = &mut candidates[done..];
        let end = size.min(rest.len());
        if end < rest.len() {
            rest.select_nth_unstable_by(end - 1, likelier);
        }
        rest[..end].sort_unstable_by(likelier);
        for (i, &(_, score)) in rest[..end].iter().enumerate() {
            sum += f64::from((score - max).exp());
            if sum >= mass {
                candidates.truncate(done + i + 1);
                return;
            }
        }
        (done, size) = (done + end, size * 2);
    }
}

/// The log-probability of `token` and of the `top` likeliest tokens, before penalty, filters and temperature.
pub(super) fn logprob(scores: &[f32], token: u32, top: usize, text: impl Fn(u32) -> String) -> TokenLogprob {
    let best = top_logprobs(scores, top);
    TokenLogprob {
        token: text(token),
        logprob: logprob_of(scores, token),
        top: best.into_iter().map(|(token, logprob)| (text(token), logprob)).collect(),
    }
}

/// The log-probability of `token`.
pub(super) fn logprob_of(scores: &[f32], token: u32) -> f32 {
    scores[token as usize] - log_sum(scores)
}

/// The `top` likeliest tokens and their log-probabilities, likeliest first.
pub(super) fn top_logprobs(scores: &[f32], top: usize) -> Vec<(u32, f32)> {
    let log_sum = log_sum(scores);
    let mut best: Vec<_> = (0..).zip(scores.iter().map(|score| score - log_sum)).collect();
    if top > 0 && top < best.len() {
        best.select_nth_unstable_by(top - 1, likelier);
    }
    best.truncate(top);
    best.sort_unstable_by(likelier);
    best
}

fn log_sum(scores: &[f32]) -> f32 {
    let max = likeliest(scores).1;
    scores.iter().map(|&score| f64::from((score - max).exp())).sum::<f64>().ln() as f32 + max
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn drawn(sampling: &Sampling, scores: &[f32]) -> BTreeSet<u32> {
        let mut sampler = Sampler::new(&Sampling { seed: Some(1), ..sampling.clone() });
        (0..4000).map(|_| sampler.choose(&mut scores.to_vec())).collect()
    }

    fn scores() -> [f32; 4] {
        [0.5_f32, 0.3, 0.15, 0.05].map(f32::ln)
    }

    #[test]
    fn zero_temperature_takes_the_likeliest() {
        let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
        assert_eq!(drawn(&sampling, &[0.1, 3.0, 2.9]), BTreeSet::from([1]));
    }

    #[test]
    fn each_filter_cuts_where_it_says() {
        let at = |sampling: Sampling| drawn(&Sampling { temperature: Some(1.0), ..sampling }, &scores());
        assert_eq!(at(Sampling { top_k: Some(2), ..Sampling::default() }), BTreeSet::from([0, 1]));
        assert_eq!(at(Sampling { top_p: Some(0.79), ..Sampling::default() }), BTreeSet::from([0, 1]));
        assert_eq!(at(Sampling { top_p: Some(0.81), ..Sampling::default() }), BTreeSet::from([0, 1, 2]));
        assert_eq!(at(Sampling { min_p: Some(0.2), ..Sampling::default() }), BTreeSet::from([0, 1, 2]));
        assert_eq!(at(Sampling { top_p: Some(1.0), ..Sampling::default() }), BTreeSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let sampling = Sampling { temperature: Some(1.0), top_p: Some(1.0), seed: Some(7), ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling);
        let mut counts = [0_u32; 4];
        for _ in 0..20_000 {
            counts[sampler.choose(&mut scores()) as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([0.5, 0.3, 0.15, 0.05]) {
            assert!((f64::from(*count) / 20_000.0 - expected).abs() < 0.015, "{counts:?}");
        }
    }

    #[test]
    fn a_seed_repeats_and_a_penalty_changes_the_choice() {
        let draw = |seed| {
            let mut sampler = Sampler::new(&Sampling { seed: Some(seed), ..Sampling::default() });
            (0..32).map(|_| sampler.choose(&mut scores())).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let sampling = Sampling { temperature: Some(0.0), repetition_penalty: Some(2.0), ..Sampling::default() };
        let mut sampler = Sampler::new(&sampling);
        assert_eq!([sampler.choose(&mut [2.0, 1.5]), sampler.choose(&mut [2.0, 1.5])], [0, 1]);
    }

    #[test]
    fn logprobs_are_a_log_softmax() {
        let found = logprob(&scores().map(|score| score + 5.0), 2, 2, |token| token.to_string());
        assert!((f64::from(found.logprob) - 0.15_f64.ln()).abs() < 1e-4);
        assert_eq!(found.top.iter().map(|(token, _)| token.as_str()).collect::<Vec<_>>(), ["0", "1"]);
        assert!((f64::from(found.top[0].1) - 0.5_f64.ln()).abs() < 1e-4);
    }

    proptest! {
        #[test]
        fn the_kept_mass_is_the_least_that_suffices(scores in prop::collection::vec(-9.0_f32..9.0, 1..900), p in 0.01_f64..0.999) {
            let max = likeliest(&scores).1;
            let weight = |score: f32| f64::from((score - max).exp());
            let all: f64 = scores.iter().copied().map(weight).sum();
            let mut kept: Vec<_> = (0..).zip(scores.iter().copied()).collect();
            keep_mass(&mut kept, p * all, max);
            let mut sorted = scores;
            sorted.sort_unstable_by(|a, b| b.total_cmp(a));
            let mut sum = 0.0;
            let expected = 1 + sorted.iter().take_while(|&&score| { sum += weight(score); sum < p * all }).count();
            prop_assert_eq!(kept.len(), expected.min(sorted.len()));
            prop_assert!(kept.iter().zip(&sorted).all(|(a, b)| a.1.to_bits() == b.to_bits()));
        }
    }
}
