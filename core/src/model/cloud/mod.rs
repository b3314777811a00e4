//! Remote models by wire protocol: OpenAI's, which most servers speak, and Anthropic's.
//!
//! A model is built from its configuration and the price table. Its key comes from the configuration or from a
//! variable of the environment and is in no error, no log and no debug output.
//!
//! ```
//! use triune::model::{ChatModel, ModelConfig, Prices, Provider, cloud::OpenAiModel};
//! let mut config = ModelConfig::default();
//! config.provider = Provider::Openai;
//! config.source = "gpt-4o-mini".into();
//! config.api_key = Some("sk-...".into());
//! let model = OpenAiModel::from_config(&config, &Prices::built_in()?)?;
//! assert_eq!(model.profile().context_length, 128_000);
//! # Ok::<(), triune::Error>(())
//! ```

mod anthropic;
mod calls;
mod client;
mod events;
mod failure;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod keys;
mod openai;
mod profile;
mod request;
mod retry_after;
mod stream;

pub use anthropic::AnthropicModel;
pub use openai::{OpenAiEmbedder, OpenAiImageModel, OpenAiModel};
