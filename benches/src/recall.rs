//! How fast recall stores and finds, and how well it finds by words alone.
//!
//! `cargo run -p triune-benches --bin bench-recall` prints JSON lines. The quality figures need the data folder:
//! `TRIUNE_DATA` names it. Each set is read whole and nothing is tuned on it.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use triune::{
    Context, Error, Registry, Result, Runtime,
    model::ChatModel,
    recall::{RecallConfig, RecallEngine, RecallQuery, RecallRequest},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Store, StoreConfig},
};

const DIMENSIONS: usize = 384;

/// This program asks no chat model.
#[derive(Debug)]
struct NoModels;

impl Router for NoModels {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(Error::not_found("this program has no chat model"))
    }
}

fn memory(folder: &Path) -> Result<RecallEngine> {
    let store = Store::open(folder, &StoreConfig::default())?;
    let models: Registry<dyn ChatModel> = Registry::new("model");
    let router = RouterEngine::new(RouterConfig::default(), Arc::new(NoModels), models, store.clone())?;
    RecallEngine::new(RecallConfig::default(), store, router, Runtime::default())
}

#[expect(clippy::print_stdout, reason = "printing figures is what this program is for")]
fn print(figure: &Value) {
    println!("{figure}");
}

#[tokio::main]
async fn main() -> Result<()> {
    speed().await?;
    let Some(data) = std::env::var_os("TRIUNE_DATA").map(PathBuf::from) else {
        print(&json!({"skipped": "quality", "why": "TRIUNE_DATA names no folder"}));
        return Ok(());
    };
    for set in ["scifact", "hotpotqa100"] {
        quality(set, &data.join("recall").join(set)).await?;
    }
    Ok(())
}

/// The same numbers in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSIONS).map(|_| self.next()).collect()
    }

    /// Words drawn so that few are common and many are rare.
    fn text(&mut self, words: usize) -> String {
        let word = |x: f32| format!("w{}", ((x + 0.5).powi(4) * 20_000.0) as u32);
        (0..words).map(|_| word(self.next())).collect::<Vec<_>>().join(" ")
    }
}

fn item(numbers: &mut Numbers) -> Result<RecallRequest> {
    let request = json!({"do": "store", "content": numbers.text(40), "vector": numbers.vector(), "metadata": {"n": 1}});
    serde_json::from_value(request).map_err(|e| Error::unexpected("a request has no form").caused_by(e))
}

async fn speed() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|e| Error::unexpected("no temporary folder").caused_by(e))?;
    let recall = memory(folder.path())?;
    let mut numbers = Numbers(1);
    let cx = Context::new();

    // 64 callers, one item a call: the writer commits them in groups.
    let calls = (0..2_000).map(|_| item(&mut numbers)).collect::<Result<Vec<_>>>()?;
    let calls = Arc::new(std::sync::Mutex::new(calls));
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (recall, calls, cx) = (recall.clone(), Arc::clone(&calls), cx.clone());
        callers.spawn(async move {
            let mut took = Vec::new();
            loop {
                let next = calls.lock().ok().and_then(|mut calls| calls.pop());
                let Some(RecallRequest::Store(item)) = next else { return Ok::<_, Error>(took) };
                let began = Instant::now();
                recall.store(&cx, *item).await?;
                took.push(began.elapsed());
            }
        });
    }
    let mut took = Vec::new();
    for caller in callers.join_all().await {
        took.extend(caller?);
    }
    print(
        &json!({"what": "store, 64 callers", "n": took.len(), "per_second": per_second(took.len(), began), "p50_ms": at(&mut took, 0.5), "p99_ms": at(&mut took, 0.99)}),
    );

    let mut batches = Vec::new();
    for _ in 0..8 {
        let mut batch = Vec::new();
        for _ in 0..1_000 {
            if let RecallRequest::Store(item) = item(&mut numbers)? {
                batch.push(*item);
            }
        }
        batches.push(batch);
    }
    let began = Instant::now();
    for batch in batches {
        recall.store_many(&cx, batch).await?;
    }
    print(&json!({"what": "store, batches of 1,000", "n": 8_000, "per_second": per_second(8_000, began)}));

    let mut took = Vec::new();
    for _ in 0..300 {
        let mut query = RecallQuery::new(numbers.text(6), 10);
        query.vector = Some(numbers.vector());
        let began = Instant::now();
        recall.query(&cx, query).await?;
        took.push(began.elapsed());
    }
    print(
        &json!({"what": "query, 10,000 x 384, exact, words and meaning", "n": took.len(), "p50_ms": at(&mut took, 0.5), "p95_ms": at(&mut took, 0.95), "p99_ms": at(&mut took, 0.99)}),
    );
    Ok(())
}

