//! What the prompts most like a new one came to: the k nearest neighbours in the history, beside the regression.
//!
//! They have a share of the prediction only where the records say clearly that it is better with them: the regression is on
//! the likeness to landmarks already, and a share that chance has chosen makes it worse.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    kernel::{Targets, contrast_error},
    matrix::dot,
    packed, seed,
};

/// Prompts of the history that are looked through, newest first: a decision must stay fast.
const HISTORY: usize = 2048;

/// Neighbours that vote, at most, and at most one in so many prompts.
const MOST: usize = 50;
const ONE_IN: usize = 8;

/// Shares of the prediction that are tried.
const SHARES: [f64; 2] = [0.25, 0.5];

/// Records on which shares are compared.
const COMPARED: usize = 1024;

/// Standard errors by which the squared error must be less with neighbours than without.
const CLEARLY: f64 = 2.0;

/// Prompts of the history as points, and how each model did on them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Neighbours {
    width: usize,
    /// Their part of the prediction; the regression has the rest.
    share: f64,
    #[serde(with = "packed::shared_f32s")]
    points: Arc<Vec<f32>>,
    /// By model; no number where it was not asked.
    models: BTreeMap<String, Targets32>,
    /// Where the next prompt goes once the history is full.
    oldest: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct Targets32 {
    #[serde(with = "packed::f32s")]
    by_point: Vec<f32>,
}

impl Neighbours {
    /// Those of `points`, `width` long each, with `targets` by model and then point; nothing when a prediction is not
    /// clearly better with them. `left_out` is what the regression foretells of each point from the others; their share is
    /// added to it.
    pub(super) fn fit(
        points: &[f32],
        width: usize,
        models: &[String],
        targets: &Targets,
        left_out: &mut Targets,
    ) -> Option<Self> {
        let count = points.len().checked_div(width)?;
        let first = count.saturating_sub(HISTORY);
        let by_point =
            |model: usize| targets[model][first..].iter().map(|target| target.map_or(f32::NAN, |t| t as f32));
        let kept = models.iter().enumerate().map(|(at, model)| {
            let by_point = by_point(at).collect();
            (model.clone(), Targets32 { by_point })
        });
        let mut all = Self {
            width,
            share: 0.0,
            points: Arc::new(points[first * width..].to_vec()),
            models: kept.collect(),
            oldest: 0,
        };
        let vote = |record: usize| -> Vec<Option<f64>> {
            let near = all.near(&points[record * width..(record + 1) * width], record.checked_sub(first));
            models.iter().map(|model| all.vote(model, &near)).collect()
        };
        let compared = seed::sample(count, COMPARED);
        let votes: Vec<_> = compared.iter().map(|record| vote(*record)).collect();
        let blend = |own: Option<f64>, vote: Option<f64>, share: f64| Some(own? + share * (vote? - own?));
        let gain = |share: f64| -> (f64, f64) {
            let gains: Vec<f64> = compared
                .iter()
                .zip(&votes)
                .map(|(record, votes)| {
                    let own: Vec<_> = left_out.iter().map(|model| model[*record]).collect();
                    let both: Vec<_> = own.iter().zip(votes).map(|(own, vote)| blend(*own, *vote, share)).collect();
                    let target: Vec<_> = targets.iter().map(|model| model[*record]).collect();
                    contrast_error(&target, &own) - contrast_error(&target, &both)
                })
                .collect();
            let n = gains.len().max(2) as f64;
            let mean = gains.iter().sum::<f64>() / n;
            let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (n - 1.0);
            (mean, (variance / n).sqrt())
        };
        let clear =
            SHARES.iter().map(|share| (gain(*share), *share)).filter(|((mean, error), _)| *mean > CLEARLY * error);
        let ((_, _), share) = clear.max_by(|a, b| a.0.0.total_cmp(&b.0.0))?;
        let votes: Vec<_> = (0..count).map(vote).collect();
        for (model, foretold) in left_out.iter_mut().enumerate() {
            for (own, votes) in foretold.iter_mut().zip(&votes) {
                *own = blend(*own, votes[model], share).or(*own);
            }
        }
        all.share = share;
        Some(all)
    }

