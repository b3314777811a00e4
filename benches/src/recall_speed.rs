//! How fast vectors are stored and found, and which part of the true nearest: recall's side of `recall_speed.py`, which
//! knows the peers.
//!
//! `VECTORS` are f32 little-endian, 384 numbers each: first what is stored, the last thousand are asked. `TEXTS` are the lines
//! they were made of. Rates are queries per second of processor time of the process, the best of three rounds: what else
//! the machine does costs wall time.
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
    process::exit,
    sync::Arc,
    time::Instant,
};

use serde_json::{Value, json};
use triune::{
    Context, Error, Registry, Result, Runtime,
    model::ChatModel,
    recall::{
        Filter, IndexChoice, RecallConfig, RecallEngine, RecallQuery, StoreRequest,
        measure::{ItemSet, nearest, settle},
    },
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Store, StoreConfig},
};

const DIMENSIONS: usize = 384;
const ASKED: usize = 1_000;
const NAMESPACE: &str = "default";
const ROUNDS: usize = 3;

/// This program asks no chat model.
#[derive(Debug)]
struct NoModels;

impl Router for NoModels {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(Error::not_found("this program has no chat model"))
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["build", vectors, texts, count, folder] => {
            build(vectors.as_ref(), texts.as_ref(), number(count)?, folder.as_ref()).await
        }
        ["search", vectors, count, queries, folder, index, recall] => {
            let recall = recall.parse().map_err(|e| Error::invalid("a recall is .8 to 1").caused_by(e))?;
            let all = Vectors::read(vectors.as_ref(), number(count)?)?;
            search(&all, number(queries)?, folder.as_ref(), index, recall).await
        }
        ["query", vectors, texts, count, queries, folder] => {
            let all = Vectors::read(vectors.as_ref(), number(count)?)?;
            query(&all, texts.as_ref(), number(queries)?, folder.as_ref()).await
        }
        ["open", vectors, folder] => open(vectors.as_ref(), folder.as_ref()).await,
        ["insert", vectors, folder] => insert(vectors.as_ref(), folder.as_ref()).await,
        _ => {
            println!(
                "build VECTORS TEXTS COUNT FOLDER | search VECTORS COUNT QUERIES FOLDER scan|ivf|arroy RECALL | \
                 query VECTORS TEXTS COUNT QUERIES FOLDER | open VECTORS FOLDER | insert VECTORS FOLDER"
            );
            exit(2)
        }
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|e| Error::invalid("a count is a number").caused_by(e))
}

fn show(figure: &Value) {
    println!("{figure}");
}

struct Vectors {
    stored: Vec<Vec<f32>>,
    asked: Vec<Vec<f32>>,
}

impl Vectors {
    fn read(path: &Path, count: usize) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Error::not_found("the file of vectors").caused_by(e))?;
        if bytes.len() / (DIMENSIONS * 4) < count + ASKED {
            return Err(Error::invalid("there are too few vectors").with("wanted", count + ASKED));
        }
        Ok(Self { stored: rows(&bytes).take(count).collect(), asked: asked(path)? })
    }

    /// The ten nearest of those that `admitted` lets through.
    fn exact(&self, query: &[f32], admitted: Option<&ItemSet>) -> Vec<u32> {
        let all = self.stored.iter().zip(0..).filter(|(_, item)| admitted.is_none_or(|set| set.contains(*item)));
        let mut scored: Vec<(f32, u32)> =
            all.map(|(vector, item)| (triune::model::cosine(query, vector), item)).collect();
        scored.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        scored.into_iter().take(10).map(|(_, item)| item).collect()
    }
}

fn rows(bytes: &[u8]) -> impl Iterator<Item = Vec<f32>> {
    let vector = |row: &[u8]| row.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    bytes.chunks_exact(DIMENSIONS * 4).map(vector)
}

