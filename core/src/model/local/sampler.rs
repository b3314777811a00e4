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
/// A score so far below the highest is never drawn at any temperature.
const OUT_OF_REACH: f32 = 100.0;
/// Numbers that are looked at side by side.
const LANES: usize = 16;

/// Chooses tokens by a [`Sampling`].
#[derive(Debug)]
pub(super) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    penalty: f32,
    bias: Vec<(u32, f32)>,
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
            bias: sampling.logit_bias.iter().map(|(&token, &bias)| (token, bias)).collect(),
            said: Vec::new(),
            random: sampling.seed.map_or_else(rand::make_rng, StdRng::seed_from_u64),
            candidates: Vec::new(),
        }
    }

    /// The next token. `scores` holds no NaN, and at least one finite number; a token whose score is minus infinity is
    /// never chosen. They are changed when there is a penalty or a bias.
    pub(super) fn choose(&mut self, scores: &mut [f32]) -> u32 {
        self.penalise(scores);
        for &(token, bias) in &self.bias {
            scores[token as usize] += bias;
        }
        let max = highest(scores);
        let token = if self.temperature <= 0.0 { first_of(scores, max) } else { self.sample(scores, max) };
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
        let mut least = max - OUT_OF_REACH;
        if self.min_p > 0.0 {
            least = least.max(max + self.min_p.ln() as f32);
        }
        let all = if self.top_p < 1.0 { mass(scores, max) } else { 0.0 };
        if self.top_p < 1.0 {
            // All tokens below this one together have less than what `top_p` cuts off.
            let share = 0.99 * (1.0 - self.top_p) * all / scores.len() as f64;
            least = least.max(max + share.ln() as f32);
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        likeliest(scores, least, self.top_k, &mut candidates);
        if self.top_p < 1.0 {
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

/// Whether all scores are numbers.
pub(super) fn are_numbers(scores: &[f32]) -> bool {
    // Without an early end, so that several are looked at at once.
    !scores.iter().fold(false, |strange, score| strange | !score.is_finite())
}

/// The highest score.
fn highest(scores: &[f32]) -> f32 {
    let (chunks, rest) = scores.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &score) in lanes.iter_mut().zip(chunk) {
            *lane = if score > *lane { score } else { *lane };
        }
    }
    lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max)
}

fn first_of(scores: &[f32], score: f32) -> u32 {
    scores.iter().position(|&one| one >= score).unwrap_or(0) as u32
}

/// The sum of e to the power of each score less `max`, to six digits.
fn mass(scores: &[f32], max: f32) -> f64 {
    /// Few enough that their sum in 32 bits is exact enough.
    const BLOCK: usize = 64 * LANES;
    let mut all = 0.0;
    for block in scores.chunks(BLOCK) {
        let (chunks, rest) = block.as_chunks::<LANES>();
        let mut lanes = [0.0_f32; LANES];
        for chunk in chunks {
            for (lane, &score) in lanes.iter_mut().zip(chunk) {
                *lane += exp(score - max);
            }
        }
        let rest: f32 = rest.iter().map(|&score| exp(score - max)).sum();
        all += f64::from(lanes.iter().sum::<f32>() + rest);
    }
    all
}

/// e to the power of a number that is not above 0, to six digits: of the form that compilers make several at once of.
#[inline]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then lies in the low bits.
    const WHOLE: f32 = 12_582_912.0;
    let x = if x < -87.0 { -87.0 } else { x } * std::f32::consts::LOG2_E;
    let shifted = x + WHOLE;
    let rest = (x - (shifted - WHOLE)) * std::f32::consts::LN_2;
    let mut power = 1.0 / 720.0;
    for factor in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * rest + factor;
    }
    power * f32::from_bits(shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127) << 23)
}

/// Puts the `most` likeliest tokens into `found`, in no order; none whose score is below `least`.
fn likeliest(scores: &[f32], mut least: f32, most: usize, found: &mut Vec<(u32, f32)>) {
    found.clear();
    // Twice as many as are wanted, before those that are too many leave again and the bar is raised.
    let full = most.saturating_mul(2).max(64);
    for (token, &score) in (0..).zip(scores) {
        if score >= least {
            found.push((token, score));
            if found.len() == full {
                found.select_nth_unstable_by(most - 1, likelier);
                found.truncate(most);
                least = found[most - 1].1;
            }
        }
    }
    if most < found.len() {
        found.select_nth_unstable_by(most - 1, likelier);
        found.truncate(most);
    }
}

/// Likelier first; equal ones in the order of their numbers, so that a seed always gives the same answer.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "sorting asks for this form")]
fn likelier(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
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
    let mut best = Vec::new();
    if top > 0 {
        likeliest(scores, f32::NEG_INFINITY, top, &mut best);
        best.sort_unstable_by(likelier);
        let log_sum = log_sum(scores);
        for (_, score) in &mut best {
            *score -= log_sum;
        }
    }
    best
}

