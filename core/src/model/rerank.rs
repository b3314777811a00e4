//! Reranking: a query and texts in, scores out.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{context::Context, error::Result};

/// Reads a query and a text together and says how well the text answers: slower than comparing vectors, and better.
///
/// # Contract
/// - One score a text, in input order; a finite number; higher is better; comparable within one call.
/// - No texts are `Ok(vec![])`, and no work is done.
/// - Dropping the future stops the work at the next batch.
#[async_trait]
pub trait Reranker: Send + Sync + fmt::Debug + 'static {
    /// Its name.
    fn name(&self) -> &str;
    /// Scores `texts` as answers to `query`.
    async fn rerank(&self, cx: &Context, query: &str, texts: Vec<String>) -> Result<Vec<f64>>;
}

#[async_trait]
impl<R: Reranker + ?Sized> Reranker for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }
    async fn rerank(&self, cx: &Context, query: &str, texts: Vec<String>) -> Result<Vec<f64>> {
        (**self).rerank(cx, query, texts).await
    }
}
