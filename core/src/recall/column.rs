//! Numbers of fixed size, one slot an item, in blocks that fill a page: found without a search for each, and written once a
//! transaction.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

use super::namespace::Namespace;
use crate::{
    error::Result,
    store::{Read, Table, Write},
};

/// Bytes of a block at most: with its checksum and the head that LMDB gives it, it fills one page of 4 KiB.
const BLOCK_BYTES: usize = 4_096 - 16 - 4;

/// Slots of `BYTES` bytes in a block.
pub(super) const fn slots_a_block(bytes: usize) -> u32 {
    (BLOCK_BYTES / bytes) as u32
}

/// The block that `item` is in, by its first item, and where it begins in it.
fn place<const BYTES: usize>(item: u32) -> (u32, usize) {
    let slots = slots_a_block(BYTES);
    (item / slots * slots, (item % slots) as usize * BYTES)
}

fn slot<const BYTES: usize>(block: &[u8], at: usize) -> Option<&[u8; BYTES]> {
    block.get(at..)?.first_chunk()
}

/// Reads slots in one snapshot. What it gives of an item that was forgotten means nothing.
#[derive(Debug)]
pub(super) struct ColumnReader<'t, const BYTES: usize> {
    table: Table,
    blocks: HashMap<u32, Option<&'t [u8]>>,
}

impl<'t, const BYTES: usize> ColumnReader<'t, BYTES> {
    pub(super) fn new(table: Table) -> Self {
        Self { table, blocks: HashMap::new() }
    }

    /// The slot of `item`; none when it was never written.
    pub(super) fn get(&mut self, read: &Read<'t>, namespace: &Namespace, item: u32) -> Result<Option<&'t [u8; BYTES]>> {
        let (first, at) = place::<BYTES>(item);
        let block = if let Some(block) = self.blocks.get(&first) {
            *block
        } else {
            let block = self.table.get_unverified(read.txn, &namespace.item_key(first))?;
            self.blocks.insert(first, block);
            block
        };
        Ok(block.and_then(|block| slot(block, at)))
    }
}

/// What a transaction does to a column: each block is written once at its end.
#[derive(Debug)]
pub(super) struct NewColumn<const BYTES: usize> {
    blocks: BTreeMap<u32, Vec<u8>>,
}

impl<const BYTES: usize> Default for NewColumn<BYTES> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new() }
    }
}

impl<const BYTES: usize> NewColumn<BYTES> {
    pub(super) fn get(
        &mut self,
        write: &Write<'_, '_>,
        table: Table,
        namespace: &Namespace,
        item: u32,
    ) -> Result<Option<[u8; BYTES]>> {
        let (first, at) = place::<BYTES>(item);
        Ok(slot(self.block(write, table, namespace, first)?, at).copied())
    }

    pub(super) fn put(
        &mut self,
        write: &Write<'_, '_>,
        table: Table,
        namespace: &Namespace,
        item: u32,
        bytes: &[u8; BYTES],
    ) -> Result<()> {
        let (first, at) = place::<BYTES>(item);
        let block = self.block(write, table, namespace, first)?;
        if block.len() < at + BYTES {
            block.resize(at + BYTES, 0);
        }
        block[at..at + BYTES].copy_from_slice(bytes);
        Ok(())
    }

    fn block(
        &mut self,
        write: &Write<'_, '_>,
        table: Table,
        namespace: &Namespace,
        first: u32,
    ) -> Result<&mut Vec<u8>> {
        match self.blocks.entry(first) {
            Entry::Occupied(block) => Ok(block.into_mut()),
            Entry::Vacant(place) => {
                let stored = table.get(write.txn, &namespace.item_key(first))?;
                Ok(place.insert(stored.map(<[u8]>::to_vec).unwrap_or_default()))
            }
        }
    }

    pub(super) fn write(self, write: &mut Write<'_, '_>, table: Table, namespace: &Namespace) -> Result<()> {
        for (first, block) in self.blocks {
            if block.iter().all(|byte| *byte == 0) {
                table.delete(write.txn, &namespace.item_key(first))?;
                continue;
            }
            table.put(write.txn, &namespace.item_key(first), &block)?;
        }
        Ok(())
    }
}
