//! What the router keeps so that it can learn: replies that may be judged, the judgements, and what was learned.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{
    answers::Kept,
    engine::RouterEngine,
    learn::{Calibration, Choice, LearnedRouter, PairReport, Record, Report, VERIFIER_LABELS, evaluate, evaluate_pair},
    learn::{Foretold, Outcome},
    ledger::check_tenant,
    route::RouteRequest,
};
use crate::{
    context::Context,
    error::{Error, Result},
    money::NanoUsd,
    runtime::blocking,
    store::{Read, Store, Write},
};

/// Settings of what the router learns. Off, it keeps no prompt and no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LearningConfig {
    /// Whether models are chosen by what was learned, and replies are kept so that they can be judged: prompt and
    /// answer of each stay in the folder for `judge_days`, and what a choice was made from in the ledger. Default false.
    pub enabled: bool,
    /// Days that a reply can be judged. Default 30.
    pub judge_days: u32,
    /// Whether the answer of a model is doubted before it is given out, and one that costs more is asked where the doubt is
    /// too great. Streams are not doubted: their text is out before it is whole. Default false.
    pub cascade: bool,
    /// The part of the dearer model's quality that the cascade keeps, between 0 and 1. As long as there are fewer than 50
    /// judged answers beside better ones, rules decide and nothing is promised. Default 0.95.
    pub min_retention: f64,
    /// The chance that it is kept, over the draw of the judgements, between 0 and 1. Default 0.9.
    pub confidence: f64,
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self { enabled: false, judge_days: 30, cascade: false, min_retention: 0.95, confidence: 0.9 }
    }
}

impl LearningConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub(super) fn validate(&self) -> Result<()> {
        for (name, part) in [("min_retention", self.min_retention), ("confidence", self.confidence)] {
            if !(part > 0.0 && part < 1.0) {
                let message = format!("`learning.{name}` of the router is {part}; it must be between 0 and 1");
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }
}

/// How the router would do on judged prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Records that have the outcomes of all models; the others are not compared.
    pub records: usize,
    /// The models, in the order of the places in `choices`.
    pub models: Vec<String>,
    /// The choices among all models, and what they save at the stated retention.
    pub choices: Report,
    /// The choice between the cheapest model and the best one, by the measures of RouteLLM; none where they are one.
    pub pair: Option<PairReport>,
}

/// The first byte of the key of a reply that may be judged, of a judgement, and of what was learned.
const REPLY: u8 = b'r';
const LABEL: u8 = b'l';
const SNAPSHOT: &[u8] = b"s";
/// Old replies that every new one looks at, so that what can no longer be judged does not stay.
const SWEEP: usize = 4;

/// A reply that may be judged.
#[derive(Debug, Serialize, Deserialize)]
struct Judgeable {
    until_ms: u64,
    record: Record,
}

/// What was learned, and up to which judgement.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    labels: u64,
    learned: String,
}

/// Thresholds that are remembered.
const THRESHOLDS: usize = 64;

/// What was learned, and where it is kept.
#[derive(Debug)]
pub(super) struct Learning {
    store: Store,
    learned: Arc<LearnedRouter>,
    /// From which doubt on a dearer model is asked, by retention and confidence; looked up anew after training.
    thresholds: Mutex<VecDeque<([u64; 2], f64)>>,
}

impl Learning {
    pub(super) fn new(store: Store) -> Self {
        Self { store, learned: Arc::default(), thresholds: Mutex::default() }
    }

    pub(super) fn router(&self) -> &Arc<LearnedRouter> {
        &self.learned
    }

    /// From which doubt on a dearer model is asked.
    pub(super) fn threshold(&self, min_retention: f64, confidence: f64) -> Result<f64> {
        let aim = [min_retention.to_bits(), confidence.to_bits()];
        let mut known = self.thresholds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, threshold)) = known.iter().find(|(known, _)| *known == aim) {
            return Ok(*threshold);
        }
        let calibration = self.learned.cascade_threshold(min_retention, confidence)?;
        // Rules have no scale that could be calibrated.
        let threshold = if calibration.labels < VERIFIER_LABELS { 0.5 } else { calibration.threshold };
        // Requests bring aims of their own; the oldest is looked up anew.
        if known.len() >= THRESHOLDS {
            known.pop_front();
        }
        known.push_back((aim, threshold));
        Ok(threshold)
    }

    /// Reads what was learned before. Blocks.
    fn restore(&self) -> Result<()> {
        let (snapshot, labels) = self.store.read(|read| {
            let table = &read.tables.learning;
            let snapshot: Option<Snapshot> = table.get_json(read.txn, SNAPSHOT)?;
            let since = snapshot.as_ref().map_or(0, |snapshot| snapshot.labels);
            let rows = table.prefix(read.txn, &[LABEL])?;
            let labels =
                rows.skip(since as usize).map(|row| table.parse::<Record>(row?.1)).collect::<Result<Vec<_>>>()?;
            Ok((snapshot, labels))
        })?;
        if let Some(snapshot) = snapshot {
            self.learned.restore_from(snapshot.learned.as_bytes())?;
        }
        labels.iter().try_for_each(|record| self.learned.feedback(record))
    }

    fn labels(&self) -> Result<Vec<Record>> {
        self.store.read(|read| {
            let table = &read.tables.learning;
            table.prefix(read.txn, &[LABEL])?.map(|row| table.parse(row?.1)).collect()
        })
    }
}

