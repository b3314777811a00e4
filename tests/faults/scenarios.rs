//! The sixteen faults of FailoverBench (methodology v0.1, github.com/failoverbench/failoverbench) and what it asks of a
//! client in each: a caller's view and a provider's view, judged by its checks. The server and the words are ours.
//!
//! Every client has the same budget: two retries, a time limit of 30 s and one fallback. All times are multiplied by one
//! scale, but for `Retry-After: 2`, which HTTP tells in whole seconds.

use std::time::{Duration, Instant};

use super::server::{ANSWER, FaultServer, Logged};

/// One fault: its number, the model that has it, and the one to fall back to.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub id: &'static str,
    pub title: &'static str,
    pub model: &'static str,
    pub fallback: &'static str,
}

const fn scenario(id: &'static str, model: &'static str, title: &'static str) -> Scenario {
    Scenario { id, title, model, fallback: "ok" }
}

pub const SCENARIOS: [Scenario; 16] = [
    scenario("S01", "s01-429-retry-after", "429 with Retry-After"),
    scenario("S02", "s02-429-persistent", "429 without Retry-After, persistent"),
    scenario("S03", "s03-500-once", "500 once, then healthy"),
    scenario("S04", "s04-503-persistent", "503 persistent"),
    scenario("S05", "s05-reset", "TCP reset before headers"),
    scenario("S06", "s06-no-response", "no response at all"),
    scenario("S07", "s07-slow-first", "slow first token"),
    scenario("S08", "s08-cut", "stream cut in the middle"),
    scenario("S09", "s09-stall", "stream stalls"),
    scenario("S10", "s10-malformed", "malformed chunk in the stream"),
    scenario("S11", "s11-no-done", "stream ends without [DONE]"),
    scenario("S12", "s12-context", "context length exceeded"),
    scenario("S13", "s13-filter", "content-filter rejection"),
    Scenario { fallback: "ok-noprefill", ..scenario("S14", "s14-cut", "fallback rejects prefill") },
    scenario("S15", "s15-flap", "primary flaps: down, then healthy"),
    scenario("S16", "s16-503", "fail-over accounting"),
];

/// Requests of S15, and the time from one to the next.
pub const SEQUENCE: (u32, Duration) = (20, Duration::from_secs(4));

/// What the caller saw of one call.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// When it was made, from the start of the server.
    pub sent_s: f64,
    pub elapsed_s: f64,
    /// The text, when the call ended well.
    pub text: Option<String>,
    pub model: String,
    pub has_usage: bool,
    pub error: String,
}

impl Call {
    fn complete(&self) -> bool {
        let words = |text: &str| text.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>();
        self.text.as_deref().is_some_and(|text| words(text) == words(ANSWER))
    }
}

/// What a client makes of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The whole answer came, with a flaw in the conduct.
    Partial(String),
    /// A clean error in time.
    Safe(String),
    /// A hang, a part that passes for the whole, or a broken rule.
    Fail(String),
}

/// What both sides saw of one scenario. `alive` is whether a healthy call went well after it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub calls: Vec<Call>,
    pub alive: bool,
}

