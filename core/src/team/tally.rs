//! What a call spends, counted where it is told, so that the sums of a report are those of the ledger: answers, tries
//! that failed, embeddings, and what tools and gates ask of models.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{
    context::Context,
    money::NanoUsd,
    monitor::{Event, EventKind, EventSink},
};

/// Sums over entries of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Spent {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) cost: NanoUsd,
    pub(super) reference_cost: NanoUsd,
    pub(super) saved: NanoUsd,
}

impl Spent {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cost: self.cost + other.cost,
            reference_cost: self.reference_cost + other.reference_cost,
            saved: self.saved + other.saved,
        }
    }
}

/// Counts, and hands on to who watches the call.
#[derive(Debug)]
pub(super) struct Tally {
    watcher: Arc<dyn EventSink>,
    spent: Mutex<Spent>,
}

impl Tally {
    /// The same call, counted.
    pub(super) fn count(cx: &Context) -> (Arc<Self>, Context) {
        let tally = Arc::new(Self { watcher: Arc::clone(&cx.events), spent: Mutex::default() });
        let cx = cx.clone().events(Arc::<Self>::clone(&tally));
        (tally, cx)
    }

    pub(super) fn spent(&self) -> Spent {
        *self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink for Tally {
    fn emit(&self, event: &Event) {
        if let EventKind::Spent { input_tokens, output_tokens, cost, saved, .. } = event.kind {
            let one = Spent { input_tokens, output_tokens, cost, reference_cost: cost + saved, saved };
            let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
            *spent = spent.plus(one);
        }
        self.watcher.emit(event);
    }
}
