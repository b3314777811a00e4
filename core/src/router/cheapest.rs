//! The policy that spends least: local models first, then the cheapest that meets every need.

use std::cmp::Reverse;

use super::{BreakerState, ModelState, Needs, PassedOver, RoutePlan, RouteRequest, RouteStep, Router};
use crate::{
    error::{Error, ErrorKind, Result},
    money::NanoUsd,
};

/// Tries local models first, then others from the cheapest on; among equals the better one, then by name. Models that
/// miss a need are passed over. It learns nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheapestRouter;

/// Why a model cannot serve a request: what kind of error it makes when nothing else stands in the way, and the words.
struct Blocker {
    kind: ErrorKind,
    reason: String,
}

/// A model that meets every need of a request.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub state: &'a ModelState,
    /// How good it is, as far as known.
    pub quality: Option<f64>,
    pub max_cost: NanoUsd,
}

impl Candidate<'_> {
    pub(super) fn step(&self, reason: String) -> RouteStep {
        RouteStep { model: self.state.profile.id.clone(), max_cost: self.max_cost, reason }
    }
}

impl Router for CheapestRouter {
    fn route(&self, request: &RouteRequest, models: &[ModelState]) -> Result<RoutePlan> {
        let qualities: Vec<_> = models.iter().map(|state| state.profile.quality).collect();
        let (fitting, passed_over) = fitting(request, models, &qualities)?;
        let steps = fitting.iter().map(|candidate| candidate.step(reason(candidate))).collect();
        Ok(RoutePlan { steps, passed_over })
    }
}

/// The hard filters of every policy: the models that meet every need, cheapest first, and why the others do not.
/// `qualities` has one entry a model.
///
/// # Errors
/// As [`Router::route`] has it, when no model fits; `Invalid` when the needs are out of range.
pub(super) fn fitting<'a>(
    request: &RouteRequest,
    models: &'a [ModelState],
    qualities: &[Option<f64>],
) -> Result<(Vec<Candidate<'a>>, Vec<PassedOver>)> {
    request.needs.validate().map_err(|e| e.during("Router::route"))?;
    let (mut fitting, mut blocked) = (Vec::new(), Vec::new());
    for (state, quality) in models.iter().zip(qualities) {
        let blockers = blockers(request, state, *quality);
        if blockers.is_empty() {
            fitting.push(Candidate { state, quality: *quality, max_cost: max_cost(request, state) });
        } else {
            blocked.push((state, blockers));
        }
    }
    if fitting.is_empty() {
        return Err(no_fit(request, &blocked));
    }
    fitting.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
    let passed_over = blocked
        .iter()
        .map(|(state, blockers)| PassedOver { model: state.profile.id.clone(), reason: in_words(blockers) });
    Ok((fitting, passed_over.collect()))
}

/// Best first.
fn order<'a>(candidate: &Candidate<'a>) -> (bool, NanoUsd, Reverse<i64>, &'a str) {
    let profile = &candidate.state.profile;
    // Parts in a million, so that an odd quality such as NaN cannot upset the order.
    let quality = (candidate.quality.unwrap_or(0.0) * 1e6) as i64;
    (!profile.local, candidate.max_cost, Reverse(quality), &profile.id)
}

pub(super) fn reason(candidate: &Candidate<'_>) -> String {
    let place = if candidate.state.profile.local { "local" } else { "remote" };
    let price = if candidate.max_cost == NanoUsd::ZERO {
        "free".to_owned()
    } else {
        format!("costs at most {}", candidate.max_cost)
    };
    let probe = if candidate.state.breaker == BreakerState::HalfOpen { ", tried again after failures" } else { "" };
    format!("{place}, {price}{probe}")
}

fn max_cost(request: &RouteRequest, state: &ModelState) -> NanoUsd {
    let input = state.input_tokens.unwrap_or(request.input_tokens);
    state.profile.price.most(input, state.max_output_tokens.unwrap_or(request.max_output_tokens))
}

