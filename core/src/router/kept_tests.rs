use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use serde_json::json;

use super::*;
use crate::{
    engine::Registry,
    error::ErrorKind,
    model::{ChatModel, Embedder, EmbedderProfile, Embedding, ResponseFormat, Role},
    router::{
        AnswerCacheConfig, CheapestRouter, ExactCache, GenerateRequest, LedgerQuery, RouterConfig, StreamEvent,
        testkit::Scripted,
    },
    store::{Store, StoreConfig},
};

/// Texts that begin in the same way mean the same.
#[derive(Debug)]
struct Beginnings(EmbedderProfile);

#[async_trait]
impl Embedder for Beginnings {
    fn profile(&self) -> &EmbedderProfile {
        &self.0
    }

    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let vector = |text: &str| if text.starts_with("hello") { vec![1.0, 0.0] } else { vec![0.0, 1.0] };
        let embedding = |text: &String| Embedding { vector: vector(text), tokens: 1, truncated: text.len() > 100 };
        Ok(texts.iter().map(embedding).collect())
    }
}

fn engine(semantic: Option<f64>, models: Vec<Scripted>) -> (tempfile::TempDir, RouterEngine, Vec<Arc<Scripted>>) {
    engine_with(AnswerCacheConfig { semantic, ..AnswerCacheConfig::default() }, models)
}

fn engine_with(
    cache: AnswerCacheConfig,
    models: Vec<Scripted>,
) -> (tempfile::TempDir, RouterEngine, Vec<Arc<Scripted>>) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    let models: Vec<_> = models.into_iter().map(Arc::new).collect();
    for model in &models {
        registry.register(&model.profile().id.clone(), model.clone()).unwrap();
    }
    let config = RouterConfig { backoff_ms: 1, cache, ..RouterConfig::default() };
    let engine = RouterEngine::new(config, Arc::new(CheapestRouter), registry, store).unwrap();
    let profile = EmbedderProfile {
        id: "beginnings".into(),
        dimensions: 2,
        max_tokens: 100,
        local: true,
        price: Price::default(),
        key: None,
    };
    engine.set_embedder(Arc::new(Beginnings(profile)));
    (folder, engine, models)
}

fn ask(text: &str) -> GenerateRequest {
    let mut request = GenerateRequest::new(text);
    request.sampling.temperature = Some(0.0);
    request.sampling.max_tokens = Some(100);
    request
}

fn as_json(mut request: GenerateRequest) -> GenerateRequest {
    let schema = json!({"type": "object", "required": ["n"]});
    request.response_format = ResponseFormat::JsonSchema { name: "n".into(), schema };
    request.sampling.temperature = None;
    request
}

#[tokio::test]
async fn the_same_question_is_asked_once_and_costs_once() {
    let (_folder, engine, models) = engine(None, vec![Scripted::remote("m", 1000).says(&["hi"])]);
    let cx = Context::new();
    let first = engine.generate(&cx, ask("hello")).await.unwrap();
    let again = engine.generate(&cx, ask("hello")).await.unwrap();
    assert_eq!((first.cache_hit, again.cache_hit), (None, Some(CacheHit::Exact)));
    assert_eq!((again.text.as_str(), again.model.as_str(), again.usage), ("hi", "m", first.usage));
    assert!(again.cost == NanoUsd::ZERO && again.reference_cost == first.reference_cost && again.id != first.id);
    assert_eq!(models[0].calls(), 1);
    let mut stream = engine.stream(&cx, ask("hello")).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), StreamEvent::Text { text: "hi".into() });
    assert!(matches!(stream.next().await.unwrap().unwrap(), StreamEvent::Done { .. }));
    let entries = engine.ledger(&cx, LedgerQuery::default()).await.unwrap();
    let hits: Vec<_> = entries.iter().map(|entry| entry.cache_hit).collect();
    assert_eq!(hits, [Some(CacheHit::Exact), Some(CacheHit::Exact), None]);
    assert_eq!(engine.totals(None).unwrap().cost, first.cost);
}

