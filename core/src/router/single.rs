//! Calls of one request and one answer, embeddings and images: each with its permit, its bill, its time and its tries.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{
    backoff::{Backoff, retry_after},
    bill::{Bill, Charge, Paid, may_be_billed},
    breaker::{Change, Outcome},
    engine::RouterEngine,
    ledger::check_tenant,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Embedder, EmbedderProfile, Embedding, ModelProfile, Price, Usage, batches},
    money::NanoUsd,
    monitor::EventKind,
};

/// What is called, and what that can cost.
#[derive(Clone, Debug)]
pub(super) struct Single<'a> {
    pub(super) engine: &'a RouterEngine,
    pub(super) cx: &'a Context,
    pub(super) model: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) price: &'a Price,
    pub(super) input_tokens: u64,
    /// The most it can cost: held on the budgets before each try.
    pub(super) max_cost: NanoUsd,
    /// The model, when it has places and a rate to be kept to.
    pub(super) profile: Option<&'a ModelProfile>,
    /// Whether a try that may have been billed is followed by another one.
    pub(super) repeat_when_billed: bool,
}

/// What a model gave, and what it took.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) value: T,
    pub(super) usage: Usage,
    pub(super) cost: NanoUsd,
}

/// An answer that is in the ledger.
#[derive(Debug)]
pub(super) struct Answered<T> {
    /// Identifies it in the ledger.
    pub(super) id: String,
    pub(super) value: T,
    pub(super) usage: Usage,
    pub(super) cost: NanoUsd,
    pub(super) latency_ms: u64,
}

impl Single<'_> {
    /// Makes `call` until it gives an answer, as often as the settings allow. Returns after its cost is in the ledger,
    /// or staged with the unit of the call.
    ///
    /// The reference model answers chats only, so the call saves nothing: its reference cost is its cost.
    pub(super) async fn ask<'c, T>(
        &self,
        call: impl Fn(Context) -> BoxFuture<'c, Result<Answer<T>>> + Send,
    ) -> Result<Answered<T>> {
        check_tenant(&self.cx.tenant)?;
        self.price.validate()?;
        let started = Instant::now();
        let id = uuid::Uuid::now_v7().simple().to_string();
        let mut backoff = Backoff::new(self.engine.first_wait());
        let mut tries = 1;
        loop {
            match self.attempt(&id, tries, &call).await {
                Ok(Answer { value, usage, cost }) => {
                    let latency_ms = started.elapsed().as_millis() as u64;
                    return Ok(Answered { id, value, usage, cost, latency_ms });
                }
                Err(error) if self.cx.check().is_ok() && self.may_retry(&error, tries) => {
                    self.cx.sleep(backoff.after(&error)).await?;
                    tries += 1;
                }
                // Whoever tries it again pays again.
                Err(error) if !self.repeat_when_billed && may_be_billed(&error) => return Err(error.retryable(false)),
                Err(error) => return Err(error),
            }
        }
    }

    fn may_retry(&self, error: &Error, tries: u32) -> bool {
        error.is_retryable()
            && (self.repeat_when_billed || !may_be_billed(error))
            && tries < self.engine.attempts()
            && error.kind() != ErrorKind::CircuitOpen
            && retry_after(error).unwrap_or(Duration::ZERO) <= self.longest_wait()
    }

    /// Waiting longer than the caller or one try may take is a failure told late.
    fn longest_wait(&self) -> Duration {
        self.cx.time_left().map_or(self.engine.timeout(), |left| left.min(self.engine.timeout()))
    }

    async fn attempt<'c, T>(
        &self,
        id: &str,
        attempt: u32,
        call: &(impl Fn(Context) -> BoxFuture<'c, Result<Answer<T>>> + Send),
    ) -> Result<Answer<T>> {
        self.cx.check()?;
        let admission = self.engine.admission();
        let mut leave = match self.profile {
            Some(profile) => admission.enter(self.cx, profile, self.input_tokens, self.longest_wait()).await?,
            None => admission.enter_now(self.model)?,
        };
        let charge = Charge {
            id,
            tag: None,
            model: self.model,
            key: self.key,
            price: self.price,
            input_tokens: self.input_tokens,
            most: self.max_cost,
            decision: None,
        };
        let mut bill = Bill::open(self.engine, self.cx, charge).await?;
        let (cx, since) = (self.cx.child().within(self.engine.timeout()), Instant::now());
        // Sent, it may be billed: also when nobody waits for the answer any more, or nobody can read it.
        bill.send(self.max_cost);
        leave.sent();
        let called = cx.run(call(cx.clone())).await.map_err(|error| match error.kind() {
            ErrorKind::Timeout if cx.check().is_err() && self.cx.check().is_ok() => {
                Error::new(ErrorKind::Timeout, "the model did not answer in time; raise `timeout_ms`, or ask for less")
                    .with("model", self.model)
            }
            _ => error,
        });
        if called.as_ref().is_err_and(|error| !may_be_billed(error)) {
            bill.refused();
        }
        let latency_ms = since.elapsed().as_millis() as u64;
        let code = called.as_ref().err().map(|error| error.code().to_owned());
        let outcome = match &called {
            Ok(_) => Outcome::Success,
            // The caller's own end says nothing about the model.
            Err(_) if self.cx.check().is_err() => Outcome::Neutral,
            Err(error) => Outcome::of(error),
        };
        tell_breaker(self.cx, self.model, leave.record(outcome, None, Instant::now()));
        self.cx.emit(EventKind::Attempted {
            model: self.model.to_owned(),
            attempt,
            ok: code.is_none(),
            code,
            latency_ms,
        });
        let answer = called?;
        bill.pay_exactly(answer.usage, Paid { cost: answer.cost, reference_cost: answer.cost }).await?;
        Ok(answer)
    }
}

