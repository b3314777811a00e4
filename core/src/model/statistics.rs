//! What a model in this process did, and what it holds.

use serde::{Deserialize, Serialize};

/// What a local model did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LocalStatistics {
    /// Whether its weights are in memory; a model that is not loaded is loaded by the next request.
    pub loaded: bool,
    /// Answers that wait for their turn.
    pub waiting: usize,
    /// Answers that are being written.
    pub running: usize,
    /// Tokens that were read, those written among them.
    pub tokens_read: u64,
    /// Tokens that need not be read, since answers before them began in the same way.
    pub tokens_found: u64,
    /// Tokens that were written.
    pub tokens_written: u64,
    /// Tokens that were guessed from what the answer repeats, to be checked several in a step.
    pub tokens_drafted: u64,
    /// Guesses that were right.
    pub tokens_accepted: u64,
    /// Tokens written a second by all answers together, over the last second of work.
    pub tokens_per_s: f64,
    /// Answers that had to make way for others and were read again.
    pub preempted: u64,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Bytes of what is remembered of tokens that were read.
    pub memory_bytes: u64,
    /// Of these, bytes that are kept for answers to come, those in use among them.
    pub kept_bytes: u64,
}
