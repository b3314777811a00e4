//! What callers see when providers misbehave: the sixteen faults of FailoverBench, and more that it does not have.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests may fail loudly")]
#![allow(unreachable_pub, dead_code, reason = "the benches use the same two files")]

#[path = "faults/scenarios.rs"]
mod scenarios;
#[path = "faults/server.rs"]
mod server;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use scenarios::{Verdict, ours};
use server::{ANSWER, FaultServer, Pace};
use triune::{
    Context, ErrorKind, Registry,
    model::{
        ChatModel, Embedder, EmbedderConfig, ModelConfig, Prices, Provider, RateLimit, ResponseFormat,
        cloud::OpenAiEmbedder,
    },
    router::{GenerateReply, GenerateRequest, LedgerQuery, RouterConfig},
};

/// A fifth of the published times: shorter, and a busy machine looks like a fault.
const SCALE: f64 = 0.2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sixteen_faults_pass() {
    let played = ours::play_all(SCALE).await;
    let failed: Vec<_> = played.iter().filter(|(.., verdict)| *verdict != Verdict::Pass).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn fast() -> RouterConfig {
    let mut settings = ours::settings(0.02);
    settings.timeout_ms = 5_000;
    settings
}

async fn server() -> FaultServer {
    FaultServer::start(Pace { token: Duration::ZERO, ..Pace::scaled(0.05) }).await
}

fn ask() -> GenerateRequest {
    let mut request = GenerateRequest::new("Tell me in sixty words.");
    request.sampling.max_tokens = Some(500);
    request
}

async fn whole(server: &FaultServer, provider: Provider, models: &[&str]) -> triune::Result<GenerateReply> {
    ours::Client::of(&server.url, provider, models, fast()).engine.generate(&Context::new(), ask()).await
}

#[tokio::test]
async fn both_protocols_fail_over_from_every_broken_answer() {
    for provider in [Provider::Openai, Provider::Anthropic] {
        for fault in ["cut", "errors", "nofinish", "empty", "thought", "jsonerror", "filtered", "burst", "s10"] {
            if provider == Provider::Anthropic && fault == "s10" {
                continue; // That event is OpenAI's.
            }
            let server = server().await;
            let reply = whole(&server, provider, &[fault, "ok"]).await.unwrap();
            assert_eq!(reply.text, ANSWER, "{provider:?} {fault}");
            let expected = if fault == "burst" { "burst" } else { "ok" };
            assert_eq!(reply.model, expected, "{provider:?} {fault}: {:?}", reply.attempts);
        }
    }
}

#[tokio::test]
async fn what_happens_after_the_end_of_an_answer_and_before_its_first_byte_takes_nothing_away() {
    for provider in [Provider::Openai, Provider::Anthropic] {
        for fault in ["bom", "open", "reset"] {
            let server = server().await;
            let mut settings = fast();
            settings.idle_timeout_ms = 5_000;
            let client = ours::Client::of(&server.url, provider, &[fault, "ok"], settings);
            let call = client.call(ask()).await;
            let seen = (call.text.as_deref(), call.model.as_str());
            assert_eq!(seen, (Some(ANSWER), fault), "{provider:?} {fault}: {}", call.error);
            assert!(server.asked("ok").is_empty());
        }
    }
}

#[tokio::test]
async fn a_text_with_more_tokens_than_its_bytes_tell_is_cut_instead_of_refused() {
    let server = server().await;
    let mut config = EmbedderConfig::default();
    (config.provider, config.source) = (Provider::Openai, "hundred-tokens".into());
    (config.base_url, config.dimensions) = (Some(server.url.clone()), Some(2));
    let file = tempfile::NamedTempFile::new().unwrap();
    let listed = serde_json::json!({ "hundred-tokens": { "mode": "embedding", "max_input_tokens": 100,
        "input_cost_per_token": 1e-7, "output_cost_per_token": 0.0, "output_vector_size": 2 } });
    std::fs::write(file.path(), listed.to_string()).unwrap();
    let prices = Prices::load(Some(file.path())).unwrap();
    let cx = Context::new();
    let embedder = OpenAiEmbedder::from_config(&cx, &config, &prices).await.unwrap();
    assert_eq!(embedder.profile().max_tokens, 100);
    let texts = vec!["word ".repeat(40), "7".repeat(290)];
    let found = embedder.embed(&cx, texts).await.unwrap();
    assert_eq!(found.iter().map(|one| one.truncated).collect::<Vec<_>>(), [true, true]);
    assert_eq!(server.log().len(), 3, "as it is, half of it, and a byte for each token");
}

#[tokio::test]
async fn a_tool_call_that_takes_its_time_is_waited_for() {
    for provider in [Provider::Openai, Provider::Anthropic] {
        let pace = Pace { token: Duration::from_millis(20), ..Pace::scaled(0.05) };
        let server = FaultServer::start(pace).await;
        let registry: Registry<dyn ChatModel> = Registry::new("model");
        for name in ["called", "ok"] {
            let with_tools = |config: &mut ModelConfig| {
                config.capabilities = Some(triune::model::Capabilities { tools: true, ..Default::default() });
            };
            registry.register(name, ours::model(&server.url, provider, name, with_tools)).unwrap();
        }
        let mut request = ask();
        request.tools.push(triune::FunctionSpec::new("find"));
        // Sixty words take longer than the first token and the next one may.
        let mut settings = fast();
        (settings.first_token_timeout_ms, settings.idle_timeout_ms) = (300, 600);
        let reply = ours::Client::over(registry, settings).engine.generate(&Context::new(), request).await.unwrap();
        assert_eq!((reply.model.as_str(), reply.finish_reason.as_str()), ("called", "tool_calls"), "{provider:?}");
        assert_eq!(reply.tool_calls[0].arguments, serde_json::json!({ "q": ANSWER }));
    }
}

#[tokio::test]
async fn both_protocols_go_on_where_a_stream_broke_off() {
    for provider in [Provider::Openai, Provider::Anthropic] {
        for fault in ["cut", "errors", "nofinish"] {
            let server = server().await;
            let client = ours::Client::of(&server.url, provider, &[fault, "ok-noprefill"], fast());
            let call = client.call(ask()).await;
            assert_eq!(call.text.as_deref(), Some(ANSWER), "{provider:?} {fault}: {}", call.error);
            assert_eq!(server.asked(fault).len(), 1, "a model that broke off is not asked again");
        }
    }
}

#[tokio::test]
async fn a_form_that_broke_off_is_an_error_and_begins_anew_where_nothing_was_given_out() {
    let server = server().await;
    let with_forms = |config: &mut ModelConfig| {
        config.capabilities = Some(triune::model::Capabilities { json_schema: true, ..Default::default() });
    };
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    for name in ["cut", "ok"] {
        registry.register(name, ours::model(&server.url, Provider::Openai, name, with_forms)).unwrap();
    }
    let client = ours::Client::over(registry, fast());
    let mut request = ask();
    request.response_format =
        ResponseFormat::JsonSchema { name: "any".into(), schema: serde_json::json!({ "type": "string" }) };
    let call = client.call(request.clone()).await;
    assert!(call.text.is_none() && call.error.contains("broke"), "{}", call.error);
    let reply = client.engine.generate(&Context::new(), request).await.unwrap();
    assert_eq!((reply.text, reply.model.as_str()), (format!("\"{ANSWER}\""), "ok"));
}

#[tokio::test]
async fn an_exhausted_account_is_no_rate_limit() {
    for fault in ["quota", "unpaid", "limit"] {
        let server = server().await;
        let client = ours::Client::of(&server.url, Provider::Openai, &[fault, "ok"], fast());
        for _ in 0..2 {
            let reply = client.engine.generate(&Context::new(), ask()).await.unwrap();
            assert_eq!(reply.model, "ok");
        }
        assert_eq!(server.asked(fault).len(), 1, "{fault}: neither retried nor asked by the next call");
    }
}

#[tokio::test]
async fn a_long_wait_that_was_asked_for_holds_for_the_next_calls_and_is_told() {
    let server = server().await;
    let client = ours::Client::of(&server.url, Provider::Openai, &["later"], fast());
    for _ in 0..2 {
        let error = client.engine.generate(&Context::new(), ask()).await.unwrap_err();
        let wait: u64 = error.facts()["retry_after_ms"].parse().unwrap();
        assert!(wait > 500_000, "{error}");
    }
    assert_eq!(server.asked("later").len(), 1);
}

#[tokio::test]
async fn a_key_that_fails_gives_way_to_the_next_in_the_same_call() {
    let server = server().await;
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    let keys = ["wrong", "slow", "empty", "good"].map(ToOwned::to_owned).to_vec();
    let model = ours::model(&server.url, Provider::Openai, "keyed", |config| config.api_keys = keys);
    registry.register("keyed", model).unwrap();
    let client = ours::Client::over(registry, fast());
    for _ in 0..2 {
        let reply = client.engine.generate(&Context::new(), ask()).await.unwrap();
        assert_eq!((reply.text.as_str(), reply.attempts.len()), (ANSWER, 1));
    }
    let used: Vec<_> = server.log().into_iter().map(|logged| logged.key).collect();
    assert_eq!(used, ["wrong", "slow", "empty", "good", "good"], "keys that failed rest");
    let entries = client.engine.ledger(&Context::new(), LedgerQuery::default()).await.unwrap();
    let paid: Vec<_> = entries.iter().map(|entry| entry.key.as_deref()).collect();
    assert_eq!(paid, [Some("api_key#4"); 2], "the key that paid is named");
}

#[tokio::test]
async fn a_rate_limit_of_ours_is_kept_before_the_provider_has_to_say_so() {
    let server = server().await;
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    let limit = RateLimit { requests_per_minute: Some(3), tokens_per_minute: None };
    let model = ours::model(&server.url, Provider::Openai, "a", |config| config.rate_limit = Some(limit));
    registry.register("a", model).unwrap();
    let client = ours::Client::over(registry, fast());
    for _ in 0..3 {
        client.engine.generate(&Context::new(), ask()).await.unwrap();
    }
    let begun = Instant::now();
    let error = client.engine.generate(&Context::new(), ask()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::RateLimited && begun.elapsed() < Duration::from_secs(1), "{error}");
    assert_eq!(server.asked("a").len(), 3);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_left_for_the_next() {
    let server = server().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}/v1", closed.local_addr().unwrap());
    drop(closed);
    let registry: Registry<dyn ChatModel> = Registry::new("model");
    registry.register("gone", ours::model(&gone, Provider::Openai, "gone", |_| {})).unwrap();
    registry.register("ok", ours::model(&server.url, Provider::Openai, "ok", |_| {})).unwrap();
    let client = ours::Client::over(registry, fast());
    let reply = client.engine.generate(&Context::new(), ask()).await.unwrap();
    assert_eq!((reply.text.as_str(), reply.model.as_str()), (ANSWER, "ok"));
}

#[tokio::test]
async fn many_streams_at_once_are_all_whole() {
    let server = server().await;
    let client = Arc::new(ours::Client::of(&server.url, Provider::Openai, &["cut", "ok"], fast()));
    let calls = (0..64).map(|_| client.call(ask()));
    let calls = futures_util::future::join_all(calls).await;
    assert!(calls.iter().all(|call| call.text.as_deref() == Some(ANSWER)), "{calls:#?}");
}
