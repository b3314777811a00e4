//! The embedded vector store: an exact scan over the vectors of a collection.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    Filter, VectorCapability, VectorHit, VectorItem, VectorStore,
    namespace::{check_name, check_tenant},
    vector::{self, Comparer},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    runtime::blocking,
    store::{Job, Read, Store, Write},
};

/// Items in one `upsert` at most: they are one transaction.
const MAX_BATCH: usize = 10_000;
/// Bytes of an id at most.
const MAX_ID: usize = 250;
/// Bytes of a key of LMDB at most.
const MAX_KEY: usize = 511;
/// Rows between two looks at the deadline.
const CHECK_EVERY: usize = 4_096;

/// Vectors in the folder of a [`Store`]; each tenant has collections of its own. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LmdbVectorStore {
    store: Store,
}

impl LmdbVectorStore {
    /// Vectors in `store`.
    pub fn new(store: Store) -> Self {
        Self { store }
    }
}

/// What is true of a collection, as stored under its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Collection {
    dimensions: usize,
    items: usize,
}

/// The beginning of the keys of a collection. Those of tenants begin with NUL, with which no name begins: else the items
/// of one's collection could be taken for those of a tenant of that name.
fn prefix(cx: &Context, collection: &str) -> Result<Vec<u8>> {
    check_name("collection", collection)?;
    let tenant = check_tenant(cx)?;
    let mut prefix = Vec::with_capacity(tenant.len() + collection.len() + 3);
    if !tenant.is_empty() {
        prefix.extend([&[0], tenant.as_bytes(), &[0]].concat());
    }
    prefix.extend(collection.as_bytes());
    prefix.push(0);
    Ok(prefix)
}

/// The key of an item. Names are parts of a key of 511 bytes.
fn key(prefix: &[u8], id: &str) -> Result<Vec<u8>> {
    let most = MAX_ID.min(MAX_KEY.saturating_sub(prefix.len()));
    if id.len() > most {
        let message = format!("an id of a vector is 1 to {most} bytes of text without NUL in this collection");
        return Err(Error::invalid(message).with("bytes", id.len()));
    }
    check_name("id", id)?;
    Ok([prefix, id.as_bytes()].concat())
}

fn to_row(item: &VectorItem, unit: &[f32]) -> Result<Vec<u8>> {
    let mut row = (unit.len() as u32).to_le_bytes().to_vec();
    row.extend(vector::to_bytes(unit));
    serde_json::to_writer(&mut row, &item.metadata)
        .map_err(|e| Error::unexpected("the metadata of a vector has no JSON form").caused_by(e))?;
    Ok(row)
}

/// The vector and the metadata of a row, both as stored.
fn from_row(row: &[u8]) -> Result<(&[u8], &[u8])> {
    let parts = || {
        let (numbers, rest) = row.split_first_chunk::<4>()?;
        rest.split_at_checked(usize::try_from(u32::from_le_bytes(*numbers)).ok()?.checked_mul(4)?)
    };
    parts().ok_or_else(|| Error::new(ErrorKind::Corrupt, "a stored vector is malformed; run `triune check`"))
}

#[async_trait]
impl VectorStore for LmdbVectorStore {
    fn capability(&self) -> VectorCapability {
        VectorCapability { filter: true, exact: true, durable: true }
    }

    async fn upsert(&self, cx: &Context, collection: &str, items: Vec<VectorItem>) -> Result<()> {
        let head = prefix(cx, collection)?;
        cx.check()?;
        if items.len() > MAX_BATCH {
            return Err(Error::invalid(format!("a batch has at most {MAX_BATCH} vectors; split it")));
        }
        let Some(first) = items.first() else { return Ok(()) };
        let dimensions = first.vector.len();
        let mut rows = Vec::with_capacity(items.len());
        for item in &items {
            let key = key(&head, &item.id)?;
            check_length(dimensions, item.vector.len())?;
            rows.push((key, to_row(item, &vector::unit(&item.vector)?)?));
        }
        let job: Job = Box::new(move |write| put(write, &head, dimensions, &rows));
        self.store.commit_with(cx.unit.as_ref(), false, job).await
    }

