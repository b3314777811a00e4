//! Settings of the team.

use serde::{Deserialize, Serialize};

/// Settings of the team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TeamConfig {
    /// Agents, when an epic names none. Default 8.
    pub agents: usize,
    /// Tasks at once. Default 8.
    pub concurrency: usize,
    /// Attempts after the first for a task whose result a gate refused or whose model failed. Default 2.
    pub retries: u32,
    /// Tokens of one task's answer at most. Default 256.
    pub max_tokens: u32,
    /// Passages of shared memory given to an agent. Default 3.
    pub memory: usize,
}

impl Default for TeamConfig {
    fn default() -> Self {
        Self { agents: 8, concurrency: 8, retries: 2, max_tokens: 256, memory: 3 }
    }
}
