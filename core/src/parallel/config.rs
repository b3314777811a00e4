//! Settings of Parallel Mind.

use serde::{Deserialize, Serialize};

/// Settings of Parallel Mind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ParallelConfig {
    /// Tasks of one run at once, unless the run says otherwise. Default 16.
    pub concurrency: usize,
    /// Time of one attempt in milliseconds, unless the task says otherwise. Default 600,000.
    pub timeout_ms: u64,
    /// Least wait before another attempt in milliseconds. The wait is drawn between this and three times the last
    /// wait, and is at most a minute. Default 200.
    pub backoff_ms: u64,
    /// How long a process may be silent before another takes its runs over, in milliseconds. Default 10,000.
    pub lease_ms: u64,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        Self { concurrency: 16, timeout_ms: 600_000, backoff_ms: 200, lease_ms: 10_000 }
    }
}
