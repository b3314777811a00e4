//! What may be spent: the budgets of the settings, kept in the store, and that of the call.
//!
//! Money is held before each attempt and spent after it. What was spent is written in the transaction of the ledger entry,
//! so that it survives a kill and is the same for every process with the folder open. What is held is, with
//! `durable_holds`, written before the request is sent: a process that dies leaves its holds behind, and they count as
//! spent, since its provider may bill them.

mod config;
mod rows;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

pub use config::{BudgetConfig, BudgetScope, BudgetState};
pub(super) use rows::spend;
use rows::{HeldRow, ScopeId};
use tokio::sync::OnceCell;

use super::ledger::LedgerEntry;
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    money::{Hold, NanoUsd},
    monitor::EventKind,
    store::{Owner, Store, Write},
};

/// How often holds of other processes are looked after.
const LOOK_AGAIN_MS: u64 = 3_600_000;

/// Tells the time in milliseconds since the Unix epoch.
pub(super) type Clock = fn() -> u64;

/// The time by the clock of the system.
pub(super) fn system_clock() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// What is held for calls on their way, by scope and period.
pub(super) type OnTheirWay = Arc<Mutex<BTreeMap<(ScopeId, u64), NanoUsd>>>;

/// The budgets of the settings.
pub(super) struct Budgets {
    store: Store,
    clock: Clock,
    /// Whether what is held is written before a request is sent.
    durable: bool,
    all: Vec<Limited>,
    /// What this process holds without having written it, by scope and start of the period.
    held: OnTheirWay,
    /// Soft limits that were told to be passed, by scope and start of the period.
    told: Mutex<BTreeSet<(ScopeId, u64)>>,
    /// Done once: scopes are known to the store, and what dead processes held is spent.
    ready: OnceCell<()>,
    /// When that was done last, in milliseconds since the Unix epoch: it is done again from time to time, since a process
    /// may not have been dead for long enough.
    looked_ms: AtomicU64,
}

/// One budget.
struct Limited {
    id: ScopeId,
    scope: BudgetScope,
    limit: NanoUsd,
    soft: Option<NanoUsd>,
}

impl fmt::Debug for Budgets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgets").field("budgets", &self.all.len()).finish_non_exhaustive()
    }
}

/// A call that money is held for.
#[derive(Debug)]
pub(super) struct Purpose<'a> {
    /// What is written into the ledger when its process dies before it knows better: who pays, for which model, and as
    /// cost the most that it can be. The same amount is held.
    pub(super) entry: &'a LedgerEntry,
}

/// Money that is held for one attempt. Dropped, it is given back.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// On the budget of the call.
    call: Vec<Hold>,
    /// On those of the settings.
    kept: Option<Kept>,
}

/// What is held on the budgets of the settings.
#[derive(Debug)]
struct Kept {
    held: Held,
    /// Gives back what was written, unless a job does that.
    store: Option<Store>,
}

/// What is held, for the job that ends it. When the last clone is dropped, this process holds it no longer; what was
/// written stays until a job removes it.
#[derive(Clone, Debug)]
pub(super) struct Held(Arc<HeldInner>);

#[derive(Debug)]
struct HeldInner {
    scopes: Vec<(ScopeId, u64)>,
    /// Less than at first when a call took less and waits for the end of its task to be written down.
    amount: AtomicI64,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// A row of the store, by its number.
    Written([u8; 16]),
    /// In the memory of this process.
    Here(Arc<Mutex<BTreeMap<(ScopeId, u64), NanoUsd>>>),
}

impl HeldInner {
    fn add(&self, amount: i64) {
        let Form::Here(held) = &self.form else { return };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        for scope in &self.scopes {
            let here = held.entry(*scope).or_default();
            *here = NanoUsd(here.0.saturating_add(amount));
            if here.0 <= 0 {
                held.remove(scope);
            }
        }
    }
}

