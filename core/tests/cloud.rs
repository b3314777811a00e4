//! Cloud models against real servers that nobody here wrote: see `tests/cloud/servers.py`, which starts them.
//!
//! Without `TRIUNE_TEST_OPENAI_URL` and `TRIUNE_TEST_ANTHROPIC_URL` the tests say so and return;
//! `TRIUNE_TEST_REQUIRE_SERVERS=1` makes that a failure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use triune::{
    Context, ErrorKind, Registry,
    model::{
        Capabilities, ChatModel, ChatReply, ChatRequest, Delta, Embedder, FinishReason, ImageModel, ImageRequest,
        Message, ModelConfig, OpenAiApi, Prices, Provider, ResponseFormat, Sampling, ToolCall, Usage,
        cloud::{AnthropicModel, OpenAiEmbedder, OpenAiImageModel, OpenAiModel},
        collect, cosine,
    },
    router::{CheapestRouter, GenerateRequest, RouterConfig, RouterEngine, StreamEvent},
    store::{Store, StoreConfig},
};

/// An environment variable of the test servers, or none after saying so.
fn server(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        assert!(std::env::var("TRIUNE_TEST_REQUIRE_SERVERS").is_err(), "{name} is not set but servers are required");
        eprintln!("skipped: {name} is not set; run `python3 tests/cloud/servers.py -- cargo test ...`");
    }
    value
}

fn config(provider: Provider, base_url: &str, source: &str) -> ModelConfig {
    let mut config = ModelConfig::default();
    config.provider = provider;
    config.source = source.into();
    config.base_url = Some(base_url.into());
    config.context_length = Some(2048);
    config.capabilities = Some(Capabilities { logprobs: true, ..Capabilities::default() });
    config
}

fn model_name() -> String {
    std::env::var("TRIUNE_TEST_MODEL").unwrap_or_else(|_| "smollm2".into())
}

fn openai() -> Option<OpenAiModel> {
    let url = server("TRIUNE_TEST_OPENAI_URL")?;
    let prices = Prices::built_in().unwrap();
    Some(OpenAiModel::from_config(&config(Provider::Openai, &url, &model_name()), &prices).unwrap())
}

fn anthropic(key: &str, source: &str) -> Option<AnthropicModel> {
    let mut config = config(Provider::Anthropic, &server("TRIUNE_TEST_ANTHROPIC_URL")?, source);
    config.api_key = Some(key.into());
    Some(AnthropicModel::from_config(&config, &Prices::built_in().unwrap()).unwrap())
}

fn anthropic_key() -> String {
    std::env::var("TRIUNE_TEST_ANTHROPIC_KEY").unwrap_or_default()
}

/// A question with a short answer, answered without chance.
fn question(max_tokens: u32) -> ChatRequest {
    let sampling = Sampling { temperature: Some(0.0), max_tokens: Some(max_tokens), ..Sampling::default() };
    ChatRequest { sampling, ..ChatRequest::user("What is the capital of France? Answer with one word.") }
}

async fn answer(model: &dyn ChatModel, request: ChatRequest) -> triune::Result<ChatReply> {
    let cx = Context::new().within(Duration::from_mins(2));
    collect(model.chat(&cx, request).await?).await
}

fn counted(usage: Usage) -> bool {
    (5..200).contains(&usage.input_tokens) && (1..40).contains(&usage.output_tokens)
}

async fn answers_a_question(model: &dyn ChatModel) {
    let reply = answer(model, question(16)).await.unwrap();
    assert!(reply.text.contains("Paris"), "{}", reply.text);
    assert!(counted(reply.usage), "{:?}", reply.usage);
    assert_eq!(reply.finish_reason, FinishReason::Stop);
    let cut = answer(model, question(1)).await.unwrap();
    assert_eq!(cut.finish_reason, FinishReason::Length);
}

