//! What every call cost and saved, in the store.

mod entry;
mod replay;

use std::collections::BTreeMap;

pub use entry::{Candidate, Decision, LedgerEntry, LedgerGroup, LedgerGroupTotals, LedgerQuery, LedgerTotals};
pub use replay::{ModelReplay, Policy, Replay};

use super::{
    budgets::{self, Held},
    labels,
};
use crate::{
    error::{Error, Result},
    store::{Job, Read, Receipt, Store, Unit, Write},
};

/// Bytes of a tenant's name at most: it is part of keys in the store.
const MAX_TENANT: usize = 256;
/// Bytes of a tag at most.
const MAX_TAG: usize = 64;
/// Entries of a query when it names no limit.
const DEFAULT_LIMIT: usize = 100;
/// The first byte of every sequence number, for as long as there are fewer than 2^56 entries.
const SEQUENCES: &[u8] = &[0];
/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
/// Old entries that are removed with one new one: more than one, so that a shorter retention is caught up with.
const REMOVED_AT_ONCE: usize = 4;

/// Checks that `tenant` can be part of a key.
pub(super) fn check_tenant(tenant: &str) -> Result<()> {
    if tenant.len() <= MAX_TENANT {
        return Ok(());
    }
    Err(Error::invalid(format!("a tenant's name has at most {MAX_TENANT} bytes")).with("bytes", tenant.len()))
}

/// Checks that `tag` names a task: prompts do not belong into the ledger.
pub(super) fn check_tag(tag: Option<&str>) -> Result<()> {
    match tag {
        Some(tag) if tag.is_empty() || tag.len() > MAX_TAG => {
            Err(Error::invalid(format!("a tag is a short name of the task, of 1 to {MAX_TAG} bytes"))
                .with("bytes", tag.len()))
        }
        _ => Ok(()),
    }
}

/// Writes and reads the ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Store,
    /// Days that entries are kept; none for ever.
    keep_days: Option<u32>,
}

impl Ledger {
    pub(super) fn new(store: Store, keep_days: Option<u32>) -> Self {
        Self { store, keep_days }
    }

