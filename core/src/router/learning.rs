//! What the router keeps so that it can learn: replies that may be judged, the judgements, and what was learned.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    answers::Kept,
    engine::RouterEngine,
    labels::{self, Judgeable, Shadowed},
    learn::{Calibration, Choice, LearnedRouter, PairReport, Record, Report, VERIFIER_LABELS, evaluate, evaluate_pair},
    learn::{Foretold, Outcome},
    ledger::check_tenant,
    route::RouteRequest,
};
use crate::{
    context::Context,
    error::{Error, Result},
    money::NanoUsd,
    runtime::{Runtime, blocking},
    store::Store,
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
    /// Answers of one model that the cascade compares, up to 16: a model that says something else each time is doubted.
    /// Only where they have something to compare: a final value, JSON, or a few words. All are paid. Default 0: one answer.
    pub agreement: u32,
    /// The part of the requests, 0 to 1, that the dearest model of the plan answers too, in the background and after the
    /// reply: both answers are kept to be judged, and nothing is learned before they are. It is paid from the budgets, up to
    /// their soft limits, and never asked for what must stay in this process. 0.01 to 0.02 keep judgements coming that say
    /// what a dearer model is worth. Default 0.
    pub shadow: f64,
}

impl Default for LearningConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            judge_days: 30,
            cascade: false,
            min_retention: 0.95,
            confidence: 0.9,
            agreement: 0,
            shadow: 0.0,
        }
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
        if self.agreement > MOST_ANSWERS {
            let message =
                format!("`learning.agreement` of the router is {}; it is up to {MOST_ANSWERS}", self.agreement);
            return Err(Error::invalid(message));
        }
        if !(0.0..=1.0).contains(&self.shadow) {
            let message = format!("`learning.shadow` of the router is {}; it is from 0 to 1", self.shadow);
            return Err(Error::invalid(message));
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

/// Answers that are compared at most.
const MOST_ANSWERS: u32 = 16;

/// The keys of what was learned, and of which training it is.
const SNAPSHOT: &[u8] = b"s";
const TRAINING: &[u8] = b"t";

/// Judgements after which what was learned is written down: opening the folder takes in at most so many of each process.
const WRITTEN_EVERY: usize = if cfg!(test) { 16 } else { 512 };

/// Calls at once to models that are asked beside the one that answers.
const SHADOWS: usize = 4;

/// What was learned, and up to which judgement.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    /// The number of the first judgement that it did not see.
    labels: u64,
    learned: String,
}

/// Thresholds that are remembered.
const THRESHOLDS: usize = 64;

/// Which judgements were learned.
#[derive(Debug, Default)]
struct Seen {
    /// The training that they came after; none before anything was read.
    training: Option<String>,
    /// All of a number below this.
    below: u64,
    /// And these.
    also: BTreeSet<u64>,
}

/// What was learned, and where it is kept.
#[derive(Debug)]
pub(super) struct Learning {
    store: Store,
    learned: Arc<LearnedRouter>,
    /// From which doubt on a dearer model is asked, by retention and confidence; looked up anew after training.
    thresholds: Mutex<VecDeque<([u64; 2], f64)>>,
    seen: Mutex<Seen>,
    /// Where models are asked beside those that answer; none before the folder is open.
    background: OnceLock<Runtime>,
    shadows: Arc<Semaphore>,
}

