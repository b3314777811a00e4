//! Logistic regression for labels between 0 and 1, with its penalty chosen by cross-validation.

use serde::{Deserialize, Serialize};

use super::{
    matrix::{Cholesky, add_scaled, dot64},
    packed, seed,
};

/// Penalties that are tried, on the squared weights of standardised inputs.
const PENALTIES: [f64; 4] = [10.0, 30.0, 100.0, 300.0];

const FOLDS: u64 = 3;

/// Newton's steps at most; it is done when one moves nothing by more than [`STILL`].
const STEPS: usize = 12;
const STILL: f64 = 1e-4;

/// Standard deviations beyond which an input says no more.
const FURTHEST: f64 = 4.0;

/// Chances by a weighted sum of standardised inputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Logistic {
    #[serde(with = "packed::f64s")]
    mean: Vec<f64>,
    #[serde(with = "packed::f64s")]
    scale: Vec<f64>,
    #[serde(with = "packed::f64s")]
    weights: Vec<f64>,
    bias: f64,
}

impl Logistic {
    /// Learns `labels` (0 to 1) of `rows`, all of one length. Nothing when there are no rows.
    pub(super) fn fit(rows: &[Vec<f64>], labels: &[f64]) -> Option<Self> {
        let width = rows.first()?.len();
        let count = rows.len() as f64;
        let mean: Vec<_> = (0..width).map(|at| rows.iter().map(|row| row[at]).sum::<f64>() / count).collect();
        let scale = (0..width).map(|at| {
            let variance = rows.iter().map(|row| (row[at] - mean[at]).powi(2)).sum::<f64>() / count;
            if variance > 1e-9 { variance.sqrt().recip() } else { 0.0 }
        });
        let mut model = Self { scale: scale.collect(), mean, weights: Vec::new(), bias: 0.0 };
        let rows: Vec<_> = rows.iter().map(|row| model.standard(row)).collect();
        let fold = |row: usize| seed::mix(row as u64) % FOLDS;
        let loss = |penalty: f64| {
            let mut loss = 0.0;
            for left_out in 0..FOLDS {
                let kept: Vec<_> = (0..rows.len()).filter(|row| fold(*row) != left_out).collect();
                let weights = newton(&rows, labels, &kept, penalty);
                let others = (0..rows.len()).filter(|row| fold(*row) == left_out);
                loss += others.map(|row| surprise(dot64(&weights, &rows[row]), labels[row])).sum::<f64>();
            }
            loss
        };
        let penalties = PENALTIES.iter().map(|penalty| (loss(*penalty), *penalty));
        let (_, penalty) = penalties.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let all: Vec<_> = (0..rows.len()).collect();
        let mut weights = newton(&rows, labels, &all, penalty);
        model.bias = weights.pop()?;
        model.weights = weights;
        Some(model)
    }

    /// The logarithm of the odds.
    pub(super) fn log_odds(&self, row: &[f64]) -> f64 {
        self.bias + dot64(&self.weights, &self.standard(row)[..self.weights.len()])
    }

    /// Standardised, with a one at the end for the bias.
    fn standard(&self, row: &[f64]) -> Vec<f64> {
        let parts = row.iter().zip(self.mean.iter().zip(&self.scale));
        // A part that never differed says nothing, whatever it is now.
        let standard = |part: f64, mean: f64, scale: f64| if scale > 0.0 { (part - mean) * scale } else { 0.0 };
        let parts = parts.map(|(part, (mean, scale))| standard(*part, *mean, *scale).clamp(-FURTHEST, FURTHEST));
        parts.chain([1.0]).collect()
    }
}

pub(super) fn chance(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

/// The cross entropy of `label`.
fn surprise(log_odds: f64, label: f64) -> f64 {
    let p = chance(log_odds).clamp(1e-9, 1.0 - 1e-9);
    -(label * p.ln() + (1.0 - label) * (1.0 - p).ln())
}

/// Iteratively reweighted least squares; the last weight is the bias, which has no penalty.
fn newton(rows: &[Vec<f64>], labels: &[f64], kept: &[usize], penalty: f64) -> Vec<f64> {
    let width = rows.first().map_or(0, Vec::len);
    let mut weights = vec![0.0; width];
    for _ in 0..STEPS {
        let (mut slope, mut bend) = (vec![0.0; width], vec![0.0; width * width]);
        for row in kept {
            let inputs = &rows[*row];
            let p = chance(dot64(&weights, inputs));
            add_scaled(&mut slope, labels[*row] - p, inputs);
            let weight = (p * (1.0 - p)).max(1e-6);
            for (at, line) in bend.chunks_exact_mut(width).enumerate() {
                add_scaled(&mut line[..=at], weight * inputs[at], &inputs[..=at]);
            }
        }
        for at in 0..width {
            let penalty = if at + 1 == width { 1e-6 } else { penalty };
            slope[at] -= penalty * weights[at];
            bend[at * width + at] += penalty;
        }
        let Some(factor) = Cholesky::of(&bend, width) else { break };
        let step = factor.solve(&slope);
        add_scaled(&mut weights, 1.0, &step);
        if step.iter().all(|part| part.abs() < STILL) {
            break;
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_follow_the_input_that_matters() {
        let rows: Vec<_> = (0..200).map(|i| vec![f64::from(i % 20), f64::from(i * 7 % 13), 5.0]).collect();
        let labels: Vec<_> = rows.iter().map(|row| f64::from(u8::from(row[0] > 9.0))).collect();
        let model = Logistic::fit(&rows, &labels).unwrap();
        assert!(chance(model.log_odds(&[18.0, 3.0, 5.0])) > 0.8);
        assert!(chance(model.log_odds(&[1.0, 3.0, 5.0])) < 0.2);
        assert!(chance(model.log_odds(&[1.0, 3.0, 500.0])) < 0.2, "an input that never varied says nothing");
        assert!(Logistic::fit(&[], &[]).is_none());
    }

    #[test]
    fn labels_of_one_kind_give_finite_odds() {
        let rows = vec![vec![1.0], vec![2.0], vec![3.0]];
        let model = Logistic::fit(&rows, &[1.0, 1.0, 1.0]).unwrap();
        assert!(model.log_odds(&[2.0]).is_finite() && model.log_odds(&[2.0]) > 1.0);
    }
}
