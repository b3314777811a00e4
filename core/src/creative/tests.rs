use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Constraint, ConstraintCheck, CreativeConfig, CreativeEngine, SolveRequest};
use crate::{
    Budget, Context, Error, ErrorKind, NanoUsd,
    model::ChatRequest,
    monitor::{Event, EventKind, FnSink},
    recall::{RecallQuery, StoreRequest},
    team::{
        TeamConfig,
        scripted::{Answer, Mind, Ruled},
    },
};

const IDEAS: &[&str] = &[
    "weigh leftovers every monday",
    "smaller plates with second helpings",
    "a shelf where guests share unopened food for 40 €",
    "sell surplus soup in jars at night for $900",
    "children vote tomorrow's menu",
    "feed chickens behind school kitchen",
];

fn thinker(id: &str) -> Arc<Ruled> {
    Arc::new(Ruled::new(id, |_, number| Answer::Text(IDEAS[number % IDEAS.len()].into())))
}

fn open(config: CreativeConfig, models: &[Arc<Ruled>], embeds: bool) -> (tempfile::TempDir, Mind, CreativeEngine) {
    let folder = tempfile::tempdir().unwrap();
    let mind = Mind::open(folder.path(), TeamConfig::default(), models, embeds);
    let creative = CreativeEngine::new(config, mind.router.clone(), mind.recall.clone()).unwrap();
    (folder, mind, creative)
}

fn ask(ideas: usize) -> SolveRequest {
    SolveRequest { ideas, ..SolveRequest::new("Cut food waste in a canteen") }
}

fn prompt(request: &ChatRequest) -> &str {
    &request.messages.last().unwrap().content
}

#[tokio::test]
async fn ideas_are_measured_ranked_and_remembered() {
    let (one, two) =
        (thinker("one"), Arc::new(Ruled::new("two", |_, n| Answer::Text(format!("robot number {n} {n}{n}")))));
    let (_folder, mind, creative) = open(CreativeConfig::default(), &[one, two], true);
    let found = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&found);
    let cx = Context::new().events(Arc::new(FnSink(move |event: &Event| {
        if matches!(event.kind, EventKind::IdeaFound { .. }) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    })));
    let mut request = ask(6);
    request.constraints = vec![Constraint::Check(ConstraintCheck::Avoids("robot".into()))];
    let solution = creative.solve(&cx, request).await.unwrap();
    assert_eq!((solution.solutions.len(), found.load(Ordering::SeqCst)), (6, 6));
    let models: std::collections::HashSet<_> = solution.solutions.iter().map(|idea| idea.model.as_str()).collect();
    assert_eq!(models.len(), 2, "every model that fits is asked");
    assert!(solution.solutions.is_sorted_by_key(|idea| !idea.violated.is_empty()));
    assert_eq!(solution.solutions.iter().filter(|idea| idea.novelty.is_none()).count(), 1, "only the very first");
    assert_eq!(solution.feasibility_score, Some(0.5));
    let expected = (solution.novelty_index.unwrap() * 0.5).sqrt();
    assert!((solution.creativity_score.unwrap() - expected).abs() < 1e-12);
    assert_eq!(solution.cost, NanoUsd(6 * 15));
    let mut query = RecallQuery::new("leftovers", 10);
    query.namespace = "ideas".into();
    let hits = mind.recall.query(&Context::new(), query).await.unwrap();
    assert!(hits.iter().any(|hit| hit.item.text == IDEAS[0]));
}

#[tokio::test]
async fn what_was_seen_before_is_not_new() {
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[thinker("one")], true);
    let first = creative.solve(&Context::new(), ask(6)).await.unwrap();
    assert!(first.novelty_index.unwrap() > 0.5, "{first:?}");
    let second = creative.solve(&Context::new(), ask(6)).await.unwrap();
    assert_eq!(second.novelty_index, Some(0.0), "the same ideas again");
    assert_eq!(second.creativity_score, None, "without feasibility there is no score");
    let mut elsewhere = ask(6);
    elsewhere.namespace = "other".into();
    // Not the same to the last digit: answers come in any order, and an idea is compared with those before it.
    let elsewhere = creative.solve(&Context::new(), elsewhere).await.unwrap();
    assert!(elsewhere.novelty_index.unwrap() > 0.5, "what is known in one namespace is new in another");
}