    /// Queues `entry`, or stages it with the unit of work; what is `held` for it ends in the same commit. Once this
    /// returned, `entry` will be written; the receipt, if any, says when.
    pub(super) async fn append(
        &self,
        unit: Option<&Unit>,
        entry: LedgerEntry,
        held: Option<Held>,
    ) -> Result<Option<Receipt>> {
        match staged(unit, self.job(entry, held)) {
            Some(job) => self.store.enqueue(vec![job]).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes `entry` where nobody can wait for it: when a call was dropped.
    pub(super) fn append_soon(&self, unit: Option<&Unit>, entry: LedgerEntry, held: Option<Held>) {
        if let Some(job) = staged(unit, self.job(entry, held)) {
            self.store.enqueue_soon(vec![job]);
        }
    }

    fn job(&self, entry: LedgerEntry, held: Option<Held>) -> Job {
        let keep_days = self.keep_days;
        Box::new(move |write| {
            append(write, &entry)?;
            budgets::spend(write, &entry, held.as_ref())?;
            let keep_ms = keep_days.map(|days| u64::from(days).saturating_mul(DAY_MS));
            keep_ms.map_or(Ok(()), |keep_ms| remove_before(write, entry.at_ms.saturating_sub(keep_ms)))
        })
    }

    /// Entries that fit `query`, newest first. Blocks.
    pub(super) fn query(&self, query: &LedgerQuery) -> Result<Vec<LedgerEntry>> {
        let query = LedgerQuery { limit: query.limit.or(Some(DEFAULT_LIMIT)), ..query.clone() };
        let mut entries = Vec::new();
        self.each(&query, |_, entry| {
            entries.push(entry);
            Ok(())
        })?;
        Ok(entries)
    }

    /// The entries of the reply `id` among those that fit `query`, newest first. Blocks.
    pub(super) fn of_reply(&self, query: &LedgerQuery, id: &str) -> Result<Vec<LedgerEntry>> {
        let mut entries = Vec::new();
        self.each(query, |_, entry| {
            if entry.id == id {
                entries.push(entry);
            }
            Ok(())
        })?;
        Ok(entries)
    }

    /// Sums over the entries that fit `query`, by their groups, in the order of the groups' names. Blocks.
    pub(super) fn grouped(&self, by: LedgerGroup, query: &LedgerQuery) -> Result<Vec<LedgerGroupTotals>> {
        let mut groups = BTreeMap::<String, LedgerTotals>::new();
        self.each(query, |_, entry| {
            groups.entry(by.of(&entry)).or_default().add(&entry);
            Ok(())
        })?;
        Ok(groups.into_iter().map(|(group, totals)| LedgerGroupTotals { group, totals }).collect())
    }

    /// What the entries that fit `query` would have cost with another policy, see [`Replay`]. Blocks.
    pub(super) fn replay(&self, query: &LedgerQuery, policy: &Policy<'_>) -> Result<Replay> {
        let mut replay = Replay::default();
        self.each(query, |read, mut entry| {
            if let Some(decision) = &mut entry.decision {
                labels::recall_prompt(read, (&entry.tenant, &entry.id), &mut decision.request)?;
            }
            replay.add(&entry, policy);
            Ok(())
        })?;
        Ok(replay)
    }

    /// Looks at each entry that fits `query`, newest first, all in one snapshot.
    fn each(&self, query: &LedgerQuery, mut look: impl FnMut(&Read<'_>, LedgerEntry) -> Result<()>) -> Result<()> {
        let mut left = query.limit.unwrap_or(usize::MAX);
        // They are in the order in which they were written, which for a task that ran long is not that of their times.
        let oldest = query.since_ms.unwrap_or(0).saturating_sub(DAY_MS);
        self.store.read(|read| {
            each(read, |entry| {
                if left == 0 || entry.at_ms < oldest {
                    return Ok(false);
                }
                if query.fits(&entry) {
                    left -= 1;
                    look(read, entry)?;
                }
                Ok(true)
            })
        })
    }

    /// Sums over the entries of `tenant`, or over all; those of entries that were removed included.
    pub(super) fn totals(&self, tenant: Option<&str>) -> Result<LedgerTotals> {
        tenant.map_or(Ok(()), check_tenant)?;
        self.store.read(|read| Ok(read.tables.totals.get_json(read.txn, &totals_key(tenant))?.unwrap_or_default()))
    }
}

/// Looks at every entry, newest first, for as long as `look` says so.
pub(super) fn each(read: &Read<'_>, mut look: impl FnMut(LedgerEntry) -> Result<bool>) -> Result<()> {
    let table = &read.tables.ledger;
    let first = sequence(table.keys(read.txn, SEQUENCES)?.next().transpose()?);
    let mut next = sequence(table.last(read.txn, SEQUENCES)?.map(|(key, _)| key));
    while let (Some(at), Some(first)) = (next, first) {
        // Sequences have no gaps: entries are removed from the oldest on.
        if let Some(entry) = table.get_json(read.txn, &at.to_be_bytes())?
            && !look(entry)?
        {
            break;
        }
        next = at.checked_sub(1).filter(|at| *at >= first);
    }
    Ok(())
}

/// Stages `job` with `unit`; gives it back when there is none, or when its task has ended.
fn staged(unit: Option<&Unit>, job: Job) -> Option<Job> {
    match unit {
        Some(unit) => unit.stage(true, job).err(),
        None => Some(job),
    }
}

/// Appends `entry` and adds it to the sums.
pub(super) fn append(write: &mut Write<'_, '_>, entry: &LedgerEntry) -> Result<()> {
    let ledger = &write.tables.ledger;
    let last = sequence(ledger.last(write.txn, SEQUENCES)?.map(|(key, _)| key));
    let next = last.map_or(0, |last| last + 1);
    ledger.put_json(write.txn, &next.to_be_bytes(), entry)?;
    for key in [totals_key(None), totals_key(Some(&entry.tenant))] {
        let mut totals: LedgerTotals = write.tables.totals.get_json(write.txn, &key)?.unwrap_or_default();
        totals.add(entry);
        write.tables.totals.put_json(write.txn, &key, &totals)?;
    }
    Ok(())
}

/// Removes some of the entries from before `ms`, the oldest first. Sums keep what they had. The newest entry stays, since
/// the next one is numbered after it.
fn remove_before(write: &mut Write<'_, '_>, ms: u64) -> Result<()> {
    let ledger = &write.tables.ledger;
    for _ in 0..REMOVED_AT_ONCE {
        let Some(first) = sequence(ledger.keys(write.txn, SEQUENCES)?.next().transpose()?) else { return Ok(()) };
        let key = first.to_be_bytes();
        let old = ledger.get_json::<LedgerEntry>(write.txn, &key)?.is_some_and(|entry| entry.at_ms < ms);
        if !old {
            return Ok(());
        }
        ledger.delete(write.txn, &key)?;
    }
    Ok(())
}

fn sequence(key: Option<&[u8]>) -> Option<u64> {
    Some(u64::from_be_bytes(key?.try_into().ok()?))
}

fn totals_key(tenant: Option<&str>) -> Vec<u8> {
    tenant.map_or(vec![0], |tenant| [&[1], tenant.as_bytes()].concat())
}

#[cfg(test)]
mod tests;
