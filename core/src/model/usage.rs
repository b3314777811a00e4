//! What a call took: tokens read and written, by the kinds that providers price apart.

use serde::{Deserialize, Serialize};

/// How fast, and so how dear, a provider served a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServiceTier {
    /// As usual.
    #[default]
    Standard,
    /// In a batch, within a day.
    Batch,
    /// When there is room.
    Flex,
    /// Before others.
    Priority,
}

impl ServiceTier {
    /// The tier by the word that a provider has for it in its answer.
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "providers are behind the feature `cloud`"))]
    pub(crate) fn of_provider(word: Option<&str>) -> Self {
        match word {
            Some("batch") => Self::Batch,
            Some("flex") => Self::Flex,
            Some("priority") => Self::Priority,
            _ => Self::Standard,
        }
    }
}

/// Tokens read and written. Those that are priced apart are parts of `input_tokens` or `output_tokens`, never beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the request, all of the kinds below included.
    pub input_tokens: u64,
    /// Tokens of the request that the provider had cached.
    pub cached_tokens: u64,
    /// Tokens of the request that the provider put into its cache for some minutes.
    pub cache_write_tokens: u64,
    /// Tokens of the request that the provider put into its cache for an hour or longer.
    pub cache_write_1h_tokens: u64,
    /// Tokens of the request that are images.
    pub image_input_tokens: u64,
    /// Tokens of the answer, those below included.
    pub output_tokens: u64,
    /// Tokens of the answer that the model thought and did not say.
    pub reasoning_tokens: u64,
    /// Tokens of the answer that are images.
    pub image_output_tokens: u64,
    /// Images made, where images are priced each.
    pub images: u64,
    /// How the provider served the call.
    pub tier: ServiceTier,
}

impl Usage {
    /// So many tokens read and written, none of them of a kind that is priced apart.
    pub fn of(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, ..Self::default() }
    }

    /// With every number of tokens read and written times `ratio`, rounded up: an estimate of what another tokenizer
    /// counts in the same text. A ratio that is no positive number counts as 1.
    #[must_use]
    pub fn scaled(&self, ratio: f64) -> Self {
        let ratio = if ratio.is_finite() && ratio > 0.0 { ratio } else { 1.0 };
        let scale = |tokens: u64| (tokens as f64 * ratio).ceil() as u64;
        Self {
            input_tokens: scale(self.input_tokens),
            cached_tokens: scale(self.cached_tokens),
            cache_write_tokens: scale(self.cache_write_tokens),
            cache_write_1h_tokens: scale(self.cache_write_1h_tokens),
            image_input_tokens: scale(self.image_input_tokens),
            output_tokens: scale(self.output_tokens),
            reasoning_tokens: scale(self.reasoning_tokens),
            image_output_tokens: scale(self.image_output_tokens),
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_tokenizer_counts_in_proportion_and_never_too_little() {
        let usage = Usage { cached_tokens: 3, images: 2, ..Usage::of(10, 1) };
        let more = usage.scaled(1.25);
        assert_eq!((more.input_tokens, more.cached_tokens, more.output_tokens, more.images), (13, 4, 2, 2));
        assert_eq!(usage.scaled(f64::NAN), usage);
        assert_eq!(usage.scaled(0.0), usage);
    }

    #[test]
    fn what_was_written_before_there_were_more_kinds_is_read() {
        let usage: Usage =
            serde_json::from_str(r#"{"input_tokens": 5, "cached_tokens": 1, "output_tokens": 2}"#).unwrap();
        assert_eq!(usage, Usage { cached_tokens: 1, ..Usage::of(5, 2) });
    }
}