impl Drop for HeldInner {
    fn drop(&mut self) {
        self.add(-self.amount.load(Ordering::Relaxed));
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let (Some(store), Form::Written(number)) = (&self.store, &self.held.0.form) {
            let number = *number;
            store.enqueue_soon(vec![Box::new(move |write| rows::release(write, &number).map(drop))]);
        }
    }
}

impl Holds {
    /// What a job has to end that writes down what was spent. It is asked for again when such a job was never queued.
    pub(super) fn held(&self) -> Option<Held> {
        self.kept.as_ref().map(|kept| kept.held.clone())
    }

    /// A job is on its way that ends what is held here, for `spent`. When it waits for the end of a task (`staged`),
    /// what is left over is given back at once.
    pub(super) fn settle(&mut self, spent: NanoUsd, staged: bool, entry: &LedgerEntry) {
        for hold in self.call.drain(..) {
            hold.settle(spent);
        }
        let Some(mut kept) = self.kept.take() else { return };
        if let Some(store) = kept.store.take().filter(|_| staged) {
            kept.shrink(Some(&store), spent, entry);
        }
    }
}

impl Holds {
    /// What it cost is known, and is written down later: what is left over is given back.
    pub(super) fn shrink(&mut self, spent: NanoUsd, entry: &LedgerEntry) {
        for hold in self.call.drain(..) {
            hold.settle(spent);
        }
        let Some(kept) = &self.kept else { return };
        kept.shrink(kept.store.as_ref(), spent, entry);
    }
}

impl Kept {
    fn shrink(&self, store: Option<&Store>, spent: NanoUsd, entry: &LedgerEntry) {
        let held = &self.held.0;
        let before = held.amount.swap(spent.0, Ordering::Relaxed);
        held.add(spent.0 - before);
        if let (Form::Written(number), Some(store)) = (&held.form, store) {
            let (number, entry) = (*number, entry.clone());
            // Killed before it is written down, what the call took is known all the same.
            store.enqueue_soon(vec![Box::new(move |write| rows::shrink(write, &number, &entry))]);
        }
    }
}

impl Budgets {
    /// `held` is what other budgets of this process hold for calls on their way, see [`on_their_way`](Self::on_their_way).
    pub(super) fn new(
        budgets: &[BudgetConfig],
        durable: bool,
        (store, held): (Store, OnTheirWay),
        clock: Clock,
    ) -> Result<Self> {
        let read = budgets.iter().map(|budget| {
            let (scope, limit, soft) = budget.read()?;
            Ok(Limited { id: rows::id(&scope), scope, limit, soft })
        });
        let budgets = read.collect::<Result<Vec<_>>>()?;
        let mut ids = BTreeSet::new();
        if let Some(twice) = budgets.iter().find(|budget| !ids.insert(budget.id)) {
            return Err(Error::invalid(
                "two budgets of the router are for the same calls and period; keep one of them",
            )
            .with("budget", &twice.scope));
        }
        // Also without budgets: the ledger is to hear of what dead processes sent.
        let now = clock();
        store.enqueue_soon(vec![Box::new(move |write| rows::recover(write, now))]);
        let (ready, looked_ms) = (OnceCell::new(), AtomicU64::new(now));
        Ok(Self { store, clock, durable, all: budgets, held, told: Mutex::default(), ready, looked_ms })
    }

    /// What is held for calls on their way, for budgets that take the place of these.
    pub(super) fn on_their_way(&self) -> OnTheirWay {
        Arc::clone(&self.held)
    }

