//! What a transaction does to the vectors of a namespace, and to their codes.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{
    codes::{self, BLOCK, CodesMut, Quantiser},
    forest, rows,
};
use crate::{
    error::Result,
    recall::{namespace::Namespace, rows::item_of, vector},
    store::Write,
};

/// Vectors from which on a namespace has codes: fewer are compared exactly in no time.
const CODED_FROM: u64 = 1_024;
/// Vectors of which the mean is taken at most.
const SAMPLE: usize = 8_192;
/// So many times more vectors than the mean is of, and a new one is worth coding all again.
const GROWN: u64 = 8;
/// Vectors beyond which no new mean is taken: it would be the same.
const MEAN_IS_KNOWN: u64 = 32_768;
/// Blocks that a transaction codes beside its own new vectors at most, so that it ends soon.
const CATCH_UP: usize = 4;

/// Blocks of codes that a transaction holds changed in memory at most.
const CHANGED: usize = 128;

/// What a transaction does to vectors: it is written together at its end.
#[derive(Debug, Default)]
pub(in crate::recall) struct NewVectors {
    added: BTreeMap<u32, Vec<u8>>,
    /// Blocks of codes of which items were removed, by their first item: each is written once, whatever goes from it.
    changed: BTreeMap<u32, CodesMut>,
}

impl NewVectors {
    /// Adds the vector of a new item.
    pub(in crate::recall) fn add(&mut self, item: u32, unit: &[f32]) {
        self.added.insert(item, vector::to_bytes(unit));
    }

    /// The vector of `item`, f32 little-endian.
    pub(in crate::recall) fn get(
        &self,
        write: &Write<'_, '_>,
        namespace: &Namespace,
        item: u32,
    ) -> Result<Option<Vec<u8>>> {
        if let Some(added) = self.added.get(&item) {
            return Ok(Some(added.clone()));
        }
        if namespace.vectors == 0 {
            return Ok(None);
        }
        let read = write.reading();
        let row = rows::RowReader::new(&read, namespace).get(item)?.map(<[u8]>::to_vec);
        Ok(row)
    }

    /// Removes the vector of `item`; says whether it had one.
    pub(in crate::recall) fn remove(
        &mut self,
        write: &mut Write<'_, '_>,
        namespace: &Namespace,
        item: u32,
    ) -> Result<bool> {
        if self.added.remove(&item).is_some() {
            return Ok(true);
        }
        let waited = write.tables.vectors.delete(write.txn, &namespace.vector_key(item))?;
        if item >= namespace.coded {
            return Ok(waited);
        }
        let first = item / BLOCK * BLOCK;
        if self.changed.len() >= CHANGED && !self.changed.contains_key(&first) {
            self.write_changed(write, namespace)?;
        }
        let had = match self.changed.entry(first) {
            Entry::Occupied(block) => block.into_mut().remove(item),
            Entry::Vacant(place) => {
                let mut block = CodesMut::load(write, namespace, item)?;
                let had = block.remove(item);
                if had {
                    place.insert(block);
                }
                had
            }
        };
        Ok(had || waited)
    }

    /// Writes the blocks of codes that were changed, and gives the room of rows that are gone back.
    fn write_changed(&mut self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let (sealed, items) = (rows::sealed(namespace), rows::items_a_block(namespace.dimensions));
        for (first, block) in std::mem::take(&mut self.changed) {
            block.store(write, namespace)?;
            for rows in (first..sealed.min(first.saturating_add(BLOCK))).step_by(items as usize) {
                rows::shrink(write, namespace, rows, |first, count| block.live(first, count).collect())?;
            }
        }
        Ok(())
    }