fn log_sum(scores: &[f32]) -> f32 {
    let max = highest(scores);
    mass(scores, max).ln() as f32 + max
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

    #[test]
    fn a_bias_rules_out_and_lifts() {
        let at = |bias: &[(u32, f32)], temperature| {
            let logit_bias = bias.iter().copied().collect();
            let sampling =
                Sampling { temperature: Some(temperature), logit_bias, top_p: Some(1.0), ..Sampling::default() };
            drawn(&sampling, &scores())
        };
        assert_eq!(at(&[(0, -100.0)], 1.0), BTreeSet::from([1, 2, 3]));
        assert_eq!(at(&[(0, -100.0), (2, 1.0)], 0.0), BTreeSet::from([2]));
        assert_eq!(at(&[(3, 100.0)], 1.0), BTreeSet::from([3]));
        // What was said is penalised before the bias, which is the caller's word.
        let sampling = Sampling {
            temperature: Some(0.0),
            repetition_penalty: Some(2.0),
            logit_bias: [(0, 1.0)].into(),
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&sampling);
        assert_eq!([0; 3].map(|_| sampler.choose(&mut [2.0, 1.5])), [0, 0, 0]);
    }

    #[test]
    fn what_is_ruled_out_is_never_drawn() {
        let masked = [f32::NEG_INFINITY, 0.1, f32::NEG_INFINITY, 0.2, f32::NEG_INFINITY];
        for sampling in [
            Sampling { temperature: Some(2.0), top_k: Some(5), ..Sampling::default() },
            Sampling { temperature: Some(2.0), top_p: Some(0.999_999), ..Sampling::default() },
            Sampling { temperature: Some(2.0), min_p: Some(0.0), ..Sampling::default() },
            Sampling::default(),
        ] {
            assert_eq!(drawn(&sampling, &masked), BTreeSet::from([1, 3]));
        }
    }

    /// Prints what choosing takes; a step of SmolLM2 takes about 12,000 µs, of Gemma 3 270M about 20,000.
    #[test]
    #[ignore = "a measurement"]
    fn time() {
        for size in [49_152, 262_144] {
            // As of a model: most far below the best few.
            let scores: Vec<f32> =
                (0..size).map(|i| ((i * 7919 % size) as f32 / size as f32).powi(9) * 22.0 - 11.0).collect();
            for (name, sampling) in [
                ("greedy", Sampling { temperature: Some(0.0), ..Sampling::default() }),
                ("default", Sampling::default()),
                ("top_p", Sampling { top_p: Some(0.95), ..Sampling::default() }),
                ("top_k", Sampling { top_k: Some(40), ..Sampling::default() }),
                ("temperature", Sampling { top_p: Some(1.0), ..Sampling::default() }),
            ] {
                let mut sampler = Sampler::new(&sampling);
                let mut copy = scores.clone();
                let mut best = u128::MAX;
                for _ in 0..50 {
                    let begun = std::time::Instant::now();
                    std::hint::black_box(sampler.choose(&mut copy));
                    best = best.min(begun.elapsed().as_micros());
                }
                eprintln!("{size} tokens, {name}: {best} µs");
            }
        }
    }

    proptest! {
        #[test]
        fn the_likeliest_are_found(scores in prop::collection::vec(-3_i8..3, 1..400), least in -4_i8..3, most in 1_usize..80) {
            let scores: Vec<_> = scores.into_iter().map(f32::from).collect();
            let mut found = Vec::new();
            likeliest(&scores, f32::from(least), most, &mut found);
            found.sort_unstable_by(likelier);
            let mut expected: Vec<_> = (0..).zip(scores).filter(|&(_, score)| score >= f32::from(least)).collect();
            expected.sort_unstable_by(likelier);
            expected.truncate(most);
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn the_mass_is_near_enough(scores in prop::collection::vec(-60.0_f32..20.0, 1..3000)) {
            let max = highest(&scores);
            let expected: f64 = scores.iter().map(|&score| f64::from(score - max).exp()).sum();
            prop_assert!((mass(&scores, max) / expected - 1.0).abs() < 3e-6, "{} {}", mass(&scores, max), expected);
            prop_assert_eq!(max.to_bits(), scores.iter().copied().fold(f32::NEG_INFINITY, f32::max).to_bits());
        }

        /// What a draw by `top_p` leaves out beforehand is never among what it keeps.
        #[test]
        fn only_what_top_p_cuts_off_is_left_out(scores in prop::collection::vec(-20.0_f32..5.0, 1..500), top_p in 0.01_f64..0.9999) {
            let max = highest(&scores);
            let all = mass(&scores, max);
            let mut kept: Vec<_> = (0..).zip(scores.iter().copied()).collect();
            keep_mass(&mut kept, top_p * all, max);
            let least = max + (0.99 * (1.0 - top_p) * all / scores.len() as f64).ln() as f32;
            prop_assert!(kept.iter().all(|&(_, score)| score >= least));
        }

        #[test]
        fn the_kept_mass_is_the_least_that_suffices(scores in prop::collection::vec(-9.0_f32..9.0, 1..900), p in 0.01_f64..0.999) {
            let max = highest(&scores);
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
