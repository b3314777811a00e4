//! Embedding: texts in, vectors out.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::Price;
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
