//! In-process models: chat models from GGUF files on kernels of our own, and the sentence embedder on candle.

mod answer;
mod bert;
mod chat;
mod decoder;
mod embed;
mod family;
mod gguf;
mod kernel;
mod pages;
mod resident;
mod safetensors;
mod sampler;
mod scheduler;
mod speculation;
mod standing;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod work;

pub use chat::{LocalModel, ReadToken};
pub use embed::LocalEmbedder;
pub use resident::MemoryBudget;

pub use super::{LocalConfig, LocalStatistics};
