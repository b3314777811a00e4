//! Budgets in the store: which scopes there are, what was spent in each, and what is held for calls on their way.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Form, Held, Limit, config::BudgetScope};
use crate::{
    error::Result,
    money::NanoUsd,
    router::ledger::{self, LedgerEntry},
    store::{Owner, Read, Write},
};

/// Names a scope: the SHA-256 of its JSON form.
pub(super) type ScopeId = [u8; 32];

/// After so long a hold is of a process that nothing is known of, such as one in another container: no call takes a day.
const FORGOTTEN_MS: u64 = 86_400_000;

/// A scope that no settings named for so long is not counted for any more.
const UNNAMED_MS: u64 = 90 * FORGOTTEN_MS;

/// A scope that calls are counted for.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ScopeRow {
    #[serde(flatten)]
    scope: BudgetScope,
    /// When settings named it last; 0 where an older version wrote it.
    #[serde(default)]
    named_ms: u64,
}

/// What was spent in one scope and period, and what is held there by rows of the table.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct SpentRow {
    spent: NanoUsd,
    held: NanoUsd,
}

/// What is held for one attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HeldRow {
    pub(super) owner: Owner,
    pub(super) at_ms: u64,
    pub(super) scopes: Vec<(ScopeId, u64)>,
    /// What it cost, as far as is known: at first the most it can; that is what is held.
    pub(super) entry: LedgerEntry,
}

