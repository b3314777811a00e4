//! The bill of one attempt: money held before it, settled and written down after it, also when the caller left.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::ledger::{Ledger, LedgerEntry};
use crate::{
    context::Context,
    error::Result,
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
/// once the model had begun, and those of the text that came.
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
    /// What the model said it took, once it did.
    usage: Option<Usage>,
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
            usage: None,
            paid: false,
        }
    }

    /// The model has begun: from here on the request is paid for.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// The model wrote `bytes` of text.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written_bytes += bytes;
    }

    /// Pays for `usage`; returns after it is on disk, or staged with the unit of work.
    pub(super) async fn pay(self, usage: Usage) -> Result<Paid> {
        let paid = Paid { cost: self.price.cost(&usage), reference_cost: self.reference.cost(&usage) };
        self.pay_exactly(usage, paid).await
    }

    /// The same, where the price of the tokens does not say what it cost.
    pub(super) async fn pay_exactly(mut self, usage: Usage, paid: Paid) -> Result<Paid> {
        let entry = self.entry(usage, paid);
        (self.begun, self.usage) = (true, Some(usage));
        // Until the entry is queued, a dropped call leaves paying to `drop`; after that, nothing may pay again.
        let receipt = self.ledger.append(self.cx.unit.as_ref(), entry).await?;
        self.settle(usage, paid);
        if let Some(receipt) = receipt {
            receipt.committed().await?;
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
        let known = Usage { input_tokens: self.input_tokens, cached_tokens: 0, output_tokens };
        let usage = self.usage.unwrap_or(known);
        // The reference model would not have needed the attempt: it saves nothing.
        let paid = Paid { cost: self.price.cost(&usage), reference_cost: NanoUsd::ZERO };
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

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}
