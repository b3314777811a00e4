//! One table: keys and values as bytes, each value with a checksum over key and value.

use std::ops::Bound;

use heed::{
    AnyTls, Database, RoTxn, RwTxn,
    types::{Bytes, DecodeIgnore},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind, Result};

/// Bytes of the checksum at the end of every value.
pub(super) const CHECKSUM: usize = 4;

/// A table of the environment. A flipped bit in a value, or a value under a foreign key, is an error when read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(super) name: &'static str,
    pub(super) database: Database<'static, Bytes, Bytes>,
}

/// Turns the errors of LMDB and arroy into ours.
pub(crate) trait StoreResultExt<T> {
    /// Names the table or the step that failed.
    fn stored(self, what: &'static str) -> Result<T>;
}

impl<T> StoreResultExt<T> for Result<T, heed::Error> {
    fn stored(self, what: &'static str) -> Result<T> {
        self.map_err(|e| lmdb_error(e).with("table", what))
    }
}

impl<T> StoreResultExt<T> for Result<T, arroy::Error> {
    fn stored(self, what: &'static str) -> Result<T> {
        self.map_err(|e| match e {
            arroy::Error::Heed(e) => lmdb_error(e).with("table", what),
            other => Error::unexpected("the vector index failed").with("table", what).caused_by(other),
        })
    }
}

pub(super) fn lmdb_error(error: heed::Error) -> Error {
    use heed::MdbError::{
        BadRslot, Corrupted, Invalid, MapFull, MapResized, PageNotFound, ReadersFull, TxnFull, VersionMismatch,
    };
    let (kind, message) = match &error {
        heed::Error::Mdb(Corrupted | PageNotFound | Invalid | VersionMismatch) => {
            (ErrorKind::Corrupt, "the store is damaged; restore the folder from a backup")
        }
        heed::Error::Mdb(MapFull | MapResized) => (ErrorKind::Unavailable, "the store has to grow"),
        heed::Error::Mdb(TxnFull) => (ErrorKind::Invalid, "the write is too large for one transaction; split it"),
        heed::Error::Mdb(ReadersFull | BadRslot) => (ErrorKind::Overloaded, "too many readers of the store at once"),
        heed::Error::EnvAlreadyOpened => {
            (ErrorKind::Unavailable, "this process is still closing the store of the folder; try again in a moment")
        }
        heed::Error::Io(_) => (ErrorKind::Unavailable, "the disk of the store failed; check space and permissions"),
        _ => (ErrorKind::Unexpected, "the store failed"),
    };
    Error::new(kind, message).caused_by(error)
}

/// Whether `error` is one of LMDB itself, and not of a single value.
pub(crate) fn is_lmdb(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<heed::Error>)
}

/// Whether `error` says that the map is full, so that the job must run again in a larger one.
pub(super) fn is_map_full(error: &Error) -> bool {
    is_mdb(error, |e| matches!(e, heed::MdbError::MapFull))
}

/// Whether `error` says that another process grew the map.
pub(super) fn is_map_resized(error: &Error) -> bool {
    is_mdb(error, |e| matches!(e, heed::MdbError::MapResized))
}

/// Whether `error` says that every reader's place is taken.
pub(super) fn is_readers_full(error: &Error) -> bool {
    is_mdb(error, |e| matches!(e, heed::MdbError::ReadersFull))
}

/// Whether `error` says that a transaction changed more pages than LMDB can keep track of.
pub(super) fn is_transaction_full(error: &Error) -> bool {
    is_mdb(error, |e| matches!(e, heed::MdbError::TxnFull))
}

fn is_mdb(error: &Error, test: impl Fn(&heed::MdbError) -> bool) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<heed::Error>());
    matches!(source, Some(heed::Error::Mdb(e)) if test(e))
}

