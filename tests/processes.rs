//! Two processes write and four read, in one folder, for TRIUNE_PROCESSES_S seconds (8 if not said): no error, and the
//! counts agree at the end.
//!
//! The test starts itself again for each process. A writer stores, replaces, supersedes and forgets at random, and knows what
//! must be there; a reader checks that whatever it finds is whole: its text, metadata and vector tell the same number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use triune::{
    Config, Context, Triune,
    recall::{Filter, ForgetRequest, Hit, RecallQuery, StoreRequest},
    store::check_here,
};

const WRITERS: u64 = 2;
const READERS: u64 = 4;
const SECONDS: u64 = 8;
const DIMENSIONS: usize = 24;
const WORDS: [&str; 12] =
    ["amber", "basalt", "cedar", "dune", "ember", "fjord", "glacier", "harbour", "island", "jungle", "kelp", "lagoon"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments[..] {
        ["--role", role, number, folder, seconds] => {
            let until = Instant::now() + Duration::from_secs(seconds.parse().unwrap());
            let number = number.parse().unwrap();
            let report = runtime.block_on(async {
                if role == "writer" { write(number, folder, until).await } else { read(number, folder, until).await }
            });
            println!("{report}");
        }
        _ if arguments.contains(&"--list") => println!("processes: test"),
        _ => run(),
    }
}

