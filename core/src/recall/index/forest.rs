//! arroy's trees over the vectors of a namespace (Annoy: Bernhardsson 2013), where memory is short or sets are very large.
//!
//! arroy builds in one long write, and cannot be read while it holds vectors it was not built with. So a forest is built in
//! a folder of its own, copied beside the one that serves, in small transactions, and put in its place. Items that are not
//! in it yet are scanned.

use std::num::NonZeroUsize;

use arroy::{Reader, Writer};
use heed::types::Bytes;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{
    Asked, Found, Index, Snapshot,
    codes::{BLOCK, Codes, numbers},
    now_ms,
    rows::{self, RowReader},
    scan::{Scan, scan_from},
};
use crate::{
    error::{Error, Result},
    recall::{
        IndexChoice, RecallConfig,
        namespace::{self, Namespace},
    },
    runtime::blocking,
    store::{Read, Scratch, Store, StoreResultExt, Write},
};

/// Vectors that arroy looks at for each one that is to be compared exactly.
const NODES_A_HIT: usize = 25;
/// Trees of a forest. 100 were measured best at 100,000 vectors; more take disk and time and find little more.
const TREES: usize = 100;
/// Bytes of a row and its share of the trees, above its vector.
const BYTES_A_ITEM: usize = 8 << 10;
/// Bytes of vectors that arroy holds in memory while it builds.
const MEMORY: usize = 64 << 20;
/// Bytes of rows copied in one transaction.
const COPIED_AT_ONCE: usize = 4 << 20;
/// Rows removed in one transaction.
const REMOVED_AT_ONCE: usize = 10_000;
/// How long a forest may be built before other processes take its builder for dead.
const LEASE_MS: u64 = 3_600_000;
/// Part of the items that may be beyond the forest, or forgotten, before another is built.
const WORN: f64 = 0.25;

/// The forest of a namespace, as stored with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::recall) struct Forest {
    /// Its number in arroy's table.
    index: u16,
    /// All items before this one that had a vector are in it.
    covered: u32,
    /// How many it holds, forgotten ones too.
    held: u64,
}

/// What is to be done about the forest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Build,
    /// It serves no more.
    Retire,
    /// Rows of one that serves no more, or was never finished.
    Remove,
}

/// What is due, if anything.
pub(super) fn due(config: &RecallConfig, namespace: &Namespace, now_ms: u64) -> Option<Due> {
    if namespace.ann.is_some() {
        return (now_ms >= namespace.ann_until_ms).then_some(Due::Remove);
    }
    let wanted = config.index == IndexChoice::Arroy;
    match &namespace.forest {
        Some(_) if !wanted || namespace.vectors < config.scan_limit as u64 / 2 => Some(Due::Retire),
        Some(forest) => {
            let beyond = u64::from(namespace.coded.saturating_sub(forest.covered));
            let dead = (forest.held + beyond).saturating_sub(namespace.vectors);
            let worn = beyond.max(dead);
            let due =
                worn as f64 > WORN * forest.held as f64 && worn >= config.pending_limit.max(BLOCK as usize) as u64;
            due.then_some(Due::Build)
        }
        None => (wanted && namespace.sampled > 0 && namespace.vectors > config.scan_limit as u64).then_some(Due::Build),
    }
}

/// The forest, and a scan of what is not in it.
#[derive(Debug)]
pub(super) struct Arroy;

impl Index for Arroy {
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Asked<'_>, width: usize) -> Result<Found> {
        let (read, namespace) = (snapshot.read, snapshot.namespace);
        let Some(forest) = namespace.forest else { return Scan.nearest(snapshot, query, width) };
        let wanted = snapshot.listed(query);
        let reader = Reader::open(read.txn, forest.index, read.tables.ann).stored("ann")?;
        let mut search = reader.nns(wanted);
        if let Some(nodes) = NonZeroUsize::new(wanted.saturating_mul(NODES_A_HIT)) {
            search.search_k(nodes);
        }
        if let Some(admitted) = &query.admitted {
            search.candidates(admitted.items);
        }
        let found: Vec<(u32, f32)> = search.by_vector(read.txn, query.vector).stored("ann")?;
        let found = found.into_iter().map(|(item, _)| item);
        let mut items: Vec<u32> = found.filter(|item| snapshot.is_live(*item)).collect();
        let mut beyond = snapshot.shortlist(query, width);
        scan_from(snapshot, query, forest.covered, &mut beyond)?;
        items.extend(beyond.finish().iter().map(|listed| listed.item));
        // Trees full of forgotten items may leave too few.
        if (items.len() as u64) < (query.wanted as u64).min(namespace.vectors) {
            return Scan.nearest(snapshot, query, width);
        }
        snapshot.score(query, &items).map(Found::all)
    }
}

