//! The policy that has learned: quality against cost, at the exchange rate that the wanted aim asks for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use serde::{Deserialize, Serialize};

use super::{
    Calibration, Choice, Doubt, Foretold, Judged, QualityHead, Record, VERIFIER_LABELS, Verifier, calibrate,
    calibrate::is_kept,
    checks::Answer,
    evaluate::{choose, evaluate},
    seed,
};
use crate::{
    error::{Error, Result},
    money::NanoUsd,
    router::{
        ModelState, Needs, RoutePlan, RouteRequest, Router,
        cheapest::{Candidate, fitting, reason},
    },
};

/// Records on which aims are looked up; more would tell no more.
const REMEMBERED: usize = 2000;

/// Aims whose exchange rate is kept.
const AIMS: usize = 64;

/// Parts in which answers are judged by a verifier that did not see them.
const FOLDS: usize = 5;

/// Orders the models that meet every need by `expected quality - lambda · cost`, cost as a part of the dearest of them.
///
/// `lambda` follows from the aim of the request: the least cost that keeps `min_retention` of the best single model's
/// quality with `confidence`; the best quality that saves `target_saving`; with `min_quality` the cheapest model whose
/// expected quality on this prompt is that. Without an aim, the least cost that keeps the quality of the best single
/// model. Once a soft limit of a budget is passed, the least `lambda` that halves what is spent, unless a retention was
/// asked for, which is a promise. All of them are looked up on the records that it was trained on, each foretold from the others. As long as it
/// has learned nothing of the models at hand, it decides as [`CheapestRouter`](crate::router::CheapestRouter) does.
///
/// It is told by [`LearnedRouter::train`] and [`LearnedRouter::feedback`], and written down by
/// [`LearnedRouter::snapshot`]; it never reads a file itself. All of it may be called from many threads; a decision
/// never waits for training.
#[derive(Debug, Default)]
pub struct LearnedRouter {
    learned: RwLock<Arc<Learned>>,
    /// One at a time changes what is learned.
    writing: Mutex<()>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Learned {
    head: QualityHead,
    verifier: Verifier,
    /// Models of `foretold`, in its order.
    models: Vec<String>,
    /// Records that have the outcomes of all models, each foretold from the others.
    foretold: Vec<Foretold>,
    /// Answers judged by a verifier that did not see them.
    doubts: Vec<Choice>,
    #[serde(skip)]
    lambdas: Mutex<BTreeMap<String, f64>>,
}

impl Clone for Learned {
    fn clone(&self) -> Self {
        Self {
            head: self.head.clone(),
            verifier: self.verifier.clone(),
            models: self.models.clone(),
            foretold: self.foretold.clone(),
            doubts: self.doubts.clone(),
            lambdas: Mutex::default(),
        }
    }
}

impl LearnedRouter {
    /// One that has learned nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns from `records` in place of all that was learned before. Takes a second for a few thousand records; call
    /// it off the threads that answer.
    ///
    /// The quality head takes every outcome. The verifier takes outcomes that have an answer, each beside the best
    /// outcome that cost more. Aims are looked up on records that have the outcomes of all models.
    ///
    /// # Errors
    /// `Invalid` when a record is (see [`Record::validate`]) or embeddings differ in length.
    pub fn train(&self, records: &[Record]) -> Result<()> {
        let (head, left_out) = QualityHead::train_left_out(records)?;
        let models: Vec<_> = head.models().map(str::to_owned).collect();
        let whole = records.iter().zip(&left_out).rev().filter(|(record, _)| record.outcomes.len() == models.len());
        let mut foretold: Vec<_> = whole
            .map(|(record, expected)| Foretold {
                expected: models.iter().map(|model| expected.get(model).copied().unwrap_or(0.0)).collect(),
                quality: record.outcomes.values().map(|outcome| outcome.quality).collect(),
                cost: record.outcomes.values().map(|outcome| outcome.cost.0 as f64).collect(),
            })
            .take(REMEMBERED)
            .collect();
        let mut chance = 0;
        foretold.sort_by_cached_key(|_| {
            chance += 1;
            seed::mix(chance)
        });
        let judged = judged(records);
        let verifier = Verifier::train(&judged)?;
        let doubts = doubts(&judged)?;
        let learned = Learned { head, verifier, models, foretold, doubts, lambdas: Mutex::default() };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(learned);
        Ok(())
    }

