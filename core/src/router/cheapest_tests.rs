use std::sync::Arc;

use super::*;
use crate::model::{ModelProfile, Price};

fn local(id: &str) -> ModelState {
    ModelState::from(Arc::new(ModelProfile::local(id, 4096)))
}

/// A remote model that costs `usd` dollars for a million tokens, read or written.
fn remote(id: &str, usd: i64) -> ModelState {
    let price = NanoUsd(usd * NanoUsd::PER_USD);
    let profile = ModelProfile {
        provider: "openai".into(),
        local: false,
        price: Price::new(price, price),
        ..ModelProfile::local(id, 128_000)
    };
    ModelState::from(Arc::new(profile))
}

fn with(mut state: ModelState, change: impl FnOnce(&mut ModelProfile)) -> ModelState {
    change(Arc::make_mut(&mut state.profile));
    state
}

fn open(state: ModelState) -> ModelState {
    ModelState { breaker: BreakerState::Open, ..state }
}

fn asking(needs: Needs) -> RouteRequest {
    RouteRequest { input_tokens: 1000, max_output_tokens: 1000, needs, ..RouteRequest::default() }
}

fn steps(request: &RouteRequest, models: &[ModelState]) -> Vec<String> {
    let plan = CheapestRouter.route(request, models).unwrap();
    assert_eq!(plan.steps.len() + plan.passed_over.len(), models.len(), "every model is named");
    assert!(plan.passed_over.iter().all(|passed| !passed.reason.is_empty()));
    plan.steps.into_iter().map(|step| step.model).collect()
}

#[test]
fn local_models_come_first_then_the_cheapest_then_the_better_then_by_name() {
    let models = [
        remote("dear", 10),
        remote("b", 1),
        remote("a", 1),
        with(remote("good", 1), |profile| profile.quality = Some(0.9)),
        local("mine"),
    ];
    assert_eq!(steps(&asking(Needs::default()), &models), ["mine", "good", "a", "b", "dear"]);
}

#[test]
fn each_need_passes_over_the_models_that_miss_it() {
    let able = |id| {
        with(remote(id, 5), |profile| {
            profile.capabilities.tools = true;
            profile.capabilities.json_schema = true;
            profile.capabilities.grammar = true;
            profile.capabilities.images = true;
            profile.quality = Some(0.9);
            profile.latency_ms = Some(100);
        })
    };
    let slow = |state| with(state, |profile| profile.latency_ms = Some(9000));
    let needs = Needs::default;
    let cases = [
        ("tools", Needs { tools: true, ..needs() }, vec!["able"]),
        ("schema", Needs { json_schema: true, ..needs() }, vec!["able"]),
        ("grammar", Needs { grammar: true, ..needs() }, vec!["able"]),
        ("images", Needs { images: true, ..needs() }, vec!["able"]),
        ("quality", Needs { min_quality: Some(0.9), ..needs() }, vec!["able"]),
        ("local", Needs { local_only: true, ..needs() }, vec!["mine"]),
        ("pinned", Needs { model: Some("dear".into()), ..needs() }, vec!["dear"]),
        ("latency", Needs { max_latency_ms: Some(100), ..needs() }, vec!["mine", "able"]),
        ("cost", Needs { max_cost: Some(NanoUsd(10_000_000)), ..needs() }, vec!["mine", "able"]),
    ];
    for (name, needs, expected) in cases {
        let models = [local("mine"), able("able"), slow(remote("dear", 50))];
        assert_eq!(steps(&asking(needs), &models), expected, "{name}");
    }
}

#[test]
fn the_whole_answer_must_fit_the_context() {
    let request = RouteRequest { input_tokens: 4000, max_output_tokens: 97, ..RouteRequest::default() };
    assert_eq!(steps(&request, &[local("mine"), remote("far", 1)]), ["far"]);
    let fits = RouteRequest { max_output_tokens: 96, ..request.clone() };
    assert_eq!(steps(&fits, &[local("mine")]), ["mine"]);
    let own = ModelState { input_tokens: Some(3000), ..local("mine") };
    assert_eq!(steps(&request, &[own]), ["mine"], "a model's own count goes before the request's");
}

