use std::sync::Arc;

use super::*;
use crate::{
    engine::{FunctionSpec, Registry},
    error::ErrorKind,
    model::{ChatModel, Embedder, EmbedderProfile, Embedding, Price, ToolCall},
    router::{CheapestRouter, GenerateRequest, LedgerQuery, Router as _, RouterConfig, testkit::Scripted},
    store::StoreConfig,
};

struct Rig {
    engine: RouterEngine,
    store: Store,
    models: Vec<Arc<Scripted>>,
    cx: Context,
}

fn rig(folder: &tempfile::TempDir, learning: LearningConfig, models: Vec<Scripted>) -> Rig {
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    let models: Vec<_> = models.into_iter().map(Arc::new).collect();
    for model in &models {
        registry.register(&model.profile().id.clone(), model.clone()).unwrap();
    }
    let config = RouterConfig { backoff_ms: 1, learning, ..RouterConfig::default() };
    let engine = RouterEngine::new(config, Arc::new(CheapestRouter), registry, store.clone()).unwrap();
    Rig { engine, store, models, cx: Context::new() }
}

fn learning() -> LearningConfig {
    LearningConfig { enabled: true, ..LearningConfig::default() }
}

fn ask(text: &str) -> GenerateRequest {
    let mut request = GenerateRequest::new(text);
    request.sampling.max_tokens = Some(100);
    request.tag = Some("sums".into());
    request
}

/// A judged prompt: `cheap` and `dear` are how good both models were.
fn record(prompt: &str, cheap: (&str, f64), dear: f64) -> Record {
    let outcome = |quality, cost, answer: Option<&str>| Outcome {
        quality,
        cost: NanoUsd(cost),
        answer: answer.map(str::to_owned),
        ..Outcome::default()
    };
    Record {
        prompt: prompt.into(),
        tag: Some("sums".into()),
        embedding: None,
        embedder: None,
        outcomes: [
            ("cheap".into(), outcome(cheap.1, 1, Some(cheap.0))),
            ("dear".into(), outcome(dear, 1000, Some("The answer is 9."))),
        ]
        .into(),
    }
}

const QUESTION: &str = "Ann has 16 eggs. She eats 3 and bakes with 4. How many eggs are left?";
const RIGHT: &str = "She uses 3 + 4 = 7 eggs. So 16 - 7 = 9 eggs are left.\n#### 9";
const WRONG: &str = "16 - 3 = 13 so she has 13 * 55 = 700 eggs.\n#### 12";

#[tokio::test]
async fn a_reply_is_judged_once_by_its_own_tenant_and_it_is_learned_from() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder, learning(), vec![Scripted::local("cheap").says(&["seven"])]);
    rig.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let reply = rig.engine.generate(&rig.cx, ask("3 + 4?")).await.unwrap();
    let refused = |score| rig.engine.feedback(&rig.cx, &reply.id, score);
    assert_eq!(refused(1.5).await.unwrap_err().kind(), ErrorKind::Invalid);
    let bob = Context::new().tenant("bob");
    assert_eq!(rig.engine.feedback(&bob, &reply.id, 1.0).await.unwrap_err().kind(), ErrorKind::NotFound);
    rig.engine.feedback(&rig.cx, &reply.id, 1.0).await.unwrap();
    assert_eq!(rig.engine.feedback(&rig.cx, &reply.id, 0.0).await.unwrap_err().kind(), ErrorKind::NotFound);
    let plan = rig.engine.route(&rig.cx, &ask("5 + 6?")).await.unwrap();
    assert!(plan.steps[0].reason.contains("from 1 labels"), "{}", plan.steps[0].reason);
    // What was judged is known after a new start, without training.
    let again = self::rig(&folder, learning(), vec![Scripted::local("cheap")]);
    again.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let plan = again.engine.route(&again.cx, &ask("5 + 6?")).await.unwrap();
    assert!(plan.steps[0].reason.contains("from 1 labels"), "{}", plan.steps[0].reason);
}

