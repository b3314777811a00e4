//! Which model serves a request: routing, execution with fallbacks and breakers, budgets and the ledger.

mod admission;
mod agreement;
mod answers;
mod attempt;
mod backoff;
mod bill;
mod breaker;
mod budgets;
mod cache;
mod cascade;
mod cheapest;
mod chosen;
mod concurrency;
mod config;
mod engine;
mod executor;
mod explain;
mod failover;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod hedge;
mod kept;
mod labels;
mod layer;
pub mod learn;
mod learning;
mod ledger;
mod limit;
mod prepare;
mod request;
mod route;
mod seam;
mod shadow;
mod single;
mod structured;
#[cfg(test)]
mod testkit;

use std::fmt;

pub use answers::{AnswerCacheConfig, CacheHit, ExactCache, calibrate_semantic};
pub use budgets::{BudgetConfig, BudgetScope, BudgetState};
pub use cache::LmdbCache;
pub use cheapest::CheapestRouter;
pub use chosen::{Choice, Chooser, ChosenRouter};
pub use config::{Reroute, RouterConfig};
pub use engine::RouterEngine;
pub use labels::Shadowed;
pub use layer::{RetryLayer, TimeoutLayer};
pub use learning::{Evaluation, LearningConfig};
pub use ledger::{
    Candidate, Decision, LedgerEntry, LedgerGroup, LedgerGroupTotals, LedgerQuery, LedgerTotals, ModelReplay, Policy,
    Replay,
};
pub use request::{
    Attempt, EmbedReply, EmbedRequest, GenerateReply, GenerateRequest, GenerateStream, ImageReply, Needs, Prompt,
    RouterReply, RouterRequest, StreamEvent,
};
pub use route::{BreakerState, ModelState, PassedOver, RouteOutcome, RoutePlan, RouteRequest, RouteStep};

use crate::{context::Context, error::Result};

/// Decides which models serve a request, and in which order. Decides, never acts.
///
/// # Contract
/// - `route` is pure: no I/O, no clock, no randomness; the same input and the same history give the same plan.
/// - The plan names every model given: as a step, with the reason it was taken, or as passed over, with the reason.
/// - When no model fits, the error says for each model why. Its kind is what would help: `CircuitOpen`,
///   `ContextLength` or `OverBudget` when nothing else keeps some model from serving, else `Invalid`; `NotFound` when
///   there is no model, or none of the name that is asked for.
/// - `observe` is told of every attempt and must not block.
#[async_trait::async_trait]
pub trait Router: Send + Sync + fmt::Debug + 'static {
    /// The models to try for `request`, best first.
    fn route(&self, request: &RouteRequest, models: &[ModelState]) -> Result<RoutePlan>;
    /// The same for the call of `cx`, where deciding may wait for something, as for code of the host program. It is this
    /// that the engine calls; it ends with the call.
    async fn decide(&self, _cx: &Context, request: &RouteRequest, models: &[ModelState]) -> Result<RoutePlan> {
        self.route(request, models)
    }
    /// Learns from what happened.
    fn observe(&self, _outcome: &RouteOutcome) {}
}

/// Values by key, for a while.
///
/// # Contract
/// - Keys belong to the tenant of the context; no tenant sees another's.
/// - A value is gone once its time to live has passed, at once when that is zero; an absent one means forever.
/// - `compare_and_swap` changes the value only if it is `expected` (none: absent) at that moment.
#[async_trait::async_trait]
pub trait Cache: Send + Sync + fmt::Debug + 'static {
    /// The value under `key`.
    async fn get(&self, cx: &Context, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// Puts `value` under `key`.
    async fn put(&self, cx: &Context, key: &[u8], value: Vec<u8>, ttl: Option<std::time::Duration>) -> Result<()>;
    /// Removes `key`; says whether it was there.
    async fn delete(&self, cx: &Context, key: &[u8]) -> Result<bool>;
    /// Puts `value` under `key` if the value there is `expected`; says whether it did.
    async fn compare_and_swap(
        &self,
        cx: &Context,
        key: &[u8],
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<std::time::Duration>,
    ) -> Result<bool>;
}
