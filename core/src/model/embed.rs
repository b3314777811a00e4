//! Embedding: texts in, vectors out.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Price, estimate_tokens};
use crate::{context::Context, error::Result};

/// What an embedder is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbedderProfile {
    /// Its name; a store refuses vectors of another embedder in a namespace that has some.
    pub id: String,
    /// Length of every vector; never changes.
    pub dimensions: usize,
    /// Tokens of a text that are read; the rest is cut off.
    pub max_tokens: usize,
    /// Whether texts stay in this process.
    pub local: bool,
    /// What it costs.
    #[serde(default)]
    pub price: Price,
    /// The name of the provider's key that pays for it, never the key itself: its variable, or what the settings call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One embedded text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Embedding {
    /// Of length 1; `dimensions` numbers.
    pub vector: Vec<f32>,
    /// Tokens that were read; their sum over a batch is what is billed.
    pub tokens: usize,
    /// Whether the text was longer than that.
    pub truncated: bool,
}

/// Texts of one request to an embedder outside.
const BATCH: usize = 128;
/// Tokens of one request, as estimated; OpenAI takes 300,000.
const BATCH_TOKENS: u64 = 200_000;

/// The texts in groups that servers take in one request; of each text `max_tokens` are read.
pub(crate) fn batches(texts: Vec<String>, max_tokens: usize) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut tokens = 0;
    for text in texts {
        let more = estimate_tokens(text.len()).min(max_tokens as u64);
        match batches.last_mut() {
            Some(batch) if batch.len() < BATCH && tokens + more <= BATCH_TOKENS => {
                tokens += more;
                batch.push(text);
            }
            _ => {
                tokens = more;
                batches.push(vec![text]);
            }
        }
    }
    batches
}

/// Turns texts into vectors.
///
/// # Contract
/// - One embedding per text, in input order, each vector `dimensions` long and of length 1, the empty text included.
/// - The same text gives the same vector, alone or in a batch, within rounding.
/// - An empty batch is `Ok(vec![])`, and no work is done.
/// - Dropping the future stops the work at the next batch.
/// - A query is embedded so that it lies near the texts that answer it. For most models it is a text like any other;
///   some were trained with words before each, the prompts.
/// - An error of a call that may be billed all the same, such as an answer that cannot be read, has the fact `billed`
///   ([`Error::with`](crate::Error::with)); one of kind `Timeout` or `Cancelled` counts as billed without it.
#[async_trait]
pub trait Embedder: Send + Sync + fmt::Debug + 'static {
    /// What it is.
    fn profile(&self) -> &EmbedderProfile;
    /// Embeds `texts`.
    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>>;
    /// Embeds queries, to be compared with what [`Embedder::embed`] gives. By default the same.
    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.embed(cx, texts).await
    }
}

#[async_trait]
impl<E: Embedder + ?Sized> Embedder for Arc<E> {
    fn profile(&self) -> &EmbedderProfile {
        (**self).profile()
    }
    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        (**self).embed(cx, texts).await
    }
    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        (**self).embed_queries(cx, texts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_no_more_than_servers_take() {
        let long = "word ".repeat(20_000);
        let sizes = |texts| batches(texts, 8191).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![long; 100]), [24, 24, 24, 24, 4]);
        assert_eq!(sizes(vec![String::new(); 300]), [128, 128, 44]);
        assert!(sizes(Vec::new()).is_empty());
    }
}