impl RouterEngine {
    /// Reads what was learned before, and decides by it when the settings say so.
    ///
    /// # Errors
    /// `Invalid` for what another version learned.
    pub(crate) async fn begin_to_learn(&self, own_router: bool) -> Result<()> {
        if !self.config().learning.enabled {
            return Ok(());
        }
        let learning = Arc::clone(self.learning());
        blocking(move || learning.restore()).await?;
        if !own_router {
            self.set_router(Arc::clone(self.learning().router()) as _);
        }
        Ok(())
    }

    /// Tells how good the reply with this id was, 0 to 1. What is expected of its model follows at once; see
    /// [`train`](Self::train) for the rest. Returns once the judgement is on disk.
    ///
    /// # Errors
    /// `NotFound` when no such reply of the tenant can be judged: the setting `router.learning` was off, it is older than
    /// `judge_days`, or it was judged before. `Invalid` for a score out of range.
    pub async fn feedback(&self, cx: &Context, id: &str, score: f64) -> Result<()> {
        check_tenant(&cx.tenant)?;
        if !(0.0..=1.0).contains(&score) {
            return Err(
                Error::invalid(format!("the score is {score}; it must be in [0, 1]")).during("RouterEngine::feedback")
            );
        }
        let key = reply_key(&cx.tenant, id);
        let judged = self.learning().store.write(move |write| {
            let table = &write.tables.learning;
            let reply = table.get_json::<Judgeable>(write.txn, &key)?.filter(|reply| reply.until_ms >= now_ms());
            let Some(reply) = reply else { return Ok(None) };
            let mut record = reply.record;
            for outcome in record.outcomes.values_mut() {
                outcome.quality = score;
            }
            table.delete(write.txn, &key)?;
            append_label(write, &record)?;
            Ok(Some(record))
        });
        let record = cx.run(judged).await?.ok_or_else(|| {
            let message = "no reply with this id can be judged; `router.learning.enabled` must be set when it is asked for, \
                           and each is judged once, within `judge_days`";
            Error::not_found(message).during("RouterEngine::feedback")
        })?;
        let learned = Arc::clone(self.learning().router());
        blocking(move || learned.feedback(&record)).await
    }

    /// Learns anew from `records` and every judgement so far, in place of all that was learned before: what to expect of
    /// models, how much to doubt answers, and what aims cost. Takes a second for a few thousand records. What was learned
    /// stays in the folder; the records do not. Says how many there were in all.
    ///
    /// # Errors
    /// `Invalid` when a record is, or embeddings differ in length.
    pub async fn train(&self, cx: &Context, records: Vec<Record>) -> Result<usize> {
        let learning = Arc::clone(self.learning());
        let trained = blocking(move || {
            let labels = learning.labels()?;
            let count = labels.len() as u64;
            let all: Vec<_> = records.into_iter().chain(labels).collect();
            learning.learned.train(&all)?;
            learning.thresholds.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let learned = String::from_utf8(learning.learned.snapshot()?)
                .map_err(|e| Error::unexpected("what was learned is no text").caused_by(e))?;
            Ok((Snapshot { labels: count, learned }, all.len()))
        });
        let (snapshot, count) = cx.run(trained).await?;
        let kept =
            self.learning().store.write(move |write| write.tables.learning.put_json(write.txn, SNAPSHOT, &snapshot));
        kept.await?;
        Ok(count)
    }

    /// How choosing by what was learned does on `records` that were not learned from, and what it saves at `retention`
    /// of the quality of the best single model, above 0 and up to 1. Nothing is called.
    ///
    /// # Errors
    /// `Invalid` when a record is, when there is none with the outcomes of all models, or for a retention out of range.
    pub async fn evaluate(&self, cx: &Context, records: Vec<Record>, retention: f64) -> Result<Evaluation> {
        if !(retention > 0.0 && retention <= 1.0) {
            return Err(Error::invalid(format!("the retention is {retention}; it must be above 0 and up to 1")));
        }
        let learned = Arc::clone(self.learning().router());
        cx.run(blocking(move || evaluation(&learned, &records, retention))).await
    }

