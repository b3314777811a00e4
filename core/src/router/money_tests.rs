//! What attempts take, hold and give back: that which no answer shows.

use super::*;
use crate::{
    model::{CacheFor, Delta, Message, Price, RateLimit, Usage},
    router::{BreakerState, Prompt},
};

fn all() -> LedgerQuery {
    LedgerQuery::default()
}

/// Twenty quick answers, after which a model is late when it takes longer than a moment.
fn quick(model: Scripted) -> Scripted {
    (0..20).fold(model, |model, _| model.says(&["x"]))
}

async fn hedging(config: RouterConfig, models: Vec<Scripted>) -> Rig {
    let config = RouterConfig { hedge: true, backoff_ms: 1, ..config };
    let rig = rig_with(config, models.into_iter().map(Arc::new).collect());
    for _ in 0..20 {
        assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().model, "a");
    }
    rig
}

fn refused() -> Error {
    Error::new(ErrorKind::Rejected, "filtered").with("filter", "request")
}

#[tokio::test(start_paused = true)]
async fn a_model_that_writes_what_is_not_given_out_is_not_silent() {
    let progress = vec![Delta::Progress { bytes: 30 }; 8];
    let other = Arc::new(Scripted::remote("b", 20));
    let first = Scripted::remote("a", 10).slowly(Duration::from_secs(8), progress);
    let rig = rig_with(RouterConfig::default(), vec![Arc::new(first), other.clone()]);
    // Longer than to the first token and than between two, not longer than in all.
    let mut request = ask();
    request.sampling.stop = vec!["x".into()];
    assert_eq!(rig.engine.generate(&rig.cx, request).await.unwrap().model, "a");
    assert_eq!(other.calls(), 0);
}

#[tokio::test]
async fn what_was_written_and_not_given_out_is_booked() {
    let told = Usage { cached_tokens: 5, ..Usage::of(12, 1) };
    let first = Scripted::remote("a", 10)
        .tells(vec![Delta::Progress { bytes: 300 }], unauthorized)
        .tells(vec![Delta::Usage { usage: told, whole: false }, Delta::Text { text: "abcdef".into() }], unauthorized)
        .tells(vec![Delta::Usage { usage: Usage::of(7, 4096), whole: true }], unauthorized);
    let rig = rig(vec![first]);
    for _ in 0..3 {
        rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    }
    rig.store.flush().await.unwrap();
    let entries = rig.engine.ledger(&rig.cx, all()).await.unwrap();
    let took: Vec<_> = entries.iter().rev().map(|entry| (entry.usage(), entry.estimated)).collect();
    let so_far = Usage { output_tokens: 2, ..told };
    assert_eq!(took, [(Usage::of(10, 100), true), (so_far, true), (Usage::of(7, 4096), false)]);
}

#[tokio::test]
async fn thoughts_that_nobody_saw_are_booked_by_the_time_they_took() {
    let mut thinker = Scripted::remote("a", 10).hangs();
    thinker.offers(|can| can.reasoning = true);
    let config = RouterConfig { first_token_timeout_ms: 90, ..RouterConfig::default() };
    let rig = rig_with(config, vec![Arc::new(thinker), Arc::new(Scripted::remote("b", 20).says(&["ok"]))]);
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().model, "b");
    rig.store.flush().await.unwrap();
    let failed = rig.engine.ledger(&rig.cx, all()).await.unwrap().into_iter().find(|entry| entry.failed).unwrap();
    // 100 ms at two for each token; never more than the answer may have.
    assert!((50..=100).contains(&failed.output_tokens) && failed.estimated, "{failed:?}");
}

#[tokio::test]
async fn two_models_at_once_cost_no_more_than_the_call_may() {
    let config = RouterConfig { timeout_ms: 200, ..RouterConfig::default() };
    let models = vec![quick(Scripted::remote("a", 10)).hangs(), Scripted::remote("b", 20).says(&["ok"])];
    let rig = hedging(config, models).await;
    let mut request = ask();
    // Each may have 110 tokens: 1100 and 2200.
    request.needs.max_cost = Some(NanoUsd(2500));
    let reply = rig.engine.generate(&rig.cx, request).await.unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| (a.model.as_str(), a.code.as_deref())).collect();
    assert_eq!(tried, [("a", Some("TIMEOUT")), ("b", None)], "one after the other");
}

#[tokio::test]
async fn what_the_second_model_refuses_is_not_answered_by_the_first() {
    let models = vec![quick(Scripted::remote("a", 10)).hangs(), Scripted::remote("b", 20).fails_at_once(refused)];
    let config = RouterConfig { timeout_ms: 5000, reroute_filtered: Reroute::Never, ..RouterConfig::default() };
    let rig = hedging(config, models).await;
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap_err().kind(), ErrorKind::Rejected);
}

