//! The router beside its peers: what callers see when providers misbehave, what a decision takes, and what the whole
//! pipeline adds to a stream. `benches/router_faults.py` and `benches/router_overhead.py` run this.
//!
//! Prints one JSON line a figure: `{"figure", "value", "unit", "n", "note"}`, with `peer` and `peer_value` where a peer
//! was measured here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a measurement that cannot be made ends")]
#![allow(clippy::print_stdout, reason = "figures are printed")]
#![allow(unreachable_pub, dead_code, reason = "tests and benches use the same two files")]

#[path = "../../tests/faults/scenarios.rs"]
mod scenarios;
#[path = "../../tests/faults/server.rs"]
mod server;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use triune::{
    Context,
    model::{Embedder as _, Provider, local::LocalEmbedder},
    router::{
        GenerateRequest, RouterConfig,
        learn::{LearnedRouter, Outcome, Record},
    },
};

use scenarios::{Call, SCENARIOS, SEQUENCE, Scenario, Seen, Verdict, judge, ours};
use server::{ANSWER, FaultServer, Pace};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match arguments.as_slice() {
            ["faults", scale, python, script] => faults(scale.parse().unwrap(), python, script).await,
            ["decision", calls] => decision(calls.parse().unwrap()).await,
            ["learned", calls, embedder] => learned(calls.parse().unwrap(), Path::new(embedder)).await,
            ["serve", token_ms] => serve(token_ms.parse().unwrap()).await,
            ["streams", url, at_once, rounds] => streams(url, at_once.parse().unwrap(), rounds.parse().unwrap()).await,
            _ => {
                panic!(
                    "faults <scale> <python> <script> | decision <calls> | learned <calls> <embedder> | serve <ms> | \
                     streams <url> <n> <rounds>"
                )
            }
        }
    });
}

/// All sixteen faults, against triune and then against the peer that `script` drives.
async fn faults(scale: f64, python: &str, script: &str) {
    let played = ours::play_all(scale).await;
    let ours: Vec<_> = played.into_iter().map(|(scenario, _, verdict)| (scenario, verdict)).collect();
    let (peer, theirs) = peer_faults(scale, python, script).await;
    let passed = |verdicts: &[(Scenario, Verdict)]| verdicts.iter().filter(|(_, v)| *v == Verdict::Pass).count();
    let told = |verdicts: &[(Scenario, Verdict)]| {
        let others = verdicts.iter().filter(|(_, verdict)| *verdict != Verdict::Pass);
        others.map(|(scenario, verdict)| format!("{} {verdict:?}", scenario.id)).collect::<Vec<_>>().join("; ")
    };
    let note =
        format!("FailoverBench v0.1, times x {scale}; not passed here: [{}]; there: [{}]", told(&ours), told(&theirs));
    let (ours, theirs) = (passed(&ours), passed(&theirs));
    println!(
        "{}",
        json!({ "figure": "faults-passed", "value": ours, "unit": "of 16", "peer": peer, "peer_value": theirs,
                "n": SCENARIOS.len(), "note": note })
    );
}

