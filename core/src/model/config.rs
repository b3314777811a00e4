//! Models as a configuration names them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Capabilities, Price};

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
    /// Local: a path, a catalogue name (`smollm2-135m`) or a hub id (`owner/repo` or `owner/repo:file.gguf`).
    /// Cloud: the provider's name of the model, such as `gpt-4o-mini`.
    pub source: String,
    /// Cloud: where the API is. Default: the provider's own.
    pub base_url: Option<String>,
    /// Cloud: the key. Default: the environment variable that `api_key_env` names.
    pub api_key: Option<String>,
    /// Cloud: the variable with the key. Default `OPENAI_API_KEY` or `ANTHROPIC_API_KEY`.
    pub api_key_env: Option<String>,
    /// Tokens of request and answer. Default: from the file or the price table.
    pub context_length: Option<u64>,
    /// Overrides the price table.
    pub price: Option<Price>,
    /// Overrides what is known of the model.
    pub capabilities: Option<Capabilities>,
    /// How good its answers are, 0 to 1.
    pub quality: Option<f64>,
    /// Time to a usual answer in milliseconds.
    pub latency_ms: Option<u64>,
}

/// Keys stay out.
impl fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelConfig")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .field("source", &self.source)
            .field("base_url", &self.base_url)
            .field("api_key", &self.api_key.as_ref().map(|_| "set"))
            .finish_non_exhaustive()
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
            .field("base_url", &self.base_url)
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
