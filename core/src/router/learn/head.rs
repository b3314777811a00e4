//! What quality each model would give on a prompt, learned from labelled prompts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Record,
    clusters::Clusters,
    features::{PROMPT_FEATURES, prompt_features},
    kernel::{Fit, KernelRidge, Targets},
    neighbours::Neighbours,
    packed,
    prior::{Kind, Prior},
};
use crate::error::{Error, Result};

/// Records from which on prompts are looked at; with fewer, only means are learned.
const ENOUGH: usize = 30;

/// Inverse squared lengths of scale that are tried, of embeddings and of features. The best by leaving one out is
/// taken.
const SHARPNESS: [f32; 2] = [0.5, 1.0];

/// Standard deviations beyond which a feature says no more.
const FURTHEST: f32 = 4.0;

/// Foretells the quality of each model on a prompt: a prior by its tag, or without one by the cluster of its embedding (see
/// `Prior` and `Clusters`), and a regression on what is like the prompt (see `KernelRidge`), of its embedding and
/// [`PROMPT_FEATURES`] numbers of its text. With a tag the regression is of what the tag does not explain. Without one, and
/// where the records say clearly that it helps, the nearest prompts of the history have a share (see `Neighbours`).
///
/// It is trained whole by [`QualityHead::train`] and takes further labels one by one in microseconds to a
/// millisecond by [`QualityHead::learn`]. Predictions for twenty models take tens of microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QualityHead {
    prior: Prior,
    #[serde(default)]
    clusters: Option<Clusters>,
    untagged: Option<Likeness>,
    tagged: Option<Likeness>,
}

/// What a head says of a model on a prompt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The expected quality, 0 to 1.
    pub quality: f64,
    /// Labels that the model has on the tag of the prompt; on everything when it has none.
    pub labels: u64,
}

/// By record, then model: what was foretold of it from the other records.
pub(super) type LeftOut = Vec<BTreeMap<String, f64>>;

/// A regression, how a prompt becomes a point in it, and the points of the history.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Likeness {
    space: Space,
    ridge: KernelRidge,
    #[serde(default)]
    neighbours: Option<Neighbours>,
}

/// What a prompt is like.
struct Near {
    likeness: Vec<f64>,
    neighbours: Vec<u32>,
}

impl QualityHead {
    /// Learns from `records`. Deterministic: the same records in the same order give the same head.
    ///
    /// # Errors
    /// `Invalid` when a record is (see [`Record::validate`]), or when embeddings differ in length.
    pub fn train(records: &[Record]) -> Result<Self> {
        Ok(Self::train_left_out(records)?.0)
    }

    /// As [`Self::train`], with what each record was foretold from the others, by its tag if it has one.
    pub(super) fn train_left_out(records: &[Record]) -> Result<(Self, LeftOut)> {
        records.iter().try_for_each(Record::validate)?;
        let mut lengths = records.iter().filter_map(|record| record.embedding.as_ref().map(Vec::len));
        let first = lengths.next();
        if let Some(other) = first.and_then(|first| lengths.find(|length| *length != first)) {
            let first = first.unwrap_or_default();
            return Err(Error::invalid(format!(
                "some embeddings have {first} numbers and some {other}; embed all prompts with one embedder"
            )));
        }
        // Where some prompts have an embedding, the others say too little to stand beside them.
        let seen: Vec<_> = (0..records.len()).filter(|i| records[*i].embedding.is_some() == first.is_some()).collect();
        let vectors: Vec<_> = seen.iter().filter_map(|record| records[*record].embedding.as_deref()).collect();
        let mut head = Self { clusters: Clusters::of(&vectors), ..Self::default() };
        let kinds: Vec<_> =
            records.iter().map(|record| head.kind(record.tag.as_deref(), record.embedding.as_deref())).collect();
        for (record, kind) in records.iter().zip(&kinds) {
            for (model, outcome) in &record.outcomes {
                head.prior.add(*kind, model, outcome.quality);
            }
        }
        let models: Vec<_> = head.prior.models().map(str::to_owned).collect();
        let quality = |model: &str, record: usize| records[record].outcomes.get(model).map(|outcome| outcome.quality);
        let prior = &head.prior;
        let without_own = |model: &str, record: usize| {
            quality(model, record).and_then(|quality| prior.quality_without(kinds[record], model, quality))
        };
        let has_tags = records.iter().any(|record| record.tag.is_some());
        let (mut untagged, mut tagged) = (None, None);
        if seen.len() >= ENOUGH {
            let inputs: Vec<_> =
                seen.iter().map(|i| Input::of(&records[*i].prompt, records[*i].embedding.as_deref())).collect();
            untagged = best_fit(&inputs, &models, &by_model(&models, &seen, quality), true);
            if has_tags {
                let more = |model: &str, record| Some(quality(model, record)? - without_own(model, record)?);
                tagged = best_fit(&inputs, &models, &by_model(&models, &seen, more), false);
            }
        }
        let left_out = |fit: &Option<(Likeness, Targets)>, model: usize, record: usize| {
            fit.as_ref()?.1.get(model)?[seen.binary_search(&record).ok()?]
        };
        let foretold = (0..records.len()).map(|record| {
            let of = |(at, model): (usize, &String)| {
                let by_kind = without_own(model, record)?;
                let more = records[record].tag.as_ref().and_then(|_| left_out(&tagged, at, record));
                Some((model.clone(), expected(by_kind, left_out(&untagged, at, record), more)))
            };
            models.iter().enumerate().filter_map(of).collect()
        });
        let foretold = foretold.collect();
        head.untagged = untagged.map(|(likeness, _)| likeness);
        head.tagged = tagged.map(|(likeness, _)| likeness);
        Ok((head, foretold))
    }