impl Table {
    /// The value under `key`.
    pub(crate) fn get<'t>(&self, txn: &'t RoTxn<'_, AnyTls>, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let stored = self.database.get(txn, key).stored(self.name)?;
        stored.map(|stored| self.verify(key, stored)).transpose()
    }

    /// The value under `key`, its checksum not looked at: for blocks so large that a search would do little else.
    /// `triune check` reads them whole.
    pub(crate) fn get_unverified<'t>(&self, txn: &'t RoTxn<'_, AnyTls>, key: &[u8]) -> Result<Option<&'t [u8]>> {
        let stored = self.database.get(txn, key).stored(self.name)?;
        stored.map(|stored| self.split(stored).map(|(value, _)| value)).transpose()
    }

    /// The value under `key`, read as JSON.
    pub(crate) fn get_json<T: DeserializeOwned>(&self, txn: &RoTxn<'_, AnyTls>, key: &[u8]) -> Result<Option<T>> {
        self.get(txn, key)?.map(|value| self.parse(value)).transpose()
    }

    /// Puts `value` under `key`, in the place of what was there.
    pub(crate) fn put(&self, txn: &mut RwTxn<'_>, key: &[u8], value: &[u8]) -> Result<()> {
        let mut stored = Vec::with_capacity(value.len() + CHECKSUM);
        stored.extend_from_slice(value);
        stored.extend_from_slice(&checksum(key, value));
        self.database.put(txn, key, &stored).stored(self.name)
    }

    /// Puts a value whose checksum is wrong.
    #[cfg(test)]
    pub(crate) fn put_damaged(&self, txn: &mut RwTxn<'_>, key: &[u8]) -> Result<()> {
        self.database.put(txn, key, b"damaged").stored(self.name)
    }

    /// Puts `value`, written as JSON, under `key`.
    pub(crate) fn put_json<T: Serialize + ?Sized>(&self, txn: &mut RwTxn<'_>, key: &[u8], value: &T) -> Result<()> {
        let json = serde_json::to_vec(value)
            .map_err(|e| Error::unexpected("a record has no JSON form").with("table", self.name).caused_by(e))?;
        self.put(txn, key, &json)
    }

    /// Removes `key`; says whether it was there.
    pub(crate) fn delete(&self, txn: &mut RwTxn<'_>, key: &[u8]) -> Result<bool> {
        self.database.delete(txn, key).stored(self.name)
    }

    /// Keys that begin with `prefix`, and their values, in order of the keys. An empty prefix is the whole table.
    pub(crate) fn prefix<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Result<(&'t [u8], &'t [u8])>> + use<'t>> {
        let table = *self;
        // LMDB has no empty prefix, so the whole table is a range.
        let whole = prefix.is_empty().then(|| self.database.iter(txn)).transpose().stored(self.name)?;
        let part =
            (!prefix.is_empty()).then(|| self.database.prefix_iter(txn, prefix)).transpose().stored(self.name)?;
        let rows = whole.into_iter().flatten().chain(part.into_iter().flatten());
        Ok(until_failed(rows).map(move |row| {
            let (key, stored) = row.stored(table.name)?;
            Ok((key, table.verify(key, stored)?))
        }))
    }

    /// Keys that begin with `prefix` and their values, in order of the keys; see [`get_unverified`](Self::get_unverified).
    pub(crate) fn prefix_unverified<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Result<(&'t [u8], &'t [u8])>> + use<'t>> {
        let table = *self;
        let end = after(prefix);
        let rows = self.database.range(txn, &range(prefix, end.as_deref())).stored(self.name)?;
        Ok(until_failed(rows).map(move |row| {
            let (key, stored) = row.stored(table.name)?;
            Ok((key, table.split(stored)?.0))
        }))
    }

    /// Keys from `first` on, itself included, that are before `end`, and their values, in order of the keys.
    pub(crate) fn between<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        first: &[u8],
        end: &[u8],
    ) -> Result<impl Iterator<Item = Result<(&'t [u8], &'t [u8])>> + use<'t>> {
        let table = *self;
        let rows = self.database.range(txn, &(Bound::Included(first), Bound::Excluded(end))).stored(self.name)?;
        Ok(until_failed(rows).map(move |row| {
            let (key, stored) = row.stored(table.name)?;
            Ok((key, table.verify(key, stored)?))
        }))
    }

    /// Keys that begin with `prefix`, in order; their values are not looked at.
    pub(crate) fn keys<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        prefix: &[u8],
    ) -> Result<impl Iterator<Item = Result<&'t [u8]>> + use<'t>> {
        let table = *self;
        let end = after(prefix);
        let keys = self.database.remap_data_type::<DecodeIgnore>();
        let rows = keys.range(txn, &range(prefix, end.as_deref())).stored(self.name)?;
        Ok(until_failed(rows).map(move |row| row.map(|(key, ())| key).stored(table.name)))
    }

    /// Keys after `key`, in order; their values are not looked at.
    pub(crate) fn keys_after<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        key: &[u8],
    ) -> Result<impl Iterator<Item = Result<&'t [u8]>> + use<'t>> {
        let table = *self;
        let keys = self.database.remap_data_type::<DecodeIgnore>();
        let rows = keys.range(txn, &(Bound::Excluded(key), Bound::Unbounded)).stored(self.name)?;
        Ok(until_failed(rows).map(move |row| row.map(|(key, ())| key).stored(table.name)))
    }

    /// Removes all keys that begin with `prefix`; says how many there were.
    pub(crate) fn delete_prefix(&self, txn: &mut RwTxn<'_>, prefix: &[u8]) -> Result<usize> {
        let end = after(prefix);
        self.database.delete_range(txn, &range(prefix, end.as_deref())).stored(self.name)
    }

    /// The last key that begins with `prefix`, and its value.
    pub(crate) fn last<'t>(&self, txn: &'t RoTxn<'_, AnyTls>, prefix: &[u8]) -> Result<Option<(&'t [u8], &'t [u8])>> {
        let row = self.database.rev_prefix_iter(txn, prefix).stored(self.name)?.next().transpose().stored(self.name)?;
        row.map(|(key, stored)| Ok((key, self.verify(key, stored)?))).transpose()
    }

    /// The last key that begins with `prefix` and is not after `key`, and its value.
    pub(crate) fn last_at<'t>(
        &self,
        txn: &'t RoTxn<'_, AnyTls>,
        prefix: &[u8],
        key: &[u8],
    ) -> Result<Option<(&'t [u8], &'t [u8])>> {
        let range = (Bound::Included(prefix), Bound::Included(key));
        let row = self.database.rev_range(txn, &range).stored(self.name)?.next().transpose().stored(self.name)?;
        row.map(|(key, stored)| Ok((key, self.verify(key, stored)?))).transpose()
    }

    /// Reads `value` as JSON.
    pub(crate) fn parse<T: DeserializeOwned>(&self, value: &[u8]) -> Result<T> {
        serde_json::from_slice(value).map_err(|e| {
            Error::new(ErrorKind::Corrupt, "a stored record is not of this version of triune")
                .with("table", self.name)
                .caused_by(e)
        })
    }

    fn verify<'t>(&self, key: &[u8], stored: &'t [u8]) -> Result<&'t [u8]> {
        let (value, sum) = self.split(stored)?;
        if checksum(key, value) == *sum { Ok(value) } else { Err(self.damaged()) }
    }

    /// What was put, and its checksum.
    fn split<'t>(&self, stored: &'t [u8]) -> Result<(&'t [u8], &'t [u8; CHECKSUM])> {
        stored.split_last_chunk::<CHECKSUM>().ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> Error {
        Error::new(ErrorKind::Corrupt, "a stored value is damaged; run `triune check` and restore from a backup")
            .with("table", self.name)
    }
}

