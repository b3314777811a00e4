//! Blocks of pairs of a term and an item, sorted. A block takes about as much as LMDB writes anyway when one pair changes.
//!
//! Of each term stands what it has in common with the one before, as a length, and the rest; then the item.

use std::cmp::Ordering;

use super::{bits::row_of, malformed};
use crate::error::Result;

/// Bytes of a block at most, about: three fit a page of LMDB.
const BYTES: usize = 1_200;
/// So many items of a term in one row of bits, and they stand there.
pub(super) const MANY: usize = 64;

/// Reads a block.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    rest: &'b [u8],
    /// The term of the pair that was read last.
    pub(super) term: Vec<u8>,
}

impl<'b> Reader<'b> {
    pub(super) fn new(block: &'b [u8]) -> Self {
        Self { rest: block, term: Vec::new() }
    }

    /// The item of the next pair.
    pub(super) fn next(&mut self) -> Result<Option<u32>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (shared, rest, item) = split(&mut self.rest)?;
        if shared > self.term.len() {
            return Err(malformed());
        }
        self.term.truncate(shared);
        self.term.extend(rest);
        Ok(Some(item))
    }
}

/// Gives every item of a block to `each`, whatever the terms are.
pub(super) fn items(mut block: &[u8], mut each: impl FnMut(u32)) -> Result<()> {
    while !block.is_empty() {
        each(split(&mut block)?.2);
    }
    Ok(())
}

/// Takes a pair off: bytes shared with the term before, the rest of the term, the item.
fn split<'b>(block: &mut &'b [u8]) -> Result<(usize, &'b [u8], u32)> {
    let pair = || {
        let (shared, rest) = length(block)?;
        let (more, rest) = length(rest)?;
        let (term, rest) = rest.split_at_checked(more)?;
        let (item, rest) = rest.split_first_chunk()?;
        Some((shared, term, u32::from_le_bytes(*item), rest))
    };
    let (shared, term, item, rest) = pair().ok_or_else(malformed)?;
    *block = rest;
    Ok((shared, term, item))
}

/// A length: seven bits, and eight more when the first bit is set.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (low, rest) = bytes.split_first()?;
    if *low < 0x80 {
        return Some((usize::from(*low), rest));
    }
    let (high, rest) = rest.split_first()?;
    Some((usize::from(low & 0x7f) | usize::from(*high) << 7, rest))
}

fn put_length(block: &mut Vec<u8>, length: usize) {
    if length < 0x80 {
        block.push(length as u8);
    } else {
        block.extend([length as u8 | 0x80, (length >> 7) as u8]);
    }
}

/// A pair that comes or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'c> {
    pub(super) term: &'c [u8],
    pub(super) item: u32,
    pub(super) add: bool,
}

/// A block with what it begins with.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) first: (Vec<u8>, u32),
    pub(super) bytes: Vec<u8>,
}

/// What came of a block.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) blocks: Vec<Block>,
    /// Terms with so many items in one row of bits that they are to be moved there.
    pub(super) moved: Vec<(Vec<u8>, Vec<u32>)>,
    /// Whether anything is other than it was.
    pub(super) changed: bool,
}

/// Pairs in order; equal terms stand once in `terms`.
#[derive(Debug, Default)]
struct Pairs {
    terms: Vec<u8>,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    /// Where the term is.
    begin: u32,
    end: u32,
    item: u32,
}

impl Pairs {
    fn push(&mut self, term: &[u8], item: u32) {
        let place = match self.pairs.last() {
            Some(last) if self.term(last) == term => (last.begin, last.end),
            _ => {
                let begin = self.terms.len() as u32;
                self.terms.extend(term);
                (begin, self.terms.len() as u32)
            }
        };
        self.pairs.push(Pair { begin: place.0, end: place.1, item });
    }

    fn term(&self, pair: &Pair) -> &[u8] {
        &self.terms[pair.begin as usize..pair.end as usize]
    }

    fn encode(&self, pairs: &[Pair]) -> Vec<u8> {
        let mut block = Vec::with_capacity(BYTES);
        let mut before: &[u8] = &[];
        for pair in pairs {
            let term = self.term(pair);
            let shared = before.iter().zip(term).take_while(|(a, b)| a == b).count();
            put_length(&mut block, shared);
            put_length(&mut block, term.len() - shared);
            block.extend(&term[shared..]);
            block.extend(pair.item.to_le_bytes());
            before = term;
        }
        block
    }

