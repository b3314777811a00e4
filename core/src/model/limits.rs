//! What a model may be asked in a minute.

use serde::{Deserialize, Serialize};

/// The provider's rate limit of a model, kept to before the provider has to say so. Absent is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Calls a minute. At least 1.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, of requests and of the most their answers may have; what an answer did not use is given back.
    /// At least 1.
    pub tokens_per_minute: Option<u32>,
}
