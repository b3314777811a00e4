//! A sentence embedder in this process: BERT with mean pooling, as all-MiniLM-L6-v2 is.

use std::{
    fmt,
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::Instant,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokenizers::{Tokenizer, TruncationParams};
use tokio::sync::Semaphore;

use super::{
    bert::{Bert, Config},
    kernel::Pool,
    safetensors,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Embedder, EmbedderProfile, Embedding, Price},
    runtime::blocking,
};

/// Tokens of a text that are read: what the model was trained with.
const MAX_TOKENS: usize = 256;
/// Bytes of a text that the tokenizer sees at most; far more than 256 tokens of any language.
const MAX_BYTES: usize = 1 << 16;
/// Tokens of one batch at most, beside those of a single text: large enough to be fast, small enough to stop soon.
const BATCH_TOKENS: usize = 512;

/// An embedder read from a folder with `config.json`, `tokenizer.json` and `model.safetensors`.
pub struct LocalEmbedder {
    profile: EmbedderProfile,
    parts: Arc<Parts>,
    /// One a core: an answer to one text keeps to one thread, and many texts use all.
    turns: Semaphore,
    cores: usize,
    load_ms: u64,
    bytes: u64,
}

struct Parts {
    model: Bert,
    tokenizer: Tokenizer,
}

/// A text as the model reads it.
struct Encoded {
    /// Its place in the request.
    index: usize,
    tokens: Vec<u32>,
    truncated: bool,
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
    /// `NotFound` when a file is missing; `Corrupt` when one is damaged; `Unsupported` for another kind of model.
    pub fn load(id: impl Into<String>, folder: &Path) -> Result<Self> {
        read(id.into(), folder).map_err(|e| e.during("LocalEmbedder::load").with("folder", folder.display()))
    }