/// Judges a client by the catalogue's checks.
pub fn judge(scenario: &Scenario, seen: &Seen, log: &[Logged], scale: f64) -> Verdict {
    let primary: Vec<f64> = asked(log, scenario.model);
    let fallback: Vec<f64> = asked(log, scenario.fallback);
    let last = seen.calls.last().cloned().unwrap_or_default();
    let within = |window: f64| primary.iter().filter(|at| **at - primary[0] < window).count();
    let (mut required, mut advised) = (Vec::new(), Vec::new());
    let mut require = |holds: bool, what: &str| required.extend((!holds).then(|| what.to_owned()));
    let mut advise = |holds: bool, what: &str| advised.extend((!holds).then(|| what.to_owned()));
    // The longest a call may take before it counts as a hang.
    let longest = match scenario.id {
        "S02" | "S04" | "S08" | "S14" | "S16" => 40.0,
        "S06" => 130.0,
        "S07" => 60.0,
        "S09" => 70.0,
        "S10" | "S11" | "S15" => 30.0,
        _ => 20.0,
    };
    // Waits that the server asks for are not scaled, nor is the speed of the machine.
    let longest = longest * scale + 5.0;
    if seen.calls.iter().any(|call| call.elapsed_s > longest) {
        return Verdict::Fail("hang".into());
    }
    match scenario.id {
        "S01" => {
            advise(primary.len() >= 2, "retried");
            advise(primary.len() >= 2 && primary[1] - primary[0] >= 1.8, "retry_after_honoured");
            require(within(1.5) <= 2, "no_hammer");
        }
        "S02" => {
            require(within(3.0 * scale) <= 4, "no_hammer");
            require(primary.len() <= 6, "bounded_attempts");
        }
        "S03" => advise(primary.len() >= 2, "same_provider_retry"),
        "S04" => require(primary.len() <= 6, "bounded_attempts"),
        "S06" => {
            require(last.elapsed_s <= 100.0 * scale, "within_budget");
            advise(primary.len() <= 1, "silent_route_not_retried");
        }
        "S07" => advise(last.elapsed_s <= 15.0 * scale, "ttft_limit"),
        "S09" => {
            require(last.elapsed_s <= 45.0 * scale, "bounded");
            require(seen.alive, "alive_after");
        }
        "S10" => {
            require(seen.alive, "alive_after");
            advise(last.complete(), "recovered_in_place");
        }
        "S11" => {
            require(last.elapsed_s <= 8.0, "prompt_finalise");
            advise(last.has_usage, "usage_reported");
        }
        "S12" | "S13" => require(primary.len() == 1, "no_same_model_retry"),
        "S14" => {
            let masked = last.text.is_none() && log.iter().any(|logged| logged.refused_prefill);
            require(!masked, "no_prefill_masking");
        }
        "S15" => {
            let down = 60.0 * scale;
            let served = seen.calls.iter().filter(|call| call.sent_s < down).all(|call| call.text.is_some());
            require(served, "served_during_outage");
            let back = log.iter().find(|logged| logged.model == scenario.model && logged.good);
            let recovered = back.is_some_and(|logged| logged.at.as_secs_f64() - down <= 30.0 * scale);
            require(recovered, "recovered");
        }
        "S16" => {
            let named = fallback.is_empty() || last.model.contains(scenario.fallback);
            require(named, "reports_fallback_model");
            advise(last.has_usage, "usage_present");
            require(primary.len() <= 6, "bounded_attempts");
        }
        _ => {}
    }
    // The catalogue wants the refusal of a content filter told to the caller, and all else answered.
    let told = scenario.id == "S13";
    let answered = seen.calls.iter().all(|call| call.text.is_some());
    if !told && answered && !seen.calls.iter().all(Call::complete) {
        return Verdict::Fail("truncated answer presented as success".into());
    }
    if !required.is_empty() {
        return Verdict::Fail(required.join(", "));
    }
    if told && answered {
        return Verdict::Partial("answered by routing around the rejection".into());
    }
    match (answered || told, advised.is_empty()) {
        (true, true) => Verdict::Pass,
        (true, false) => Verdict::Partial(advised.join(", ")),
        (false, _) => {
            let mut errors = seen.calls.iter().filter(|call| call.text.is_none()).map(|call| call.error.as_str());
            Verdict::Safe(errors.next_back().unwrap_or_default().chars().take(120).collect())
        }
    }
}

fn asked(log: &[Logged], model: &str) -> Vec<f64> {
    log.iter().filter(|logged| logged.model == model).map(|logged| logged.at.as_secs_f64()).collect()
}

/// triune as a client of a fault server: a router over the model with the fault and its fallback.
pub mod ours {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use triune::{
        Context, NanoUsd, Registry,
        model::{
            ChatModel, ModelConfig, Price, Prices, Provider,
            cloud::{AnthropicModel, OpenAiModel},
        },
        router::{CheapestRouter, GenerateRequest, RouterConfig, RouterEngine, StreamEvent},
        store::{Store, StoreConfig},
    };

    use super::{Call, Duration, FaultServer, Instant, SCENARIOS, SEQUENCE, Scenario, Seen, Verdict, judge};

    /// A router, and the folder it lives in.
    #[derive(Debug)]
    pub struct Client {
        pub engine: RouterEngine,
        _folder: tempfile::TempDir,
    }

