//! In-process models on kernels of our own: chat models from GGUF files and safetensors, and encoders from safetensors.

mod answer;
mod bert;
mod call_grammar;
mod chat;
mod checkpoint;
mod decoder;
mod device;
mod embed;
mod encoder;
mod family;
mod folder;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod gguf;
mod grammar;
mod kernel;
mod pages;
mod rerank;
mod resident;
mod rope;
mod safetensors;
mod sampler;
mod scheduler;
mod sentence;
mod speculation;
mod standing;
mod template;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod tokenizer;
mod tools;
mod weights;
mod work;

pub use chat::{LocalModel, ReadToken};
pub use embed::{LocalEmbedder, LocalEmbedderConfig};
pub use rerank::LocalReranker;
pub use resident::MemoryBudget;

pub use super::{LocalConfig, LocalStatistics};