async fn comes_in_pieces_and_stops_when_dropped(model: &dyn ChatModel) {
    let mut request = question(400);
    request.messages = vec![Message::user("Write a long story about a ship and its crew.")];
    let cx = Context::new().within(Duration::from_mins(2));
    let mut stream = model.chat(&cx, request.clone()).await.unwrap();
    let mut pieces = 0;
    while pieces < 5 {
        match stream.next().await.expect("a long story has five pieces").unwrap() {
            Delta::Text { .. } => pieces += 1,
            other => panic!("a story is text, not {other:?}"),
        }
    }
    drop(stream);
    let mut stream = model.chat(&cx, request).await.unwrap();
    stream.next().await.unwrap().unwrap();
    cx.cancel.cancel();
    let error = loop {
        match stream.next().await.expect("a cancelled stream ends with an error") {
            Ok(Delta::Done { .. }) => panic!("400 tokens were written before the next look"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(stream.next().await.is_none(), "nothing follows an error");
    answers_a_question(model).await;
}

async fn a_history_with_a_tool_is_understood(model: &dyn ChatModel) {
    let mut request = question(16);
    let call = ToolCall::new("call_1", "lookup", serde_json::json!({ "of": "France" }));
    request.messages.insert(0, Message::system("You are a helpful assistant."));
    let mut asked = Message::new(triune::model::Role::Assistant, "I look it up.");
    asked.tool_calls.push(call);
    let mut result = Message::new(triune::model::Role::Tool, "Paris");
    result.tool_call_id = Some("call_1".into());
    request.messages.extend([asked, result]);
    let reply = answer(model, request).await.unwrap();
    assert!(counted(reply.usage) || reply.text.is_empty(), "{:?}", reply.usage);
}

#[tokio::test]
async fn openai_chat() {
    let Some(model) = openai() else { return };
    answers_a_question(&model).await;
    comes_in_pieces_and_stops_when_dropped(&model).await;
    a_history_with_a_tool_is_understood(&model).await;
}

#[tokio::test]
async fn anthropic_chat() {
    let Some(model) = anthropic(&anthropic_key(), &model_name()) else { return };
    answers_a_question(&model).await;
    comes_in_pieces_and_stops_when_dropped(&model).await;
}

#[tokio::test]
async fn openai_json_and_log_probabilities() {
    let Some(model) = openai() else { return };
    let mut request = question(60);
    request.response_format = ResponseFormat::JsonObject;
    request.messages = vec![Message::user("Name a city as JSON with the key city.")];
    let reply = answer(&model, request).await.unwrap();
    if reply.finish_reason == FinishReason::Stop {
        let json: serde_json::Value = serde_json::from_str(&reply.text).expect("JSON was asked for");
        assert!(json.is_object(), "{json}");
    }
    let mut request = question(3);
    request.sampling.logprobs = Some(2);
    let reply = answer(&model, request).await.unwrap();
    assert!(!reply.logprobs.is_empty());
    for token in &reply.logprobs {
        assert!(token.logprob <= 0.0 && !token.top.is_empty(), "{token:?}");
    }
}

#[tokio::test]
async fn openai_json_schema() {
    let Some(url) = server("TRIUNE_TEST_LLAMA_URL") else { return };
    let mut config = config(Provider::Openai, &url, &model_name());
    config.capabilities = Some(Capabilities { json_schema: true, ..Capabilities::default() });
    let model = OpenAiModel::from_config(&config, &Prices::built_in().unwrap()).unwrap();
    let mut request = question(120);
    request.messages = vec![Message::user("Name a city, its country and how many live there.")];
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "city": { "type": "string", "maxLength": 20 },
            "country": { "enum": ["France", "Italy"] },
            "people": { "type": "integer" }
        },
        "required": ["city", "country", "people"],
        "additionalProperties": false
    });
    request.response_format = ResponseFormat::JsonSchema { name: "place".into(), schema };
    let reply = answer(&model, request).await.unwrap();
    let place: serde_json::Value = serde_json::from_str(&reply.text).expect("JSON was asked for");
    assert!(place["city"].is_string() && place["people"].is_i64(), "{place}");
    assert!(["France", "Italy"].contains(&place["country"].as_str().unwrap()), "{place}");
    answers_a_question(&model).await;
}

#[tokio::test]
async fn openai_responses() {
    let Some(url) = server("TRIUNE_TEST_LLAMA_URL") else { return };
    let mut config = config(Provider::Openai, &url, &model_name());
    config.api = OpenAiApi::Responses;
    let model = OpenAiModel::from_config(&config, &Prices::built_in().unwrap()).unwrap();
    let reply = answer(&model, question(16)).await.unwrap();
    assert!(reply.text.contains("Paris"), "{}", reply.text);
    assert!(counted(reply.usage), "{:?}", reply.usage);
    let error = answer(&model, question(8)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "told before it is sent");
}

#[tokio::test]
async fn openai_embeddings() {
    let Some(url) = server("TRIUNE_TEST_EMBED_URL") else { return };
    let mut config = triune::model::EmbedderConfig::default();
    config.provider = Provider::Openai;
    config.source = model_name();
    config.base_url = Some(url);
    let cx = Context::new().within(Duration::from_mins(1));
    let embedder = OpenAiEmbedder::from_config(&cx, &config, &Prices::built_in().unwrap()).await.unwrap();
    assert_eq!(embedder.profile().dimensions, 576, "asked of the server");
    let texts = ["", "a cat sat on the mat", "a kitten sat on the rug", "interest rates rose by a point"];
    let found = embedder.embed(&cx, texts.map(str::to_owned).to_vec()).await.unwrap();
    assert_eq!(found.len(), 4);
    for one in &found {
        assert!((cosine(&one.vector, &one.vector) - 1.0).abs() < 1e-4 && one.tokens < 20, "{} tokens", one.tokens);
    }
    let like = |a: usize, b: usize| cosine(&found[a].vector, &found[b].vector);
    assert!(like(1, 2) > like(1, 3), "{} {}", like(1, 2), like(1, 3));
    let again = embedder.embed(&cx, vec![texts[2].to_owned()]).await.unwrap();
    assert!(cosine(&again[0].vector, &found[2].vector) > 0.999);
}

