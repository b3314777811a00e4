//! A chat model in this process.

use std::{fmt, fs::File, io::BufReader, path::Path, sync::Arc, time::Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    generate::Generation,
    gguf::{Gguf, corrupt},
    llama::Llama,
    template::ChatTemplate,
    tokenizer::Tokenizer,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Capabilities, ChatModel, ChatRequest, ChatStream, ModelProfile, ResponseFormat},
    runtime::blocking,
};

/// Tokens written when a request does not say how many.
const DEFAULT_MAX_TOKENS: u64 = 1024;

/// How a local chat model runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LocalConfig {
    /// Answers written at once; more wait for their turn. At least 1. Default: the number of cores.
    pub concurrency: Option<usize>,
    /// Tokens of request and answer together, at most. Default, and most: what the file says, up to 4096.
    pub context_length: Option<u64>,
}

impl LocalConfig {
    /// Writes `answers` at once.
    #[must_use]
    pub fn concurrency(mut self, answers: usize) -> Self {
        self.concurrency = Some(answers);
        self
    }

    /// Uses `tokens` of the context at most.
    #[must_use]
    pub fn context_length(mut self, tokens: u64) -> Self {
        self.context_length = Some(tokens);
        self
    }
}

/// A chat model of the llama architecture, read from a GGUF file. Requests share the weights.
///
/// Where a request leaves sampling out: temperature 0.7, top_k 40, top_p 0.95, min_p 0.05 (setting one of the three
/// filters turns the others off), no repetition penalty, and at most 1024 tokens.
///
/// candle spreads each step over the cores by a pool of its own, one for the process, whose threads wait for each other.
/// Where several answers are written at once, or the cores are busy with other work, set `CANDLE_NUM_THREADS=1` in the
/// environment before the first answer: each answer then keeps to one thread, and none waits for another.
pub struct LocalModel {
    profile: ModelProfile,
    parts: Arc<Parts>,
    turns: Arc<Semaphore>,
    load_ms: u64,
    bytes: u64,
}

/// What every answer needs.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) llama: Llama,
    pub(super) tokenizer: Tokenizer,
    template: ChatTemplate,
}

impl fmt::Debug for LocalModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalModel").field("id", &self.profile.id).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl LocalModel {
    /// Reads the GGUF file at `path`, to be routed by `id`. Takes a part of a second: call it where that is no harm.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` for a file that is damaged or no GGUF file; `Unsupported` for a model that cannot run
    /// here, saying why; `Invalid` for a `config` out of range.
    pub fn load(id: impl Into<String>, path: &Path, config: &LocalConfig) -> Result<Self> {
        read(id.into(), path, config).map_err(|e| e.during("LocalModel::load").with("path", path.display()))
    }

    /// Milliseconds that loading took.
    pub fn load_ms(&self) -> u64 {
        self.load_ms
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The token numbers of `text`, as a user's text: control tokens in it are plain text.
    ///
    /// # Errors
    /// None that a text can cause.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.parts.tokenizer.encode_plain(text)
    }

    /// The likeliest `top` tokens after `tokens`, with their log-probabilities: what parity with other engines is
    /// measured by. Blocks.
    ///
    /// # Errors
    /// `Invalid` when there is no token or an unknown one; `ContextLength` when there are too many.
    pub fn next_logprobs(&self, tokens: &[u32], top: usize) -> Result<Vec<(u32, f32)>> {
        if tokens.is_empty() || tokens.iter().any(|&token| token as usize >= self.parts.tokenizer.len()) {
            return Err(Error::invalid("next_logprobs takes at least one token, and only tokens of the model"));
        }
        self.check_length(tokens.len())?;
        let mut llama = self.parts.llama.clone();
        let scores = llama.read(tokens)?;
        Ok(super::sampler::top_logprobs(&scores, top))
    }

    #[cfg(test)]
    pub(super) async fn hold_turn(self: Arc<Self>) -> tokio::sync::OwnedSemaphorePermit {
        self.turns.clone().acquire_owned().await.unwrap()
    }

    fn check_length(&self, tokens: usize) -> Result<()> {
        let most = self.profile.context_length;
        if tokens as u64 + 1 > most {
            let message = format!(
                "the request has {tokens} tokens or more, and the model reads {most} with the answer; shorten it"
            );
            return Err(Error::new(ErrorKind::ContextLength, message).with("model", &self.profile.id));
        }
        Ok(())
    }
}

