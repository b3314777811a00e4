//! What is forgotten by itself: items whose time to live is over.

use super::{
    Moment, graph,
    namespace::Namespace,
    record::Record,
    rows::{Change, malformed},
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// Items that one transaction forgets at most.
const MOST: usize = 1_000;

/// Times sort as they are.
fn key(namespace: &Namespace, item: u32, expires: Moment) -> Vec<u8> {
    [&time(expires)[..], &namespace.item_key(item)].concat()
}

fn time(moment: Moment) -> [u8; 8] {
    (moment.as_millis() as u64 ^ (1 << 63)).to_be_bytes()
}

/// Notes when an item is to be forgotten, if it is.
pub(super) fn put(
    write: &mut Write<'_, '_>,
    (name, namespace): (&str, &Namespace),
    item: u32,
    record: &Record,
) -> Result<()> {
    let Some(expires) = record.expires else { return Ok(()) };
    let value = [name.as_bytes(), &[0], record.id.as_bytes()].concat();
    // The name of a namespace of a tenant has a NUL in it, an id has none.
    write.tables.expiry.put(write.txn, &key(namespace, item, expires), &value)
}

pub(super) fn remove(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    item: u32,
    expires: Option<Moment>,
) -> Result<()> {
    let Some(expires) = expires else { return Ok(()) };
    write.tables.expiry.delete(write.txn, &key(namespace, item, expires)).map(drop)
}

/// Removes all times of a namespace.
pub(super) fn clear(write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
    let prefix = namespace.prefix();
    let mut keys = Vec::new();
    for key in write.tables.expiry.keys(write.txn, b"")? {
        let key = key?;
        if key.get(8..12) == Some(&prefix[..]) {
            keys.push(key.to_vec());
        }
    }
    for key in keys {
        write.tables.expiry.delete(write.txn, &key)?;
    }
    Ok(())
}

/// Whether there is something whose time is over.
pub(super) fn is_due(read: &Read<'_>, now: Moment) -> Result<bool> {
    let first = read.tables.expiry.keys(read.txn, b"")?.next().transpose()?;
    Ok(first.is_some_and(|key| key < &time(now)[..]))
}

/// Forgets what is over; says whether there may be more.
pub(super) fn sweep(write: &mut Write<'_, '_>, now: Moment) -> Result<bool> {
    let mut over = Vec::new();
    for row in write.tables.expiry.between(write.txn, &[0], &time(now))?.take(MOST) {
        let (_, value) = row?;
        let at = value.iter().rposition(|byte| *byte == 0).ok_or_else(|| malformed("expiry"))?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| malformed("expiry"));
        over.push((text(&value[..at])?, text(&value[at + 1..])?));
    }
    let count = over.len();
    over.sort_unstable();
    for items in over.chunk_by(|a, b| a.0 == b.0) {
        let Some((name, _)) = items.first() else { continue };
        let Some(mut change) = Change::begin_known(write, name)? else { continue };
        for (_, id) in items {
            if change.remove(write, id)? {
                graph::remove_all_of(write, &change.namespace, id)?;
            }
        }
        change.end(write)?;
    }
    Ok(count == MOST)
}

/// Whether the time of an item is over: until the sweep comes, it is as if it were not there.
pub(super) fn is_over(record: &Record, now: Moment) -> bool {
    record.expires.is_some_and(|expires| expires <= now)
}
