//! `triune bench-model`: how fast a chat model is on this machine.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use futures_util::{StreamExt, future::join_all};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::print::say;
use crate::{
    context::Context,
    error::{Error, Result},
    model::{
        ChatModel, Delta, ModelKind, Sampling,
        local::{LocalConfig, LocalModel},
        source::locate,
    },
    runtime::blocking,
};

/// Tokens of the long prompt, where the context has room for it.
const LONG: usize = 512;
/// Tokens of the prompt before an answer whose writing is measured.
const SHORT: usize = 32;
/// Runs of which the best counts: others at work on the machine only make a run slower.
const RUNS: usize = 3;
/// Answers written at once.
const STREAMS: [usize; 2] = [8, 32];
/// What is read; it is cut where it is long enough.
const TEXT: &str = "The ship left the harbour at dawn, and nobody on the quay knew how long it would be gone. ";

const BAR: &str = "{spinner} {msg:40} {bar:24} {pos}/{len} {elapsed:>5}";

#[derive(Debug, Args)]
pub(super) struct BenchModel {
    /// A GGUF file, a folder as transformers saves it, or the name of a chat model that was pulled.
    model: String,
    /// Threads to compute on. Default: one a core.
    #[arg(long)]
    threads: Option<usize>,
    /// Tokens that each answer writes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(2..=4096))]
    tokens: u32,
    /// Prints a line of JSON for each figure as soon as it is known.
    #[arg(long)]
    json: bool,
}

/// Something that was measured.
#[derive(Serialize)]
struct Figure<'a> {
    model: &'a str,
    #[serde(rename = "figure")]
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// What it is of.
    of: String,
    threads: usize,
}

impl BenchModel {
    pub(super) async fn run(self, cx: &Context) -> Result<()> {
        let path = self.path()?;
        let name = path.file_name().map_or_else(|| self.model.clone(), |name| name.to_string_lossy().into_owned());
        let threads = self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        let mut sheet = Sheet { name: &name, threads, json: self.json, figures: Vec::new(), bar: bar() };
        let measured = self.measure(cx, &path, &mut sheet).await;
        sheet.bar.finish_and_clear();
        measured?;
        if self.json { Ok(()) } else { say(&sheet.table()) }
    }

    /// The file: what lies on the disk goes before the names of models.
    fn path(&self) -> Result<PathBuf> {
        let path = Path::new(&self.model);
        if path.exists() { Ok(path.to_owned()) } else { locate(&self.model, ModelKind::Chat) }
    }

    async fn measure(&self, cx: &Context, path: &Path, sheet: &mut Sheet<'_>) -> Result<()> {
        sheet.doing("loading");
        // All answers are written at once; none waits for another to end, or makes way for one.
        let config = LocalConfig::default().threads(sheet.threads).concurrency(STREAMS[1]).memory_bytes(u64::MAX);
        let path = path.to_owned();
        let begun = Instant::now();
        let model = blocking(move || LocalModel::load("bench", &path, &config)).await?;
        sheet.add("load", ms(begun.elapsed()), "ms", "the file is in the cache of the system, or is not")?;

        let context = model.profile().context_length as usize;
        let (short, long) = (SHORT.min(context / 4).max(1), LONG.min(context / 2));
        let count = (self.tokens as usize).min((context - short - 1).max(1));
        let bench = Bench { cx, model: &model };

        sheet.doing("first token");
        let first = bench.time_to_first(bench.prompt(short, 0)?).await?;
        sheet.add("first token", ms(first), "ms", format!("after {short} tokens, the first since loading"))?;

        let mut best = Duration::MAX;
        for run in 0..RUNS {
            sheet.doing("reading a prompt");
            best = best.min(bench.time_to_first(bench.prompt(long, 1 + run)?).await?);
        }
        let of = format!("{long} tokens, the first of the answer included; best of {RUNS}");
        sheet.add("prefill", long as f64 / best.as_secs_f64(), "tokens/s", of)?;

        let mut best = 0.0_f64;
        for run in 0..RUNS {
            sheet.doing("writing an answer");
            best = best.max(bench.rate(1, short, count, 100 + run).await?);
        }
        let of = format!("{count} tokens after {short}; best of {RUNS}");
        sheet.add("decode", best, "tokens/s", of)?;

        for streams in STREAMS {
            sheet.doing(&format!("writing {streams} answers"));
            let rate = bench.rate(streams, short, count, 1000 * streams).await?;
            let of = format!("{streams} answers of {count} tokens at once, each after {short} of its own");
            sheet.add(if streams == STREAMS[0] { "decode of 8" } else { "decode of 32" }, rate, "tokens/s", of)?;
        }

        let held = model.local_statistics().unwrap_or_default();
        sheet.add("weights", mib(held.weight_bytes), "MiB", "as packed for this processor")?;
        sheet.add("remembered", mib(held.memory_bytes), "MiB", "keys and values of the tokens of this bench")?;
        if let Some(peak) = peak_mib() {
            sheet.add("peak", peak, "MiB", "resident memory of the whole process at its highest")?;
        }
        Ok(())
    }
}

/// The figures so far.
struct Sheet<'a> {
    name: &'a str,
    threads: usize,
    json: bool,
    figures: Vec<Figure<'a>>,
    bar: ProgressBar,
}

