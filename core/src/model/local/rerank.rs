//! A reranker in this process: an encoder that reads a query and a text together and scores the pair.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use super::{
    bert::{Bert, Tokens},
    checkpoint::corrupt,
    encoder::{Encoded, Encoder},
    kernel::Pool,
    sentence,
};
use crate::{
    context::Context,
    error::{Error, Result},
    model::{Device, Precision, Reranker},
    runtime::blocking,
};

/// Tokens of a query and a text together that are read where the files do not say.
const MAX_TOKENS: usize = 512;

/// A cross-encoder read from a folder with `config.json`, `tokenizer.json` and `model.safetensors`: BERT, `RoBERTa` or
/// `XLM-RoBERTa` for sequence classification with one label, such as ms-marco-MiniLM or bge-reranker. Its scores are 0
/// to 1: the logistic function of what the model gives.
#[derive(Debug)]
pub struct LocalReranker {
    name: String,
    encoder: Arc<Encoder>,
}

impl LocalReranker {
    /// Reads the reranker in `folder`, to be known as `name`. Takes a part of a second: call it where that is no harm.
    ///
    /// # Errors
    /// `NotFound` when a file is missing; `Corrupt` when one is damaged; `Unsupported` for another kind of model.
    pub fn load(name: impl Into<String>, folder: &Path, precision: Precision) -> Result<Self> {
        let load = || {
            let max_tokens = sentence::max_tokens(folder)?.unwrap_or(MAX_TOKENS);
            Encoder::load(folder, max_tokens, (precision, Device::Cpu), true)
        };
        let encoder = load().map_err(|e| e.during("LocalReranker::load").with("folder", folder.display()))?;
        Ok(Self { name: name.into(), encoder: Arc::new(encoder) })
    }

    /// Milliseconds that loading took.
    pub fn load_ms(&self) -> u64 {
        self.encoder.load_ms
    }

    /// Bytes of the file of weights.
    pub fn bytes(&self) -> u64 {
        self.encoder.bytes
    }
}

fn score(model: &Bert, batch: &[Encoded], pool: &mut Pool) -> Result<Vec<f64>> {
    let pairs: Vec<Tokens<'_>> = batch.iter().map(Encoded::tokens).collect();
    let scores = model.score(&pairs, pool)?.ok_or_else(|| Error::unexpected("the reranker has no head"))?;
    if scores.iter().any(|score| !score.is_finite()) {
        return Err(corrupt("the weights give no numbers; the file is damaged, download it again"));
    }
    Ok(scores.into_iter().map(|score| 1.0 / (1.0 + (-f64::from(score)).exp())).collect())
}

#[async_trait]
impl Reranker for LocalReranker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn rerank(&self, cx: &Context, query: &str, texts: Vec<String>) -> Result<Vec<f64>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (encoder, query, asked) = (Arc::clone(&self.encoder), query.to_owned(), cx.clone());
        let encode = move |(index, text): (usize, String)| {
            asked.check()?;
            encoder.encode(index, &query, Some(&text))
        };
        let encode = move || texts.into_iter().enumerate().map(encode).collect();
        let pairs = cx.run(blocking(encode)).await?;
        self.encoder.each(cx, pairs, score).await
    }
}