/// Everything that stands in the way of `state` serving `request`.
fn blockers(request: &RouteRequest, state: &ModelState, quality: Option<f64>) -> Vec<Blocker> {
    let (needs, profile) = (&request.needs, &state.profile);
    let mut blockers = Vec::new();
    let mut block = |stands_in_the_way: bool, kind: ErrorKind, reason: String| {
        if stands_in_the_way {
            blockers.push(Blocker { kind, reason });
        }
    };
    let plain = |text: &str| text.to_owned();
    if let Some(asked) = &needs.model {
        block(*asked != profile.id, ErrorKind::Invalid, format!("\"{asked}\" is asked for"));
    }
    block(needs.local_only && !profile.local, ErrorKind::Invalid, plain("the prompt must stay in this process"));
    block(needs.tools && !profile.capabilities.tools, ErrorKind::Invalid, plain("it calls no tools"));
    block(
        needs.json_schema && !profile.capabilities.json_schema,
        ErrorKind::Invalid,
        plain("it cannot keep to a JSON schema"),
    );
    block(
        needs.grammar && !profile.capabilities.grammar,
        ErrorKind::Invalid,
        plain("it keeps to no regular expression or grammar; local models do"),
    );
    block(needs.images && !profile.capabilities.images, ErrorKind::Invalid, plain("it reads no images"));
    block(
        needs.reasoning && !profile.capabilities.reasoning,
        ErrorKind::Invalid,
        plain("it cannot be told how long to reason"),
    );
    if let Some(least) = needs.min_quality {
        let reason = quality.map_or_else(
            || format!("its quality is unknown and {least} is needed"),
            |quality| format!("its quality is {quality} and {least} is needed"),
        );
        // Written so that a quality that is no number does not pass.
        let enough = quality.is_some_and(|quality| quality >= least);
        block(!enough, ErrorKind::Invalid, reason);
    }
    if let (Some(most), Some(usual)) = (needs.max_latency_ms, profile.latency_ms) {
        block(usual > most, ErrorKind::Invalid, format!("it takes {usual} ms and {most} ms are allowed"));
    }
    let input = state.input_tokens.unwrap_or(request.input_tokens);
    let output = state.max_output_tokens.unwrap_or(request.max_output_tokens);
    block(
        input.saturating_add(output) > profile.context_length,
        ErrorKind::ContextLength,
        format!("{input} tokens and an answer of {output} do not fit its context of {}", profile.context_length),
    );
    if let Some(most) = needs.max_cost {
        let cost = max_cost(request, state);
        block(cost > most, ErrorKind::OverBudget, format!("it may cost {cost} and {most} is allowed"));
    }
    block(
        state.breaker == BreakerState::Open,
        ErrorKind::CircuitOpen,
        plain("it failed too often and is left alone for a while"),
    );
    blockers
}

fn in_words(blockers: &[Blocker]) -> String {
    blockers.iter().map(|blocker| blocker.reason.as_str()).collect::<Vec<_>>().join("; ")
}

fn no_fit(request: &RouteRequest, blocked: &[(&ModelState, Vec<Blocker>)]) -> Error {
    if blocked.is_empty() {
        return Error::not_found(
            "there is no model; get one with `triune models pull smollm2-135m`, or name one in `models`",
        )
        .during("Router::route");
    }
    if let Some(error) = unknown_name(&request.needs, blocked) {
        return error;
    }
    // A model that only one thing keeps from serving says best what would help.
    let only = |kind: ErrorKind| blocked.iter().any(|(_, blockers)| blockers.iter().all(|b| b.kind == kind));
    let (kind, advice) = [
        (ErrorKind::CircuitOpen, "wait a moment and call again"),
        (ErrorKind::ContextLength, "shorten the request, or ask for a shorter answer"),
        (ErrorKind::OverBudget, "allow a higher max_cost, or ask for a shorter answer"),
    ]
    .into_iter()
    .find(|(kind, _)| only(*kind))
    .unwrap_or((ErrorKind::Invalid, "ask for less, or add a model that can"));
    let reasons = blocked.iter().map(|(state, blockers)| format!("{}: {}", state.profile.id, in_words(blockers)));
    let reasons = reasons.collect::<Vec<_>>().join(" | ");
    Error::new(kind, format!("no model can serve this request; {advice}. {reasons}")).during("Router::route")
}

fn unknown_name(needs: &Needs, blocked: &[(&ModelState, Vec<Blocker>)]) -> Option<Error> {
    let asked = needs.model.as_deref()?;
    let known: Vec<_> = blocked.iter().map(|(state, _)| state.profile.id.as_str()).collect();
    (!known.contains(&asked)).then(|| {
        Error::not_found(format!("no model is called \"{asked}\"; there are: {}", known.join(", ")))
            .during("Router::route")
    })
}

#[cfg(test)]
#[path = "cheapest_tests.rs"]
mod tests;