    /// Blocks of `pairs`, none of them too large.
    fn blocks(&self, pairs: &[Pair], into: &mut Vec<Block>) {
        let Some(first) = pairs.first() else { return };
        let bytes = self.encode(pairs);
        if bytes.len() <= BYTES || pairs.len() == 1 {
            return into.push(Block { first: (self.term(first).to_vec(), first.item), bytes });
        }
        let parts = bytes.len() * 8 / (BYTES * 7) + 1;
        for part in pairs.chunks(pairs.len().div_ceil(parts.max(2))) {
            self.blocks(part, into);
        }
    }
}

/// Makes `changes`, which are in order, to a block.
pub(super) fn merge(block: &[u8], changes: &[Change<'_>]) -> Result<Merged> {
    let (mut pairs, mut merged) = (Pairs::default(), Merged::default());
    let mut reader = Reader::new(block);
    let mut old = reader.next()?;
    let mut changes = changes.iter().peekable();
    loop {
        let order = match (old, changes.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(item), Some(change)) => reader.term[..].cmp(change.term).then(item.cmp(&change.item)),
        };
        let keep = match (order, changes.peek()) {
            (Ordering::Less, _) | (_, None) => true,
            (Ordering::Equal, Some(change)) => change.add,
            (Ordering::Greater, Some(change)) => {
                if change.add {
                    pairs.push(change.term, change.item);
                    merged.changed = true;
                }
                false
            }
        };
        if order != Ordering::Less {
            changes.next();
        }
        if let (true, Some(item)) = (order != Ordering::Greater, old) {
            if keep {
                pairs.push(&reader.term, item);
            } else {
                merged.changed = true;
            }
            old = reader.next()?;
        }
    }
    let mut kept = Vec::with_capacity(pairs.pairs.len());
    for run in pairs.pairs.chunk_by(|a, b| a.begin == b.begin && row_of(a.item) == row_of(b.item)) {
        match run.first() {
            Some(first) if run.len() >= MANY => {
                let items = run.iter().map(|pair| pair.item).collect();
                merged.moved.push((pairs.term(first).to_vec(), items));
                merged.changed = true;
            }
            _ => kept.extend(run),
        }
    }
    pairs.blocks(&kept, &mut merged.blocks);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    type Set = BTreeSet<(Vec<u8>, u32)>;

    fn read(blocks: &[Block]) -> Set {
        let mut found = Set::new();
        for block in blocks {
            let mut reader = Reader::new(&block.bytes);
            let mut all = Vec::new();
            while let Some(item) = reader.next().unwrap() {
                all.push(item);
                assert!(found.last().is_none_or(|last| *last < (reader.term.clone(), item)), "in order, and once");
                found.insert((reader.term.clone(), item));
            }
            let mut again = Vec::new();
            items(&block.bytes, |item| again.push(item)).unwrap();
            assert_eq!(all, again);
        }
        found
    }

    fn change(pairs: &Set, add: bool) -> Vec<Change<'_>> {
        pairs.iter().map(|(term, item)| Change { term, item: *item, add }).collect()
    }

    #[test]
    fn many_of_a_term_are_moved_and_others_split() {
        let mut pairs: Set = (0..100).map(|item| (b"common".to_vec(), item)).collect();
        let rare: Set = (0..900_u32).map(|item| (format!("rare {}", item / 2).into_bytes(), item)).collect();
        pairs.extend(rare.clone());
        let merged = merge(&[], &change(&pairs, true)).unwrap();
        assert_eq!(merged.moved, [(b"common".to_vec(), (0..100).collect())]);
        assert_eq!(read(&merged.blocks), rare);
        assert!(merged.blocks.len() > 2 && merged.blocks.iter().all(|block| block.bytes.len() <= BYTES));
        let again = merge(&merged.blocks[0].bytes, &change(&Set::from([(b"absent".to_vec(), 1)]), false)).unwrap();
        assert!(!again.changed);
    }

    proptest! {
        #[test]
        fn a_block_holds_what_was_put_and_not_removed(
            first in prop::collection::btree_set(("[ab]{0,3}".prop_map(String::into_bytes), 0..50_u32), 0..60),
            removed in prop::collection::btree_set(("[ab]{0,3}".prop_map(String::into_bytes), 0..50_u32), 0..60),
        ) {
            let merged = merge(&[], &change(&first, true)).unwrap();
            prop_assert_eq!(&read(&merged.blocks), &first);
            let block = merged.blocks.first().map(|block| block.bytes.clone()).unwrap_or_default();
            let merged = merge(&block, &change(&removed, false)).unwrap();
            prop_assert_eq!(merged.changed, first.intersection(&removed).count() > 0);
            prop_assert_eq!(read(&merged.blocks), first.difference(&removed).cloned().collect::<Set>());
        }

        #[test]
        fn damaged_blocks_are_refused_or_read(block in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = merge(&block, &[Change { term: b"x", item: 1, add: true }]);
            let _ = items(&block, |_| {});
        }
    }
}
