//! A threshold with a promise: above it the stronger model is asked, and with the stated confidence the answers keep the
//! stated part of the stronger model's quality.

use serde::{Deserialize, Serialize};

use super::seed;
use crate::error::{Error, Result};

/// One judged prompt: what a head or a verifier said of it before, and how both models did.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// How much the stronger model should be asked; any scale.
    pub score: f64,
    /// How good the cheaper model's answer is, 0 to 1.
    pub cheap: f64,
    /// How good the stronger model's answer is, 0 to 1.
    pub strong: f64,
}

/// A promise, and the threshold that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The stronger model is asked where the score is at least this.
    pub threshold: f64,
    /// The part of the stronger model's quality that was promised.
    pub min_retention: f64,
    /// The chance that it is kept, over the draw of the labels.
    pub confidence: f64,
    /// The part of it that was kept on the labels.
    pub retention: f64,
    /// The part of the labels on which the stronger model was asked.
    pub strong_share: f64,
    /// How many labels there were.
    pub labels: usize,
}

/// Thresholds that are tried: each asks the stronger model on a fiftieth less than the one before.
const STEPS: usize = 50;

/// The highest threshold at which, with `confidence`, the mean quality stays at `min_retention` of the stronger
/// model's. Both lie in (0, 1); 0.9 and 0.9 are usual. The scores must not come from heads that saw these labels.
///
/// Thresholds are tested one after another, from "always the stronger model" on, each by a bet against the promise
/// being broken (Waudby-Smith and Ramdas 2024, "Estimating means of bounded random variables by betting"), and the last
/// before the first failure is taken (fixed-sequence testing; Angelopoulos et al. 2021, "Learn then Test"). So the
/// promise holds for any distribution and any number of labels; with too few, the stronger model is always asked.
///
/// # Errors
/// `Invalid` when a part is out of range, a quality not in [0, 1] or a score no number.
pub fn calibrate(choices: &[Choice], min_retention: f64, confidence: f64) -> Result<Calibration> {
    for (name, value) in [("min_retention", min_retention), ("confidence", confidence)] {
        if !(value > 0.0 && value < 1.0) {
            return Err(Error::invalid(format!("{name} is {value}; it must be between 0 and 1, 0.9 is usual")));
        }
    }
    let odd = |c: &Choice| c.score.is_nan() || [c.cheap, c.strong].iter().any(|q| !(0.0..=1.0).contains(q));
    if choices.iter().any(odd) {
        return Err(Error::invalid(
            "a choice to calibrate on has a score that is no number, or a quality not in [0, 1]",
        ));
    }
    // In an order of chance: a bet goes through the labels one by one, and those of one day may be alike.
    let mut order: Vec<_> = (0..choices.len()).collect();
    order.sort_by_key(|i| seed::mix(*i as u64));
    let mut scores: Vec<_> = choices.iter().map(|choice| choice.score).collect();
    scores.sort_by(f64::total_cmp);

    let mut threshold = f64::NEG_INFINITY;
    for step in 1..=STEPS {
        let tried = scores.get(step * scores.len() / STEPS).copied().unwrap_or(f64::INFINITY);
        let got = |choice: &Choice| if choice.score >= tried { choice.strong } else { choice.cheap };
        if !is_kept(order.iter().map(|i| (got(&choices[*i]), choices[*i].strong)), min_retention, confidence) {
            break;
        }
        threshold = tried;
    }
    let mean = |of: &dyn Fn(&Choice) -> f64| choices.iter().map(of).sum::<f64>() / choices.len().max(1) as f64;
    let strong = mean(&|c| c.strong);
    let got = mean(&|c| if c.score >= threshold { c.strong } else { c.cheap });
    Ok(Calibration {
        threshold,
        min_retention,
        confidence,
        retention: if strong > 0.0 { got / strong } else { 1.0 },
        strong_share: if choices.is_empty() { 1.0 } else { mean(&|c| f64::from(u8::from(c.score >= threshold))) },
        labels: choices.len(),
    })
}

