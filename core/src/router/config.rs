//! Settings of the router.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BudgetConfig;

/// Settings of the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RouterConfig {
    /// The model that savings are measured against, by its name in the price table. Default `gpt-4o`.
    pub reference_model: String,
    /// A file in LiteLLM's format whose prices go before the built-in ones.
    pub prices: Option<PathBuf>,
    /// Tries of one model before the next one's turn. Default 2.
    pub attempts: u32,
    /// Wait before the second try in milliseconds; doubles, with jitter. Default 250.
    pub backoff_ms: u64,
    /// Longest time for one try in milliseconds. Default 120,000.
    pub timeout_ms: u64,
    /// Failures in a row that open a model's breaker; 0 for never. Default 5.
    pub breaker_failures: u32,
    /// How long an open breaker stays open in milliseconds. Default 30,000.
    pub breaker_open_ms: u64,
    /// What calls may spend: of all, or of a tenant, key, tag or model; in a day, a month or in all. Default: no limit.
    pub budgets: Vec<BudgetConfig>,
    /// Whether what a call may cost is written to the folder before it is sent, where a budget covers it: one commit,
    /// shared by calls at the same time. Then budgets also hold for several processes with one folder, and what a killed
    /// process had on its way counts as spent. Without it, a process knows only its own calls on their way, and what it
    /// had on its way when it was killed is not counted. Default true.
    pub durable_holds: bool,
    /// Days that entries of the ledger are kept; sums and budgets keep what they had. Default: for ever.
    pub ledger_days: Option<u32>,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            reference_model: "gpt-4o".into(),
            prices: None,
            attempts: 2,
            backoff_ms: 250,
            timeout_ms: 120_000,
            breaker_failures: 5,
            breaker_open_ms: 30_000,
            budgets: Vec::new(),
            durable_holds: true,
            ledger_days: None,
        }
    }
}