#[tokio::test]
async fn repeats_are_dropped_and_asked_again_within_bounds() {
    let model = Arc::new(Ruled::new("parrot", |_, number| {
        Answer::Text(["Weigh leftovers!", "weigh  leftovers", "plant trees", "plant trees"][number.min(3)].into())
    }));
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[Arc::clone(&model)], true);
    let solution = creative.solve(&Context::new(), ask(3)).await.unwrap();
    assert_eq!((solution.solutions.len(), solution.repeats, model.asked().len()), (2, 7, 9));
    assert!(solution.notes[0].contains("2 of 3"), "{:?}", solution.notes);
    assert!(prompt(&model.asked()[3]).contains("- plant trees"), "later questions name what is known");
    assert!(!prompt(&model.asked()[0]).contains("known"));
}

#[tokio::test]
async fn amounts_and_words_are_checked_by_code() {
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[thinker("one")], true);
    let mut request = ask(6);
    request.constraints = vec![
        Constraint::Check(ConstraintCheck::MaxAmount(500.0)),
        Constraint::Check(ConstraintCheck::MaxWords(9)),
        Constraint::Text("is fun".into()),
    ];
    let solution = creative.solve(&Context::new(), request).await.unwrap();
    let last = solution.solutions.last().unwrap();
    assert_eq!((last.text.as_str(), last.feasibility), (IDEAS[3], Some(0.5)));
    assert_eq!(last.violated, ["costs at most 500"]);
    assert!(solution.solutions.iter().all(|idea| idea.unchecked == ["is fun"]));
    assert!(solution.notes.iter().any(|note| note.contains("no judge")), "{:?}", solution.notes);
}

/// Knows the calibration set by heart when `honest`, and otherwise always agrees.
fn judge(honest: bool) -> Arc<Ruled> {
    let pairs: Vec<serde_json::Value> = serde_json::from_str(include_str!("calibration.json")).unwrap();
    Arc::new(Ruled::new("judge", move |request, _| {
        let text = prompt(request);
        if !text.starts_with("Constraint: ") {
            return Answer::Text(format!("idea {}", text.len()));
        }
        let known = pairs.iter().find(|pair| text.contains(pair["idea"].as_str().unwrap()));
        let meets = known.map_or(text.contains("chickens"), |pair| pair["meets"].as_bool().unwrap());
        Answer::Text(if meets || !honest { "YES" } else { "No." }.into())
    }))
}

#[tokio::test]
async fn a_judge_that_passes_its_calibration_is_believed_and_calibrated_once() {
    let judge = judge(true);
    let config = CreativeConfig { judge: Some("judge".into()), ..CreativeConfig::default() };
    let (_folder, _mind, creative) = open(config, &[thinker("one"), Arc::clone(&judge)], true);
    let mut request = ask(6);
    request.needs.model = Some("one".into());
    request.constraints = vec![Constraint::Text("has animals".into())];
    let solution = creative.solve(&Context::new(), request.clone()).await.unwrap();
    assert_eq!(judge.asked().len(), 24 + 6);
    assert_eq!((solution.solutions[0].text.as_str(), solution.solutions[0].feasibility), (IDEAS[5], Some(1.0)));
    assert!(solution.solutions[1..].iter().all(|idea| idea.violated == ["has animals"]));
    assert!(solution.notes.is_empty(), "{:?}", solution.notes);
    assert_eq!(solution.cost, NanoUsd(15 * 36), "what the judge costs is counted");
    creative.solve(&Context::new(), request).await.unwrap();
    // What it said of an idea it need not say again.
    assert_eq!(judge.asked().len(), 24 + 6, "calibrated once");
}