    /// Models that it knows something of.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.prior.models()
    }

    /// What is expected of each of `models` on a prompt, nothing of those without labels. An embedding of another
    /// length than those learned from, or none where there were some, leaves only the prior.
    pub fn predict<'a>(
        &self,
        prompt: &str,
        tag: Option<&str>,
        embedding: Option<&[f32]>,
        models: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Option<Prediction>> {
        let (kind, input) = (self.kind(tag, embedding), Input::of(prompt, embedding));
        let beside_tag = tag.and(self.tagged.as_ref());
        let likeness = beside_tag.or(self.untagged.as_ref());
        let near = likeness.and_then(|likeness| likeness.near(&input));
        let predict = |model: &'a str| {
            let prior = self.prior.quality(kind, model)?;
            let foretold = likeness.zip(near.as_ref()).and_then(|(likeness, near)| likeness.predict(model, near));
            let (regression, more) = if beside_tag.is_some() { (None, foretold) } else { (foretold, None) };
            Some(Prediction { quality: expected(prior, regression, more), labels: self.prior.labels(tag, model) })
        };
        models.into_iter().map(predict).collect()
    }

    /// Takes the labels of `record` in, one update each.
    ///
    /// # Errors
    /// `Invalid` when the record is (see [`Record::validate`]).
    pub fn learn(&mut self, record: &Record) -> Result<()> {
        record.validate()?;
        let input = Input::of(&record.prompt, record.embedding.as_deref());
        let kind = self.kind(record.tag.as_deref(), record.embedding.as_deref());
        let outcomes: Vec<_> =
            record.outcomes.iter().map(|(model, outcome)| (model.as_str(), outcome.quality)).collect();
        let beside_tag: Vec<_> = outcomes
            .iter()
            .filter_map(|(model, quality)| Some((*model, quality - self.prior.quality(kind, model)?)))
            .collect();
        if let Some(likeness) = &mut self.untagged {
            likeness.learn(&input, &outcomes);
        }
        if let Some(likeness) = &mut self.tagged {
            likeness.learn(&input, &beside_tag);
        }
        for (model, quality) in outcomes {
            self.prior.add(kind, model, quality);
        }
        Ok(())
    }

    fn kind<'k>(&self, tag: Option<&'k str>, embedding: Option<&[f32]>) -> Kind<'k> {
        let cluster = self.clusters.as_ref().zip(embedding).and_then(|(clusters, vector)| clusters.nearest(vector));
        Kind { tag, cluster }
    }
}

/// The expected quality, of the prior by kind, and what regression foretells: the value itself, or more than the prior.
fn expected(prior: f64, regression: Option<f64>, more: Option<f64>) -> f64 {
    more.map_or(regression.unwrap_or(prior), |more| prior + more).clamp(0.0, 1.0)
}

fn by_model(models: &[String], seen: &[usize], target: impl Fn(&str, usize) -> Option<f64>) -> Targets {
    models.iter().map(|model| seen.iter().map(|record| target(model, *record)).collect()).collect()
}