#[tokio::test]
async fn without_learning_no_prompt_stays_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder, LearningConfig::default(), vec![Scripted::remote("m", 1000).says(&["seven"])]);
    let reply = rig.engine.generate(&rig.cx, ask("what is my secret?")).await.unwrap();
    assert_eq!(rig.engine.feedback(&rig.cx, &reply.id, 1.0).await.unwrap_err().kind(), ErrorKind::NotFound);
    let entries = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    assert!(!serde_json::to_string(&entries).unwrap().contains("secret"));
    let rows = rig.store.read(|read| Ok(read.tables.learning.keys(read.txn, &[])?.count())).unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn what_was_trained_survives_and_is_evaluated_on_other_records() {
    let folder = tempfile::tempdir().unwrap();
    let good_and_bad = |i: usize| if i.is_multiple_of(2) { (RIGHT, 1.0) } else { (WRONG, 0.0) };
    let records: Vec<_> = (0..120).map(|i| record(&format!("{QUESTION} ({i})"), good_and_bad(i), 1.0)).collect();
    let rig = rig(&folder, learning(), vec![Scripted::local("cheap")]);
    assert_eq!(rig.engine.train(&rig.cx, records[..100].to_vec()).await.unwrap(), 100);
    let held_out = records[100..].to_vec();
    let found = rig.engine.evaluate(&rig.cx, held_out.clone(), 0.9).await.unwrap();
    assert_eq!((found.records, found.models.as_slice()), (20, &["cheap".to_owned(), "dear".to_owned()][..]));
    assert!(found.choices.best == 1 && found.pair.is_some_and(|pair| pair.strong > pair.cheap));
    let again = self::rig(&folder, learning(), vec![Scripted::local("cheap")]);
    assert!(again.engine.evaluate(&again.cx, held_out.clone(), 0.9).await.is_err(), "nothing is learned yet");
    again.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    assert_eq!(again.engine.evaluate(&again.cx, held_out.clone(), 0.9).await.unwrap(), found);
    assert_eq!(again.engine.evaluate(&again.cx, held_out, 1.5).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_doubted_answer_gives_way_to_a_dearer_model_and_a_good_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let cascade = LearningConfig { cascade: true, ..learning() };
    let models =
        vec![Scripted::remote("cheap", 1).says(&[RIGHT]).says(&[WRONG]), Scripted::remote("dear", 1000).says(&["9"])];
    let rig = rig(&folder, cascade, models);
    let request = ask(QUESTION);
    let good = rig.engine.generate(&rig.cx, request.clone()).await.unwrap();
    assert_eq!((good.model.as_str(), good.text.as_str()), ("cheap", RIGHT));
    let doubted = rig.engine.generate(&rig.cx, request).await.unwrap();
    assert_eq!((doubted.model.as_str(), doubted.text.as_str()), ("dear", "9"));
    assert!(doubted.attempts[0].message.as_deref().unwrap().contains("doubted by rules"), "{:?}", doubted.attempts);
    // Both are paid: ten tokens and one, at one and at a thousand.
    assert_eq!(doubted.cost, NanoUsd(11 + 11_000));
    assert_eq!(rig.models[0].calls(), 2);
}

#[tokio::test]
async fn a_doubted_answer_stands_when_no_other_model_answers() {
    let folder = tempfile::tempdir().unwrap();
    let cascade = LearningConfig { cascade: true, ..learning() };
    let down = || Error::new(ErrorKind::Unauthorized, "no key");
    let models = vec![Scripted::remote("cheap", 1).says(&[WRONG]), Scripted::remote("dear", 1000).fails(down)];
    let rig = rig(&folder, cascade, models);
    let reply = rig.engine.generate(&rig.cx, ask(QUESTION)).await.unwrap();
    assert_eq!((reply.model.as_str(), reply.text.as_str(), reply.attempts.len()), ("cheap", WRONG, 2));
    rig.store.flush().await.unwrap();
    // It is in the ledger as the answer that it was, once, and can be judged.
    let totals = rig.engine.totals(None).unwrap();
    // The dear model read ten tokens before it failed.
    assert_eq!((totals.cost, totals.calls, totals.failed, reply.cost), (NanoUsd(10_011), 1, 1, NanoUsd(10_011)));
    assert!(reply.reference_cost > NanoUsd::ZERO && reply.saved == reply.reference_cost - reply.cost);
    assert!(rig.engine.explain(&rig.cx, &reply.id).await.unwrap().starts_with("\"cheap\" answered."));
    let bob = Context::new().tenant("bob");
    assert_eq!(rig.engine.explain(&bob, &reply.id).await.unwrap_err().kind(), ErrorKind::NotFound);
    rig.engine.feedback(&rig.cx, &reply.id, 0.0).await.unwrap();
}

#[tokio::test]
async fn a_call_of_a_tool_is_not_doubted_for_saying_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cascade = LearningConfig { cascade: true, ..learning() };
    let call = ToolCall { id: "1".into(), name: "add".into(), arguments: serde_json::json!({}), extra_content: None };
    let capable = |mut model: Scripted| {
        model.offers(|can| can.tools = true);
        model
    };
    let models = vec![capable(Scripted::remote("cheap", 1).calls_tool(call)), capable(Scripted::remote("dear", 1000))];
    let rig = rig(&folder, cascade, models);
    let mut request = ask(QUESTION);
    request.tools = vec![FunctionSpec {
        name: "add".into(),
        description: "adds".into(),
        parameters: serde_json::json!({"type": "object"}),
    }];
    let reply = rig.engine.generate(&rig.cx, request).await.unwrap();
    assert_eq!((reply.model.as_str(), reply.tool_calls.len()), ("cheap", 1));
}

