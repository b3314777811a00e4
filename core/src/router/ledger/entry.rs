//! What stands in the ledger, and sums of it.

use serde::{Deserialize, Serialize};

use crate::{
    model::{ServiceTier, Usage},
    money::{Day, NanoUsd},
    router::{BreakerState, CacheHit, RouteRequest},
};

/// One call, or what a failed or dropped attempt of one cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// The id of the reply; attempts that failed before it have the same.
    pub id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who it was for; empty for none.
    pub tenant: String,
    /// The caller's name of the task.
    pub tag: Option<String>,
    /// The model.
    pub model: String,
    /// The name of the key that paid, never the key itself. Of several keys of one name the second is `NAME#2`, and so on.
    pub key: Option<String>,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the request that the provider had cached.
    pub cached_tokens: u64,
    /// Tokens of the request that the provider put into its cache for some minutes.
    pub cache_write_tokens: u64,
    /// Tokens of the request that the provider put into its cache for an hour or longer.
    pub cache_write_1h_tokens: u64,
    /// Tokens of the request that are images.
    pub image_input_tokens: u64,
    /// Tokens written, thoughts included.
    pub output_tokens: u64,
    /// Tokens of the answer that the model thought and did not say.
    pub reasoning_tokens: u64,
    /// Tokens of the answer that are images.
    pub image_output_tokens: u64,
    /// Images made, where images are priced each.
    pub images: u64,
    /// How the provider served it.
    pub tier: ServiceTier,
    /// What it cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the reference model; nothing for an attempt that failed.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
    /// From the moment the money for it was held to the last token, in milliseconds.
    pub latency_ms: u64,
    /// Whether it is an attempt without an answer.
    pub failed: bool,
    /// Whether it was asked beside the model that answered, see the setting `learning.shadow`; it counts as `failed`, since
    /// its answer was not given out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
    /// Whether the provider did not say what it took: tokens and cost are then as high as they can be, or as far as the
    /// answer had come.
    pub estimated: bool,
    /// How the answer was found, when it had been given before: no model was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_hit: Option<CacheHit>,
    /// What the choice of the model was made from; of calls that a router decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl LedgerEntry {
    /// Its tokens.
    pub fn usage(&self) -> Usage {
        Usage {
            cached_tokens: self.cached_tokens,
            cache_write_tokens: self.cache_write_tokens,
            cache_write_1h_tokens: self.cache_write_1h_tokens,
            image_input_tokens: self.image_input_tokens,
            reasoning_tokens: self.reasoning_tokens,
            image_output_tokens: self.image_output_tokens,
            images: self.images,
            tier: self.tier,
            ..Usage::of(self.input_tokens, self.output_tokens)
        }
    }

    /// With the tokens of `usage`.
    #[must_use]
    pub(in crate::router) fn took(mut self, usage: &Usage) -> Self {
        self.input_tokens = usage.input_tokens;
        self.cached_tokens = usage.cached_tokens;
        self.cache_write_tokens = usage.cache_write_tokens;
        self.cache_write_1h_tokens = usage.cache_write_1h_tokens;
        self.image_input_tokens = usage.image_input_tokens;
        self.output_tokens = usage.output_tokens;
        self.reasoning_tokens = usage.reasoning_tokens;
        self.image_output_tokens = usage.image_output_tokens;
        self.images = usage.images;
        self.tier = usage.tier;
        self
    }
}

/// What a router decided from: enough to let another one decide again, see [`Replay`](super::Replay).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Decision {
    /// What it was asked.
    pub request: RouteRequest,
    /// The models there were.
    pub candidates: Vec<Candidate>,
}

impl Decision {
    /// The same without the words that it was made from: they stay no longer than a reply can be judged.
    pub(in crate::router) fn without_prompt(mut self) -> Self {
        (self.request.prompt, self.request.embedding) = (None, None);
        self
    }
}

