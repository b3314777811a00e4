//! What a model is: chat models, embedders, rerankers and image models, their requests, replies, usage and prices.

mod catalogue;
mod chat;
#[cfg(feature = "cloud")]
pub mod cloud;
mod config;
mod cosine;
mod embed;
mod image;
#[cfg(feature = "local")]
pub mod local;
mod prices;
mod profile;
mod rerank;
pub mod source;
mod statistics;

pub use catalogue::{Catalogue, CatalogueEntry, CatalogueFile, CatalogueWheel, ModelKind};
pub(crate) use chat::estimate_tokens;
pub use chat::{
    ChatModel, ChatReply, ChatRequest, ChatStream, Delta, FinishReason, ImageInput, Message, ResponseFormat, Role,
    Sampling, TokenLogprob, ToolCall, Usage, collect,
};
pub use config::{Device, EmbedderConfig, LocalConfig, ModelConfig, Precision, Provider, RerankerConfig};
pub use cosine::cosine;
pub use embed::{Embedder, EmbedderProfile, Embedding};
pub use image::{GeneratedImage, GeneratedImages, ImageModel, ImageRequest};
pub use prices::{ListedModel, Prices};
pub use profile::{Capabilities, ModelProfile, Price};
pub use rerank::Reranker;
pub use statistics::LocalStatistics;
