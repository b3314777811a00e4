//! Does a budget hold? One dollar, 200 calls at once, faults of the provider, and processes that are killed in the middle.
//! `benches/budget.py` runs it; the server counts by itself what it billed.
//!
//! What can be known after a kill: the ledger has every call whose answer was given out, for what the server billed it.
//! Of a call that was on its way only the server knows whether it is billed, so the most that it can cost counts as spent.

mod server;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use server::{Prices, Server};
use triune::{
    Config, Context, Error, ErrorKind, Result, Triune,
    router::{GenerateRequest, LedgerEntry, LedgerQuery},
};

const LIMIT_USD: f64 = 1.0;
const LIMIT_NANO: u64 = 1_000_000_000;
/// Calls at once.
const CONCURRENT: usize = 200;
/// Tokens of an answer at most.
const MOST_TOKENS: u32 = 40;
/// Nano-dollars for a token.
const PRICES: Prices = Prices { input: 250, output: 1000 };

struct Size {
    kills: u64,
    /// Processes live so long at least and at most, in milliseconds after their first answer.
    lives: (u64, u64),
    /// Calls by which the cost of a written hold is measured.
    timed: usize,
}

const SHORT: Size = Size { kills: 50, lives: (20, 220), timed: 100 };
const FULL: Size = Size { kills: 50, lives: (20, 800), timed: 1000 };

#[expect(clippy::print_stdout, reason = "figures are printed")]
fn print(figure: &str, value: f64, unit: &str, n: usize, note: &str) {
    println!("{}", json!({"figure": figure, "value": value, "unit": unit, "n": n, "note": note}));
}

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| Error::unexpected("no runtime").caused_by(e))?;
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["child", folder, url, first] => runtime.block_on(spend_all(folder, url, first.parse().unwrap_or(0))),
        ["full"] => measure(&runtime, &FULL),
        _ => measure(&runtime, &SHORT),
    }
}

fn config(url: &str, durable: bool) -> Result<Config> {
    Config::from_json(json!({
        "discover": false,
        "models": [{
            "provider": "openai", "source": "billed", "base_url": url, "context_length": 4096,
            // For a million tokens.
            "price": {"input": PRICES.input * 1_000_000, "output": PRICES.output * 1_000_000},
        }],
        "router": {
            "budgets": [{"tag": "bench", "limit_usd": LIMIT_USD}],
            "durable_holds": durable, "attempts": 3, "backoff_ms": 5, "timeout_ms": 2000, "breaker_failures": 0,
        },
    }))
}

/// One call; its number is in the prompt, so that the server can tell it.
async fn call(mind: &Triune, number: u64) -> Result<triune::router::GenerateReply> {
    let mut request = GenerateRequest::new(format!("call {number}"));
    request.tag = Some("bench".into());
    request.sampling.max_tokens = Some(MOST_TOKENS);
    mind.generate(&mind.context(), request).await
}

/// What the processes do that are killed: call until the budget allows no more, and print what was acknowledged.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn spend_all(folder: &str, url: &str, first: u64) -> Result<()> {
    let mind = Triune::builder(folder).config(config(url, true)?).open().await?;
    let next = Arc::new(AtomicU64::new(first));
    let until_refused = || async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            match call(&mind, number).await {
                Ok(reply) => println!("{}", json!({"call": number, "id": reply.id, "cost": reply.cost})),
                Err(error) if error.kind() == ErrorKind::OverBudget => return,
                Err(_) => {}
            }
        }
    };
    join_all((0..CONCURRENT).map(|_| until_refused())).await;
    // What others held is settled now: what is left is for one call after the other.
    until_refused().await;
    println!("{}", json!({"spent": true}));
    Ok(())
}

/// A process under way, and what it acknowledged.
struct Running {
    child: Child,
    reader: thread::JoinHandle<Vec<Value>>,
    began: std::sync::mpsc::Receiver<()>,
}

fn start(folder: &Path, url: &str, first: u64) -> Result<Running> {
    let failed = |e| Error::unexpected("the process that spends cannot be started").caused_by(e);
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.arg("child").arg(folder).arg(url).arg(first.to_string()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let output = child.stdout.take();
    let (tell, began) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
        // The last line may have been cut by the kill: then it was not acknowledged.
        lines
            .filter_map(|line| {
                let _ = tell.send(());
                serde_json::from_str(&line).ok()
            })
            .collect()
    });
    Ok(Running { child, reader, began })
}

