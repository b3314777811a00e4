use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::{
    Context, Engine, ErrorKind, Registry, Result, Runtime,
    model::{ChatModel, Embedder, EmbedderProfile, Embedding, Price},
    monitor::{EventKind, FnSink},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Store, StoreConfig, Unit},
};

/// No chat model is asked here.
#[derive(Debug)]
struct NoRoute;

impl Router for NoRoute {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(crate::Error::not_found("no route"))
    }
}

/// Meaning by letters: texts with the same letters are near each other.
#[derive(Debug)]
pub(super) struct Letters(EmbedderProfile);

impl Letters {
    pub(super) fn named(id: &str) -> Arc<Self> {
        Arc::new(Self(EmbedderProfile {
            id: id.into(),
            dimensions: 26,
            max_tokens: 100,
            local: true,
            price: Price::default(),
            key: None,
        }))
    }
}

pub(super) fn letters(text: &str) -> Vec<f32> {
    let mut vector = vec![0.01; 26];
    for c in text.to_lowercase().bytes().filter(u8::is_ascii_lowercase) {
        vector[usize::from(c - b'a')] += 1.0;
    }
    super::vector::unit(&vector).unwrap()
}

#[async_trait]
impl Embedder for Letters {
    fn profile(&self) -> &EmbedderProfile {
        &self.0
    }
    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let embed = |text: &String| Embedding { vector: letters(text), tokens: 1, truncated: text.len() > 100 };
        Ok(texts.iter().map(embed).collect())
    }
}

pub(super) struct Memory {
    pub(super) recall: RecallEngine,
    pub(super) router: RouterEngine,
    pub(super) store: Store,
    pub(super) runtime: Runtime,
}

pub(super) fn memory_with(folder: &Path, config: RecallConfig) -> Memory {
    let store = Store::open(folder, &StoreConfig::default()).unwrap();
    let models: Registry<dyn ChatModel> = Registry::new("model");
    let router = RouterEngine::new(RouterConfig::default(), Arc::new(NoRoute), models, store.clone()).unwrap();
    let runtime = Runtime::default();
    let recall = RecallEngine::new(config, store.clone(), router.clone(), runtime.clone()).unwrap();
    Memory { recall, router, store, runtime }
}

pub(super) fn memory(folder: &Path) -> Memory {
    let memory = memory_with(folder, RecallConfig::default());
    memory.router.set_embedder(Letters::named("letters"));
    memory
}

pub(super) fn item(id: &str, text: &str) -> StoreRequest {
    StoreRequest { id: Some(id.into()), ..StoreRequest::new(text) }
}

pub(super) fn tagged(id: &str, text: &str, metadata: &serde_json::Value) -> StoreRequest {
    StoreRequest { metadata: metadata.as_object().unwrap().clone(), ..item(id, text) }
}

pub(super) fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.item.id.as_str()).collect()
}

#[tokio::test]
async fn what_was_stored_is_found_by_words_and_meaning_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    recall.store(&cx, item("paris", "Ada moved to Paris in 2024")).await.unwrap();
    recall.store(&cx, item("cook", "Bob likes cooking")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("Where did Ada move?", 5)).await.unwrap();
    assert_eq!(ids(&hits), ["paris", "cook"]);
    assert_eq!(hits[0].why.terms, ["ada", "move"]);
    assert!(hits[0].why.meaning.is_some() && hits[0].why.words.is_some_and(|score| score > 0.0));
    assert!(hits[1].why.words.is_none() && hits[0].score > hits[1].score && hits[0].score <= 1.0);
    assert_eq!(hits[0].item.text, "Ada moved to Paris in 2024");
    assert_eq!(hits[0].item.namespace, "default");
}

#[tokio::test]
async fn a_known_id_is_replaced_and_nothing_of_the_old_text_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = memory(folder.path());
    let cx = Context::new();
    for text in ["first elephant", "second giraffe"] {
        recall.store(&cx, item("a", text)).await.unwrap();
    }
    let hits = recall.query(&cx, RecallQuery::new("elephant", 5)).await.unwrap();
    assert!(hits.len() == 1 && hits[0].why.words.is_none(), "{hits:?}");
    assert_eq!(recall.get(&cx, "default", "a").await.unwrap().unwrap().text, "second giraffe");
    let rows = store
        .read(|read| {
            let tables = read.tables;
            let count = |table: crate::store::Table| -> Result<usize> {
                Ok(table.keys(read.txn, b"")?.collect::<Result<Vec<_>>>()?.len())
            };
            Ok([count(tables.items)?, count(tables.ids)?, count(tables.vectors)?, count(tables.postings)?])
        })
        .unwrap();
    assert_eq!(rows, [1, 1, 1, 2]);
}