fn per_second(count: usize, began: Instant) -> u64 {
    (count as f64 / began.elapsed().as_secs_f64()) as u64
}

fn at(took: &mut [Duration], part: f64) -> f64 {
    took.sort_unstable();
    let index = ((took.len() as f64 * part) as usize).min(took.len().saturating_sub(1));
    took.get(index).map_or(0.0, |took| (took.as_secs_f64() * 1e6).round() / 1e3)
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|e| Error::not_found("a file of the data is missing").with("file", path.display()).caused_by(e))
}

async fn quality(name: &str, folder: &Path) -> Result<()> {
    let unpacked = Command::new("gzip").arg("-dc").arg(folder.join("corpus.jsonl.gz")).output();
    let unpacked = unpacked.map_err(|e| Error::not_found("the corpus cannot be unpacked by gzip").caused_by(e))?;
    let corpus = String::from_utf8_lossy(&unpacked.stdout);
    let mut wanted: HashMap<String, HashSet<String>> = HashMap::new();
    for line in read(&folder.join("qrels.tsv"))?.lines().skip(1) {
        let fields: Vec<_> = line.split('\t').collect();
        if let [query, document, relevance] = fields[..]
            && relevance != "0"
        {
            wanted.entry(query.to_owned()).or_default().insert(document.to_owned());
        }
    }
    let store = tempfile::tempdir().map_err(|e| Error::unexpected("no temporary folder").caused_by(e))?;
    let recall = memory(store.path())?;
    let cx = Context::new();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut items = Vec::new();
    for document in lines(&corpus) {
        let content = format!("{} {}", text(&document, "title"), text(&document, "text"));
        let request = json!({"content": content, "id": text(&document, "_id")});
        items.push(
            serde_json::from_value(request).map_err(|e| Error::unexpected("a request has no form").caused_by(e))?,
        );
    }
    let documents = items.len();
    recall.store_many(&cx, items).await?;
    let (mut gain, mut found, mut queries, mut took) = (0.0, 0.0, 0_usize, Vec::new());
    for query in lines(&read(&folder.join("queries.jsonl"))?) {
        let Some(wanted) = wanted.get(&text(&query, "_id")) else { continue };
        let began = Instant::now();
        let hits = recall.query(&cx, RecallQuery::new(text(&query, "text"), 10)).await?;
        took.push(began.elapsed());
        let weight = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
        let relevant = hits.iter().enumerate().filter(|(_, hit)| wanted.contains(&hit.item.id));
        let (dcg, count) = relevant.fold((0.0, 0.0), |(dcg, count), (rank, _)| (dcg + weight(rank), count + 1.0));
        gain += dcg / (0..wanted.len().min(10)).map(weight).sum::<f64>();
        found += count / wanted.len() as f64;
        queries += 1;
    }
    let mean = |sum: f64| (sum / queries.max(1) as f64 * 1e4).round() / 1e4;
    print(
        &json!({"what": "quality by words alone", "set": name, "documents": documents, "queries": queries, "ndcg_at_10": mean(gain), "recall_at_10": mean(found), "p50_ms": at(&mut took, 0.5)}),
    );
    Ok(())
}