fn run() {
    let seconds = std::env::var("TRIUNE_PROCESSES_S").map_or(SECONDS, |seconds| seconds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let start = |role: &str, number: u64| {
        let arguments = ["--role", role, &number.to_string(), &path, &seconds.to_string()].map(str::to_owned);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let roles = (0..WRITERS).map(|number| ("writer", number)).chain((0..READERS).map(|number| ("reader", number)));
    let children: Vec<_> = roles.map(|(role, number)| (role, number, start(role, number))).collect();
    let (mut errors, mut live, mut written, mut asked) = (Vec::new(), 0, 0, 0);
    for (role, number, mut child) in children {
        let (mut out, mut error) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut error).unwrap();
        let status = child.wait().unwrap();
        match serde_json::from_str::<Value>(&out) {
            Ok(report) if status.success() => {
                live += report["live"].as_u64().unwrap_or_default();
                written += report["written"].as_u64().unwrap_or_default();
                asked += report["asked"].as_u64().unwrap_or_default();
            }
            _ => errors.push(format!("{role} {number}: {status}\n{out}{error}")),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if errors.is_empty() {
        errors.extend(runtime.block_on(count(&path, live)));
    }
    let note = format!("{WRITERS} writers, {READERS} readers, {seconds} s: {written} writes, {asked} queries");
    println!(
        "{}",
        json!({"figure": "process-errors", "value": errors.len(), "unit": "", "n": written + asked, "note": note})
    );
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    assert!(written > 0 && asked > 0, "nothing was done: {note}");
}

async fn open(folder: &str) -> Triune {
    let config = Config::from_json(json!({"discover": false, "recall": {"pending_limit": 200}})).unwrap();
    Triune::builder(folder).config(config).open().await.unwrap()
}

/// The number tells all of an item: its words, its metadata and its vector.
fn item(id: &str, number: u64) -> StoreRequest {
    let mut item = StoreRequest::new(text(number));
    item.id = Some(id.to_owned());
    item.vector = Some(vector(number));
    item.session = Some(format!("session {}", number % 50));
    item.metadata.insert("number".into(), json!(number));
    item.metadata.insert("group".into(), json!(number % 10));
    item
}

fn text(number: u64) -> String {
    let mut rng = StdRng::seed_from_u64(number);
    let words: Vec<&str> = (0..8).map(|_| WORDS[rng.random_range(0..WORDS.len())]).collect();
    format!("number {number}: {}", words.join(" "))
}

fn vector(number: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(number ^ 0x5eed);
    (0..DIMENSIONS).map(|_| rng.random::<f32>() - 0.4).collect()
}

async fn write(writer: u64, folder: &str, until: Instant) -> Value {
    let (mind, cx) = (open(folder).await, Context::new());
    let mut rng = StdRng::seed_from_u64(writer);
    let mut live: BTreeMap<String, u64> = BTreeMap::new();
    let (mut next, mut written) = (0_u64, 0_u64);
    while Instant::now() < until {
        let some = |rng: &mut StdRng| live.keys().nth(rng.random_range(0..live.len().max(1))).cloned();
        match rng.random_range(0..10) {
            0 if live.len() > 500 => {
                let gone: BTreeSet<String> = (0..40).filter_map(|_| some(&mut rng)).collect();
                let ids: Vec<String> = gone.into_iter().collect();
                let request: ForgetRequest = serde_json::from_value(json!({"ids": ids})).unwrap();
                let forgotten = mind.recall().forget(&cx, request).await.unwrap();
                assert_eq!(forgotten, ids.len(), "all of them were there");
                for id in ids {
                    live.remove(&id);
                }
            }
            1 if !live.is_empty() => {
                let id = some(&mut rng).unwrap();
                let number = writer * 1_000_000 + next;
                next += 1;
                mind.recall().store(&cx, item(&id, number)).await.unwrap();
                live.insert(id, number);
            }
            2 if !live.is_empty() => {
                let old = some(&mut rng).unwrap();
                let (id, number) = (format!("{writer}-{next}"), writer * 1_000_000 + next);
                next += 1;
                let mut anew = item(&id, number);
                anew.supersedes = Some(old);
                mind.recall().store(&cx, anew).await.unwrap();
                live.insert(id, number);
            }
            _ => {
                let items: Vec<_> = (0..rng.random_range(1..40))
                    .map(|_| {
                        let (id, number) = (format!("{writer}-{next}"), writer * 1_000_000 + next);
                        next += 1;
                        live.insert(id.clone(), number);
                        item(&id, number)
                    })
                    .collect();
                mind.recall().store_many(&cx, items).await.unwrap();
            }
        }
        written += 1;
    }
    // What this process wrote is there, whatever the other did.
    for (id, number) in &live {
        let found = mind.recall().get(&cx, "default", id).await.unwrap();
        assert_eq!(found.map(|item| item.text), Some(text(*number)), "{id}");
    }
    mind.close().await;
    json!({"live": live.len(), "written": written})
}

fn check(hit: &Hit) {
    let number = hit.item.metadata["number"].as_u64().unwrap();
    assert_eq!(hit.item.text, text(number));
    assert_eq!(hit.item.session, Some(format!("session {}", number % 50)));
}

async fn read(reader: u64, folder: &str, until: Instant) -> Value {
    let (mind, cx) = (open(folder).await, Context::new());
    let mut rng = StdRng::seed_from_u64(100 + reader);
    let mut asked = 0;
    while Instant::now() < until {
        let number = rng.random_range(0..2_u64) * 1_000_000 + rng.random_range(0..5_000);
        let mut query = RecallQuery::new(text(number), 10);
        query.vector = Some(vector(number));
        query.include_ended = rng.random_bool(0.3);
        if rng.random_bool(0.5) {
            query.filter = Some(Filter::Eq("group".into(), json!(number % 10)));
        }
        let filtered = query.filter.is_some();
        let hits = mind.recall().query(&cx, query).await.unwrap();
        for hit in &hits {
            check(hit);
            assert!(!filtered || hit.item.metadata["group"] == json!(number % 10), "the filter holds");
        }
        assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
        asked += 1;
    }
    mind.close().await;
    json!({"asked": asked})
}

/// What is wrong at the end.
async fn count(folder: &str, live: u64) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mind, cx) = (open(folder).await, Context::new());
    let all: ForgetRequest = serde_json::from_value(json!({"filter": {"exists": "number"}})).unwrap();
    mind.close().await;
    let report = check_here(folder.as_ref()).unwrap();
    if !report.ok {
        wrong.push(format!("the folder is damaged: {:?}", report.problems));
    }
    let mind = open(folder).await;
    let forgotten = mind.recall().forget(&cx, all).await.unwrap() as u64;
    if forgotten != live {
        wrong.push(format!("{forgotten} items were there, not {live}"));
    }
    let mut query = RecallQuery::new("amber", 10);
    query.include_ended = true;
    let left = mind.recall().query(&cx, query).await.unwrap();
    if !left.is_empty() {
        wrong.push(format!("{} items are found that were forgotten", left.len()));
    }
    mind.close().await;
    wrong
}
