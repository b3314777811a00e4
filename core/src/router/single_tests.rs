use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    Registry,
    model::{ChatModel, GeneratedImage, GeneratedImages, ImageModel, ImageRequest, ModelProfile},
    money::Budget,
    router::{CheapestRouter, LedgerQuery, RouterConfig},
    store::{Store, StoreConfig, Unit},
};

type Failures = Mutex<Vec<Error>>;

/// Makes images of one byte for a dollar each, after it has failed as often as the test wrote down.
#[derive(Debug)]
struct Painter(ModelProfile, Failures);

#[async_trait]
impl ImageModel for Painter {
    fn profile(&self) -> &ModelProfile {
        &self.0
    }

    fn max_cost(&self, request: &ImageRequest) -> NanoUsd {
        NanoUsd(NanoUsd::PER_USD * i64::from(request.count))
    }

    async fn generate(&self, _: &Context, request: ImageRequest) -> Result<GeneratedImages> {
        if let Some(error) = self.1.lock().unwrap().pop() {
            return Err(error);
        }
        let images = vec![GeneratedImage { bytes: vec![7], url: None }; usize::from(request.count)];
        let usage = Usage::of(3, 50);
        Ok(GeneratedImages { images, usage, cost: self.max_cost(&request) })
    }
}

/// Costs a nano-dollar a token; every text has four.
#[derive(Debug)]
struct Remote(EmbedderProfile, AtomicU64);

#[async_trait]
impl Embedder for Remote {
    fn profile(&self) -> &EmbedderProfile {
        &self.0
    }

    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(unavailable());
        }
        Ok(texts.iter().map(|_| Embedding { vector: vec![1.0], tokens: 4, truncated: false }).collect())
    }

    async fn embed_queries(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        Ok(texts.iter().map(|_| Embedding { vector: vec![-1.0], tokens: 5, truncated: false }).collect())
    }
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "down")
}

fn engine() -> (tempfile::TempDir, RouterEngine, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let models: Registry<dyn ChatModel> = Registry::new("model");
    let config = RouterConfig { backoff_ms: 1, breaker_failures: 2, ..RouterConfig::default() };
    (folder, RouterEngine::new(config, Arc::new(CheapestRouter), models, store.clone()).unwrap(), store)
}

fn paints(engine: &RouterEngine, failures: Vec<Error>) {
    engine.set_image_model(Arc::new(Painter(ModelProfile::local("painter", 1000), Mutex::new(failures))));
}

fn dollars(n: i64) -> NanoUsd {
    NanoUsd(n * NanoUsd::PER_USD)
}

#[tokio::test]
async fn images_are_tried_again_paid_for_and_written_down() {
    let (_folder, engine, _) = engine();
    paints(&engine, vec![unavailable()]);
    let budget = Budget::new(dollars(5));
    let cx = Context::new().tenant("ada").budget(budget.clone());
    let reply = engine.generate_image(&cx, ImageRequest { count: 2, ..ImageRequest::new("a cat") }).await.unwrap();
    assert_eq!((reply.images.len(), reply.cost, reply.model.as_str()), (2, dollars(2), "painter"));
    assert_eq!(budget.left(), dollars(3));
    let entries = engine.ledger(&cx, LedgerQuery::default()).await.unwrap();
    assert_eq!(entries.len(), 1, "an attempt that made nothing costs nothing");
    let entry = &entries[0];
    assert_eq!((entry.id.as_str(), entry.tenant.as_str(), entry.model.as_str()), (&*reply.id, "ada", "painter"));
    assert_eq!((entry.cost, entry.saved, entry.output_tokens), (dollars(2), NanoUsd::ZERO, 50));
}

#[tokio::test]
async fn an_image_that_may_be_billed_is_paid_for_though_it_never_came() {
    let unreadable = || unavailable().with("billed", "perhaps");
    let late = || Error::new(ErrorKind::Timeout, "late");
    let (_folder, engine, store) = engine();
    paints(&engine, vec![late(), unreadable()]);
    let budget = Budget::new(dollars(9));
    let cx = Context::new().budget(budget.clone());
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout] {
        let error = engine.generate_image(&cx, ImageRequest::new("a cat")).await.unwrap_err();
        assert!(error.kind() == kind && !error.is_retryable(), "two tries are allowed, but not of what was billed");
    }
    store.flush().await.unwrap();
    let entries = engine.ledger(&cx, LedgerQuery::default()).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| (entry.cost, entry.saved)).collect::<Vec<_>>(),
        [(dollars(1), dollars(-1)); 2]
    );
    assert_eq!(budget.left(), dollars(7));
}

