//! Watching triune at work: events as they happen, metrics as they add up.

mod event;
mod metrics;

pub use event::{Event, EventKind, EventSink, FnSink};
pub use metrics::{Latency, Metrics, MetricsSink, ModelMetrics};
