//! Embedders behind OpenAI's embeddings.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{
    super::{
        client::{Access, Client, not_understood, perhaps_billed},
        profile::key_name,
    },
    protocol, seller,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Embedder, EmbedderConfig, EmbedderProfile, Embedding, Price, Prices, batches, estimate_tokens},
};

/// Tokens of a text that are read, when the price table does not say: what OpenAI's embedders read.
const MAX_TOKENS: usize = 8191;
/// Bytes of a token, rather too few: longer texts are cut off so that none is refused.
const TOKEN_BYTES: usize = 3;

/// What a server gave for a batch.
struct Vectors {
    /// In the order of the texts.
    vectors: Vec<Vec<f32>>,
    /// The tokens it bills, when it says so.
    tokens: Option<u64>,
}

/// An embedder behind OpenAI's embeddings, of OpenAI or of any server that speaks them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OpenAiEmbedder {
    client: Client,
    profile: EmbedderProfile,
    /// The length to ask for, when it is not the model's own.
    shortened: Option<usize>,
}

impl OpenAiEmbedder {
    /// The embedder that `config` names. Asks the server for the length of its vectors when neither the configuration
    /// nor the price table has it.
    ///
    /// # Errors
    /// `Unauthorized`, naming the variable, when the key is missing; `Invalid` for an embedder of OpenAI without a price; what the server answers when it was asked.
    pub async fn from_config(cx: &Context, config: &EmbedderConfig, prices: &Prices) -> Result<Self> {
        if config.source.is_empty() {
            return Err(Error::invalid("a remote embedder needs `source`: the provider's name of it"));
        }
        let access = Access {
            base_url: config.base_url.as_deref(),
            api_key: config.api_key.as_deref(),
            api_key_env: config.api_key_env.as_deref(),
            more_keys: &[],
            connect: None,
        };
        let client = Client::new(protocol(config.provider), &access)?;
        let seller = seller(config.provider);
        let listed = seller.listed(prices, &config.source);
        let own = listed.and_then(|listed| listed.dimensions);
        let max_tokens = listed.and_then(|listed| listed.context_length).map_or(MAX_TOKENS, |n| n as usize);
        let profile = EmbedderProfile {
            id: config.source.clone(),
            dimensions: config.dimensions.or(own).unwrap_or(0),
            max_tokens,
            local: false,
            price: profile_price(config, prices, client.official())?,
            key: key_name(config.api_key.as_deref(), config.api_key_env.as_deref(), seller, client.official()),
        };
        let shortened = config.dimensions.filter(|wanted| own.is_some_and(|own| own != *wanted));
        let mut embedder = Self { client, profile, shortened };
        if embedder.profile.dimensions == 0 {
            let probe = cx.run(embedder.request(&["length".to_owned()])).await?;
            embedder.profile.dimensions = probe.vectors.first().map_or(0, Vec::len);
        }
        Ok(embedder)
    }

    /// The vectors of one batch, in order.
    async fn request(&self, texts: &[String]) -> Result<Vectors> {
        let id = &self.profile.id;
        let mut body = json!({ "model": id, "input": texts, "encoding_format": "float" });
        if let Some(length) = self.shortened {
            body["dimensions"] = json!(length);
        }
        let answer = self.client.post_json("embeddings", id, &body).await?;
        let vectors = vectors(&answer, texts.len()).ok_or_else(|| not_understood(id))?;
        Ok(Vectors { vectors, tokens: answer["usage"]["prompt_tokens"].as_u64() })
    }

    async fn batch(&self, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let mut limit = self.profile.max_tokens * TOKEN_BYTES;
        let (read, sent, Vectors { vectors, tokens }) = loop {
            let read: Vec<_> = texts.iter().map(|text| cut(text.clone(), limit)).collect();
            let sent: Vec<_> = read.iter().map(|(text, _)| text.clone()).collect();
            match self.request(&sent).await {
                // Some texts have more tokens in so many bytes: with a byte for each, all of them fit.
                Err(error) if error.kind() == ErrorKind::ContextLength && limit > self.profile.max_tokens => {
                    limit = (limit / 2).max(self.profile.max_tokens);
                }
                vectors => break (read, sent, vectors?),
            }
        };
        let tokens = shares(tokens, &sent);
        let parts = read.into_iter().zip(vectors).zip(tokens);
        parts
            .map(|(((_, truncated), vector), tokens)| {
                if vector.len() != self.profile.dimensions {
                    let error = Error::invalid("the server's vectors are of another length; correct `dimensions`");
                    let error = error.with("dimensions", self.profile.dimensions).with("got", vector.len());
                    return Err(perhaps_billed(error));
                }
                let vector = unit(vector).ok_or_else(|| {
                    let message = "the server gave a vector without direction; try again";
                    perhaps_billed(Error::new(ErrorKind::Unavailable, message).with("embedder", &self.profile.id))
                })?;
                Ok(Embedding { vector, tokens, truncated })
            })
            .collect()
    }
}

#[async_trait]
impl Embedder for OpenAiEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        &self.profile
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let mut embedded = Vec::with_capacity(texts.len());
        for batch in batches(texts, self.profile.max_tokens) {
            match cx.run(self.batch(batch)).await {
                Ok(more) => embedded.extend(more),
                Err(error) if embedded.is_empty() => return Err(error),
                // The batches before it are.
                Err(error) => return Err(perhaps_billed(error)),
            }
        }
        Ok(embedded)
    }
}

