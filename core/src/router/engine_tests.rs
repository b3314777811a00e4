use std::sync::Mutex;

use super::{super::testkit::Scripted, *};
use crate::{
    error::ErrorKind,
    money::{Budget, NanoUsd, Period},
    monitor::{Event, FnSink},
    router::{BudgetConfig, CheapestRouter, Reroute},
    store::{StoreConfig, Unit},
};

#[path = "money_tests.rs"]
mod money;

struct Rig {
    engine: RouterEngine,
    store: Store,
    cx: Context,
    events: Arc<Mutex<Vec<Event>>>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn names(&self) -> Vec<&'static str> {
        self.events.lock().unwrap().iter().map(|event| event.kind.name()).collect()
    }
}

fn rig_with(config: RouterConfig, models: Vec<Arc<Scripted>>) -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    for model in models {
        registry.register(&model.profile().id.clone(), model).unwrap();
    }
    let engine = RouterEngine::new(config, Arc::new(CheapestRouter), registry, store.clone()).unwrap();
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let cx = Context::new().events(Arc::new(FnSink(move |event: &Event| seen.lock().unwrap().push(event.clone()))));
    Rig { engine, store, cx, events, _folder: folder }
}

fn rig(models: Vec<Scripted>) -> Rig {
    rig_with(RouterConfig { backoff_ms: 1, ..RouterConfig::default() }, models.into_iter().map(Arc::new).collect())
}

fn ask() -> GenerateRequest {
    let mut request = GenerateRequest::new("hello");
    request.sampling.max_tokens = Some(100);
    request
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

fn unauthorized() -> Error {
    Error::new(ErrorKind::Unauthorized, "no key")
}

async fn pieces(rig: &Rig) -> (String, Result<GenerateReply>) {
    let mut stream = rig.engine.stream(&rig.cx, ask()).await.unwrap();
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(StreamEvent::Text { text: more }) => text.push_str(&more),
            Ok(StreamEvent::Done { reply }) => return (text, Ok(*reply)),
            Err(error) => return (text, Err(error)),
        }
    }
    panic!("the stream ended without its last piece");
}

#[tokio::test]
async fn the_local_model_answers_and_the_saving_is_in_the_ledger() {
    let rig = rig(vec![Scripted::local("mine").says(&["a", "b"]), Scripted::remote("dear", 1000)]);
    let reply = rig.engine.generate(&rig.cx, ask()).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.model.as_str(), reply.cost), ("ab", "mine", NanoUsd::ZERO));
    // gpt-4o: 10 tokens at $2.5 and 2 at $10 a million.
    assert_eq!(reply.saved, NanoUsd(10 * 2500 + 2 * 10_000));
    assert_eq!(reply.route.steps.len(), 2);
    let ledger = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    assert_eq!((ledger.len(), &ledger[0].id, ledger[0].saved), (1, &reply.id, reply.saved));
    assert_eq!(rig.engine.totals(None).unwrap().saved, reply.saved);
    assert_eq!(rig.names(), ["routed", "attempted", "spent"]);
}

