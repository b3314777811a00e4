//! Image models behind OpenAI's images.

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    super::{
        client::{Access, Client, not_understood},
        profile::profile,
    },
    PROTOCOL,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{GeneratedImage, ImageModel, ImageRequest, ModelConfig, ModelProfile, Price, Prices, Usage},
    money::NanoUsd,
};

/// Tokens of a prompt, when the price table does not say: what OpenAI's image models read.
const CONTEXT: u64 = 32_000;

/// An image model behind OpenAI's images, of OpenAI or of any server that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenAiImageModel {
    client: Client,
    profile: ModelProfile,
    name: String,
    per_image: Option<NanoUsd>,
}

impl OpenAiImageModel {
    /// The model that `config` names. Connects when it is first called.
    ///
    /// # Errors
    /// As [`OpenAiModel::from_config`](super::OpenAiModel::from_config).
    pub fn from_config(config: &ModelConfig, prices: &Prices) -> Result<Self> {
        let client = Client::new(PROTOCOL, &Access::of(config))?;
        let listed = prices.get(&config.source);
        let per_image = listed.and_then(|listed| listed.per_image);
        let known = ModelConfig {
            context_length: config.context_length.or(listed.and_then(|l| l.context_length)).or(Some(CONTEXT)),
            // A model that is priced by the image has no price by the token.
            price: config.price.or(per_image.map(|_| Price::default())),
            ..config.clone()
        };
        let profile = profile(&known, prices, "openai", client.official())?;
        Ok(Self { client, profile, name: config.source.clone(), per_image })
    }
}

#[async_trait]
impl ImageModel for OpenAiImageModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn generate(&self, cx: &Context, request: ImageRequest) -> Result<Vec<GeneratedImage>> {
        let ImageRequest { prompt, size, count } = request;
        if !(1..=10).contains(&count) || prompt.trim().is_empty() {
            return Err(Error::invalid("images are asked for with a prompt and a count of 1 to 10"));
        }
        let mut body = json!({ "model": self.name, "prompt": prompt, "n": count });
        if let Some(size) = size {
            body["size"] = json!(size);
        }
        let id = &self.profile.id;
        let answer = cx.run(self.client.post_json("images/generations", id, &body)).await?;
        let mut images = images(&answer).ok_or_else(|| not_understood(id))?;
        if images.len() < usize::from(count) {
            return Err(Error::new(ErrorKind::Unavailable, "the server made fewer images than asked for; try again")
                .with("model", id)
                .with("got", images.len()));
        }
        images.truncate(usize::from(count));
        let costs = costs(&answer, self.profile.price, self.per_image, images.len());
        images.iter_mut().zip(costs).for_each(|(image, cost)| image.cost = cost);
        Ok(images)
    }
}

fn images(answer: &Value) -> Option<Vec<GeneratedImage>> {
    let read = |item: &Value| {
        let bytes = match item["b64_json"].as_str() {
            Some(text) => STANDARD.decode(text).ok()?,
            None => Vec::new(),
        };
        let url = item["url"].as_str().map(str::to_owned);
        (!bytes.is_empty() || url.is_some()).then_some(GeneratedImage { bytes, url, cost: None })
    };
    answer["data"].as_array()?.iter().map(read).collect()
}

/// What each of `count` images cost: by the image, else its share of the tokens, none when neither is known.
fn costs(answer: &Value, price: Price, per_image: Option<NanoUsd>, count: usize) -> Vec<Option<NanoUsd>> {
    let tokens = |name: &str| answer["usage"][name].as_u64();
    let total = match (tokens("input_tokens"), tokens("output_tokens")) {
        (Some(input_tokens), Some(output_tokens)) if price != Price::default() => {
            Some(price.cost(&Usage { input_tokens, cached_tokens: 0, output_tokens }))
        }
        _ => None,
    };
    let share = |at: usize| {
        let total = total?;
        // The first image bears what does not divide.
        let rest = if at == 0 { total.0 % count as i64 } else { 0 };
        Some(NanoUsd(total.0 / count as i64 + rest))
    };
    (0..count).map(|at| per_image.or_else(|| share(at))).collect()
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
    fn the_shares_add_up_to_the_whole() {
        let answer = json!({ "usage": { "input_tokens": 10, "output_tokens": 100 } });
        let price = Price { input: NanoUsd(1_000_000), cached: NanoUsd(0), output: NanoUsd(1_000_000) };
        let sum: NanoUsd = costs(&answer, price, None, 3).into_iter().flatten().sum();
        assert_eq!(sum, NanoUsd(110));
        assert_eq!(costs(&answer, price, Some(NanoUsd(7)), 2), [Some(NanoUsd(7)); 2]);
        assert_eq!(costs(&json!({}), price, None, 1), [None]);
    }
}