#[tokio::test]
async fn another_tenant_another_model_and_chance_are_asked_anew() {
    let model = Scripted::remote("m", 1000).says(&["a"]).says(&["b"]).says(&["c"]).says(&["d"]);
    let (_folder, engine, _) = engine(None, vec![model]);
    let cx = Context::new();
    assert_eq!(engine.generate(&cx, ask("hello")).await.unwrap().text, "a");
    assert_eq!(engine.generate(&Context::new().tenant("bob"), ask("hello")).await.unwrap().text, "b");
    let mut by_chance = ask("hello");
    by_chance.sampling.temperature = None;
    assert_eq!(engine.generate(&cx, by_chance).await.unwrap().text, "c");
    engine.models().register("better", Arc::new(Scripted::local("better").says(&["e"]))).unwrap();
    assert_eq!(engine.generate(&cx, ask("hello")).await.unwrap().text, "e");
}

#[tokio::test]
async fn what_means_the_same_is_found_only_where_it_is_asked_for() {
    let (_folder, off, _) = engine(None, vec![Scripted::local("m").says(&["a"]).says(&["b"])]);
    let cx = Context::new();
    off.generate(&cx, ask("hello there")).await.unwrap();
    assert_eq!(off.generate(&cx, ask("hello you")).await.unwrap().text, "b");
    let (_folder, on, _) = engine(Some(0.9), vec![Scripted::local("m").says(&["a"]).says(&["b"])]);
    on.generate(&cx, ask("hello there")).await.unwrap();
    let alike = on.generate(&cx, ask("hello you")).await.unwrap();
    assert_eq!((alike.text.as_str(), alike.cache_hit), ("a", Some(CacheHit::Semantic)));
    assert_eq!(on.generate(&cx, ask("goodbye")).await.unwrap().text, "b");
}

#[tokio::test]
async fn a_prompt_that_must_stay_goes_to_no_embedder_outside() {
    let (_folder, engine, _) = engine(Some(0.9), vec![Scripted::local("m").says(&["a"]).says(&["b"])]);
    let profile = EmbedderProfile {
        id: "remote".into(),
        dimensions: 2,
        max_tokens: 100,
        local: false,
        price: Price::default(),
        key: None,
    };
    engine.set_embedder(Arc::new(Beginnings(profile)));
    let cx = Context::new();
    let local = |text: &str| {
        let mut request = ask(text);
        request.needs.local_only = true;
        request
    };
    engine.generate(&cx, local("hello there")).await.unwrap();
    assert_eq!(engine.generate(&cx, local("hello you")).await.unwrap().text, "b", "it was not compared");
    assert_eq!(engine.meaning(&cx, "hello", true).await.unwrap(), None);
    assert!(engine.meaning(&cx, "hello", false).await.unwrap().is_some());
}