#[tokio::test]
async fn several_answers_are_calls_of_their_own_and_cost_what_one_may_together() {
    let rig = rig(vec![Scripted::remote("a", 1000).says(&["x"]).says(&["y"]).says(&["z"])]);
    let request = |n| GenerateRequest { n, ..ask() };
    let reply = rig.engine.generate(&rig.cx, request(3)).await.unwrap();
    // They are asked for at once; which is asked first nobody knows.
    let mut texts: Vec<_> = [&reply].into_iter().chain(&reply.alternatives).map(|reply| reply.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["x", "y", "z"]);
    // A request has 10 tokens and each answer one, at 1000 nano-dollars.
    assert!(reply.cost == NanoUsd(11_000) && reply.alternatives.iter().all(|other| other.cost == reply.cost));
    let ledger = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    assert_eq!(ledger.len(), 3);
    assert_eq!(rig.engine.totals(None).unwrap().cost, NanoUsd(33_000));

    for n in [0, 65] {
        assert_eq!(rig.engine.generate(&rig.cx, request(n)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(rig.engine.stream(&rig.cx, request(2)).await.map(drop).unwrap_err().kind(), ErrorKind::Invalid);
    // Ten and a hundred tokens at most, for each of two.
    let mut bounded = request(2);
    bounded.needs.max_cost = Some(NanoUsd(2 * 110_000 - 1));
    let error = rig.engine.generate(&rig.cx, bounded).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OverBudget, "{error}");
}

#[test]
fn each_of_several_answers_has_a_seed_of_its_own() {
    let mut request = GenerateRequest { n: 3, ..ask() };
    request.sampling.seed = Some(u64::MAX);
    let seeds: Vec<_> = request.each().unwrap().into_iter().map(|one| (one.n, one.sampling.seed)).collect();
    assert_eq!(seeds, [(1, Some(u64::MAX)), (1, Some(0)), (1, Some(1))]);
}

#[tokio::test]
async fn a_passing_failure_is_retried_and_a_lasting_one_goes_to_the_next_model() {
    let first = Scripted::local("a").fails_at_once(unavailable).cut_off(&["x"]);
    let rig = rig(vec![first, Scripted::local("b").fails_at_once(unauthorized), Scripted::local("c").says(&["ok"])]);
    let reply = rig.engine.generate(&rig.cx, ask()).await.unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| (a.model.as_str(), a.code.as_deref())).collect();
    let expected = [("a", Some("UNAVAILABLE")), ("a", Some("UNAVAILABLE")), ("b", Some("UNAUTHORIZED")), ("c", None)];
    assert_eq!((tried.as_slice(), reply.text.as_str()), (&expected[..], "ok"));
}

#[tokio::test]
async fn an_error_of_the_request_ends_it_at_once() {
    let next = Arc::new(Scripted::local("b").says(&["never"]));
    let first = Arc::new(Scripted::local("a").fails_at_once(|| Error::invalid("no")));
    let rig = rig_with(RouterConfig::default(), vec![first, next.clone()]);
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(next.calls(), 0);
}

#[tokio::test]
async fn when_all_fail_the_last_error_tells_the_story_and_is_not_retried_again() {
    let rig = rig(vec![Scripted::local("a").fails(unauthorized), Scripted::local("b").fails(unauthorized)]);
    let error = rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    assert!(error.to_string().contains("a UNAUTHORIZED, b UNAUTHORIZED"), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_stream_falls_back_and_goes_on_where_it_broke_off() {
    let rig1 = rig(vec![Scripted::local("a").fails(unauthorized), Scripted::local("b").says(&["o", "k"])]);
    let (text, reply) = pieces(&rig1).await;
    assert_eq!((text.as_str(), reply.unwrap().text.as_str()), ("ok", "ok"));
    let broken = || {
        vec![Scripted::remote("a", 10).fails_after(&["abc "], unauthorized), Scripted::remote("b", 20).says(&["def"])]
    };
    let rig2 = rig(broken());
    let (text, reply) = pieces(&rig2).await;
    let reply = reply.unwrap();
    assert_eq!((text.as_str(), reply.text.as_str(), reply.model.as_str()), ("abc def", "abc def", "b"));
    assert_eq!(reply.cost, NanoUsd(10 * (10 + 2) + 20 * 11), "both are paid");
    assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (20, 2));
    // The reference model would have read ten tokens once, and written both parts.
    assert_eq!(reply.reference_cost, NanoUsd(10 * 2500 + 2 * 10_000));
    rig2.store.flush().await.unwrap();
    assert_eq!(rig2.engine.totals(None).unwrap().cost, reply.cost);
    let rig3 = rig(broken());
    assert_eq!(rig3.engine.generate(&rig3.cx, ask()).await.unwrap().text, "def", "a whole answer begins anew");
    let config = RouterConfig { continue_answers: false, ..RouterConfig::default() };
    let rig4 = rig_with(config, broken().into_iter().map(Arc::new).collect());
    let (text, error) = pieces(&rig4).await;
    assert_eq!((text.as_str(), error.unwrap_err().kind()), ("abc ", ErrorKind::Unauthorized));
}

#[tokio::test]
async fn when_nobody_can_go_on_the_caller_hears_why_it_broke_off() {
    let first = Scripted::local("a").fails_after(&["abc "], unauthorized);
    let rig = rig(vec![first, Scripted::local("b").fails_at_once(|| Error::invalid("it takes no such chat"))]);
    let (text, error) = pieces(&rig).await;
    let error = error.unwrap_err();
    assert_eq!((text.as_str(), error.kind()), ("abc ", ErrorKind::Unauthorized));
    assert!(error.to_string().contains("a UNAUTHORIZED, b INVALID"), "{error}");
}

#[tokio::test]
async fn an_empty_answer_is_a_failure_and_is_paid_for() {
    let first = Scripted::remote("a", 10).says(&[]).says(&[]);
    let rig1 = rig(vec![first, Scripted::remote("b", 20).says(&["ok"])]);
    let reply = rig1.engine.generate(&rig1.cx, ask()).await.unwrap();
    assert_eq!((reply.model.as_str(), reply.cost), ("b", NanoUsd(2 * 100 + 220)));
    let rig2 = rig(vec![Scripted::remote("a", 10).says(&[]).says(&[])]);
    assert_eq!(rig2.engine.generate(&rig2.cx, ask()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let rig3 = rig(vec![Scripted::remote("a", 10).says(&[])]);
    let mut stops = ask();
    stops.sampling.stop = vec!["x".into()];
    assert_eq!(rig3.engine.generate(&rig3.cx, stops).await.unwrap().text, "", "a stop text may come first");
}

#[tokio::test]
async fn a_refusal_of_the_request_is_reported_unless_the_settings_say_otherwise() {
    fn refused() -> Error {
        Error::new(ErrorKind::Rejected, "filtered").with("filter", "request")
    }
    let models =
        || vec![Arc::new(Scripted::local("a").fails_at_once(refused)), Arc::new(Scripted::local("b").says(&["ok"]))];
    let rig1 = rig_with(RouterConfig::default(), models());
    assert_eq!(rig1.engine.generate(&rig1.cx, ask()).await.unwrap_err().kind(), ErrorKind::Rejected);
    let rig2 = rig_with(RouterConfig { reroute_filtered: Reroute::Always, ..RouterConfig::default() }, models());
    assert_eq!(rig2.engine.generate(&rig2.cx, ask()).await.unwrap().model, "b");
}

#[tokio::test]
async fn an_exhausted_account_is_left_alone_at_once_and_the_error_says_for_how_long() {
    fn no_money() -> Error {
        Error::new(ErrorKind::OverBudget, "no money")
    }
    let model = Arc::new(Scripted::local("a").fails_at_once(no_money));
    let rig = rig_with(RouterConfig { exhausted_ms: 60_000, ..RouterConfig::default() }, vec![model.clone()]);
    let first = rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    let then = rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    for (error, kind) in [(first, ErrorKind::OverBudget), (then, ErrorKind::CircuitOpen)] {
        let wait: u64 = error.facts()["retry_after_ms"].parse().unwrap();
        assert!(error.kind() == kind && (50_000..=60_000).contains(&wait), "{error}");
    }
    assert_eq!(model.calls(), 1);
}

#[tokio::test]
async fn a_late_model_gets_company_and_the_loser_is_stopped_and_paid() {
    let first = (0..20).fold(Scripted::remote("a", 10), |model, _| model.says(&["x"])).hangs();
    let second = Arc::new(Scripted::remote("b", 20).says(&["ok"]));
    let config = RouterConfig { hedge: true, ..RouterConfig::default() };
    let rig = rig_with(config, vec![Arc::new(first), second.clone()]);
    for _ in 0..20 {
        assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().model, "a");
    }
    assert_eq!(second.calls(), 0, "nobody was late");
    let reply = rig.engine.generate(&rig.cx, ask()).await.unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| (a.model.as_str(), a.code.as_deref())).collect();
    assert_eq!(tried, [("a", Some("CANCELLED")), ("b", None)]);
    assert_eq!(reply.cost, NanoUsd(10 * 10 + 20 * 11), "what the loser read is paid");
}

#[tokio::test]
async fn a_budget_is_held_before_and_settled_after() {
    let rig = rig(vec![Scripted::remote("m", 10).says(&["a", "b"]).says(&["c"])]);
    let budget = Budget::new(NanoUsd(1199));
    let cx = rig.cx.clone().budget(budget.clone());
    let reply = rig.engine.generate(&cx, ask()).await.unwrap();
    assert_eq!((reply.cost, budget.spent()), (NanoUsd(120), NanoUsd(120)));
    let error = rig.engine.generate(&cx, ask()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OverBudget, "1100 are needed and 1079 are left");
    assert_eq!(budget.left(), NanoUsd(1079));
}

#[tokio::test]
async fn a_hundred_calls_at_once_cannot_overspend() {
    let model = (0..100).fold(Scripted::remote("m", 10), |model, _| model.says(&["a"; 100]));
    let config = RouterConfig { budgets: vec![BudgetConfig::new(5500e-9, Period::Total)], ..RouterConfig::default() };
    let rig = rig_with(config, vec![Arc::new(model)]);
    let calls = (0..100).map(|_| rig.engine.generate(&rig.cx, ask()));
    let done = futures_util::future::join_all(calls).await;
    assert_eq!(done.iter().filter(|reply| reply.is_ok()).count(), 5);
    assert_eq!(rig.engine.totals(None).unwrap().cost, NanoUsd(5500));
}

#[tokio::test]
async fn a_dropped_stream_pays_for_what_came() {
    let rig = rig(vec![Scripted::remote("m", 10).says(&["abcdef", "ghi"])]);
    let budget = Budget::new(NanoUsd(10_000));
    let mut stream = rig.engine.stream(&rig.cx.clone().budget(budget.clone()), ask()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(StreamEvent::Text { .. }))));
    drop(stream);
    assert_eq!((budget.spent(), budget.left()), (NanoUsd(120), NanoUsd(9880)), "10 tokens read, 2 written");
    rig.store.commit(Vec::new()).await.unwrap();
    let ledger = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    assert_eq!((ledger[0].cost, ledger[0].saved), (NanoUsd(120), NanoUsd(-120)));
}