#[tokio::test]
async fn without_an_embedder_words_alone_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory_with(folder.path(), RecallConfig::default());
    let cx = Context::new();
    let id = recall.store(&cx, StoreRequest::new("the violet door")).await.unwrap();
    recall.store(&cx, StoreRequest::new("a green window")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("violet doors", 5)).await.unwrap();
    assert_eq!(ids(&hits), [id.as_str()]);
    assert_eq!((hits[0].why.meaning, hits[0].score), (None, 1.0));
    assert!(recall.health(&cx).await.detail.contains("embedder"));
}

#[tokio::test]
async fn another_embedder_is_a_conflict_until_everything_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, .. } = memory(folder.path());
    let cx = Context::new();
    recall.store(&cx, StoreRequest::new("one")).await.unwrap();
    router.set_embedder(Letters::named("other"));
    let error = recall.store(&cx, StoreRequest::new("two")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = recall.query(&cx, RecallQuery::new("one", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let all = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
    assert_eq!(recall.forget(&cx, all).await.unwrap(), 1);
    assert!(recall.namespaces(&cx).await.unwrap().is_empty());
    recall.store(&cx, StoreRequest::new("two")).await.unwrap();
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let with_vector = |vector| StoreRequest { vector: Some(vector), ..StoreRequest::new("x") };
    recall.store(&cx, StoreRequest::new("there are vectors of 26 numbers now")).await.unwrap();
    for bad in [
        StoreRequest::new("  "),
        with_vector(vec![f32::NAN; 26]),
        with_vector(vec![0.0; 26]),
        with_vector(vec![1.0; 3]),
        StoreRequest { namespace: "a\0b".into(), ..StoreRequest::new("x") },
        item("", "x"),
    ] {
        let error = recall.store(&cx, bad.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
    let short = RecallQuery { vector: Some(vec![1.0]), ..RecallQuery::new("x", 1) };
    for bad in [RecallQuery::new(" ", 1), RecallQuery::new("x", 0), RecallQuery::new("x", 1_001), short] {
        let error = recall.query(&cx, bad.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad:?}");
    }
    assert!(
        RecallEngine::new(
            RecallConfig { dense_weight: 2.0, ..RecallConfig::default() },
            Store::open(folder.path(), &StoreConfig::default()).unwrap(),
            memory(folder.path()).router,
            Runtime::default(),
        )
        .is_err()
    );
}

#[tokio::test]
async fn a_batch_with_one_bad_vector_is_not_written_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    recall.store(&cx, item("first", "here")).await.unwrap();
    let wrong = StoreRequest { vector: Some(vec![1.0; 3]), ..item("wrong", "x") };
    assert!(recall.store_many(&cx, vec![item("good", "x"), wrong]).await.is_err());
    assert!(recall.get(&cx, "default", "good").await.unwrap().is_none());
}

#[tokio::test]
async fn a_filter_holds_for_words_and_meaning_even_when_few_meet_it() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let items: Vec<_> =
        (0..300).map(|i| tagged(&format!("n{i}"), &format!("note number {i}"), &json!({"n": i}))).collect();
    recall.store_many(&cx, items).await.unwrap();
    let filter = Filter::Range { key: "n".into(), min: Some(297.0), max: None };
    let query = RecallQuery { filter: Some(filter.clone()), ..RecallQuery::new("note", 10) };
    let hits = recall.query(&cx, query).await.unwrap();
    let mut found = ids(&hits);
    found.sort_unstable();
    assert_eq!(found, ["n297", "n298", "n299"]);
    let request =
        ForgetRequest { namespace: "default".into(), ids: vec!["n0".into()], filter: Some(filter), all: false };
    assert_eq!(recall.forget(&cx, request).await.unwrap(), 4);
    assert!(recall.get(&cx, "default", "n298").await.unwrap().is_none());
}

#[tokio::test]
async fn namespaces_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    for namespace in ["a", "ab"] {
        let request = StoreRequest { namespace: namespace.into(), ..item("same", &format!("secret of {namespace}")) };
        recall.store(&cx, request).await.unwrap();
    }
    let query = RecallQuery { namespace: "a".into(), ..RecallQuery::new("secret", 10) };
    let hits = recall.query(&cx, query).await.unwrap();
    assert_eq!(hits.iter().map(|hit| hit.item.text.as_str()).collect::<Vec<_>>(), ["secret of a"]);
    let unknown = RecallQuery { namespace: "c".into(), ..RecallQuery::new("secret", 10) };
    assert!(recall.query(&cx, unknown).await.unwrap().is_empty());
    assert_eq!(recall.namespaces(&cx).await.unwrap(), ["a", "ab"]);
}

#[tokio::test]
async fn a_large_namespace_gets_its_index_in_the_background() {
    for index in [IndexChoice::Auto, IndexChoice::Arroy] {
        let folder = tempfile::tempdir().unwrap();
        let config = RecallConfig { index, scan_limit: 1_100, pending_limit: 1_024, ..RecallConfig::default() };
        let Memory { recall, store, runtime, .. } = memory_with(folder.path(), config);
        let cx = Context::new();
        let angle =
            |i: usize| vec![(i as f32 / 400.0).cos(), (i as f32 / 400.0).sin(), 0.1, 0.2 + (i % 7) as f32 / 50.0];
        let items =
            (0..1_200).map(|i| StoreRequest { vector: Some(angle(i)), ..item(&format!("i{i}"), "x") }).collect();
        recall.store_many(&cx, items).await.unwrap();
        let built = || {
            let built = |namespace: namespace::Namespace| namespace.lists.is_some() || namespace.forest.is_some();
            store.read(|read| Ok(namespace::find(read, "default")?.is_some_and(built))).unwrap()
        };
        while !built() {
            tokio::task::yield_now().await;
        }
        for i in [0, 7, 600, 1_199] {
            let query = RecallQuery { vector: Some(angle(i)), ..RecallQuery::new("?", 1) };
            assert_eq!(ids(&recall.query(&cx, query).await.unwrap()), [format!("i{i}")], "{index:?}");
        }
        let all = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
        assert_eq!(recall.forget(&cx, all).await.unwrap(), 1_200);
        runtime.close().await;
        let left = |read: &crate::store::Read<'_>| {
            Ok((read.tables.ann.is_empty(read.txn).unwrap(), read.tables.lists.keys(read.txn, b"")?.count()))
        };
        assert_eq!(store.read(left).unwrap(), (true, 0));
    }
}