/// The last of the vectors alone: what was once read would count as memory.
fn asked(path: &Path) -> Result<Vec<Vec<f32>>> {
    let read = || {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::End(-((ASKED * DIMENSIONS * 4) as i64)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(rows(&bytes).collect())
    };
    read().map_err(|e: std::io::Error| Error::not_found("the file of vectors").caused_by(e))
}

fn config(index: &str, recall: f64) -> Result<RecallConfig> {
    let index: IndexChoice =
        serde_json::from_value(json!(index)).map_err(|e| Error::invalid("an index that is not known").caused_by(e))?;
    let mut config = RecallConfig::default();
    (config.index, config.recall, config.scan_limit) = (index, recall, 5_000);
    Ok(config)
}

fn memory(store: &Store, config: RecallConfig) -> Result<RecallEngine> {
    let models: Registry<dyn ChatModel> = Registry::new("model");
    let router = RouterEngine::new(RouterConfig::default(), Arc::new(NoModels), models, store.clone())?;
    RecallEngine::new(config, store.clone(), router, Runtime::default())
}

/// Whether one in `every` items is kept. Any may be: its number is mixed.
fn is_kept(item: usize, every: u32) -> bool {
    ((item as u32).wrapping_mul(2_654_435_761) >> 8).is_multiple_of(every)
}

fn item(at: usize, text: &str, vector: &[f32]) -> StoreRequest {
    let mut item = StoreRequest::new(text);
    item.id = Some(at.to_string());
    item.vector = Some(vector.to_vec());
    let facts = [("p10", json!(is_kept(at, 10))), ("p1", json!(is_kept(at, 100))), ("source", json!("wordnet"))];
    item.metadata = facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    item
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|e| Error::not_found("the file of texts").caused_by(e))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Stores durably in batches of 1,000, then builds the lists.
async fn build(path: &Path, texts: &Path, count: usize, folder: &Path) -> Result<()> {
    let (all, texts) = (Vectors::read(path, count)?, lines(texts)?);
    let store = Store::open(folder, &StoreConfig::default())?;
    // The scan: nothing is built while this stores.
    let recall = memory(&store, config("scan", 0.99)?)?;
    let items: Vec<_> = texts.iter().zip(&all.stored).enumerate().collect();
    let (mut seconds, mut cpu_s) = (0.0, 0.0);
    for batch in items.chunks(1_000) {
        let batch = batch.iter().map(|(at, (text, vector))| item(*at, text, vector)).collect();
        let (began, cpu) = (Instant::now(), processor_time());
        recall.store_many(&Context::new(), batch).await?;
        seconds += began.elapsed().as_secs_f64();
        cpu_s += processor_time() - cpu;
    }
    show(&json!({"figure": "store", "per_second": count as f64 / seconds, "cpu_s": cpu_s}));
    let cpu = processor_time();
    settle(&config("ivf", 0.99)?, &store, NAMESPACE).await?;
    show(&json!({"figure": "build", "cpu_s": processor_time() - cpu}));
    Ok(())
}

async fn search(all: &Vectors, queries: usize, folder: &Path, index: &str, recall: f64) -> Result<()> {
    let store = Store::open(folder, &StoreConfig::default())?;
    let config = config(index, recall)?;
    settle(&config, &store, NAMESPACE).await?;
    let asked = &all.asked[..queries.min(all.asked.len())];
    let filters: [(u32, Option<ItemSet>); 4] =
        [(100, None), (50, Some(kept(all, 2))), (10, Some(kept(all, 10))), (1, Some(kept(all, 100)))];
    for (percent, admitted) in &filters {
        let exact: Vec<_> = asked.iter().map(|query| all.exact(query, admitted.as_ref())).collect();
        let (mut best, mut hits) = (f64::INFINITY, 0);
        for _ in 0..ROUNDS {
            hits = 0;
            let cpu = processor_time();
            for (query, exact) in asked.iter().zip(&exact) {
                let found = nearest(&config, &store, NAMESPACE, query, admitted.as_ref(), 10)?;
                hits += found.iter().filter(|(item, _)| exact.contains(item)).count();
            }
            best = best.min((processor_time() - cpu) / asked.len() as f64);
        }
        let wanted: usize = exact.iter().map(Vec::len).sum();
        show(&json!({"figure": "search", "index": index, "percent": percent, "recall": hits as f64 / wanted as f64,
            "cpu_ms": best * 1e3, "n": asked.len()}));
    }
    Ok(())
}

fn kept(all: &Vectors, every: u32) -> ItemSet {
    (0..all.stored.len()).filter(|item| is_kept(*item, every)).map(|item| item as u32).collect()
}

/// Whole queries, as an application asks them: another thread, records read, hits made.
async fn query(all: &Vectors, texts: &Path, queries: usize, folder: &Path) -> Result<()> {
    let store = Store::open(folder, &StoreConfig::default())?;
    settle(&RecallConfig::default(), &store, NAMESPACE).await?;
    let memory = memory(&store, RecallConfig::default())?;
    let asked = &all.asked[..queries.min(all.asked.len())];
    for (percent, every) in [(100, 1), (10, 10), (1, 100)] {
        let exact: Vec<_> = asked.iter().map(|query| all.exact(query, Some(&kept(all, every)))).collect();
        let (mut best, mut found) = (f64::INFINITY, 0);
        for _ in 0..ROUNDS {
            found = 0;
            let mut cpu = 0.0;
            for (vector, exact) in asked.iter().zip(&exact) {
                let query = by_vector(vector, (percent < 100).then(|| format!("p{percent}")));
                let began = processor_time();
                let hits = memory.query(&Context::new(), query).await?;
                cpu += processor_time() - began;
                found += hits.iter().filter(|hit| exact.iter().any(|item| item.to_string() == hit.item.id)).count();
            }
            best = best.min(cpu / asked.len() as f64);
        }
        let wanted: usize = exact.iter().map(Vec::len).sum();
        show(&json!({"figure": "query", "percent": percent, "recall": found as f64 / wanted as f64,
            "cpu_ms": best * 1e3, "n": asked.len()}));
    }
    // By words, by meaning and with a filter, all at once.
    let texts = lines(texts)?;
    let texts = &texts[texts.len().saturating_sub(ASKED)..];
    let (mut took, mut cpu) = (Vec::new(), 0.0);
    for (vector, text) in asked.iter().zip(texts) {
        let mut query = by_vector(vector, Some("p10".to_owned()));
        query.query.clone_from(text);
        let (began, time) = (Instant::now(), processor_time());
        memory.query(&Context::new(), query).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        cpu += processor_time() - time;
    }
    took.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| took[((took.len() as f64 * part) as usize).min(took.len() - 1)];
    show(&json!({"figure": "hybrid", "p50_ms": at(0.5), "p99_ms": at(0.99), "cpu_ms": cpu / took.len() as f64 * 1e3,
        "n": took.len()}));
    Ok(())
}

/// A query without words for items that have the fact.
fn by_vector(vector: &[f32], fact: Option<String>) -> RecallQuery {
    let mut query = RecallQuery::new("", 10);
    query.vector = Some(vector.to_vec());
    query.filter = fact.map(|fact| Filter::Eq(fact, json!(true)));
    query
}

/// From nothing to the first hit, and the memory that serving takes.
async fn open(path: &Path, folder: &Path) -> Result<()> {
    let asked = asked(path)?;
    let before = anonymous_mb();
    let began = Instant::now();
    let store = Store::open(folder, &StoreConfig::default())?;
    let recall = memory(&store, RecallConfig::default())?;
    recall.query(&Context::new(), by_vector(&asked[0], None)).await?;
    show(&json!({"figure": "open", "ms": began.elapsed().as_secs_f64() * 1e3}));
    for query in &asked {
        recall.query(&Context::new(), by_vector(query, None)).await?;
    }
    show(&json!({"figure": "memory", "mb": anonymous_mb() - before}));
    Ok(())
}

/// Stores one after the other, each durable, and asks for each at once.
async fn insert(path: &Path, folder: &Path) -> Result<()> {
    let asked = asked(path)?;
    let store = Store::open(folder, &StoreConfig::default())?;
    let recall = memory(&store, RecallConfig::default())?;
    let (mut took, mut missed) = (Vec::new(), 0);
    for (at, vector) in asked.iter().take(200).enumerate() {
        let began = Instant::now();
        recall.store(&Context::new(), item(1_000_000 + at, "a new entry: what was said a moment ago", vector)).await?;
        let hits = recall.query(&Context::new(), by_vector(vector, None)).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        missed += usize::from(hits.first().is_none_or(|hit| hit.item.id != (1_000_000 + at).to_string()));
    }
    took.sort_unstable_by(f64::total_cmp);
    show(&json!({"figure": "insert", "ms": took[took.len() / 2], "missed": missed, "n": took.len()}));
    Ok(())
}

/// Seconds of processor time of this process, all its threads together.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Anonymous memory of this process, in MiB.
fn anonymous_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}
