//! Ridge regression on the likeness of a prompt to landmark prompts of the history: close prompts vote together, as
//! with nearest neighbours, and weights are learned for them in closed form, one update a label afterwards.
//!
//! The landmarks are a sample of the history. With the likeness `k(x) = (exp(-|x - l|²))` to each landmark `l`, the
//! prediction is `base + wᵀ k(x)`, and `w` minimises the squared error plus `penalty · wᵀ K w` over the history, `K` the
//! likeness among landmarks: the "subset of regressors" form of Gaussian process regression (Quiñonero-Candela and
//! Rasmussen 2005, section 4.1). An update is Sherman and Morrison's.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    matrix::{Cholesky, add_scaled, dot, dot64},
    packed,
    seed::sample,
};

/// Landmarks at most: 256 of 420 numbers make a decision cost some ten microseconds and a model's state 512 KiB.
const LANDMARKS: usize = 256;

/// Penalties that are tried. The best by leaving one out is taken.
const PENALTIES: [f64; 3] = [3.0, 10.0, 30.0];

/// Records on which settings are compared; more of them cost time and tell no more.
const COMPARED: usize = 1024;

/// One target a model, where there is one.
pub(super) type Targets = Vec<Vec<Option<f64>>>;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KernelRidge {
    width: usize,
    #[serde(with = "packed::f32s")]
    landmarks: Vec<f32>,
    #[serde(with = "packed::f32s")]
    norms: Vec<f32>,
    models: BTreeMap<String, Weights>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Weights {
    base: f64,
    #[serde(with = "packed::f64s")]
    by_point: Vec<f64>,
    /// Shared by models with the same records, until one of them learns alone.
    #[serde(with = "packed::shared")]
    inverse: Arc<Vec<f64>>,
}

/// A fit, and how well it foretold each record from the others.
pub(super) struct Fit {
    pub ridge: KernelRidge,
    /// Mean squared error of the predictions left out.
    pub error: f64,
    /// By model, then record: the prediction from all records but this one.
    pub left_out: Targets,
}

impl KernelRidge {
    /// Fits `targets` (by model, then record) on `points`, which are `width` long each.
    ///
    /// Nothing when there are no points, or numbers so odd that the equations cannot be solved.
    pub(super) fn fit(points: &[f32], width: usize, models: &[String], targets: &Targets) -> Option<Fit> {
        let count = points.len().checked_div(width)?;
        let chosen = sample(count, LANDMARKS);
        let landmarks: Vec<f32> = chosen.iter().flat_map(|i| &points[i * width..(i + 1) * width]).copied().collect();
        let norms: Vec<_> = landmarks.chunks_exact(width).map(|l| dot(l, l)).collect();
        let mut ridge = Self { width, landmarks, norms, models: BTreeMap::new() };
        let size = ridge.norms.len();
        let likeness: Vec<f64> = points.chunks_exact(width).flat_map(|point| ridge.likeness(point)).collect();
        let among: Vec<f64> = ridge.landmarks.chunks_exact(width).flat_map(|point| ridge.likeness(point)).collect();
        let compared = sample(count, COMPARED);

        let mut left_out: Targets = vec![vec![None; count]; models.len()];
        for group in same_records(targets) {
            let present: Vec<_> = (0..count).filter(|i| targets[group[0]][*i].is_some()).collect();
            if present.is_empty() {
                continue;
            }
            let rows = Rows { likeness: &likeness, size, present: &present };
            let gram = rows.gram();
            let best = PENALTIES
                .iter()
                .filter_map(|penalty| {
                    let solved = Solved::new(&rows, &gram, &among, *penalty, &group, targets)?;
                    let within: Vec<_> =
                        compared.iter().filter(|i| targets[group[0]][**i].is_some()).copied().collect();
                    let error = solved.error(&rows, &within, &group, targets);
                    Some((error, solved))
                })
                .min_by(|a, b| a.0.total_cmp(&b.0))?;
            let (_, solved) = best;
            solved.leave_out(&rows, &present, &group, targets, &mut left_out);
            let inverse = Arc::new(solved.factor.inverse());
            for ((at, base), weights) in group.iter().zip(solved.bases).zip(solved.weights) {
                ridge
                    .models
                    .insert(models[*at].clone(), Weights { base, by_point: weights, inverse: Arc::clone(&inverse) });
            }
        }
        let error = mean_squared_contrast(&compared, targets, &left_out);
        Some(Fit { ridge, error, left_out })
    }

    /// How alike `point` is to each landmark, (0, 1].
    pub(super) fn likeness(&self, point: &[f32]) -> Vec<f64> {
        let norm = dot(point, point);
        let landmarks = self.landmarks.chunks_exact(self.width).zip(&self.norms);
        landmarks.map(|(l, n)| f64::from((2.0 * dot(point, l) - norm - n).min(0.0).exp())).collect()
    }

    /// The prediction for `model`, if it was learned, from what [`Self::likeness`] says of the prompt.
    pub(super) fn predict(&self, model: &str, likeness: &[f64]) -> Option<f64> {
        let model = self.models.get(model)?;
        Some(model.base + dot64(&model.by_point, likeness))
    }

    /// Takes one more label in: as if it had been there from the start, with the landmarks, the base and the penalty
    /// as they are. A model that was never fitted is left alone.
    pub(super) fn update(&mut self, model: &str, likeness: &[f64], target: f64) {
        let Some(model) = self.models.get_mut(model) else { return };
        let size = likeness.len();
        let gain: Vec<_> = model.inverse.chunks_exact(size).map(|row| dot64(row, likeness)).collect();
        let whole = 1.0 + dot64(&gain, likeness);
        let surprise = target - model.base - dot64(&model.by_point, likeness);
        add_scaled(&mut model.by_point, surprise / whole, &gain);
        for (row, part) in Arc::make_mut(&mut model.inverse).chunks_exact_mut(size).zip(&gain) {
            add_scaled(row, -part / whole, &gain);
        }
    }
}

/// The records of a group of models, as likenesses.
struct Rows<'a> {
    likeness: &'a [f64],
    size: usize,
    present: &'a [usize],
}