#[tokio::test]
async fn json_is_mended_or_asked_for_again() {
    let capable = |mut model: Scripted| {
        model.offers(|can| can.json_schema = true);
        model
    };
    let first = capable(Scripted::local("a").says(&["Sure: {'n': 1,}"]).says(&["no"]).says(&["{\"m\": 1}"]));
    let second = capable(Scripted::remote("b", 1000).says(&["{\"n\": 2}"]));
    let (_folder, engine, models) = engine(None, vec![first, second]);
    let cx = Context::new();
    let mended = engine.generate(&cx, as_json(ask("hello"))).await.unwrap();
    assert_eq!((mended.text.as_str(), mended.attempts.len()), ("{\"n\": 1}", 1));
    let better = engine.generate(&cx, as_json(ask("hello"))).await.unwrap();
    assert_eq!((better.text.as_str(), better.model.as_str()), ("{\"n\": 2}", "b"));
    let codes: Vec<_> = better.attempts.iter().map(|attempt| attempt.code.as_deref()).collect();
    assert_eq!(codes, [Some("REJECTED"), Some("REJECTED"), None]);
    assert_eq!(models[0].calls(), 3);
    let mut no_schema = as_json(ask("hello"));
    no_schema.response_format = ResponseFormat::JsonSchema { name: "x".into(), schema: json!({"type": "objekt"}) };
    assert_eq!(engine.generate(&cx, no_schema).await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn several_answers_are_several_when_they_are_kept_too() {
    let model = Scripted::local("m").says(&["a"]).says(&["b"]);
    let cache = AnswerCacheConfig { exact: ExactCache::All, ..AnswerCacheConfig::default() };
    let (_folder, engine, models) = engine_with(cache, vec![model]);
    let mut two = ask("hello");
    (two.sampling.temperature, two.n) = (None, 2);
    for _ in 0..2 {
        let reply = engine.generate(&Context::new(), two.clone()).await.unwrap();
        let mut texts = [reply.text.as_str(), reply.alternatives[0].text.as_str()];
        texts.sort_unstable();
        assert_eq!(texts, ["a", "b"]);
    }
    assert_eq!(models[0].calls(), 2);
}

#[tokio::test]
async fn another_model_under_the_same_name_is_asked_anew() {
    let revised = |revision: &str, text: &str| {
        let mut model = Scripted::remote("m", 1000).says(&[text]);
        model.is_revision(revision);
        model
    };
    let (_folder, engine, _) = engine(None, vec![revised("small", "a")]);
    let cx = Context::new();
    assert_eq!(engine.generate(&cx, ask("hello")).await.unwrap().text, "a");
    engine.models().register("m", Arc::new(revised("large", "b"))).unwrap();
    assert_eq!(engine.generate(&cx, ask("hello")).await.unwrap().text, "b");
}

#[tokio::test]
async fn texts_that_the_embedder_reads_in_part_are_not_compared() {
    let (_folder, engine, _) = engine(Some(0.9), vec![Scripted::local("m").says(&["a"]).says(&["b"])]);
    let cx = Context::new();
    let long = "hello ".repeat(30);
    engine.generate(&cx, ask(&format!("{long} who signs?"))).await.unwrap();
    assert_eq!(engine.generate(&cx, ask(&format!("{long} what is owed?"))).await.unwrap().text, "b");
}

#[tokio::test]
async fn what_was_streamed_without_the_form_is_not_given_where_the_form_is_promised() {
    let mut model = Scripted::local("m").says(&["Sure: {'n': 1,}"]).says(&["{\"n\": 2}"]);
    model.offers(|can| can.json_schema = true);
    let (_folder, engine, _) = engine(None, vec![model]);
    let cx = Context::new();
    let mut request = as_json(ask("hello"));
    request.sampling.temperature = Some(0.0);
    let streamed: Vec<_> = engine.stream(&cx, request.clone()).await.unwrap().collect().await;
    assert!(streamed.iter().all(Result::is_ok));
    assert_eq!(engine.generate(&cx, request).await.unwrap().text, "{\"n\": 2}");
}

#[tokio::test]
async fn an_empty_answer_is_not_held_against_the_model() {
    let model = (0..4).fold(Scripted::remote("m", 1), |model, _| model.says(&[])).says(&["well"]);
    let (_folder, engine, _) = engine(None, vec![model]);
    let mut request = ask("Reply with nothing.");
    request.sampling.temperature = None;
    for _ in 0..2 {
        assert_eq!(engine.generate(&Context::new(), request.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(engine.generate(&Context::new(), request).await.unwrap().text, "well");
}

#[tokio::test]
async fn a_model_is_told_once_what_is_wrong_with_its_json() {
    let capable = |mut model: Scripted| {
        model.offers(|can| can.json_schema = true);
        model
    };
    let models = |first: Scripted| vec![capable(first), capable(Scripted::remote("b", 9000).says(&["{\"n\": 2}"]))];
    // Without chance: it would say the same again, were it not told.
    let exact = || {
        let mut request = as_json(ask("hello"));
        request.sampling.temperature = Some(0.0);
        request
    };
    let (_folder, engine, asked) =
        engine(None, models(Scripted::remote("a", 1).says(&["{\"m\": 1}"]).says(&["{\"n\": 1}"])));
    let cx = Context::new();
    let reply = engine.generate(&cx, exact()).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.model.as_str(), reply.attempts.len()), ("{\"n\": 1}", "a", 2));
    let again = &asked[0].asked()[1].messages;
    assert_eq!((again.len(), again[1].role, again[1].content.as_str()), (3, Role::Assistant, "{\"m\": 1}"));
    assert!(again[2].role == Role::User && again[2].content.contains("\"n\" is a required property"), "{again:?}");
    // Ten tokens read and one written, twice.
    assert_eq!(reply.cost, NanoUsd(22));
    let (_folder, off, asked) = self::engine(None, models(Scripted::remote("a", 1).says(&["{\"m\": 1}"])));
    off.reconfigure(RouterConfig { repair: false, ..RouterConfig::default() }).await.unwrap();
    let reply = off.generate(&cx, exact()).await.unwrap();
    assert_eq!((reply.model.as_str(), asked[0].calls()), ("b", 1));
}
