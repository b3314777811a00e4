//! Facts about a model that routing and budgets need.

use serde::{Deserialize, Serialize};

use super::{Price, RateLimit};
use crate::money::Day;

/// What a model is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelProfile {
    /// The name it is routed, priced and reported by; unique in a [`Triune`](crate::Triune).
    pub id: String,
    /// Whose model it is, by the OpenTelemetry names (`gen_ai.provider.name`): `triune` for local ones, `openai`,
    /// `anthropic`; `host` for one written in the host program.
    #[serde(default = "host")]
    pub provider: String,
    /// Whether prompts stay in this process.
    #[serde(default = "yes")]
    pub local: bool,
    /// Tokens of request and answer together, at most.
    pub context_length: u64,
    /// What it costs.
    #[serde(default)]
    pub price: Price,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// How good its answers are, 0 to 1, as far as known: from the configuration or learned.
    #[serde(default)]
    pub quality: Option<f64>,
    /// Time to a usual answer in milliseconds, as far as known.
    #[serde(default)]
    pub latency_ms: Option<u64>,
    /// The name of the provider's key that pays for it, never the key itself: its variable, or what the settings call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// When its provider ends it, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Day>,
    /// Of which day its price is, where it comes from a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priced_on: Option<Day>,
    /// What it may be asked in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Longest time until it begins to answer in milliseconds, where that is not the router's `first_token_timeout_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_timeout_ms: Option<u64>,
    /// What else its answers depend on, where that may change under one id: its provider's name and address, or its file.
    /// An answer that is kept is given again by the same revision only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

fn host() -> String {
    "host".into()
}

fn yes() -> bool {
    true
}

impl ModelProfile {
    /// A free local model called `id`.
    pub fn local(id: impl Into<String>, context_length: u64) -> Self {
        Self {
            id: id.into(),
            provider: "triune".into(),
            local: true,
            context_length,
            price: Price::default(),
            capabilities: Capabilities::default(),
            quality: None,
            latency_ms: None,
            key: None,
            ends: None,
            priced_on: None,
            rate_limit: None,
            first_token_timeout_ms: None,
            revision: None,
        }
    }
}

/// What a model can do beyond text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each capability is there or not, on its own")]
pub struct Capabilities {
    /// Calls tools.
    pub tools: bool,
    /// Writes JSON that fits a schema.
    pub json_schema: bool,
    /// Writes text that fits a regular expression or a grammar.
    pub grammar: bool,
    /// Reads images.
    pub images: bool,
    /// Gives log-probabilities.
    pub logprobs: bool,
    /// Reasons before it answers, for as long as it is told.
    pub reasoning: bool,
    /// Takes no temperature, top_p or top_k.
    pub fixed_sampling: bool,
}