/// The fit with the sharpness that foretells best, and what it foretold of each record from the others.
fn best_fit(
    inputs: &[Input<'_>],
    models: &[String],
    targets: &Targets,
    with_neighbours: bool,
) -> Option<(Likeness, Targets)> {
    let fits = SHARPNESS.iter().filter_map(|sharpness| {
        let space = Space::of(inputs, *sharpness);
        let points: Option<Vec<_>> = inputs.iter().map(|input| space.point(input)).collect();
        let points = points?.concat();
        let fit = KernelRidge::fit(&points, space.width(), models, targets)?;
        Some((fit, space, points))
    });
    let (fit, space, points) = fits.min_by(|a, b| a.0.error.total_cmp(&b.0.error))?;
    let Fit { ridge, mut left_out, .. } = fit;
    // Without embeddings, features are few: what is near in them is near by chance.
    let neighbours = (with_neighbours && !space.embedding_mean.is_empty())
        .then(|| Neighbours::fit(&points, space.width(), models, targets, &mut left_out))
        .flatten();
    Some((Likeness { space, ridge, neighbours }, left_out))
}

impl Likeness {
    fn near(&self, input: &Input<'_>) -> Option<Near> {
        let point = self.space.point(input)?;
        let neighbours = self.neighbours.as_ref().map(|history| history.near(&point, None)).unwrap_or_default();
        Some(Near { likeness: self.ridge.likeness(&point), neighbours })
    }

    fn predict(&self, model: &str, near: &Near) -> Option<f64> {
        let regression = self.ridge.predict(model, &near.likeness)?;
        let history = self.neighbours.as_ref();
        Some(history.map_or(regression, |history| history.blend(regression, model, &near.neighbours)))
    }

    fn learn(&mut self, input: &Input<'_>, targets: &[(&str, f64)]) {
        let Some(point) = self.space.point(input) else { return };
        let likeness = self.ridge.likeness(&point);
        for (model, target) in targets {
            self.ridge.update(model, &likeness, *target);
        }
        if let Some(history) = &mut self.neighbours {
            history.add(&point, targets);
        }
    }
}

struct Input<'a> {
    features: [f32; PROMPT_FEATURES],
    embedding: &'a [f32],
}

impl<'a> Input<'a> {
    fn of(prompt: &str, embedding: Option<&'a [f32]>) -> Self {
        Self { features: prompt_features(prompt), embedding: embedding.unwrap_or_default() }
    }
}

/// Where a prompt lies, so that the squared distance of two is about `4 · sharpness` in the mean: half of it from
/// their embeddings, half from their features.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Space {
    #[serde(with = "packed::f32s")]
    embedding_mean: Vec<f32>,
    embedding_scale: f32,
    #[serde(with = "packed::f32s")]
    feature_mean: Vec<f32>,
    #[serde(with = "packed::f32s")]
    feature_scale: Vec<f32>,
    sharpness: f32,
}

impl Space {
    fn of(inputs: &[Input<'_>], sharpness: f32) -> Self {
        let count = inputs.len().max(1) as f32;
        let mut embedding_mean = vec![0.0; inputs.first().map_or(0, |input| input.embedding.len())];
        for input in inputs {
            embedding_mean.iter_mut().zip(input.embedding).for_each(|(sum, part)| *sum += part / count);
        }
        let spread = inputs.iter().flat_map(|input| input.embedding.iter().zip(&embedding_mean));
        let spread = spread.map(|(part, mean)| (part - mean).powi(2)).sum::<f32>() / count;
        let (mut feature_mean, mut feature_scale) = (Vec::new(), Vec::new());
        for at in 0..PROMPT_FEATURES {
            let mean = inputs.iter().map(|input| input.features[at]).sum::<f32>() / count;
            let variance = inputs.iter().map(|input| (input.features[at] - mean).powi(2)).sum::<f32>() / count;
            feature_mean.push(mean);
            // A feature that is the same for all says nothing, whatever a later prompt has there.
            feature_scale.push(if variance > 1e-9 { (PROMPT_FEATURES as f32 * variance).sqrt().recip() } else { 0.0 });
        }
        let embedding_scale = if spread > 1e-12 { spread.sqrt().recip() } else { 0.0 };
        Self { embedding_mean, embedding_scale, feature_mean, feature_scale, sharpness: sharpness.sqrt() }
    }

    fn width(&self) -> usize {
        self.embedding_mean.len() + self.feature_mean.len()
    }

    fn point(&self, input: &Input<'_>) -> Option<Vec<f32>> {
        if input.embedding.len() != self.embedding_mean.len() {
            return None;
        }
        let furthest = FURTHEST / (PROMPT_FEATURES as f32).sqrt();
        let embedding =
            input.embedding.iter().zip(&self.embedding_mean).map(|(part, mean)| (part - mean) * self.embedding_scale);
        let features = input.features.iter().zip(self.feature_mean.iter().zip(&self.feature_scale));
        let features = features.map(|(feature, (mean, scale))| ((feature - mean) * scale).clamp(-furthest, furthest));
        Some(embedding.chain(features).map(|part| part * self.sharpness).collect())
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
