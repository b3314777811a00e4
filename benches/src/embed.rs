//! The local embedder, beside `peers_embed.py`, which has the same commands.
#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::{fs, path::Path, process::exit, time::Instant};

use serde_json::json;
use triune::{
    Context, Error, Result,
    model::{
        Embedder, Precision,
        local::{LocalEmbedder, LocalEmbedderConfig},
    },
};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["speed", folder, precision, texts] => speed(&load(folder, precision)?, &read(texts.as_ref())?).await,
        ["vectors", folder, precision, texts, out] => {
            let found = load(folder, precision)?.embed(&Context::new(), read(texts.as_ref())?).await?;
            let vectors: Vec<_> = found.into_iter().map(|found| found.vector).collect();
            fs::write(out, json!(vectors).to_string()).map_err(|e| Error::invalid("no place for vectors").caused_by(e))
        }
        ["first", folder, precision] => {
            load(folder, precision)?.embed(&Context::new(), vec!["hello".into()]).await?;
            show("memory", peak_mb());
            Ok(())
        }
        _ => {
            println!("speed FOLDER f32|int8 TEXTS | vectors FOLDER f32|int8 TEXTS OUT | first FOLDER f32|int8");
            exit(2)
        }
    }
}

fn show(figure: &str, value: f64) {
    println!("{}", json!({ "figure": figure, "value": value }));
}

fn load(folder: &str, precision: &str) -> Result<LocalEmbedder> {
    let precision = if precision == "int8" { Precision::Int8 } else { Precision::F32 };
    let config = LocalEmbedderConfig::default().precision(precision);
    LocalEmbedder::load_with("bench", folder.as_ref(), &config)
}

fn read(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).map_err(|e| Error::not_found("the texts of the bench").caused_by(e))?;
    serde_json::from_str(&text).map_err(|e| Error::invalid("the texts are a list of JSON").caused_by(e))
}

/// The highest resident memory so far, in MiB.
fn peak_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Texts a second in one call, and milliseconds for one alone, each the best of three.
async fn speed(embedder: &LocalEmbedder, texts: &[String]) -> Result<()> {
    let cx = Context::new();
    embedder.embed(&cx, texts.iter().take(8).cloned().collect()).await?;
    let (mut all, mut one) = (f64::MAX, f64::MAX);
    for _ in 0..3 {
        let begun = Instant::now();
        embedder.embed(&cx, texts.to_vec()).await?;
        all = all.min(begun.elapsed().as_secs_f64());
        for text in texts.iter().take(5) {
            let begun = Instant::now();
            embedder.embed(&cx, vec![text.clone()]).await?;
            one = one.min(begun.elapsed().as_secs_f64());
        }
    }
    show("rate", texts.len() as f64 / all);
    show("alone", one * 1e3);
    Ok(())
}
