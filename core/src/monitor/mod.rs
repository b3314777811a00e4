//! Watching triune at work: events as they happen, metrics as they add up.

mod event;
mod fanout;
mod metrics;

pub use event::{Event, EventKind, EventSink, FnSink};
pub use fanout::{EventStream, Fanout};
pub use metrics::{Latency, Metrics, MetricsSink, ModelMetrics};
