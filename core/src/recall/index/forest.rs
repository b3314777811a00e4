//! arroy's trees over the vectors of a large namespace, built in the background.
//!
//! arroy cannot be read while it holds vectors it was not built with. So a store never touches it: new items wait in
//! `pending`, where a search scans them, and only a build moves them in, in the transaction that also builds the trees.

use std::num::NonZeroUsize;

use arroy::{Reader, Writer};
use rand::{SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;

use super::{
    Index, Query, Snapshot,
    codes::{self, Codes},
    rows::RowReader,
    scan::Scan,
};
use crate::{
    error::Result,
    recall::{
        RecallConfig,
        namespace::{self, Namespace},
        rows::{self, Change, Pending},
    },
    store::{Read, StoreResultExt, Write},
};

/// Vectors moved in by one build at most: writers wait for a build, so it must end soon. 20,000 at once took a minute.
const MOVE_AT_ONCE: u64 = 5_000;
/// Vectors that arroy looks at for each one that is compared exactly.
const NODES_A_HIT: usize = 20;

/// arroy's forest, and what waits for it.
#[derive(Debug)]
pub(super) struct Forest;

impl Index for Forest {
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Query<'_>) -> Result<Vec<(f32, u32)>> {
        let Some(index) = snapshot.namespace.ann else { return Ok(Vec::new()) };
        let (read, namespace) = (snapshot.read, snapshot.namespace);
        let wanted = snapshot.rescored(query);
        let reader = Reader::open(read.txn, index, read.tables.ann).stored("ann")?;
        let gone = rows::pending(read, namespace, Pending::Drop)?;
        let mut search = reader.nns(wanted.saturating_add(usize::try_from(gone.len()).unwrap_or(usize::MAX).min(wanted)));
        if let Some(nodes) = NonZeroUsize::new(wanted.saturating_mul(NODES_A_HIT)) {
            search.search_k(nodes);
        }
        if let Some(admitted) = query.admitted {
            search.candidates(admitted);
        }
        let found: Vec<(u32, f32)> = search.by_vector(read.txn, query.vector).stored("ann")?;
        let waiting = rows::pending(read, namespace, Pending::Add)?;
        let waiting = waiting.into_iter().filter(|item| query.admitted.is_none_or(|admitted| admitted.contains(*item)));
        let mut items: Vec<u32> = found.into_iter().map(|(item, _)| item).chain(waiting).collect();
        items.sort_unstable();
        items.dedup();
        items.retain(|item| snapshot.is_live(*item));
        // Trees full of forgotten items may leave too few.
        if (items.len() as u64) < (query.wanted as u64).min(namespace.vectors) {
            return Scan.nearest(snapshot, query);
        }
        snapshot.score(query, items)
    }
}

/// Whether the namespace has so many vectors that are in no tree that a build is due.
pub(super) fn is_due(config: &RecallConfig, read: &Read<'_>, namespace: &Namespace) -> Result<bool> {
    if namespace.ann.is_none() {
        return Ok(namespace.sampled > 0 && namespace.vectors > config.scan_limit as u64);
    }
    let waiting = [Pending::Add, Pending::Drop]
        .into_iter()
        .try_fold(0, |sum, which| Ok::<_, crate::Error>(sum + rows::pending(read, namespace, which)?.len()))?;
    Ok(waiting >= config.pending_limit.max(1) as u64)
}

/// Moves waiting vectors into arroy and builds its trees.
pub(super) fn build(write: &mut Write<'_, '_>, change: &mut Change) -> Result<()> {
    let index = match change.namespace.ann {
        Some(index) => index,
        None => begin(write, change)?,
    };
    let writer = Writer::new(write.tables.ann, index, change.namespace.dimensions);
    for item in std::mem::take(change.pending(write, Pending::Drop)?) {
        writer.del_item(write.txn, item).stored("ann")?;
    }
    let waiting = change.pending(write, Pending::Add)?;
    let now: RoaringBitmap = waiting.iter().take(MOVE_AT_ONCE as usize).collect();
    *waiting -= &now;
    let mut moved = Vec::new();
    {
        let read = write.reading();
        let mut reader = RowReader::new(&read, &change.namespace);
        for item in now {
            if let Some(row) = reader.get(item)? {
                moved.push((item, codes::numbers(row).collect::<Vec<f32>>()));
            }
        }
    }
    for (item, vector) in moved {
        writer.add_item(write.txn, item, &vector).stored("ann")?;
    }
    // A fixed seed: the same vectors give the same trees.
    let mut rng = StdRng::seed_from_u64(u64::from(index));
    writer.builder(&mut rng).build(write.txn).stored("ann")
}

/// Gives the namespace an index, for which all its vectors wait.
fn begin(write: &mut Write<'_, '_>, change: &mut Change) -> Result<u16> {
    let index = namespace::take_index(write)?;
    let blocks = Codes::all(&write.reading(), &change.namespace)?;
    let all = blocks.iter().flat_map(Codes::items).collect();
    change.namespace.ann = Some(index);
    *change.pending(write, Pending::Add)? = all;
    Ok(index)
}

/// Takes the forest from the namespace.
pub(super) fn remove(write: &mut Write<'_, '_>, change: &mut Change) -> Result<()> {
    if let Some(index) = change.namespace.ann.take() {
        clear(write, index, change.namespace.dimensions)?;
    }
    for which in [Pending::Add, Pending::Drop] {
        change.pending(write, which)?.clear();
    }
    Ok(())
}

/// Removes all trees and vectors of `index`.
pub(super) fn clear(write: &mut Write<'_, '_>, index: u16, dimensions: usize) -> Result<()> {
    Writer::new(write.tables.ann, index, dimensions).clear(write.txn).stored("ann")
}