/// Whether labels show with `confidence` that the mean of what was got is at least `min_retention` of the mean of what
/// it is held against. `pairs` are of both, 0 to 1, in an order of chance.
pub(super) fn is_kept(pairs: impl Iterator<Item = (f64, f64)>, min_retention: f64, confidence: f64) -> bool {
    // From [-min_retention, 1] to [0, 1].
    let gains = pairs.map(|(got, full)| (got - min_retention * full + min_retention) / (1.0 + min_retention));
    bet(gains, min_retention / (1.0 + min_retention), confidence)
}

/// Whether a gambler who bets that the mean of `values` (0 to 1) is above `mean` wins enough to be believed. If it is
/// not above, the capital grows `1 / (1 - confidence)`-fold with a chance of at most `1 - confidence` (Ville 1939).
fn bet(values: impl Iterator<Item = f64>, mean: f64, confidence: f64) -> bool {
    let wanted = -(1.0 - confidence).ln();
    let (mut capital, mut count, mut sum, mut squares) = (0.0f64, 0.0f64, 0.5, 0.25);
    let mut believed = false;
    for value in values {
        let average = sum / (count + 1.0);
        let variance = (squares / (count + 1.0)).max(1e-4);
        // The stake that would have grown the capital most so far; never so high that all can be lost.
        let stake = ((average - mean) / (variance + (average - mean).powi(2))).clamp(0.0, 0.5 / mean);
        capital += (stake * (value - mean)).ln_1p();
        believed |= capital >= wanted;
        count += 1.0;
        sum += value;
        squares += (value - sum / (count + 1.0)).powi(2);
    }
    believed
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cheap model is right where the score is low; the stronger one nearly always.
    fn choices(count: usize, from: u64) -> Vec<Choice> {
        let chance = |i: usize, salt: u64| (seed::mix(from + (i as u64) * 3 + salt) >> 11) as f64 / (1u64 << 53) as f64;
        let right = |is: bool| f64::from(u8::from(is));
        (0..count)
            .map(|i| {
                let score = chance(i, 0);
                Choice { score, cheap: right(chance(i, 1) > score), strong: right(chance(i, 2) > 0.1) }
            })
            .collect()
    }

    fn retention(choices: &[Choice], threshold: f64) -> f64 {
        let got: f64 = choices.iter().map(|c| if c.score >= threshold { c.strong } else { c.cheap }).sum();
        got / choices.iter().map(|c| c.strong).sum::<f64>()
    }

    #[test]
    fn a_promise_is_broken_no_more_often_than_was_said() {
        let world = choices(100_000, 1 << 40);
        let (mut broken, mut shares) = (0, 0.0);
        for draw in 0..200 {
            let found = calibrate(&choices(400, draw * 100_000), 0.9, 0.9).unwrap();
            broken += usize::from(retention(&world, found.threshold) < 0.9);
            shares += found.strong_share / 200.0;
        }
        assert!(broken <= 20, "{broken} of 200");
        assert!((0.2..0.8).contains(&shares), "the promise is not kept by always asking the stronger model: {shares}");
    }

    #[test]
    fn few_labels_or_a_useless_score_mean_the_stronger_model() {
        let few = calibrate(&choices(5, 0), 0.9, 0.9).unwrap();
        assert_eq!((few.threshold, few.strong_share, few.retention), (f64::NEG_INFINITY, 1.0, 1.0));
        let none = calibrate(&[], 0.9, 0.9).unwrap();
        assert_eq!((none.strong_share, none.labels), (1.0, 0));
    }

    #[test]
    fn a_cheap_model_that_is_as_good_is_always_taken() {
        let same: Vec<_> = choices(300, 0).into_iter().map(|c| Choice { cheap: c.strong, ..c }).collect();
        let found = calibrate(&same, 0.9, 0.9).unwrap();
        assert_eq!((found.strong_share, found.retention), (0.0, 1.0));
    }

    #[test]
    fn odd_input_is_refused() {
        let error = |choices: &[Choice], retention, confidence| calibrate(choices, retention, confidence).unwrap_err();
        assert!(error(&[], 1.0, 0.9).message().contains("min_retention is 1"));
        assert!(error(&[], 0.9, f64::NAN).message().contains("confidence"));
        let odd = Choice { score: f64::NAN, cheap: 0.0, strong: 1.0 };
        assert!(error(&[odd], 0.9, 0.9).message().contains("no number"));
    }
}
