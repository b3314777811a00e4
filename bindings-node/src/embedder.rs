//! Embedders that are written in JavaScript.

use std::fmt;

use async_trait::async_trait;
use napi::bindgen_prelude::Float32Array;
use serde::Serialize;
use triune::{
    Context, Error, ErrorKind, Result,
    model::{Embedder, EmbedderProfile, Embedding},
};

use crate::{
    error::{Thrown, read, write},
    host::{Host, HostCallback},
};

/// How far a vector's length may be from 1 before it is brought to 1.
const LENGTH_SLACK: f32 = 1e-4;

/// An embedder of the user.
pub(crate) struct HostEmbedder {
    profile: EmbedderProfile,
    /// Answers all vectors one after the other.
    host: Host<Float32Array>,
}

/// What it is asked.
#[derive(Serialize)]
struct Texts<'a> {
    texts: &'a [String],
    query: bool,
}

impl HostEmbedder {
    pub(crate) fn new(profile: &str, callback: &HostCallback<'_, Float32Array>) -> Result<Self, Thrown> {
        let profile: EmbedderProfile = read("the profile of the embedder", profile)?;
        if profile.dimensions == 0 {
            return Err(Error::invalid("an embedder needs at least one dimension").with("embedder", profile.id).into());
        }
        Ok(Self { profile, host: Host::new(callback)? })
    }

    fn refused(&self, message: &str) -> Error {
        Error::new(ErrorKind::Host, message).during("Embedder::embed").with("embedder", &self.profile.id)
    }

    fn embedding(&self, text: &str, vector: &[f32]) -> Result<Embedding> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if !length.is_finite() || length == 0.0 {
            return Err(self.refused("the embedder gave a vector that is all zeros or holds a value that is no number"));
        }
        let scale = if (length - 1.0).abs() > LENGTH_SLACK { length.recip() } else { 1.0 };
        let vector = vector.iter().map(|x| x * scale).collect();
        // The user's code does not say how many tokens it read: one in three bytes, as for chats.
        let tokens = text.len().div_ceil(3).min(self.profile.max_tokens);
        Ok(Embedding { vector, tokens, truncated: false })
    }

    async fn ask(&self, cx: &Context, texts: &[String], query: bool) -> Result<Vec<Embedding>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let vectors = self.host.ask(cx, write(&Texts { texts, query })?).await?;
        if vectors.len() != texts.len() * self.profile.dimensions {
            return Err(self.refused("the embedder gave another number of vectors, or of dimensions, than it must"));
        }
        let vectors = vectors.chunks_exact(self.profile.dimensions);
        texts.iter().zip(vectors).map(|(text, vector)| self.embedding(text, vector)).collect()
    }
}

impl fmt::Debug for HostEmbedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEmbedder").field("profile", &self.profile).finish_non_exhaustive()
    }
}

#[async_trait]
impl Embedder for HostEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        &self.profile
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.ask(cx, &texts, false).await
    }

    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.ask(cx, &texts, true).await
    }
}