    /// The benchmark's budget; all else is as it is by default.
    pub fn settings(scale: f64) -> RouterConfig {
        let scaled = |ms: u64| (ms as f64 * scale) as u64;
        let mut config = RouterConfig::default();
        config.attempts = 3;
        config.timeout_ms = scaled(30_000);
        config.backoff_ms = scaled(config.backoff_ms);
        config.first_token_timeout_ms = scaled(config.first_token_timeout_ms);
        config.idle_timeout_ms = scaled(config.idle_timeout_ms);
        config.breaker_open_ms = scaled(config.breaker_open_ms);
        config
    }

    pub fn model(
        url: &str,
        provider: Provider,
        name: &str,
        change: impl FnOnce(&mut ModelConfig),
    ) -> Arc<dyn ChatModel> {
        let mut config = ModelConfig::default();
        config.provider = provider;
        config.source = name.into();
        config.base_url = Some(url.into());
        config.context_length = Some(8192);
        change(&mut config);
        let prices = Prices::built_in().unwrap();
        match provider {
            Provider::Anthropic => Arc::new(AnthropicModel::from_config(&config, &prices).unwrap()),
            _ => Arc::new(OpenAiModel::from_config(&config, &prices).unwrap()),
        }
    }

    impl Client {
        /// Over `models`, each dearer than the one before it, so that they are asked in that order.
        pub fn of(url: &str, provider: Provider, models: &[&str], settings: RouterConfig) -> Self {
            let registry: Registry<dyn ChatModel> = Registry::new("model");
            for (at, name) in models.iter().enumerate() {
                let nano = NanoUsd(1_000_000 * (at as i64 + 1));
                let price = Some(Price { input: nano, output: nano, ..Price::default() });
                let model = model(url, provider, name, |config| config.price = price);
                registry.register(name, model).unwrap();
            }
            Self::over(registry, settings)
        }

        pub fn over(registry: Registry<dyn ChatModel>, settings: RouterConfig) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
            let engine = RouterEngine::new(settings, Arc::new(CheapestRouter), registry, store).unwrap();
            Self { engine, _folder: folder }
        }

        /// One streamed call, judged by what was given out.
        pub async fn call(&self, mut request: GenerateRequest) -> Call {
            request.sampling.max_tokens = Some(500);
            let begun = Instant::now();
            let cx = Context::new();
            let mut text = String::new();
            let mut call = Call::default();
            match self.engine.stream(&cx, request).await {
                Err(error) => call.error = error.to_string(),
                Ok(mut stream) => {
                    while let Some(event) = stream.next().await {
                        match event {
                            Ok(StreamEvent::Text { text: more }) => text.push_str(&more),
                            Ok(StreamEvent::Done { reply }) => {
                                assert_eq!(reply.text, text, "the reply is what was given out");
                                call.has_usage = reply.usage.output_tokens > 0;
                                call.model = reply.model;
                                call.text = Some(std::mem::take(&mut text));
                            }
                            Ok(_) => {}
                            Err(error) => call.error = error.to_string(),
                        }
                    }
                }
            }
            call.elapsed_s = begun.elapsed().as_secs_f64();
            call
        }
    }

    async fn play(scenario: &Scenario, server: &FaultServer, scale: f64) -> Seen {
        let begun = Instant::now();
        let client = Client::of(&server.url, Provider::Openai, &[scenario.model, scenario.fallback], settings(scale));
        let (count, apart) = if scenario.id == "S15" { SEQUENCE } else { (1, Duration::ZERO) };
        let mut calls = Vec::new();
        for at in 0..count {
            let due = (apart * at).mul_f64(scale);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
            let sent_s = begun.elapsed().as_secs_f64();
            calls.push(Call { sent_s, ..client.call(GenerateRequest::new("Tell me in sixty words.")).await });
        }
        let mut healthy = GenerateRequest::new("Tell me in sixty words.");
        healthy.needs.model = Some(scenario.fallback.into());
        let alive = client.call(healthy).await.complete();
        Seen { calls, alive }
    }

    /// All sixteen at once, each with a server of its own.
    pub async fn play_all(scale: f64) -> Vec<(Scenario, Seen, Verdict)> {
        let plays = SCENARIOS.iter().map(|scenario| async move {
            let server = FaultServer::start(super::super::server::Pace::scaled(scale)).await;
            let seen = play(scenario, &server, scale).await;
            let verdict = judge(scenario, &seen, &server.log(), scale);
            (*scenario, seen, verdict)
        });
        futures_util::future::join_all(plays).await
    }
}
