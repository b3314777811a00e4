//! An encoder with its tokenizer, and the turns by which its work shares the cores.

use std::{
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt, stream};
use tokenizers::{EncodeInput, Tokenizer, TruncationParams};
use tokio::sync::Semaphore;

use super::{
    bert::{Bert, Tokens},
    checkpoint::{Config, corrupt, missing},
    kernel::Pool,
    safetensors::Tensors,
};
use crate::{
    context::Context,
    error::{Error, Result},
    model::{Device, Precision},
    runtime::blocking,
};

/// Bytes of a text that the tokenizer sees for each token that is read: far more than any language has.
const TOKEN_BYTES: usize = 256;
/// Tokens of one batch, of several texts: enough to use the weights well that are read for it, few enough that what is
/// computed of them stays near the processor.
const BATCH_TOKENS: usize = 256;
/// Tokens below which a batch is not split for another core: reading the weights would take as long as using them.
const FEW_TOKENS: usize = 64;

/// An encoder.
pub(super) struct Encoder {
    pub(super) model: Bert,
    pub(super) dimensions: usize,
    pub(super) max_tokens: usize,
    pub(super) load_ms: u64,
    pub(super) bytes: u64,
    tokenizer: Tokenizer,
    vocabulary: usize,
    /// One a core.
    turns: Arc<Semaphore>,
    cores: usize,
}

/// A text, or a pair of them, as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Its place in the request.
    index: usize,
    tokens: Vec<u32>,
    second: usize,
    pub(super) truncated: bool,
}

impl Encoded {
    pub(super) fn tokens(&self) -> Tokens<'_> {
        Tokens { all: &self.tokens, second: self.second }
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}

impl Encoder {
    /// Reads the encoder in `folder`, which reads at most `max_tokens` of a text; with the head that scores pairs when
    /// it `scores`.
    pub(super) fn load(
        folder: &Path,
        max_tokens: usize,
        (precision, device): (Precision, Device),
        scores: bool,
    ) -> Result<Self> {
        let started = Instant::now();
        let config = Config::read(folder)?;
        let max_tokens = max_tokens.min(config.positions());
        let tokenizer = read_tokenizer(folder, max_tokens)?;
        let tensors = Tensors::open(&folder.join("model.safetensors"))?;
        let bytes = tensors.bytes();
        let model = Bert::new(&config, tensors, precision, super::device::open(device)?.as_ref(), scores)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            model,
            dimensions: config.hidden_size,
            max_tokens,
            load_ms: started.elapsed().as_millis() as u64,
            bytes,
            tokenizer,
            vocabulary: config.vocab_size,
            turns: Arc::new(Semaphore::new(cores)),
            cores,
        })
    }

    /// Cuts a text, or a query and a text, into tokens.
    pub(super) fn encode(&self, index: usize, text: &str, pair: Option<&str>) -> Result<Encoded> {
        let cut = |text: &'_ str| text.floor_char_boundary(self.max_tokens.saturating_mul(TOKEN_BYTES));
        let (text, whole) = (&text[..cut(text)], text.len());
        let mut truncated = text.len() < whole;
        let input: EncodeInput<'_> = match pair {
            None => text.into(),
            Some(pair) => {
                truncated |= cut(pair) < pair.len();
                (text, &pair[..cut(pair)]).into()
            }
        };
        // The library panics at files that do not fit together.
        let encoding = catch_unwind(AssertUnwindSafe(|| self.tokenizer.encode_fast(input, true)))
            .map_err(|_| corrupt("tokenizer.json cannot be used; download it again"))?
            .map_err(|e| Error::unexpected("a text cannot be cut into tokens; please report this").caused_by(e))?;
        let tokens = encoding.get_ids().to_vec();
        if tokens.is_empty()
            || tokens.len() > self.max_tokens
            || tokens.iter().any(|&id| id as usize >= self.vocabulary)
        {
            return Err(corrupt("tokenizer.json does not fit config.json; expected files of one model"));
        }
        let second = encoding.get_type_ids().iter().position(|&kind| kind != 0).unwrap_or(tokens.len());
        truncated |= !encoding.get_overflowing().is_empty();
        Ok(Encoded { index, tokens, second, truncated })
    }

    /// What `make` gives for each text, in the order of the request. One job for each batch, as many at once as there
    /// are cores: when this future is dropped, or the context cancelled, no other begins.
    pub(super) async fn each<T: Send + 'static>(
        self: &Arc<Self>,
        cx: &Context,
        texts: Vec<Encoded>,
        make: impl Fn(&Bert, &[Encoded], &mut Pool) -> Result<Vec<T>> + Clone + Send + 'static,
    ) -> Result<Vec<T>> {
        let count = texts.len();
        let batches = batches(texts, self.cores);
        let share = self.cores / batches.len().max(1);
        let job = |batch: Vec<Encoded>| {
            let make = make.clone();
            async move {
                let closed = |e| Error::unexpected("the encoder is closed").caused_by(e);
                let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(closed)?;
                // A few texts alone may have the cores that nobody else wants now.
                let more = share.saturating_sub(1).min(self.turns.available_permits());
                let more = Arc::clone(&self.turns).try_acquire_many_owned(more as u32).ok();
                let encoder = Arc::clone(self);
                blocking(move || {
                    // Given back when it is computed, which it is to the end, whether or not anyone waits for it.
                    let _turn = turn;
                    let threads = 1 + more.as_ref().map_or(0, tokio::sync::OwnedSemaphorePermit::num_permits);
                    Ok((make(&encoder.model, &batch, &mut Pool::new(threads))?, batch))
                })
                .await
            }
        };
        let mut jobs = stream::iter(batches.into_iter().map(job)).buffer_unordered(self.cores);
        let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
        while let Some((made, batch)) = cx.run(async { jobs.next().await.transpose() }).await? {
            for (result, text) in made.into_iter().zip(batch) {
                results[text.index] = Some(result);
            }
        }
        results.into_iter().collect::<Option<_>>().ok_or_else(|| Error::unexpected("a text was left out"))
    }
}