#[tokio::test]
async fn the_callers_deadline_is_held_against_neither_of_two_models() {
    let models = vec![quick(Scripted::remote("a", 10)).hangs(), Scripted::remote("b", 20).hangs()];
    let rig = hedging(RouterConfig { breaker_failures: 1, ..RouterConfig::default() }, models).await;
    let late = rig.cx.child().within(Duration::from_millis(200));
    assert_eq!(rig.engine.generate(&late, ask()).await.unwrap_err().kind(), ErrorKind::Timeout);
    let state = |model| rig.engine.breakers().state(model, Instant::now());
    assert_eq!((state("a"), state("b")), (BreakerState::Closed, BreakerState::Closed));
}

#[tokio::test]
async fn the_one_that_is_left_of_two_is_waited_for() {
    let slow = quick(Scripted::remote("a", 10)).slowly(Duration::from_millis(500), vec![text("late")]);
    let models = vec![slow, Scripted::remote("b", 20).fails_at_once(unauthorized)];
    let rig = hedging(RouterConfig { first_token_timeout_ms: 150, ..RouterConfig::default() }, models).await;
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().text, "late");
}

#[tokio::test]
async fn a_model_that_was_overtaken_is_remembered_as_slow() {
    let wait = Duration::from_millis(60);
    let second = Scripted::remote("b", 20).slowly(wait, vec![text("ok")]).slowly(wait, vec![text("ok")]);
    let rig = hedging(RouterConfig::default(), vec![quick(Scripted::remote("a", 10)).hangs().hangs(), second]).await;
    for _ in 0..2 {
        assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().model, "b");
    }
    assert!(rig.engine.first_pieces().p95("a").unwrap() >= wait);
}

fn text(text: &str) -> Delta {
    Delta::Text { text: text.into() }
}

#[tokio::test]
async fn a_long_answer_that_runs_out_of_time_is_not_held_against_the_model() {
    let model = Scripted::remote("a", 10).slowly(Duration::from_millis(20), vec![text("word "); 100]);
    let config = RouterConfig { timeout_ms: 400, breaker_failures: 1, attempts: 1, ..RouterConfig::default() };
    let rig = rig_with(config, vec![Arc::new(model)]);
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(rig.engine.breakers().state("a", Instant::now()), BreakerState::Closed);
}

#[tokio::test]
async fn a_call_that_no_budget_pays_for_uses_no_rate_up() {
    let limit = RateLimit { requests_per_minute: Some(1), tokens_per_minute: Some(200) };
    let rig = rig(vec![Scripted::remote("a", 10).limited(limit).says(&["ok"])]);
    let poor = rig.cx.clone().at_most(NanoUsd(1));
    for _ in 0..3 {
        assert_eq!(rig.engine.generate(&poor, ask()).await.unwrap_err().kind(), ErrorKind::OverBudget);
    }
    let soon = rig.cx.child().within(Duration::from_secs(5));
    assert_eq!(rig.engine.generate(&soon, ask()).await.unwrap().text, "ok");
    assert_eq!(rig.engine.generate(&soon, ask()).await.unwrap_err().kind(), ErrorKind::RateLimited);
}

#[tokio::test]
async fn what_is_held_is_what_can_be_billed_and_plans_are_made_by_what_is_usual() {
    let rig = rig(vec![Scripted::remote("a", 10).at_most(1000).says(&["ok"])]);
    let within = |nano| rig.cx.clone().at_most(NanoUsd(nano));
    // 1000 tokens at most are read and 100 written, for ten each; ten are usual.
    assert_eq!(rig.engine.route(&rig.cx, &ask()).await.unwrap().steps[0].max_cost, NanoUsd(1100));
    assert_eq!(rig.engine.generate(&within(10_999), ask()).await.unwrap_err().kind(), ErrorKind::OverBudget);
    let mut bounded = ask();
    bounded.needs.max_cost = Some(NanoUsd(10_999));
    assert_eq!(rig.engine.generate(&rig.cx, bounded).await.unwrap_err().kind(), ErrorKind::OverBudget);
    assert_eq!(rig.engine.generate(&within(11_000), ask()).await.unwrap().cost, NanoUsd(110));
}

#[tokio::test]
async fn what_an_hour_in_the_cache_costs_is_held() {
    let per_token = |nano: i64| NanoUsd(nano * 1_000_000);
    let price = Price { cache_write_1h: Some(per_token(20)), ..Price::new(per_token(10), per_token(10)) };
    let rig = rig(vec![Scripted::remote("a", 10).priced(price).says(&["ok"]).says(&["ok"])]);
    let asked = |cache| GenerateRequest {
        prompt: Prompt::Messages(vec![Message { cache, ..Message::user("hello") }]),
        ..ask()
    };
    // Ten tokens for ten each and a hundred more, or for twenty each.
    let cx = rig.cx.clone().at_most(NanoUsd(1100));
    let error = rig.engine.generate(&cx, asked(Some(CacheFor::OneHour))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OverBudget);
    rig.engine.generate(&cx, asked(Some(CacheFor::FiveMinutes))).await.unwrap();
}