impl Rows<'_> {
    fn row(&self, record: usize) -> &[f64] {
        &self.likeness[record * self.size..(record + 1) * self.size]
    }

    /// `Σ k kᵀ`.
    fn gram(&self) -> Vec<f64> {
        let mut gram = vec![0.0; self.size * self.size];
        for record in self.present {
            let row = self.row(*record);
            for (at, line) in gram.chunks_exact_mut(self.size).enumerate() {
                add_scaled(&mut line[..=at], row[at], &row[..=at]);
            }
        }
        for at in 0..self.size {
            for other in 0..at {
                gram[other * self.size + at] = gram[at * self.size + other];
            }
        }
        gram
    }
}

struct Solved {
    factor: Cholesky,
    bases: Vec<f64>,
    weights: Vec<Vec<f64>>,
}

impl Solved {
    fn new(
        rows: &Rows<'_>,
        gram: &[f64],
        among: &[f64],
        penalty: f64,
        group: &[usize],
        targets: &Targets,
    ) -> Option<Self> {
        let mut matrix: Vec<f64> = gram.iter().zip(among).map(|(g, k)| g + penalty * k).collect();
        // Landmarks that are the same prompt would make the equations singular.
        let jitter = 1e-6 * rows.present.len() as f64;
        (0..rows.size).for_each(|i| matrix[i * rows.size + i] += jitter);
        let factor = Cholesky::of(&matrix, rows.size)?;
        let (mut bases, mut weights) = (Vec::new(), Vec::new());
        for model in group {
            let target = |record: &usize| targets[*model][*record].unwrap_or(0.0);
            let base = rows.present.iter().map(target).sum::<f64>() / rows.present.len() as f64;
            let mut moment = vec![0.0; rows.size];
            for record in rows.present {
                add_scaled(&mut moment, target(record) - base, rows.row(*record));
            }
            weights.push(factor.solve(&moment));
            bases.push(base);
        }
        Some(Self { factor, bases, weights })
    }

    /// Predictions of `records`, each from all others: `y - e / (1 - h)` (PRESS; Allen 1974).
    fn leave_out(&self, rows: &Rows<'_>, records: &[usize], group: &[usize], targets: &Targets, into: &mut Targets) {
        for record in records {
            let row = rows.row(*record);
            let half = self.factor.forward(row);
            let leverage = dot64(&half, &half).min(0.999);
            for ((model, base), weights) in group.iter().zip(&self.bases).zip(&self.weights) {
                let Some(target) = targets[*model][*record] else { continue };
                let error = target - base - dot64(weights, row);
                into[*model][*record] = Some(target - error / (1.0 - leverage));
            }
        }
    }