/// The text that is sent for `text`, of at most `limit` bytes, and whether that is less. Servers refuse an empty text;
/// a space stands for it.
fn cut(mut text: String, limit: usize) -> (String, bool) {
    if text.is_empty() {
        return (" ".into(), false);
    }
    let truncated = text.len() > limit;
    if truncated {
        text.truncate(text.floor_char_boundary(limit));
    }
    (text, truncated)
}

/// The tokens of each text, which add up to `total` where the server told it: the first bears what does not divide.
fn shares(total: Option<u64>, texts: &[String]) -> Vec<usize> {
    let mut shares: Vec<_> = texts.iter().map(|text| estimate_tokens(text.len()) as usize).collect();
    let Some(total) = total.map(|total| total as usize) else { return shares };
    let estimated = shares.iter().sum::<usize>().max(1);
    for share in &mut shares {
        *share = (*share as f64 / estimated as f64 * total as f64) as usize;
    }
    let given = shares.iter().fold(0, |sum: usize, share| sum.saturating_add(*share));
    if let Some(first) = shares.first_mut() {
        *first += total.saturating_sub(given);
    }
    shares
}

/// What a million tokens cost. A server of one's own is free; a provider's embedder must have a price, since nothing
/// would bound what it spends.
fn profile_price(config: &EmbedderConfig, prices: &Prices, official: bool) -> Result<Price> {
    let listed = seller(config.provider).listed(prices, &config.source).and_then(|listed| listed.price.clone());
    match config.price.clone().or(listed) {
        Some(price) => Ok(price),
        None if official => prices.price(&config.source),
        None => Ok(Price::default()),
    }
}

/// The `count` vectors of `answer` in the order of the texts.
fn vectors(answer: &Value, count: usize) -> Option<Vec<Vec<f32>>> {
    let read = |(at, item): (usize, &Value)| {
        let numbers = item["embedding"].as_array()?.iter();
        let vector: Option<Vec<f32>> = numbers.map(|number| number.as_f64().map(|n| n as f32)).collect();
        Some((item["index"].as_u64().unwrap_or(at as u64), vector?))
    };
    let mut vectors = answer["data"].as_array()?.iter().enumerate().map(read).collect::<Option<Vec<_>>>()?;
    vectors.sort_by_key(|(index, _)| *index);
    let in_order = vectors.iter().enumerate().all(|(at, (index, _))| at as u64 == *index);
    (in_order && vectors.len() == count).then(|| vectors.into_iter().map(|(_, vector)| vector).collect())
}

/// `vector` with length 1; none for a vector that has no direction.
fn unit(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if !length.is_normal() {
        return None;
    }
    for x in &mut vector {
        *x = (f64::from(*x) / length) as f32;
    }
    Some(vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn vectors_come_in_the_order_of_the_texts() {
        let answer = json!({ "data": [{ "index": 1, "embedding": [0, 2] }, { "index": 0, "embedding": [3.0, 4.0] }] });
        assert_eq!(vectors(&answer, 2).unwrap(), [vec![3.0, 4.0], vec![0.0, 2.0]]);
        assert!(vectors(&answer, 3).is_none(), "one is missing");
        let twice = json!({ "data": [{ "index": 0, "embedding": [1] }, { "index": 0, "embedding": [1] }] });
        assert!(vectors(&twice, 2).is_none());
        assert!(vectors(&json!({ "data": [{ "embedding": ["x"] }] }), 1).is_none());
    }

    #[test]
    fn the_tokens_of_a_batch_add_up_to_what_is_billed() {
        let texts = ["a".repeat(30), "b".repeat(60), String::from(" ")];
        assert_eq!(shares(None, &texts), [10, 20, 1]);
        let shared = shares(Some(100), &texts);
        assert_eq!(shared.iter().sum::<usize>(), 100);
        assert!(shared[1] > shared[0] && shared[0] > shared[2], "{shared:?}");
        assert_eq!(shares(Some(0), &texts), [0, 0, 0]);
        assert_eq!(shares(Some(u64::MAX), &texts).len(), 3, "whatever the server says");
    }

    #[test]
    fn a_vector_without_direction_is_none() {
        assert_eq!(unit(vec![3.0, 4.0]), Some(vec![0.6, 0.8]));
        assert!(
            unit(vec![0.0, 0.0]).is_none() && unit(vec![f32::NAN]).is_none() && unit(vec![f32::INFINITY]).is_none()
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("äää".into(), 5), ("ää".into(), true));
        assert_eq!(cut("ab".into(), 5), ("ab".into(), false));
        assert_eq!(cut(String::new(), 5), (" ".into(), false));
    }

    #[tokio::test]
    async fn the_profile_knows_the_name_of_the_key() {
        let cx = Context::new();
        let mut config = EmbedderConfig { source: "text-embedding-3-small".into(), ..EmbedderConfig::default() };
        config.api_key = Some("sk-secret".into());
        let prices = Prices::built_in().unwrap();
        let embedder = OpenAiEmbedder::from_config(&cx, &config, &prices).await.unwrap();
        assert_eq!(embedder.profile().key.as_deref(), Some("api_key"));
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic(answer in super::super::json_event(), count in 0usize..4) {
            let _ = vectors(&json!({ "data": answer }), count);
        }
    }
}
