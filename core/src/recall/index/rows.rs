//! Vectors as they are, in blocks: a row is found without a search in the tree of LMDB, and lies beside its neighbours.
//!
//! The newest wait in `vectors`, one under each key, so that storing one does not write its whole block anew; when the
//! items of a block are all taken, it is written once.

use super::codes::malformed;
use crate::{
    error::Result,
    recall::namespace::Namespace,
    store::{Read, Write},
};

/// Bytes of a block of rows, about.
const BLOCK_BYTES: usize = 2 << 20;
/// Items of a block at least and at most.
const ITEMS: (usize, usize) = (64, 1_024);

/// Items of one block of rows: a power of two, so that blocks of codes are made of whole ones.
pub(super) fn items_a_block(dimensions: usize) -> u32 {
    let fit = (BLOCK_BYTES / (dimensions.max(1) * 4)).clamp(ITEMS.0, ITEMS.1);
    1 << fit.ilog2()
}

/// The first item that is in no block of rows: all before it that have a vector are in one.
pub(super) fn sealed(namespace: &Namespace) -> u32 {
    let items = items_a_block(namespace.dimensions);
    namespace.coded / items * items
}

/// A block of rows, as stored.
#[derive(Clone, Copy, Debug)]
struct Rows<'t> {
    /// Which items have a row.
    present: &'t [u8],
    values: &'t [u8],
    /// All have: then nothing has to be counted.
    full: bool,
}

impl<'t> Rows<'t> {
    fn parse(value: &'t [u8], dimensions: usize) -> Result<Self> {
        let items = items_a_block(dimensions) as usize;
        let (present, rows) = value.split_at_checked(items / 8).ok_or_else(|| malformed("rows"))?;
        let row = dimensions * 4;
        // Nearly always all are there, and then there is nothing to be counted.
        let full = rows.len() == items * row;
        let count = || present.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        if full || rows.len() == count() * row {
            Ok(Self { present, values: rows, full })
        } else {
            Err(malformed("rows"))
        }
    }

    fn get(&self, at: usize, dimensions: usize) -> Option<&'t [u8]> {
        let row = if self.full {
            at
        } else {
            let byte = *self.present.get(at / 8)?;
            if byte >> (at % 8) & 1 == 0 {
                return None;
            }
            let before: u32 = self.present[..at / 8].iter().map(|byte| byte.count_ones()).sum();
            (before + (byte & ((1 << (at % 8)) - 1)).count_ones()) as usize
        };
        let bytes = dimensions * 4;
        self.values.get(row * bytes..(row + 1) * bytes)
    }
}

/// Writes the rows of a block whose first item is `first`: `rows` of items in order.
pub(super) fn write_block<'r>(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    first: u32,
    rows: impl ExactSizeIterator<Item = (u32, &'r [u8])>,
) -> Result<()> {
    let key = namespace.vector_key(first);
    if rows.len() == 0 {
        return write.tables.rows.delete(write.txn, &key).map(drop);
    }
    let head = items_a_block(namespace.dimensions) as usize / 8;
    let mut value = Vec::with_capacity(head + rows.len() * namespace.dimensions * 4);
    value.resize(head, 0);
    for (item, row) in rows {
        let at = (item - first) as usize;
        value[at / 8] |= 1 << (at % 8);
        value.extend_from_slice(row);
    }
    write.tables.rows.put(write.txn, &key, &value)
}

/// Leaves in the block of `item`, which was removed, only the rows of items that are `live`, when half of them are gone.
pub(super) fn shrink(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    item: u32,
    live: impl Fn(u32, u32) -> Vec<u32>,
) -> Result<()> {
    let items = items_a_block(namespace.dimensions);
    let first = item / items * items;
    let key = namespace.vector_key(first);
    let Some(stored) = write.tables.rows.get_unverified(write.txn, &key)? else { return Ok(()) };
    let block = Rows::parse(stored, namespace.dimensions)?;
    let had: u32 = block.present.iter().map(|byte| byte.count_ones()).sum();
    let live = live(first, items);
    if live.len() as u32 * 2 > had {
        return Ok(());
    }
    let mut kept = Vec::with_capacity(live.len());
    for item in live {
        let row = block.get((item - first) as usize, namespace.dimensions).ok_or_else(|| malformed("rows"))?;
        kept.push((item, row.to_vec()));
    }
    write_block(write, namespace, first, kept.iter().map(|(item, row)| (*item, &row[..])))
}