    /// Tells the time that budgets go by.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Holds the cost of `purpose` on every budget that the call spends from, or on none. Nothing is held for nothing.
    ///
    /// # Errors
    /// `OverBudget`, naming the budget, what is left and when it begins anew.
    pub(super) async fn reserve(&self, cx: &Context, purpose: &Purpose<'_>) -> Result<Holds> {
        let amount = purpose.entry.cost;
        if amount <= NanoUsd::ZERO {
            return Ok(Holds::default());
        }
        let call = cx.budget.iter().map(|budget| budget.reserve(amount)).collect::<Result<_>>()?;
        let now = self.now_ms();
        let ours: Vec<_> = self.all.iter().filter(|budget| budget.scope.covers(purpose.entry)).collect();
        if ours.is_empty() {
            return Ok(Holds { call, kept: None });
        }
        self.ready().await?;
        let limits: Vec<_> = ours.iter().map(|budget| budget.at(now)).collect();
        let (kept, taken) = if self.durable {
            self.reserve_written(&limits, purpose.entry).await?
        } else {
            self.reserve_here(&limits, amount)?
        };
        for (budget, taken) in ours.iter().zip(taken) {
            self.tell_soft(cx, budget, now, taken);
        }
        Ok(Holds { call, kept: Some(kept) })
    }

    async fn reserve_written(&self, limits: &[Limit], entry: &LedgerEntry) -> Result<(Kept, Vec<NanoUsd>)> {
        let number = *uuid::Uuid::now_v7().as_bytes();
        let scopes: Vec<_> = limits.iter().map(|limit| (limit.id, limit.start_ms)).collect();
        let amount = AtomicI64::new(entry.cost.0);
        let held = Held(Arc::new(HeldInner { scopes: scopes.clone(), amount, form: Form::Written(number) }));
        // From here on: also a call that is dropped while it waits for the commit gives the money back.
        let mut kept = Kept { held, store: Some(self.store.clone()) };
        let row = HeldRow { owner: Owner::me(), at_ms: self.now_ms(), scopes, entry: entry.clone() };
        let limits = limits.to_vec();
        let taken = self.store.write(move |write| rows::hold(write, &number, &row, &limits)).await;
        if taken.is_err() {
            // Nothing was written.
            kept.store = None;
        }
        Ok((kept, taken?))
    }

    fn reserve_here(&self, limits: &[Limit], amount: NanoUsd) -> Result<(Kept, Vec<NanoUsd>)> {
        // Locked before the snapshot is taken: what is settled in between is held or spent in it, never neither.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::with_capacity(limits.len());
        for limit in limits {
            let row = self.store.read(|read| rows::taken(read, limit.id, limit.start_ms))?;
            let here = held.get(&(limit.id, limit.start_ms)).copied().unwrap_or_default();
            all.push(limit.check(row + here, amount)?);
        }
        let scopes: Vec<_> = limits.iter().map(|limit| (limit.id, limit.start_ms)).collect();
        for scope in &scopes {
            let here = held.entry(*scope).or_default();
            *here = *here + amount;
        }
        let form = Form::Here(Arc::clone(&self.held));
        let held = Held(Arc::new(HeldInner { scopes, amount: AtomicI64::new(amount.0), form }));
        Ok((Kept { held, store: Some(self.store.clone()) }, all))
    }