#[tokio::test]
async fn an_item_with_the_longest_id_can_be_an_end_of_a_relation() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let id = "i".repeat(namespace::MAX_NAME);
    recall.store(&cx, item(&id, "a note")).await.unwrap();
    let relate = |from: &str, to: &str| {
        serde_json::from_value::<RelateRequest>(json!({"from": from, "kind": "k".repeat(100), "to": to})).unwrap()
    };
    let most = "t".repeat(148);
    assert!(recall.relate(&cx, relate(&id, &most)).await.unwrap());
    let error = recall.relate(&cx, relate(&id, &format!("{most}t"))).await.unwrap_err();
    assert!(error.message().contains("504"), "{error}");
    let request = ForgetRequest { namespace: "default".into(), ids: vec![id], filter: None, all: false };
    recall.forget(&cx, request).await.unwrap();
    let near = serde_json::from_value(json!({"of": most})).unwrap();
    assert!(recall.neighbours(&cx, near).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_write_in_a_unit_of_work_is_seen_when_the_unit_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = memory(folder.path());
    let unit = Unit::default();
    let (cx, staged) = (Context::new(), Context::new().unit(Some(unit.clone())));
    let id = recall.store(&staged, StoreRequest::new("staged")).await.unwrap();
    assert!(recall.get(&cx, "default", &id).await.unwrap().is_none());
    store.commit(unit.take(true)).await.unwrap();
    assert!(recall.get(&cx, "default", &id).await.unwrap().is_some());
    let late = recall.store(&staged, StoreRequest::new("late")).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Cancelled, "nothing would commit it");
    let unit = Unit::default();
    let staged = Context::new().unit(Some(unit.clone()));
    recall.store(&staged, item("lost", "of a failed task")).await.unwrap();
    store.commit(unit.take(false)).await.unwrap();
    assert!(recall.get(&cx, "default", "lost").await.unwrap().is_none());
}

#[tokio::test]
async fn relations_are_followed_both_ways_and_go_with_their_item() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    recall.store(&cx, item("note", "a note")).await.unwrap();
    let relate = |from: &str, kind: &str, to: &str| RelateRequest {
        namespace: "default".into(),
        from: from.into(),
        kind: kind.into(),
        to: to.into(),
        weight: 1.0,
    };
    assert!(recall.relate(&cx, relate("Ada", "wrote", "note")).await.unwrap());
    assert!(!recall.relate(&cx, relate("Ada", "wrote", "note")).await.unwrap());
    assert!(recall.relate(&cx, relate("Ada", "lives in", "Paris")).await.unwrap());
    let near =
        |of: &str, hops| NeighboursRequest { namespace: "default".into(), of: of.into(), kind: None, hops, top: 10 };
    let found = recall.neighbours(&cx, near("note", 2)).await.unwrap();
    let names: Vec<_> = found.iter().map(|n| (n.name.as_str(), n.hops)).collect();
    assert_eq!(names, [("Ada", 1), ("Paris", 2)]);
    let request = ForgetRequest { namespace: "default".into(), ids: vec!["note".into()], filter: None, all: false };
    recall.forget(&cx, request).await.unwrap();
    assert!(recall.neighbours(&cx, near("note", 2)).await.unwrap().is_empty());
    assert!(recall.neighbours(&cx, near("Ada", 6)).await.is_err());
}