/// Says that a breaker opened or closed.
pub(super) fn tell_breaker(cx: &Context, model: &str, change: Option<Change>) {
    let Some(change) = change else { return };
    let model = model.to_owned();
    cx.emit(match change {
        Change::Opened(time) => EventKind::BreakerOpened { model, for_ms: time.as_millis() as u64 },
        Change::Closed => EventKind::BreakerClosed { model },
    });
}

/// An embedder that is not of this process, or not free: tried more than once, left alone when it fails, and paid for.
#[derive(Debug)]
pub(super) struct PaidEmbedder {
    engine: RouterEngine,
    embedder: Arc<dyn Embedder>,
}

impl PaidEmbedder {
    /// `embedder` itself when it costs nothing and cannot be out of reach.
    pub(super) fn of(engine: &RouterEngine, embedder: Arc<dyn Embedder>) -> Arc<dyn Embedder> {
        let profile = embedder.profile();
        if profile.local && profile.price.is_free() {
            return embedder;
        }
        Arc::new(Self { engine: engine.clone(), embedder })
    }
}

#[async_trait]
impl Embedder for PaidEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        self.embedder.profile()
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.paid(cx, texts, false).await
    }

    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.paid(cx, texts, true).await
    }
}

impl PaidEmbedder {
    async fn paid(&self, cx: &Context, texts: Vec<String>, queries: bool) -> Result<Vec<Embedding>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let mut embedded = Vec::with_capacity(texts.len());
        // Each batch is tried again and booked for itself: what was embedded before one that fails is not paid twice.
        for batch in batches(texts, self.profile().max_tokens) {
            embedded.extend(self.paid_batch(cx, batch, queries).await?);
        }
        Ok(embedded)
    }

    async fn paid_batch(&self, cx: &Context, texts: Vec<String>, queries: bool) -> Result<Vec<Embedding>> {
        let EmbedderProfile { id, max_tokens, price, key, .. } = self.profile();
        // No text has more tokens than bytes, and the empty text has one.
        let most = texts.iter().map(|text| text.len().max(1).min(*max_tokens) as u64).sum();
        let read = |tokens| Usage::of(tokens, 0);
        let single = Single {
            engine: &self.engine,
            cx,
            model: id,
            key: key.as_deref(),
            price,
            input_tokens: most,
            max_cost: price.most(most, 0),
            profile: None,
            repeat_when_billed: true,
        };
        let answered = single.ask(|cx| {
            let (embedder, texts, price) = (Arc::clone(&self.embedder), texts.clone(), price.clone());
            Box::pin(async move {
                let value = if queries {
                    embedder.embed_queries(&cx, texts).await?
                } else {
                    embedder.embed(&cx, texts).await?
                };
                let tokens = value.iter().fold(0, |sum: u64, one| sum.saturating_add(one.tokens as u64));
                let usage = read(tokens);
                Ok(Answer { value, usage, cost: price.cost(&usage) })
            })
        });
        Ok(answered.await?.value)
    }
}

#[cfg(test)]
#[path = "single_tests.rs"]
mod tests;
