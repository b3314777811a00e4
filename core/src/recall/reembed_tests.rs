//! Another embedder for a namespace.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::{
    tests::{Letters, Memory, ids, item, letters, memory},
    *,
};
use crate::{
    Context, Error, ErrorKind, Result,
    model::{Embedder, EmbedderProfile, Embedding, Price},
    store::{CheckReport, Store},
};

type Meanwhile = Box<dyn Fn(usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Letters backwards, of 52 numbers; it may do something at each call, or fail.
struct Backwards {
    profile: EmbedderProfile,
    calls: AtomicUsize,
    fails_at: Option<usize>,
    meanwhile: Mutex<Option<Arc<Meanwhile>>>,
}

impl std::fmt::Debug for Backwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backwards")
    }
}

impl Backwards {
    fn new(fails_at: Option<usize>) -> Arc<Self> {
        let profile = EmbedderProfile {
            id: "backwards".into(),
            dimensions: 52,
            max_tokens: 100,
            local: true,
            price: Price::default(),
            key: None,
        };
        Arc::new(Self { profile, calls: AtomicUsize::new(0), fails_at, meanwhile: Mutex::new(None) })
    }
}

#[async_trait]
impl Embedder for Backwards {
    fn profile(&self) -> &EmbedderProfile {
        &self.profile
    }
    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fails_at == Some(call) {
            return Err(Error::new(ErrorKind::Unavailable, "out of order"));
        }
        let meanwhile = self.meanwhile.lock().unwrap().clone();
        if let Some(meanwhile) = meanwhile {
            meanwhile(call).await;
        }
        let embed = |text: &String| {
            let vector = letters(text).into_iter().rev().chain([0.0; 26]).collect();
            Embedding { vector, tokens: 1, truncated: false }
        };
        Ok(texts.iter().map(embed).collect())
    }
}

fn agrees(store: &Store) {
    let mut report = CheckReport::default();
    check_recall(store, &mut report).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
}

async fn fill(recall: &RecallEngine, count: usize) {
    let cx = Context::new();
    let words = ["whale", "ship", "harbour", "storm", "anchor"];
    let text = |at: usize| format!("{} {} number {at}", words[at % 5], words[at / 5 % 5]);
    recall.store_many(&cx, (0..count).map(|at| item(&at.to_string(), &text(at))).collect()).await.unwrap();
}

async fn found(recall: &RecallEngine, text: &str) -> Vec<Hit> {
    recall.query(&Context::new(), RecallQuery::new(text, 5)).await.unwrap()
}