fn read(id: String, path: &Path, config: &LocalConfig) -> Result<LocalModel> {
    let started = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let concurrency = config.concurrency.unwrap_or(cores);
    if concurrency == 0 || concurrency > Semaphore::MAX_PERMITS {
        return Err(Error::invalid("concurrency is 0 or too large; let at least one answer be written"));
    }
    let file = File::open(path).map_err(|e| {
        Error::not_found("there is no model file here; name a file that exists, or run `triune models pull`")
            .caused_by(e)
    })?;
    let facts = file.metadata().map_err(|e| corrupt("the size of the file cannot be read").caused_by(e))?;
    if !facts.is_file() {
        return Err(Error::invalid("a chat model is one GGUF file, and this is no file"));
    }
    let gguf = Gguf::read(BufReader::with_capacity(1 << 18, file), facts.len())?;
    let most = Llama::context_length(&gguf)?;
    let context_length = config.context_length.unwrap_or(most);
    if !(2..=most).contains(&context_length) {
        return Err(Error::invalid(format!("context_length is {context_length}; this model takes 2 to {most}")));
    }
    let tokenizer = Tokenizer::new(&gguf)?;
    let parts = Parts { template: ChatTemplate::new(&gguf)?, llama: Llama::load(&gguf, path)?, tokenizer };
    let capabilities = Capabilities { logprobs: true, ..Capabilities::default() };
    Ok(LocalModel {
        profile: ModelProfile { capabilities, ..ModelProfile::local(id, context_length) },
        parts: Arc::new(parts),
        turns: Arc::new(Semaphore::new(concurrency)),
        load_ms: started.elapsed().as_millis() as u64,
        bytes: facts.len(),
    })
}

/// What the profile does not promise is refused, not half done.
fn check(request: &ChatRequest) -> Result<()> {
    request.sampling.validate()?;
    let unsupported = |message: &str| Err(Error::new(ErrorKind::Unsupported, message));
    if request.messages.is_empty() {
        return Err(Error::invalid("there is no message to answer"));
    }
    if request.response_format != ResponseFormat::Text {
        return unsupported(
            "this local model cannot be held to JSON; ask for it in the prompt and check the answer, or route to a model \
             with the capability json_schema",
        );
    }
    if !request.tools.is_empty() || request.messages.iter().any(|message| !message.tool_calls.is_empty()) {
        return unsupported("this local model cannot call tools; route to a model with the capability tools");
    }
    if request.messages.iter().any(|message| !message.images.is_empty()) {
        return unsupported("this local model cannot see images; route to a model with the capability images");
    }
    Ok(())
}

#[async_trait]
impl ChatModel for LocalModel {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        check(&request)?;
        cx.check()?;
        let bytes = request.messages.iter().map(|message| message.content.len()).sum();
        self.check_length(self.parts.tokenizer.fewest_tokens(bytes))?;
        let ChatRequest { messages, sampling, .. } = request;
        let parts = self.parts.clone();
        let prompt = cx.run(blocking(move || parts.template.encode(&parts.tokenizer, &messages))).await?;
        self.check_length(prompt.len())?;

        let room = self.profile.context_length - prompt.len() as u64;
        let limit = sampling.max_tokens.map_or(DEFAULT_MAX_TOKENS, u64::from).min(room) as usize;
        let turns = self.turns.clone();
        let turn = cx
            .run(async {
                turns.acquire_owned().await.map_err(|e| Error::unexpected("the model is closed").caused_by(e))
            })
            .await?;
        let parts = self.parts.clone();
        Ok(Generation { parts, cx: cx.clone(), prompt, sampling, limit, _turn: turn }.start())
    }

    /// Exact: the tokens of the prompt as the model reads it.
    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        Ok(self.parts.template.encode(&self.parts.tokenizer, &request.messages)?.len() as u64)
    }
}