/// A model that could have been chosen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Candidate {
    /// Its id.
    pub model: String,
    /// Tokens of the request as it counts them.
    pub input_tokens: u64,
    /// Tokens the answer could have on it.
    pub max_output_tokens: u64,
    /// The most the call could cost on it.
    pub max_cost: NanoUsd,
    /// How good its answers are, 0 to 1, as far as it was known.
    pub quality: Option<f64>,
    /// Whether it could be tried.
    pub breaker: BreakerState,
    /// When it was to be tried: 1 for the first; none for a model that was passed over.
    pub turn: Option<u32>,
    /// Why.
    pub reason: String,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LedgerQuery {
    /// Of this tenant; all when absent.
    pub tenant: Option<String>,
    /// Of this task; all when absent.
    pub tag: Option<String>,
    /// Of this model; all when absent.
    pub model: Option<String>,
    /// Paid with the key of this name; all when absent.
    pub key: Option<String>,
    /// From this time on, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// Before this time, in milliseconds since the Unix epoch.
    pub until_ms: Option<u64>,
    /// At most this many, newest first. Default 100 for entries, all for sums and replays.
    pub limit: Option<usize>,
}

impl LedgerQuery {
    /// Whether `entry` is one of them, whatever the limit.
    pub fn fits(&self, entry: &LedgerEntry) -> bool {
        let is = |asked: &Option<String>, own: Option<&str>| asked.as_deref().is_none_or(|asked| Some(asked) == own);
        is(&self.tenant, Some(&entry.tenant))
            && is(&self.tag, entry.tag.as_deref())
            && is(&self.model, Some(&entry.model))
            && is(&self.key, entry.key.as_deref())
            && self.since_ms.is_none_or(|since| entry.at_ms >= since)
            && self.until_ms.is_none_or(|until| entry.at_ms < until)
    }
}

/// What entries are summed up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LedgerGroup {
    /// Who they were for.
    Tenant,
    /// The caller's name of the task.
    Tag,
    /// The model.
    Model,
    /// The name of the key that paid.
    Key,
    /// The day in UTC.
    Day,
}

impl LedgerGroup {
    /// The group of `entry`; empty for none.
    pub fn of(self, entry: &LedgerEntry) -> String {
        match self {
            Self::Tenant => entry.tenant.clone(),
            Self::Tag => entry.tag.clone().unwrap_or_default(),
            Self::Model => entry.model.clone(),
            Self::Key => entry.key.clone().unwrap_or_default(),
            Self::Day => Day::of_ms(entry.at_ms).to_string(),
        }
    }
}

/// Sums over entries. Attempts that failed are apart, but for their cost: what was spent, was spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LedgerTotals {
    /// Calls that were answered.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens of requests that providers had cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What all cost, failed attempts too.
    pub cost: NanoUsd,
    /// What the answered calls would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
    /// Attempts without an answer that cost something.
    pub failed: u64,
    /// What these cost: part of `cost`.
    pub wasted: NanoUsd,
    /// Tokens that these read and wrote; in none of the sums of tokens above.
    pub wasted_tokens: u64,
}

impl LedgerTotals {
    pub(super) fn add(&mut self, entry: &LedgerEntry) {
        self.cost = self.cost + entry.cost;
        self.reference_cost = self.reference_cost + entry.reference_cost;
        self.saved = self.saved + entry.saved;
        if entry.failed {
            self.failed += 1;
            self.wasted = self.wasted + entry.cost;
            self.wasted_tokens =
                self.wasted_tokens.saturating_add(entry.input_tokens.saturating_add(entry.output_tokens));
            return;
        }
        self.calls += 1;
        self.input_tokens = self.input_tokens.saturating_add(entry.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(entry.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(entry.output_tokens);
    }
}

/// Sums over the entries of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LedgerGroupTotals {
    /// The tenant, tag, model, key or day; empty for none.
    pub group: String,
    /// The sums.
    pub totals: LedgerTotals,
}