/// Builds a forest and puts it in the place of the one there is.
pub(super) async fn build(store: &Store, closing: &CancellationToken, name: &str) -> Result<()> {
    match begin(store, name).await? {
        Some((namespace, index)) => finish(store, closing, name, (namespace, index)).await,
        None => Ok(()),
    }
}

/// Takes an index of arroy for a forest of the namespace as it is now; none when it is gone.
pub(super) async fn begin(store: &Store, name: &str) -> Result<Option<(Namespace, u16)>> {
    let name = name.to_owned();
    store
        .write(move |write| {
            let Some(mut namespace) = namespace::find_in(write, &name)? else { return Ok(None) };
            let index = namespace::take_index(write)?;
            namespace.ann = Some(index);
            namespace.ann_until_ms = now_ms() + LEASE_MS;
            namespace::keep(write, &name, &namespace)?;
            Ok(Some((namespace, index)))
        })
        .await
}

/// Grows the forest that was begun, copies it and puts it in its place.
pub(super) async fn finish(
    store: &Store,
    closing: &CancellationToken,
    name: &str,
    (namespace, index): (Namespace, u16),
) -> Result<()> {
    let (reader, stop, plan, known) = (store.clone(), closing.clone(), namespace.clone(), name.to_owned());
    let (scratch, held) = match blocking(move || grow(&reader, &stop, (&known, &plan), index)).await {
        Ok(Some(grown)) => grown,
        Ok(None) => return give_back(store, name, index).await,
        Err(error) => {
            give_back(store, name, index).await?;
            return Err(error);
        }
    };
    let (parts, mut waiting) = tokio::sync::mpsc::channel(1);
    let copying = blocking(move || {
        scratch.rows(COPIED_AT_ONCE, |part| {
            parts.blocking_send(part).map_err(|_| Error::unexpected("the copy of an index was given up"))
        })
    });
    // The receiver goes with the first error, so that who copies ends too.
    let copied = async move {
        while let Some(part) = waiting.recv().await {
            store
                .write(move |write| {
                    let table = write.tables.ann.remap_types::<Bytes, Bytes>();
                    part.iter().try_for_each(|(key, value)| table.put(write.txn, key, value).stored("ann"))
                })
                .await?;
        }
        Ok(())
    };
    let (read, written) = tokio::join!(copying, copied);
    if let Err(error) = written.and(read) {
        give_back(store, name, index).await?;
        return Err(error);
    }
    let (name, forest) = (name.to_owned(), Forest { index, covered: rows::sealed(&namespace), held });
    store.write(move |write| put_in_place(write, &name, &namespace, forest)).await
}

/// Ends the lease of a builder that gave up, so that another can begin at once.
async fn give_back(store: &Store, name: &str, index: u16) -> Result<()> {
    let name = name.to_owned();
    let end = move |write: &mut Write<'_, '_>| {
        let known = namespace::find_in(write, &name)?;
        let Some(mut namespace) = known.filter(|known| known.ann == Some(index)) else { return Ok(()) };
        namespace.ann_until_ms = 0;
        namespace::keep(write, &name, &namespace)
    };
    store.write(end).await
}

/// Whether a forest that was begun for a namespace can serve it as it is now.
fn fits(begun: &Namespace, index: u16, now: &Namespace) -> bool {
    let same = now.vector_prefix() == begun.vector_prefix() && now.dimensions == begun.dimensions;
    same && now.ann == Some(index) && now.ann_until_ms > 0
}

fn put_in_place(write: &mut Write<'_, '_>, name: &str, begun: &Namespace, forest: Forest) -> Result<()> {
    let known = namespace::find_in(write, name)?;
    // The namespace may be gone by now, or emptied, or another process may build for it.
    let Some(mut now) = known.filter(|now| fits(begun, forest.index, now)) else {
        return remove_rows(write, forest.index, usize::MAX).map(drop);
    };
    now.ann = now.forest.replace(forest).map(|old| old.index);
    now.ann_until_ms = 0;
    namespace::keep(write, name, &now)
}