fn read_tokenizer(folder: &Path, max_tokens: usize) -> Result<Tokenizer> {
    let text = fs::read(folder.join("tokenizer.json")).map_err(|e| missing("tokenizer.json").caused_by(e))?;
    let unusable = |e| corrupt("tokenizer.json cannot be used; download it again").caused_by(e);
    let mut tokenizer = super::tokenizer::parse(&text).map_err(unusable)?;
    // The file's own truncation and padding are for a benchmark of its makers.
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(unusable)?;
    Ok(tokenizer)
}

/// Texts in groups of some hundred tokens, the longest first, as many for each core, so that cores end together. Few texts
/// are shared among the cores where that pays.
fn batches(mut texts: Vec<Encoded>, cores: usize) -> Vec<Vec<Encoded>> {
    texts.sort_by_key(|text| std::cmp::Reverse(text.tokens.len()));
    let mut left: usize = texts.iter().map(|text| text.tokens.len()).sum();
    let most = left.div_ceil(FEW_TOKENS).min(left.div_ceil(BATCH_TOKENS).next_multiple_of(cores.max(1)));
    let mut batches: Vec<Vec<Encoded>> = Vec::new();
    let (mut tokens, mut share) = (0, 0);
    for text in texts {
        let more = text.tokens.len();
        match batches.last_mut() {
            // Nearer to its share with the text than without.
            Some(batch) if tokens + more / 2 <= share => {
                tokens += more;
                batch.push(text);
            }
            _ => {
                // Of what is left each batch that is to come has as much.
                share = left.div_ceil(most.saturating_sub(batches.len()).max(1));
                tokens = more;
                batches.push(vec![text]);
            }
        }
        left -= more;
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lengths: impl IntoIterator<Item = usize>) -> Vec<Encoded> {
        let encoded = |(index, length)| Encoded { index, tokens: vec![0; length], second: length, truncated: false };
        lengths.into_iter().enumerate().map(encoded).collect()
    }

    #[test]
    fn batches_are_bounded_sorted_and_lose_nothing() {
        let lengths = [256, 3, 2, 256, 90, 17].into_iter().cycle().take(200);
        let batches = batches(texts(lengths), 2);
        let mut seen: Vec<_> = batches.iter().flatten().map(|text| text.index).collect();
        assert!(batches.iter().flatten().is_sorted_by(|one, next| one.tokens.len() >= next.tokens.len()));
        seen.sort_unstable();
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
        for batch in &batches {
            assert!(batch.iter().map(|text| text.tokens.len()).sum::<usize>() <= BATCH_TOKENS * 3 / 2);
        }
        assert!(batches.len() < 110, "{} batches", batches.len());
    }

    #[test]
    fn cores_have_as_much_to_do() {
        for (count, length) in [(128, 20), (32, 128), (500, 7), (97, 31)] {
            for cores in [1, 2, 3, 8] {
                let batches = batches(texts(vec![length; count]), cores);
                let fewest = batches.iter().map(Vec::len).min().unwrap();
                let most = batches.iter().map(Vec::len).max().unwrap();
                assert!(most <= fewest + 1, "{count} x {length}, {cores} cores: {fewest} to {most} texts");
                assert!(batches.len().is_multiple_of(cores), "{} batches for {cores} cores", batches.len());
            }
        }
    }

    #[test]
    fn few_texts_are_shared_where_that_pays() {
        let counts = |lengths: &[usize], cores| {
            batches(texts(lengths.iter().copied()), cores).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(counts(&[128; 4], 2), [2, 2]);
        assert_eq!(counts(&[64; 4], 1), [4]);
        assert_eq!(counts(&[20; 3], 4), [3], "as small as reading the weights");
        assert_eq!(counts(&[600, 20], 1), [1, 1], "one text may be longer than a batch");
        assert_eq!(counts(&[], 2), [0; 0]);
    }
}