#[tokio::test]
async fn the_json_form_and_the_events_tell_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, runtime, .. } = memory(folder.path());
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = seen.clone();
    let sink = FnSink(move |event: &crate::monitor::Event| sink.lock().unwrap().push(event.kind.clone()));
    let cx = Context::new().events(Arc::new(sink));
    let engine: Arc<dyn crate::DynEngine> = Arc::new(recall);
    let reply = engine.call_json(&cx, json!({"do": "store", "content": "tea", "id": "t"})).await.unwrap();
    assert_eq!(reply, json!({"id": "t"}));
    let reply = engine.call_json(&cx, json!({"do": "query", "query": "tea"})).await.unwrap();
    assert_eq!(reply["hits"][0]["text"], "tea");
    let reply = engine.call_json(&cx, json!({"do": "forget", "ids": ["t", "u"]})).await.unwrap();
    assert_eq!(reply, json!({"forgotten": 1}));
    let names: Vec<_> = seen.lock().unwrap().iter().map(EventKind::name).collect();
    assert_eq!(names, ["stored", "recalled", "forgotten"]);
    runtime.close().await;
}

/// Embeds queries in another way than texts.
#[derive(Debug)]
struct Prompted(Arc<Letters>);

#[async_trait]
impl Embedder for Prompted {
    fn profile(&self) -> &EmbedderProfile {
        self.0.profile()
    }
    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.0.embed(cx, texts).await
    }
    async fn embed_queries(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        self.0.embed(cx, texts.iter().map(|text| text.replace("question", "")).collect()).await
    }
}

#[tokio::test]
async fn a_query_is_embedded_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, .. } = memory(folder.path());
    router.set_embedder(Arc::new(Prompted(Letters::named("letters"))));
    let cx = Context::new();
    recall.store(&cx, item("z", "zzz question")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("zzz question", 1)).await.unwrap();
    let expected: f32 = letters("zzz question").iter().zip(letters("zzz ")).map(|(a, b)| a * b).sum();
    assert!((hits[0].why.meaning.unwrap() - f64::from(expected)).abs() < 1e-3, "{hits:?}");
}

/// Prefers short texts, or gives no numbers.
#[derive(Debug)]
struct Short(f64);

#[async_trait]
impl crate::model::Reranker for Short {
    fn name(&self) -> &'static str {
        "short"
    }
    async fn rerank(&self, _: &Context, query: &str, texts: Vec<String>) -> Result<Vec<f64>> {
        assert_eq!(query, "tea");
        Ok(texts.iter().map(|text| self.0 / text.len() as f64).collect())
    }
}

#[tokio::test]
async fn the_best_hits_are_scored_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, .. } = memory(folder.path());
    let cx = Context::new();
    for (id, text) in [("a", "tea tea tea tea tea tea"), ("b", "tea with milk"), ("c", "more tea"), ("d", "coffee")] {
        recall.store(&cx, item(id, text)).await.unwrap();
    }
    let reranked = |rerank, top| RecallQuery { rerank, ..RecallQuery::new("tea", top) };
    let error = recall.query(&cx, reranked(3, 2)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("reranker"), "{error}");
    router.set_reranker(Arc::new(Short(1.0)));
    let plain = recall.query(&cx, reranked(0, 4)).await.unwrap();
    assert!(plain[0].item.id == "a" && plain.iter().all(|hit| hit.why.fused.is_none()));
    let hits = recall.query(&cx, reranked(3, 2)).await.unwrap();
    assert_eq!(ids(&hits), ["c", "b"], "the third of the three best is out, the fourth was never read");
    let fused = |id: &str| plain.iter().find(|hit| hit.item.id == id).unwrap().score;
    assert!(hits.iter().all(|hit| hit.why.fused == Some(fused(&hit.item.id))));
    assert!((hits[0].score - 1.0 / 8.0).abs() < 1e-12);
    assert_eq!(recall.query(&cx, reranked(1, 3)).await.unwrap().len(), 3, "at least as many as are wanted");
    for bad in [reranked(1_001, 1), RecallQuery { vector: Some(letters("a")), query: " ".into(), ..reranked(1, 1) }] {
        assert_eq!(recall.query(&cx, bad).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    router.set_reranker(Arc::new(Short(f64::NAN)));
    assert_eq!(recall.query(&cx, reranked(3, 2)).await.unwrap_err().kind(), ErrorKind::Unexpected);
}

fn turn(id: &str, text: &str, speaker: &str) -> StoreRequest {
    StoreRequest { session: Some("talk".into()), speaker: Some(speaker.into()), ..item(id, text) }
}

fn texts(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.item.text.as_str()).collect()
}