/// Never answers.
#[derive(Debug)]
struct Silent(ModelProfile);

#[async_trait]
impl ImageModel for Silent {
    fn profile(&self) -> &ModelProfile {
        &self.0
    }

    fn max_cost(&self, _: &ImageRequest) -> NanoUsd {
        dollars(1)
    }

    async fn generate(&self, _: &Context, _: ImageRequest) -> Result<GeneratedImages> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn an_image_that_nobody_waits_for_any_more_is_paid_for() {
    let (_folder, engine, store) = engine();
    engine.set_image_model(Arc::new(Silent(ModelProfile::local("silent", 1000))));
    let cx = Context::new();
    let request = || ImageRequest::new("a cat");
    let call = engine.generate_image(&cx, request());
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err(), "dropped");
    let late = cx.child().within(Duration::from_millis(20));
    assert_eq!(engine.generate_image(&late, request()).await.unwrap_err().kind(), ErrorKind::Timeout);
    store.flush().await.unwrap();
    assert_eq!(engine.totals(None).unwrap().cost, dollars(2));
}

#[tokio::test]
async fn an_image_that_cannot_be_written_down_is_not_made_again() {
    let (_folder, engine, store) = engine();
    paints(&engine, Vec::new());
    // The ledger cannot add to sums that are damaged.
    store.write(|write| write.tables.totals.put_damaged(write.txn, &[0])).await.unwrap();
    let budget = Budget::new(dollars(9));
    let cx = Context::new().budget(budget.clone());
    let error = engine.generate_image(&cx, ImageRequest::new("a cat")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Corrupt && !error.is_retryable());
    assert_eq!(budget.spent(), dollars(1));
}

/// An embedder of a provider.
fn far() -> EmbedderProfile {
    let price = Price { input: NanoUsd(1_000_000), ..Price::default() };
    EmbedderProfile { id: "far".into(), dimensions: 1, max_tokens: 100, local: false, price, key: Some("KEY".into()) }
}

