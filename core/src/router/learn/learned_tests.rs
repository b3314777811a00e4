use super::{super::Outcome, *};
use crate::{
    model::{ModelProfile, Price},
    router::CheapestRouter,
};

fn remote(id: &str, usd: i64) -> ModelState {
    let price = NanoUsd(usd * NanoUsd::PER_USD);
    let profile = ModelProfile {
        local: false,
        price: Price { input: price, output: price, ..Price::default() },
        ..ModelProfile::local(id, 128_000)
    };
    ModelState::from(Arc::new(profile))
}

fn models() -> [ModelState; 2] {
    [remote("small", 1), remote("big", 20)]
}

/// Both greet well; only `big` does sums, nine times in ten.
fn records() -> Vec<Record> {
    let outcome = |quality, usd, answer: &str| Outcome {
        quality,
        cost: NanoUsd(usd * NanoUsd::PER_USD),
        answer: Some(answer.to_owned()),
        ..Outcome::default()
    };
    (0..300)
        .map(|i| {
            let sum = i % 2 == 0;
            let prompt =
                if sum { format!("What is {i} * {} + {i}%?", i + 7) } else { format!("Say hello to friend {i}") };
            let big = f64::from(u8::from(i % 10 != 0));
            let small = if sum { 0.0 } else { big };
            let outcomes = [
                ("small", outcome(small, 1, if sum { "3 + 4 = 9" } else { "Hello, friend." })),
                ("big", outcome(big, 20, "Hello.")),
            ];
            let outcomes = outcomes.into_iter().map(|(model, outcome)| (model.to_owned(), outcome)).collect();
            Record { prompt, outcomes, ..Record::default() }
        })
        .collect()
}

fn trained() -> LearnedRouter {
    let router = LearnedRouter::new();
    router.train(&records()).unwrap();
    router
}

fn asking(prompt: &str, needs: Needs) -> RouteRequest {
    RouteRequest {
        input_tokens: 1000,
        max_output_tokens: 1000,
        needs,
        prompt: Some(prompt.to_owned()),
        ..RouteRequest::default()
    }
}

fn first(router: &LearnedRouter, prompt: &str, needs: Needs) -> String {
    router.route(&asking(prompt, needs), &models()).unwrap().steps[0].model.clone()
}

const SUM: &str = "What is 51 * 58 + 51%?";
const GREETING: &str = "Say hello to friend 77";

#[test]
fn each_prompt_goes_to_the_cheapest_model_that_is_good_enough() {
    let router = trained();
    assert_eq!(first(&router, GREETING, Needs::default()), "small");
    assert_eq!(first(&router, SUM, Needs::default()), "big");
    let reason = &router.route(&asking(SUM, Needs::default()), &models()).unwrap().steps[0].reason;
    assert!(
        reason.contains("expected quality") && reason.contains("300 labels") && reason.contains("lambda"),
        "{reason}"
    );
}

#[test]
fn aims_move_the_choice() {
    let router = trained();
    let needs = Needs::default;
    let save_all = Needs { target_saving: Some(0.95), ..needs() };
    assert_eq!(first(&router, SUM, save_all), "small", "only the small model saves so much");
    let save_some = Needs { target_saving: Some(0.3), ..needs() };
    assert_eq!(first(&router, SUM, save_some), "big", "half of the calls to it still save that");
    let keep_half = Needs { min_retention: Some(0.3), ..needs() };
    assert_eq!(first(&router, SUM, keep_half), "small", "greetings alone keep half of the quality");
    let keep = Needs { min_retention: Some(0.9), ..needs() };
    assert_eq!(first(&router, SUM, keep.clone()), "big");
    assert_eq!(first(&router, GREETING, keep), "small");
}

#[test]
fn a_least_quality_is_that_on_the_prompt() {
    let router = trained();
    let good = Needs { min_quality: Some(0.6), ..Needs::default() };
    assert_eq!(first(&router, GREETING, good.clone()), "small");
    let plan = router.route(&asking(SUM, good), &models()).unwrap();
    assert_eq!((plan.steps.len(), plan.steps[0].model.as_str()), (1, "big"));
    assert!(plan.passed_over[0].reason.contains("quality"), "{:?}", plan.passed_over);
}

