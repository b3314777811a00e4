//! Settings of the team.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the team.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TeamConfig {
    /// Agents, when an epic names none. Default 8.
    pub agents: usize,
    /// Tasks at once. Default 8.
    pub concurrency: usize,
    /// Attempts after the first for a task whose result a gate refused, or for which no model could be tried for the
    /// moment; a model that was tried and failed is the router's to try again. Default 2.
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

impl TeamConfig {
    /// # Errors
    /// `Invalid`, naming the setting that is out of range.
    pub(super) fn validate(&self) -> Result<()> {
        let range = |name: &str, value: usize, least: usize, most: usize| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::invalid(format!("{name} is {value}; it must be {least} to {most}")).during("TeamEngine::new"))
        };
        range("team.agents", self.agents, 1, super::MAX_AGENTS)?;
        range("team.concurrency", self.concurrency, 1, 1000)?;
        range("team.retries", self.retries as usize, 0, 10)?;
        range("team.max_tokens", self.max_tokens as usize, 1, 1_000_000)?;
        range("team.memory", self.memory, 0, 50)
    }
}
