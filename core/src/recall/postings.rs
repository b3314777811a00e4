//! Which items have a term: blocks of postings, in the order of the items.

use std::collections::BTreeMap;

use super::{namespace::Namespace, rows::malformed};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// Postings of one block at most: their values stay inside a page of LMDB.
const BLOCK: usize = 128;
/// Bytes of a posting.
const BYTES: usize = 8;

/// How often a term is in an item, and how long the item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Posting {
    pub(super) item: u32,
    /// Times the term is in the item.
    pub(super) count: u16,
    /// Words of the item; 65,535 for more.
    pub(super) length: u16,
}

impl Posting {
    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..4].copy_from_slice(&self.item.to_le_bytes());
        bytes[4..6].copy_from_slice(&self.count.to_le_bytes());
        bytes[6..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; BYTES]) -> Self {
        // As one number: the item in its lower half, then the count and the length.
        let all = u64::from_le_bytes(bytes);
        Self { item: all as u32, count: (all >> 32) as u16, length: (all >> 48) as u16 }
    }
}

/// The postings of a stored block.
fn parse(block: &[u8]) -> Result<impl DoubleEndedIterator<Item = Posting> + ExactSizeIterator + '_> {
    let (postings, rest) = block.as_chunks::<BYTES>();
    if postings.is_empty() || !rest.is_empty() {
        return Err(malformed("postings"));
    }
    Ok(postings.iter().map(|posting| Posting::from_bytes(*posting)))
}

/// The beginning of the keys of the blocks of `term`; their first item follows.
fn prefix(namespace: &Namespace, term: &str) -> Vec<u8> {
    [&namespace.prefix(), term.as_bytes(), &[0]].concat()
}

/// The term of the key of a block.
pub(super) fn term_of(key: &[u8]) -> &[u8] {
    key.get(4..).and_then(|rest| rest.split(|byte| *byte == 0).next()).unwrap_or_default()
}

fn key(prefix: &[u8], first: u32) -> Vec<u8> {
    [prefix, &first.to_be_bytes()].concat()
}

/// The postings of `term`, in the order of the items.
pub(super) fn of_term(read: &Read<'_>, namespace: &Namespace, term: &str) -> Result<Vec<Posting>> {
    let mut found = Vec::new();
    for row in read.tables.postings.prefix(read.txn, &prefix(namespace, term))? {
        found.extend(parse(row?.1)?);
    }
    Ok(found)
}

/// Shows every term with each of its items, in the order of the terms.
pub(super) fn each(read: &Read<'_>, namespace: &Namespace, mut look: impl FnMut(&[u8], u32)) -> Result<()> {
    for row in read.tables.postings.prefix(read.txn, &namespace.prefix())? {
        let (key, value) = row?;
        parse(value)?.for_each(|posting| look(term_of(key), posting.item));
    }
    Ok(())
}

/// Whether any item has `term`.
pub(super) fn has(read: &Read<'_>, namespace: &Namespace, term: &str) -> Result<bool> {
    Ok(read.tables.postings.prefix(read.txn, &prefix(namespace, term))?.next().transpose()?.is_some())
}

/// The first `most` items that have `term`.
pub(super) fn some(read: &Read<'_>, namespace: &Namespace, term: &str, most: usize) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for row in read.tables.postings.prefix(read.txn, &prefix(namespace, term))? {
        found.extend(parse(row?.1)?.map(|posting| posting.item).take(most - found.len()));
        if found.len() == most {
            break;
        }
    }
    Ok(found)
}

/// What a transaction does to postings: each block is written once at its end, whatever was done to it.
#[derive(Debug, Default)]
pub(super) struct NewPostings {
    terms: BTreeMap<String, Changed>,
}

#[derive(Debug, Default)]
struct Changed {
    /// In order: a new item has the highest number.
    added: Vec<Posting>,
    removed: Vec<u32>,
}

impl NewPostings {
    /// Adds the terms of a new item, whose number is higher than all before.
    pub(super) fn add(&mut self, item: u32, terms: &[(String, u16)], length: u32) {
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        for (term, count) in terms {
            let posting = Posting { item, count: *count, length };
            if let Some(changed) = self.terms.get_mut(term) {
                changed.added.push(posting);
            } else {
                self.terms.insert(term.clone(), Changed { added: vec![posting], removed: Vec::new() });
            }
        }
    }

