//! The best hits once more, in the order of a reranker.

use super::{Hit, fuse::best_first};
use crate::{
    context::Context,
    error::{Error, Result},
    model::Reranker,
};

/// `hits` with the scores that `reranker` gives, best first.
pub(super) async fn rerank(cx: &Context, reranker: &dyn Reranker, query: &str, hits: Vec<Hit>) -> Result<Vec<Hit>> {
    if hits.is_empty() {
        return Ok(hits);
    }
    let texts = hits.iter().map(|hit| hit.item.text.clone()).collect();
    let scores = cx.run(reranker.rerank(cx, query, texts)).await?;
    if scores.len() != hits.len() || scores.iter().any(|score| !score.is_finite()) {
        return Err(Error::unexpected("the reranker did not give one finite number for each text; mend it")
            .with("reranker", reranker.name())
            .with("texts", hits.len())
            .with("scores", scores.len()));
    }
    Ok(order(hits, &scores))
}

fn order(mut hits: Vec<Hit>, scores: &[f64]) -> Vec<Hit> {
    for (hit, score) in hits.iter_mut().zip(scores) {
        hit.why.fused = Some(std::mem::replace(&mut hit.score, *score));
    }
    // Equal scores stay in the order of the fused ones.
    hits.sort_by(|a, b| best_first(a.score, b.score));
    hits
}
