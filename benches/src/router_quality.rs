//! What the learned router is worth on recorded answers. `router_quality.py` prepares the records and prints the figures.
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{collections::BTreeMap, fs, path::Path, process::exit, thread};

use serde_json::json;
use triune::{
    Context, Error, Result,
    model::{
        Embedder, Precision,
        local::{LocalEmbedder, LocalEmbedderConfig},
    },
    router::learn::{
        Answer, Choice, Foretold, Judged, PairReport, QualityHead, Record, Verifier, calibrate, evaluate, evaluate_pair,
    },
};

const CHEAP: &str = "mixtral-8x7b";
const STRONG: &str = "gpt-4";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["embed", model, texts, out] => embed(model.as_ref(), texts.as_ref(), out.as_ref()).await,
        ["measure", folder, seeds] => {
            let seeds = seeds.parse().map_err(|e| Error::invalid("how often is a number").caused_by(e))?;
            measure(folder.as_ref(), seeds)
        }
        _ => {
            println!("embed MODEL TEXTS OUT | measure FOLDER SEEDS");
            exit(2)
        }
    }
}

/// Writes the vectors of the JSON list `texts` to `out`, four bytes a number.
async fn embed(model: &Path, texts: &Path, out: &Path) -> Result<()> {
    let config = LocalEmbedderConfig::default().precision(Precision::F32);
    let embedder = LocalEmbedder::load_with("bench", model, &config)?;
    let texts: Vec<String> =
        serde_json::from_str(&read(texts)?).map_err(|e| Error::invalid("no texts").caused_by(e))?;
    let mut bytes = Vec::new();
    for some in texts.chunks(256) {
        for found in embedder.embed(&Context::new(), some.to_vec()).await? {
            bytes.extend(found.vector.iter().flat_map(|part| part.to_le_bytes()));
        }
    }
    fs::write(out, bytes).map_err(|e| Error::invalid("no place for vectors").caused_by(e))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path)
        .map_err(|e| Error::not_found("the data of the bench").with("path", path.display()).caused_by(e))
}

/// The records of `name`, a JSON line each, and their vectors.
fn records(folder: &Path, name: &str) -> Result<Vec<Record>> {
    let text = read(&folder.join(format!("{name}.jsonl")))?;
    let bad = |e| Error::invalid("not a record").caused_by(e);
    let mut records: Vec<Record> =
        text.lines().map(|line| serde_json::from_str(line).map_err(bad)).collect::<Result<_>>()?;
    let vectors =
        fs::read(folder.join(format!("{name}.f32"))).map_err(|e| Error::not_found("no vectors").caused_by(e))?;
    let (numbers, _) = vectors.as_chunks::<4>();
    let width = numbers.len() / records.len().max(1);
    for (record, vector) in records.iter_mut().zip(numbers.chunks_exact(width)) {
        record.embedding = Some(vector.iter().map(|part| f32::from_le_bytes(*part)).collect());
    }
    Ok(records)
}

fn measure(folder: &Path, seeds: u64) -> Result<()> {
    let programs: [fn(&Path, u64) -> Result<()>; 3] = [gsm8k, mmlu, nine_models];
    thread::scope(|scope| {
        let running: Vec<_> = programs.map(|program| scope.spawn(move || program(folder, seeds))).into_iter().collect();
        running.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| Err(Error::invalid("a program panicked"))))
    })
}

fn show(figure: &str, value: f64, n: usize, note: &str) {
    println!("{}", json!({ "figure": figure, "value": value, "n": n, "note": note }));
}

/// Numbers that look like chance, the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut all: Vec<_> = (0..count).collect();
        (1..count).rev().for_each(|i| all.swap(i, (self.next() % (i as u64 + 1)) as usize));
        all
    }
}

/// Runs `score` on each of `folds` parts, learned from the others; its results by record.
fn cross_validated<T: Clone>(
    count: usize,
    folds: usize,
    seed: u64,
    mut score: impl FnMut(&[usize], &[usize]) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    let order = Chance(seed).shuffled(count);
    let mut found = vec![None; count];
    for fold in 0..folds {
        let part = |within: bool| {
            order.iter().enumerate().filter(move |(i, _)| (i % folds == fold) == within).map(|(_, r)| *r)
        };
        let (learned, asked): (Vec<_>, Vec<_>) = (part(false).collect(), part(true).collect());
        for (record, value) in asked.iter().zip(score(&learned, &asked)?) {
            found[*record] = Some(value);
        }
    }
    Ok(found.into_iter().flatten().collect())
}

fn quality(record: &Record, model: &str) -> f64 {
    record.outcomes.get(model).map_or(0.0, |outcome| outcome.quality)
}

fn choice(record: &Record, score: f64) -> Choice {
    Choice { score, cheap: quality(record, CHEAP), strong: quality(record, STRONG) }
}