    /// How much an answer may be doubted before a dearer model is asked, so that `min_retention` of its quality is kept with
    /// `confidence`, both between 0 and 1, as far as judged answers show; and what was kept on those.
    ///
    /// # Errors
    /// `Invalid` for a part out of range.
    pub fn cascade_threshold(&self, min_retention: f64, confidence: f64) -> Result<Calibration> {
        self.learning().learned.cascade_threshold(min_retention, confidence)
    }

    /// Keeps a reply to be judged. What fails here costs only that.
    pub(super) async fn remember(&self, cx: &Context, id: &str, asked: &RouteRequest, answer: &Kept, cost: NanoUsd) {
        let config = &self.config().learning;
        let Some(prompt) = asked.prompt.as_ref().filter(|_| config.enabled) else { return };
        let until_ms = now_ms() + Duration::from_secs(u64::from(config.judge_days) * 86_400).as_millis() as u64;
        let outcome = Outcome { quality: 0.0, cost, answer: Some(answer.text.clone()) };
        let record = Record {
            prompt: prompt.clone(),
            tag: asked.tag.clone(),
            embedding: asked.embedding.clone(),
            outcomes: [(answer.model.clone(), outcome)].into(),
        };
        let (key, reply) = (reply_key(&cx.tenant, id), Judgeable { until_ms, record });
        let kept = self.learning().store.write(move |write| {
            write.tables.learning.put_json(write.txn, &key, &reply)?;
            sweep(write, &key)
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "a reply was not kept to be judged");
        }
    }
}

/// Fills in from what words the reply with this id was decided, for as long as it can be judged.
pub(super) fn recall_prompt(read: &Read<'_>, tenant: &str, id: &str, request: &mut RouteRequest) -> Result<()> {
    if let Some(reply) = read.tables.learning.get_json::<Judgeable>(read.txn, &reply_key(tenant, id))? {
        (request.prompt, request.embedding) = (Some(reply.record.prompt), reply.record.embedding);
    }
    Ok(())
}

/// The tenant with its length before it, so that no reply of one tenant is one of another.
fn reply_key(tenant: &str, id: &str) -> Vec<u8> {
    let mut key = vec![REPLY];
    key.extend_from_slice(&(tenant.len() as u16).to_be_bytes());
    key.extend_from_slice(tenant.as_bytes());
    // Longer than any id.
    key.extend_from_slice(&id.as_bytes()[..id.len().min(64)]);
    key
}

fn append_label(write: &mut Write<'_, '_>, record: &Record) -> Result<()> {
    let table = &write.tables.learning;
    let last =
        table.last(write.txn, &[LABEL])?.and_then(|(key, _)| Some(u64::from_be_bytes(key[1..].try_into().ok()?)));
    let next = last.map_or(0, |last| last + 1);
    table.put_json(write.txn, &[&[LABEL], next.to_be_bytes().as_slice()].concat(), record)
}

/// Removes some of the oldest replies of the tenant of `key` that can no longer be judged: ids sort by time.
fn sweep(write: &mut Write<'_, '_>, key: &[u8]) -> Result<()> {
    let table = &write.tables.learning;
    let tenant = &key[..3 + usize::from(u16::from_be_bytes([key[1], key[2]]))];
    let now = now_ms();
    let mut gone = Vec::new();
    for row in table.prefix(write.txn, tenant)?.take(SWEEP) {
        let (key, value) = row?;
        if table.parse::<Judgeable>(value)?.until_ms < now {
            gone.push(key.to_vec());
        }
    }
    gone.iter().try_for_each(|key| table.delete(write.txn, key).map(drop))
}

fn evaluation(learned: &LearnedRouter, records: &[Record], retention: f64) -> Result<Evaluation> {
    records.iter().try_for_each(Record::validate)?;
    let (models, foretold) = learned.foretell(records);
    let choices = evaluate(&foretold, retention).ok_or_else(|| {
        Error::invalid("no record has the outcomes of all models; give some that have, of models that were learned of")
            .during("RouterEngine::evaluate")
    })?;
    Ok(Evaluation { records: foretold.len(), models, pair: pair(&foretold, choices.best), choices })
}

/// The choice between the cheapest model and the `best` one.
fn pair(foretold: &[Foretold], best: usize) -> Option<PairReport> {
    let mean = |model: usize| foretold.iter().map(|prompt| prompt.cost[model]).sum::<f64>();
    let cheapest = (0..foretold.first()?.cost.len()).min_by(|a, b| mean(*a).total_cmp(&mean(*b)))?;
    let choices = foretold.iter().map(|prompt| Choice {
        score: prompt.expected[best] - prompt.expected[cheapest],
        cheap: prompt.quality[cheapest],
        strong: prompt.quality[best],
    });
    if cheapest == best { None } else { evaluate_pair(&choices.collect::<Vec<_>>()) }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
#[path = "learning_tests.rs"]
mod tests;