#[tokio::test]
async fn what_follows_a_question_in_its_session_is_found_and_its_speaker_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory_with(folder.path(), RecallConfig::default());
    let cx = Context::new();
    let talk = vec![
        turn("1", "The weather was horrible", "Ada"),
        turn("2", "Which instrument did your brother pick?", "Bob Marsh"),
        turn("3", "He took the violin", "Ada"),
        turn("4", "Something else then", "Bob Marsh"),
        turn("5", "Nothing much", "Ada"),
    ];
    recall.store_many(&cx, talk).await.unwrap();
    recall.store(&cx, item("other", "An instrument for measuring")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("Which instrument did the brother pick?", 5)).await.unwrap();
    assert!(hits[0].item.id == "2" && ids(&hits[..3]).contains(&"3"), "{hits:?}");
    assert!(hits[1].why.words.is_some() && hits[1].why.terms.is_empty(), "only its neighbour has the words");
    assert!(hits[1].why.boosts["neighbours"] > 0.0);
    let hits = recall.query(&cx, RecallQuery::new("What did Ada say about the instrument?", 5)).await.unwrap();
    assert!(hits.iter().any(|hit| hit.item.speaker.as_deref() == Some("Ada") && hit.why.boosts["speaker"] > 0.0));
    assert!(!hits[0].why.terms.contains(&"ada".to_owned()), "the name of a speaker is no word that is looked for");
    let only = RecallQuery { speaker: Some("Bob Marsh".into()), ..RecallQuery::new("instrument", 5) };
    assert_eq!(ids(&recall.query(&cx, only).await.unwrap()), ["2"]);
    // What is replaced keeps its place, and what goes leaves its neighbours to each other.
    recall.store(&cx, turn("2", "Which game did your brother pick?", "Bob Marsh")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("game", 5)).await.unwrap();
    assert!(hits[0].item.id == "2" && ids(&hits[..3]).contains(&"1") && ids(&hits[..3]).contains(&"3"), "{hits:?}");
    let gone = ForgetRequest { namespace: "default".into(), ids: vec!["2".into()], filter: None, all: false };
    recall.forget(&cx, gone).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("horrible weather", 5)).await.unwrap();
    assert_eq!(ids(&hits[..2]), ["1", "3"]);
}

#[tokio::test]
async fn a_superseded_fact_ends_and_what_was_known_once_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let since = |text: &str| Some(Moment::parse(text).unwrap());
    let london = StoreRequest { valid_from: since("2020-01-01"), ..item("london", "Ada lives in London") };
    recall.store(&cx, london).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let before = Moment::now();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let paris = StoreRequest {
        valid_from: since("2024-01-01"),
        supersedes: Some("london".into()),
        ..item("paris", "Ada lives in Paris")
    };
    recall.store(&cx, paris).await.unwrap();
    let asked = |valid_at: Option<Moment>, as_of: Option<Moment>, include_ended: bool| RecallQuery {
        valid_at,
        as_of,
        include_ended,
        ..RecallQuery::new("Where does Ada live?", 5)
    };
    let found = |query: RecallQuery| {
        let (recall, cx) = (recall.clone(), cx.clone());
        async move {
            let hits = recall.query(&cx, query).await.unwrap();
            let mut ids: Vec<String> = hits.iter().map(|hit| hit.item.id.clone()).collect();
            ids.sort();
            ids
        }
    };
    assert_eq!(found(asked(None, None, false)).await, ["paris"], "what is true now");
    assert_eq!(found(asked(since("2022-06-01"), None, false)).await, ["london"]);
    assert_eq!(found(asked(since("2019-06-01"), None, false)).await, [""; 0]);
    assert_eq!(found(asked(None, None, true)).await, ["london", "paris"]);
    assert_eq!(found(asked(None, Some(before), false)).await, ["london"], "its end was not known yet");
    let old = recall.get(&cx, "default", "london").await.unwrap().unwrap();
    assert_eq!(old.superseded_by.as_deref(), Some("paris"));
    assert_eq!(old.valid_to, since("2024-01-01"));
    let versions = recall.history(&cx, "default", "paris").await.unwrap();
    assert_eq!(versions.iter().map(|version| version.item.id.as_str()).collect::<Vec<_>>(), ["london", "paris"]);
    // What a version that was replaced said anew is told, too.
    recall.store(&cx, item("paris", "Ada lives in Rome")).await.unwrap();
    let versions = recall.history(&cx, "default", "paris").await.unwrap();
    let told: Vec<&str> = versions.iter().map(|version| version.item.text.as_str()).collect();
    assert_eq!(told, ["Ada lives in London", "Ada lives in Paris", "Ada lives in Rome"]);
    let none = StoreRequest { supersedes: Some("rome".into()), ..item("x", "Ada lives in Oslo") };
    assert_eq!(recall.store(&cx, none).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(recall.get(&cx, "default", "x").await.unwrap().is_none(), "nothing of it was stored");
}

