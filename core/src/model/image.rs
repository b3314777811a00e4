//! Images: a prompt in, images out.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::ModelProfile;
use crate::{context::Context, error::Result, money::NanoUsd};

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

/// One generated image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratedImage {
    /// The bytes of the file, unless the provider gave a URL only.
    #[serde(default)]
    pub bytes: Vec<u8>,
    /// Where the provider keeps it.
    pub url: Option<String>,
    /// What it cost, as far as the price table says.
    pub cost: Option<NanoUsd>,
}

/// Makes images.
///
/// # Contract
/// - As many images as asked for, or an error; never fewer.
/// - Dropping the future cancels the request.
#[async_trait]
pub trait ImageModel: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn profile(&self) -> &ModelProfile;
    /// Makes images for `request`.
    async fn generate(&self, cx: &Context, request: ImageRequest) -> Result<Vec<GeneratedImage>>;
}