    /// Removes a term of an item.
    pub(super) fn remove(&mut self, item: u32, term: &str) {
        let changed = self.terms.entry(term.to_owned()).or_default();
        match changed.added.binary_search_by_key(&item, |posting| posting.item) {
            Ok(at) => drop(changed.added.remove(at)),
            Err(_) => changed.removed.push(item),
        }
    }

    pub(super) fn write(self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        for (term, changed) in self.terms {
            let prefix = prefix(namespace, &term);
            for item in changed.removed {
                remove(write, &prefix, item)?;
            }
            append(write, &prefix, &changed.added)?;
        }
        Ok(())
    }
}

fn append(write: &mut Write<'_, '_>, prefix: &[u8], added: &[Posting]) -> Result<()> {
    let Some(first) = added.first() else { return Ok(()) };
    let postings = write.tables.postings;
    let (mut first, mut block) = (first.item, Vec::with_capacity(BLOCK * BYTES));
    if let Some((last, value)) = postings.last(write.txn, prefix)?
        && value.len() < BLOCK * BYTES
    {
        first = super::rows::item_of(last)?;
        block.extend_from_slice(value);
    }
    for posting in added {
        if block.len() == BLOCK * BYTES {
            postings.put(write.txn, &key(prefix, first), &block)?;
            first = posting.item;
            block.clear();
        }
        block.extend(posting.to_bytes());
    }
    postings.put(write.txn, &key(prefix, first), &block)
}

fn remove(write: &mut Write<'_, '_>, prefix: &[u8], item: u32) -> Result<()> {
    let postings = write.tables.postings;
    let Some((key, value)) = postings.last_at(write.txn, prefix, &key(prefix, item))? else { return Ok(()) };
    let key = key.to_vec();
    let mut left = Vec::with_capacity(value.len());
    for posting in parse(value)?.filter(|posting| posting.item != item) {
        left.extend(posting.to_bytes());
    }
    if left.is_empty() {
        postings.delete(write.txn, &key)?;
    } else {
        // The key names the first item the block had: that it is still there is not needed.
        postings.put(write.txn, &key, &left)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        recall::namespace,
        store::{Store, StoreConfig},
    };

    /// What to do in each transaction: items to add, and which of those there are to remove.
    fn transactions() -> impl Strategy<Value = Vec<(usize, Vec<usize>)>> {
        prop::collection::vec((0_usize..300, prop::collection::vec(0_usize..1_000, 0..40)), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_term_has_the_items_that_have_it(transactions in transactions()) {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (mut next, mut live) = (0, BTreeSet::new());
            for (add, remove) in transactions {
                let first = next;
                next += add as u32;
                live.extend(first..next);
                let mut gone = Vec::new();
                for at in remove {
                    if let Some(item) = live.iter().nth(at % live.len().max(1)).copied() {
                        live.remove(&item);
                        gone.push(item);
                    }
                }
                let job = move |write: &mut Write<'_, '_>| {
                    let namespace = namespace::find_or_make(write, "n")?;
                    let mut new = NewPostings::default();
                    for item in first..next {
                        new.add(item, &[("a".into(), 2), ("ab".into(), 1)], 70_000);
                    }
                    for item in &gone {
                        new.remove(*item, "a");
                    }
                    new.write(write, &namespace)
                };
                runtime.block_on(store.write(job)).unwrap();
            }
            let (with, without) = store.read(|read| {
                let namespace = namespace::find(read, "n")?.unwrap();
                Ok((of_term(read, &namespace, "a")?, of_term(read, &namespace, "ab")?))
            }).unwrap();
            prop_assert_eq!(without.len(), next as usize);
            let items: Vec<u32> = with.iter().map(|posting| posting.item).collect();
            prop_assert_eq!(items, live.into_iter().collect::<Vec<_>>());
            prop_assert!(with.iter().all(|posting| posting.count == 2 && posting.length == u16::MAX));
        }
    }
}
