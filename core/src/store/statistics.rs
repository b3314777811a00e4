//! What a store holds, and how much room that takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Store, table::StoreResultExt, tables::Tables};
use crate::error::Result;

/// What a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TableStatistics {
    /// Its rows.
    pub rows: u64,
    /// Bytes of its pages.
    pub bytes: u64,
}

/// What a store holds, and how much room that takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Bytes of the file.
    pub bytes: u64,
    /// Those that hold nothing: writes take them before the file grows, and compacting gives them back.
    pub free: u64,
    /// The version of the layout.
    pub schema: u32,
    /// Tables that hold anything, by name.
    pub tables: BTreeMap<String, TableStatistics>,
}

impl Store {
    /// What the store holds. Takes microseconds, however much that is.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged.
    pub fn statistics(&self) -> Result<StoreStatistics> {
        let (bytes, root) = self.0.environment.sizes();
        self.read(|read| {
            let mut tables = BTreeMap::new();
            let stats = read.tables.checked().map(|table| (table.name, table.database.stat(read.txn)));
            let ann = (Tables::ANN, read.tables.ann.stat(read.txn));
            for (name, stat) in stats.into_iter().chain([ann]) {
                let stat = stat.stored(name)?;
                let rows = stat.entries as u64;
                if rows > 0 {
                    tables.insert(name.to_owned(), TableStatistics { rows, bytes: pages_of(&stat) });
                }
            }
            let used: u64 = root + tables.values().map(|table| table.bytes).sum::<u64>();
            let schema = read.tables.meta.get_json(read.txn, b"schema")?.unwrap_or_default();
            Ok(StoreStatistics { bytes, free: bytes.saturating_sub(used), schema, tables })
        })
    }
}

/// Bytes of the pages of a table.
pub(super) fn pages_of(stat: &heed::DatabaseStat) -> u64 {
    (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size)
}
