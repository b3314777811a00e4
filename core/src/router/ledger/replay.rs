//! What a past period would have cost with another policy.

use std::{collections::BTreeMap, fmt, sync::Arc};

use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::{Decision, LedgerEntry};
use crate::{
    context::Context,
    model::{ModelProfile, Usage},
    money::NanoUsd,
    router::{ModelState, RoutePlan, RouteRequest, Router},
};

/// How models are chosen in a replay.
pub enum Policy<'a> {
    /// Always this model, whatever it can do.
    Always(&'a ModelProfile),
    /// As `router` chooses among `models`, each as good and as dear as its profile says, none of them left alone.
    Router {
        /// Who decides.
        router: &'a dyn Router,
        /// Among which models.
        models: &'a [Arc<ModelProfile>],
    },
}

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always(profile) => f.debug_tuple("Always").field(&profile.id).finish(),
            Self::Router { router, models } => {
                let models: Vec<_> = models.iter().map(|profile| &profile.id).collect();
                f.debug_struct("Router").field("router", router).field("models", &models).finish()
            }
        }
    }
}

/// What calls of a past period cost, and what they would have cost with another policy.
///
/// Each answered call is decided again from what its decision was made from. The tokens on another model are those that
/// were taken, times the ratio of how both models counted the request; the same share of them is taken as cached, and the
/// same length of answer and of thought. Failed attempts are left out on both sides: how often the other model would have
/// failed is not known. Nor is how good its answers would have been.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Replay {
    /// Calls that were decided again.
    pub calls: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// What they would have cost.
    pub replayed_cost: NanoUsd,
    /// Answered calls that could not be decided again: of embedders and image models, of times when decisions were not
    /// kept, and those that no model of the policy could serve. Their cost is in neither sum.
    pub left_out: u64,
    /// What these cost.
    pub left_out_cost: NanoUsd,
    /// What failed attempts cost. It is in neither sum.
    pub wasted: NanoUsd,
    /// Which models would have served, and for how much.
    pub models: BTreeMap<String, ModelReplay>,
}

/// What one model would have done in a [`Replay`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ModelReplay {
    /// Calls it would have served.
    pub calls: u64,
    /// What they would have cost.
    pub cost: NanoUsd,
}

impl Replay {
    pub(super) fn add(&mut self, entry: &LedgerEntry, policy: &Policy<'_>) {
        if entry.failed {
            self.wasted = self.wasted + entry.cost;
            return;
        }
        let chosen = entry.decision.as_ref().and_then(|decision| {
            let profile = choose(decision, policy)?;
            Some((profile.id.clone(), profile.price.cost(&usage_on(&profile.id, entry, decision))))
        });
        let Some((model, cost)) = chosen else {
            self.left_out += 1;
            self.left_out_cost = self.left_out_cost + entry.cost;
            return;
        };
        self.calls += 1;
        self.cost = self.cost + entry.cost;
        self.replayed_cost = self.replayed_cost + cost;
        let of_model = self.models.entry(model).or_default();
        of_model.calls += 1;
        of_model.cost = of_model.cost + cost;
    }
}

/// The model that `policy` takes first.
fn choose<'a>(decision: &Decision, policy: &'a Policy<'_>) -> Option<&'a ModelProfile> {
    let (router, models) = match policy {
        Policy::Always(profile) => return Some(profile),
        Policy::Router { router, models } => (router, models),
    };
    let states: Vec<_> = models.iter().map(|profile| state(profile, decision)).collect();
    let mut request = decision.request.clone();
    // The model that was asked for then is what another policy may do without.
    if request.needs.model.as_ref().is_some_and(|asked| !models.iter().any(|profile| profile.id == *asked)) {
        request.needs.model = None;
    }
    let plan = decide(*router, &request, &states)?;
    let first = &plan.steps.first()?.model;
    models.iter().find(|profile| profile.id == *first).map(|profile| &**profile)
}

/// A replay runs where waiting holds nobody up.
fn decide(router: &dyn Router, request: &RouteRequest, states: &[ModelState]) -> Option<RoutePlan> {
    let cx = Context::new();
    let mut deciding = router.decide(&cx, request, states);
    match (&mut deciding).now_or_never() {
        Some(plan) => plan.ok(),
        None => Handle::try_current().ok()?.block_on(deciding).ok(),
    }
}

