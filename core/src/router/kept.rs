//! The first look at a request: whether it was answered before.

use std::{borrow::Cow, time::Instant};

use serde::Serialize;

use super::{
    CacheHit, GenerateReply, RoutePlan, RouteRequest,
    answers::{Kept, Place},
    bill::{Bill, Charge},
    calibrate_semantic,
    engine::RouterEngine,
    structured::Form,
};
use crate::{
    context::Context,
    error::Result,
    model::{ChatRequest, Embedding, ModelProfile, Price, cosine},
    money::NanoUsd,
};

/// What is known of a request from before.
pub(super) enum Before {
    /// Its answer.
    Answered(Box<GenerateReply>),
    /// Nothing; its answer may be kept.
    Not(Option<Keeping>),
}

/// Where an answer is to be kept.
#[derive(Debug)]
pub(super) struct Keeping {
    place: Place,
    /// What the last message means, where requests are compared by that.
    vector: Option<Vec<f32>>,
}

impl RouterEngine {
    /// Looks whether `request` was answered before. A cache that fails is as if it were empty.
    /// `number` is that of the answer, where several are asked for.
    pub(super) async fn kept(
        &self,
        cx: &Context,
        request: &ChatRequest,
        (asked, form, number): (&RouteRequest, &Form, usize),
    ) -> Result<Before> {
        let started = Instant::now();
        if !self.config().cache.keeps(request) {
            return Ok(Before::Not(None));
        }
        let models = self.models().items();
        let models: Vec<_> = models.iter().map(|model| identity(model.profile())).collect();
        let scope = serde_json::to_vec(&(&asked.needs, models, number)).unwrap_or_default();
        let Some(place) = Place::of(&self.config().cache, request, &scope) else { return Ok(Before::Not(None)) };
        // What was streamed was not asked to have the form.
        let fits = |kept: &Kept| !kept.tool_calls.is_empty() || matches!(form.read(&kept.text), Ok(Cow::Borrowed(_)));
        if let Some(kept) = or_nothing(self.answers().same(cx, &place).await).filter(fits) {
            return self.again(cx, (kept, CacheHit::Exact), asked, started).await;
        }
        let text = request.messages.last().map(|last| last.content.as_str());
        let vector = match text.filter(|_| self.answers().compares(&place)) {
            // Of two texts with one beginning the vectors would be one.
            Some(text) => self.meaning(cx, text, asked.needs.local_only).await?.filter(|meaning| !meaning.truncated),
            None => None,
        };
        let vector = vector.map(|meaning| meaning.vector);
        if let Some(vector) = &vector
            && let Some(kept) = or_nothing(self.answers().alike(cx, &place, vector).await).filter(fits)
        {
            return self.again(cx, (kept, CacheHit::Semantic), asked, started).await;
        }
        Ok(Before::Not(Some(Keeping { place, vector })))
    }

    /// The least cosine at which an answer may be given again, for the setting `cache.semantic`: of `pairs` of requests, and
    /// whether one answer serves both, at most the part `false_hits` (0 to below 1) of the pairs at least so alike are wrong.
    /// None when no likeness is that safe.
    ///
    /// # Errors
    /// `Invalid` without pairs or for a part out of range, `NotFound` without an embedder.
    pub async fn calibrate_cache(
        &self,
        cx: &Context,
        pairs: &[(String, String, bool)],
        false_hits: f64,
    ) -> Result<Option<f64>> {
        let texts = pairs.iter().flat_map(|(one, other, _)| [one.clone(), other.clone()]).collect();
        let embedder = self.embedder()?;
        let vectors = cx.run(embedder.embed_queries(cx, texts)).await?;
        let alike = vectors
            .chunks_exact(2)
            .zip(pairs)
            .map(|(two, (_, _, same))| (f64::from(cosine(&two[0].vector, &two[1].vector)), *same));
        calibrate_semantic(&alike.collect::<Vec<_>>(), false_hits)
    }

    /// Keeps the answer `reply` for requests to come. What fails here costs only that.
    pub(super) async fn keep(&self, cx: &Context, keeping: Option<Keeping>, answer: &Kept) {
        let Some(Keeping { place, vector }) = keeping else { return };
        if let Err(error) = self.answers().keep(cx, &place, vector, answer).await {
            tracing::warn!(%error, "an answer was not kept");
        }
    }

    /// The vector of `text`; none without an embedder that it may be given to, or when it fails. With `local_only` it goes
    /// to none outside this process.
    pub(super) async fn meaning(&self, cx: &Context, text: &str, local_only: bool) -> Result<Option<Embedding>> {
        let Ok(embedder) = self.embedder() else { return Ok(None) };
        if local_only && !embedder.profile().local {
            return Ok(None);
        }
        let found = cx.run(embedder.embed_queries(cx, vec![text.to_owned()])).await;
        cx.check()?;
        Ok(or_nothing(found.map(|vectors| vectors.into_iter().next())))
    }

    /// An answer given again: it costs nothing, and what it would have cost is in the ledger.
    async fn again(
        &self,
        cx: &Context,
        (kept, hit): (Kept, CacheHit),
        asked: &RouteRequest,
        started: Instant,
    ) -> Result<Before> {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let charge = Charge {
            id: &id,
            tag: asked.tag.as_deref(),
            model: &kept.model,
            key: None,
            price: &Price::default(),
            input_tokens: kept.usage.input_tokens,
            most: NanoUsd::ZERO,
            decision: None,
        };
        let mut bill = Bill::open(self, cx, charge).await?;
        bill.take_from_cache(hit);
        let models = self.models();
        let cost = models.get(&kept.model).map_or(NanoUsd::ZERO, |model| model.profile().price.cost(&kept.usage));
        let remember = self.remember(cx, &id, asked, &kept, (cost, None));
        let (paid, ()) = tokio::join!(bill.pay(kept.usage), remember);
        let paid = paid?;
        Ok(Before::Answered(Box::new(GenerateReply {
            id,
            text: kept.text,
            tool_calls: kept.tool_calls,
            logprobs: kept.logprobs,
            finish_reason: kept.finish_reason,
            model: kept.model,
            usage: kept.usage,
            cost: paid.cost,
            reference_cost: paid.reference_cost,
            saved: paid.reference_cost - paid.cost,
            latency_ms: started.elapsed().as_millis() as u64,
            attempts: Vec::new(),
            route: RoutePlan::default(),
            cache_hit: Some(hit),
            alternatives: Vec::new(),
        })))
    }
}

/// What says that a model is the one that answered before, and that it would be chosen as it was then.
fn identity(profile: &ModelProfile) -> impl Serialize {
    (&profile.id, &profile.provider, &profile.revision, profile.quality, profile.capabilities)
}

fn or_nothing<T>(found: Result<Option<T>>) -> Option<T> {
    found.unwrap_or_else(|error| {
        tracing::warn!(%error, "the cache of answers cannot be read");
        None
    })
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