    /// Takes the outcomes of one more record in. Expected qualities follow at once; the verifier and what aims mean
    /// follow with the next [`LearnedRouter::train`]. A millisecond.
    ///
    /// # Errors
    /// `Invalid` when the record is (see [`Record::validate`]).
    pub fn feedback(&self, record: &Record) -> Result<()> {
        self.learn_all(&[record])
    }

    /// Takes the outcomes of `records` in, one after the other.
    ///
    /// # Errors
    /// `Invalid` when one of them is; then none is learned.
    pub(in crate::router) fn learn_all(&self, records: &[&Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut learned = Learned::clone(&self.learned());
        records.iter().try_for_each(|record| learned.head.learn(record))?;
        self.replace(learned);
        Ok(())
    }

    /// How much `answer` to `prompt` is doubted; see [`Verifier::doubt`].
    pub fn doubt(&self, prompt: &str, answer: &Answer<'_>) -> Doubt {
        self.learned().verifier.doubt(prompt, answer)
    }

    /// From which doubt on the stronger model is to be asked, so that `min_retention` of its quality is kept with
    /// `confidence`; see [`calibrate`]. Without labels it is always asked.
    ///
    /// # Errors
    /// `Invalid` when a part is not between 0 and 1.
    pub fn cascade_threshold(&self, min_retention: f64, confidence: f64) -> Result<Calibration> {
        calibrate(&self.learned().doubts, min_retention, confidence)
    }

    /// All that was learned, to be kept and given to [`LearnedRouter::restore`].
    ///
    /// # Errors
    /// `Unexpected` when it cannot be written down.
    pub fn snapshot(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&*self.learned())
            .map_err(|e| Error::unexpected("what the router learned cannot be written down").caused_by(e))
    }

    /// The router that [`LearnedRouter::snapshot`] was taken of.
    ///
    /// # Errors
    /// `Invalid` when `bytes` are no snapshot of this version; train again.
    pub fn restore(bytes: &[u8]) -> Result<Self> {
        let learned: Learned = serde_json::from_slice(bytes).map_err(|e| {
            Error::invalid("this is nothing that a router of this version learned; train it again").caused_by(e)
        })?;
        Ok(Self { learned: RwLock::new(Arc::new(learned)), writing: Mutex::default() })
    }

    /// Takes what [`LearnedRouter::snapshot`] wrote down in place of all that was learned before.
    ///
    /// # Errors
    /// As for [`LearnedRouter::restore`].
    pub fn restore_from(&self, bytes: &[u8]) -> Result<()> {
        let other = Self::restore(bytes)?;
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(Learned::clone(&other.learned()));
        Ok(())
    }

    /// The models of `records`, and what is expected of each beside what came out: of records that have the outcomes of
    /// all models, and of models that something was learned of.
    pub fn foretell(&self, records: &[Record]) -> (Vec<String>, Vec<Foretold>) {
        let learned = self.learned();
        let models: Vec<_> = learned.head.models().map(str::to_owned).collect();
        let whole = records.iter().filter(|record| models.iter().all(|model| record.outcomes.contains_key(model)));
        let foretold = whole.map(|record| {
            let ids = models.iter().map(String::as_str);
            let predicted =
                learned.head.predict(&record.prompt, record.tag.as_deref(), record.embedding.as_deref(), ids);
            let outcomes = || models.iter().filter_map(|model| record.outcomes.get(model));
            Foretold {
                expected: predicted.iter().map(|found| found.map_or(0.0, |found| found.quality)).collect(),
                quality: outcomes().map(|outcome| outcome.quality).collect(),
                cost: outcomes().map(|outcome| outcome.cost.0 as f64).collect(),
            }
        });
        let foretold = if models.is_empty() { Vec::new() } else { foretold.collect() };
        (models, foretold)
    }

