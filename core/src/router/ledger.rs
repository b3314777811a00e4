//! What every call cost and saved, in the store.

use serde::{Deserialize, Serialize};

use crate::money::NanoUsd;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// The id of the reply.
    pub id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who it was for; empty for none.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the request that the provider had cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LedgerQuery {
    /// Of this tenant; all when absent.
    pub tenant: Option<String>,
    /// From this time on, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// At most this many, newest first. Default 100.
    pub limit: Option<usize>,
}

/// Sums over entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LedgerTotals {
    /// Calls.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens of requests that providers had cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// What they would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
}
