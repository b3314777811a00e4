//! The bill of one attempt: money held before it, settled and written down after it, also when the caller left.

use std::{sync::Arc, time::Instant};

use super::{
    CacheHit,
    budgets::{Clock, Holds, Purpose},
    engine::RouterEngine,
    ledger::{Decision, Ledger, LedgerEntry},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{Price, Usage, estimate_tokens},
    money::NanoUsd,
    monitor::EventKind,
};

/// Milliseconds to a token that is thought: few models that do not show their thoughts are faster.
const THOUGHT_MS: u64 = 2;

/// What a paid attempt cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paid {
    pub(super) cost: NanoUsd,
    pub(super) reference_cost: NanoUsd,
}

/// What is to be paid for: one attempt of one model.
#[derive(Clone, Debug)]
pub(super) struct Charge<'a> {
    /// The id of the reply.
    pub(super) id: &'a str,
    /// The caller's name of the task.
    pub(super) tag: Option<&'a str>,
    /// The model that is called: it is its budgets that pay.
    pub(super) model: &'a str,
    /// The name of the key that pays, as far as that is known before: the first one of the model.
    pub(super) key: Option<&'a str>,
    pub(super) price: &'a Price,
    /// Tokens of the request, as far as they are known before.
    pub(super) input_tokens: u64,
    /// The most it can cost.
    pub(super) most: NanoUsd,
    /// What the model was chosen from, for the entry of an answer.
    pub(super) decision: Option<Arc<Decision>>,
}

/// Of one attempt. Dropped before it was paid, it settles what is known to have been spent: the tokens of the request
/// once the model had begun, and those of the text that came; or the most it can cost, where nobody can know.
#[derive(Debug)]
pub(super) struct Bill {
    ledger: Arc<Ledger>,
    cx: Context,
    clock: Clock,
    /// As an attempt that failed for as high a cost as there can be; what is not known yet is filled in.
    entry: LedgerEntry,
    decision: Option<Arc<Decision>>,
    price: Price,
    reference: Price,
    holds: Holds,
    since: Instant,
    begun: bool,
    begun_at: Option<Instant>,
    written_bytes: usize,
    /// Tokens of an answer that may be thoughts which nobody sees, and when the first piece came that is seen.
    unseen: u64,
    seen_at: Option<Instant>,
    /// What the model said that it took so far.
    heard: Option<Usage>,
    /// What counts until the model said what it took, where its text does not tell.
    worst: Option<NanoUsd>,
    /// What the model said it took, once it did, and what that costs.
    known: Option<(Usage, NanoUsd)>,
    paid: bool,
}

impl Bill {
    /// Holds the most that `charge` can cost on every budget that pays for it.
    ///
    /// # Errors
    /// `OverBudget` when one of them does not cover it; then nothing is held.
    pub(super) async fn open(engine: &RouterEngine, cx: &Context, charge: Charge<'_>) -> Result<Self> {
        let budgets = engine.budgets();
        let entry = LedgerEntry {
            id: charge.id.to_owned(),
            at_ms: budgets.now_ms(),
            tenant: cx.tenant.to_string(),
            tag: charge.tag.map(str::to_owned),
            model: charge.model.to_owned(),
            key: charge.key.map(str::to_owned),
            input_tokens: charge.input_tokens,
            cost: charge.most,
            saved: NanoUsd::ZERO - charge.most,
            failed: true,
            estimated: true,
            ..LedgerEntry::default()
        };
        let holds = cx.run(budgets.reserve(cx, &Purpose { entry: &entry })).await?;
        Ok(Self {
            ledger: Arc::clone(engine.ledger_book()),
            cx: cx.clone(),
            clock: budgets.clock(),
            entry,
            decision: charge.decision,
            price: charge.price.clone(),
            reference: engine.reference(),
            holds,
            since: Instant::now(),
            begun: false,
            begun_at: None,
            written_bytes: 0,
            unseen: 0,
            seen_at: None,
            heard: None,
            worst: None,
            known: None,
            paid: false,
        })
    }

    /// The most that it can cost.
    pub(super) fn most(&self) -> NanoUsd {
        self.entry.cost
    }

    /// The model may think before it writes, up to `tokens` with its answer, and does not show it.
    pub(super) fn may_think(&mut self, tokens: u64) {
        self.unseen = tokens;
    }

    /// The model said what it took, and that is booked later: no more is held than it cost.
    pub(super) fn hold_what_is_known(&mut self) {
        if let Some((usage, cost)) = self.known {
            let entry = self.entry(usage, Paid { cost, reference_cost: NanoUsd::ZERO });
            self.holds.shrink(cost, &entry);
        }
    }

    /// The model has begun: from here on the request is paid for.
    pub(super) fn begin(&mut self) {
        self.begun = true;
        self.begun_at.get_or_insert_with(Instant::now);
    }

    /// The request is on its way, and its answer will come as a whole: until it is there, the call may have cost `most`.
    pub(super) fn send(&mut self, most: NanoUsd) {
        (self.begun, self.worst) = (true, Some(most));
    }

