//! Images: a prompt in, images out.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ModelProfile, Usage};
use crate::{
    context::Context,
    error::{Error, Result},
    money::NanoUsd,
};

/// Images of one request at most.
const MOST: u8 = 10;

/// What an image model is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRequest {
    /// What to show.
    pub prompt: String,
    /// Width x height in pixels, such as `1024x1024`; the model's default when absent.
    #[serde(default)]
    pub size: Option<String>,
    /// How many; 1 to 10.
    #[serde(default = "one")]
    pub count: u8,
}

fn one() -> u8 {
    1
}

impl ImageRequest {
    /// One image that shows `prompt`.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), size: None, count: 1 }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid` when the prompt is empty or the count is not 1 to 10.
    pub fn validate(&self) -> Result<()> {
        if (1..=MOST).contains(&self.count) && !self.prompt.trim().is_empty() {
            return Ok(());
        }
        Err(Error::invalid(format!("images are asked for with a prompt and a count of 1 to {MOST}"))
            .with("count", self.count))
    }
}

/// One generated image: the bytes of the file, or where the provider keeps it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedImage {
    /// The bytes of the file; empty when the provider gave an address only. In JSON as base64.
    #[serde(rename = "base64", default, with = "base64_text")]
    pub bytes: Vec<u8>,
    /// Where the provider keeps it.
    pub url: Option<String>,
}

/// Images stay out of logs, and an address may carry a key.
impl fmt::Debug for GeneratedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GeneratedImage({} bytes, url {})", self.bytes.len(), self.url.is_some())
    }
}

/// The images of one request, and what they took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedImages {
    /// As many as were asked for.
    pub images: Vec<GeneratedImage>,
    /// Tokens read and written, as far as the provider counts them.
    pub usage: Usage,
    /// What they cost, never too low.
    pub cost: NanoUsd,
}

/// Makes images.
///
/// # Contract
/// - As many images as asked for, or an error; never fewer.
/// - The cost is at most `max_cost` of the request.
/// - Dropping the future cancels the request.
/// - An error of a call that may be billed all the same, such as an answer that cannot be read, has the fact `billed`
///   ([`Error::with`]); one of kind `Timeout` or `Cancelled` counts as billed without it.
#[async_trait]
pub trait ImageModel: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn profile(&self) -> &ModelProfile;
    /// The most that `request` can cost.
    fn max_cost(&self, request: &ImageRequest) -> NanoUsd;
    /// Makes images for `request`.
    async fn generate(&self, cx: &Context, request: ImageRequest) -> Result<GeneratedImages>;
}

/// Bytes as base64 in JSON.
mod base64_text {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_base64_in_json_and_absent_from_debug() {
        let image = GeneratedImage { bytes: b"hi".to_vec(), url: Some("https://example.com/?sig=secret".into()) };
        let json = serde_json::to_value(&image).unwrap();
        assert_eq!(json["base64"], "aGk=");
        assert_eq!(serde_json::from_value::<GeneratedImage>(json).unwrap(), image);
        assert!(!format!("{image:?}").contains("secret"));
    }

    #[test]
    fn out_of_range_is_refused() {
        let count = |count| ImageRequest { count, ..ImageRequest::new("a cat") };
        assert!(count(1).validate().is_ok() && count(10).validate().is_ok());
        assert!(count(0).validate().is_err() && count(11).validate().is_err());
        assert!(ImageRequest::new(" ").validate().is_err());
    }
}