    fn learned(&self) -> Arc<Learned> {
        Arc::clone(&self.learned.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, learned: Learned) {
        *self.learned.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(learned);
    }
}

impl Router for LearnedRouter {
    fn route(&self, request: &RouteRequest, models: &[ModelState]) -> Result<RoutePlan> {
        let learned = self.learned();
        let ids = models.iter().map(|state| state.profile.id.as_str());
        let prompt = request.prompt.as_deref().unwrap_or_default();
        let predicted = learned.head.predict(prompt, request.tag.as_deref(), request.embedding.as_deref(), ids);
        let labels = |id: &str| {
            let at = models.iter().position(|state| state.profile.id == id);
            at.and_then(|at| predicted[at]).map(|prediction| prediction.labels)
        };
        let quality = predicted.iter().zip(models);
        let qualities: Vec<_> =
            quality.map(|(prediction, state)| prediction.map(|p| p.quality).or(state.profile.quality)).collect();
        let (mut fitting, passed_over) = fitting(request, models, &qualities)?;
        if predicted.iter().all(Option::is_none) {
            let steps = fitting.iter().map(|candidate| candidate.step(reason(candidate))).collect();
            return Ok(RoutePlan { steps, passed_over });
        }
        let lambda = learned.lambda(&request.needs, request.thrifty);
        let dearest = fitting.iter().map(|candidate| candidate.max_cost).max().unwrap_or(NanoUsd::ZERO);
        let worth = |candidate: &Candidate<'_>| {
            // Nothing is known of it: it comes after all that something is known of, the cheapest first.
            let quality = candidate.quality.filter(|quality| quality.is_finite())?;
            Some(quality - lambda * part_of(candidate.max_cost, dearest))
        };
        // Stable, so that equals stay in the order of the cheapest.
        fitting.sort_by(|a, b| worth(b).partial_cmp(&worth(a)).unwrap_or(std::cmp::Ordering::Equal));
        let steps = fitting.iter().map(|candidate| {
            let known = match (candidate.quality, labels(&candidate.state.profile.id)) {
                (Some(quality), Some(labels)) => format!("expected quality {quality:.2} from {labels} labels"),
                (Some(quality), None) => format!("stated quality {quality:.2}"),
                (None, _) => "unknown quality".to_owned(),
            };
            let worth = worth(candidate).map(|worth| format!(", worth {worth:.2} at lambda {lambda:.2}"));
            candidate.step(format!("{known}, {}{}", reason(candidate), worth.unwrap_or_default()))
        });
        Ok(RoutePlan { steps: steps.collect(), passed_over })
    }
}

/// `cost` as a part of `dearest`.
fn part_of(cost: NanoUsd, dearest: NanoUsd) -> f64 {
    if dearest.0 > 0 { cost.0 as f64 / dearest.0 as f64 } else { 0.0 }
}

/// Only cost counts.
const COST_ONLY: f64 = 1e6;

/// What is spent of the usual when a soft limit of a budget is passed.
const THRIFTY: f64 = 0.5;

impl Learned {
    /// Quality that the cost of the dearest model must bring, for the aim of `needs`, when money is short if `thrifty`.
    fn lambda(&self, needs: &Needs, thrifty: bool) -> f64 {
        if needs.min_quality.is_some() && needs.min_retention.is_none() && needs.target_saving.is_none() {
            return COST_ONLY;
        }
        let aim = format!("{:?} {:?} {:?} {thrifty}", needs.target_saving, needs.min_retention, needs.confidence);
        let mut known = self.lambdas.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lambda) = known.get(&aim) {
            return *lambda;
        }
        let lambda = self.look_up(needs, thrifty);
        if known.len() >= AIMS {
            known.clear();
        }
        known.insert(aim, lambda);
        lambda
    }

