//! Counters and latencies, added up from events.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{Event, EventKind, EventSink};
use crate::money::NanoUsd;

/// What happened so far in this process. Made by [`MetricsSink::metrics`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Events by name, see [`EventKind::name`].
    pub events: BTreeMap<&'static str, u64>,
    /// Model calls by model id.
    pub models: BTreeMap<String, ModelMetrics>,
    /// Tasks by outcome.
    pub tasks: BTreeMap<String, u64>,
    /// Time of finished tasks.
    pub task_latency: Latency,
    /// Time of recall queries.
    pub recall_latency: Latency,
    /// What all calls cost.
    pub cost: NanoUsd,
    /// What they would have cost more on the reference model.
    pub saved: NanoUsd,
}

/// What one model did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ModelMetrics {
    /// Attempts, failed ones included.
    pub attempts: u64,
    /// Failed attempts by error code.
    pub failures: BTreeMap<String, u64>,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What the calls cost.
    pub cost: NanoUsd,
    /// Time of the attempts.
    pub latency: Latency,
}

/// A distribution of times in milliseconds; quantiles are within 1 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the names of the quantiles")]
pub struct Latency {
    pub count: u64,
    pub mean_ms: f64,
    pub p50_ms: u64,
    pub p95_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// Adds events up. Cheap to clone; clones share the sums.
#[derive(Clone, Default)]
pub struct MetricsSink(Arc<Mutex<Sums>>);

#[derive(Default)]
struct Sums {
    metrics: Metrics,
    models: BTreeMap<String, Times>,
    tasks: Times,
    recalls: Times,
}

impl fmt::Debug for MetricsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsSink")
    }
}

impl MetricsSink {
    /// The sums so far.
    pub fn metrics(&self) -> Metrics {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut metrics = sums.metrics.clone();
        metrics.task_latency = sums.tasks.latency();
        metrics.recall_latency = sums.recalls.latency();
        for (model, times) in &sums.models {
            if let Some(entry) = metrics.models.get_mut(model) {
                entry.latency = times.latency();
            }
        }
        metrics
    }
}

impl EventSink for MetricsSink {
    fn emit(&self, event: &Event) {
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Sums { metrics, models, tasks, recalls } = &mut *sums;
        *metrics.events.entry(event.kind.name()).or_default() += 1;
        match &event.kind {
            EventKind::Attempted { model, code, latency_ms, .. } => {
                let entry = metrics.models.entry(model.clone()).or_default();
                entry.attempts += 1;
                if let Some(code) = code {
                    *entry.failures.entry(code.clone()).or_default() += 1;
                }
                models.entry(model.clone()).or_default().record(*latency_ms);
            }
            EventKind::Spent { model, input_tokens, output_tokens, cost, saved } => {
                let entry = metrics.models.entry(model.clone()).or_default();
                entry.input_tokens += input_tokens;
                entry.output_tokens += output_tokens;
                entry.cost = entry.cost + *cost;
                metrics.cost = metrics.cost + *cost;
                metrics.saved = metrics.saved + *saved;
            }
            EventKind::TaskFinished { outcome, latency_ms, .. } => {
                *metrics.tasks.entry(outcome.clone()).or_default() += 1;
                tasks.record(*latency_ms);
            }
            EventKind::Recalled { latency_ms, .. } => recalls.record(*latency_ms),
            _ => {}
        }
    }
}

/// A histogram that is only allocated once something is recorded.
#[derive(Default)]
struct Times(Option<Histogram<u64>>);

impl Times {
    /// Times above a day count as a day.
    const MAX_MS: u64 = 24 * 60 * 60 * 1000;

    fn record(&mut self, ms: u64) {
        if self.0.is_none() {
            self.0 = Histogram::new_with_bounds(1, Self::MAX_MS, 2).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(ms);
        }
    }

    fn latency(&self) -> Latency {
        self.0.as_ref().map_or_else(Latency::default, |times| Latency {
            count: times.len(),
            mean_ms: times.mean(),
            p50_ms: times.value_at_quantile(0.5),
            p95_ms: times.value_at_quantile(0.95),
            p99_ms: times.value_at_quantile(0.99),
            max_ms: times.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emit(sink: &MetricsSink, kind: EventKind) {
        sink.emit(&Event::now("".into(), "".into(), kind));
    }

    #[test]
    fn adds_up_models_money_and_times() {
        let sink = MetricsSink::default();
        for (latency_ms, code) in [(10, None), (30, Some("TIMEOUT".to_owned()))] {
            emit(&sink, EventKind::Attempted { model: "m".into(), attempt: 1, ok: code.is_none(), code, latency_ms });
        }
        emit(
            &sink,
            EventKind::Spent {
                model: "m".into(),
                input_tokens: 7,
                output_tokens: 3,
                cost: NanoUsd(5),
                saved: NanoUsd(95),
            },
        );
        let metrics = sink.metrics();
        let model = &metrics.models["m"];
        assert_eq!((model.attempts, model.failures["TIMEOUT"], model.input_tokens), (2, 1, 7));
        assert_eq!((model.latency.count, model.latency.max_ms), (2, 30));
        assert_eq!((metrics.cost, metrics.saved), (NanoUsd(5), NanoUsd(95)));
        assert_eq!(metrics.events["attempted"], 2);
    }
}