    async fn delete(&self, cx: &Context, collection: &str, ids: &[String]) -> Result<usize> {
        let head = prefix(cx, collection)?;
        let mut keys = ids.iter().map(|id| key(&head, id)).collect::<Result<Vec<_>>>()?;
        cx.check()?;
        keys.sort_unstable();
        keys.dedup();
        // Known before the write, for a unit of work runs it later.
        let expected = self.store.read(|read| {
            let there = |key: &Vec<u8>| Ok(read.tables.collections.get(read.txn, key)?.is_some());
            Ok(keys.iter().map(there).collect::<Result<Vec<bool>>>()?.into_iter().filter(|there| *there).count())
        })?;
        let removed = Arc::new(AtomicUsize::new(expected));
        let count = Arc::clone(&removed);
        let job: Job = Box::new(move |write| {
            count.store(remove(write, &head, &keys)?, Ordering::Relaxed);
            Ok(())
        });
        self.store.commit_with(cx.unit.as_ref(), false, job).await?;
        Ok(removed.load(Ordering::Relaxed))
    }

    async fn search(
        &self,
        cx: &Context,
        collection: &str,
        query: &[f32],
        filter: Option<&Filter>,
        top: usize,
    ) -> Result<Vec<VectorHit>> {
        let head = prefix(cx, collection)?;
        super::engine::check_top(top)?;
        filter.map_or(Ok(()), Filter::validate)?;
        let query = vector::unit(query)?;
        let (store, call, filter) = (self.store.clone(), cx.clone(), filter.cloned());
        cx.run(blocking(move || store.read(|read| scan(&call, read, &head, &query, filter.as_ref(), top)))).await
    }

    async fn len(&self, cx: &Context, collection: &str) -> Result<usize> {
        let head = prefix(cx, collection)?;
        cx.check()?;
        let found = self.store.read(|read| read.tables.collections.get_json(read.txn, &head))?;
        Ok(found.map_or(0, |collection: Collection| collection.items))
    }
}

fn check_length(expected: usize, given: usize) -> Result<()> {
    if expected == given {
        return Ok(());
    }
    Err(Error::invalid("the vectors of a collection have one length; give one of that length, or another collection")
        .with("expected", expected)
        .with("given", given))
}

fn put(write: &mut Write<'_, '_>, head: &[u8], dimensions: usize, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
    let table = write.tables.collections;
    let known: Option<Collection> = table.get_json(write.txn, head)?;
    let mut collection = known.unwrap_or(Collection { dimensions, items: 0 });
    check_length(collection.dimensions, dimensions)?;
    for (key, row) in rows {
        collection.items += usize::from(table.get(write.txn, key)?.is_none());
        table.put(write.txn, key, row)?;
    }
    table.put_json(write.txn, head, &collection)
}

fn remove(write: &mut Write<'_, '_>, head: &[u8], keys: &[Vec<u8>]) -> Result<usize> {
    let table = write.tables.collections;
    let Some(mut collection) = table.get_json::<Collection>(write.txn, head)? else { return Ok(0) };
    let mut removed = 0;
    for key in keys {
        removed += usize::from(table.delete(write.txn, key)?);
    }
    collection.items = collection.items.saturating_sub(removed);
    if collection.items == 0 {
        table.delete(write.txn, head)?;
    } else {
        table.put_json(write.txn, head, &collection)?;
    }
    Ok(removed)
}

fn scan(
    cx: &Context,
    read: &Read<'_>,
    head: &[u8],
    query: &[f32],
    filter: Option<&Filter>,
    top: usize,
) -> Result<Vec<VectorHit>> {
    let table = read.tables.collections;
    let Some(collection) = table.get_json::<Collection>(read.txn, head)? else { return Ok(Vec::new()) };
    check_length(collection.dimensions, query.len())?;
    let mut comparer = Comparer::new(query);
    let mut found: Vec<(f32, &[u8], &[u8])> = Vec::with_capacity(collection.items);
    for (at, row) in table.prefix(read.txn, head)?.enumerate() {
        let (key, row) = row?;
        if at % CHECK_EVERY == 0 {
            cx.check()?;
        }
        let id = key.get(head.len()..).unwrap_or_default();
        // The collection's own row has no id.
        if !id.is_empty() {
            let (stored, metadata) = from_row(row)?;
            found.push((comparer.cosine(stored)?, id, metadata));
        }
    }
    found.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let mut hits = Vec::new();
    for (at, (score, id, metadata)) in found.into_iter().enumerate() {
        if hits.len() == top {
            break;
        }
        if at % CHECK_EVERY == 0 {
            cx.check()?;
        }
        let metadata: Map<String, Value> = table.parse(metadata)?;
        if filter.is_none_or(|filter| filter.matches(&metadata)) {
            hits.push(VectorHit { id: String::from_utf8_lossy(id).into_owned(), score, metadata });
        }
    }
    Ok(hits)
}
