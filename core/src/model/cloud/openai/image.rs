//! Image models behind OpenAI's images.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    super::{
        client::{Access, Client, not_understood, perhaps_billed},
        profile::profile,
    },
    protocol, seller,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{GeneratedImage, GeneratedImages, ImageModel, ImageRequest, ModelConfig, ModelProfile, Prices, Usage},
    money::NanoUsd,
};

/// Tokens of one image at most: OpenAI's largest at its best quality has 6,240.
const IMAGE_TOKENS: u64 = 8192;
/// Image models that OpenAI has ended.
const ENDED: &[&str] = &["dall-e-2", "dall-e-3"];
/// What stands in their place.
const SUCCESSOR: &str = "gpt-image-2";
/// Tokens of a prompt, when the price table does not say: what OpenAI's image models read.
const CONTEXT: u64 = 32_000;

/// An image model behind OpenAI's images, of OpenAI or of any server that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenAiImageModel {
    client: Client,
    profile: ModelProfile,
    name: String,
}

impl OpenAiImageModel {
    /// The model that `config` names. Connects when it is first called.
    ///
    /// # Errors
    /// As [`OpenAiModel::from_config`](super::OpenAiModel::from_config).
    pub fn from_config(config: &ModelConfig, prices: &Prices) -> Result<Self> {
        let client = Client::new(protocol(config.provider), &Access::of(config))?;
        let seller = seller(config.provider);
        let ModelConfig { source, .. } = config;
        let name = if client.official() { current(source) } else { source };
        let listed = seller.listed(prices, name);
        let known = ModelConfig {
            context_length: config.context_length.or(listed.and_then(|l| l.context_length)).or(Some(CONTEXT)),
            id: config.id.clone().or_else(|| Some(source.clone())),
            source: name.to_owned(),
            ..config.clone()
        };
        let profile = profile(&known, prices, seller, client.official())?;
        Ok(Self { client, profile, name: name.to_owned() })
    }
}

/// The model that OpenAI has for `name`: some that it ended are names of the one that came after.
fn current(name: &str) -> &str {
    if ENDED.contains(&name) {
        tracing::warn!(model = name, instead = SUCCESSOR, "OpenAI ended this image model; name the one in its place");
        return SUCCESSOR;
    }
    name
}

#[async_trait]
impl ImageModel for OpenAiImageModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    fn max_cost(&self, request: &ImageRequest) -> NanoUsd {
        let count = u64::from(request.count);
        let price = &self.profile.price;
        // No text has more tokens than bytes.
        let tokens = price.most(request.prompt.len() as u64, count * IMAGE_TOKENS);
        tokens + price.per_image.unwrap_or_default().times(count)
    }

    async fn generate(&self, cx: &Context, request: ImageRequest) -> Result<GeneratedImages> {
        request.validate()?;
        let max_cost = self.max_cost(&request);
        let ImageRequest { prompt, size, count } = request;
        let mut body = json!({ "model": self.name, "prompt": prompt, "n": count });
        if let Some(size) = size {
            body["size"] = json!(size);
        }
        let id = &self.profile.id;
        let answer = cx.run(self.client.post_json("images/generations", id, &body)).await?;
        let mut images = images(&answer).ok_or_else(|| not_understood(id))?;
        if images.len() < usize::from(count) {
            let message = "the server made fewer images than asked for; try again";
            let error = Error::new(ErrorKind::Unavailable, message).with("model", id).with("got", images.len());
            return Err(perhaps_billed(error));
        }
        images.truncate(usize::from(count));
        let tokens = usage(&answer);
        let usage = Usage { images: u64::from(count), ..tokens.unwrap_or_default() };
        // A server that does not say what it took may have taken the most.
        let cost = tokens.map_or(max_cost, |_| self.profile.price.cost(&usage));
        Ok(GeneratedImages { images, usage, cost })
    }
}

fn images(answer: &Value) -> Option<Vec<GeneratedImage>> {
    let read = |item: &Value| {
        let bytes = match item["b64_json"].as_str() {
            Some(text) => STANDARD.decode(text).ok()?,
            None => Vec::new(),
        };
        let url = item["url"].as_str().map(str::to_owned);
        (!bytes.is_empty() || url.is_some()).then_some(GeneratedImage { bytes, url })
    };
    answer["data"].as_array()?.iter().map(read).collect()
}

/// The tokens that were read and written, when the server says so.
fn usage(answer: &Value) -> Option<Usage> {
    let tokens = |name: &str| answer["usage"][name].as_u64();
    let (input_tokens, output_tokens) = (tokens("input_tokens")?, tokens("output_tokens")?);
    let detail = |side: &str, name: &str| answer["usage"][side][name].as_u64();
    Some(Usage {
        image_input_tokens: detail("input_tokens_details", "image_tokens").unwrap_or(0),
        // What it wrote is images, unless it says otherwise.
        image_output_tokens: detail("output_tokens_details", "image_tokens").unwrap_or(output_tokens),
        ..Usage::of(input_tokens, output_tokens)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_as_bytes_or_as_addresses() {
        let answer = json!({ "data": [{ "b64_json": "aGk=" }, { "url": "https://example.com/a.png" }] });
        let images = images(&answer).unwrap();
        assert_eq!(
            (images[0].bytes.as_slice(), images[1].url.as_deref()),
            (&b"hi"[..], Some("https://example.com/a.png"))
        );
        assert!(super::images(&json!({ "data": [{ "b64_json": "???" }] })).is_none());
        assert!(super::images(&json!({ "data": [{}] })).is_none());
    }

    #[test]
    fn what_images_cost_is_bounded_before_they_are_made() {
        let prices = Prices::built_in().unwrap();
        let config = |source: &str| ModelConfig {
            source: source.into(),
            api_key: Some("sk-test".into()),
            ..ModelConfig::default()
        };
        let model = OpenAiImageModel::from_config(&config("gpt-image-1"), &prices).unwrap();
        let request = ImageRequest { count: 2, ..ImageRequest::new("a cat") };
        // 5 dollars for a million tokens read, 40 for a million written: 5 bytes and two images.
        assert_eq!(model.max_cost(&request), NanoUsd(5 * 5_000 + 2 * 8192 * 40_000));
        assert!(OpenAiImageModel::from_config(&config("no-such-model"), &prices).is_err(), "it has no price");
        let ended = OpenAiImageModel::from_config(&config("dall-e-3"), &prices).unwrap();
        assert_eq!((ended.name.as_str(), ended.profile.id.as_str()), (SUCCESSOR, "dall-e-3"));
        let own = ModelConfig { base_url: Some("http://127.0.0.1:1".into()), ..config("dall-e-3") };
        assert_eq!(OpenAiImageModel::from_config(&own, &prices).unwrap().name, "dall-e-3", "other servers have it");
    }

    #[test]
    fn tokens_are_read_where_they_are_told() {
        let answer = json!({ "usage": { "input_tokens": 10, "output_tokens": 100 } });
        assert_eq!(usage(&answer), Some(Usage { image_output_tokens: 100, ..Usage::of(10, 100) }));
        assert_eq!(usage(&json!({ "usage": { "input_tokens": 10 } })), None);
    }
}
