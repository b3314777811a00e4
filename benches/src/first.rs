//! The first figures: what a user of one process notices. `benches/first.py` runs this beside the peers.
//!
//! Prints one JSON line a figure: `{"figure", "value", "unit", "n", "note"}`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all};
use serde_json::{Value, json};
use triune::{
    Config, FnFunction, Result, Triune,
    model::{
        ChatModel, ChatRequest, Delta, Embedder, ModelKind, Sampling,
        local::{LocalConfig, LocalEmbedder, LocalModel},
        source::locate,
    },
    parallel::{Plan, RunRequest, Task},
    recall::{RecallQuery, StoreRequest},
};

/// Words of about one token each, so that a prompt has the length it is asked for.
const WORDS: [&str; 8] = ["tree", "river", "stone", "light", "house", "green", "water", "night"];
const DIMENSIONS: usize = 384;

struct Size {
    prompt: usize,
    decode: u32,
    texts: usize,
    stores: usize,
    items: usize,
    queries: usize,
    tasks: usize,
    calls: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let full = std::env::args().any(|argument| argument == "full");
    let size = if full {
        Size {
            prompt: 512,
            decode: 128,
            texts: 512,
            stores: 4000,
            items: 20_000,
            queries: 500,
            tasks: 5000,
            calls: 20_000,
        }
    } else {
        Size { prompt: 256, decode: 48, texts: 128, stores: 1000, items: 5000, queries: 200, tasks: 1000, calls: 5000 }
    };
    models(&size).await?;
    engines(&size).await
}

fn print(figure: &str, value: f64, unit: &str, n: usize, note: &str) {
    #[expect(clippy::print_stdout, reason = "figures are printed")]
    {
        println!("{}", json!({"figure": figure, "value": value, "unit": unit, "n": n, "note": note}));
    }
}

async fn models(size: &Size) -> Result<()> {
    let path = locate("smollm2-135m", ModelKind::Chat)?;
    let begun = Instant::now();
    let model = LocalModel::load("smollm2-135m", &path, &LocalConfig::default())?;
    print("load-smollm2", ms(begun), "ms", 1, "file in the page cache; until the first token can be asked for");
    let cx = triune::Context::new();
    // Every prompt begins in another way: what was read before would be found again.
    let request = |run: usize| {
        let words: Vec<_> = (0..size.prompt).map(|i| WORDS[(i + run) % WORDS.len()]).collect();
        let sampling = Sampling { temperature: Some(0.0), max_tokens: Some(size.decode), ..Sampling::default() };
        ChatRequest { sampling, ..ChatRequest::user(words.join(" ")) }
    };
    let tokens = model.count_tokens(&request(0))?;
    let mut best = (f64::MAX, f64::MAX, 0);
    for run in 0..3 {
        let request = request(run);
        let begun = Instant::now();
        let mut stream = model.chat(&cx, request).await?;
        let (mut first, mut last, mut written) = (None, begun, 0_u64);
        while let Some(delta) = stream.next().await {
            match delta? {
                Delta::Text { .. } => {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                Delta::Done { usage, .. } => written = usage.output_tokens,
                _ => {}
            }
        }
        let first = first.unwrap_or(last);
        let decode = (last - first).as_secs_f64() / written.saturating_sub(1).max(1) as f64;
        best = (best.0.min((first - begun).as_secs_f64()), best.1.min(decode), written);
    }
    print("prefill-smollm2", tokens as f64 / best.0, "tokens/s", tokens as usize, "time to the first token, best of 3");
    print("decode-smollm2", 1.0 / best.1, "tokens/s", best.2 as usize, "greedy, one sequence, best of 3");

    let path = locate("all-minilm-l6-v2", ModelKind::Embedder)?;
    let embedder = LocalEmbedder::load("all-minilm-l6-v2", &path)?;
    let texts: Vec<_> = (0..size.texts)
        .map(|i| (0..18).map(|j| WORDS[(i + j * j) % WORDS.len()]).collect::<Vec<_>>().join(" "))
        .collect();
    embedder.embed(&cx, texts[..8].to_vec()).await?;
    let begun = Instant::now();
    let embeddings = embedder.embed(&cx, texts).await?;
    let rate = embeddings.len() as f64 / begun.elapsed().as_secs_f64();
    print("embed-f32-20", rate, "texts/s", embeddings.len(), "20 tokens a text with the marks, in one call");
    Ok(())
}

/// Vectors of unit length in all directions, the same in every run.
fn vector(seed: usize) -> Vec<f32> {
    let mut state = seed as u64 * 2_654_435_761 + 1;
    (0..DIMENSIONS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
        })
        .collect()
}

