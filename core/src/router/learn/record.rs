//! What is learned from: prompts whose answers were judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    money::NanoUsd,
};

/// A prompt, and what models made of it. One model's outcome is enough to learn from; a router is only compared on
/// records that have the outcomes of all models.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was asked.
    pub prompt: String,
    /// The caller's name for the kind of task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The vector of the prompt. All records that have one have it from the same embedder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// The id of the embedder that made it, where the router had it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedder: Option<String>,
    /// By the ids of the models.
    pub outcomes: BTreeMap<String, Outcome>,
}

/// How one model did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// How good the answer is, 0 to 1.
    pub quality: f64,
    /// What it cost.
    #[serde(default)]
    pub cost: NanoUsd,
    /// The answer, where a verifier learns from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The part of the model's other answers that came to the same, 0 to 1, where it was asked for more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
}

impl Record {
    /// Checks that qualities and agreements lie in [0, 1], costs are not negative and the embedding is of numbers.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn validate(&self) -> Result<()> {
        for (model, outcome) in &self.outcomes {
            if !(0.0..=1.0).contains(&outcome.quality) {
                let quality = outcome.quality;
                return Err(Error::invalid(format!("the quality of \"{model}\" is {quality}; it must be in [0, 1]")));
            }
            if let Some(odd) = outcome.agreement.filter(|part| !(0.0..=1.0).contains(part)) {
                return Err(Error::invalid(format!("the agreement of \"{model}\" is {odd}; it must be in [0, 1]")));
            }
            if outcome.cost < NanoUsd::ZERO {
                return Err(Error::invalid(format!("the cost of \"{model}\" is negative; it must not be")));
            }
        }
        if self.embedding.as_ref().is_some_and(|vector| vector.iter().any(|part| !part.is_finite())) {
            return Err(Error::invalid("an embedding has a part that is no number; embed the prompt again"));
        }
        Ok(())
    }
}