    fn look_up(&self, needs: &Needs, thrifty: bool) -> f64 {
        // Costs as parts of the dearest, as in a decision; the report is in money.
        let relative: Vec<_> = self
            .foretold
            .iter()
            .map(|prompt| {
                let dearest = prompt.cost.iter().copied().fold(0.0, f64::max);
                let cost = prompt.cost.iter().map(|cost| if dearest > 0.0 { cost / dearest } else { 0.0 }).collect();
                Foretold { cost, ..prompt.clone() }
            })
            .collect();
        // Without records to trade on, nothing is known to be worth its price.
        let Some(report) = evaluate(&relative, 1.0) else { return if thrifty { COST_ONLY } else { 0.0 } };
        let money = |lambda: f64| -> f64 {
            let spent = self.foretold.iter().zip(&relative);
            spent.filter_map(|(prompt, part)| Some(prompt.cost[choose(&part.expected, &part.cost, lambda)?])).sum()
        };
        let full: f64 = self.foretold.iter().map(|prompt| prompt.cost[report.best]).sum();
        let lambdas = report.tradeoffs.iter().map(|point| point.lambda);
        let spends_at_most = |most: f64| lambdas.clone().find(|lambda| money(*lambda) <= most).unwrap_or(COST_ONLY);
        let short = |lambda: f64| if thrifty { lambda.max(spends_at_most(THRIFTY * money(lambda))) } else { lambda };
        if let Some(saving) = needs.target_saving {
            return short(spends_at_most((1.0 - saving) * full));
        }
        if let Some(retention) = needs.min_retention {
            let confidence = needs.confidence.unwrap_or(0.9);
            let kept = |lambda: &f64| {
                let pairs = self.foretold.iter().zip(&relative).filter_map(|(prompt, part)| {
                    let chosen = choose(&part.expected, &part.cost, *lambda)?;
                    Some((prompt.quality[chosen], prompt.quality[report.best]))
                });
                is_kept(pairs, retention, confidence)
            };
            // One after another, so that the confidence holds for the last that is kept.
            return lambdas.take_while(kept).last().unwrap_or(0.0);
        }
        let as_good = report.tradeoffs.iter().filter(|point| point.quality >= report.best_quality);
        short(as_good.map(|point| point.lambda).max_by(f64::total_cmp).unwrap_or(0.0))
    }
}

/// The answers of `records`, each beside the best outcome that cost more.
fn judged(records: &[Record]) -> Vec<Judged<'_>> {
    let mut judged = Vec::new();
    for record in records {
        for outcome in record.outcomes.values() {
            let Some(text) = &outcome.answer else { continue };
            let dearer = record.outcomes.values().filter(|other| other.cost > outcome.cost);
            judged.push(Judged {
                prompt: &record.prompt,
                answer: Answer { text, agreement: outcome.agreement, ..Answer::default() },
                quality: outcome.quality,
                stronger: dearer.map(|other| other.quality).max_by(f64::total_cmp),
            });
        }
    }
    judged
}

/// How much each answer that has a stronger one beside it is doubted by a verifier that did not see it.
fn doubts(judged: &[Judged<'_>]) -> Result<Vec<Choice>> {
    let compared: Vec<_> = judged.iter().filter(|one| one.stronger.is_some()).take(REMEMBERED).collect();
    let mut doubts = Vec::new();
    if compared.len() < VERIFIER_LABELS {
        return Ok(doubts);
    }
    for fold in 0..FOLDS {
        let others: Vec<_> =
            compared.iter().enumerate().filter(|(i, _)| i % FOLDS != fold).map(|(_, one)| **one).collect();
        let verifier = Verifier::train(&others)?;
        doubts.extend(compared.iter().skip(fold).step_by(FOLDS).map(|one| Choice {
            score: verifier.doubt(one.prompt, &one.answer).value,
            cheap: one.quality,
            strong: one.stronger.unwrap_or(one.quality),
        }));
    }
    Ok(doubts)
}

#[cfg(test)]
#[path = "learned_tests.rs"]
mod tests;
