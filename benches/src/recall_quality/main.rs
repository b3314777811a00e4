//! How good recall is on data sets whose answers are known; a file of this folder each.
//!
//! Constants are tuned on one part of a set; the figures are of the part that was held out, and say so.
#![expect(clippy::print_stdout, reason = "figures are printed")]

mod entities;

use std::{fs, path::Path, process::exit};

use serde_json::{Value, json};
use triune::{Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["entities", folder] => entities::measure(folder.as_ref()),
        _ => {
            println!("entities FOLDER");
            exit(2)
        }
    }
}

/// Prints a figure of `n` questions, texts or the like.
fn show(figure: &str, value: f64, n: usize, note: &str) {
    println!("{}", json!({ "figure": figure, "value": value, "n": n, "note": note }));
}

/// A JSON file of the data.
fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path)
        .map_err(|e| Error::not_found("the data of the bench").with("path", path.display()).caused_by(e))?;
    serde_json::from_str(&text).map_err(|e| Error::invalid("not JSON").with("path", path.display()).caused_by(e))
}
