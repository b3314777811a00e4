//! What a transaction does to the facts of items: written together, so that a batch touches each row once.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{
    bits::{RowMut, row_of},
    malformed,
    pairs::{self, Block, MANY},
    terms,
};
use crate::{
    error::Result,
    recall::namespace::Namespace,
    store::{Read, Write},
};

/// The two kinds of rows of a namespace.
const BITS: u8 = 0;
const PAIRS: u8 = 1;
/// Changes that are held in memory at most, about.
const HELD: usize = 1 << 18;

/// The key of the bits of a term: the row follows.
pub(super) fn bits_key(namespace: &Namespace, term: &[u8]) -> Vec<u8> {
    [&namespace.prefix(), &[BITS][..], term].concat()
}

/// The key of a block of pairs, as far as its first term: the first item follows.
pub(super) fn pairs_key(namespace: &Namespace, term: &[u8]) -> Vec<u8> {
    [&namespace.prefix(), &[PAIRS][..], term].concat()
}

/// The block of pairs in which `key` would be.
pub(super) fn block_of<'t>(read: &Read<'t>, namespace: &Namespace, key: &[u8]) -> Result<Option<(&'t [u8], &'t [u8])>> {
    read.tables.facets.last_at(read.txn, &pairs_key(namespace, &[]), key)
}

/// What a transaction does to facts: it is written together at its end.
#[derive(Debug, Default)]
pub(in crate::recall) struct Facets {
    terms: HashMap<Vec<u8>, u32>,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    /// The number of the term, later its place among the terms.
    term: u32,
    item: u32,
    add: bool,
}

impl Facets {
    /// Adds an item with its metadata and what the engine knows of it.
    pub(in crate::recall) fn put(&mut self, item: u32, metadata: &Map<String, Value>, system: &[(&str, Value)]) {
        self.change(item, metadata, system, true);
    }

    /// Removes an item, of which the same is to be told as when it was added.
    pub(in crate::recall) fn remove(&mut self, item: u32, metadata: &Map<String, Value>, system: &[(&str, Value)]) {
        self.change(item, metadata, system, false);
    }

    fn change(&mut self, item: u32, metadata: &Map<String, Value>, system: &[(&str, Value)], add: bool) {
        terms::of_item(metadata, system, |term| {
            let term = if let Some(number) = self.terms.get(term) {
                *number
            } else {
                let number = self.terms.len() as u32;
                self.terms.insert(term.to_vec(), number);
                number
            };
            self.changes.push(Change { term, item, add });
        });
    }

    /// Writes what is held when that is much: a transaction may forget as much as it likes.
    pub(in crate::recall) fn write_much(&mut self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        if self.changes.len() < HELD { Ok(()) } else { std::mem::take(self).write(write, namespace) }
    }

    /// Writes what was changed.
    pub(in crate::recall) fn write(self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let mut names: Vec<(Vec<u8>, u32)> = self.terms.into_iter().collect();
        names.sort_unstable();
        let mut places = vec![0; names.len()];
        for (place, (_, number)) in names.iter().enumerate() {
            places[*number as usize] = place as u32;
        }
        let mut changes = self.changes;
        for change in &mut changes {
            change.term = places[change.term as usize];
        }
        // Stable: what was said last of an item holds.
        changes.sort_by_key(|change| (change.term, change.item));
        let mut few = Vec::new();
        for of_row in changes.chunk_by(|a, b| a.term == b.term && row_of(a.item) == row_of(b.item)) {
            let Some((name, _)) = of_row.first().and_then(|first| names.get(first.term as usize)) else { continue };
            let last = of_row.chunk_by(|a, b| a.item == b.item).filter_map(<[Change]>::last);
            let of_row: Vec<_> = last.map(|c| pairs::Change { term: name, item: c.item, add: c.add }).collect();
            let much = of_row.iter().filter(|change| change.add).count() >= MANY;
            // What goes may stand in either place, or in both when it was put twice.
            if much || of_row.iter().any(|change| !change.add) {
                write_bits(write, namespace, &of_row, much)?;
            }
            few.extend(of_row.into_iter().filter(|change| !(much && change.add)));
        }
        write_pairs(write, namespace, &few)
    }
}

/// Makes changes to items of one term in one row of bits; what comes only when there is `much` of it.
fn write_bits(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    changes: &[pairs::Change<'_>],
    much: bool,
) -> Result<()> {
    let Some(first) = changes.first() else { return Ok(()) };
    let mut key = bits_key(namespace, first.term);
    key.extend(row_of(first.item).to_be_bytes());
    let stored = write.tables.facets.get(write.txn, &key)?;
    if stored.is_none() && !much {
        return Ok(());
    }
    let mut row = RowMut::of(stored)?;
    let mut is_other = much;
    for change in changes {
        if !change.add {
            is_other |= row.remove(change.item);
        } else if much {
            row.insert(change.item);
        }
    }
    match row.to_bytes() {
        _ if !is_other => Ok(()),
        Some(bytes) => write.tables.facets.put(write.txn, &key, &bytes),
        None => write.tables.facets.delete(write.txn, &key).map(drop),
    }
}

/// Makes changes, which are in order, to blocks of pairs.
fn write_pairs(write: &mut Write<'_, '_>, namespace: &Namespace, mut changes: &[pairs::Change<'_>]) -> Result<()> {
    let lowest = pairs_key(namespace, &[]);
    let key_of = |term: &[u8], item: u32| [&pairs_key(namespace, term)[..], &item.to_be_bytes()].concat();
    while let Some(first) = changes.first() {
        let (key, merged, rest) = {
            let read = write.reading();
            let block = block_of(&read, namespace, &key_of(first.term, first.item))?;
            // Before the first block there may be none: its place is the lowest.
            let (key, stored) = block.unwrap_or((&lowest, &[]));
            let next = read.tables.facets.keys_after(read.txn, key)?.next().transpose()?;
            let next = next.filter(|next| next.starts_with(&lowest));
            let within = match next {
                Some(next) => changes.partition_point(|change| key_of(change.term, change.item)[..] < *next),
                None => changes.len(),
            };
            let (now, rest) = changes.split_at(within);
            if now.is_empty() {
                return Err(malformed());
            }
            (key.to_vec(), pairs::merge(stored, now)?, rest)
        };
        changes = rest;
        if !merged.changed {
            continue;
        }
        let mut blocks = merged.blocks.into_iter();
        match blocks.next() {
            // It keeps its key, which is at or before what it begins with.
            Some(block) => write.tables.facets.put(write.txn, &key, &block.bytes)?,
            None => drop(write.tables.facets.delete(write.txn, &key)?),
        }
        for Block { first: (term, item), bytes } in blocks {
            write.tables.facets.put(write.txn, &key_of(&term, item), &bytes)?;
        }
        for (term, items) in merged.moved {
            let items: Vec<_> = items.into_iter().map(|item| pairs::Change { term: &term, item, add: true }).collect();
            write_bits(write, namespace, &items, true)?;
        }
    }
    Ok(())
}