/// Embeds nothing: only what it is called and how long its vectors are is looked at.
#[derive(Debug)]
struct Words(EmbedderProfile);

impl Words {
    fn new() -> Self {
        let (id, price) = ("words".into(), Price::default());
        Self(EmbedderProfile { id, dimensions: 3, max_tokens: 100, local: true, price, key: None })
    }
}

#[async_trait::async_trait]
impl Embedder for Words {
    fn profile(&self) -> &EmbedderProfile {
        &self.0
    }

    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        Ok(texts.iter().map(|_| Embedding { vector: vec![1.0; 3], tokens: 1, truncated: false }).collect())
    }
}

/// Keeps the last prompt that it saw.
#[derive(Debug)]
struct Seen(std::sync::Mutex<Option<String>>);
impl crate::router::Router for Seen {
    fn route(&self, request: &RouteRequest, models: &[crate::router::ModelState]) -> Result<crate::router::RoutePlan> {
        *self.0.lock().unwrap() = request.prompt.clone();
        CheapestRouter.route(request, models)
    }
}

#[tokio::test]
async fn prompts_are_not_in_the_ledger_and_a_replay_knows_them_as_long_as_they_can_be_judged() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder, learning(), vec![Scripted::remote("m", 1000).says(&["seven"])]);
    rig.engine.generate(&rig.cx, ask("what is my secret?")).await.unwrap();
    let entries = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    assert!(!serde_json::to_string(&entries).unwrap().contains("secret"));

    let seen = Arc::new(Seen(std::sync::Mutex::default()));
    let models = rig.models.iter().map(|model| Arc::new(model.profile().clone())).collect();
    let replay = rig.engine.replay(&rig.cx, LedgerQuery::default(), seen.clone(), models).await.unwrap();
    assert_eq!(replay.calls, 1);
    assert_eq!(seen.0.lock().unwrap().as_deref(), Some("what is my secret?"));
}