fn measure(runtime: &tokio::runtime::Runtime, size: &Size) -> Result<()> {
    let failed = |e| Error::unexpected("the measurement failed").caused_by(e);
    holds(runtime, size)?;
    let server = Server::start(PRICES, true).map_err(failed)?;
    let folder = tempfile::tempdir().map_err(failed)?;
    let (mut acknowledged, mut overspends, mut spent_out) = (Vec::new(), 0, false);
    let mut odd = 0x2545_f491_4f6c_dd1d_u64;
    for round in 0..=size.kills {
        let mut running = start(folder.path(), &server.url(), round * 1_000_000)?;
        if round < size.kills {
            let _ = running.began.recv_timeout(Duration::from_secs(10));
            odd = odd.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            thread::sleep(Duration::from_millis(size.lives.0 + (odd >> 33) % (size.lives.1 - size.lives.0)));
            running.child.kill().map_err(failed)?;
        }
        running.child.wait().map_err(failed)?;
        let lines = running.reader.join().map_err(|_| Error::unexpected("a reader panicked"))?;
        spent_out = lines.iter().any(|line| line["spent"] == json!(true));
        acknowledged.extend(lines.into_iter().filter(|line| line["call"].is_u64()));
        overspends += usize::from(server.billed() > LIMIT_NANO);
    }
    if !spent_out {
        return Err(Error::unexpected("the last process did not come to the end of the budget"));
    }
    let (entries, spent, held) = runtime.block_on(read(folder.path(), &server.url()))?;
    let wrong = difference(&acknowledged, &entries, &server);
    let (billed, ledger) = (server.billed(), entries.iter().map(|entry| entry.cost.0 as u64).sum::<u64>());
    let faults = format!(
        "{} requests, {} of them answered with a fault; {} processes killed by SIGKILL with {CONCURRENT} calls at once; the \
         server billed ${:.6} of $1",
        server.requests(),
        server.faults(),
        size.kills,
        billed as f64 / 1e9
    );
    print("budget-overspends", overspends as f64, "", size.kills as usize + 1, &faults);
    let note = "nano-dollars between the ledger and the server's own count, over all acknowledged calls";
    print("budget-ledger-difference", wrong as f64, "n$", acknowledged.len(), note);
    let lost = entries.iter().filter(|entry| entry.failed).map(|entry| entry.cost.usd()).sum::<f64>();
    let note = format!(
        "what the ledger has for calls that failed or were on their way at a kill; it has ${:.6} in all, never less than \
         was billed: {}; the budget has ${spent:.6} spent and ${held:.6} held",
        ledger as f64 / 1e9,
        ledger >= billed
    );
    print("budget-assumed", lost, "$", entries.len(), &note);
    Ok(())
}

/// What a call pays for having its hold written before it is sent.
fn holds(runtime: &tokio::runtime::Runtime, size: &Size) -> Result<()> {
    let failed = |e| Error::unexpected("the measurement failed").caused_by(e);
    let server = Server::start(PRICES, false).map_err(failed)?;
    let mut medians = Vec::new();
    for durable in [false, true] {
        let folder = tempfile::tempdir().map_err(failed)?;
        let path = folder.path().to_string_lossy().into_owned();
        let median = runtime.block_on(async {
            let mind = Triune::builder(&path).config(config(&server.url(), durable)?).open().await?;
            call(&mind, 0).await?;
            let mut times = Vec::new();
            for number in 0..size.timed {
                let begun = Instant::now();
                call(&mind, number as u64).await?;
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            times.sort_by(f64::total_cmp);
            Ok::<_, Error>(times[times.len() / 2])
        })?;
        medians.push(median);
    }
    let note = format!(
        "median of one call after the other, {:.2} ms with the hold written and {:.2} ms without",
        medians[1], medians[0]
    );
    print("budget-durable-hold", medians[1] - medians[0], "ms", size.timed, &note);
    Ok(())
}

/// The ledger, and what the budget has spent and held, once dead processes have been accounted for.
async fn read(folder: &Path, url: &str) -> Result<(Vec<LedgerEntry>, f64, f64)> {
    let mind = Triune::builder(&folder.to_string_lossy()).config(config(url, true)?).open().await?;
    let cx = Context::new();
    let states = mind.router().budget_states(&cx).await?;
    let mut query = LedgerQuery::default();
    query.limit = Some(usize::MAX);
    let entries = mind.router().ledger(&cx, query).await?;
    let state = states.first().ok_or_else(|| Error::unexpected("the budget is gone"))?;
    Ok((entries, state.spent.usd(), state.held.usd()))
}

/// Nano-dollars by which acknowledged calls differ in the ledger, in the reply and with the server.
fn difference(acknowledged: &[Value], entries: &[LedgerEntry], server: &Server) -> u64 {
    let mut by_id = HashMap::<&str, Vec<&LedgerEntry>>::new();
    for entry in entries {
        by_id.entry(&entry.id).or_default().push(entry);
    }
    let completed = server.completed();
    let of_call = |line: &Value| {
        let said = line["cost"].as_u64().unwrap_or(0);
        let of_reply = by_id.get(line["id"].as_str().unwrap_or_default()).cloned().unwrap_or_default();
        let all: u64 = of_reply.iter().map(|entry| entry.cost.0 as u64).sum();
        let answered: Vec<_> = of_reply.iter().filter(|entry| !entry.failed).collect();
        let [answer] = answered.as_slice() else { return said.max(1) };
        let bills = completed.get(&line["call"].as_u64().unwrap_or(0)).cloned().unwrap_or_default();
        let with_server = bills.iter().map(|bill| bill.abs_diff(answer.cost.0 as u64)).min();
        said.abs_diff(all) + with_server.unwrap_or(answer.cost.0 as u64)
    };
    acknowledged.iter().map(of_call).sum()
}
