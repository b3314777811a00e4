//! Rerankers written in Python.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use triune::{Context, Result, model::Reranker};

use crate::host::{HostCall, misfit, read, write};

/// A reranker of the host: a callable that takes [`Pairs`] as JSON and answers [`Scores`] as JSON.
#[derive(Debug)]
pub(crate) struct HostReranker {
    name: String,
    rerank: HostCall,
}

#[derive(Serialize)]
struct Pairs<'a> {
    query: &'a str,
    texts: &'a [String],
}

#[derive(Deserialize)]
struct Scores {
    scores: Vec<f64>,
}

impl HostReranker {
    pub(crate) fn new(name: String, rerank: HostCall) -> Self {
        Self { name, rerank }
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
        let answer = cx.run(self.rerank.call_text(cx, write(&Pairs { query, texts: &texts })?)).await?;
        let Scores { scores } = read("the reranker answered in another form", &answer)?;
        if scores.len() != texts.len() {
            let got = format!("{} texts need as many scores; {} came", texts.len(), scores.len());
            return Err(misfit("the reranker answered in another form", got).with("reranker", &self.name));
        }
        Ok(scores)
    }
}
