//! Local models on a file, beside `peers_inference.py`, which has the same commands.
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{
    fs,
    path::Path,
    process::exit,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};
use triune::{
    Context, Error, ErrorKind, Priority, Result,
    model::{
        ChatModel, ChatRequest, Delta, FinishReason, ResponseFormat, Sampling, collect,
        local::{LocalConfig, LocalModel},
    },
};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["speed", file, threads, prompt, decode] => {
            speed(file.as_ref(), number(threads)?, number(prompt)?, number(decode)?).await
        }
        ["first", file, threads] => first(file.as_ref(), number(threads)?).await,
        ["many", file, threads, streams, prefix, own, decode] => {
            many(file.as_ref(), number(threads)?, number(streams)?, number(prefix)?, number(own)?, number(decode)?)
                .await
        }
        ["schema", file, threads, streams, decode] => {
            schema(file.as_ref(), number(threads)?, number(streams)?, number(decode)?).await
        }
        ["schemas", file, threads, schemas] => keep_to(file.as_ref(), number(threads)?, schemas.as_ref()).await,
        ["soak", file, threads, requests] => soak(file.as_ref(), number(threads)?, number(requests)?).await,
        ["speculative", file, threads, decode] => speculative(file.as_ref(), number(threads)?, number(decode)?).await,
        ["said", file, said] => compare_said(file.as_ref(), said.as_ref()),
        ["read", file, read] => compare_read(file.as_ref(), read.as_ref()),
        ["tokens", file, texts, tokens] => compare_tokens(file.as_ref(), texts.as_ref(), tokens.as_ref()),
        _ => {
            println!(
                "speed FILE THREADS PROMPT DECODE | first FILE THREADS | many FILE THREADS STREAMS PREFIX OWN DECODE"
            );
            println!("schema FILE THREADS STREAMS DECODE | schemas FILE THREADS SCHEMAS");
            println!("soak FILE THREADS REQUESTS | speculative FILE THREADS DECODE");
            println!("said FILE SAID | read FILE READ | tokens FILE TEXTS TOKENS");
            exit(2)
        }
    }
}

fn number(text: &str) -> Result<usize> {
    text.parse().map_err(|_| Error::invalid(format!("\"{text}\" is no number")))
}

fn show(figure: &str, value: f64) {
    println!("{}", json!({ "figure": figure, "value": value }));
}

fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).map_err(|e| Error::not_found("a file of the bench").caused_by(e))?;
    serde_json::from_str(&text).map_err(|e| Error::invalid("a file of the bench is no JSON").caused_by(e))
}

/// The highest resident memory so far, in MiB.
fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Token numbers that both sides read; which ones makes no difference to the time.
fn words(count: usize, run: usize) -> Vec<u32> {
    (0..count).map(|i| (1000 + (i * 37 + run * 11) % 20_000) as u32).collect()
}

fn load(file: &Path, threads: usize) -> Result<LocalModel> {
    LocalModel::load("bench", file, &LocalConfig::default().threads(threads))
}

/// Seconds to the first token, seconds from it to the last, and tokens written.
async fn write(model: &LocalModel, prompt: Vec<u32>, count: usize) -> Result<(f64, f64, u64)> {
    let sampling = Sampling {
        temperature: Some(0.0),
        max_tokens: Some(count as u32),
        // One piece a token, also where a token shows no text.
        logprobs: Some(0),
        ..Sampling::default()
    };
    let begun = Instant::now();
    let mut stream = model.complete(&Context::new(), prompt, &sampling)?;
    let mut first = None;
    while let Some(delta) = stream.next().await {
        match delta? {
            Delta::Logprob { .. } => {
                first.get_or_insert_with(|| begun.elapsed().as_secs_f64());
            }
            Delta::Done { usage, .. } => {
                let all = begun.elapsed().as_secs_f64();
                let first = first.unwrap_or(all);
                return Ok((first, all - first, usage.output_tokens));
            }
            _ => {}
        }
    }
    Err(Error::unexpected("an answer without an end"))
}