/// Reads vectors in one snapshot. It does not know whether an item was forgotten a moment ago: `codes` does.
pub(super) struct RowReader<'t> {
    read: Read<'t>,
    namespace: Namespace,
    items: u32,
    sealed: u32,
    /// By number; those that were not needed yet are not there.
    blocks: Vec<Option<Block<'t>>>,
}

/// A block that was looked up.
#[derive(Clone, Copy, Debug)]
enum Block<'t> {
    Missing,
    There(Rows<'t>),
}

impl<'t> RowReader<'t> {
    pub(super) fn new(read: &Read<'t>, namespace: &Namespace) -> Self {
        let (items, sealed) = (items_a_block(namespace.dimensions), sealed(namespace));
        let blocks = vec![None; (sealed / items) as usize];
        Self { read: Read { ..*read }, namespace: namespace.clone(), items, sealed, blocks }
    }

    /// Looks all blocks up, one after the other: faster than one by one when many are needed.
    pub(super) fn look_up_all(&mut self) -> Result<()> {
        self.blocks.fill(Some(Block::Missing));
        for row in self.read.tables.rows.prefix_unverified(self.read.txn, &self.namespace.vector_prefix())? {
            let (key, value) = row?;
            let first = key.last_chunk().map_or(0, |first| u32::from_be_bytes(*first));
            if let Some(block) = self.blocks.get_mut((first / self.items) as usize) {
                *block = Some(Block::There(Rows::parse(value, self.namespace.dimensions)?));
            }
        }
        Ok(())
    }

    /// The vector of `item`, f32 little-endian.
    pub(super) fn get(&mut self, item: u32) -> Result<Option<&'t [u8]>> {
        if item >= self.sealed {
            let row = self.read.tables.vectors.get(self.read.txn, &self.namespace.vector_key(item))?;
            return row.map(|row| self.checked(row)).transpose();
        }
        let number = (item / self.items) as usize;
        let block = if let Some(block) = self.blocks.get(number).copied().flatten() {
            block
        } else {
            let key = self.namespace.vector_key(item / self.items * self.items);
            let block = match self.read.tables.rows.get_unverified(self.read.txn, &key)? {
                Some(value) => Block::There(Rows::parse(value, self.namespace.dimensions)?),
                None => Block::Missing,
            };
            if let Some(slot) = self.blocks.get_mut(number) {
                *slot = Some(block);
            }
            block
        };
        Ok(match block {
            Block::There(rows) => rows.get((item % self.items) as usize, self.namespace.dimensions),
            Block::Missing => None,
        })
    }

    /// The vectors of items that are in no code yet, with their items.
    pub(super) fn uncoded(&self) -> Result<impl Iterator<Item = Result<(u32, &'t [u8])>> + use<'_, 't>> {
        let first = self.namespace.vector_key(self.namespace.coded);
        let end = self.namespace.vector_key(u32::MAX);
        let rows = self.read.tables.vectors.between(self.read.txn, &first, &end)?;
        Ok(rows.map(|row| {
            let (key, row) = row?;
            Ok((crate::recall::rows::item_of(key)?, self.checked(row)?))
        }))
    }

    fn checked(&self, row: &'t [u8]) -> Result<&'t [u8]> {
        if row.len() == self.namespace.dimensions * 4 { Ok(row) } else { Err(malformed("vectors")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_as_many_items_as_fit() {
        for (dimensions, items) in [(1, 1_024), (384, 1_024), (512, 1_024), (768, 512), (1_536, 256), (65_536, 64)] {
            assert_eq!(items_a_block(dimensions), items, "{dimensions}");
        }
    }

    #[test]
    fn a_row_is_found_behind_those_that_are_there() {
        let dimensions = 600;
        let items = items_a_block(dimensions);
        let there: Vec<u32> = (0..items).filter(|item| item % 3 != 1).collect();
        let mut value = vec![0; items as usize / 8];
        for item in &there {
            value[*item as usize / 8] |= 1 << (item % 8);
        }
        for item in &there {
            value.extend((0..dimensions).flat_map(|_| (*item as f32).to_le_bytes()));
        }
        let rows = Rows::parse(&value, dimensions).unwrap();
        for item in 0..items {
            let row = rows.get(item as usize, dimensions).map(|row| f32::from_le_bytes(*row.first_chunk().unwrap()));
            assert_eq!(row, there.contains(&item).then_some(item as f32));
        }
        assert!(Rows::parse(&value[..value.len() - 4], dimensions).is_err());
    }
}
