//! A sentence embedder in this process, of the BERT family and as sentence-transformers would use it.

use std::{fmt, path::Path, sync::Arc};

use async_trait::async_trait;

use super::{
    bert::{Bert, Pooling, Tokens},
    checkpoint::corrupt,
    encoder::{Encoded, Encoder},
    kernel::Pool,
    sentence::{self, Prompts, Sentence},
};
use crate::{
    context::Context,
    error::Result,
    model::{Device, Embedder, EmbedderProfile, Embedding, Precision, Price},
    runtime::blocking,
};

/// Tokens of a text that are read where the files do not say: what small models were trained with.
const MAX_TOKENS: usize = 256;

/// How an embedder is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct LocalEmbedderConfig {
    precision: Precision,
    device: Device,
    query_prompt: Option<String>,
    passage_prompt: Option<String>,
}

impl LocalEmbedderConfig {
    /// The numbers of the weights. Default: as in the file, `f32`.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Where it computes. Default: on the processor.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// What stands before a query. Default: what the model's files say.
    pub fn query_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.query_prompt = Some(prompt.into());
        self
    }

    /// What stands before every other text. Default: what the model's files say.
    pub fn passage_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.passage_prompt = Some(prompt.into());
        self
    }
}

/// An embedder read from a folder with `config.json`, `tokenizer.json` and `model.safetensors`, and what else
/// sentence-transformers wrote there: of the type BERT (`MiniLM`, BGE, E5, GTE), `RoBERTa`, `XLM-RoBERTa` or
/// `DistilBERT`.
pub struct LocalEmbedder {
    profile: EmbedderProfile,
    encoder: Arc<Encoder>,
    pooling: Pooling,
    lowercase: bool,
    prompts: Prompts,
}

impl fmt::Debug for LocalEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEmbedder").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl LocalEmbedder {
    /// Reads the embedder in `folder`, to be known as `id`. Takes a part of a second: call it where that is no harm.
    ///
    /// # Errors
    /// `NotFound` when a file is missing; `Corrupt` when one is damaged; `Unsupported` for another kind of model, or a
    /// device that was not built in; `Unavailable` for one that cannot be used.
    pub fn load(id: impl Into<String>, folder: &Path) -> Result<Self> {
        Self::load_with(id, folder, &LocalEmbedderConfig::default())
    }

    /// The same, in another way than the usual one.
    ///
    /// # Errors
    /// As [`LocalEmbedder::load`].
    pub fn load_with(id: impl Into<String>, folder: &Path, config: &LocalEmbedderConfig) -> Result<Self> {
        read(id.into(), folder, config).map_err(|e| e.during("LocalEmbedder::load").with("folder", folder.display()))
    }

    /// Milliseconds that loading took.
    pub fn load_ms(&self) -> u64 {
        self.encoder.load_ms
    }

    /// Bytes of the file of weights.
    pub fn bytes(&self) -> u64 {
        self.encoder.bytes
    }

    async fn after(&self, cx: &Context, prompt: &str, texts: Vec<String>) -> Result<Vec<Embedding>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (encoder, lowercase, prompt) = (Arc::clone(&self.encoder), self.lowercase, prompt.to_owned());
        let asked = cx.clone();
        let encode = move |(index, text): (usize, String)| {
            asked.check()?;
            let text = if prompt.is_empty() { text } else { format!("{prompt}{text}") };
            encoder.encode(index, &if lowercase { text.to_lowercase() } else { text }, None)
        };
        let encode_all = move || texts.into_iter().enumerate().map(encode).collect();
        let texts = cx.run(blocking(encode_all)).await?;
        let pooling = self.pooling;
        self.encoder.each(cx, texts, move |model, batch, pool| embed(model, batch, pooling, pool)).await
    }
}

fn read(id: String, folder: &Path, config: &LocalEmbedderConfig) -> Result<LocalEmbedder> {
    let Sentence { encoder, pooling, max_tokens, lowercase, mut prompts } = sentence::read(folder, &id)?;
    let encoder = Encoder::load(&encoder, max_tokens.unwrap_or(MAX_TOKENS), (config.precision, config.device), false)?;
    for (prompt, given) in [(&mut prompts.query, &config.query_prompt), (&mut prompts.passage, &config.passage_prompt)]
    {
        if let Some(given) = given {
            prompt.clone_from(given);
        }
    }
    let (dimensions, max_tokens) = (encoder.dimensions, encoder.max_tokens);
    let profile = EmbedderProfile { id, dimensions, max_tokens, local: true, price: Price::default(), key: None };
    Ok(LocalEmbedder { profile, encoder: Arc::new(encoder), pooling, lowercase, prompts })
}

fn embed(model: &Bert, batch: &[Encoded], pooling: Pooling, pool: &mut Pool) -> Result<Vec<Embedding>> {
    let texts: Vec<Tokens<'_>> = batch.iter().map(Encoded::tokens).collect();
    let vectors = model.embed(&texts, pooling, pool)?;
    let embeddings = batch.iter().zip(vectors).map(|(text, mut vector)| {
        let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(corrupt("the weights give no numbers; the file is damaged, download it again"));
        }
        for x in &mut vector {
            *x = (f64::from(*x) / length) as f32;
        }
        Ok(Embedding { vector, tokens: text.tokens().all.len(), truncated: text.truncated })
    });
    embeddings.collect()
}

#[async_trait]
impl Embedder for LocalEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        &self.profile
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.after(cx, &self.prompts.passage, texts).await
    }

    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.after(cx, &self.prompts.query, texts).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_folder_without_a_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kind = || LocalEmbedder::load("e", folder.path()).unwrap_err().kind();
        assert_eq!(kind(), ErrorKind::NotFound);
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_device_that_is_not_built_in_is_told_with_its_feature() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders/bert-mean");
        for (device, named) in [(Device::Cuda, "candle-core/cuda"), (Device::Metal, "candle-core/metal")] {
            let config = LocalEmbedderConfig::default().device(device);
            let Err(error) = LocalEmbedder::load_with("e", &folder, &config) else { continue };
            let built = candle_core::utils::cuda_is_available() || candle_core::utils::metal_is_available();
            assert!(built || error.kind() == ErrorKind::Unsupported && error.message().contains(named), "{error}");
        }
    }
}