impl Learning {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            learned: Arc::default(),
            thresholds: Mutex::default(),
            seen: Mutex::default(),
            background: OnceLock::new(),
            shadows: Arc::new(Semaphore::new(SHADOWS)),
        }
    }

    pub(super) fn router(&self) -> &Arc<LearnedRouter> {
        &self.learned
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Where a model can be asked beside the one that answered, and leave to do so; nothing while enough are.
    pub(super) fn shadow(&self) -> Option<(&Runtime, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.shadows).try_acquire_owned().ok()?;
        Some((self.background.get()?, permit))
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

    /// Learns the judgement of a number, unless it was learned. Blocks. Gives what is to be written down, when it is time.
    fn learn(&self, number: u64, record: &Record) -> Result<Option<Snapshot>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if number >= seen.below && seen.also.insert(number) {
            self.learned.feedback(record)?;
        }
        if seen.also.len() < WRITTEN_EVERY { Ok(None) } else { self.catch_up(&mut seen) }
    }

    /// Learns what other processes were told, and what was trained meanwhile. Blocks. Gives what is to be written down, when
    /// that was much.
    fn catch_up(&self, seen: &mut Seen) -> Result<Option<Snapshot>> {
        let known = seen.training.as_ref();
        let (training, snapshot, mut first, mut labels) = self.store.read(|read| {
            let table = &read.tables.learning;
            let training = table.get_json::<String>(read.txn, TRAINING)?.unwrap_or_default();
            let newer = known != Some(&training);
            let snapshot: Option<Snapshot> = if newer { table.get_json(read.txn, SNAPSHOT)? } else { None };
            let first = snapshot.as_ref().map_or(seen.below, |snapshot| snapshot.labels);
            Ok((training, snapshot, first, labels::since(read, first)?))
        })?;
        if let Some(snapshot) = snapshot {
            if let Err(error) = self.learned.restore_from(snapshot.learned.as_bytes()) {
                tracing::warn!(%error, "what was learned cannot be read; the judgements are learned from again");
                (first, labels) = (0, self.store.read(|read| labels::since(read, 0))?);
            }
            self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).clear();
            (seen.below, seen.also) = (first, BTreeSet::new());
        }
        seen.training = Some(training);
        let new: Vec<_> = labels.iter().filter(|(number, _)| !seen.also.contains(number)).map(|(_, r)| r).collect();
        self.learned.learn_all(&new)?;
        seen.below = labels.last().map_or(seen.below, |(last, _)| last + 1);
        seen.also.clear();
        Ok(if labels.len() < WRITTEN_EVERY { None } else { Some(self.snapshot(seen.below)?) })
    }

    fn snapshot(&self, labels: u64) -> Result<Snapshot> {
        let learned = String::from_utf8(self.learned.snapshot()?)
            .map_err(|e| Error::unexpected("what was learned is no text").caused_by(e))?;
        Ok(Snapshot { labels, learned })
    }

    /// Writes down what was learned, unless another process has trained since.
    async fn write_down(&self, snapshot: Option<Snapshot>) -> Result<()> {
        let Some(snapshot) = snapshot else { return Ok(()) };
        let ours = self.seen.lock().unwrap_or_else(PoisonError::into_inner).training.clone().unwrap_or_default();
        let written = self.store.write(move |write| {
            let table = &write.tables.learning;
            if table.get_json::<String>(write.txn, TRAINING)?.unwrap_or_default() != ours {
                return Ok(());
            }
            table.put_json(write.txn, SNAPSHOT, &snapshot)
        });
        written.await
    }

    /// Learns anew from `records` and all judgements. Blocks. Gives what is to be written down, and how many there were.
    /// Vectors of judgements that another embedder than `embedder` made are left out: they are of another space.
    fn train(&self, records: Vec<Record>, embedder: Option<&(String, usize)>) -> Result<(Snapshot, usize)> {
        let labels = self.store.read(|read| labels::since(read, 0))?;
        let below = labels.last().map_or(0, |(last, _)| last + 1);
        let of_this_space = |(_, mut record): (u64, Record)| {
            let of = record.embedder.as_deref().zip(record.embedding.as_ref().map(Vec::len));
            let now = embedder.map(|(id, dimensions)| (id.as_str(), *dimensions));
            record.embedding.take_if(|_| of != now);
            record
        };
        let all: Vec<_> = records.into_iter().chain(labels.into_iter().map(of_this_space)).collect();
        // From here on, so that nothing that is told meanwhile is lost.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.learned.train(&all)?;
        self.thresholds.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let snapshot = self.snapshot(below)?;
        (seen.below, seen.also) = (below, BTreeSet::new());
        Ok((snapshot, all.len()))
    }
}

impl RouterEngine {
    /// Reads what was learned before, and decides by it when the settings say so.
    ///
    /// # Errors
    /// `Invalid` for what another version learned.
    pub(crate) async fn begin_to_learn(&self, own_router: bool, background: Runtime) -> Result<()> {
        if !self.config().learning.enabled {
            return Ok(());
        }
        let learning = Arc::clone(self.learning());
        // Set once: a folder is opened once.
        drop(learning.background.set(background));
        let restored = blocking(move || {
            let mut seen = learning.seen.lock().unwrap_or_else(PoisonError::into_inner);
            learning.catch_up(&mut seen)
        });
        self.learning().write_down(restored.await?).await?;
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
        self.judge(cx, id, score, None).await
    }

    /// The same, where another model was asked beside the one that answered, see [`shadowed`](Self::shadowed): `shadow` is how
    /// good that one's answer was. Both together tell what asking the dearer model is worth, which the cascade goes by.
    ///
    /// # Errors
    /// As for [`feedback`](Self::feedback); `Invalid` when no other model was asked.
    pub async fn feedback_both(&self, cx: &Context, id: &str, score: f64, shadow: f64) -> Result<()> {
        self.judge(cx, id, score, Some(shadow)).await
    }