impl Sheet<'_> {
    fn doing(&self, what: &str) {
        self.bar.set_message(what.to_owned());
        self.bar.inc(1);
    }

    fn add(&mut self, figure: &'static str, value: f64, unit: &'static str, of: impl Into<String>) -> Result<()> {
        // More digits than the machine's noise has tell nothing.
        let value = (value * 10.0).round() / 10.0;
        let figure = Figure { model: self.name, name: figure, value, unit, of: of.into(), threads: self.threads };
        if self.json {
            let line = serde_json::to_string(&figure)
                .map_err(|e| Error::unexpected("a figure has no JSON form").caused_by(e))?;
            self.bar.suspend(|| say(&line))?;
        }
        self.figures.push(figure);
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["FIGURE", "VALUE", "UNIT", "OF"]);
        for Figure { name, value, unit, of, .. } in &self.figures {
            table.add_row([*name, &format!("{value:.1}"), unit, of]);
        }
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        format!("{} on {} threads\n\n{table}", self.name, self.threads)
    }
}

/// On stderr; nothing where that is no terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new((2 + 2 * RUNS + STREAMS.len()) as u64);
    if let Ok(style) = ProgressStyle::with_template(BAR) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A model to be measured.
struct Bench<'a> {
    cx: &'a Context,
    model: &'a LocalModel,
}

impl Bench<'_> {
    /// A prompt of `count` tokens of which no other `run` has the first ones, so that none is remembered.
    fn prompt(&self, count: usize, run: usize) -> Result<Vec<u32>> {
        // A token has a byte at least, but for some that are put before a text.
        let text = format!("{run} {}", TEXT.repeat(count));
        let mut tokens = self.model.tokenize(&text)?;
        tokens.truncate(count);
        Ok(tokens)
    }

    async fn time_to_first(&self, prompt: Vec<u32>) -> Result<Duration> {
        let begun = Instant::now();
        let times = self.write(prompt, 1).await?;
        times.first().map(|first| *first - begun).ok_or_else(nothing)
    }

    /// Tokens written a second by `streams` answers together, from the first token of any to the last of all.
    async fn rate(&self, streams: usize, prompt: usize, count: usize, run: usize) -> Result<f64> {
        let prompts = (0..streams).map(|at| self.prompt(prompt, run + at)).collect::<Result<Vec<_>>>()?;
        let all = join_all(prompts.into_iter().map(|prompt| self.write(prompt, count))).await;
        let times = all.into_iter().collect::<Result<Vec<_>>>()?.concat();
        let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) else { return Err(nothing()) };
        // The first token was written before the time that is measured.
        Ok((times.len() - 1) as f64 / (*last - *first).as_secs_f64().max(f64::MIN_POSITIVE))
    }

    /// Writes `count` tokens after `prompt`, and says when each was there.
    async fn write(&self, prompt: Vec<u32>, count: usize) -> Result<Vec<Instant>> {
        let sampling = Sampling {
            temperature: Some(0.0),
            max_tokens: Some(count as u32),
            // One piece a token, also where a token shows no text.
            logprobs: Some(0),
            // All answers are as long as they may be.
            logit_bias: self.model.end_tokens().map(|token| (token, -100.0)).collect(),
            ..Sampling::default()
        };
        let mut stream = self.model.complete(self.cx, prompt, &sampling)?;
        let mut times = Vec::with_capacity(count);
        while let Some(delta) = stream.next().await {
            if let Delta::Logprob { .. } = delta? {
                times.push(Instant::now());
            }
        }
        Ok(times)
    }
}

fn nothing() -> Error {
    Error::unexpected("the model wrote nothing")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The highest resident memory so far, where the system tells it.
#[cfg(target_os = "linux")]
fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

#[cfg(not(target_os = "linux"))]
fn peak_mib() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(model: &str, json: bool) -> BenchModel {
        BenchModel { model: model.into(), threads: Some(1), tokens: 4, json }
    }

    #[test]
    fn a_wrong_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "no model").unwrap();
        assert_eq!(super::super::run(&[], ["triune", "bench-model", path.to_str().unwrap()]), 3, "it is damaged");
        assert_eq!(super::super::run(&[], ["triune", "bench-model", "no-such-model-of-ours"]), 1);
        assert_eq!(super::super::run(&[], ["triune", "bench-model", "x.gguf", "--tokens", "1"]), 2);
    }

    #[tokio::test]
    async fn every_figure_is_measured() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families/llama3.gguf");
        let mut sheet = Sheet { name: "tiny", threads: 1, json: false, figures: Vec::new(), bar: bar() };
        bench("", false).measure(&Context::new(), &path, &mut sheet).await.unwrap();
        let names: Vec<_> = sheet.figures.iter().map(|figure| figure.name).collect();
        let wanted =
            ["load", "first token", "prefill", "decode", "decode of 8", "decode of 32", "weights", "remembered"];
        assert_eq!(names[..8], wanted);
        // A tiny model takes no tenth of a MiB.
        assert!(sheet.figures[..6].iter().all(|figure| figure.value > 0.0 && figure.value.is_finite()));
        assert!(sheet.table().contains("tokens/s"));
        let cx = Context::new();
        cx.cancel.cancel();
        let stopped = bench("", false).measure(&cx, &path, &mut sheet).await.unwrap_err();
        assert_eq!(stopped.kind(), crate::error::ErrorKind::Cancelled);
    }
}