#[tokio::test]
async fn a_replaced_version_stays_in_the_history_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    recall.store(&cx, item("a", "first elephant")).await.unwrap();
    recall.store(&cx, item("a", "first elephant")).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let before = Moment::now();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    recall.store(&cx, item("a", "second giraffe")).await.unwrap();
    let as_of = RecallQuery { as_of: Some(before), ..RecallQuery::new("elephant", 5) };
    let hits = recall.query(&cx, as_of.clone()).await.unwrap();
    assert_eq!(texts(&hits), ["first elephant"]);
    assert_eq!(hits[0].why.terms, ["eleph"]);
    assert!(hits[0].why.meaning.is_some());
    assert_eq!(texts(&recall.query(&cx, RecallQuery::new("elephant", 5)).await.unwrap()), ["second giraffe"]);
    let versions = recall.history(&cx, "default", "a").await.unwrap();
    assert_eq!(versions.len(), 2, "saying the same twice is saying it once");
    assert!(versions[0].replaced.is_some() && versions[1].replaced.is_none());
    let gone = ForgetRequest { namespace: "default".into(), ids: vec!["a".into()], filter: None, all: false };
    recall.forget(&cx, gone).await.unwrap();
    assert!(recall.query(&cx, as_of).await.unwrap().is_empty());
    assert!(recall.history(&cx, "default", "a").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_has_lived_its_time_is_gone_at_once_and_swept_later() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, store, .. } = memory(folder.path());
    let cx = Context::new();
    let short = StoreRequest { ttl_ms: Some(30), ..item("short", "the code is 1234") };
    recall.store_many(&cx, vec![short, item("long", "the code of conduct")]).await.unwrap();
    assert_eq!(recall.query(&cx, RecallQuery::new("code", 5)).await.unwrap().len(), 2);
    tokio::time::sleep(std::time::Duration::from_millis(40)).await;
    assert!(recall.get(&cx, "default", "short").await.unwrap().is_none());
    assert_eq!(ids(&recall.query(&cx, RecallQuery::new("code", 5)).await.unwrap()), ["long"]);
    let rows = || store.read(|read| Ok(read.tables.items.prefix(read.txn, b"")?.count())).unwrap();
    for _ in 0..200 {
        if rows() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(rows(), 1, "it is forgotten for good");
    assert!(!store.read(|read| expiry::is_due(read, Moment::now())).unwrap());
}

#[tokio::test]
async fn duplicates_are_kept_merged_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let text = "The quarterly report of the northern office lists twelve open positions for engineers in Hamburg";
    recall.store(&cx, tagged("first", text, &json!({"page": 1}))).await.unwrap();
    let again = |id: &str, text: &str, duplicates| StoreRequest {
        duplicates,
        ..tagged(id, text, &json!({"page": 2, "source": "mail"}))
    };
    let near = format!("{text} today");
    recall.store(&cx, again("kept", &near, Duplicates::Keep)).await.unwrap();
    let kept = recall.get(&cx, "default", "kept").await.unwrap().unwrap();
    assert_eq!(kept.duplicate_of.as_deref(), Some("first"));
    let refused = recall.store(&cx, again("refused", text, Duplicates::Refuse)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    assert!(recall.get(&cx, "default", "refused").await.unwrap().is_none());
    let id = recall.store(&cx, again("merged", text, Duplicates::Merge)).await.unwrap();
    assert!(["first", "kept"].contains(&id.as_str()), "{id}");
    let merged = recall.get(&cx, "default", &id).await.unwrap().unwrap();
    assert_eq!(merged.metadata["source"], "mail");
    // In one batch, too.
    let twice = vec![
        again("x", "An utterly new text", Duplicates::Merge),
        again("y", "An utterly new text", Duplicates::Merge),
    ];
    assert_eq!(recall.store_many(&cx, twice).await.unwrap(), ["x", "x"]);
    let other = again("z", "The quarterly report of the southern office says nothing of all this", Duplicates::Refuse);
    recall.store(&cx, other).await.unwrap();
}

