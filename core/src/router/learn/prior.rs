//! How good each model is on a kind of task, before the prompt is looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// As many labels as the mean over all tags weighs against the labels of one tag.
const SHRINKAGE: f64 = 20.0;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sum {
    quality: f64,
    labels: f64,
}

impl Sum {
    fn add(&mut self, quality: f64) {
        self.quality += quality;
        self.labels += 1.0;
    }

    /// The mean, drawn to `towards` as if [`SHRINKAGE`] labels said it.
    fn drawn(self, towards: f64) -> f64 {
        (self.quality + SHRINKAGE * towards) / (self.labels + SHRINKAGE)
    }
}

/// What kind of task a prompt is: by its caller's tag, or, when there is none or nothing is known of it, by what its vector
/// is like.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kind<'a> {
    pub(super) tag: Option<&'a str>,
    pub(super) cluster: Option<u32>,
}

/// The posterior mean of the quality of a model on a kind of task: that of a normal mean whose own prior is the model's
/// mean over everything.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Prior {
    models: BTreeMap<String, Sum>,
    tags: BTreeMap<String, BTreeMap<String, Sum>>,
    #[serde(default)]
    clusters: BTreeMap<u32, BTreeMap<String, Sum>>,
}

impl Prior {
    pub(super) fn add(&mut self, kind: Kind<'_>, model: &str, quality: f64) {
        self.models.entry(model.to_owned()).or_default().add(quality);
        if let Some(tag) = kind.tag {
            self.tags.entry(tag.to_owned()).or_default().entry(model.to_owned()).or_default().add(quality);
        }
        if let Some(cluster) = kind.cluster {
            self.clusters.entry(cluster).or_default().entry(model.to_owned()).or_default().add(quality);
        }
    }

    /// What is expected of `model` on `kind`; nothing of a model that has no labels. A kind that was never seen, or
    /// none, gives the mean over everything.
    pub(super) fn quality(&self, kind: Kind<'_>, model: &str) -> Option<f64> {
        let all = self.models.get(model)?;
        let mean = all.quality / all.labels;
        Some(self.of_kind(kind, model).map_or(mean, |sum| sum.drawn(mean)))
    }

    /// As [`Self::quality`], without one label that is in it.
    pub(super) fn quality_without(&self, kind: Kind<'_>, model: &str, label: f64) -> Option<f64> {
        let all = self.models.get(model)?;
        let mean = (all.quality - label + 0.5) / all.labels;
        let without = |sum: Sum| Sum { quality: sum.quality - label, labels: sum.labels - 1.0 };
        Some(self.of_kind(kind, model).map_or(mean, |sum| without(sum).drawn(mean)))
    }

    /// Labels of `model` on `tag`, on everything when there is none.
    pub(super) fn labels(&self, tag: Option<&str>, model: &str) -> u64 {
        let sum = if tag.is_some() { self.of_tag(tag, model) } else { self.models.get(model).copied() };
        sum.map_or(0, |sum| sum.labels as u64)
    }

    /// Models with labels.
    pub(super) fn models(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    fn of_kind(&self, kind: Kind<'_>, model: &str) -> Option<Sum> {
        let of_cluster = || self.clusters.get(&kind.cluster?)?.get(model).copied();
        self.of_tag(kind.tag, model).or_else(of_cluster)
    }

    fn of_tag(&self, tag: Option<&str>, model: &str) -> Option<Sum> {
        self.tags.get(tag?)?.get(model).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(tag: &str) -> Kind<'_> {
        Kind { tag: Some(tag), cluster: None }
    }

    #[test]
    fn a_tag_with_few_labels_is_drawn_to_the_mean_over_everything() {
        let mut prior = Prior::default();
        (0..100).for_each(|i| prior.add(tag("sums"), "small", f64::from(i % 2)));
        (0..20).for_each(|_| prior.add(tag("rare"), "small", 1.0));
        let mean = 70.0 / 120.0;
        assert_eq!(prior.quality(Kind::default(), "small"), Some(mean));
        assert_eq!(prior.quality(tag("never seen"), "small"), Some(mean));
        let rare = prior.quality(tag("rare"), "small").unwrap();
        assert!((rare - (20.0 + 20.0 * mean) / 40.0).abs() < 1e-12);
        assert!(prior.quality_without(tag("rare"), "small", 1.0).unwrap() < rare);
        assert_eq!(prior.quality(tag("rare"), "unknown"), None);
        assert_eq!((prior.labels(Some("rare"), "small"), prior.labels(None, "small")), (20, 120));
    }

    #[test]
    fn a_cluster_stands_for_the_tag_that_nobody_gave() {
        let mut prior = Prior::default();
        let kind = |tag, cluster| Kind { tag, cluster: Some(cluster) };
        (0..40).for_each(|_| prior.add(kind(Some("sums"), 1), "small", 0.0));
        (0..40).for_each(|_| prior.add(kind(None, 2), "small", 1.0));
        let quality = |tag, cluster| prior.quality(kind(tag, cluster), "small").unwrap();
        assert!(quality(None, 1) < 0.2 && quality(None, 2) > 0.8);
        assert!((quality(None, 3) - 0.5).abs() < f64::EPSILON, "never seen");
        assert!(quality(Some("sums"), 2) < 0.2, "the caller knows better");
        assert!(quality(Some("never seen"), 2) > 0.8);
    }
}
