//! Models as a configuration names them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Capabilities, Price, RateLimit, ServiceTier};

/// How a model is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Provider {
    /// In this process.
    #[default]
    Local,
    /// By the OpenAI wire format.
    Openai,
    /// By Anthropic messages.
    Anthropic,
    /// Google's Gemini, by its endpoint for the OpenAI wire format.
    Gemini,
}

/// Which of OpenAI's two ways of chatting a server is asked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OpenAiApi {
    /// Chat completions, which all servers of the format speak.
    #[default]
    Chat,
    /// Responses. Answers are asked not to be kept by the server.
    Responses,
}

/// One chat model.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The name it is routed by. Default: the name of its source.
    pub id: Option<String>,
    /// How it is reached. Default `local`.
    pub provider: Provider,
    /// Local: a path of a GGUF file or of a folder as transformers saves it, a catalogue name (`smollm2-135m`) or a hub id
    /// (`owner/repo:file.gguf`).
    /// Cloud: the provider's name of the model, such as `gpt-4o-mini`.
    pub source: String,
    /// `openai` only: the way of chatting, `chat` or `responses`. Default `chat`.
    pub api: OpenAiApi,
    /// Cloud: where the API is. Default: the provider's own.
    pub base_url: Option<String>,
    /// Cloud: the key. Default: the environment variable that `api_key_env` names.
    pub api_key: Option<String>,
    /// Cloud: the variable with the key. Default `OPENAI_API_KEY`, `ANTHROPIC_API_KEY` or `GEMINI_API_KEY`.
    pub api_key_env: Option<String>,
    /// Cloud: more keys, each tried when those before it were refused, told to slow down or out of money. The variable
    /// that `api_key_env` names may hold several, with commas between them.
    pub api_keys: Vec<String>,
    /// Cloud: what the provider lets it be asked in a minute. Default: no limit of ours.
    pub rate_limit: Option<RateLimit>,
    /// Cloud: longest time to reach the server in milliseconds. Default: the router's.
    pub connect_timeout_ms: Option<u64>,
    /// Cloud: longest time until it begins to answer in milliseconds; 0 for none. More for a model that thinks first.
    /// Default: the router's.
    pub first_token_timeout_ms: Option<u64>,
    /// Tokens of request and answer. Default: from the file or the price table.
    pub context_length: Option<u64>,
    /// Local: how it runs.
    pub local: LocalConfig,
    /// Overrides the price table.
    pub price: Option<Price>,
    /// Cloud: how the provider serves calls of the account that do not ask for it, `standard`, `batch`, `flex` or
    /// `priority`: what is held for a call goes by its price. Default `standard`.
    pub tier: ServiceTier,
    /// Overrides what is known of the model.
    pub capabilities: Option<Capabilities>,
    /// How good its answers are, 0 to 1.
    pub quality: Option<f64>,
    /// Time to a usual answer in milliseconds.
    pub latency_ms: Option<u64>,
}

/// `url` without the user and password it may have.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    if scheme.is_empty() { format!("{host}{path}") } else { format!("{scheme}://{host}{path}") }
}

/// Keys stay out.
impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .field("source", &self.source)
            .field("base_url", &self.base_url.as_deref().map(without_user))
            .field("api_key", &self.api_key.as_ref().map(|_| "set"))
            .field("api_keys", &self.api_keys.len())
            .finish_non_exhaustive()
    }
}

/// How a local chat model runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LocalConfig {
    /// Answers written at once; more wait for their turn. At least 1. Default: 64.
    pub concurrency: Option<usize>,
    /// Answers that may wait; one more is refused as `Overloaded`. Default: 10,000.
    pub queue: Option<usize>,
    /// Threads that compute. At least 1. Default: the number of cores.
    pub threads: Option<usize>,
    /// Tokens of request and answer together, at most. Default: what the file says, up to 8192; most: what it says.
    pub context_length: Option<u64>,
    /// Bytes of what is remembered of tokens that were read, for answers on their way and for those to come that begin
    /// in the same way. One answer always has what it needs. Default: 512 MiB.
    pub memory_bytes: Option<u64>,
    /// Seconds without an answer after which the weights leave memory, until the next request loads them again.
    /// Default: never.
    pub idle_unload_s: Option<u64>,
    /// Guesses what an answer says next where it repeats its prompt or itself, and reads the guess in the same step: the
    /// answer is the same, and sooner there. Given up by itself where it does not pay. Default: false.
    pub speculation: Option<bool>,
    /// Computes with all weights in 32 bits and rounds nothing: what other engines are compared by. Takes about seven
    /// times the memory of a 4-bit file and several times the time. Default: false.
    pub full_precision: bool,
}

