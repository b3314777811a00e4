//! arroy's trees over the vectors of a large namespace, built in the background.
//!
//! arroy cannot be read while it holds vectors it was not built with. So a store never touches it: new items wait in
//! `pending`, where a search scans them, and only a build moves them in, in the transaction that also builds the trees.

use std::num::NonZeroUsize;

use arroy::{Reader, Writer};
use rand::{SeedableRng, rngs::StdRng};
use roaring::RoaringBitmap;

use super::{
    RecallConfig,
    namespace::{self, Namespace},
    rows::{Change, Pending, item_of},
    vector,
};
use crate::{
    error::Result,
    store::{Read, Store, StoreResultExt, Write},
};

/// Vectors moved in by one build at most: writers wait for a build, so it must end soon. 20,000 at once took a minute.
const MOVE_AT_ONCE: u64 = 5_000;
/// Vectors that arroy looks at for each one wanted.
const NODES_A_HIT: usize = 20;

/// Whether the namespace has so many vectors that are in no tree that a build is due.
pub(super) fn is_due(config: &RecallConfig, read: &Read<'_>, namespace: &Namespace) -> Result<bool> {
    if namespace.ann.is_none() {
        return Ok(namespace.vectors > config.scan_limit as u64);
    }
    let waiting = [Pending::Add, Pending::Drop]
        .into_iter()
        .try_fold(0, |sum, which| Ok::<_, crate::Error>(sum + super::rows::pending(read, namespace, which)?.len()))?;
    Ok(waiting >= config.pending_limit.max(1) as u64)
}

/// Builds until nothing is due any more.
pub(super) async fn build_while_due(config: &RecallConfig, store: &Store, name: &str) -> Result<()> {
    loop {
        let due = store.read(|read| match namespace::find(read, name)? {
            Some(namespace) => is_due(config, read, &namespace),
            None => Ok(false),
        })?;
        if !due {
            return Ok(());
        }
        let name = name.to_owned();
        store.write(move |write| build(write, &name)).await?;
    }
}

/// Moves waiting vectors into arroy and builds its trees.
fn build(write: &mut Write<'_, '_>, name: &str) -> Result<()> {
    let Some(mut change) = Change::begin_known(write, name)? else {
        return Ok(());
    };
    let index = match change.namespace.ann {
        Some(index) => index,
        None => begin(write, &mut change)?,
    };
    let writer = Writer::new(write.tables.ann, index, change.namespace.dimensions);
    for item in std::mem::take(change.pending(write, Pending::Drop)?) {
        writer.del_item(write.txn, item).stored("ann")?;
    }
    let waiting = change.pending(write, Pending::Add)?;
    let now: RoaringBitmap = waiting.iter().take(MOVE_AT_ONCE as usize).collect();
    *waiting -= &now;
    let mut numbers = Vec::new();
    for item in now {
        if let Some(stored) = write.tables.vectors.get(write.txn, &change.namespace.item_key(item))? {
            vector::read(stored, &mut numbers);
            writer.add_item(write.txn, item, &numbers).stored("ann")?;
        }
    }
    // A fixed seed: the same vectors give the same trees.
    let mut rng = StdRng::seed_from_u64(u64::from(index));
    writer.builder(&mut rng).build(write.txn).stored("ann")?;
    change.end(write)
}

/// Gives the namespace an index, for which all its vectors wait.
fn begin(write: &mut Write<'_, '_>, change: &mut Change) -> Result<u16> {
    let index = namespace::take_index(write)?;
    let mut all = RoaringBitmap::new();
    for key in write.tables.vectors.keys(write.txn, &change.namespace.prefix())? {
        all.insert(item_of(key?)?);
    }
    change.namespace.ann = Some(index);
    *change.pending(write, Pending::Add)? = all;
    Ok(index)
}

/// Removes all trees and vectors of `index`.
pub(super) fn clear(write: &mut Write<'_, '_>, index: u16, dimensions: usize) -> Result<()> {
    Writer::new(write.tables.ann, index, dimensions).clear(write.txn).stored("ann")
}

/// Items whose vectors are probably nearest to `query`: to be compared exactly by the caller.
pub(super) fn near(read: &Read<'_>, index: u16, query: &[f32], wanted: usize) -> Result<Vec<u32>> {
    let reader = Reader::open(read.txn, index, read.tables.ann).stored("ann")?;
    let mut search = reader.nns(wanted);
    if let Some(nodes) = NonZeroUsize::new(wanted.saturating_mul(NODES_A_HIT)) {
        search.search_k(nodes);
    }
    let found: Vec<(u32, f32)> = search.by_vector(read.txn, query).stored("ann")?;
    Ok(found.into_iter().map(|(item, _)| item).collect())
}