#[tokio::test]
async fn a_judge_that_fails_its_calibration_is_refused() {
    let config = CreativeConfig { judge: Some("judge".into()), ..CreativeConfig::default() };
    let (_folder, _mind, creative) = open(config, &[thinker("one"), judge(false)], true);
    let mut request = ask(2);
    request.needs.model = Some("one".into());
    request.constraints = vec![Constraint::Text("has animals".into())];
    let solution = creative.solve(&Context::new(), request).await.unwrap();
    assert!(solution.notes[0].contains("12 of 24"), "{:?}", solution.notes);
    assert_eq!((solution.feasibility_score, solution.creativity_score), (None, None));
    assert!(solution.solutions.iter().all(|idea| idea.feasibility.is_none() && idea.unchecked.len() == 1));
}

#[tokio::test]
async fn without_an_embedder_novelty_is_absent_and_said_so() {
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[thinker("one")], false);
    let solution = creative.solve(&Context::new(), ask(3)).await.unwrap();
    assert_eq!((solution.solutions.len(), solution.novelty_index), (3, None));
    assert!(solution.notes[0].contains("novelty was not measured"), "{:?}", solution.notes);
}

#[tokio::test]
async fn a_budget_and_a_cancelled_call_end_the_search() {
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[thinker("one")], true);
    let cx = Context::new().budget(Budget::new(NanoUsd(1)));
    assert_eq!(creative.solve(&cx, ask(3)).await.unwrap_err().kind(), ErrorKind::OverBudget);
    let stuck = Arc::new(Ruled::new("stuck", |_, _| Answer::Hang));
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[Arc::clone(&stuck)], true);
    let cx = Context::new();
    let cancel = async {
        while stuck.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        cx.cancel.cancel();
    };
    let (solution, ()) = tokio::join!(creative.solve(&cx, ask(8)), cancel);
    assert_eq!(solution.unwrap_err().kind(), ErrorKind::Cancelled);
    assert!(stuck.asked().len() <= CreativeConfig::default().concurrency);
}

#[tokio::test]
async fn a_namespace_of_another_embedder_is_refused_before_a_model_is_asked() {
    let model = thinker("one");
    let (_folder, mind, creative) = open(CreativeConfig::default(), &[Arc::clone(&model)], true);
    let mut other = StoreRequest::new("an old idea");
    other.namespace = "ideas".into();
    other.vector = Some(vec![1.0, 0.0]);
    mind.recall.store(&Context::new(), other).await.unwrap();
    assert_eq!(creative.solve(&Context::new(), ask(2)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(model.asked().is_empty(), "nothing was paid for");
}

#[tokio::test]
async fn a_model_that_fails_is_made_up_for_by_another() {
    let broken = Arc::new(Ruled::new("a-broken", |_, _| Answer::Fail(Error::new(ErrorKind::Unauthorized, "no key"))));
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[broken, thinker("one")], true);
    let solution = creative.solve(&Context::new(), ask(4)).await.unwrap();
    assert!(solution.solutions.len() == 4 && solution.solutions.iter().all(|idea| idea.model == "one"));
    assert!(solution.notes[0].contains("UNAUTHORIZED"), "{:?}", solution.notes);
}

#[tokio::test]
async fn requests_out_of_range_are_refused() {
    let (_folder, _mind, creative) = open(CreativeConfig::default(), &[thinker("one")], true);
    let wrong = [
        SolveRequest::new(" "),
        ask(0),
        ask(101),
        SolveRequest { max_tokens: 0, ..ask(1) },
        SolveRequest { namespace: String::new(), ..ask(1) },
        SolveRequest { constraints: vec![Constraint::Text(String::new())], ..ask(1) },
    ];
    for request in wrong {
        assert_eq!(creative.solve(&Context::new(), request).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