/// How much better the stronger model is expected to be.
fn uplift(head: &QualityHead, record: &Record, tag: Option<&str>) -> f64 {
    let found = head.predict(&record.prompt, tag, record.embedding.as_deref(), [STRONG, CHEAP]);
    let of = |at: usize| found.get(at).copied().flatten().map_or(0.0, |prediction| prediction.quality);
    of(0) - of(1)
}

fn pick<T: Clone>(all: &[T], which: &[usize]) -> Vec<T> {
    which.iter().map(|i| all[*i].clone()).collect()
}

fn judged(record: &Record) -> Judged<'_> {
    let text = record.outcomes.get(CHEAP).and_then(|outcome| outcome.answer.as_deref()).unwrap_or_default();
    Judged {
        prompt: &record.prompt,
        answer: Answer { text, ..Answer::default() },
        quality: quality(record, CHEAP),
        stronger: Some(quality(record, STRONG)),
    }
}

/// The middle of 95 % of the values of `of` over samples of `choices` with repetition.
fn interval(choices: &[Choice], of: fn(&PairReport) -> f64) -> (f64, f64) {
    let mut chance = Chance(7);
    let mut values: Vec<_> = (0..500)
        .filter_map(|_| {
            let again: Vec<_> =
                (0..choices.len()).map(|_| choices[(chance.next() % choices.len() as u64) as usize]).collect();
            evaluate_pair(&again).as_ref().map(of)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 40], values[values.len() - 1 - values.len() / 40])
}

/// The mean of a measure over several runs.
fn mean(reports: &[PairReport], of: fn(&PairReport) -> f64) -> f64 {
    reports.iter().map(of).sum::<f64>() / reports.len() as f64
}

/// A figure of a comparison of two models.
type Measure = (&'static str, fn(&PairReport) -> f64);

fn gsm8k(folder: &Path, seeds: u64) -> Result<()> {
    let records = records(folder, "gsm8k")?;
    let count = records.len();
    let (mut cascade, mut prompt) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let doubts = cross_validated(count, 10, seed, |learned, asked| {
            let known: Vec<_> = learned.iter().map(|i| judged(&records[*i])).collect();
            let verifier = Verifier::train(&known)?;
            let doubt = |i: &usize| {
                let asked = judged(&records[*i]);
                choice(&records[*i], verifier.doubt(asked.prompt, &asked.answer).value)
            };
            Ok(asked.iter().map(doubt).collect())
        })?;
        cascade.push(doubts);
        prompt.push(cross_validated(count, 10, seed, |learned, asked| {
            let head = QualityHead::train(&pick(&records, learned))?;
            Ok(asked.iter().map(|i| choice(&records[*i], uplift(&head, &records[*i], None))).collect())
        })?);
    }
    let folds = format!("{seeds} x 10 folds, {} labels each, decontaminated", count * 9 / 10);
    let reports: Vec<_> = cascade.iter().filter_map(|run| evaluate_pair(run)).collect();
    let measures: [Measure; 3] = [("apgr", |r| r.apgr), ("cpt50", |r| r.cpt50), ("cpt80", |r| r.cpt80)];
    for (name, of) in measures {
        let (low, high) = interval(&cascade[0], of);
        show(
            &format!("gsm8k-cascade-{name}"),
            mean(&reports, of),
            count,
            &format!("{folds}; 95% [{low:.3}, {high:.3}]"),
        );
    }
    let reports: Vec<_> = prompt.iter().filter_map(|run| evaluate_pair(run)).collect();
    let (low, high) = interval(&prompt[0], |r| r.apgr);
    let more = format!("CPT50 {:.1}, CPT80 {:.1}", mean(&reports, |r| r.cpt50), mean(&reports, |r| r.cpt80));
    show(
        "gsm8k-prompt-apgr",
        mean(&reports, |r| r.apgr),
        count,
        &format!("{folds}; 95% [{low:.3}, {high:.3}]; {more}"),
    );
    retention(&cascade[0])
}

/// Calibrates on 400 of `scored`, which are scored by verifiers that did not see them, and looks at the others.
fn retention(scored: &[Choice]) -> Result<()> {
    const SPLITS: u64 = 200;
    let (mut broken, mut share, mut kept) = (0u32, 0.0, 0.0);
    for split in 0..SPLITS {
        let order = Chance(split).shuffled(scored.len());
        let (given, others) = order.split_at(400.min(order.len() / 2));
        let found = calibrate(&pick(scored, given), 0.9, 0.9)?;
        let others = pick(scored, others);
        let asked = |c: &Choice| c.score >= found.threshold;
        let got: f64 = others.iter().map(|c| if asked(c) { c.strong } else { c.cheap }).sum();
        let retained = got / others.iter().map(|c| c.strong).sum::<f64>();
        broken += u32::from(retained < 0.9);
        kept += retained / SPLITS as f64;
        share += others.iter().filter(|c| asked(c)).count() as f64 / others.len() as f64 / SPLITS as f64;
    }
    let note = format!(
        "{:.1}% of calls to the stronger model, {:.1}% of its quality kept on the rest",
        100.0 * share,
        100.0 * kept
    );
    show("retention-violations", 100.0 * f64::from(broken) / SPLITS as f64, SPLITS as usize, &note);
    show("retention-strong-calls", 100.0 * share, SPLITS as usize, "at a stated 90% retention and confidence .9");
    Ok(())
}

