//! Embedders written in Python.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use triune::{
    Context, Error, Result,
    model::{Embedder, EmbedderProfile, Embedding},
};

use crate::host::{HostCall, misfit, read, write};

/// An embedder of the host: a callable that takes [`Texts`] as JSON and answers [`Vectors`] as JSON.
#[derive(Debug)]
pub(crate) struct HostEmbedder {
    profile: EmbedderProfile,
    embed: HostCall,
}

#[derive(Serialize)]
struct Texts<'a> {
    texts: &'a [String],
    query: bool,
}

#[derive(Deserialize)]
struct Vectors {
    vectors: Vec<Vec<f32>>,
}

impl HostEmbedder {
    pub(crate) fn new(profile: &str, embed: HostCall) -> Result<Self> {
        let profile = serde_json::from_str(profile)
            .map_err(|error| Error::invalid(format!("the profile of the embedder has another form: {error}")))?;
        Ok(Self { profile, embed })
    }

    fn embedding(&self, text: &str, mut vector: Vec<f32>) -> Result<Embedding> {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        if vector.len() != self.profile.dimensions || !length.is_finite() || length == 0.0 {
            let want = format!("{} finite numbers, not all zero", self.profile.dimensions);
            let got = format!("a vector is {want}; one of {} numbers came", vector.len());
            return Err(misfit("the embedder answered in another form", got).with("embedder", &self.profile.id));
        }
        // Promised to the core, so that a cosine is a dot product.
        if (length - 1.0).abs() > 1e-6 {
            for x in &mut vector {
                *x /= length;
            }
        }
        // One token in three bytes, as for chat models that do not count.
        let tokens = text.len().div_ceil(3).min(self.profile.max_tokens);
        Ok(Embedding { vector, tokens, truncated: false })
    }

    async fn ask(&self, cx: &Context, texts: &[String], query: bool) -> Result<Vec<Embedding>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let answer = cx.run(self.embed.call_text(cx, write(&Texts { texts, query })?)).await?;
        let Vectors { vectors } = read("the embedder answered in another form", &answer)?;
        if vectors.len() != texts.len() {
            let got = format!("{} texts need as many vectors; {} came", texts.len(), vectors.len());
            return Err(misfit("the embedder answered in another form", got).with("embedder", &self.profile.id));
        }
        texts.iter().zip(vectors).map(|(text, vector)| self.embedding(text, vector)).collect()
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
