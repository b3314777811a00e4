//! What quality each model would give on a prompt, learned from labelled prompts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Record,
    features::{PROMPT_FEATURES, prompt_features},
    kernel::{Fit, KernelRidge, Targets},
    packed,
    prior::Prior,
};
use crate::error::{Error, Result};

/// Records from which on prompts are looked at; with fewer, only means are learned.
const ENOUGH: usize = 30;

/// Inverse squared lengths of scale that are tried, of embeddings and of features. The best by leaving one out is
/// taken.
const SHARPNESS: [f32; 2] = [0.5, 1.0];

/// Standard deviations beyond which a feature says no more.
const FURTHEST: f32 = 4.0;

/// Foretells the quality of each model on a prompt: a prior by tag (see `Prior`), and a regression on what is like
/// the prompt (see `KernelRidge`), of its embedding and [`PROMPT_FEATURES`] numbers of its text. With a tag the
/// regression is of what the tag does not explain.
///
/// It is trained whole by [`QualityHead::train`] and takes further labels one by one in microseconds to a
/// millisecond by [`QualityHead::learn`]. Predictions for twenty models take tens of microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct QualityHead {
    prior: Prior,
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

/// A regression, and how a prompt becomes a point in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Likeness {
    space: Space,
    ridge: KernelRidge,
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
        let mut prior = Prior::default();
        for record in records {
            for (model, outcome) in &record.outcomes {
                prior.add(record.tag.as_deref(), model, outcome.quality);
            }
        }
        let models: Vec<_> = prior.models().map(str::to_owned).collect();
        // Where some prompts have an embedding, the others say too little to stand beside them.
        let seen: Vec<_> = (0..records.len()).filter(|i| records[*i].embedding.is_some() == first.is_some()).collect();
        let quality = |model: &str, record: usize| records[record].outcomes.get(model).map(|outcome| outcome.quality);
        let without_own = |model: &str, record: usize| {
            let tag = records[record].tag.as_deref();
            quality(model, record).and_then(|quality| prior.quality_without(tag, model, quality))
        };
        let values: Targets = by_model(&models, &seen, quality);
        let has_tags = records.iter().any(|record| record.tag.is_some());
        let remainders: Targets =
            by_model(&models, &seen, |model, record| Some(quality(model, record)? - without_own(model, record)?));

        let (mut untagged, mut tagged, mut foretold) = (None, None, Vec::new());
        if seen.len() >= ENOUGH {
            let inputs: Vec<_> =
                seen.iter().map(|i| Input::of(&records[*i].prompt, records[*i].embedding.as_deref())).collect();
            let fit = best_fit(&inputs, &models, &values);
            foretold = fit.as_ref().map(|(fit, _)| fit.left_out.clone()).unwrap_or_default();
            untagged = fit.map(|(fit, space)| Likeness { space, ridge: fit.ridge });
            if has_tags {
                let fit = best_fit(&inputs, &models, &remainders);
                foretold = fit.as_ref().map(|(fit, _)| fit.left_out.clone()).unwrap_or_default();
                tagged = fit.map(|(fit, space)| Likeness { space, ridge: fit.ridge });
            }
        }
        let mut left_out: LeftOut = vec![BTreeMap::new(); records.len()];
        for (record, all) in left_out.iter_mut().enumerate() {
            let place = seen.binary_search(&record).ok();
            for (at, model) in models.iter().enumerate() {
                let Some(by_tag) = without_own(model, record) else { continue };
                let more = place.and_then(|place| foretold.get(at)?[place]);
                let value = if has_tags { by_tag + more.unwrap_or(0.0) } else { more.unwrap_or(by_tag) };
                all.insert(model.clone(), value.clamp(0.0, 1.0));
            }
        }
        Ok((Self { prior, untagged, tagged }, left_out))
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
        let likeness = self.likeness(tag, &Input::of(prompt, embedding));
        let predict = |model: &'a str| {
            let prior = self.prior.quality(tag, model)?;
            let more = likeness.as_ref().and_then(|(regression, near)| regression.ridge.predict(model, near));
            let quality = match more {
                Some(remainder) if self.tagged.is_some() && tag.is_some() => prior + remainder,
                Some(value) => value,
                None => prior,
            };
            Some(Prediction { quality: quality.clamp(0.0, 1.0), labels: self.prior.labels(tag, model) })
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
        let tag = record.tag.as_deref();
        for (model, outcome) in &record.outcomes {
            let prior = self.prior.quality(tag, model);
            if let Some(likeness) = &mut self.untagged
                && let Some(near) = likeness.near(&input)
            {
                likeness.ridge.update(model, &near, outcome.quality);
            }
            if let (Some(likeness), Some(prior)) = (&mut self.tagged, prior)
                && let Some(near) = likeness.near(&input)
            {
                likeness.ridge.update(model, &near, outcome.quality - prior);
            }
            self.prior.add(tag, model, outcome.quality);
        }
        Ok(())
    }

    /// The regression that is right for a prompt with or without `tag`, and the prompt in it.
    fn likeness(&self, tag: Option<&str>, input: &Input<'_>) -> Option<(&Likeness, Vec<f64>)> {
        let regression = if tag.is_some() && self.tagged.is_some() { &self.tagged } else { &self.untagged };
        let regression = regression.as_ref()?;
        Some((regression, regression.near(input)?))
    }
}

fn by_model(models: &[String], seen: &[usize], target: impl Fn(&str, usize) -> Option<f64>) -> Targets {
    models.iter().map(|model| seen.iter().map(|record| target(model, *record)).collect()).collect()
}

/// The fit with the sharpness that foretells best.
fn best_fit(inputs: &[Input<'_>], models: &[String], targets: &Targets) -> Option<(Fit, Space)> {
    let fits = SHARPNESS.iter().filter_map(|sharpness| {
        let space = Space::of(inputs, *sharpness);
        let points: Option<Vec<_>> = inputs.iter().map(|input| space.point(input)).collect();
        let fit = KernelRidge::fit(&points?.concat(), space.width(), models, targets)?;
        Some((fit, space))
    });
    fits.min_by(|a, b| a.0.error.total_cmp(&b.0.error))
}

impl Likeness {
    fn near(&self, input: &Input<'_>) -> Option<Vec<f64>> {
        Some(self.ridge.likeness(&self.space.point(input)?))
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
