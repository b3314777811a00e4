//! In-process models on candle: chat models from GGUF files, and the sentence embedder.

mod chat;
mod embed;
mod generate;
mod gguf;
mod llama;
mod safetensors;
mod sampler;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;

pub use chat::{LocalConfig, LocalModel};
pub use embed::LocalEmbedder;