#[tokio::test]
async fn a_failed_attempt_that_was_billed_is_part_of_the_cost() {
    let first = Scripted::remote("a", 10).fails_after(&["abc"], unauthorized);
    let rig = rig(vec![first, Scripted::remote("b", 20).says(&["ok"])]);
    let reply = rig.engine.generate(&rig.cx, ask()).await.unwrap();
    assert_eq!(reply.cost, NanoUsd(110 + 220));
    let totals = rig.engine.totals(None).unwrap();
    assert_eq!((totals.cost, totals.saved), (reply.cost, reply.saved));
}

#[tokio::test]
async fn a_silent_model_is_left_for_the_next_one() {
    let config = RouterConfig { timeout_ms: 20, ..RouterConfig::default() };
    let models = vec![Arc::new(Scripted::local("a").hangs()), Arc::new(Scripted::local("b").says(&["ok"]))];
    let rig = rig_with(config, models);
    let reply = rig.engine.generate(&rig.cx, ask()).await.unwrap();
    assert_eq!((reply.attempts[0].code.as_deref(), reply.model.as_str()), (Some("TIMEOUT"), "b"));
}

#[tokio::test]
async fn a_reader_who_takes_his_time_does_not_make_the_model_slow() {
    let config = RouterConfig { timeout_ms: 300, breaker_failures: 1, ..RouterConfig::default() };
    let rig = rig_with(config, vec![Arc::new(Scripted::local("a").says(&["x", "y"]).hangs())]);
    let mut stream = rig.engine.stream(&rig.cx, ask()).await.unwrap();
    while let Some(event) = stream.next().await {
        event.unwrap();
        // No paused clock: deadlines are told by the system's.
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
    let error = rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    assert!(error.to_string().contains("tried=a TIMEOUT"), "a silent model is one all the same: {error}");
}

#[tokio::test]
async fn attempts_together_cost_no_more_than_the_call_may() {
    // Each may cost 110 tokens; the first wasted 12 of them.
    let first = Scripted::remote("a", 10).fails_after(&["abcdef"], unauthorized);
    let next = Arc::new(Scripted::remote("b", 10).says(&["never"]));
    let last = Scripted::remote("c", 20).says(&["never"]);
    let rig = rig_with(RouterConfig::default(), vec![Arc::new(first), next.clone(), Arc::new(last)]);
    let mut request = ask();
    request.needs.max_cost = Some(NanoUsd(1200));
    let error = rig.engine.generate(&rig.cx, request).await.unwrap_err();
    assert_eq!((error.kind(), next.calls()), (ErrorKind::OverBudget, 0), "120 are spent and 1100 may be needed");
    rig.store.flush().await.unwrap();
    assert_eq!(rig.engine.totals(None).unwrap().cost, NanoUsd(120));
    let rig = rig_with(
        RouterConfig::default(),
        vec![
            Arc::new(Scripted::remote("a", 10).fails_after(&["abcdef"], unauthorized)),
            Arc::new(Scripted::remote("b", 10).says(&["ok"])),
        ],
    );
    let mut request = ask();
    request.needs.max_cost = Some(NanoUsd(1220));
    assert_eq!(rig.engine.generate(&rig.cx, request).await.unwrap().text, "ok");
}

#[tokio::test]
async fn only_models_that_can_be_chosen_count_the_tokens() {
    let (named, other) = (Arc::new(Scripted::local("a").says(&["ok"])), Arc::new(Scripted::local("b")));
    let rig = rig_with(RouterConfig::default(), vec![named.clone(), other.clone()]);
    let mut request = ask();
    request.needs.model = Some("a".into());
    rig.engine.generate(&rig.cx, request).await.unwrap();
    assert_eq!((named.counted(), other.counted()), (1, 0));
}

#[tokio::test]
async fn counting_tokens_can_be_cancelled_and_holds_nobody_up() {
    let rig = rig(vec![Scripted::local("a").counts_for(Duration::from_secs(2)).says(&["never"])]);
    let late = rig.cx.child().within(Duration::from_millis(20));
    let began = Instant::now();
    let mut long = ask();
    long.prompt = super::super::Prompt::Text("word ".repeat(1000));
    let error = rig.engine.generate(&late, long).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_callers_end_is_not_held_against_the_model() {
    let config = RouterConfig { breaker_failures: 1, ..RouterConfig::default() };
    let model = Arc::new(Scripted::local("a").hangs().hangs().says(&["ok"]));
    let rig = rig_with(config, vec![model.clone()]);
    let late = rig.cx.child().within(Duration::from_millis(500));
    assert_eq!(rig.engine.generate(&late, ask()).await.unwrap_err().kind(), ErrorKind::Timeout);
    let left = rig.cx.child();
    let (cancel, call) = (left.cancel.clone(), rig.engine.generate(&left, ask()));
    let cancelled = async {
        while model.calls() < 2 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(call, cancelled);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(rig.engine.generate(&rig.cx, ask()).await.unwrap().text, "ok");
}

#[tokio::test]
async fn a_model_that_fails_too_often_is_left_alone() {
    let model = Scripted::local("a").fails(unauthorized).fails(unauthorized);
    let model = Arc::new(model.says(&["back"]));
    let config = RouterConfig { breaker_failures: 2, breaker_open_ms: 60_000, ..RouterConfig::default() };
    let rig = rig_with(config, vec![model.clone()]);
    for _ in 0..2 {
        rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    }
    let error = rig.engine.generate(&rig.cx, ask()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::CircuitOpen && error.is_retryable() && model.calls() == 2);
    assert!(rig.names().contains(&"breaker_opened") && !rig.engine.health(&rig.cx).await.ok);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_that_is_asked_for_is_left_for_another_model() {
    fn slow_down() -> Error {
        Error::new(ErrorKind::RateLimited, "slow down").with("retry_after_ms", 20_000)
    }
    let rig1 = rig(vec![Scripted::local("a").fails(slow_down), Scripted::local("b").says(&["ok"])]);
    assert_eq!(rig1.engine.generate(&rig1.cx, ask()).await.unwrap().model, "b");
    let rig2 = rig(vec![Scripted::local("a").fails(slow_down).says(&["ok"])]);
    let started = tokio::time::Instant::now();
    assert_eq!(rig2.engine.generate(&rig2.cx, ask()).await.unwrap().model, "a");
    assert!(started.elapsed() >= Duration::from_secs(20), "honoured when there is no other");
}

#[tokio::test]
async fn the_entry_of_a_task_is_committed_with_the_task() {
    let rig = rig(vec![Scripted::local("a").says(&["ok"])]);
    let unit = Unit::default();
    rig.engine.generate(&rig.cx.clone().unit(Some(unit.clone())), ask()).await.unwrap();
    assert_eq!(rig.engine.totals(None).unwrap().calls, 0);
    rig.store.commit(unit.take(true)).await.unwrap();
    assert_eq!(rig.engine.totals(None).unwrap().calls, 1);
}

#[tokio::test]
async fn what_a_request_has_is_what_it_needs() {
    let rig = rig(vec![Scripted::local("a")]);
    let mut tools = ask();
    tools.tools.push(crate::engine::FunctionSpec::new("search"));
    assert!(rig.engine.route(&rig.cx, &tools).await.unwrap_err().message().contains("it calls no tools"));
    let mut long = ask();
    long.sampling.max_tokens = Some(5000);
    assert_eq!(rig.engine.route(&rig.cx, &long).await.unwrap_err().kind(), ErrorKind::ContextLength);
    long.sampling.max_tokens = None;
    assert_eq!(rig.engine.route(&rig.cx, &long).await.unwrap().steps[0].model, "a");
}

#[test]
fn a_reference_model_without_a_price_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let config = RouterConfig { reference_model: "gpt-4oo".into(), ..RouterConfig::default() };
    let error = RouterEngine::new(config, Arc::new(CheapestRouter), Registry::new("model"), store).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("\"gpt-4o\""), "{error}");
}

#[tokio::test]
async fn the_ledger_knows_the_task_and_what_the_choice_was_made_from() {
    let rig = rig(vec![Scripted::remote("cheap", 1).says(&["a"]), Scripted::remote("dear", 100).says(&["b"])]);
    let tagged = GenerateRequest { tag: Some("summarise".into()), ..ask() };
    rig.engine.generate(&rig.cx, tagged).await.unwrap();
    let mut named = ask();
    named.needs.model = Some("dear".into());
    rig.engine.generate(&rig.cx, named).await.unwrap();
    let [second, first] = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap().try_into().unwrap();
    assert_eq!((first.tag.as_deref(), second.tag), (Some("summarise"), None));
    assert!(!first.failed && !first.estimated);
    let decision = first.decision.unwrap();
    assert_eq!(decision.request.tag.as_deref(), Some("summarise"));
    let costs: Vec<_> = decision.candidates.iter().map(|c| (c.model.as_str(), c.max_cost.0)).collect();
    assert_eq!(costs, [("cheap", 110), ("dear", 11_000)]);
    // 11 tokens each: once on the cheap model and once on the dear one.
    let all = LedgerQuery::default;
    let dear = rig.engine.models().items().into_iter().find(|m| m.profile().id == "dear").unwrap();
    let always = rig.engine.replay_always(&rig.cx, all(), dear.profile().clone()).await.unwrap();
    assert_eq!((always.calls, always.cost, always.replayed_cost), (2, NanoUsd(1111), NanoUsd(2200)));
    let cheap: Vec<_> = rig.engine.models().items().iter().map(|m| Arc::new(m.profile().clone())).collect();
    let same = rig.engine.replay(&rig.cx, all(), Arc::new(CheapestRouter), cheap[..1].to_vec()).await.unwrap();
    assert_eq!((same.calls, same.left_out), (2, 0), "a model that is not there is not insisted on");
    let asked = RouterRequest::Replay { model: Some("gpt-4o".into()), models: None, of: all() };
    let RouterReply::Replayed(listed) = rig.engine.call(&rig.cx, asked).await.unwrap() else { panic!() };
    assert_eq!(listed.replayed_cost, NanoUsd(2 * (10 * 2500 + 10_000)));
    let by_tag = rig.engine.groups(&rig.cx, LedgerGroup::Tag, all()).await.unwrap();
    assert_eq!((by_tag[1].group.as_str(), by_tag[1].totals.cost), ("summarise", NanoUsd(11)));
}

#[tokio::test]
async fn a_tag_that_is_no_name_is_refused_before_any_work() {
    let rig = rig(vec![Scripted::local("a")]);
    let request = GenerateRequest { tag: Some("x".repeat(65)), ..ask() };
    assert_eq!(rig.engine.generate(&rig.cx, request).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn the_budget_of_the_model_that_bills_pays_and_another_model_may_still_serve() {
    let config = RouterConfig {
        budgets: vec![BudgetConfig::new(200e-9, Period::Day).model("a").tag("sum")],
        ..RouterConfig::default()
    };
    let (a, b) = (Scripted::remote("a", 1).says(&["1"]), Scripted::remote("b", 2).says(&["2"]));
    let rig = rig_with(config, vec![Arc::new(a), Arc::new(b)]);
    let ask = || GenerateRequest { tag: Some("sum".into()), ..ask() };
    // Each may cost 110; after the first, 189 are left, so hold most of it.
    let replies = [rig.engine.generate(&rig.cx, ask()).await.unwrap()];
    assert_eq!(replies[0].model, "a");
    let [state] = rig.engine.budget_states(&rig.cx).await.unwrap().try_into().unwrap();
    assert_eq!((state.spent, state.held, state.limit), (NanoUsd(11), NanoUsd::ZERO, NanoUsd(200)));
    let mut long = ask();
    long.sampling.max_tokens = Some(190);
    let reply = rig.engine.generate(&rig.cx, long).await.unwrap();
    let tried: Vec<_> = reply.attempts.iter().map(|a| (a.model.as_str(), a.code.as_deref())).collect();
    assert_eq!(tried, [("a", Some("OVER_BUDGET")), ("b", None)]);
}