#[test]
fn what_was_not_learned_is_decided_as_the_cheapest_router_does() {
    let request = asking(SUM, Needs::default());
    let plan = LearnedRouter::new().route(&request, &models()).unwrap();
    assert_eq!(plan, CheapestRouter.route(&request, &models()).unwrap());
    let others = [remote("unknown", 3), remote("new", 2)];
    assert_eq!(trained().route(&request, &others).unwrap(), CheapestRouter.route(&request, &others).unwrap());
    let mixed = [remote("unknown", 0), remote("big", 20)];
    let plan = trained().route(&request, &mixed).unwrap();
    assert_eq!(plan.steps[0].model, "big", "what is known goes before what is not");
}

#[test]
fn hard_filters_hold() {
    let router = trained();
    let tools = Needs { tools: true, ..Needs::default() };
    let error = router.route(&asking(SUM, tools.clone()), &models()).unwrap_err();
    assert_eq!(error.kind(), CheapestRouter.route(&asking(SUM, tools), &models()).unwrap_err().kind());
    let odd = Needs { target_saving: Some(2.0), ..Needs::default() };
    assert!(router.route(&asking(SUM, odd), &models()).unwrap_err().message().contains("target_saving"));
}

#[test]
fn feedback_changes_what_is_expected() {
    let router = trained();
    for i in 0..40 {
        let outcome = Outcome { quality: 1.0, ..Outcome::default() };
        let outcomes = BTreeMap::from([("small".to_owned(), outcome)]);
        router
            .feedback(&Record { prompt: format!("What is 5{i} * 58 + 5{i}%?"), outcomes, ..Record::default() })
            .unwrap();
    }
    assert_eq!(first(&router, SUM, Needs::default()), "small");
}

#[test]
fn a_router_survives_being_written_down() {
    let router = trained();
    let again = LearnedRouter::restore(&router.snapshot().unwrap()).unwrap();
    for prompt in [SUM, GREETING] {
        let request = asking(prompt, Needs { min_retention: Some(0.9), ..Needs::default() });
        assert_eq!(router.route(&request, &models()).unwrap(), again.route(&request, &models()).unwrap());
    }
    assert_eq!(router.cascade_threshold(0.9, 0.9).unwrap(), again.cascade_threshold(0.9, 0.9).unwrap());
    assert!(LearnedRouter::restore(b"{}").unwrap_err().message().contains("train it again"));
}

#[test]
fn the_cascade_asks_the_stronger_model_where_it_helps() {
    let router = trained();
    let found = router.cascade_threshold(0.9, 0.9).unwrap();
    assert!(found.retention >= 0.9 && found.strong_share < 0.7, "{found:?}");
    let doubt = |prompt, text| router.doubt(prompt, &Answer { text, ..Answer::default() }).value;
    assert!(doubt(SUM, "3 + 4 = 9") >= found.threshold);
    assert!(doubt(GREETING, "Hello, friend.") < found.threshold);
    let untaught = LearnedRouter::new().cascade_threshold(0.9, 0.9).unwrap();
    assert!((untaught.strong_share - 1.0).abs() < f64::EPSILON);
}

#[test]
fn decisions_do_not_wait_for_one_another_and_training_may_run_beside_them() {
    let router = trained();
    std::thread::scope(|scope| {
        scope.spawn(|| router.train(&records()).unwrap());
        for _ in 0..3 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(first(&router, SUM, Needs::default()), "big")));
        }
    });
}

#[test]
fn a_soft_limit_makes_the_learned_order_cheaper_and_breaks_no_promise() {
    let router = trained();
    let lambda = |needs: Needs, thrifty| router.learned().lambda(&needs, thrifty);
    let spent = |thrifty: bool| -> f64 {
        let learned = router.learned();
        let lambda = lambda(Needs::default(), thrifty);
        let parts = learned.foretold.iter().map(|prompt| {
            let relative: Vec<_> = prompt.cost.iter().map(|cost| cost / prompt.cost[1].max(prompt.cost[0])).collect();
            prompt.cost[choose(&prompt.expected, &relative, lambda).unwrap()]
        });
        parts.sum()
    };
    assert!(spent(true) <= THRIFTY * spent(false), "{} {}", spent(true), spent(false));
    let saving = Needs { target_saving: Some(0.1), ..Needs::default() };
    assert!(lambda(saving.clone(), true) > lambda(saving, false));
    let promise = Needs { min_retention: Some(0.9), ..Needs::default() };
    assert!((lambda(promise.clone(), true) - lambda(promise, false)).abs() < f64::EPSILON);
    let short = RouteRequest { thrifty: true, ..asking(SUM, Needs::default()) };
    assert_eq!(router.route(&short, &models()).unwrap().steps[0].model, "small");
}