fn item(i: usize) -> StoreRequest {
    let words: Vec<_> = (0..20).map(|j| WORDS[(i * 7 + j * j) % WORDS.len()]).collect();
    let mut request = StoreRequest::new(format!("{} {i}", words.join(" ")));
    request.vector = Some(vector(i));
    request
}

async fn engines(size: &Size) -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| triune::Error::unexpected("no temporary folder").caused_by(e))?;
    let config = Config::from_json(json!({"discover": false}))?;
    let mind = Triune::builder(&folder.path().to_string_lossy()).config(config).open().await?;

    let begun = Instant::now();
    for chunk in (0..size.stores).collect::<Vec<_>>().chunks(64) {
        let cx = mind.context();
        for stored in join_all(chunk.iter().map(|i| mind.store_knowledge(&cx, item(*i)))).await {
            stored?;
        }
    }
    let rate = size.stores as f64 / begun.elapsed().as_secs_f64();
    print("store-per-s", rate, "items/s", size.stores, "64 callers at once, one item each, durable, vectors given");

    for chunk in (size.stores..size.items).collect::<Vec<_>>().chunks(500) {
        let items: Vec<_> = chunk.iter().map(|i| item(*i)).collect();
        mind.recall().store_many(&mind.context(), items).await?;
    }
    let mut times = Vec::with_capacity(size.queries);
    for i in 0..size.queries {
        let mut query = RecallQuery::new("river stone", 10);
        query.vector = Some(vector(i * 31));
        let begun = Instant::now();
        mind.recall_knowledge(&mind.context(), query).await?;
        times.push(begun.elapsed());
    }
    let rate = size.queries as f64 / times.iter().sum::<Duration>().as_secs_f64();
    let note = format!("{} items, meaning and words; p99 {:.1} ms", size.items, quantile(&mut times, 0.99));
    print("recall-per-s", rate, "queries/s", size.queries, &note);

    let nothing = FnFunction::new("nothing", |_, _| async { Ok(Value::Null) });
    mind.register_function(Arc::new(nothing))?;
    let tasks = (0..size.tasks).map(|i| Task::function(format!("t{i}"), "nothing")).collect();
    let mut request = RunRequest::new(Plan { tasks });
    request.concurrency = Some(64);
    let begun = Instant::now();
    mind.coordinate_parallel_tasks(&mind.context(), request).await?;
    let each = begun.elapsed().as_secs_f64() * 1e6 / size.tasks as f64;
    print("empty-task-us", each, "us/task", size.tasks, "durable: start and end journalled, 64 at once");

    let begun = Instant::now();
    for _ in 0..size.calls {
        mind.call(&mind.context(), "recall", json!({"do": "namespaces"})).await?;
    }
    let each = begun.elapsed().as_secs_f64() * 1e6 / size.calls as f64;
    print("rust-call-us", each, "us/call", size.calls, "Triune::call, engine `recall`, `namespaces`");
    mind.close().await;
    Ok(())
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn quantile(times: &mut [Duration], q: f64) -> f64 {
    times.sort_unstable();
    times[((times.len() - 1) as f64 * q) as usize].as_secs_f64() * 1e3
}
