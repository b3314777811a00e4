//! How good recall is on data sets whose answers are known; a file of this folder each.
//!
//! Constants are tuned on one part of a set; the figures are of the part that was held out, and say so.
#![expect(clippy::print_stdout, reason = "figures are printed")]

mod entities;
mod locomo;
mod memory;
mod passages;

use std::{
    fs,
    path::Path,
    process::{Command, exit},
};

use serde_json::{Value, json};
use triune::{Error, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["entities", folder] => entities::measure(folder.as_ref()),
        ["locomo", data, model, cache] => locomo::measure(data.as_ref(), model.as_ref(), cache.as_ref(), false).await,
        ["locomo-tuning", data, model, cache] => {
            locomo::measure(data.as_ref(), model.as_ref(), cache.as_ref(), true).await
        }
        ["scifact", data, model, cache] => passages::scifact(data.as_ref(), model.as_ref(), cache.as_ref()).await,
        ["hotpotqa", data, model, cache] => passages::hotpotqa(data.as_ref(), model.as_ref(), cache.as_ref()).await,
        _ => {
            println!("entities FOLDER | locomo|locomo-tuning|scifact|hotpotqa DATA MODEL CACHE");
            exit(2)
        }
    }
}

/// Prints a figure of `n` questions, texts or the like.
fn show(figure: &str, value: f64, n: usize, note: &str) {
    println!("{}", json!({ "figure": figure, "value": value, "n": n, "note": note }));
}

/// A file of the data; one whose name ends with `.gz` unpacked.
fn read_text(path: &Path) -> Result<String> {
    let failed = |e: std::io::Error| {
        Error::not_found("the data of the bench is not there; set TRIUNE_DATA")
            .with("path", path.display())
            .caused_by(e)
    };
    if path.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(path).map_err(failed);
    }
    let output = Command::new("gzip").arg("-dc").arg(path).output().map_err(failed)?;
    if !output.status.success() {
        return Err(Error::not_found("gzip does not unpack the data of the bench").with("path", path.display()));
    }
    String::from_utf8(output.stdout).map_err(|e| Error::invalid("not UTF-8").with("path", path.display()).caused_by(e))
}

/// A file of one JSON a line.
fn read_lines(path: &Path) -> Result<Vec<Value>> {
    let text = read_text(path)?;
    let lines = text.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>();
    lines.map_err(|e| Error::invalid("not JSON").with("path", path.display()).caused_by(e))
}

/// A JSON file of the data.
fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| Error::invalid("not JSON").with("path", path.display()).caused_by(e))
}