/// The forest, in a folder of its own, and how many items it holds; none when the process is closing or the
/// namespace is no longer that.
fn grow(
    store: &Store,
    closing: &CancellationToken,
    (name, namespace): (&str, &Namespace),
    index: u16,
) -> Result<Option<(Scratch, u64)>> {
    let bytes = namespace.dimensions * 4 * 2 + BYTES_A_ITEM;
    let bytes = (namespace.vectors as usize + BLOCK as usize).saturating_mul(bytes).max(64 << 20);
    let scratch = Scratch::open(store.folder(), bytes)?;
    let mut writer = Writer::new(scratch.forests(), index, namespace.dimensions);
    writer.set_tmpdir(scratch.folder());
    let mut held = 0;
    for first in (0..rows::sealed(namespace)).step_by(BLOCK as usize) {
        if closing.is_cancelled() {
            return Ok(None);
        }
        let rows = store.read(|read| match namespace::find(read, name)? {
            Some(now) if fits(namespace, index, &now) => live_rows(read, namespace, first).map(Some),
            _ => Ok(None),
        })?;
        let Some(rows) = rows else { return Ok(None) };
        held += rows.len() as u64;
        scratch.write(|txn| {
            rows.iter().try_for_each(|(item, vector)| writer.add_item(txn, *item, vector).stored("ann"))
        })?;
    }
    // A fixed seed: the same vectors give the same trees.
    let mut rng = StdRng::seed_from_u64(u64::from(index));
    let built = scratch.write(|txn| {
        let mut builder = writer.builder(&mut rng);
        builder.n_trees(TREES).split_after(TREES).available_memory(MEMORY).cancel(|| closing.is_cancelled());
        match builder.build(txn) {
            Err(arroy::Error::BuildCancelled) => Ok(false),
            built => built.stored("ann").map(|()| true),
        }
    })?;
    Ok(built.then_some((scratch, held)))
}

/// The vectors of the block of codes that begins with item `first`, without those that wait for a block of rows: they may
/// move there meanwhile, where a reader that only knows this namespace does not look.
fn live_rows(read: &Read<'_>, namespace: &Namespace, first: u32) -> Result<Vec<(u32, Vec<f32>)>> {
    let Some(stored) = read.tables.codes.get_unverified(read.txn, &namespace.vector_key(first))? else {
        return Ok(Vec::new());
    };
    let mut reader = RowReader::new(read, namespace);
    let mut rows = Vec::new();
    for item in
        Codes::parse(first, stored, namespace.dimensions)?.items().filter(|item| *item < rows::sealed(namespace))
    {
        if let Some(row) = reader.get(item)? {
            rows.push((item, numbers(row).collect()));
        }
    }
    Ok(rows)
}

/// One step of taking a forest away.
pub(super) fn step(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    let Some(index) = namespace.ann else {
        namespace.ann = namespace.forest.take().map(|forest| forest.index);
        namespace.ann_until_ms = 0;
        return Ok(());
    };
    if remove_rows(write, index, REMOVED_AT_ONCE)? {
        namespace.ann = None;
    }
    Ok(())
}

/// Takes the forest of a namespace that was emptied out of service, and the one that is being built: what is built for other
/// vectors than there will be must not serve them.
pub(super) fn retire(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    if let Some(forest) = namespace.forest.take() {
        match namespace.ann {
            Some(_) => drop(remove_rows(write, forest.index, usize::MAX)?),
            None => namespace.ann = Some(forest.index),
        }
    }
    namespace.ann_until_ms = 0;
    Ok(())
}

/// Removes all that is stored of the forests of a namespace.
pub(super) fn clear(write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
    for index in namespace.ann.into_iter().chain(namespace.forest.map(|forest| forest.index)) {
        remove_rows(write, index, usize::MAX)?;
    }
    Ok(())
}

/// Removes rows of `index`, `most` of them; says whether none is left. A key of arroy begins with the number of its index.
fn remove_rows(write: &mut Write<'_, '_>, index: u16, most: usize) -> Result<bool> {
    let table = write.tables.ann.remap_types::<Bytes, Bytes>();
    let prefix = index.to_be_bytes();
    let mut keys = Vec::new();
    for row in table.prefix_iter(write.txn, &prefix).stored("ann")?.take(most) {
        keys.push(row.stored("ann")?.0.to_vec());
    }
    for key in &keys {
        table.delete(write.txn, key).stored("ann")?;
    }
    Ok(keys.len() < most)
}