async fn peer_faults(scale: f64, python: &str, script: &str) -> (String, Vec<(Scenario, Verdict)>) {
    let mut child = Command::new(python)
        .args([script, "faults"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the peer's Python");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // It says its name once it has loaded: the servers' clocks begin then.
    let peer = tokio::task::block_in_place(|| lines.next()).unwrap().unwrap();
    let mut servers = Vec::new();
    let mut plays = Vec::new();
    for scenario in SCENARIOS {
        let server = FaultServer::start(Pace::scaled(scale)).await;
        let (count, apart) = if scenario.id == "S15" { SEQUENCE } else { (1, Duration::ZERO) };
        plays.push(
            json!({ "id": scenario.id, "url": server.url, "primary": scenario.model, "fallback": scenario.fallback,
                           "count": count, "apart_s": apart.as_secs_f64() * scale, "timeout_s": 30.0 * scale }),
        );
        servers.push(server);
    }
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{}", Value::Array(plays)).unwrap();
    drop(stdin);
    let mut verdicts = Vec::new();
    while let Some(line) = tokio::task::block_in_place(|| lines.next()) {
        let Ok(said) = serde_json::from_str::<Value>(&line.unwrap()) else { continue };
        let Some(at) = SCENARIOS.iter().position(|scenario| said["id"] == scenario.id) else { continue };
        let calls = said["calls"].as_array().unwrap().iter().map(|call| Call {
            sent_s: call["sent_s"].as_f64().unwrap(),
            elapsed_s: call["elapsed_s"].as_f64().unwrap(),
            text: call["text"].as_str().map(ToOwned::to_owned),
            model: call["model"].as_str().unwrap_or_default().to_owned(),
            has_usage: call["has_usage"].as_bool().unwrap_or(false),
            error: call["error"].as_str().unwrap_or_default().to_owned(),
        });
        let seen = Seen { calls: calls.collect(), alive: said["alive"].as_bool().unwrap_or(false) };
        verdicts.push((SCENARIOS[at], judge(&SCENARIOS[at], &seen, &servers[at].log(), scale)));
    }
    child.wait().unwrap();
    verdicts.sort_by_key(|(scenario, _)| scenario.id);
    assert_eq!(verdicts.len(), SCENARIOS.len(), "the peer plays all");
    (peer, verdicts)
}

/// Which of twenty models: the plan of one request, nothing called.
async fn decision(calls: usize) {
    let names: Vec<String> = (0..20).map(|at| format!("model-{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let client = ours::Client::of("http://127.0.0.1:9/v1", Provider::Openai, &names, RouterConfig::default());
    let cx = Context::new();
    let request = GenerateRequest::new("What is the capital of France? Answer with one word.");
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        let plan = client.engine.route(&cx, &request).await.unwrap();
        times.push(begun.elapsed());
        assert_eq!(plan.steps.len(), 20);
    }
    times.sort();
    let us = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
    let note = format!("20 models, no embedding, tokens counted; median {:.1} us", us(0.5));
    println!("{}", json!({ "figure": "decision-p99-us", "value": us(0.99), "unit": "us", "n": calls, "note": note }));
}

/// Which of twenty models by what was learned of them: with the vector of the prompt made for it, and without.
async fn learned(calls: usize, embedder: &Path) {
    const LABELS: usize = 1000;
    let names: Vec<String> = (0..20).map(|at| format!("model-{at:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let embedder = Arc::new(LocalEmbedder::load("embedder", embedder).unwrap());
    let cx = Context::new();
    let prompts: Vec<String> = (0..LABELS).map(|at| format!("How much is {at} and {} in all?", at * 7 % 100)).collect();
    let vectors = embedder.embed_queries(&cx, prompts.clone()).await.unwrap();
    let records = prompts.into_iter().zip(vectors).enumerate().map(|(at, (prompt, embedding))| {
        // Any labels will do: only the time is looked at.
        let outcome = |model: usize| Outcome {
            quality: f64::from(u8::from(!(at + model).is_multiple_of(3))),
            ..Outcome::default()
        };
        let outcomes = names.iter().enumerate().map(|(model, name)| ((*name).to_owned(), outcome(model)));
        Record { prompt, embedding: Some(embedding.vector), outcomes: outcomes.collect(), ..Record::default() }
    });
    let router = Arc::new(LearnedRouter::new());
    router.train(&records.collect::<Vec<_>>()).unwrap();
    for (figure, unit, embeds) in [("decision-embedding-p99-ms", "ms", true), ("decision-learned-p99-us", "us", false)]
    {
        let mut settings = RouterConfig::default();
        settings.learning.enabled = true;
        let client = ours::Client::of("http://127.0.0.1:9/v1", Provider::Openai, &names, settings);
        client.engine.set_router(router.clone());
        if embeds {
            client.engine.set_embedder(embedder.clone());
        }
        let mut times = Vec::with_capacity(calls);
        for call in 0..calls {
            let request =
                GenerateRequest::new(format!("What is the capital of country number {call}? Answer with one word."));
            let begun = Instant::now();
            let plan = client.engine.route(&cx, &request).await.unwrap();
            times.push(begun.elapsed());
            assert_eq!(plan.steps.len(), 20);
        }
        times.sort();
        let scale = if embeds { 1e3 } else { 1e6 };
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * scale;
        let note = format!("20 models, {LABELS} labels of each; median {:.2} {unit}", at(0.5));
        println!("{}", json!({ "figure": figure, "value": at(0.99), "unit": unit, "n": calls, "note": note }));
    }
}

/// A healthy server until standard input ends.
async fn serve(token_ms: u64) {
    let server = FaultServer::start(Pace { token: Duration::from_millis(token_ms), ..Pace::scaled(1.0) }).await;
    println!("{}", server.url);
    let wait = || std::io::stdin().lines().for_each(drop);
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// Streams at once, by a plain socket and by the whole router.
async fn streams(url: &str, at_once: usize, rounds: usize) {
    let client = ours::Client::of(url, Provider::Openai, &["ok-a", "ok-b"], RouterConfig::default());
    let (mut plain, mut router) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let calls = (0..at_once).map(|_| async {
            let begun = Instant::now();
            raw_stream(url).await;
            begun.elapsed()
        });
        let raw = futures_util::future::join_all(calls).await;
        let calls = (0..at_once).map(|_| async {
            let call = client.call(GenerateRequest::new("Tell me in sixty words.")).await;
            assert_eq!(call.text.as_deref(), Some(ANSWER), "{}", call.error);
            Duration::from_secs_f64(call.elapsed_s)
        });
        let ours = futures_util::future::join_all(calls).await;
        // The first round opens the connections.
        if round > 0 {
            plain.extend(raw);
            router.extend(ours);
        }
    }
    for (name, mut times) in [("plain", plain), ("router", router)] {
        times.sort();
        let ms = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        println!("{}", json!({ "client": name, "p50_ms": ms(0.5), "p99_ms": ms(0.99), "n": times.len() }));
    }
}

/// One stream with as little as a client can do: a socket, and the bytes until the last event.
async fn raw_stream(url: &str) {
    let host = url.trim_start_matches("http://").trim_end_matches("/v1");
    let mut socket = TcpStream::connect(host).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let messages = json!([{ "role": "user", "content": "Tell me in sixty words." }]);
    let body = json!({ "model": "ok", "messages": messages, "stream": true }).to_string();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all((head + &body).as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n0\r\n\r\n") {
        assert!(socket.read_buf(&mut read).await.unwrap() > 0, "the server hung up");
    }
}