async fn speed(file: &Path, threads: usize, prompt: usize, decode: usize) -> Result<()> {
    let before = peak_mb();
    let begun = Instant::now();
    let model = load(file, threads)?;
    show("load", begun.elapsed().as_secs_f64() * 1e3);
    let (mut prefill, mut each) = (f64::MAX, f64::MAX);
    for run in 0..3 {
        prefill = prefill.min(write(&model, words(prompt, run), 1).await?.0);
        let (_, rest, written) = write(&model, words(32, run + 100), decode + 1).await?;
        each = each.min(rest / (written.max(2) - 1) as f64);
        if run == 0 {
            // Of one stream: what later ones leave for others that begin alike is no part of it.
            show("memory-1", peak_mb() - before);
        }
    }
    show("prefill", prompt as f64 / prefill);
    show("decode", 1.0 / each);
    let again = write(&model, words(prompt, 0), 1).await?.0;
    show("prefix-hit", again / prefill);
    Ok(())
}

async fn first(file: &Path, threads: usize) -> Result<()> {
    let begun = Instant::now();
    let model = load(file, threads)?;
    write(&model, words(32, 0), 1).await?;
    show("cold-start", begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

/// Tokens written a second by many answers at once, which have the first tokens of their prompts in common.
async fn many(file: &Path, threads: usize, streams: usize, prefix: usize, own: usize, decode: usize) -> Result<()> {
    let before = peak_mb();
    let config = LocalConfig::default().threads(threads).concurrency(streams);
    let model = LocalModel::load("bench", file, &config)?;
    let begun = Instant::now();
    let prompt = |run: usize| [words(prefix, 0), words(own, run + 1)].concat();
    let all = join_all((0..streams).map(|run| write(&model, prompt(run), decode))).await;
    let whole = begun.elapsed().as_secs_f64();
    let mut written = 0;
    for one in all {
        written += one?.2;
    }
    show("aggregate", written as f64 / whole);
    show("seconds", whole);
    show("memory-many", peak_mb() - before);
    Ok(())
}

/// Seconds that each token after the first takes of `streams` answers in `format` at once.
async fn each_token(model: &LocalModel, format: &ResponseFormat, streams: usize, decode: usize) -> Result<f64> {
    let request = ChatRequest {
        response_format: format.clone(),
        sampling: Sampling { temperature: Some(0.0), max_tokens: Some(decode as u32), ..Sampling::default() },
        ..ChatRequest::user("List twenty people who made discoveries, as JSON with name, year and fields.")
    };
    let one = || async {
        let mut stream = model.chat(&Context::new(), request.clone()).await?;
        let mut first = None;
        while let Some(delta) = stream.next().await {
            match delta? {
                Delta::Done { usage, .. } => {
                    let since = first.map_or(0.0, |first: Instant| first.elapsed().as_secs_f64());
                    return Ok::<_, Error>(since / (usage.output_tokens.max(2) - 1) as f64);
                }
                _ => {
                    first.get_or_insert_with(Instant::now);
                }
            }
        }
        Err(Error::unexpected("an answer without an end"))
    };
    let all = join_all((0..streams).map(|_| one())).await;
    let all = all.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(all.iter().sum::<f64>() / streams as f64)
}

/// What a schema adds to the time of a token, and what the first answer with one takes longer.
async fn schema(file: &Path, threads: usize, streams: usize, decode: usize) -> Result<()> {
    let model = LocalModel::load("bench", file, &LocalConfig::default().threads(threads).concurrency(streams))?;
    let format = ResponseFormat::JsonSchema { name: "people".into(), schema: people() };
    each_token(&model, &ResponseFormat::Text, 1, 2).await?;
    let begun = Instant::now();
    each_token(&model, &format, 1, 1).await?;
    show("schema-first", begun.elapsed().as_secs_f64() * 1e3);
    let (mut without, mut with) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        without = without.min(each_token(&model, &ResponseFormat::Text, streams, decode).await?);
        with = with.min(each_token(&model, &format, streams, decode).await?);
    }
    show("token-without", without * 1e3);
    show("token-with", with * 1e3);
    show("schema-overhead", with / without - 1.0);
    Ok(())
}

/// Long enough that no answer ends before its tokens are used up.
fn people() -> Value {
    json!({"type": "array", "minItems": 40, "items": {
        "type": "object", "additionalProperties": false, "required": ["name", "year", "fields"],
        "properties": {
            "name": {"type": "string", "minLength": 3, "maxLength": 40},
            "year": {"type": "integer", "minimum": 1000, "maximum": 2000},
            "fields": {"type": "array", "minItems": 1, "maxItems": 3,
                "items": {"enum": ["physics", "chemistry", "medicine", "mathematics"]}},
        },
    }})
}

/// Answers to a file of schemas: how many came to an end, and how many of those fit.
async fn keep_to(file: &Path, threads: usize, schemas: &Path) -> Result<()> {
    let model = LocalModel::load("bench", file, &LocalConfig::default().threads(threads))?;
    let schemas = read_json(schemas)?;
    let answers = schemas.as_array().into_iter().flatten().enumerate().map(|(at, schema)| {
        let format = ResponseFormat::JsonSchema { name: "any".into(), schema: schema.clone() };
        let sampling = Sampling { seed: Some(at as u64), max_tokens: Some(160), ..Sampling::default() };
        let prompt = "Write a JSON value.";
        let request = ChatRequest { response_format: format, sampling, ..ChatRequest::user(prompt) };
        let model = &model;
        async move { collect(model.chat(&Context::new(), request).await?).await }
    });
    let answers = join_all(answers).await;
    let (mut ended, mut fit) = (0, 0);
    for (schema, answer) in schemas.as_array().into_iter().flatten().zip(answers) {
        let answer = answer?;
        if answer.finish_reason == FinishReason::Stop {
            ended += 1;
            let fits =
                serde_json::from_str(&answer.text).is_ok_and(|value: Value| jsonschema::is_valid(schema, &value));
            fit += usize::from(fits);
        }
    }
    show("schemas-ended", f64::from(ended));
    show("schemas-fit", fit as f64);
    Ok(())
}

/// Requests of all lengths and priorities, many of them given up at all moments, on a model that lacks memory for them:
/// how many had another end than they should, or left something behind.
async fn soak(file: &Path, threads: usize, requests: usize) -> Result<()> {
    /// In flight, and written at once.
    const AT_ONCE: usize = 200;
    const WRITTEN: usize = 16;
    let config = LocalConfig::default().threads(threads).concurrency(WRITTEN).memory_bytes(24 << 20);
    let model = LocalModel::load("bench", file, &config)?;
    let begun = Instant::now();
    let jobs = (0..requests).map(|at| one_of_many(&model, at));
    let mut all = stream::iter(jobs).buffer_unordered(AT_ONCE);
    let (mut ended, mut lost) = (0, 0);
    loop {
        match tokio::time::timeout(Duration::from_mins(2), all.next()).await {
            Ok(Some(well)) => {
                ended += 1;
                lost += usize::from(!well);
            }
            Ok(None) => break,
            Err(_) => {
                lost += requests - ended;
                break;
            }
        }
    }
    drop(all);
    let mut statistics = model.local_statistics().unwrap_or_default();
    for _ in 0..1000 {
        if (statistics.waiting, statistics.running) == (0, 0) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        statistics = model.local_statistics().unwrap_or_default();
    }
    let left = statistics.waiting + statistics.running;
    let leaked = statistics.memory_bytes.abs_diff(statistics.kept_bytes);
    show("soak-lost", (lost + left) as f64);
    show("soak-leaked-bytes", leaked as f64);
    show("soak-preempted", statistics.preempted as f64);
    show("soak-seconds", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Whether request number `at` ends as it should.
async fn one_of_many(model: &LocalModel, at: usize) -> bool {
    // Numbers that look random and are the same in every run.
    let random = |salt: usize, most: usize| {
        let mixed = (at * 31 + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 33) % most
    };
    let priority = [Priority::Interactive, Priority::Normal, Priority::Background][random(1, 3)];
    let mut cx = Context::new().priority(priority);
    let fate = random(2, 5);
    if fate == 0 {
        cx = cx.within(Duration::from_millis(random(3, 3000) as u64));
    }
    let prompt = [words(random(4, 3) * 32, 0), words(1 + random(5, 16), at)].concat();
    let sampling = Sampling { max_tokens: Some(1 + random(6, 8) as u32), seed: Some(at as u64), ..Sampling::default() };
    let mut stream = match model.complete(&cx, prompt, &sampling) {
        Ok(stream) => stream,
        Err(error) => return fate == 0 && error.kind() == ErrorKind::Timeout,
    };
    if fate == 1 {
        return true;
    }
    loop {
        match stream.next().await {
            Some(Ok(Delta::Done { .. })) => return stream.next().await.is_none(),
            Some(Ok(_)) if fate == 2 => cx.cancel.cancel(),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                return matches!((fate, error.kind()), (0, ErrorKind::Timeout) | (2, ErrorKind::Cancelled));
            }
            None => return false,
        }
    }
}

/// Tokens a second of an answer that copies its prompt, with and without guesses.
async fn speculative(file: &Path, threads: usize, decode: usize) -> Result<()> {
    let with = LocalModel::load("bench", file, &LocalConfig::default().threads(threads).speculation(true))?;
    let without = LocalModel::load("bench", file, &LocalConfig::default().threads(threads).speculation(false))?;
    let text =
        "The invoice lists twelve chairs, four tables, two lamps and a red carpet for the hall on the third floor. ";
    let prompt = with.tokenize(&text.repeat(4))?;
    let (mut fast, mut slow) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        slow = slow.min(write(&without, prompt.clone(), decode).await?.1);
        fast = fast.min(write(&with, prompt.clone(), decode).await?.1);
    }
    show("speculative", (decode - 1) as f64 / fast);
    show("plain", (decode - 1) as f64 / slow);
    let statistics = with.local_statistics().unwrap_or_default();
    show("accepted", statistics.tokens_accepted as f64 / statistics.tokens_drafted.max(1) as f64);
    Ok(())
}

fn compare_said(file: &Path, said: &Path) -> Result<()> {
    let model = load(file, 2)?;
    let (mut furthest, mut sum, mut count, mut within, mut splits) = (0.0_f64, 0.0, 0, 0, 0);
    for one in read_json(said)?.as_array().into_iter().flatten() {
        let token = |value: &Value| value.as_u64().unwrap_or(0) as u32;
        let prompt: Vec<_> = one["prompt"].as_array().into_iter().flatten().map(token).collect();
        let steps: Vec<_> = one["steps"].as_array().into_iter().flatten().collect();
        let mut tokens = prompt.clone();
        tokens.extend(steps.iter().map(|step| step[0][0].as_f64().unwrap_or(0.0) as u32));
        let ours = model.read_logprobs(&tokens, 200)?;
        for (step, ours) in steps.iter().zip(&ours[prompt.len() - 1..]) {
            splits += usize::from(u64::from(ours.top[0].0) != step[0][0].as_f64().unwrap_or(0.0) as u64);
            for theirs in step.as_array().into_iter().flatten() {
                let (token, logprob) = (theirs[0].as_f64().unwrap_or(0.0) as u32, theirs[1].as_f64().unwrap_or(0.0));
                let found =
                    ours.top.iter().find(|(found, _)| *found == token).map_or(-99.0, |found| f64::from(found.1));
                let distance = (found - logprob).abs();
                furthest = furthest.max(distance);
                sum += distance;
                count += 1;
                within += usize::from(distance <= 0.15);
            }
        }
    }
    show("logprob-difference", furthest);
    show("logprob-difference-mean", sum / f64::from(count));
    show("logprob-within", within as f64 / f64::from(count));
    show("greedy-splits", splits as f64);
    Ok(())
}

fn compare_read(file: &Path, read: &Path) -> Result<()> {
    let model = load(file, 2)?;
    let theirs = read_json(read)?;
    let tokens: Vec<_> =
        theirs["tokens"].as_array().into_iter().flatten().map(|token| token.as_u64().unwrap_or(0) as u32).collect();
    let ours = model.read_logprobs(&tokens, 1)?;
    let mean = |sum: f64| (-sum / ours.len() as f64).exp();
    let our = mean(ours.iter().map(|token| f64::from(token.logprob)).sum());
    let their = mean(theirs["logprobs"].as_array().into_iter().flatten().filter_map(Value::as_f64).sum());
    show("perplexity", our);
    show("perplexity-theirs", their);
    show("perplexity-difference", (our / their - 1.0).abs());
    Ok(())
}

fn compare_tokens(file: &Path, texts: &Path, tokens: &Path) -> Result<()> {
    let model = load(file, 1)?;
    let (texts, tokens) = (read_json(texts)?, read_json(tokens)?);
    let pairs: Vec<_> = texts.as_array().into_iter().flatten().zip(tokens.as_array().into_iter().flatten()).collect();
    let mut equal = 0;
    for (text, tokens) in &pairs {
        equal += usize::from(json!(model.tokenize(text.as_str().unwrap_or_default())?) == **tokens);
    }
    show("tokenizer-equal", equal as f64 / pairs.len() as f64);
    Ok(())
}
