//! What every call cost and saved, in the store.

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    money::NanoUsd,
    store::{Job, Receipt, Store, Unit},
};

/// One call, or what a failed or dropped attempt of one cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LedgerEntry {
    /// The id of the reply; attempts that failed before it have the same.
    pub id: String,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Who it was for; empty for none.
    pub tenant: String,
    /// The model.
    pub model: String,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens of the request that the provider had cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost.
    pub cost: NanoUsd,
    /// What the same tokens would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
}

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LedgerQuery {
    /// Of this tenant; all when absent.
    pub tenant: Option<String>,
    /// From this time on, in milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// At most this many, newest first. Default 100.
    pub limit: Option<usize>,
}

/// Sums over entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LedgerTotals {
    /// Calls.
    pub calls: u64,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens of requests that providers had cached.
    pub cached_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What they cost.
    pub cost: NanoUsd,
    /// What they would have cost on the reference model.
    pub reference_cost: NanoUsd,
    /// The difference.
    pub saved: NanoUsd,
}

impl LedgerTotals {
    fn add(&mut self, entry: &LedgerEntry) {
        self.calls += 1;
        self.input_tokens += entry.input_tokens;
        self.cached_tokens += entry.cached_tokens;
        self.output_tokens += entry.output_tokens;
        self.cost = self.cost + entry.cost;
        self.reference_cost = self.reference_cost + entry.reference_cost;
        self.saved = self.saved + entry.saved;
    }
}

/// Bytes of a tenant's name at most: it is part of keys in the store.
const MAX_TENANT: usize = 256;
/// Entries of a query when it names no limit.
const DEFAULT_LIMIT: usize = 100;
/// The first byte of every sequence number, for as long as there are fewer than 2^56 entries.
const SEQUENCES: &[u8] = &[0];

/// Checks that `tenant` can be part of a key.
pub(super) fn check_tenant(tenant: &str) -> Result<()> {
    if tenant.len() <= MAX_TENANT {
        return Ok(());
    }
    Err(Error::invalid(format!("a tenant's name has at most {MAX_TENANT} bytes")).with("bytes", tenant.len()))
}

/// Writes and reads the ledger.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Store,
}