    /// The request was refused: it costs nothing.
    pub(super) fn refused(&mut self) {
        self.begun = false;
    }

    /// No model is asked: the answer was given before.
    pub(super) fn take_from_cache(&mut self, hit: CacheHit) {
        self.entry.cache_hit = Some(hit);
    }

    /// Another key pays than the one that the money was held for.
    pub(super) fn paid_by(&mut self, key: String) {
        self.entry.key = Some(key);
    }

    /// The answer is for nobody but who judges it: it is not given out.
    pub(super) fn is_shadow(&mut self) {
        self.entry.shadow = true;
    }

    /// The model says what it took: that is what a failure from here on costs.
    pub(super) fn took(&mut self, usage: Usage) {
        self.known = Some((usage, self.price.cost(&usage)));
    }

    /// The model says what it took so far; what it writes from here on is not in it.
    pub(super) fn heard(&mut self, usage: Usage) {
        self.heard = Some(usage);
    }

    /// What the model said it took; nothing before it did.
    pub(super) fn usage(&self) -> Usage {
        self.known.map(|(usage, _)| usage).unwrap_or_default()
    }

    /// What `usage` costs.
    pub(super) fn cost(&self, usage: &Usage) -> NanoUsd {
        self.price.cost(usage)
    }

    /// The model wrote `bytes`, of text or of what is not given out.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written_bytes += bytes;
        self.seen_at.get_or_insert_with(Instant::now);
    }

    /// Pays for `usage`; returns after it is on disk, or staged with the unit of work. What fails here is not to be
    /// tried again: the answer was paid for, and the next one would be too.
    pub(super) async fn pay(self, usage: Usage) -> Result<Paid> {
        self.pay_instead_of(usage, &usage).await
    }

    /// The same, for an answer that the reference model would have given for `reference`.
    pub(super) async fn pay_instead_of(self, usage: Usage, reference: &Usage) -> Result<Paid> {
        let paid = Paid { cost: self.price.cost(&usage), reference_cost: self.reference.cost(reference) };
        self.pay_exactly(usage, paid).await
    }

    /// The same, where the price of the tokens does not say what it cost.
    pub(super) async fn pay_exactly(mut self, usage: Usage, paid: Paid) -> Result<Paid> {
        let entry = LedgerEntry {
            failed: false,
            estimated: false,
            decision: self.decision.take().map(|decision| Arc::unwrap_or_clone(decision).without_prompt()),
            ..self.entry(usage, paid)
        };
        (self.begun, self.known) = (true, Some((usage, paid.cost)));
        // Until the entry is queued, a dropped call leaves paying to `drop`; after that, nothing may pay again.
        let queued = self.ledger.append(self.cx.unit.as_ref(), entry.clone(), self.holds.held()).await;
        let receipt = queued.map_err(|e| e.retryable(false))?;
        self.settle(usage, paid, receipt.is_none(), &entry);
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
        let usage = self.so_far();
        let (usage, cost) =
            self.known.unwrap_or_else(|| (usage, self.worst.unwrap_or_else(|| self.price.cost(&usage))));
        // The reference model would not have needed the attempt: it saves nothing.
        let paid = Paid { cost, reference_cost: NanoUsd::ZERO };
        if paid.cost > NanoUsd::ZERO {
            let entry = LedgerEntry { estimated: self.known.is_none(), ..self.entry(usage, paid) };
            self.ledger.append_soon(self.cx.unit.as_ref(), entry.clone(), self.holds.held());
            self.settle(usage, paid, self.cx.unit.is_some(), &entry);
        }
        paid.cost
    }

    /// What it took as far as that is known: what the model said, and rather too many tokens for what it wrote.
    fn so_far(&self) -> Usage {
        let written = estimate_tokens(self.written_bytes);
        let since = self.begun_at.unwrap_or(self.since);
        let silent = self.seen_at.unwrap_or_else(Instant::now).saturating_duration_since(since);
        let unseen = (silent.as_millis() as u64 / THOUGHT_MS).min(self.unseen.saturating_sub(written));
        let heard = self.heard.unwrap_or_else(|| Usage::of(self.entry.input_tokens, 0));
        Usage { output_tokens: heard.output_tokens.max(written + unseen), ..heard }
    }

    /// A job is on its way that writes `entry`; `staged` when it waits for the end of a task.
    fn settle(&mut self, usage: Usage, paid: Paid, staged: bool, entry: &LedgerEntry) {
        self.paid = true;
        self.holds.settle(paid.cost, staged, entry);
        self.cx.emit(EventKind::Spent {
            model: entry.model.clone(),
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cost: paid.cost,
            saved: paid.reference_cost - paid.cost,
        });
    }

    fn entry(&self, usage: Usage, paid: Paid) -> LedgerEntry {
        LedgerEntry {
            at_ms: (self.clock)(),
            cost: paid.cost,
            reference_cost: paid.reference_cost,
            saved: paid.reference_cost - paid.cost,
            latency_ms: self.since.elapsed().as_millis() as u64,
            ..self.entry.clone()
        }
        .took(&usage)
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