    /// Writes what was added. Vectors get their codes here, so that the next query finds them, whoever asks.
    pub(in crate::recall) fn write(mut self, write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
        if namespace.vectors == 0 && namespace.sampled > 0 {
            return forget_all(write, namespace);
        }
        self.write_changed(write, namespace)?;
        let mut added = self.added;
        if namespace.sampled == 0 && namespace.vectors >= CODED_FROM {
            begin(write, namespace, &added)?;
        }
        if let Some(quantiser) = Quantiser::read_in(write, namespace)? {
            let own = added.len().div_ceil(BLOCK as usize);
            catch_up(write, namespace, &quantiser, &mut added, own + CATCH_UP)?;
        }
        for (item, row) in added {
            write.tables.vectors.put(write.txn, &namespace.vector_key(item), &row)?;
        }
        Ok(())
    }
}

/// Whether vectors wait for a code, or all for a better mean.
pub(super) fn is_due(namespace: &Namespace) -> bool {
    namespace.vectors >= CODED_FROM && namespace.coded < namespace.next || has_outgrown_mean(namespace)
}

fn has_outgrown_mean(namespace: &Namespace) -> bool {
    let grown = namespace.vectors.min(MEAN_IS_KNOWN);
    namespace.sampled > 0 && (grown >= namespace.sampled * GROWN || grown == MEAN_IS_KNOWN && namespace.sampled < grown)
}

/// Does one step of what is due.
pub(super) fn step(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    let mut none = BTreeMap::new();
    if namespace.sampled == 0 {
        begin(write, namespace, &none)?;
    } else if has_outgrown_mean(namespace) {
        code_again(write, namespace)?;
    }
    if let Some(quantiser) = Quantiser::read_in(write, namespace)? {
        catch_up(write, namespace, &quantiser, &mut none, CATCH_UP)?;
    }
    Ok(())
}

/// Without vectors nothing is left of the index.
fn forget_all(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    for table in [write.tables.codes, write.tables.rows, write.tables.vectors, write.tables.lists] {
        table.delete_prefix(write.txn, &namespace.vector_prefix())?;
    }
    (namespace.coded, namespace.sampled, namespace.lists) = (0, 0, None);
    // Nothing that is being built of what was there may serve what comes.
    namespace.mean += 1;
    namespace.lists_cleared = namespace.lists_version;
    forest::retire(write, namespace)
}

/// Takes the mean of what there is. The codes begin with the first item that has a vector.
fn begin(write: &mut Write<'_, '_>, namespace: &mut Namespace, added: &BTreeMap<u32, Vec<u8>>) -> Result<()> {
    let mut sample: Vec<Vec<u8>> = Vec::new();
    let mut first = added.keys().next().copied();
    for row in write.tables.vectors.prefix(write.txn, &namespace.vector_prefix())?.take(SAMPLE) {
        let (key, row) = row?;
        let item = item_of(key)?;
        first = Some(first.map_or(item, |first| first.min(item)));
        sample.push(row.to_vec());
    }
    let rows = sample.iter().chain(added.values()).map(Vec::as_slice);
    Quantiser::around(namespace.dimensions, rows.take(SAMPLE)).write(write, namespace)?;
    namespace.coded = first.unwrap_or(namespace.next) / BLOCK * BLOCK;
    namespace.sampled = ((sample.len() + added.len()) as u64).clamp(1, SAMPLE as u64);
    Ok(())
}

/// Gives a code to the vectors that have none, in order, and moves full blocks of rows together; `most` blocks at most.
/// What is written goes from `added`.
fn catch_up(
    write: &mut Write<'_, '_>,
    namespace: &mut Namespace,
    quantiser: &Quantiser,
    added: &mut BTreeMap<u32, Vec<u8>>,
    most: usize,
) -> Result<()> {
    let mut left = most;
    while namespace.coded < namespace.next && left > 0 {
        let (from, sealed) = (namespace.coded, rows::sealed(namespace));
        let end = (from / BLOCK + 1).saturating_mul(BLOCK).min(namespace.next);
        let items = rows::items_a_block(namespace.dimensions);
        // Those before `from` have a code already, and are needed only for a block of rows.
        let first = if end / items * items > sealed { sealed } else { from };
        let mut vectors = BTreeMap::new();
        let keys = (namespace.vector_key(first), namespace.vector_key(end));
        for row in write.tables.vectors.between(write.txn, &keys.0, &keys.1)? {
            let (key, row) = row?;
            vectors.insert(item_of(key)?, row.to_vec());
        }
        let after = added.split_off(&end);
        let fresh = std::mem::replace(added, after);
        for item in fresh.keys() {
            // Written below unless a block takes it.
            vectors.remove(item);
        }
        let waited: Vec<u32> = vectors.keys().copied().collect();
        vectors.extend(fresh);
        let mut block = CodesMut::load(write, namespace, from)?;
        let mut coded = 0;
        for (item, row) in vectors.range(from..end) {
            block.set(*item, &quantiser.code(codes::numbers(row)));
            coded += 1;
        }
        if coded > 0 {
            block.store(write, namespace)?;
            left -= 1;
        }
        namespace.coded = end;
        seal(write, namespace, sealed, &vectors, &waited)?;
        if coded == 0 {
            skip_empty(write, namespace, added)?;
        }
    }
    Ok(())
}