impl Ledger {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Queues `entry`, or stages it with the unit of work. Once this returned, `entry` will be written; the receipt,
    /// if any, says when.
    pub(super) async fn append(&self, unit: Option<&Unit>, entry: LedgerEntry) -> Result<Option<Receipt>> {
        match staged(unit, job(entry)) {
            Some(job) => self.store.enqueue(vec![job]).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes `entry` where nobody can wait for it: when a call was dropped.
    pub(super) fn append_soon(&self, unit: Option<&Unit>, entry: LedgerEntry) {
        if let Some(job) = staged(unit, job(entry)) {
            self.store.enqueue_soon(vec![job]);
        }
    }

    /// Entries that fit `query`, newest first. Blocks.
    pub(super) fn query(&self, query: &LedgerQuery) -> Result<Vec<LedgerEntry>> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        let fits = |entry: &LedgerEntry| {
            query.tenant.as_ref().is_none_or(|tenant| *tenant == entry.tenant)
                && query.since_ms.is_none_or(|since| entry.at_ms >= since)
        };
        self.store.read(|read| {
            let table = &read.tables.ledger;
            let mut entries = Vec::new();
            let mut next = last_sequence(table.last(read.txn, SEQUENCES)?.map(|(key, _)| key));
            while let Some(sequence) = next.filter(|_| entries.len() < limit) {
                let entry = table.get_json::<LedgerEntry>(read.txn, &sequence.to_be_bytes())?;
                entries.extend(entry.filter(fits));
                next = sequence.checked_sub(1);
            }
            Ok(entries)
        })
    }

    /// Sums over the entries of `tenant`, or over all.
    pub(super) fn totals(&self, tenant: Option<&str>) -> Result<LedgerTotals> {
        tenant.map_or(Ok(()), check_tenant)?;
        self.store.read(|read| Ok(read.tables.totals.get_json(read.txn, &totals_key(tenant))?.unwrap_or_default()))
    }
}

/// Stages `job` with `unit`; gives it back when there is none, or when its task has ended.
fn staged(unit: Option<&Unit>, job: Job) -> Option<Job> {
    match unit {
        Some(unit) => unit.stage(true, job).err(),
        None => Some(job),
    }
}

/// Appends `entry` and adds it to the sums, in one transaction.
fn job(entry: LedgerEntry) -> Job {
    Box::new(move |write| {
        let ledger = &write.tables.ledger;
        let last = last_sequence(ledger.last(write.txn, SEQUENCES)?.map(|(key, _)| key));
        let sequence = last.map_or(0, |last| last + 1);
        ledger.put_json(write.txn, &sequence.to_be_bytes(), &entry)?;
        for key in [totals_key(None), totals_key(Some(&entry.tenant))] {
            let mut totals: LedgerTotals = write.tables.totals.get_json(write.txn, &key)?.unwrap_or_default();
            totals.add(&entry);
            write.tables.totals.put_json(write.txn, &key, &totals)?;
        }
        Ok(())
    })
}

fn last_sequence(key: Option<&[u8]>) -> Option<u64> {
    Some(u64::from_be_bytes(key?.try_into().ok()?))
}

fn totals_key(tenant: Option<&str>) -> Vec<u8> {
    tenant.map_or(vec![0], |tenant| [&[1], tenant.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;

    fn entry(id: u64, tenant: &str, cost: i64) -> LedgerEntry {
        LedgerEntry {
            id: id.to_string(),
            at_ms: id,
            tenant: tenant.into(),
            model: "m".into(),
            input_tokens: 10,
            cached_tokens: 1,
            output_tokens: 5,
            cost: NanoUsd(cost),
            reference_cost: NanoUsd(100),
            saved: NanoUsd(100 - cost),
        }
    }

    fn open() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
        (folder, Ledger::new(store))
    }

    #[tokio::test]
    async fn entries_come_newest_first_and_sums_agree() {
        let (_folder, ledger) = open();
        for id in 0..300_u64 {
            let tenant = if id % 3 == 0 { "ada" } else { "" };
            let receipt = ledger.append(None, entry(id, tenant, id as i64)).await.unwrap();
            if id == 299 {
                receipt.unwrap().committed().await.unwrap();
            }
        }
        let all = ledger.query(&LedgerQuery::default()).unwrap();
        assert_eq!(all.len(), 100);
        assert!(all.windows(2).all(|pair| pair[0].at_ms > pair[1].at_ms) && all[0].id == "299");
        let query = LedgerQuery { tenant: Some("ada".into()), since_ms: Some(150), limit: Some(1000) };
        let ada = ledger.query(&query).unwrap();
        assert_eq!(ada.len(), 50);
        let totals = ledger.totals(None).unwrap();
        assert_eq!((totals.calls, totals.cost, totals.input_tokens), (300, NanoUsd(299 * 150), 3000));
        assert_eq!(ledger.totals(Some("ada")).unwrap().calls, 100);
        assert_eq!(ledger.totals(Some("")).unwrap().calls, 200, "calls without a tenant are not all calls");
        assert_eq!(ledger.totals(Some("bob")).unwrap(), LedgerTotals::default());
        assert_eq!(totals.reference_cost - totals.cost, totals.saved);
    }

    #[tokio::test]
    async fn an_entry_of_a_unit_waits_for_it_and_survives_its_failure() {
        let (_folder, ledger) = open();
        let unit = Unit::default();
        assert!(ledger.append(Some(&unit), entry(1, "", 5)).await.unwrap().is_none());
        assert_eq!(ledger.totals(None).unwrap().calls, 0);
        ledger.store.commit(unit.take(false)).await.unwrap();
        assert_eq!(ledger.totals(None).unwrap().calls, 1);
    }

    #[test]
    fn what_a_dropped_call_spent_is_written_outside_a_runtime() {
        let (folder, ledger) = open();
        ledger.append_soon(None, entry(1, "", 5));
        drop(ledger);
        let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
        assert_eq!(Ledger::new(store).totals(None).unwrap().cost, NanoUsd(5));
    }

    #[tokio::test]
    async fn an_entry_for_a_unit_that_ended_is_written_at_once() {
        let (_folder, ledger) = open();
        let unit = Unit::default();
        assert!(unit.take(true).is_empty());
        ledger.append(Some(&unit), entry(1, "", 5)).await.unwrap().unwrap().committed().await.unwrap();
        ledger.append_soon(Some(&unit), entry(2, "", 7));
        ledger.store.flush().await.unwrap();
        assert_eq!(ledger.totals(None).unwrap().cost, NanoUsd(12));
    }
}