#[tokio::test]
async fn an_answer_that_is_given_again_can_be_judged_too() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(&folder, learning(), vec![Scripted::remote("m", 1000).says(&["seven"])]);
    let mut request = ask("3 + 4?");
    request.sampling.temperature = Some(0.0);
    rig.engine.generate(&rig.cx, request.clone()).await.unwrap();
    let again = rig.engine.generate(&rig.cx, request).await.unwrap();
    assert!(again.cache_hit.is_some());
    rig.engine.feedback(&rig.cx, &again.id, 0.0).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_its_model_would_not_give_again_is_doubted_and_all_answers_are_paid() {
    let folder = tempfile::tempdir().unwrap();
    let config = LearningConfig { cascade: true, agreement: 3, ..learning() };
    let other = "16 - 3 = 13, so 13 - 4 = 9 and 9 + 3 = 12 eggs.\n#### 12";
    let cheap = Scripted::remote("cheap", 1).says(&[RIGHT]).says(&[RIGHT]).says(&[RIGHT]);
    let cheap = cheap.says(&[RIGHT]).says(&[other]).says(&[other]);
    let cheap = cheap.says(&["It depends on how the eggs were counted before she began to eat and to bake with them."]);
    let rig = rig(&folder, config, vec![cheap, Scripted::remote("dear", 1000).says(&["9"]).says(&["9"])]);
    rig.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let mut request = ask(QUESTION);
    request.sampling.temperature = Some(0.0);
    request.sampling.seed = Some(7);
    let exact = |at: u64| {
        let mut one = request.clone();
        one.sampling.seed = Some(100 * at);
        one
    };
    let sure = rig.engine.generate(&rig.cx, exact(1)).await.unwrap();
    assert_eq!((sure.model.as_str(), rig.models[0].calls(), sure.attempts.len()), ("cheap", 3, 1));
    assert_eq!(sure.cost, NanoUsd(33), "ten tokens and one, three times");
    let asked = rig.models[0].asked();
    let chance = |at: usize| (asked[at].sampling.temperature, asked[at].sampling.seed);
    assert_eq!(
        (chance(0), chance(1), chance(2)),
        ((Some(0.0), Some(100)), (Some(0.7), Some(101)), (Some(0.7), Some(102)))
    );
    let unsure = rig.engine.generate(&rig.cx, exact(2)).await.unwrap();
    assert_eq!((unsure.model.as_str(), unsure.cost), ("dear", NanoUsd(33 + 11_000)));
    assert!(unsure.attempts[0].message.as_deref().unwrap().contains("something else"), "{:?}", unsure.attempts);
    let free = rig.engine.generate(&rig.cx, exact(3)).await.unwrap();
    assert_eq!(rig.models[0].calls(), 7, "free text has nothing to compare: {free:?}");
    rig.store.flush().await.unwrap();
    assert_eq!(rig.engine.totals(None).unwrap().cost, sure.cost + unsure.cost + free.cost);
    // What was seen is learned from once the answer is judged.
    rig.engine.feedback(&rig.cx, &sure.id, 1.0).await.unwrap();
    let labels = rig.store.read(|read| labels::since(read, 0)).unwrap();
    assert_eq!(labels[0].1.outcomes["cheap"].agreement, Some(1.0));
}

#[tokio::test]
async fn the_dearest_model_is_asked_beside_and_both_answers_are_judged_together() {
    let folder = tempfile::tempdir().unwrap();
    let config = LearningConfig { shadow: 1.0, ..learning() };
    let cheap = Scripted::remote("cheap", 1).says(&["seven"]).says(&["eight"]);
    let rig = rig(&folder, config, vec![cheap, Scripted::remote("dear", 1000).says(&["7"])]);
    let background = Runtime::default();
    // By cost, whatever is learned.
    rig.engine.begin_to_learn(true, background.clone()).await.unwrap();
    let reply = rig.engine.generate(&rig.cx, ask("3 + 4?")).await.unwrap();
    let both = loop {
        let both = rig.engine.shadowed(&rig.cx, 10).await.unwrap();
        if let [both] = &both[..] {
            break both.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (both.id.as_str(), both.prompt.as_str(), both.tag.as_deref()),
        (reply.id.as_str(), "3 + 4?", Some("sums"))
    );
    let answers = [&both.model, &both.text, &both.shadow_model, &both.shadow_text].map(String::as_str);
    assert_eq!(answers, ["cheap", "seven", "dear", "7"]);
    assert!(rig.engine.shadowed(&Context::new().tenant("bob"), 10).await.unwrap().is_empty());
    // It is in the ledger apart, and the reply's price is its own.
    rig.store.flush().await.unwrap();
    let entries = rig.engine.ledger(&rig.cx, LedgerQuery::default()).await.unwrap();
    let shadow = entries.iter().find(|entry| entry.shadow).unwrap();
    assert_eq!(
        (shadow.model.as_str(), shadow.cost, shadow.failed, shadow.estimated),
        ("dear", NanoUsd(11_000), true, false)
    );
    assert_eq!((reply.cost, &shadow.id), (NanoUsd(11), &reply.id));
    rig.engine.feedback_both(&rig.cx, &reply.id, 0.0, 1.0).await.unwrap();
    let labels = rig.store.read(|read| labels::since(read, 0)).unwrap();
    let quality = |model: &str| labels[0].1.outcomes[model].quality;
    assert!(quality("cheap") < 0.5 && quality("dear") > 0.5);
    // What must stay in this process is given to no other model, and a closed folder asks none.
    let mut local = ask("5 + 6?");
    local.needs.local_only = true;
    assert!(rig.engine.generate(&rig.cx, local).await.is_err(), "both are remote");
    background.close().await;
    let later = rig.engine.generate(&rig.cx, ask("4 + 4?")).await.unwrap();
    assert_eq!(rig.models[1].calls(), 1);
    let error = rig.engine.feedback_both(&rig.cx, &later.id, 1.0, 1.0).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("no other model"), "{error}");
    rig.engine.feedback(&rig.cx, &later.id, 1.0).await.unwrap();
}