pub(super) fn id(scope: &BudgetScope) -> ScopeId {
    let parts = [&scope.tenant, &scope.key, &scope.tag, &scope.model];
    let mut hasher = Sha256::new();
    for part in parts {
        // Absent is not empty, and no two lists of parts run together into the same bytes.
        hasher.update([u8::from(part.is_some())]);
        let text = part.as_deref().unwrap_or_default();
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    hasher.update([scope.period as u8]);
    hasher.finalize().into()
}

fn scope_key(id: ScopeId) -> Vec<u8> {
    [&b"d"[..], &id].concat()
}

fn spent_key(id: ScopeId, start_ms: u64) -> Vec<u8> {
    [&b"s"[..], &id, &start_ms.to_be_bytes()].concat()
}

fn held_key(number: &[u8; 16]) -> Vec<u8> {
    [&b"h"[..], number].concat()
}

/// What is spent and held.
pub(super) fn taken(read: &Read<'_>, id: ScopeId, start_ms: u64) -> Result<NanoUsd> {
    let row: Option<SpentRow> = read.tables.budgets.get_json(read.txn, &spent_key(id, start_ms))?;
    Ok(row.map_or(NanoUsd::ZERO, |row| row.spent + row.held))
}

/// What is spent.
pub(super) fn spent(read: &Read<'_>, id: ScopeId, start_ms: u64) -> Result<NanoUsd> {
    let row: Option<SpentRow> = read.tables.budgets.get_json(read.txn, &spent_key(id, start_ms))?;
    Ok(row.unwrap_or_default().spent)
}

fn change(write: &mut Write<'_, '_>, id: ScopeId, start_ms: u64, change: impl FnOnce(&mut SpentRow)) -> Result<()> {
    let (table, key) = (&write.tables.budgets, spent_key(id, start_ms));
    let mut row: SpentRow = table.get_json(write.txn, &key)?.unwrap_or_default();
    change(&mut row);
    table.put_json(write.txn, &key, &row)
}

/// Makes `scope` known. What was spent in its period before it was is summed up from the ledger.
pub(super) fn define(write: &mut Write<'_, '_>, id: ScopeId, scope: &BudgetScope, now_ms: u64) -> Result<()> {
    let table = &write.tables.budgets;
    let named = ScopeRow { scope: scope.clone(), named_ms: now_ms };
    if let Some(known) = table.get_json::<ScopeRow>(write.txn, &scope_key(id))? {
        let lately = now_ms < known.named_ms.saturating_add(FORGOTTEN_MS);
        return if lately { Ok(()) } else { table.put_json(write.txn, &scope_key(id), &named) };
    }
    let start = scope.period.start_ms(now_ms);
    let mut spent = NanoUsd::ZERO;
    ledger::each(&Read { tables: write.tables, txn: write.txn }, |entry| {
        if entry.at_ms >= start && scope.covers(&entry) {
            spent = spent + entry.cost;
        }
        // They are in order, but for clocks that differ.
        Ok(entry.at_ms.saturating_add(FORGOTTEN_MS) >= start)
    })?;
    table.put_json(write.txn, &scope_key(id), &named)?;
    change(write, id, start, |row| row.spent = spent)
}

/// Holds what `row` costs, if every limit allows; answers what is then taken of each.
pub(super) fn hold(
    write: &mut Write<'_, '_>,
    number: &[u8; 16],
    row: &HeldRow,
    limits: &[Limit],
) -> Result<Vec<NanoUsd>> {
    let amount = row.entry.cost;
    let mut all = Vec::with_capacity(limits.len());
    for limit in limits {
        let taken = taken(&Read { tables: write.tables, txn: write.txn }, limit.id, limit.start_ms)?;
        all.push(limit.check(taken, amount)?);
    }
    for limit in limits {
        change(write, limit.id, limit.start_ms, |row| row.held = row.held + amount)?;
    }
    write.tables.budgets.put_json(write.txn, &held_key(number), row)?;
    Ok(all)
}

/// Ends a hold; answers it, if it was still there.
pub(super) fn release(write: &mut Write<'_, '_>, number: &[u8; 16]) -> Result<Option<HeldRow>> {
    let (table, key) = (&write.tables.budgets, held_key(number));
    let Some(row) = table.get_json::<HeldRow>(write.txn, &key)? else { return Ok(None) };
    table.delete(write.txn, &key)?;
    for (id, start_ms) in &row.scopes {
        change(write, *id, *start_ms, |spent| spent.held = spent.held - row.entry.cost)?;
    }
    Ok(Some(row))
}

/// Holds no more than what `entry` cost: it is written down when its task ends.
pub(super) fn shrink(write: &mut Write<'_, '_>, number: &[u8; 16], entry: &LedgerEntry) -> Result<()> {
    let Some(row) = release(write, number)? else { return Ok(()) };
    for (id, start_ms) in &row.scopes {
        change(write, *id, *start_ms, |spent| spent.held = spent.held + entry.cost)?;
    }
    write.tables.budgets.put_json(write.txn, &held_key(number), &HeldRow { entry: entry.clone(), ..row })
}

/// Counts what `entry` cost in every scope that covers it, in the period in which it was held, and ends the hold.
pub(in crate::router) fn spend(write: &mut Write<'_, '_>, entry: &LedgerEntry, held: Option<&Held>) -> Result<()> {
    if let Some(Form::Written(number)) = held.map(|held| &held.0.form) {
        release(write, number)?;
    }
    let periods = held.map(|held| held.0.scopes.as_slice()).unwrap_or_default();
    count(write, entry, periods)
}

fn count(write: &mut Write<'_, '_>, entry: &LedgerEntry, periods: &[(ScopeId, u64)]) -> Result<()> {
    if entry.cost == NanoUsd::ZERO {
        return Ok(());
    }
    let table = &write.tables.budgets;
    let mut ours = Vec::new();
    for row in table.prefix(write.txn, b"d")? {
        let (key, value) = row?;
        let ScopeRow { scope, .. } = table.parse(value)?;
        if let Some(id) = key.get(1..).and_then(|id| ScopeId::try_from(id).ok()).filter(|_| scope.covers(entry)) {
            let reserved = periods.iter().find(|(of, _)| *of == id).map(|(_, start)| *start);
            ours.push((id, reserved.unwrap_or_else(|| scope.period.start_ms(entry.at_ms))));
        }
    }
    for (id, start_ms) in ours {
        change(write, id, start_ms, |row| row.spent = row.spent + entry.cost)?;
    }
    Ok(())
}

/// Spends what processes held that have ended: their providers may bill it. It stands in the ledger as attempts that
/// failed.
pub(super) fn recover(write: &mut Write<'_, '_>, now_ms: u64) -> Result<()> {
    let table = &write.tables.budgets;
    let mut left = Vec::new();
    for row in table.prefix(write.txn, b"h")? {
        let (key, value) = row?;
        let row: HeldRow = table.parse(value)?;
        let forgotten = now_ms.saturating_sub(row.at_ms) > FORGOTTEN_MS;
        let ended = !row.owner.is_me() && (row.owner.is_gone() || row.owner.is_of_another_boot() || forgotten);
        if let Some(number) = key.get(1..).and_then(|number| <[u8; 16]>::try_from(number).ok()).filter(|_| ended) {
            left.push(number);
        }
    }
    for number in left {
        if let Some(row) = release(write, &number)? {
            ledger::append(write, &row.entry)?;
            count(write, &row.entry, &row.scopes)?;
        }
    }
    Ok(())
}

/// Forgets the scopes that no settings name any more.
pub(super) fn forget(write: &mut Write<'_, '_>, now_ms: u64) -> Result<()> {
    let table = &write.tables.budgets;
    let (mut gone, mut undated) = (Vec::new(), Vec::new());
    for row in table.prefix(write.txn, b"d")? {
        let (key, value) = row?;
        let row: ScopeRow = table.parse(value)?;
        if row.named_ms == 0 {
            undated.push((key.to_vec(), ScopeRow { named_ms: now_ms, ..row }));
        } else if row.named_ms.saturating_add(UNNAMED_MS) < now_ms {
            gone.push(key.to_vec());
        }
    }
    for (key, row) in undated {
        table.put_json(write.txn, &key, &row)?;
    }
    for key in gone {
        table.delete(write.txn, &key)?;
    }
    Ok(())
}
