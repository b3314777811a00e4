//! LoCoMo (Maharana et al. 2024): is the turn of a long conversation found in which the answer to a question is said?
//!
//! Conversations 0 to 2 are for tuning; figures are of 3 and 4. Evidence is as the authors have it; questions without one
//! that can be resolved are left out. Turns are found in categories 1 to 4, sessions in all.

use std::path::Path;

use serde_json::{Map, Value};
use triune::{
    Error, Result,
    recall::{RecallConfig, RecallQuery, StoreRequest},
};

use super::{memory::Memory, read_json, show};

const HELD_OUT: usize = 3;
/// Sessions of a conversation at most.
const SESSIONS: usize = 60;

pub(super) async fn measure(data: &Path, model: &Path, cache: &Path, tuning: bool) -> Result<()> {
    let all = read_json(&data.join("locomo_0_4.json"))?;
    let all = all.as_array().ok_or_else(|| Error::invalid("LoCoMo is a list of conversations"))?;
    let (part, name) = if tuning { (&all[..HELD_OUT], "tuning") } else { (&all[HELD_OUT..], "held out") };
    let memory = Memory::open(Some(model), cache, RecallConfig::default())?;
    let (mut r5, mut r10, mut session) = (Mean::default(), Mean::default(), Mean::default());
    let mut by_category = std::collections::BTreeMap::<u64, Mean>::new();
    for (number, conversation) in part.iter().enumerate() {
        let namespace = format!("conversation-{number}");
        memory.store(turns(conversation, &namespace)?).await?;
        for question in list(&conversation["qa"]) {
            let evidence = evidence(question);
            if evidence.is_empty() {
                continue;
            }
            let mut query = RecallQuery::new(question["question"].as_str().unwrap_or_default(), 100);
            query.namespace.clone_from(&namespace);
            let found: Vec<String> = memory.ask(query).await?.into_iter().map(|hit| hit.item.id).collect();
            let category = question["category"].as_u64().unwrap_or_default();
            if category < 5 {
                r5.add(recalled(&evidence, &found, 5));
                r10.add(recalled(&evidence, &found, 10));
                by_category.entry(category).or_default().add(recalled(&evidence, &found, 10));
            }
            session.add(recalled(&sessions(&evidence), &sessions(&found), 10));
        }
    }
    show("locomo-turn-r10", r10.get(), r10.n, name);
    show("locomo-turn-r5", r5.get(), r5.n, name);
    show("locomo-session-r10", session.get(), session.n, &format!("{name}, all categories"));
    for (category, mean) in by_category {
        show(&format!("locomo-turn-r10-category-{category}"), mean.get(), mean.n, name);
    }
    Ok(())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn turns(conversation: &Value, namespace: &str) -> Result<Vec<StoreRequest>> {
    let sessions = conversation["conversation"].as_object().ok_or_else(|| Error::invalid("no conversation"))?;
    let mut turns = Vec::new();
    // Some numbers are left out.
    for number in 1..=SESSIONS {
        let Some(session) = sessions.get(&format!("session_{number}")) else { continue };
        for turn in list(session) {
            turns.push(self::turn(turn, namespace, number)?);
        }
    }
    Ok(turns)
}

fn turn(turn: &Value, namespace: &str, session: usize) -> Result<StoreRequest> {
    let text = |name: &str| turn[name].as_str().map(str::to_owned);
    let said = text("text").ok_or_else(|| Error::invalid("a turn without text"))?;
    let content = text("blip_caption").map_or_else(|| said.clone(), |picture| format!("{said} [{picture}]"));
    let mut item = StoreRequest::new(content);
    namespace.clone_into(&mut item.namespace);
    item.id = text("dia_id");
    item.session = Some(format!("D{session}"));
    item.speaker = text("speaker");
    item.metadata = Map::new();
    Ok(item)
}

/// The turns that answer a question: "D1:3".
fn evidence(question: &Value) -> Vec<String> {
    let parts = list(&question["evidence"]).iter().filter_map(Value::as_str).flat_map(|text| text.split([';', ' ']));
    let mut found: Vec<String> = Vec::new();
    for part in parts.map(str::trim) {
        let numbers = part.strip_prefix('D').and_then(|rest| rest.split_once(':'));
        let sound = numbers.is_some_and(|(a, b)| [a, b].iter().all(|n| n.parse::<u32>().is_ok()));
        if sound && !found.iter().any(|known| known == part) {
            found.push(part.to_owned());
        }
    }
    found
}

/// The sessions of turns, each once, in their order.
fn sessions(turns: &[String]) -> Vec<String> {
    let mut sessions: Vec<String> = Vec::new();
    for turn in turns {
        let session = turn.split(':').next().unwrap_or_default();
        if !sessions.iter().any(|known| known == session) {
            sessions.push(session.to_owned());
        }
    }
    sessions
}

/// Which part of `wanted` is among the first `top` of `found`.
pub(super) fn recalled(wanted: &[String], found: &[String], top: usize) -> f64 {
    let found = &found[..top.min(found.len())];
    wanted.iter().filter(|wanted| found.contains(wanted)).count() as f64 / wanted.len().max(1) as f64
}

/// A mean of what was added.
#[derive(Default)]
pub(super) struct Mean {
    sum: f64,
    pub(super) n: usize,
}

impl Mean {
    pub(super) fn add(&mut self, value: f64) {
        self.sum += value;
        self.n += 1;
    }

    pub(super) fn get(&self) -> f64 {
        self.sum / self.n.max(1) as f64
    }
}
