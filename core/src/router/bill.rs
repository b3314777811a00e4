//! The bill of one attempt: money held before it, settled and written down after it, also when the caller left.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::ledger::{Ledger, LedgerEntry};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Price, Usage, estimate_tokens},
    money::{Hold, NanoUsd},
    monitor::EventKind,
};

/// What a paid attempt cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paid {
    pub(super) cost: NanoUsd,
    pub(super) reference_cost: NanoUsd,
}

/// Of one attempt. Dropped before it was paid, it settles what is known to have been spent: the tokens of the request
/// once the model had begun, and those of the text that came; or the most it can cost, where nobody can know.
#[derive(Debug)]
pub(super) struct Bill {
    ledger: Arc<Ledger>,
    cx: Context,
    id: String,
    model: String,
    price: Price,
    reference: Price,
    holds: Vec<Hold>,
    input_tokens: u64,
    begun: bool,
    written_bytes: usize,
    /// What counts until the model said what it took, where its text does not tell.
    worst: Option<NanoUsd>,
    /// What the model said it took, once it did, and what that costs.
    known: Option<(Usage, NanoUsd)>,
    paid: bool,
}

impl Bill {
    pub(super) fn new(
        ledger: Arc<Ledger>,
        cx: &Context,
        id: &str,
        (model, price): (&str, Price),
        reference: Price,
        holds: Vec<Hold>,
        input_tokens: u64,
    ) -> Self {
        Self {
            ledger,
            cx: cx.clone(),
            id: id.to_owned(),
            model: model.to_owned(),
            price,
            reference,
            holds,
            input_tokens,
            begun: false,
            written_bytes: 0,
            worst: None,
            known: None,
            paid: false,
        }
    }

    /// The model has begun: from here on the request is paid for.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// The request is on its way, and its answer will come as a whole: until it is there, the call may have cost `most`.
    pub(super) fn send(&mut self, most: NanoUsd) {
        (self.begun, self.worst) = (true, Some(most));
    }

    /// The request was refused: it costs nothing.
    pub(super) fn refused(&mut self) {
        self.begun = false;
    }

    /// The model says what it took: that is what a failure from here on costs.
    pub(super) fn took(&mut self, usage: Usage) {
        self.known = Some((usage, self.price.cost(&usage)));
    }

    /// The model wrote `bytes` of text.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written_bytes += bytes;
    }

    /// Pays for `usage`; returns after it is on disk, or staged with the unit of work. What fails here is not to be
    /// tried again: the answer was paid for, and the next one would be too.
    pub(super) async fn pay(self, usage: Usage) -> Result<Paid> {
        let paid = Paid { cost: self.price.cost(&usage), reference_cost: self.reference.cost(&usage) };
        self.pay_exactly(usage, paid).await
    }

    /// The same, where the price of the tokens does not say what it cost.
    pub(super) async fn pay_exactly(mut self, usage: Usage, paid: Paid) -> Result<Paid> {
        let entry = self.entry(usage, paid);
        (self.begun, self.known) = (true, Some((usage, paid.cost)));
        // Until the entry is queued, a dropped call leaves paying to `drop`; after that, nothing may pay again.
        let queued = self.ledger.append(self.cx.unit.as_ref(), entry).await;
        let receipt = queued.map_err(|e| e.retryable(false))?;
        self.settle(usage, paid);
        if let Some(receipt) = receipt {
            receipt.committed().await.map_err(|e| e.retryable(false))?;
        }
        Ok(paid)
    }

    /// Pays for what an attempt that ended without an answer is known to have cost.
    pub(super) fn give_up(mut self) -> NanoUsd {
        self.pay_partly()
    }

    fn pay_partly(&mut self) -> NanoUsd {
        if self.paid || !self.begun {
            return NanoUsd::ZERO;
        }
        let output_tokens = estimate_tokens(self.written_bytes);
        let usage = Usage { input_tokens: self.input_tokens, cached_tokens: 0, output_tokens };
        let (usage, cost) =
            self.known.unwrap_or_else(|| (usage, self.worst.unwrap_or_else(|| self.price.cost(&usage))));
        // The reference model would not have needed the attempt: it saves nothing.
        let paid = Paid { cost, reference_cost: NanoUsd::ZERO };
        if paid.cost > NanoUsd::ZERO {
            self.ledger.append_soon(self.cx.unit.as_ref(), self.entry(usage, paid));
            self.settle(usage, paid);
        }
        paid.cost
    }

    fn settle(&mut self, usage: Usage, paid: Paid) {
        self.paid = true;
        for hold in self.holds.drain(..) {
            hold.settle(paid.cost);
        }
        self.cx.emit(EventKind::Spent {
            model: self.model.clone(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost: paid.cost,
            saved: paid.reference_cost - paid.cost,
        });
    }

    fn entry(&self, usage: Usage, paid: Paid) -> LedgerEntry {
        LedgerEntry {
            id: self.id.clone(),
            at_ms: now_ms(),
            tenant: self.cx.tenant.to_string(),
            model: self.model.clone(),
            input_tokens: usage.input_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            cost: paid.cost,
            reference_cost: paid.reference_cost,
            saved: paid.reference_cost - paid.cost,
        }
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        self.pay_partly();
    }
}

/// Whether a call that ended with `error` may be billed: the other side was at work, or says so by the fact `billed`.
pub(super) fn may_be_billed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Cancelled)
        || error.context().iter().any(|(name, _)| *name == "billed")
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