    pub(super) async fn judge(&self, cx: &Context, id: &str, score: f64, shadow: Option<f64>) -> Result<()> {
        check_tenant(&cx.tenant)?;
        for score in [Some(score), shadow].into_iter().flatten() {
            if !(0.0..=1.0).contains(&score) {
                let message = format!("the score is {score}; it must be in [0, 1]");
                return Err(Error::invalid(message).during("RouterEngine::feedback"));
            }
        }
        let (tenant, reply) = (Arc::clone(&cx.tenant), id.to_owned());
        let judged = self.learning().store.write(move |write| labels::judge(write, (&tenant, &reply), score, shadow));
        let judged = cx.run(judged).await.map_err(|e| e.during("RouterEngine::feedback"))?;
        let (number, record) = judged.ok_or_else(|| labels::not_judgeable().during("RouterEngine::feedback"))?;
        let learning = Arc::clone(self.learning());
        let snapshot = blocking(move || learning.learn(number, &record)).await?;
        self.learning().write_down(snapshot).await
    }

    /// The newest replies of the tenant, `most` of them, of which the answer of another model is kept too, and neither was
    /// judged: see the setting `router.learning.shadow`, and [`feedback_both`](Self::feedback_both).
    ///
    /// # Errors
    /// `Invalid` for a tenant whose name is too long.
    pub async fn shadowed(&self, cx: &Context, most: usize) -> Result<Vec<Shadowed>> {
        check_tenant(&cx.tenant)?;
        let (learning, tenant) = (Arc::clone(self.learning()), Arc::clone(&cx.tenant));
        cx.run(blocking(move || learning.store.read(|read| labels::shadowed(read, &tenant, most)))).await
    }

    /// Removes what is kept of the replies of the tenant, or of the one with this id, to learn from: prompts, answers and
    /// judgements. Says how many replies that were. What was learned from them stays until [`train`](Self::train) is called.
    ///
    /// # Errors
    /// `Invalid` for a tenant whose name is too long.
    pub async fn forget(&self, cx: &Context, id: Option<&str>) -> Result<usize> {
        check_tenant(&cx.tenant)?;
        let (tenant, id) = (Arc::clone(&cx.tenant), id.map(str::to_owned));
        let gone = self.learning().store.write(move |write| labels::forget(write, &tenant, id.as_deref()));
        cx.run(gone).await
    }

    /// Learns anew from `records` and every judgement so far, in place of all that was learned before: what to expect of
    /// models, how much to doubt answers, and what aims cost. Takes a second for a few thousand records. What was learned
    /// stays in the folder; the records do not. Says how many there were in all.
    ///
    /// # Errors
    /// `Invalid` when a record is, or embeddings differ in length.
    pub async fn train(&self, cx: &Context, records: Vec<Record>) -> Result<usize> {
        let learning = Arc::clone(self.learning());
        let embedder =
            self.embedder().ok().map(|embedder| (embedder.profile().id.clone(), embedder.profile().dimensions));
        let (snapshot, count) = cx.run(blocking(move || learning.train(records, embedder.as_ref()))).await?;
        let training = uuid::Uuid::now_v7().simple().to_string();
        let mark = training.clone();
        let kept = self.learning().store.write(move |write| {
            write.tables.learning.put_json(write.txn, TRAINING, &mark)?;
            write.tables.learning.put_json(write.txn, SNAPSHOT, &snapshot)
        });
        kept.await?;
        let learning = Arc::clone(self.learning());
        let learned_meanwhile = blocking(move || {
            let mut seen = learning.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.training = Some(training);
            learning.catch_up(&mut seen)
        });
        self.learning().write_down(learned_meanwhile.await?).await?;
        Ok(count)
    }

    fn embedder_id(&self) -> Option<String> {
        self.embedder().ok().map(|embedder| embedder.profile().id.clone())
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
    pub(super) async fn remember(
        &self,
        cx: &Context,
        id: &str,
        asked: &RouteRequest,
        answer: &Kept,
        (cost, agreement): (NanoUsd, Option<f64>),
    ) {
        let config = &self.config().learning;
        let Some(prompt) = asked.prompt.as_ref().filter(|_| config.enabled) else { return };
        let until_ms = labels::now_ms() + Duration::from_secs(u64::from(config.judge_days) * 86_400).as_millis() as u64;
        let outcome = Outcome { cost, answer: Some(answer.text.clone()), agreement, ..Outcome::default() };
        let record = Record {
            prompt: prompt.clone(),
            tag: asked.tag.clone(),
            embedding: asked.embedding.clone(),
            embedder: self.embedder_id().filter(|_| asked.embedding.is_some()),
            outcomes: [(answer.model.clone(), outcome)].into(),
        };
        let (tenant, id) = (Arc::clone(&cx.tenant), id.to_owned());
        let reply = Judgeable { until_ms, record, given: None };
        let kept = self.learning().store.write(move |write| labels::keep(write, &tenant, &id, &reply));
        if let Err(error) = kept.await {
            tracing::warn!(%error, "a reply was not kept to be judged");
        }
    }
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

#[cfg(test)]
#[path = "learning_tests.rs"]
mod tests;