#[tokio::test]
async fn openai_images() {
    let Some(url) = server("TRIUNE_TEST_ANTHROPIC_URL") else { return };
    let mut config = config(Provider::Openai, &url, "dall-e-3");
    config.api_key = Some(anthropic_key());
    let prices = Prices::built_in().unwrap();
    let model = OpenAiImageModel::from_config(&config, &prices).unwrap();
    let cx = Context::new().within(Duration::from_mins(1));
    let made = model.generate(&cx, ImageRequest::new("a cat")).await.unwrap();
    assert_eq!(made.images.len(), 1);
    assert_eq!(made.images[0].url, std::env::var("TRIUNE_TEST_IMAGE").ok());
    let two = ImageRequest { count: 2, ..ImageRequest::new("a cat") };
    assert_eq!(model.generate(&cx, two).await.unwrap_err().kind(), ErrorKind::Unavailable, "it makes one at a time");
    config.source = "no-such-model".into();
    let unknown = OpenAiImageModel::from_config(&config, &prices).unwrap();
    assert!(unknown.generate(&cx, ImageRequest::new("a cat")).await.is_err());
}

#[tokio::test]
async fn errors_of_servers_have_our_kinds() {
    let Some(model) = openai() else { return };
    let mut request = question(4);
    request.messages = vec![Message::user("word ".repeat(5000))];
    let error = answer(&model, request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextLength, "told before it is sent");
    let url = server("TRIUNE_TEST_OPENAI_URL").unwrap();
    let prices = Prices::built_in().unwrap();
    let wrong = OpenAiModel::from_config(&config(Provider::Openai, &format!("{url}/nothing"), "m"), &prices).unwrap();
    assert_eq!(answer(&wrong, question(4)).await.unwrap_err().kind(), ErrorKind::NotFound);

    let Some(unknown) = anthropic(&anthropic_key(), "no-such-model") else { return };
    let error = answer(&unknown, question(4)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::NotFound), "{error}");
    let secret = "sk-this-key-is-wrong";
    let refused = anthropic(secret, &model_name()).unwrap();
    let error = answer(&refused, question(4)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Invalid), "{error}");
    assert!(!format!("{error} {error:?} {refused:?}").contains(secret));
}

#[tokio::test]
async fn a_server_without_embeddings_says_so() {
    let Some(url) = server("TRIUNE_TEST_OPENAI_URL") else { return };
    let mut config = triune::model::EmbedderConfig::default();
    config.provider = Provider::Openai;
    config.source = model_name();
    config.base_url = Some(url);
    let cx = Context::new().within(Duration::from_mins(1));
    let made = OpenAiEmbedder::from_config(&cx, &config, &Prices::built_in().unwrap()).await;
    match made {
        Ok(embedder) => assert!(triune::model::Embedder::profile(&embedder).dimensions > 0),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Invalid), "{error}"),
    }
}

/// A port on this machine where nobody listens.
fn closed_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let prices = Prices::built_in().unwrap();
    let gone = OpenAiModel::from_config(&config(Provider::Openai, &closed_port(), "m"), &prices).unwrap();
    let error = answer(&gone, question(4)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
}

#[tokio::test]
async fn the_router_falls_back_to_the_server_that_is_there() {
    let Some(there) = openai() else { return };
    let prices = Prices::built_in().unwrap();
    let mut first = config(Provider::Openai, &closed_port(), "m");
    first.id = Some("a-gone".into());
    let gone = OpenAiModel::from_config(&first, &prices).unwrap();
    let models: Registry<dyn ChatModel> = Registry::new("model");
    models.register("a-gone", Arc::new(gone)).unwrap();
    models.register("there", Arc::new(there)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let mut settings = RouterConfig::default();
    settings.backoff_ms = 10;
    let engine = RouterEngine::new(settings, Arc::new(CheapestRouter), models, store).unwrap();
    let cx = Context::new().within(Duration::from_mins(2));
    let mut request = GenerateRequest::new("What is the capital of France? Answer with one word.");
    request.sampling = question(16).sampling;
    let reply = engine.generate(&cx, request.clone()).await.unwrap();
    assert!(reply.text.contains("Paris"), "{}", reply.text);
    let codes: Vec<_> = reply.attempts.iter().map(|attempt| attempt.code.as_deref()).collect();
    assert_eq!(codes, [Some("UNAVAILABLE"), Some("UNAVAILABLE"), None]);
    assert!(reply.saved.0 > 0 && engine.totals(None).unwrap().saved == reply.saved);

    let mut stream = engine.stream(&cx, request).await.unwrap();
    let mut text = String::new();
    let whole = loop {
        match stream.next().await.unwrap().unwrap() {
            StreamEvent::Text { text: more } => text.push_str(&more),
            StreamEvent::Done { reply } => break reply.text,
            _ => {}
        }
    };
    assert_eq!(text, whole);
    assert_eq!(engine.totals(None).unwrap().calls, 2);
}