#[tokio::test]
async fn a_long_text_is_found_by_its_passage_and_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let config = RecallConfig { passage_above: 200, passage: 120, ..RecallConfig::default() };
    let Memory { recall, router, store, .. } = memory_with(folder.path(), config);
    router.set_embedder(Letters::named("letters"));
    let cx = Context::new();
    let sentence = |n: usize| format!("Sentence number {n} speaks about nothing in particular at all. ");
    let text: String = (0..10).map(sentence).collect::<String>() + "Zebras sleep standing. " + &sentence(11);
    recall.store(&cx, tagged("long", &text, &json!({"kind": "book"}))).await.unwrap();
    recall.store(&cx, item("short", "Zoos are closed")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("How do zebras sleep?", 5)).await.unwrap();
    assert_eq!(ids(&hits), ["long", "short"], "one hit an item");
    let passage = hits[0].passage.unwrap();
    assert!(hits[0].item.text.contains("Zebras sleep standing") && hits[0].item.text.len() < 250);
    assert_eq!(hits[0].item.text, text[passage.start..passage.end]);
    assert_eq!(recall.get(&cx, "default", "long").await.unwrap().unwrap().text, text);
    let book = RecallQuery { filter: Some(Filter::Eq("kind".into(), json!("book"))), ..RecallQuery::new("zebras", 5) };
    assert_eq!(ids(&recall.query(&cx, book).await.unwrap()), ["long"]);
    let context = recall.context(&cx, RecallQuery::new("How do zebras sleep?", 5), 100).await.unwrap();
    assert!(context.text.contains("Zebras sleep standing") && context.tokens <= 100, "{context:?}");
    let gone = ForgetRequest { namespace: "default".into(), ids: vec!["long".into()], filter: None, all: false };
    assert_eq!(recall.forget(&cx, gone).await.unwrap(), 1);
    let left = store.read(|read| Ok(read.tables.passages.prefix(read.txn, b"")?.count())).unwrap();
    assert_eq!(left, 0);
    assert_eq!(ids(&recall.query(&cx, RecallQuery::new("zebras sleep", 5)).await.unwrap()), ["short"]);
}

#[tokio::test]
async fn importance_phrases_age_and_diversity_change_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let with = |id: &str, importance: f32| StoreRequest {
        importance: Some(importance),
        valid_from: Some(Moment::parse("2020-01-01").unwrap()),
        ..item(id, "Remember the milk")
    };
    recall.store_many(&cx, vec![with("less", 0.1), with("more", 0.9)]).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("milk", 5)).await.unwrap();
    assert_eq!(ids(&hits), ["more", "less"]);
    recall.store(&cx, item("new", "Remember the milk")).await.unwrap();
    let aged = RecallQuery { half_life_ms: Some(1_000), ..RecallQuery::new("milk", 5) };
    let hits = recall.query(&cx, aged).await.unwrap();
    assert_eq!(ids(&hits)[0], "new");
    assert!(hits[1].why.boosts["decay"] < 0.0);
    recall.store(&cx, item("phrase", "The milk remember")).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new("\"milk remember\"", 5)).await.unwrap();
    assert_eq!(ids(&hits)[0], "phrase");
    recall.store(&cx, item("other", "Zebu buffalo milk")).await.unwrap();
    let various = RecallQuery { diversity: 0.7, ..RecallQuery::new("milk", 2) };
    let hits = recall.query(&cx, various).await.unwrap();
    assert!(ids(&hits).contains(&"other"), "one of three that say the same is enough: {hits:?}");
}

#[tokio::test]
async fn relations_that_an_item_tells_of_are_stored_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let given = |from: Option<&str>, kind: &str, to: &str| GivenRelation {
        from: from.map(str::to_owned),
        kind: kind.into(),
        to: to.into(),
        weight: 1.0,
    };
    let relations = vec![given(None, "about", "Ada"), given(Some("Ada"), "lives_in", "Paris")];
    recall.store(&cx, StoreRequest { relations, ..item("a", "Ada moved to Paris") }).await.unwrap();
    let path = recall.path(&cx, "default", ("a", "Paris"), 3).await.unwrap().unwrap();
    assert_eq!(path.iter().map(|relation| relation.kind.as_str()).collect::<Vec<_>>(), ["about", "lives_in"]);
    let ranked = recall.rank(&cx, "default", vec!["Ada".into()], 5).await.unwrap();
    assert_eq!((ranked[0].0.as_str(), ranked.len()), ("Ada", 3));
    let near = NeighboursRequest { namespace: "default".into(), of: "a".into(), kind: None, hops: 1, top: 5 };
    let relations = recall.subgraph(&cx, near).await.unwrap();
    assert_eq!(relations.len(), 1, "Paris is two steps away");
    let bad = StoreRequest { relations: vec![given(None, "", "x")], ..item("b", "text") };
    assert_eq!(recall.store(&cx, bad).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn facts_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory(folder.path());
    let cx = Context::new();
    let at = |text: &str| Some(Moment::parse(text).unwrap());
    let bad = [
        StoreRequest { valid_from: at("2024-01-01"), valid_to: at("2023-01-01"), ..item("a", "text") },
        StoreRequest { ttl_ms: Some(0), ..item("a", "text") },
        StoreRequest { importance: Some(1.5), ..item("a", "text") },
        StoreRequest { importance: Some(f32::NAN), ..item("a", "text") },
        StoreRequest { supersedes: Some("a".into()), ..item("a", "text") },
        StoreRequest { session: Some(String::new()), ..item("a", "text") },
    ];
    for request in bad {
        assert_eq!(recall.store(&cx, request.clone()).await.unwrap_err().kind(), ErrorKind::Invalid, "{request:?}");
    }
    let bad = [
        RecallQuery { diversity: 1.5, ..RecallQuery::new("x", 1) },
        RecallQuery { half_life_ms: Some(0), ..RecallQuery::new("x", 1) },
        RecallQuery { include_ended: true, valid_at: at("2024-01-01"), ..RecallQuery::new("x", 1) },
    ];
    for query in bad {
        assert_eq!(recall.query(&cx, query.clone()).await.unwrap_err().kind(), ErrorKind::Invalid, "{query:?}");
    }
}