#[test]
fn an_open_breaker_is_passed_over_and_a_half_open_one_is_not() {
    let half = ModelState { breaker: BreakerState::HalfOpen, ..local("half") };
    assert_eq!(steps(&asking(Needs::default()), &[open(local("mine")), half]), ["half"]);
}

#[test]
fn when_nothing_fits_the_error_says_why_for_each_model() {
    let tools = Needs { tools: true, ..Needs::default() };
    let cheap = Needs { max_cost: Some(NanoUsd(1)), ..Needs::default() };
    let long = RouteRequest { input_tokens: 1 << 40, ..RouteRequest::default() };
    let named = |name: &str| asking(Needs { model: Some(name.into()), ..Needs::default() });
    let cases = [
        (asking(Needs::default()), vec![], ErrorKind::NotFound),
        (asking(tools.clone()), vec![local("a"), remote("b", 1)], ErrorKind::Invalid),
        (asking(Needs::default()), vec![open(local("a")), open(remote("b", 1))], ErrorKind::CircuitOpen),
        (asking(tools), vec![open(local("a"))], ErrorKind::Invalid),
        (long, vec![local("a"), remote("b", 1)], ErrorKind::ContextLength),
        (asking(cheap), vec![remote("a", 1), remote("b", 2)], ErrorKind::OverBudget),
        (named("absent"), vec![local("a"), remote("b", 1)], ErrorKind::NotFound),
        (named("b"), vec![local("a"), open(remote("b", 1))], ErrorKind::CircuitOpen),
    ];
    for (request, models, kind) in cases {
        let error = CheapestRouter.route(&request, &models).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(models.iter().all(|state| error.message().contains(&state.profile.id)), "{error}");
    }
    let none = CheapestRouter.route(&asking(Needs::default()), &[]).unwrap_err();
    assert!(none.message().contains("triune models pull smollm2-135m"));
}

#[test]
fn aims_out_of_range_are_refused_by_name() {
    let needs = [
        ("target_saving", Needs { target_saving: Some(1.5), ..Needs::default() }),
        ("min_retention", Needs { min_retention: Some(f64::NAN), ..Needs::default() }),
        ("confidence", Needs { confidence: Some(0.0), ..Needs::default() }),
        ("two aims", Needs { target_saving: Some(0.5), min_retention: Some(0.9), ..Needs::default() }),
    ];
    for (named, needs) in needs {
        let error = CheapestRouter.route(&asking(needs), &[local("mine")]).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains(named), "{error}");
    }
}

#[test]
fn a_prompt_stays_out_of_what_is_logged() {
    let request =
        RouteRequest { prompt: Some("secret".into()), embedding: Some(vec![0.25]), ..RouteRequest::default() };
    let shown = format!("{request:?}");
    assert!(!shown.contains("secret") && !shown.contains("0.25"), "{shown}");
}

proptest::proptest! {
    #[test]
    fn every_model_is_named_once_and_the_order_of_the_input_does_not_matter(
        prices in proptest::collection::vec((0i64..5, proptest::bool::ANY, proptest::bool::ANY), 1..8)
    ) {
        let mut models: Vec<_> = prices.iter().enumerate().map(|(i, (usd, is_local, is_open))| {
            let state = if *is_local { local(&format!("m{i}")) } else { remote(&format!("m{i}"), *usd) };
            if *is_open { open(state) } else { state }
        }).collect();
        let request = asking(Needs::default());
        let Ok(plan) = CheapestRouter.route(&request, &models) else { return Ok(()) };
        proptest::prop_assert_eq!(plan.steps.len() + plan.passed_over.len(), models.len());
        models.reverse();
        proptest::prop_assert_eq!(plan.steps, CheapestRouter.route(&request, &models).unwrap().steps);
    }
}