#[tokio::test]
async fn a_tenant_that_the_ledger_cannot_hold_is_refused_before_anything_is_paid() {
    let (_folder, engine, _) = engine();
    let far = Arc::new(Remote(far(), AtomicU64::new(1)));
    engine.set_embedder(far.clone());
    paints(&engine, Vec::new());
    let cx = Context::new().tenant(&"t".repeat(600));
    let embedded = engine.embedder().unwrap().embed(&cx, vec!["a".into()]).await;
    assert_eq!(embedded.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(far.1.load(Ordering::SeqCst), 1, "it was not called");
    let painted = engine.generate_image(&cx, ImageRequest::new("a cat")).await;
    assert_eq!(painted.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn what_may_cost_more_than_is_left_is_not_asked() {
    let (_folder, engine, _) = engine();
    paints(&engine, Vec::new());
    let cx = Context::new().budget(Budget::new(dollars(1)));
    let ask = |count| engine.generate_image(&cx, ImageRequest { count, ..ImageRequest::new("a cat") });
    assert_eq!(ask(2).await.unwrap_err().kind(), ErrorKind::OverBudget);
    assert_eq!(ask(0).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(ask(1).await.unwrap().cost, dollars(1));
    assert_eq!(engine.totals(None).unwrap().calls, 1);
}

#[tokio::test]
async fn a_model_that_is_down_is_left_alone_and_the_fault_of_a_request_ends_it() {
    let (_folder, engine, _) = engine();
    let cx = Context::new();
    let error = engine.generate_image(&cx, ImageRequest::new("a cat")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.message().contains("image_model"), "{error}");
    paints(&engine, vec![unavailable(), unavailable(), Error::invalid("not this")]);
    let ask = || engine.generate_image(&cx, ImageRequest::new("a cat"));
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Invalid, "not tried again");
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::Unavailable, "tried twice");
    assert_eq!(ask().await.unwrap_err().kind(), ErrorKind::CircuitOpen);
    assert_eq!(engine.totals(None).unwrap().calls, 0);
}

#[tokio::test]
async fn a_remote_embedder_is_tried_again_and_paid_for() {
    let (_folder, engine, store) = engine();
    engine.set_embedder(Arc::new(Remote(far(), AtomicU64::new(0))));
    let embedder = engine.embedder().unwrap();
    let budget = Budget::new(NanoUsd(1000));
    let unit = Unit::default();
    let cx = Context::new().budget(budget.clone()).unit(Some(unit.clone()));
    assert!(embedder.embed(&cx, Vec::new()).await.unwrap().is_empty());
    let texts = vec!["one text".to_owned(), String::new()];
    assert_eq!(embedder.embed(&cx, texts).await.unwrap().len(), 2);
    assert_eq!(budget.left(), NanoUsd(1000 - 8));
    assert_eq!(engine.totals(None).unwrap().calls, 0, "it goes with the unit");
    store.commit(unit.take(true)).await.unwrap();
    let totals = engine.totals(None).unwrap();
    assert_eq!((totals.calls, totals.input_tokens, totals.cost), (1, 8, NanoUsd(8)));
    let paid_by = LedgerQuery { key: Some("KEY".into()), ..LedgerQuery::default() };
    assert_eq!(engine.ledger(&cx, paid_by).await.unwrap().len(), 1, "budgets and queries go by the key");
    let queries = embedder.embed_queries(&cx, vec!["a query".to_owned()]).await.unwrap();
    assert_eq!(
        (&queries[0].vector[..], budget.left()),
        (&[-1.0][..], NanoUsd(1000 - 8 - 5)),
        "as a query, and paid for"
    );
    let long = vec!["x".repeat(5000); 20];
    assert_eq!(embedder.embed(&cx, long).await.unwrap_err().kind(), ErrorKind::OverBudget, "20 times 100 tokens");
}

#[tokio::test]
async fn what_was_embedded_before_a_batch_that_fails_is_not_paid_twice() {
    /// Fails in its second batch once.
    #[derive(Debug)]
    struct Second(EmbedderProfile, Mutex<Vec<usize>>);

    #[async_trait]
    impl Embedder for Second {
        fn profile(&self) -> &EmbedderProfile {
            &self.0
        }

        async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
            let mut calls = self.1.lock().unwrap();
            calls.push(texts.len());
            if calls.len() == 2 {
                return Err(Error::new(ErrorKind::RateLimited, "slow down"));
            }
            Ok(texts.iter().map(|_| Embedding { vector: vec![1.0], tokens: 4, truncated: false }).collect())
        }
    }
    let (_folder, engine, _) = engine();
    let price = Price { input: NanoUsd(1_000_000), ..Price::default() };
    let profile = EmbedderProfile { id: "far".into(), dimensions: 1, max_tokens: 100, local: false, price, key: None };
    let far = Arc::new(Second(profile, Mutex::default()));
    engine.set_embedder(far.clone());
    let embedded = engine.embedder().unwrap().embed(&Context::new(), vec!["a text".into(); 200]).await.unwrap();
    assert_eq!((embedded.len(), far.1.lock().unwrap().as_slice()), (200, &[128, 72, 72][..]));
    let totals = engine.totals(None).unwrap();
    assert_eq!((totals.calls, totals.failed, totals.cost), (2, 0, NanoUsd(800)));
}

#[tokio::test]
async fn a_rate_limit_of_an_image_model_is_kept_to() {
    let (_folder, engine, _) = engine();
    let rate_limit = Some(crate::model::RateLimit { requests_per_minute: Some(1), tokens_per_minute: None });
    let profile = ModelProfile { rate_limit, ..ModelProfile::local("painter", 1000) };
    engine.set_image_model(Arc::new(Painter(profile, Mutex::default())));
    let cx = Context::new().within(Duration::from_secs(5));
    engine.generate_image(&cx, ImageRequest::new("a cat")).await.unwrap();
    let error = engine.generate_image(&cx, ImageRequest::new("a cat")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
}
