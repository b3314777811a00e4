//! Hands every event to the metrics, to those who listen, and to the sinks of the user.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use super::{Event, EventSink, MetricsSink};

/// Events a listener may be behind before it loses the oldest.
const BACKLOG: usize = 4096;

/// The events of one [`Triune`](crate::Triune). Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fanout {
    metrics: MetricsSink,
    listeners: broadcast::Sender<Arc<Event>>,
    sinks: Arc<RwLock<Vec<Arc<dyn EventSink>>>>,
}

impl Default for Fanout {
    fn default() -> Self {
        Self { metrics: MetricsSink::default(), listeners: broadcast::Sender::new(BACKLOG), sinks: Arc::default() }
    }
}

impl Fanout {
    /// The sums of all events.
    pub fn metrics(&self) -> &MetricsSink {
        &self.metrics
    }

    /// Events from now on.
    pub fn listen(&self) -> EventStream {
        EventStream { receiver: self.listeners.subscribe(), missed: Arc::default() }
    }

    /// Adds a sink.
    pub fn add(&self, sink: Arc<dyn EventSink>) {
        self.sinks.write().unwrap_or_else(PoisonError::into_inner).push(sink);
    }
}

impl EventSink for Fanout {
    fn emit(&self, event: &Event) {
        self.metrics.emit(event);
        if self.listeners.receiver_count() > 0 {
            // Nobody listens any more: that is no failure.
            let _ = self.listeners.send(Arc::new(event.clone()));
        }
        for sink in self.sinks.read().unwrap_or_else(PoisonError::into_inner).iter() {
            sink.emit(event);
        }
    }
}

/// Events as they happen. A listener that falls behind loses the oldest, and can see how many.
#[derive(Debug)]
pub struct EventStream {
    receiver: broadcast::Receiver<Arc<Event>>,
    missed: Arc<AtomicU64>,
}

impl EventStream {
    /// The next event; none once the [`Triune`](crate::Triune) is gone.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.missed.fetch_add(count, Ordering::Relaxed);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Events lost so far.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::EventKind;

    fn closed(model: usize) -> Event {
        Event::now("".into(), "".into(), EventKind::BreakerClosed { model: model.to_string() })
    }

    #[tokio::test]
    async fn a_slow_listener_loses_the_oldest_and_knows() {
        let fanout = Fanout::default();
        let mut events = fanout.listen();
        for i in 0..BACKLOG + 10 {
            fanout.emit(&closed(i));
        }
        let first = events.next().await.unwrap();
        assert_eq!(first.kind, EventKind::BreakerClosed { model: "10".into() });
        assert_eq!(events.missed(), 10);
        assert_eq!(fanout.metrics().metrics().events["breaker_closed"], (BACKLOG + 10) as u64);
        drop(fanout);
        while events.next().await.is_some() {}
    }
}