fn mmlu(folder: &Path, seeds: u64) -> Result<()> {
    const LABELS: usize = 1500;
    let records = records(folder, "mmlu")?;
    let (mut prompt, mut tag) = (Vec::new(), Vec::new());
    for seed in 0..seeds {
        let order = Chance(seed).shuffled(records.len());
        let (given, asked) = order.split_at(LABELS.min(order.len() / 2));
        let head = QualityHead::train(&pick(&records, given))?;
        let scored = |tagged: bool| -> Vec<_> {
            let asked = asked.iter().map(|i| &records[*i]);
            asked.map(|r| choice(r, uplift(&head, r, r.tag.as_deref().filter(|_| tagged)))).collect()
        };
        prompt.push(scored(false));
        tag.push(scored(true));
    }
    for (figure, runs) in [("mmlu-prompt-apgr", &prompt), ("mmlu-tag-apgr", &tag)] {
        let reports: Vec<_> = runs.iter().filter_map(|run| evaluate_pair(run)).collect();
        let (low, high) = interval(&runs[0], |r| r.apgr);
        let more = format!("CPT50 {:.1}, CPT80 {:.1}", mean(&reports, |r| r.cpt50), mean(&reports, |r| r.cpt80));
        let note = format!(
            "{seeds} draws of {LABELS} labels, the rest asked, decontaminated; 95% [{low:.3}, {high:.3}]; {more}"
        );
        show(figure, mean(&reports, |r| r.apgr), runs[0].len(), &note);
    }
    Ok(())
}

fn nine_models(folder: &Path, seeds: u64) -> Result<()> {
    let records = records(folder, "nine")?;
    let models: Vec<String> = records.first().map(|r| r.outcomes.keys().cloned().collect()).unwrap_or_default();
    let mut found: BTreeMap<bool, Vec<f64>> = BTreeMap::new();
    let mut most = BTreeMap::new();
    // A run takes longer than all others together: fewer of them.
    let runs = seeds.div_ceil(4);
    for seed in 0..runs {
        let both = cross_validated(records.len(), 5, seed, |learned, asked| {
            let head = QualityHead::train(&pick(&records, learned))?;
            let foretold = |record: &Record, tag: Option<&str>| {
                let expected =
                    head.predict(&record.prompt, tag, record.embedding.as_deref(), models.iter().map(String::as_str));
                let of =
                    |get: &dyn Fn(&triune::router::learn::Outcome) -> f64| record.outcomes.values().map(get).collect();
                Foretold {
                    expected: expected.into_iter().map(|p| p.map_or(0.0, |p| p.quality)).collect(),
                    quality: of(&|o| o.quality),
                    cost: of(&|o| o.cost.0 as f64),
                }
            };
            let both = |i: &usize| (foretold(&records[*i], None), foretold(&records[*i], records[*i].tag.as_deref()));
            Ok(asked.iter().map(both).collect())
        })?;
        let (plain, tagged): (Vec<_>, Vec<_>) = both.into_iter().unzip();
        for (with, prompts) in [(false, plain), (true, tagged)] {
            let Some(report) = evaluate(&prompts, 1.0) else { continue };
            found.entry(with).or_default().push(100.0 * report.saving.unwrap_or(0.0));
            let best = report.tradeoffs.iter().map(|point| point.quality).fold(0.0, f64::max);
            most.insert(with, (report.best_quality, best));
        }
    }
    for (with, savings) in found {
        let (single, best) = most.get(&with).copied().unwrap_or_default();
        let figure = if with { "nine-models-saving-tag" } else { "nine-models-saving" };
        let (least, greatest) =
            (savings.iter().copied().fold(100.0, f64::min), savings.iter().copied().fold(0.0, f64::max));
        let note = format!(
            "percent of the best single model's price at its quality ({:.1}%); {runs} x 5 folds, {} labels a model; runs {least:.1} to {greatest:.1}; at most {:.1}% right",
            100.0 * single,
            records.len() * 4 / 5,
            100.0 * best
        );
        show(figure, savings.iter().sum::<f64>() / savings.len() as f64, records.len(), &note);
    }
    Ok(())
}
