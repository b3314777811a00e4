//! In-process models: chat models from GGUF files on kernels of our own, and the sentence embedder on candle.

mod answer;
mod bert;
mod chat;
mod decoder;
mod embed;
mod family;
mod gguf;
mod grammar;
mod kernel;
mod pages;
mod safetensors;
mod sampler;
mod scheduler;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod tools;

pub use chat::{LocalConfig, LocalModel, ReadToken};
pub use embed::LocalEmbedder;
pub use scheduler::LocalStatistics;