fn state(profile: &Arc<ModelProfile>, decision: &Decision) -> ModelState {
    let candidate = decision.candidates.iter().find(|candidate| candidate.model == profile.id);
    let mut state = ModelState::from(Arc::clone(profile));
    state.input_tokens = candidate.map(|candidate| candidate.input_tokens);
    state.max_output_tokens = candidate.map(|candidate| candidate.max_output_tokens);
    state
}

/// What `entry` would have taken on `model`.
fn usage_on(model: &str, entry: &LedgerEntry, decision: &Decision) -> Usage {
    let usage = entry.usage();
    if model == entry.model {
        return usage;
    }
    let counted = |model: &str| {
        let candidate = decision.candidates.iter().find(|candidate| candidate.model == model)?;
        (candidate.input_tokens > 0).then_some(candidate.input_tokens as f64)
    };
    match (counted(model), counted(&entry.model)) {
        (Some(there), Some(here)) => usage.scaled(there / here),
        _ => usage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Price,
        router::{Candidate, CheapestRouter},
    };

    fn profile(id: &str, nano: i64, quality: f64) -> Arc<ModelProfile> {
        let mut profile = ModelProfile::local(id, 10_000);
        profile.local = false;
        profile.quality = Some(quality);
        profile.price = Price::new(NanoUsd(nano * 1_000_000), NanoUsd(nano * 1_000_000));
        Arc::new(profile)
    }

    fn candidate(model: &str, input_tokens: u64) -> Candidate {
        Candidate { model: model.into(), input_tokens, max_output_tokens: 100, ..Candidate::default() }
    }

    fn entry(min_quality: f64) -> LedgerEntry {
        let mut request = RouteRequest { input_tokens: 100, max_output_tokens: 100, ..RouteRequest::default() };
        request.needs.min_quality = Some(min_quality);
        let candidates = vec![candidate("cheap", 150), candidate("dear", 100)];
        LedgerEntry {
            model: "dear".into(),
            cost: NanoUsd(100 * 110),
            decision: Some(Decision { request, candidates }),
            ..LedgerEntry::default()
        }
        .took(&Usage { cached_tokens: 50, ..Usage::of(100, 10) })
    }

    #[test]
    fn each_call_is_decided_again_with_the_tokens_of_the_other_model() {
        let models = [profile("cheap", 1, 0.5), profile("dear", 100, 0.9)];
        let policy = Policy::Router { router: &CheapestRouter, models: &models };
        let mut replay = Replay::default();
        replay.add(&entry(0.4), &policy);
        replay.add(&entry(0.8), &policy);
        assert_eq!((replay.calls, replay.cost), (2, NanoUsd(22_000)));
        // 150 tokens read and 15 written on the cheap one, what was taken on the other.
        assert_eq!(replay.replayed_cost, NanoUsd(165 + 11_000));
        let of = |model: &str| replay.models[model];
        assert_eq!((of("cheap").calls, of("cheap").cost, of("dear").calls), (1, NanoUsd(165), 1));
    }

    #[test]
    fn one_model_for_all_need_not_have_been_there() {
        let mut replay = Replay::default();
        let newer = profile("newer", 10, 0.0);
        replay.add(&entry(0.8), &Policy::Always(&newer));
        assert_eq!((replay.calls, replay.replayed_cost), (1, NanoUsd(1100)));
    }

    #[test]
    fn what_cannot_be_replayed_is_counted_and_in_no_sum() {
        let models = [profile("cheap", 1, 0.5)];
        let policy = Policy::Router { router: &CheapestRouter, models: &models };
        let mut replay = Replay::default();
        replay.add(&entry(0.8), &policy);
        replay.add(&LedgerEntry { decision: None, ..entry(0.1) }, &policy);
        replay.add(&LedgerEntry { failed: true, ..entry(0.1) }, &policy);
        assert_eq!((replay.calls, replay.cost, replay.replayed_cost), (0, NanoUsd::ZERO, NanoUsd::ZERO));
        assert_eq!((replay.left_out, replay.left_out_cost, replay.wasted), (2, NanoUsd(22_000), NanoUsd(11_000)));
    }
}