#[tokio::test]
async fn a_folder_of_an_earlier_version_is_brought_to_this_one_even_when_killed_in_between() {
    let folder = tempfile::tempdir().unwrap();
    let cx = Context::new();
    {
        let Memory { recall, store, .. } = memory(folder.path());
        recall.store_many(&cx, vec![item("a", "Ada moved to Paris"), item("b", "Bob likes cooking")]).await.unwrap();
        // As version 2 had it: a posting a row, and neither slots nor fingerprints.
        let job = |write: &mut crate::store::Write<'_, '_>| {
            let tables = write.tables;
            for table in [tables.postings, tables.slots, tables.fingerprints, tables.words] {
                table.delete_prefix(write.txn, b"")?;
            }
            let mut namespace = namespace::find_in(write, "default")?.unwrap();
            let posting = [&namespace.prefix()[..], b"ada\0", &0_u32.to_be_bytes()].concat();
            tables.postings.put(write.txn, &posting, &[1, 0, 3, 0, 0, 0])?;
            namespace.form = 0;
            namespace::keep(write, "default", &namespace)
        };
        store.write(job).await.unwrap();
    }
    let Memory { recall, .. } = memory(folder.path());
    let hits = recall.query(&cx, RecallQuery::new("Where did Ada move?", 5)).await.unwrap();
    assert_eq!(ids(&hits), ["a", "b"]);
    assert_eq!(hits[0].why.terms, ["ada", "move"]);
    recall.store(&cx, item("a", "Ada moved to Rome")).await.unwrap();
    assert_eq!(texts(&recall.query(&cx, RecallQuery::new("Ada", 1)).await.unwrap()), ["Ada moved to Rome"]);
}

#[tokio::test]
async fn what_the_best_item_mentions_is_found_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, .. } = memory_with(folder.path(), RecallConfig::default());
    let cx = Context::new();
    for (id, text) in [
        ("film", "Aisa Yeh Jahaan\nIt is a film of 2015 that stars Palash Sen and Ira Dubey."),
        ("singer", "Palash Sen (born 1965) sings in Euphoria."),
        ("other", "The pop band Alphaville was founded by its stars. Its name is not that of a city."),
        ("third", "A pop band with a name, founded by one star."),
    ] {
        recall.store(&cx, item(id, text)).await.unwrap();
    }
    let asked = "What is the name of the pop band founded by one of the stars of Aisa Yeh Jahaan?";
    let hits = recall.query(&cx, RecallQuery::new(asked, 4)).await.unwrap();
    let singer = hits.iter().find(|hit| hit.item.id == "singer").expect("it shares no word with the question");
    assert!(singer.why.words.is_none() && singer.why.boosts["graph"] > 0.0 && singer.score <= 1.0);
    assert!(singer.why.terms.is_empty());
    let hits = recall.query(&cx, RecallQuery::new("Who founded a pop band?", 4)).await.unwrap();
    assert!(hits.iter().all(|hit| hit.item.id != "singer" && hit.why.boosts.is_empty()), "nothing is named");
    // What may not be found is no aim, and what was forgotten neither.
    let filter = Filter::Range { key: "n".into(), min: Some(1.0), max: None };
    recall.store(&cx, tagged("film", "Aisa Yeh Jahaan\nIt stars Palash Sen.", &json!({"n": 1}))).await.unwrap();
    let hits = recall.query(&cx, RecallQuery { filter: Some(filter), ..RecallQuery::new(asked, 4) }).await.unwrap();
    assert_eq!(ids(&hits), ["film"]);
    let forget = ForgetRequest { namespace: "default".into(), ids: vec!["singer".into()], filter: None, all: false };
    recall.forget(&cx, forget).await.unwrap();
    let hits = recall.query(&cx, RecallQuery::new(asked, 4)).await.unwrap();
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.item.id != "singer"));
}
