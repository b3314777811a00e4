//! Facts about a model that routing and budgets need.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{RateLimit, Usage};
use crate::{
    error::{Error, Result},
    money::NanoUsd,
};

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
    /// What it may be asked in a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// Longest time until it begins to answer in milliseconds, where that is not the router's `first_token_timeout_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_timeout_ms: Option<u64>,
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
            rate_limit: None,
            first_token_timeout_ms: None,
        }
    }
}

/// Nano-dollars for a million tokens, so that every published price is an integer. Never negative: a call would give
/// money to a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// For a million tokens read.
    #[serde(deserialize_with = "not_negative")]
    pub input: NanoUsd,
    /// For a million tokens read from the provider's cache.
    #[serde(deserialize_with = "not_negative")]
    pub cached: NanoUsd,
    /// For a million tokens written.
    #[serde(deserialize_with = "not_negative")]
    pub output: NanoUsd,
}

const NEGATIVE: &str = "a price is not negative; correct the `price` of the model";

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NanoUsd, D::Error> {
    let price = NanoUsd::deserialize(deserializer)?;
    if price < NanoUsd::ZERO { Err(D::Error::custom(NEGATIVE)) } else { Ok(price) }
}

impl Price {
    /// Checks that nothing has a negative price.
    ///
    /// # Errors
    /// `Invalid` when something has.
    pub fn validate(&self) -> Result<()> {
        if [self.input, self.cached, self.output].iter().all(|price| *price >= NanoUsd::ZERO) {
            return Ok(());
        }
        Err(Error::invalid(NEGATIVE))
    }

    /// What `usage` costs, rounded up to the nano-dollar: never less than billed.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let cached = usage.cached_tokens.min(usage.input_tokens);
        let fresh = usage.input_tokens - cached;
        let millionths = [(self.input, fresh), (self.cached, cached), (self.output, usage.output_tokens)]
            .iter()
            .map(|(price, tokens)| i128::from(price.0) * i128::from(*tokens))
            .sum::<i128>();
        let nano = (millionths + 999_999).div_euclid(1_000_000);
        NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_price_is_refused() {
        let price = Price { cached: NanoUsd(-1), ..Price::default() };
        assert!(price.validate().is_err() && Price::default().validate().is_ok());
        let read = |json: &str| serde_json::from_str::<Price>(json);
        assert!(read(r#"{"output": -1}"#).unwrap_err().to_string().contains("not negative"));
        assert_eq!(read(r#"{"output": 1}"#).unwrap().output, NanoUsd(1));
    }

    #[test]
    fn cost_is_exact_and_rounds_up() {
        let price = Price { input: NanoUsd(150_000_000), cached: NanoUsd(75_000_000), output: NanoUsd(600_000_000) };
        let usage = Usage { input_tokens: 1000, cached_tokens: 400, output_tokens: 10 };
        assert_eq!(price.cost(&usage), NanoUsd(600 * 150 + 400 * 75 + 10 * 600));
        let tiny = Price { input: NanoUsd(1), ..Price::default() };
        assert_eq!(tiny.cost(&Usage { input_tokens: 1, ..Usage::default() }), NanoUsd(1));
        assert_eq!(tiny.cost(&Usage::default()), NanoUsd(0));
    }
}