    /// Milliseconds that loading took.
    pub fn load_ms(&self) -> u64 {
        self.load_ms
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn read(id: String, folder: &Path) -> Result<LocalEmbedder> {
    let started = Instant::now();
    let config = read_config(folder)?;
    let max_tokens = MAX_TOKENS.min(config.max_position_embeddings);
    let tokenizer = read_tokenizer(folder, max_tokens)?;
    if tokenizer.get_vocab_size(true) > config.vocab_size {
        return Err(corrupt("tokenizer.json has more tokens than config.json says; expected files of one model"));
    }
    let path = folder.join("model.safetensors");
    let mut file = File::open(&path).map_err(|e| missing("model.safetensors").caused_by(e))?;
    let bytes =
        file.metadata().map_err(|e| corrupt("the size of model.safetensors cannot be read").caused_by(e))?.len();
    let tensors = safetensors::read(&mut file, bytes)?;
    let model = Bert::new(&config, tensors)?;
    let dimensions = config.hidden_size;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(LocalEmbedder {
        profile: EmbedderProfile { id, dimensions, max_tokens, local: true, price: Price::default() },
        parts: Arc::new(Parts { model, tokenizer }),
        turns: Semaphore::new(cores),
        cores,
        load_ms: started.elapsed().as_millis() as u64,
        bytes,
    })
}

fn read_config(folder: &Path) -> Result<Config> {
    let text = fs::read(folder.join("config.json")).map_err(|e| missing("config.json").caused_by(e))?;
    let config: Config = serde_json::from_slice(&text).map_err(|e| {
        Error::new(ErrorKind::Unsupported, "config.json is not that of a BERT model; take one such as all-MiniLM-L6-v2")
            .caused_by(e)
    })?;
    let heads = config.num_attention_heads;
    if heads == 0
        || config.hidden_size == 0
        || config.intermediate_size == 0
        || !config.hidden_size.is_multiple_of(heads)
        || config.max_position_embeddings < 3
    {
        return Err(corrupt("the sizes in config.json do not fit together; expected heads that divide the width"));
    }
    if config.model_type.as_deref().is_some_and(|kind| kind != "bert") {
        return Err(Error::new(ErrorKind::Unsupported, "only embedders of type \"bert\" are supported"));
    }
    Ok(config)
}

fn read_tokenizer(folder: &Path, max_tokens: usize) -> Result<Tokenizer> {
    let text = fs::read(folder.join("tokenizer.json")).map_err(|e| missing("tokenizer.json").caused_by(e))?;
    let unusable = |e| corrupt("tokenizer.json cannot be used; download it again").caused_by(e);
    let mut tokenizer = Tokenizer::from_bytes(text).map_err(unusable)?;
    // The file's own truncation and padding are for a benchmark of its makers.
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(unusable)?;
    Ok(tokenizer)
}

fn corrupt(message: &str) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

fn missing(file: &str) -> Error {
    Error::not_found(format!(
        "the folder has no {file} that can be read; `triune models pull all-minilm-l6-v2` gets one"
    ))
}

impl Parts {
    fn encode(&self, texts: &[String]) -> Result<Vec<Encoded>> {
        let encode = |(index, text): (usize, &String)| {
            let read = &text[..text.floor_char_boundary(MAX_BYTES)];
            let encoding = self
                .tokenizer
                .encode_fast(read, true)
                .map_err(|e| Error::unexpected("a text cannot be cut into tokens; please report this").caused_by(e))?;
            let truncated = read.len() < text.len() || !encoding.get_overflowing().is_empty();
            Ok(Encoded { index, tokens: encoding.get_ids().to_vec(), truncated })
        };
        texts.iter().enumerate().map(encode).collect()
    }

    fn embed(&self, batch: &[Encoded]) -> Result<Vec<Embedding>> {
        let texts: Vec<_> = batch.iter().map(|text| &text.tokens[..]).collect();
        let vectors = self.model.embed(&texts, &mut Pool::new(1));
        let embeddings = batch.iter().zip(vectors).map(|(text, mut vector)| {
            let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            if !length.is_finite() || length == 0.0 {
                return Err(corrupt("the weights give no numbers; the file is damaged, download it again"));
            }
            for x in &mut vector {
                *x = (f64::from(*x) / length) as f32;
            }
            Ok(Embedding { vector, tokens: text.tokens.len(), truncated: text.truncated })
        });
        embeddings.collect()
    }
}

/// Texts in groups of some hundred tokens.
fn batches(texts: Vec<Encoded>) -> Vec<Vec<Encoded>> {
    let mut batches: Vec<Vec<Encoded>> = Vec::new();
    let mut tokens = 0;
    for text in texts {
        let more = text.tokens.len();
        match batches.last_mut() {
            Some(batch) if tokens + more <= BATCH_TOKENS => {
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

#[async_trait]
impl Embedder for LocalEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        &self.profile
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let count = texts.len();
        let parts = self.parts.clone();
        let encoded = cx.run(blocking(move || parts.encode(&texts))).await?;
        // One job for each batch, as many at once as there are cores: when this future is dropped, or the context
        // cancelled, no other begins.
        let job = |batch: Vec<Encoded>| async move {
            let turn = self.turns.acquire().await;
            let _turn = turn.map_err(|e| Error::unexpected("the embedder is closed").caused_by(e))?;
            let parts = self.parts.clone();
            blocking(move || Ok((parts.embed(&batch)?, batch))).await
        };
        let mut jobs = stream::iter(batches(encoded).into_iter().map(job)).buffer_unordered(self.cores);
        let mut embeddings: Vec<Option<Embedding>> = vec![None; count];
        while let Some(done) = cx.run(async { jobs.next().await.transpose() }).await? {
            for (embedding, text) in done.0.into_iter().zip(done.1) {
                embeddings[text.index] = Some(embedding);
            }
        }
        embeddings.into_iter().collect::<Option<_>>().ok_or_else(|| Error::unexpected("a text was not embedded"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_lose_nothing() {
        let encoded = |(index, length): (usize, usize)| Encoded { index, tokens: vec![0; length], truncated: false };
        let lengths = [256, 3, 2, 256, 90, 17].iter().cycle().take(200).copied();
        let batches = batches(lengths.enumerate().map(encoded).collect());
        let seen: Vec<_> = batches.iter().flatten().map(|text| text.index).collect();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.iter().map(|text| text.tokens.len()).sum::<usize>() <= BATCH_TOKENS);
        }
        assert!(batches.len() < 80, "{} batches", batches.len());
    }

    #[test]
    fn a_folder_without_a_model_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let kind = || LocalEmbedder::load("e", folder.path()).unwrap_err().kind();
        assert_eq!(kind(), ErrorKind::NotFound);
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(kind(), ErrorKind::Unsupported);
    }
}
