//! What was replaced: versions of items that are found only by who asks what was known at a time.

use super::{
    namespace::Namespace,
    record::Record,
    rows::{item_of, malformed},
    vector,
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// A version of an item that was replaced.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) record: Record,
    /// When another one took its place.
    pub(super) replaced_ms: u64,
    /// Its vectors, one a passage, f32 little-endian, one after the other.
    pub(super) vectors: Vec<u8>,
}

impl Version {
    /// The cosine with the nearest of its passages; -1 without one.
    pub(super) fn cosine(&self, query: &[f32]) -> f64 {
        let cosine = |row: &[u8]| {
            let mut vector = Vec::with_capacity(query.len());
            vector::read(row, &mut vector);
            f64::from(crate::model::cosine(query, &vector))
        };
        self.vectors.chunks_exact(query.len().max(1) * 4).map(cosine).fold(-1.0, f64::max)
    }
}

fn prefix(namespace: &Namespace, id: &str) -> Vec<u8> {
    [&namespace.prefix(), id.as_bytes(), &[0]].concat()
}

/// Keeps `version` under the number that its item had; says how many bytes that takes.
pub(super) fn put(write: &mut Write<'_, '_>, namespace: &Namespace, item: u32, version: &Version) -> Result<u64> {
    let key = [prefix(namespace, &version.record.id), item.to_be_bytes().to_vec()].concat();
    let mut value = version.replaced_ms.to_le_bytes().to_vec();
    value.extend((version.vectors.len() as u32).to_le_bytes());
    value.extend(&version.vectors);
    value.extend(version.record.to_bytes()?);
    write.tables.past.put(write.txn, &key, &value)?;
    Ok(value.len() as u64)
}

fn parse(value: &[u8]) -> Result<Version> {
    let parts = || {
        let (replaced, rest) = value.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (vectors, record) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        Some((u64::from_le_bytes(*replaced), vectors, record))
    };
    let (replaced_ms, vectors, record) = parts().ok_or_else(|| malformed("past"))?;
    Ok(Version { record: Record::from_bytes(record)?, replaced_ms, vectors: vectors.to_vec() })
}

/// The versions of `id`, the oldest first.
pub(super) fn of_id(read: &Read<'_>, namespace: &Namespace, id: &str) -> Result<Vec<Version>> {
    read.tables.past.prefix(read.txn, &prefix(namespace, id))?.map(|row| parse(row?.1)).collect()
}

/// Looks at all versions of a namespace, with the numbers they had.
pub(super) fn each(
    read: &Read<'_>,
    namespace: &Namespace,
    mut look: impl FnMut(u32, Version) -> Result<()>,
) -> Result<()> {
    for row in read.tables.past.prefix(read.txn, &namespace.prefix())? {
        let (key, value) = row?;
        look(item_of(key)?, parse(value)?)?;
    }
    Ok(())
}

/// Leaves the versions of a namespace without vectors, which another embedder made than that it has now; they are found by
/// words. Says how many bytes that takes less.
pub(super) fn forget_vectors(write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<u64> {
    let mut with_vectors = Vec::new();
    for row in write.tables.past.prefix(write.txn, &namespace.prefix())? {
        let (key, value) = row?;
        let version = parse(value)?;
        if !version.vectors.is_empty() {
            with_vectors.push((item_of(key)?, version));
        }
    }
    let mut bytes = 0;
    for (item, version) in with_vectors {
        bytes += version.vectors.len() as u64;
        put(write, namespace, item, &Version { vectors: Vec::new(), ..version })?;
    }
    Ok(bytes)
}

/// Removes the versions of `id`; says how many bytes they took.
pub(super) fn remove(write: &mut Write<'_, '_>, namespace: &Namespace, id: &str) -> Result<u64> {
    let rows = write.tables.past.prefix_unverified(write.txn, &prefix(namespace, id))?;
    let bytes = rows.map(|row| Ok(row?.1.len() as u64)).sum::<Result<u64>>()?;
    write.tables.past.delete_prefix(write.txn, &prefix(namespace, id))?;
    Ok(bytes)
}