    /// The points of the history, nearest first, without the one at `but`.
    pub(super) fn near(&self, point: &[f32], but: Option<usize>) -> Vec<u32> {
        let distance = |(at, other): (usize, &[f32])| (dot(other, other) / 2.0 - dot(point, other), at as u32);
        let mut all: Vec<_> = self.points.chunks_exact(self.width).enumerate().map(distance).collect();
        all.retain(|(_, at)| Some(*at as usize) != but);
        all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        all.into_iter().map(|(_, at)| at).collect()
    }

    /// The mean of the nearest that `model` was asked; nothing when there are none.
    fn vote(&self, model: &str, near: &[u32]) -> Option<f64> {
        let targets = &self.models.get(model)?.by_point;
        let most = (near.len() / ONE_IN).clamp(1, MOST);
        let asked = near.iter().filter_map(|at| targets.get(*at as usize).filter(|target| !target.is_nan()));
        let (sum, count) =
            asked.take(most).fold((0.0, 0.0), |(sum, count), target| (sum + f64::from(*target), count + 1.0));
        (count > 0.0).then(|| sum / count)
    }

    /// `regression` with the share that neighbours have of the prediction.
    pub(super) fn blend(&self, regression: f64, model: &str, near: &[u32]) -> f64 {
        self.vote(model, near).map_or(regression, |vote| regression + self.share * (vote - regression))
    }

    /// Takes one more prompt in, with what came of it; the oldest makes way.
    pub(super) fn add(&mut self, point: &[f32], outcomes: &[(&str, f64)]) {
        let count = self.points.len() / self.width;
        let points = Arc::make_mut(&mut self.points);
        let at = if count < HISTORY {
            points.extend_from_slice(point);
            count
        } else {
            let at = self.oldest % HISTORY;
            points[at * self.width..(at + 1) * self.width].copy_from_slice(point);
            self.oldest = (at + 1) % HISTORY;
            at
        };
        for (model, _) in outcomes {
            self.models.entry((*model).to_owned()).or_default();
        }
        for (model, targets) in &mut self.models {
            let target =
                outcomes.iter().find(|(asked, _)| asked == model).map_or(f32::NAN, |(_, target)| *target as f32);
            targets.by_point.resize(targets.by_point.len().max(at + 1), f32::NAN);
            targets.by_point[at] = target;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four hundred points on a line, good and bad by turns of forty: too many turns for a smooth regression.
    fn turns() -> (Vec<f32>, Vec<String>, Targets) {
        let points: Vec<f32> = (0..400).map(|i| i as f32).collect();
        let targets = (0..400).map(|i| Some(f64::from(u8::from(i / 80 % 2 == 0)))).collect();
        (points, vec!["m".into()], vec![targets])
    }

    #[test]
    fn neighbours_have_a_share_where_they_know_better_and_none_where_they_do_not() {
        let (points, models, targets) = turns();
        let mut guess = vec![vec![Some(0.5); 400]];
        let neighbours = Neighbours::fit(&points, 1, &models, &targets, &mut guess).unwrap();
        let near = neighbours.near(&[40.0], None);
        assert_eq!(near[0], 40);
        assert!(neighbours.blend(0.5, "m", &near) > 0.7, "half of it is their vote");
        assert!(guess[0][40].unwrap() > 0.7 && guess[0][120].unwrap() < 0.3, "what is foretold has their share");
        assert!((neighbours.blend(0.5, "unknown", &near) - 0.5).abs() < f64::EPSILON);
        let mut exact = targets.clone();
        assert!(Neighbours::fit(&points, 1, &models, &targets, &mut exact).is_none(), "it is better without them");
        assert_eq!(exact, targets);
    }

    #[test]
    fn a_prompt_added_later_votes_and_the_oldest_makes_way() {
        let (points, models, targets) = turns();
        let mut guess = vec![vec![Some(0.5); 400]];
        let mut neighbours = Neighbours::fit(&points, 1, &models, &targets, &mut guess).unwrap();
        for _ in 0..HISTORY {
            neighbours.add(&[1000.0], &[("new", 1.0)]);
        }
        assert_eq!(neighbours.points.len(), HISTORY);
        let near = neighbours.near(&[1000.0], None);
        assert!((neighbours.blend(0.0, "new", &near) - neighbours.share).abs() < 1e-6);
        assert!((neighbours.blend(0.3, "m", &near) - 0.3).abs() < f64::EPSILON, "its prompts are all gone");
    }
}
