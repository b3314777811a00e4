//! Rerankers that are written in JavaScript.

use std::fmt;

use async_trait::async_trait;
use napi::bindgen_prelude::Float64Array;
use serde::Serialize;
use triune::{Context, Error, ErrorKind, Result, model::Reranker};

use crate::{
    error::{Thrown, write},
    host::{Host, HostCallback},
};

/// A reranker of the user.
pub(crate) struct HostReranker {
    name: String,
    host: Host<Float64Array>,
}

/// What it is asked.
#[derive(Serialize)]
struct Pairs<'a> {
    query: &'a str,
    texts: &'a [String],
}

impl HostReranker {
    pub(crate) fn new(name: String, callback: &HostCallback<'_, Float64Array>) -> Result<Self, Thrown> {
        Ok(Self { name, host: Host::new(callback)? })
    }
}

impl fmt::Debug for HostReranker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostReranker").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Reranker for HostReranker {
    fn name(&self) -> &str {
        &self.name
    }

    async fn rerank(&self, cx: &Context, query: &str, texts: Vec<String>) -> Result<Vec<f64>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let scores = self.host.ask(cx, write(&Pairs { query, texts: &texts })?).await?;
        if scores.len() != texts.len() || scores.iter().any(|score| !score.is_finite()) {
            return Err(Error::new(ErrorKind::Host, "the reranker did not give one finite number for each text")
                .during("Reranker::rerank")
                .with("reranker", &self.name));
        }
        Ok(scores.to_vec())
    }
}