#[tokio::test]
async fn a_namespace_gets_another_embedder_while_the_old_one_serves() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, store, .. } = memory(folder.path());
    let cx = Context::new();
    fill(&recall, 1_500).await;
    recall.store(&cx, item("long", &"A sentence about whales and ships. ".repeat(200))).await.unwrap();
    recall.store(&cx, item("7", "replaced before")).await.unwrap();
    let before = found(&recall, "whale ship").await;
    let new = Backwards::new(None);
    let (engine, served) = (recall.clone(), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&served);
    let meanwhile: Meanwhile = Box::new(move |call| {
        let (recall, seen) = (engine.clone(), Arc::clone(&seen));
        Box::pin(async move {
            let cx = Context::new();
            let hits = found(&recall, "whale ship").await;
            assert!(hits[0].why.meaning.is_some(), "the old vectors serve");
            let state = recall.statistics(&cx, "default").await.unwrap().reembedding.unwrap();
            assert!(state.embedder == "backwards" && state.of > 1_500 && state.done <= state.of, "{state:?}");
            // Items before and after the one that is embedded now are forgotten, replaced and stored.
            if call < 4 {
                recall.store(&cx, item(&format!("new{call}"), "stored meanwhile")).await.unwrap();
                recall.store(&cx, item(&(call * 10).to_string(), "replaced meanwhile")).await.unwrap();
                let ids = vec![(call * 3 + 1).to_string(), (1_400 + call).to_string()];
                let forget = ForgetRequest { namespace: "default".into(), ids, filter: None, all: false };
                assert_eq!(recall.forget(&cx, forget).await.unwrap(), 2);
            }
            seen.fetch_add(1, Ordering::SeqCst);
        })
    });
    *new.meanwhile.lock().unwrap() = Some(Arc::new(meanwhile));
    let count = recall.reembed_by(&cx, "default", new.clone()).await.unwrap();
    *new.meanwhile.lock().unwrap() = None;
    assert!(served.load(Ordering::SeqCst) >= 6 && count > 1_500, "{count}");
    agrees(&store);
    let state = recall.statistics(&cx, "default").await.unwrap();
    assert_eq!((state.embedder.as_deref(), state.dimensions, state.reembedding), (Some("backwards"), 52, None));
    // The old embedder does not fit any more; the new one does, and finds the same, since it means the same.
    let error = recall.query(&cx, RecallQuery::new("whale", 5)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    router.set_embedder(new);
    let after = found(&recall, "whale ship").await;
    assert!(after[0].why.meaning.is_some());
    // The same item may have been forgotten meanwhile, but there are sixty with its words.
    let words = |hit: &Hit| hit.item.text.split(" number").next().map(str::to_owned);
    assert_eq!(words(&after[0]), words(&before[0]));
    assert!((after[0].why.meaning.unwrap() - before[0].why.meaning.unwrap()).abs() < 1e-5);
    recall.store(&cx, item("later", "stored later")).await.unwrap();
    assert_eq!(recall.reembed(&cx, "default").await.unwrap(), 0, "there is nothing to do");
    agrees(&store);
    let all = ForgetRequest { namespace: "default".into(), ids: vec![], filter: None, all: true };
    recall.forget(&cx, all).await.unwrap();
    assert!(
        store.statistics().unwrap().tables.keys().all(|table| !["vectors", "rows", "codes"].contains(&table.as_str()))
    );
}

#[tokio::test]
async fn it_goes_on_where_it_was_interrupted_and_who_has_the_new_embedder_finds_words_until_then() {
    let folder = tempfile::tempdir().unwrap();
    let Memory { recall, router, store, .. } = memory(folder.path());
    let cx = Context::new();
    fill(&recall, 1_000).await;
    let failing = Backwards::new(Some(2));
    router.set_embedder(failing.clone());
    assert_eq!(recall.query(&cx, RecallQuery::new("whale", 5)).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(recall.reembed(&cx, "default").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let state = recall.statistics(&cx, "default").await.unwrap();
    assert_eq!((state.embedder.as_deref(), state.reembedding.unwrap().done), (Some("letters"), 512));
    let hits = found(&recall, "harbour storm").await;
    assert!(hits[0].why.words.is_some() && hits[0].why.meaning.is_none());
    router.set_embedder(Backwards::new(None));
    recall.store(&cx, item("meanwhile", "a text with an anchor of its own")).await.unwrap();
    assert_eq!(ids(&found(&recall, "anchor of its own").await)[0], "meanwhile");
    assert_eq!(recall.reembed(&cx, "default").await.unwrap(), 1_001 - 512);
    agrees(&store);
    assert!(found(&recall, "anchor of its own").await[0].why.meaning.is_some());
    // Another embedder while one is on its way begins anew.
    router.set_embedder(Backwards::new(Some(1)));
    assert_eq!(recall.reembed_by(&cx, "default", Letters::named("others")).await.unwrap(), 1_001);
    router.set_embedder(Letters::named("others"));
    assert!(recall.reembed_by(&cx, "default", Backwards::new(Some(1))).await.is_err());
    assert_eq!(recall.reembed_by(&cx, "default", Letters::named("letters")).await.unwrap(), 1_001);
    agrees(&store);
    assert_eq!(recall.reembed(&cx, "none").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(recall.reembed(&Context::new().tenant("a"), "default").await.unwrap_err().kind(), ErrorKind::NotFound);
}
