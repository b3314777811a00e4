//! What a router decides on, and what it decides.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Needs;
use crate::{model::ModelProfile, money::NanoUsd};

/// What a router is asked.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouteRequest {
    /// Tokens of the request.
    pub input_tokens: u64,
    /// Tokens the answer may have.
    pub max_output_tokens: u64,
    /// What a model must offer.
    pub needs: Needs,
    /// What is asked, for policies that look at it: the last message of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The caller's name of the task: what is learned of a tag holds for all its prompts.
    pub tag: Option<String>,
    /// The vector of the prompt, where one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// A budget that pays is past its soft limit: among models that are good enough the cheapest goes first.
    pub thrifty: bool,
}

/// Without the prompt and its vector: prompts stay out of logs.
impl fmt::Debug for RouteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteRequest")
            .field("input_tokens", &self.input_tokens)
            .field("max_output_tokens", &self.max_output_tokens)
            .field("needs", &self.needs)
            .field("tag", &self.tag)
            .field("thrifty", &self.thrifty)
            .finish_non_exhaustive()
    }
}

/// Whether a model may be tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Yes.
    #[default]
    Closed,
    /// One call may see whether it works again.
    HalfOpen,
    /// No: it failed too often.
    Open,
}

/// A model as it is right now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelState {
    /// What it is.
    pub profile: Arc<ModelProfile>,
    /// Whether it may be tried.
    #[serde(default)]
    pub breaker: BreakerState,
    /// Tokens of the request as this model counts them; those of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens the answer may have on this model; those of the request when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
}

impl From<Arc<ModelProfile>> for ModelState {
    fn from(profile: Arc<ModelProfile>) -> Self {
        Self { profile, breaker: BreakerState::Closed, input_tokens: None, max_output_tokens: None }
    }
}

/// The models to try.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RoutePlan {
    /// Best first; each further one is a fallback.
    pub steps: Vec<RouteStep>,
    /// The others.
    pub passed_over: Vec<PassedOver>,
}

/// A model to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteStep {
    /// Its id.
    pub model: String,
    /// The most the call can cost on it.
    pub max_cost: NanoUsd,
    /// Why it stands here.
    pub reason: String,
}

/// A model not to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its id.
    pub model: String,
    /// Why not.
    pub reason: String,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RouteOutcome {
    /// The model.
    pub model: String,
    /// The error code when it failed.
    pub code: Option<String>,
    /// Time it took.
    pub latency_ms: u64,
    /// What it cost.
    pub cost: NanoUsd,
}
