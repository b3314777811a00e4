//! Entities by rules beside those that GPT-3.5 found in the same passages (`OpenIE` of `MuSiQue`, as published with
//! `HippoRAG`).
//!
//! An entity counts as found when, in small letters and without marks, the words of one side are among the words of one
//! of the other. Recall is over theirs, precision over ours; dates and amounts are entities on both sides.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;
use triune::{Error, Result, recall::measure};

use crate::{read_json, show};

/// Passages that the rules were made on; the figures are of the others.
const TUNED_ON: usize = 300;

type Words = BTreeSet<String>;

pub(super) fn measure(folder: &Path) -> Result<()> {
    let passages = read_json(&folder.join("openie_musique_first_half.json"))?;
    let passages = passages.as_array().ok_or_else(|| Error::invalid("a list of passages was expected"))?;
    let (tuned, held_out) = passages.split_at(TUNED_ON.min(passages.len()));
    let (recall, precision) = compare(tuned);
    let note = format!("passages {TUNED_ON} to {}, held out; {recall:.4} on those tuned on", passages.len());
    let held = compare(held_out);
    show("entity-recall", held.0, held_out.len(), &note);
    let note = format!("passages {TUNED_ON} to {}, held out; {precision:.4} on those tuned on", passages.len());
    show("entity-precision", held.1, held_out.len(), &note);
    Ok(())
}

/// Recall and precision over the entities of all `passages`.
fn compare(passages: &[Value]) -> (f64, f64) {
    let (mut found, mut theirs_all, mut right, mut ours_all) = (0, 0, 0, 0);
    for passage in passages {
        let text = passage["passage"].as_str().unwrap_or_default();
        let theirs: BTreeSet<Words> = passage["extracted_entities"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(words)
            .collect();
        let ours = measure::entities(text, None);
        let ours: BTreeSet<Words> = ours.into_iter().map(|(_, _, bytes)| words(&text[bytes])).collect();
        found += theirs.iter().filter(|theirs| !theirs.is_empty() && meets(theirs, &ours)).count();
        theirs_all += theirs.iter().filter(|theirs| !theirs.is_empty()).count();
        right += ours.iter().filter(|ours| !ours.is_empty() && meets(ours, &theirs)).count();
        ours_all += ours.iter().filter(|ours| !ours.is_empty()).count();
    }
    (found as f64 / theirs_all as f64, right as f64 / ours_all as f64)
}

fn words(name: &str) -> Words {
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

fn meets(one: &Words, others: &BTreeSet<Words>) -> bool {
    others.iter().any(|other| !other.is_empty() && (other.is_subset(one) || one.is_subset(other)))
}