/// `rows` up to the first that LMDB could not read. After an error of its own a transaction gives nothing but errors, and
/// the rows would never end.
fn until_failed<T>(rows: impl Iterator<Item = heed::Result<T>>) -> impl Iterator<Item = heed::Result<T>> {
    let mut failed = false;
    rows.take_while(move |row| !std::mem::replace(&mut failed, row.is_err()))
}

/// Every key that begins with `prefix`; `end` is what [`after`] gives for it.
fn range<'a>(prefix: &'a [u8], end: Option<&'a [u8]>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    // LMDB has no empty key to begin at.
    let begin = if prefix.is_empty() { Bound::Unbounded } else { Bound::Included(prefix) };
    (begin, end.map_or(Bound::Unbounded, Bound::Excluded))
}

/// The first key after all that begin with `prefix`; none when there is none after them.
fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut after = prefix[..=last].to_vec();
    after[last] += 1;
    Some(after)
}

/// Whether `stored` is a value that was put under `key`, with its checksum.
pub(super) fn is_sound(key: &[u8], stored: &[u8]) -> bool {
    stored.split_last_chunk::<CHECKSUM>().is_some_and(|(value, sum)| checksum(key, value) == *sum)
}

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_with_the_first_that_lmdb_cannot_read() {
        let broken = || Err(heed::Error::Mdb(heed::MdbError::BadTxn));
        let rows = [Ok(1), Ok(2)].into_iter().chain(std::iter::repeat_with(broken));
        let read: Vec<_> = until_failed(rows).take(10).map(Result::ok).collect();
        assert_eq!(read, [Some(1), Some(2), None]);
    }

    #[test]
    fn the_key_after_a_prefix_is_the_next_one_up() {
        assert_eq!(after(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(after(&[1, 0xff, 0xff]).as_deref(), Some(&[2][..]));
        assert_eq!(after(&[0xff, 0xff]), None);
        assert_eq!(after(b""), None);
    }
}