    /// Whether a soft limit is passed that covers calls of `tenant` and `tag` on any model.
    pub(super) async fn is_thrifty(&self, tenant: &str, tag: Option<&str>) -> Result<bool> {
        let soft =
            |budget: &&Limited| budget.soft.is_some() && budget.scope.model.is_none() && budget.scope.key.is_none();
        let entry = LedgerEntry { tenant: tenant.into(), tag: tag.map(str::to_owned), ..LedgerEntry::default() };
        let ours: Vec<_> = self.all.iter().filter(soft).filter(|budget| budget.scope.covers(&entry)).collect();
        if ours.is_empty() {
            return Ok(false);
        }
        self.ready().await?;
        let now = self.now_ms();
        for budget in ours {
            let taken = self.taken(budget, now)?;
            if budget.soft.is_some_and(|soft| taken >= soft) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether every budget that pays for `entry` stays within its soft limit when it costs what it says.
    pub(super) async fn is_within_soft(&self, entry: &LedgerEntry) -> Result<bool> {
        let ours: Vec<_> =
            self.all.iter().filter(|budget| budget.soft.is_some() && budget.scope.covers(entry)).collect();
        if ours.is_empty() {
            return Ok(true);
        }
        self.ready().await?;
        let now = self.now_ms();
        for budget in ours {
            let taken = self.taken(budget, now)?;
            if budget.soft.is_some_and(|soft| taken + entry.cost > soft) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How each budget stands now.
    pub(super) async fn states(&self) -> Result<Vec<BudgetState>> {
        self.ready().await?;
        let now = self.now_ms();
        let states = self.all.iter().map(|budget| {
            let start = budget.scope.period.start_ms(now);
            let spent = self.store.read(|read| rows::spent(read, budget.id, start))?;
            Ok(BudgetState {
                scope: budget.scope.clone(),
                limit: budget.limit,
                soft: budget.soft,
                spent,
                held: self.taken(budget, now)? - spent,
                ends_ms: budget.scope.period.end_ms(now),
            })
        });
        states.collect()
    }

    fn taken(&self, budget: &Limited, now: u64) -> Result<NanoUsd> {
        let start = budget.scope.period.start_ms(now);
        let here = self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&(budget.id, start)).copied();
        Ok(self.store.read(|read| rows::taken(read, budget.id, start))? + here.unwrap_or_default())
    }

    /// Makes the scopes known to the store: from now on every process counts what is spent in them.
    async fn ready(&self) -> Result<()> {
        let now = self.now_ms();
        self.ready.get_or_try_init(|| async { self.store.write(self.look(now)).await }).await?;
        let last = self.looked_ms.load(Ordering::Relaxed);
        let due = now >= last.saturating_add(LOOK_AGAIN_MS);
        if due && self.looked_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.store.enqueue_soon(vec![Box::new(self.look(now))]);
        }
        Ok(())
    }

    /// Tells the store of the scopes, and looks after what other processes left behind.
    fn look(&self, now: u64) -> impl FnMut(&mut Write<'_, '_>) -> Result<()> + Send + use<> {
        let scopes: Vec<_> = self.all.iter().map(|budget| (budget.id, budget.scope.clone())).collect();
        move |write| {
            for (id, scope) in &scopes {
                rows::define(write, *id, scope, now)?;
            }
            rows::recover(write, now)?;
            rows::forget(write, now)
        }
    }

    fn tell_soft(&self, cx: &Context, budget: &Limited, now: u64, taken: NanoUsd) {
        let Some(soft) = budget.soft.filter(|soft| taken > *soft) else { return };
        let start = budget.scope.period.start_ms(now);
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((budget.id, start)) {
            let (name, limit) = (budget.scope.to_string(), budget.limit);
            tracing::warn!(budget = name, taken = %taken, soft = %soft, "a budget is past its soft limit");
            cx.emit(EventKind::BudgetLow { budget: name, taken, soft, limit });
        }
    }
}

impl Limited {
    fn at(&self, now: u64) -> Limit {
        let period = self.scope.period;
        Limit {
            id: self.id,
            start_ms: period.start_ms(now),
            ends_ms: period.end_ms(now),
            most: self.limit,
            name: self.scope.to_string(),
        }
    }
}

/// A budget in one period.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    id: ScopeId,
    start_ms: u64,
    ends_ms: Option<u64>,
    most: NanoUsd,
    name: String,
}

impl Limit {
    /// What is taken with `amount` on top of `taken`.
    fn check(&self, taken: NanoUsd, amount: NanoUsd) -> Result<NanoUsd> {
        if taken + amount <= self.most {
            return Ok(taken + amount);
        }
        let message = "the budget does not cover this call; raise it, wait for its next period or ask for less";
        let mut error = Error::new(ErrorKind::OverBudget, message)
            .during("Budgets::reserve")
            .with("budget", &self.name)
            .with("needed", amount)
            .with("left", self.most - taken)
            .with("limit", self.most);
        if let Some(ends_ms) = self.ends_ms {
            error = error.with("ends_ms", ends_ms);
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests;
