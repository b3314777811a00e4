//! What a model is: chat models, embedders, rerankers and image models, their requests, replies, usage and prices.

mod catalogue;
mod chat;
#[cfg(feature = "cloud")]
pub mod cloud;
mod config;
mod cosine;
mod embed;
mod image;
mod limits;
#[cfg(feature = "local")]
pub mod local;
mod price;
mod prices;
mod profile;
mod rerank;
pub mod source;
mod statistics;
mod usage;

pub use catalogue::{Catalogue, CatalogueEntry, CatalogueFile, CatalogueWheel, ModelKind};
#[cfg(feature = "cloud")]
pub(crate) use chat::MOST_IMAGE_TOKENS;
pub(crate) use chat::estimate_tokens;
pub use chat::{
    CacheFor, ChatModel, ChatReply, ChatRequest, ChatStream, Delta, FinishReason, ImageInput, Message, ReasoningEffort,
    ResponseFormat, Role, Sampling, TokenLogprob, ToolCall, ToolChoice, collect,
};
pub use config::{Device, EmbedderConfig, LocalConfig, ModelConfig, OpenAiApi, Precision, Provider, RerankerConfig};
pub use cosine::cosine;
pub(crate) use embed::batches;
pub use embed::{Embedder, EmbedderProfile, Embedding};
pub use image::{GeneratedImage, GeneratedImages, ImageModel, ImageRequest};
pub use limits::RateLimit;
pub use price::{LongPrice, Price};
pub use prices::{ListedModel, PriceWarning, Prices};
pub use profile::{Capabilities, ModelProfile};
pub use rerank::Reranker;
pub use statistics::LocalStatistics;
pub use usage::{ServiceTier, Usage};