    fn error(&self, rows: &Rows<'_>, records: &[usize], group: &[usize], targets: &Targets) -> f64 {
        let mut left_out = vec![vec![None; targets[group[0]].len()]; targets.len()];
        self.leave_out(rows, records, group, targets, &mut left_out);
        mean_squared_contrast(records, targets, &left_out)
    }
}

/// The mean of [`contrast_error`] over `records`.
fn mean_squared_contrast(records: &[usize], targets: &Targets, predicted: &Targets) -> f64 {
    let of = |record: &usize| {
        let all = |by_model: &Targets| by_model.iter().map(|model| model[*record]).collect::<Vec<_>>();
        contrast_error(&all(targets), &all(predicted))
    };
    records.iter().map(of).sum::<f64>() / records.len().max(1) as f64
}

/// The squared error of the differences between models on one record, which is what a choice among them rests on; where it
/// has one model, of its value.
pub(super) fn contrast_error(targets: &[Option<f64>], predicted: &[Option<f64>]) -> f64 {
    let errors: Vec<f64> = targets.iter().zip(predicted).filter_map(|(t, p)| Some((*t)? - (*p)?)).collect();
    let mean = if errors.len() > 1 { errors.iter().sum::<f64>() / errors.len() as f64 } else { 0.0 };
    errors.iter().map(|error| (error - mean).powi(2)).sum()
}

/// The models by which records they have, so that each set of records is solved for once.
fn same_records(targets: &Targets) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for model in 0..targets.len() {
        let same =
            |group: &Vec<usize>| targets[group[0]].iter().zip(&targets[model]).all(|(a, b)| a.is_some() == b.is_some());
        match groups.iter().position(same) {
            Some(at) => groups[at].push(model),
            None => groups.push(vec![model]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a line; the first model is good on the right, the second on the left.
    fn line(count: usize) -> (Vec<f32>, Vec<String>, Targets) {
        let points: Vec<f32> = (0..count).map(|i| i as f32 / count as f32 * 4.0).collect();
        let right = points.iter().map(|x| Some(f64::from(u8::from(*x > 2.0)))).collect();
        let left = points.iter().map(|x| Some(f64::from(u8::from(*x <= 2.0)))).collect();
        (points, vec!["right".into(), "left".into()], vec![right, left])
    }

    #[test]
    fn each_model_is_foretold_where_it_is_good() {
        let (points, models, targets) = line(60);
        let fit = KernelRidge::fit(&points, 1, &models, &targets).unwrap();
        let at = |x: f32| fit.ridge.likeness(&[x]);
        assert!(fit.ridge.predict("right", &at(3.5)).unwrap() > 0.8);
        assert!(fit.ridge.predict("right", &at(0.5)).unwrap() < 0.2);
        assert!(fit.ridge.predict("left", &at(0.5)).unwrap() > 0.8);
        assert_eq!(fit.ridge.predict("unknown", &at(0.5)), None);
        assert!(fit.error < 0.1, "{}", fit.error);
    }

    #[test]
    fn a_prediction_left_out_is_that_of_a_fit_without_the_record() {
        let (points, models, targets) = line(40);
        let fit = KernelRidge::fit(&points, 1, &models, &targets).unwrap();
        let mut without = targets.clone();
        for model in &mut without {
            model[7] = None;
        }
        let again = KernelRidge::fit(&points, 1, &models, &without).unwrap();
        let expected = again.ridge.predict("left", &again.ridge.likeness(&points[7..8])).unwrap();
        // The base moves a little with the record, which the formula does not follow.
        assert!((fit.left_out[1][7].unwrap() - expected).abs() < 0.05);
    }

    #[test]
    fn a_label_learned_later_counts_as_one_that_was_there() {
        let (points, models, targets) = line(40);
        let mut ridge = KernelRidge::fit(&points, 1, &models, &targets).unwrap().ridge;
        let before = ridge.predict("left", &ridge.likeness(&[1.0])).unwrap();
        let likeness = ridge.likeness(&[1.0]);
        for _ in 0..50 {
            ridge.update("left", &likeness, 0.0);
        }
        let after = ridge.predict("left", &ridge.likeness(&[1.0])).unwrap();
        assert!(after < before / 3.0, "{before} -> {after}");
        let other = ridge.predict("right", &ridge.likeness(&[1.0])).unwrap();
        let fresh = KernelRidge::fit(&points, 1, &models, &targets).unwrap().ridge;
        let unchanged = fresh.predict("right", &likeness).unwrap();
        assert!((other - unchanged).abs() < f64::EPSILON, "the other model learned nothing");
    }
}