#[tokio::test]
async fn what_is_forgotten_is_not_learned_again() {
    let folder = tempfile::tempdir().unwrap();
    let cheap = Scripted::local("cheap").says(&["a"]).says(&["b"]).says(&["c"]).says(&["d"]).says(&["e"]);
    let rig = rig(&folder, learning(), vec![cheap]);
    rig.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let bob = Context::new().tenant("bob");
    let mut ids = Vec::new();
    for cx in [&rig.cx, &rig.cx, &bob, &bob] {
        let reply = rig.engine.generate(cx, ask("3 + 4?")).await.unwrap();
        ids.push(reply.id);
    }
    for (cx, id) in [(&rig.cx, &ids[0]), (&rig.cx, &ids[1]), (&bob, &ids[2])] {
        rig.engine.feedback(cx, id, 1.0).await.unwrap();
    }
    assert_eq!(rig.engine.forget(&bob, Some(&ids[0])).await.unwrap(), 0, "it is not bob's");
    assert_eq!(rig.engine.forget(&rig.cx, Some(&ids[0])).await.unwrap(), 1);
    assert_eq!(rig.engine.forget(&bob, None).await.unwrap(), 2, "one that was judged and one that could be");
    assert_eq!(rig.engine.feedback(&bob, &ids[3], 1.0).await.unwrap_err().kind(), ErrorKind::NotFound);
    // A number that was used is not used again: what is told from now on is learned, and after opening too.
    let reply = rig.engine.generate(&rig.cx, ask("3 + 4?")).await.unwrap();
    let known = |engine: &RouterEngine| {
        let plan = engine.learning().learned.route(&asked(), &[state("cheap")]).unwrap();
        plan.steps[0].reason.clone()
    };
    let before = known(&rig.engine);
    assert!(before.contains("from 3 labels"), "{before}");
    rig.engine.forget(&rig.cx, Some(&ids[1])).await.unwrap();
    rig.engine.feedback(&rig.cx, &reply.id, 1.0).await.unwrap();
    assert!(known(&rig.engine).contains("from 4 labels"), "{}", known(&rig.engine));
    assert_eq!(rig.engine.train(&rig.cx, Vec::new()).await.unwrap(), 1);
    let rows = rig.store.read(|read| Ok(read.tables.learning.keys(read.txn, b"l")?.count())).unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn opening_takes_in_few_judgements_and_two_that_share_a_folder_lose_none() {
    let folder = tempfile::tempdir().unwrap();
    let one = rig(&folder, learning(), vec![Scripted::local("cheap")]);
    one.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let labels = |engine: &RouterEngine| {
        let plan = engine.learning().learned.route(&asked(), &[state("cheap")]).unwrap();
        plan.steps[0].reason.clone()
    };
    let judged = |from: usize, to: usize| {
        let rows: Vec<_> =
            (from..to).map(|i| (format!("id{i:05}"), record(&format!("{i}?"), ("a", 1.0), 1.0))).collect();
        one.store.write(move |write| {
            for (id, record) in &rows {
                labels::keep(write, "", id, &Judgeable { until_ms: u64::MAX, record: record.clone(), given: None })?;
            }
            Ok(())
        })
    };
    judged(0, WRITTEN_EVERY + 40).await.unwrap();
    // Another process tells ten of them that the first one learns of only when it catches up.
    let two = rig(&folder, learning(), vec![Scripted::local("cheap")]);
    two.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    for i in 0..10 {
        two.engine.feedback(&two.cx, &format!("id{i:05}"), 1.0).await.unwrap();
    }
    for i in 10..WRITTEN_EVERY + 20 {
        one.engine.feedback(&one.cx, &format!("id{i:05}"), 1.0).await.unwrap();
    }
    let all = WRITTEN_EVERY + 20;
    assert!(labels(&one.engine).contains(&format!("from {all} labels")), "{}", labels(&one.engine));
    let written: Snapshot =
        one.store.read(|read| Ok(read.tables.learning.get_json(read.txn, SNAPSHOT)?.unwrap())).unwrap();
    assert_eq!(written.labels, WRITTEN_EVERY as u64 + 10, "its own and those of the other");
    let again = rig(&folder, learning(), vec![Scripted::local("cheap")]);
    again.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    assert!(labels(&again.engine).contains(&format!("from {all} labels")));
    // What another process trains is taken over, not written over.
    two.engine.train(&two.cx, vec![record("more?", ("a", 1.0), 1.0)]).await.unwrap();
    let mut seen = one.engine.learning().seen.lock().unwrap();
    one.engine.learning().catch_up(&mut seen).unwrap();
    drop(seen);
    assert!(labels(&one.engine).contains(&format!("from {} labels", all + 1)));
}

fn asked() -> RouteRequest {
    RouteRequest { prompt: Some("3 + 4?".into()), ..RouteRequest::default() }
}

fn state(id: &str) -> crate::router::ModelState {
    Arc::new(crate::model::ModelProfile::local(id, 4096)).into()
}

#[tokio::test]
async fn a_doubted_answer_stands_when_the_deadline_passes_before_a_better_one_comes() {
    let folder = tempfile::tempdir().unwrap();
    let cascade = LearningConfig { cascade: true, ..learning() };
    let models = vec![Scripted::remote("cheap", 1).says(&[WRONG]), Scripted::remote("dear", 1000).hangs()];
    let rig = rig(&folder, cascade, models);
    let late = rig.cx.child().within(Duration::from_millis(500));
    let reply = rig.engine.generate(&late, ask(QUESTION)).await.unwrap();
    assert_eq!((reply.model.as_str(), reply.text.as_str()), ("cheap", WRONG));
}

#[tokio::test]
async fn vectors_of_another_embedder_are_left_out_and_what_cannot_be_read_is_learned_again() {
    let folder = tempfile::tempdir().unwrap();
    let one = rig(&folder, learning(), vec![Scripted::local("cheap")]);
    one.engine.set_embedder(Arc::new(Words::new()));
    let parts = one.engine.embedder().unwrap().profile().dimensions;
    let of = |embedder: &str, parts: usize| Record {
        embedding: Some(vec![0.5; parts]),
        embedder: Some(embedder.into()),
        ..record("a?", ("a", 1.0), 1.0)
    };
    let rows = [of("before", parts), of("words", parts + 1), of("words", parts)];
    let kept = one.store.write(move |write| {
        for (id, record) in ["1", "2", "3"].into_iter().zip(rows.clone()) {
            labels::keep(write, "", id, &Judgeable { until_ms: u64::MAX, record, given: None })?;
            labels::judge(write, ("", id), 1.0, None)?;
        }
        let snapshot = Snapshot { labels: 3, learned: "of another version".into() };
        write.tables.learning.put_json(write.txn, SNAPSHOT, &snapshot)?;
        write.tables.learning.put_json(write.txn, TRAINING, &"t")
    });
    kept.await.unwrap();
    one.engine.begin_to_learn(false, Runtime::default()).await.unwrap();
    let plan = one.engine.learning().learned.route(&asked(), &[state("cheap")]).unwrap();
    assert!(plan.steps[0].reason.contains("from 3 labels"), "{}", plan.steps[0].reason);
    assert_eq!(one.engine.train(&one.cx, Vec::new()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_doubted_answer_holds_no_more_than_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let cascade = LearningConfig { cascade: true, ..learning() };
    let models = vec![Scripted::remote("cheap", 1).says(&[WRONG]), Scripted::remote("dear", 1000).says(&["9"])];
    let rig = rig(&folder, cascade, models);
    let (chat, _) = crate::router::prepare::chat_request(ask(QUESTION)).unwrap();
    let most = |model: &Scripted| model.profile().price.most(model.most_tokens(&chat).unwrap().max(10), 100);
    // Enough for what the first took and the most of the second, not for the most of both.
    let enough = most(&rig.models[1]) + NanoUsd(11);
    assert!(enough < most(&rig.models[0]) + most(&rig.models[1]));
    let reply = rig.engine.generate(&rig.cx.clone().at_most(enough), ask(QUESTION)).await.unwrap();
    assert_eq!(reply.model, "dear");
}