impl LocalConfig {
    /// Writes `answers` at once.
    #[must_use]
    pub fn concurrency(mut self, answers: usize) -> Self {
        self.concurrency = Some(answers);
        self
    }

    /// Lets `answers` wait.
    #[must_use]
    pub fn queue(mut self, answers: usize) -> Self {
        self.queue = Some(answers);
        self
    }

    /// Computes on `threads`.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Uses `tokens` of the context at most.
    #[must_use]
    pub fn context_length(mut self, tokens: u64) -> Self {
        self.context_length = Some(tokens);
        self
    }

    /// Remembers at most so many bytes of tokens that were read.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Leaves memory after so many seconds without an answer.
    #[must_use]
    pub fn idle_unload_s(mut self, seconds: u64) -> Self {
        self.idle_unload_s = Some(seconds);
        self
    }

    /// Guesses, or not.
    #[must_use]
    pub fn speculation(mut self, guess: bool) -> Self {
        self.speculation = Some(guess);
        self
    }

    /// Rounds nothing.
    #[must_use]
    pub fn full_precision(mut self) -> Self {
        self.full_precision = true;
        self
    }
}

/// The numbers that the weights of an encoder are kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits: as exact as the file.
    #[default]
    F32,
    /// 8 bits, 32 numbers to a scale, and the inputs of each layer too: a quarter of the memory.
    Int8,
}

/// Where an encoder computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Device {
    /// On the processor, by kernels of triune's own.
    #[default]
    Cpu,
    /// On the first NVIDIA GPU, by candle: candle-core must be built with its feature `cuda`.
    Cuda,
    /// On the GPU of a Mac, by candle: candle-core must be built with its feature `metal`.
    Metal,
}

/// The embedder.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EmbedderConfig {
    /// How it is reached. Default `local`.
    pub provider: Provider,
    /// Local: a folder, a catalogue name (default `all-minilm-l6-v2`) or a hub id. Cloud: the provider's name.
    pub source: String,
    /// Cloud: where the API is.
    pub base_url: Option<String>,
    /// Cloud: the key.
    pub api_key: Option<String>,
    /// Cloud: the variable with the key.
    pub api_key_env: Option<String>,
    /// Cloud: length of the vectors; asked of the server when absent.
    pub dimensions: Option<usize>,
    /// Local: the numbers of the weights, `f32` or `int8`. Default `f32`.
    pub precision: Precision,
    /// Local: where it computes, `cpu`, `cuda` or `metal`. Default `cpu`. A GPU has the weights in `f32`.
    pub device: Device,
    /// Local: what stands before a query, the blank after it included. Default: what the model was trained with, as
    /// far as its files or its name say so.
    pub query_prompt: Option<String>,
    /// Local: what stands before every other text. Default: as for `query_prompt`.
    pub passage_prompt: Option<String>,
    /// Overrides the price table.
    pub price: Option<Price>,
}

/// Keys stay out.
impl fmt::Debug for EmbedderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbedderConfig")
            .field("provider", &self.provider)
            .field("source", &self.source)
            .field("base_url", &self.base_url.as_deref().map(without_user))
            .field("api_key", &self.api_key.as_ref().map(|_| "set"))
            .finish_non_exhaustive()
    }
}

/// The reranker: a model in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RerankerConfig {
    /// A folder, or a hub id such as `cross-encoder/ms-marco-MiniLM-L6-v2`.
    pub source: String,
    /// The numbers of the weights, `f32` or `int8`. Default `f32`.
    pub precision: Precision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (url, shown) in [
            ("https://user:secret@host/v1", "https://host/v1"),
            ("https://us@er:secret@host:8/v1?x=a@b", "https://host:8/v1?x=a@b"),
            ("http://localhost:1", "http://localhost:1"),
            ("secret@host", "host"),
        ] {
            let base_url = Some(url.to_owned());
            let api_key = Some("secret".to_owned());
            let model = ModelConfig { base_url: base_url.clone(), api_key: api_key.clone(), ..ModelConfig::default() };
            let embedder = EmbedderConfig { base_url, api_key, ..EmbedderConfig::default() };
            for text in [format!("{model:?}"), format!("{embedder:?}")] {
                assert!(!text.contains("secret") && text.contains(shown), "{text}");
            }
        }
    }
}
