//! Folders of earlier versions: their items get the rows that this one searches by.

use super::{
    duplicates::Fingerprint,
    entities, names,
    namespace::{self, FORM},
    record::Record,
    rows::{Change, item_of},
    words,
};
use crate::{
    error::Result,
    store::{Read, Store, Write},
};

/// Items of one transaction.
const STEP: usize = 5_000;

/// The namespaces whose rows are of an earlier form.
fn old(read: &Read<'_>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in namespace::all_names(read)? {
        if namespace::find(read, &name)?.is_some_and(|namespace| namespace.form < FORM) {
            found.push(name);
        }
    }
    Ok(found)
}

/// Gives all items of namespaces of an earlier form their rows, in steps: who is killed in between goes on the next time.
pub(super) async fn migrate(store: &Store) -> Result<()> {
    for name in store.read(old)? {
        tracing::info!("a namespace of an earlier version is made ready");
        loop {
            let step = name.clone();
            if store.write(move |write| migrate_some(write, &step)).await? {
                break;
            }
        }
    }
    Ok(())
}

/// One step; says whether it was the last.
fn migrate_some(write: &mut Write<'_, '_>, name: &str) -> Result<bool> {
    let Some(mut change) = Change::begin_known(write, name)? else { return Ok(true) };
    if change.namespace.form >= FORM {
        return Ok(true);
    }
    if change.namespace.migrated.is_none() {
        // Postings had a row for each item and term.
        for table in [write.tables.postings, write.tables.terms] {
            table.delete_prefix(write.txn, &change.namespace.prefix())?;
        }
        change.forget_words();
    }
    let from = change.namespace.migrated.unwrap_or_default();
    let keys = (change.namespace.item_key(from), change.namespace.item_key(u32::MAX));
    let mut found = Vec::new();
    for row in write.tables.items.between(write.txn, &keys.0, &keys.1)?.take(STEP) {
        let (key, value) = row?;
        found.push((item_of(key)?, Record::from_bytes(value)?));
    }
    let last = found.len() < STEP;
    for (item, record) in found {
        change.namespace.migrated = Some(item + 1);
        let words = words::of_text(&record.text);
        let fingerprint = Fingerprint::of(&record.text, &words);
        let reading = entities::read(&record.text, record.speaker.as_deref());
        let names = names::terms(&reading, &(0..record.text.len()));
        change.index_again(write, item, &record, (&words, &names), fingerprint)?;
    }
    if last {
        (change.namespace.form, change.namespace.migrated) = (FORM, None);
    }
    change.end(write)?;
    Ok(last)
}
