//! Sets of passages and questions in the form of BEIR: SciFact (Wadden et al. 2020) and 100 questions of HotpotQA (Yang et
//! al. 2018, as in HippoRAG).

use std::{collections::HashMap, path::Path};

use serde_json::Value;
use triune::{
    Error, Result,
    recall::{RecallConfig, RecallQuery, StoreRequest},
};

use super::{
    locomo::{Mean, recalled},
    memory::Memory,
    read_lines, show,
};

struct Set {
    passages: Vec<StoreRequest>,
    /// Text, and the passages that answer it.
    questions: Vec<(String, Vec<String>)>,
}

fn read(data: &Path) -> Result<Set> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let passages = read_lines(&data.join("corpus.jsonl.gz"))?.into_iter().map(|row| {
        let mut item =
            StoreRequest::new(format!("{}. {}", text(&row, "title").trim_end_matches('.'), text(&row, "text")));
        item.id = Some(text(&row, "_id"));
        item
    });
    let passages = passages.collect();
    let mut answers: HashMap<String, Vec<String>> = HashMap::new();
    for line in super::read_text(&data.join("qrels.tsv"))?.lines().skip(1) {
        if let [question, passage, score] = line.split('\t').collect::<Vec<_>>()[..]
            && score.trim() != "0"
        {
            answers.entry(question.to_owned()).or_default().push(passage.to_owned());
        }
    }
    let questions = read_lines(&data.join("queries.jsonl"))?.into_iter();
    let questions = questions.filter_map(|row| Some((text(&row, "text"), answers.remove(&text(&row, "_id"))?)));
    let questions = questions.collect();
    Ok(Set { passages, questions })
}

/// `ndcg10` and `r5` of the first `tuning` questions, or of all.
async fn measured(memory: &Memory, questions: &[(String, Vec<String>)]) -> Result<(Mean, Mean)> {
    let (mut ndcg, mut r5) = (Mean::default(), Mean::default());
    for (question, answers) in questions {
        let found = memory.ask(RecallQuery::new(question, 10)).await?;
        let found: Vec<String> = found.into_iter().map(|hit| hit.item.id).collect();
        ndcg.add(gain(&found, answers) / gain(answers, answers).max(f64::MIN_POSITIVE));
        r5.add(recalled(answers, &found, 5));
    }
    Ok((ndcg, r5))
}

/// Discounted cumulative gain of the first ten.
fn gain(found: &[String], answers: &[String]) -> f64 {
    let found = found.iter().take(10).enumerate();
    found.filter(|(_, id)| answers.contains(id)).map(|(rank, _)| 1.0 / (rank as f64 + 2.0).log2()).sum()
}

pub(super) async fn scifact(data: &Path, model: &Path, cache: &Path) -> Result<()> {
    let set = read(data)?;
    for (figure, model) in [("scifact-ndcg10", Some(model)), ("scifact-bm25-ndcg10", None)] {
        let memory = Memory::open(model, cache, RecallConfig::default())?;
        memory.store(set.passages.clone()).await?;
        let (ndcg, _) = measured(&memory, &set.questions).await?;
        show(figure, ndcg.get(), ndcg.n, "all 300 claims of the test set");
    }
    Ok(())
}

/// Questions of HotpotQA on which constants were tuned.
const TUNED: usize = 40;

pub(super) async fn hotpotqa(data: &Path, model: &Path, cache: &Path) -> Result<()> {
    let set = read(data)?;
    let memory = Memory::open(Some(model), cache, RecallConfig::default())?;
    memory.store(set.passages).await?;
    let (tuning, held_out) =
        set.questions.split_at_checked(TUNED).ok_or_else(|| Error::invalid("HotpotQA has 100 questions"))?;
    for (questions, name) in [(&set.questions[..], "all"), (held_out, "held out"), (tuning, "tuning")] {
        let (ndcg, r5) = measured(&memory, questions).await?;
        show("hotpotqa-r5", r5.get(), r5.n, name);
        show("hotpotqa-ndcg10", ndcg.get(), ndcg.n, name);
    }
    Ok(())
}