/// Writes the blocks of rows that are complete now, from item `sealed` on; the vectors after them wait in `vectors`.
fn seal(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    sealed: u32,
    vectors: &BTreeMap<u32, Vec<u8>>,
    waited: &[u32],
) -> Result<()> {
    let (now, items) = (rows::sealed(namespace), rows::items_a_block(namespace.dimensions));
    for first in (sealed..now).step_by(items as usize) {
        let rows: Vec<_> = vectors.range(first..first + items).map(|(item, row)| (*item, row.as_slice())).collect();
        if !rows.is_empty() {
            rows::write_block(write, namespace, first, rows.into_iter())?;
        }
    }
    for item in waited.iter().filter(|item| **item < now) {
        write.tables.vectors.delete(write.txn, &namespace.vector_key(*item))?;
    }
    for (item, row) in vectors.range(now..) {
        if waited.binary_search(item).is_err() {
            write.tables.vectors.put(write.txn, &namespace.vector_key(*item), row)?;
        }
    }
    Ok(())
}

/// Goes on to the next item that has a vector: items without one may be many.
fn skip_empty(write: &Write<'_, '_>, namespace: &mut Namespace, added: &BTreeMap<u32, Vec<u8>>) -> Result<()> {
    let keys = (namespace.vector_key(namespace.coded), namespace.vector_key(u32::MAX));
    let waiting = write.tables.vectors.between(write.txn, &keys.0, &keys.1)?.next().transpose()?;
    let waiting = waiting.map(|(key, _)| item_of(key)).transpose()?;
    let next = waiting.into_iter().chain(added.keys().next().copied()).min().unwrap_or(namespace.next);
    namespace.coded = namespace.coded.max(next / BLOCK * BLOCK).min(namespace.next);
    Ok(())
}

/// Takes the mean again, of more vectors, and gives all of them new codes.
fn code_again(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    let (mut blocks, quantiser) = {
        let read = write.reading();
        let stored = codes::Codes::all(&read, namespace)?;
        let mut reader = rows::RowReader::new(&read, namespace);
        reader.look_up_all()?;
        let every = (namespace.vectors as usize / SAMPLE).max(1);
        let mut sample = Vec::with_capacity(SAMPLE + 1);
        for item in stored.iter().flat_map(codes::Codes::items).step_by(every) {
            sample.extend(reader.get(item)?);
        }
        let quantiser = Quantiser::around(namespace.dimensions, sample.into_iter());
        let mut blocks = Vec::with_capacity(stored.len());
        for old in &stored {
            let mut block = CodesMut::empty(old.first, namespace.dimensions);
            for item in old.items() {
                if let Some(row) = reader.get(item)? {
                    block.set(item, &quantiser.code(codes::numbers(row)));
                }
            }
            blocks.push(block);
        }
        (blocks, quantiser)
    };
    quantiser.write(write, namespace)?;
    for block in blocks.drain(..) {
        block.store(write, namespace)?;
    }
    namespace.sampled = namespace.vectors.min(MEAN_IS_KNOWN);
    // Lists hold copies of the old codes.
    namespace.mean += 1;
    Ok(())
}
