//! Settings of the router.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AnswerCacheConfig, BudgetConfig, LearningConfig};

/// Whether another model is asked when a provider's content filter steps in. A filter of another provider may see it
/// otherwise, which is a help where the filter erred, and a hole where it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reroute {
    /// No: the caller hears of it.
    Never,
    /// When it withheld an answer, which tells of the answer of one model; not when it refused the request itself.
    #[default]
    Answers,
    /// When it refused the request, too.
    Always,
}

impl Reroute {
    pub(super) const fn answers(self) -> bool {
        matches!(self, Self::Answers | Self::Always)
    }

    pub(super) const fn requests(self) -> bool {
        matches!(self, Self::Always)
    }
}

/// Settings of the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
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
    /// Longest time to reach a server in milliseconds. At least 1. Default 5,000.
    pub connect_timeout_ms: u64,
    /// Longest time until a remote model begins to answer, in milliseconds, and one more for each token of the request;
    /// the next model is asked then. 0 for none. Not kept to by the last model of a plan and by those of this process.
    /// Models that think before they answer need more: see `first_token_timeout_ms` of the model. Default 10,000.
    pub first_token_timeout_ms: u64,
    /// Longest time between two pieces of a remote model's answer in milliseconds; 0 for none. Default 30,000.
    pub idle_timeout_ms: u64,
    /// Failures in a row that open a model's breaker; 0 for never. Default 5.
    pub breaker_failures: u32,
    /// How long an open breaker stays open in milliseconds. Default 30,000.
    pub breaker_open_ms: u64,
    /// Which answers are given again to requests that were answered before.
    pub cache: AnswerCacheConfig,
    /// What is learned of models and answers.
    pub learning: LearningConfig,
    /// What calls may spend: of all, or of a tenant, key, tag or model; in a day, a month or in all. Default: no limit.
    pub budgets: Vec<BudgetConfig>,
    /// Whether what a call may cost is written to the folder before it is sent, where a budget covers it: one commit,
    /// shared by calls at the same time. Then budgets also hold for several processes with one folder, and what a killed
    /// process had on its way counts as spent. Without it, a process knows only its own calls on their way, and what it
    /// had on its way when it was killed is not counted. Default true.
    pub durable_holds: bool,
    /// Days that entries of the ledger are kept; sums and budgets keep what they had. Default: for ever.
    pub ledger_days: Option<u32>,
    /// How long a model is left alone whose account has no money or quota left, in milliseconds. Default 600,000.
    pub exhausted_ms: u64,
    /// Whether another model is asked when a content filter steps in. Default `answers`.
    pub reroute_filtered: Reroute,
    /// Whether a model whose answer is not of the form that was asked for is told once what is wrong with it, before the
    /// next model's turn. Both answers are paid. Not for streams, whose text is out before it is whole. Default true.
    pub repair: bool,
    /// Whether another model goes on with a streamed text that broke off; else the caller gets the error. Both are paid.
    /// Default true.
    pub continue_answers: bool,
    /// Whether a second model is asked when the first takes longer to begin than 95 in 100 of its latest answers did. The
    /// first of both to begin answers, and what the other one cost is booked. Default false.
    pub hedge: bool,
    /// Calls of one remote model at once, at most; fewer for a while after the model was overloaded. 0 for any number.
    /// Default 512.
    pub max_concurrency: u32,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            reference_model: "gpt-4o".into(),
            prices: None,
            attempts: 2,
            backoff_ms: 250,
            timeout_ms: 120_000,
            connect_timeout_ms: 5_000,
            first_token_timeout_ms: 10_000,
            idle_timeout_ms: 30_000,
            breaker_failures: 5,
            breaker_open_ms: 30_000,
            cache: AnswerCacheConfig::default(),
            learning: LearningConfig::default(),
            budgets: Vec::new(),
            durable_holds: true,
            ledger_days: None,
            exhausted_ms: 600_000,
            reroute_filtered: Reroute::Answers,
            repair: true,
            continue_answers: true,
            hedge: false,
            max_concurrency: 512,
        }
    }
}
