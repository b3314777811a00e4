//! What an item said once: its versions, and those of what it says anew.

use std::collections::HashSet;

use super::{
    ItemVersion, Moment, expiry,
    namespace::{self, Namespace},
    past,
    record::Record,
    rows::item_value,
};
use crate::{error::Result, store::Read};

/// Items of a chain of `supersedes` that are followed each way at most.
const MOST: usize = 1_000;

/// The item under `id`.
pub(super) fn current(read: &Read<'_>, namespace: &Namespace, id: &str) -> Result<Option<Record>> {
    let Some(item) = read.tables.ids.get(read.txn, &namespace.id_key(id))? else { return Ok(None) };
    let stored = read.tables.items.get(read.txn, &namespace.item_key(item_value(item)?))?;
    stored.map(Record::from_bytes).transpose()
}

/// Notes what `record` says anew, and what it is said anew by.
fn follow(record: &Record, step: i32, ids: &mut Vec<(String, i32)>, seen: &mut HashSet<String>) {
    for (other, step) in [(&record.supersedes, step - 1), (&record.superseded_by, step + 1)] {
        ids.extend(other.iter().filter(|other| seen.insert((*other).clone())).map(|other| (other.clone(), step)));
    }
}

/// All versions of `id`, and of what it says anew or is said anew by, the oldest first. None of an unknown id.
pub(super) fn history(read: &Read<'_>, name: &str, id: &str) -> Result<Vec<ItemVersion>> {
    let Some(namespace) = namespace::find(read, name)? else { return Ok(Vec::new()) };
    // With each how many times it was said anew since `id`, less than 0 for what was before.
    let mut ids = vec![(id.to_owned(), 0_i32)];
    let mut seen = HashSet::from([id.to_owned()]);
    let mut at = 0;
    let mut versions = Vec::new();
    while at < ids.len() && at < MOST {
        let (id, step) = ids[at].clone();
        for version in past::of_id(read, &namespace, &id)? {
            let replaced = Moment::from_millis(i64::try_from(version.replaced_ms).unwrap_or(i64::MAX))?;
            follow(&version.record, step, &mut ids, &mut seen);
            versions.push((step, version.record, Some(replaced)));
        }
        let live = current(read, &namespace, &id)?.filter(|record| !expiry::is_over(record, Moment::now()));
        if let Some(record) = live {
            follow(&record, step, &mut ids, &mut seen);
            versions.push((step, record, None));
        }
        at += 1;
    }
    versions.sort_by_key(|(step, record, replaced)| (record.stored_ms, *step, replaced.is_none()));
    let shown =
        |(_, record, replaced): (i32, Record, Option<Moment>)| ItemVersion { item: record.into_item(name), replaced };
    Ok(versions.into_iter().map(shown).collect())
}
