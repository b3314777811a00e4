//! Building the lists of a namespace, and taking new items into them, behind the backs of those who store and ask.

use rand::{SeedableRng, rngs::StdRng};
use tokio_util::sync::CancellationToken;

use super::{
    codes::{self, BLOCK, Codes, code_at},
    ivf::Lists,
    kernel::Isa,
    kmeans, lists,
    rows::{self, RowReader},
};
use crate::{
    error::Result,
    recall::namespace::{self, Namespace},
    runtime::blocking,
    store::{Read, Store, Write},
};

/// Lists for the square root of the number of vectors: scanning centroids and scanning lists then take alike.
const LISTS: f64 = 2.0;
/// Vectors a list from which the centroids are learned, and bytes of all of them at most.
const SAMPLE_A_LIST: usize = 32;
const SAMPLE_BYTES: usize = 64 << 20;
/// A list so many times as long as they are on average is split.
const LONG: usize = 3;
/// Vectors of a long list from which two centroids are learned at most.
const SPLIT_SAMPLE: usize = 8_192;
/// Lists written in one transaction.
const LISTS_A_WRITE: usize = 64;
/// Blocks of codes taken into the lists in one transaction.
const BLOCKS_A_FOLD: u32 = 2;

/// An item and its code.
type Coded = (u32, Vec<u64>);

/// The centroids, one after the other, and the list of each.
type Built = (Vec<f32>, Vec<Vec<Coded>>);

/// What is read, computed and written for the lists of one version.
#[derive(Clone)]
pub(super) struct Build {
    store: Store,
    closing: CancellationToken,
    name: String,
    namespace: Namespace,
    lists: Lists,
}

/// Builds the lists anew, beside those there are, and puts them in their place at once.
pub(super) async fn build(store: &Store, closing: &CancellationToken, name: &str) -> Result<()> {
    match Build::begin(store, closing, name).await? {
        Some(build) => build.finish().await,
        None => Ok(()),
    }
}

/// Whether lists that were begun for a namespace can serve it as it is now.
fn fits(begun: &Namespace, lists: Lists, now: &Namespace) -> bool {
    let same =
        now.vector_prefix() == begun.vector_prefix() && now.mean == lists.mean && now.dimensions == begun.dimensions;
    same && lists.version > now.lists_cleared
}

fn put_in_place(
    write: &mut Write<'_, '_>,
    name: &str,
    begun: &Namespace,
    lists: Lists,
    centroids: &[f32],
) -> Result<()> {
    let known = namespace::find_in(write, name)?;
    // It may be another namespace of that name by now, or have been emptied, or another process may have been faster:
    // whoever ends first is taken, so that builders that begin one after the other do not all build in vain.
    let Some(mut now) = known.filter(|now| fits(begun, lists, now)) else {
        return lists::remove(write, begun, lists.version);
    };
    lists::write_centroids(write, &now, lists.version, centroids)?;
    now.lists = Some(lists);
    lists::remove_others(write, &mut now)?;
    namespace::keep(write, name, &now)
}

impl Build {
    /// Takes a version for the lists of the namespace as it is now; none when it is gone.
    pub(super) async fn begin(store: &Store, closing: &CancellationToken, name: &str) -> Result<Option<Self>> {
        let reserved = name.to_owned();
        let reserve = move |write: &mut Write<'_, '_>| {
            let Some(mut namespace) = namespace::find_in(write, &reserved)? else { return Ok(None) };
            namespace.lists_version += 1;
            namespace::keep(write, &reserved, &namespace)?;
            Ok(Some(namespace))
        };
        let Some(namespace) = store.write(reserve).await? else { return Ok(None) };
        let lists = Lists {
            version: namespace.lists_version,
            // Vectors after this one may move, while it is built, to where who only knows this namespace does not look.
            covered: rows::sealed(&namespace),
            mean: namespace.mean,
            built: namespace.vectors,
            ..Lists::default()
        };
        Ok(Some(Self { store: store.clone(), closing: closing.clone(), name: name.to_owned(), namespace, lists }))
    }

    /// Builds the lists, writes them in small transactions, and puts them in their place.
    pub(super) async fn finish(self) -> Result<()> {
        let Self { store, namespace, name, lists, .. } = self.clone();
        let Some((centroids, all)) = blocking(move || self.compute()).await? else { return Ok(()) };
        let lists = Lists { count: all.len() as u32, held: all.iter().map(|list| list.len() as u64).sum(), ..lists };
        for (at, part) in all.chunks(LISTS_A_WRITE).enumerate() {
            let (part, namespace) = (part.to_vec(), namespace.clone());
            let write_part = move |write: &mut Write<'_, '_>| {
                (0..).zip(&part).try_for_each(|(next, list)| {
                    lists::write_list(write, &namespace, lists.version, (at * LISTS_A_WRITE) as u32 + next, list)
                })
            };
            store.write(write_part).await?;
        }
        store.write(move |write| put_in_place(write, &name, &namespace, lists, &centroids)).await
    }

    /// Reads in a snapshot of its own; none when the namespace is no longer the one for which the lists are built, and the
    /// rows there may be of another kind.
    fn read<T>(&self, look: impl FnOnce(&Read<'_>) -> Result<T>) -> Result<Option<T>> {
        self.store.read(|read| match namespace::find(read, &self.name)? {
            Some(now) if fits(&self.namespace, self.lists, &now) => look(read).map(Some),
            _ => Ok(None),
        })
    }

    /// The centroids and the lists; none when the process is closing.
    fn compute(&self) -> Result<Option<Built>> {
        let (isa, dimensions) = (Isa::detect(), self.namespace.dimensions);
        // A fixed seed: the same vectors give the same lists.
        let mut rng = StdRng::seed_from_u64(u64::from(self.lists.version));
        let wanted = ((self.namespace.vectors as f64).sqrt() * LISTS).ceil() as usize;
        let go_on = || !self.closing.is_cancelled();
        let Some(sample) = self.sample(wanted * SAMPLE_A_LIST)? else { return Ok(None) };
        let Some(mut centroids) = kmeans::centroids(isa, &mut rng, &sample, dimensions, wanted, go_on) else {
            return Ok(None);
        };
        drop(sample);
        let mut all: Vec<Vec<Coded>> = vec![Vec::new(); centroids.len() / dimensions];
        let (mut vectors, mut nearest) = (Vec::new(), Vec::new());
        for first in (0..self.lists.covered).step_by(BLOCK as usize) {
            if !go_on() {
                return Ok(None);
            }
            let part = (first, self.lists.covered);
            let Some(coded) = self.read(|read| coded(read, &self.namespace, part, &mut vectors))? else {
                return Ok(None);
            };
            isa.assign(&vectors, &centroids, dimensions, &mut nearest);
            for (item, list) in coded.into_iter().zip(&nearest) {
                all[*list as usize].push(item);
            }
        }
        let most = longest(all.iter().map(Vec::len).sum(), all.len());
        let mut at = 0;
        while at < all.len() {
            if all[at].len() <= most {
                at += 1;
                continue;
            }
            let items = std::mem::take(&mut all[at]);
            let look = |items: &[Coded]| {
                if go_on() { self.read(|read| with_vectors(read, &self.namespace, items)) } else { Ok(None) }
            };
            let Some((centres, halves)) = split(isa, dimensions, &items, look)? else { return Ok(None) };
            centroids[at * dimensions..(at + 1) * dimensions].copy_from_slice(&centres[..dimensions]);
            centroids.extend_from_slice(&centres[dimensions..]);
            let [first, second] = halves;
            all[at] = first;
            all.push(second);
        }
        Ok(Some((centroids, all)))
    }

    /// About `wanted` vectors, taken at even distances.
    fn sample(&self, wanted: usize) -> Result<Option<Vec<f32>>> {
        let most = wanted.min(SAMPLE_BYTES / (self.namespace.dimensions * 4)).max(1);
        let every = (self.namespace.vectors as usize).div_ceil(most).max(1);
        let items = self.read(|read| {
            let blocks = Codes::all(read, &self.namespace)?;
            Ok(blocks.iter().flat_map(Codes::items).step_by(every).collect::<Vec<u32>>())
        })?;
        let Some(items) = items else { return Ok(None) };
        let mut sample = Vec::with_capacity(items.len() * self.namespace.dimensions);
        // Not all in one transaction: what is changed meanwhile could not be reused until its end.
        for items in items.chunks(BLOCK as usize) {
            let read = self.read(|read| {
                let mut rows = RowReader::new(read, &self.namespace);
                items.iter().try_for_each(|item| {
                    sample.extend(rows.get(*item)?.into_iter().flat_map(codes::numbers));
                    Ok(())
                })
            })?;
            if read.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(sample))
    }
}

/// The longest that a list may be.
fn longest(held: usize, lists: usize) -> usize {
    (LONG * held / lists.max(1)).max(64)
}

/// The items of the block of item `from` that have a vector, from it on and before `end`, with their codes; and their
/// vectors.
fn coded(
    read: &Read<'_>,
    namespace: &Namespace,
    (from, end): (u32, u32),
    vectors: &mut Vec<f32>,
) -> Result<Vec<Coded>> {
    vectors.clear();
    let first = from / BLOCK * BLOCK;
    let Some(stored) = read.tables.codes.get_unverified(read.txn, &namespace.vector_key(first))? else {
        return Ok(Vec::new());
    };
    let block = Codes::parse(first, stored, namespace.dimensions)?;
    let mut rows = RowReader::new(read, namespace);
    let mut coded = Vec::new();
    for item in block.items().filter(|item| (from..end).contains(item)) {
        if let Some(row) = rows.get(item)? {
            vectors.extend(codes::numbers(row));
            coded.push((item, code_at(block.groups, (item - first) as usize, codes::words(namespace.dimensions))));
        }
    }
    Ok(coded)
}

/// Those of `items` that have a vector, and their vectors.
fn with_vectors(read: &Read<'_>, namespace: &Namespace, items: &[Coded]) -> Result<(Vec<Coded>, Vec<f32>)> {
    let mut rows = RowReader::new(read, namespace);
    let (mut vectors, mut kept) = (Vec::with_capacity(items.len() * namespace.dimensions), Vec::new());
    for item in items {
        if let Some(row) = rows.get(item.0)? {
            vectors.extend(codes::numbers(row));
            kept.push(item.clone());
        }
    }
    Ok((kept, vectors))
}

/// Two lists, and the centroids of both, one after the other.
type Split = (Vec<f32>, [Vec<Coded>; 2]);

/// Parts a long list in two. `look` gives items with their vectors, a few at once, as [`with_vectors`] does; none when
/// nothing is wanted any more, and then nothing comes of it.
fn split(
    isa: Isa,
    dimensions: usize,
    items: &[Coded],
    mut look: impl FnMut(&[Coded]) -> Result<Option<(Vec<Coded>, Vec<f32>)>>,
) -> Result<Option<Split>> {
    let most = (SAMPLE_BYTES / (dimensions * 4)).clamp(2, SPLIT_SAMPLE);
    let sample: Vec<Coded> = items.iter().step_by(items.len().div_ceil(most).max(1)).cloned().collect();
    let Some((_, vectors)) = look(&sample)? else { return Ok(None) };
    let mut rng = StdRng::seed_from_u64(items.len() as u64);
    let mut centres = kmeans::centroids(isa, &mut rng, &vectors, dimensions, 2, || true).unwrap_or_default();
    centres.resize(2 * dimensions, 0.0);
    let (mut kept, mut nearest, mut lists) = (Vec::with_capacity(items.len()), Vec::new(), Vec::new());
    for part in items.chunks(BLOCK as usize) {
        let Some((part, vectors)) = look(part)? else { return Ok(None) };
        isa.assign(&vectors, &centres, dimensions, &mut nearest);
        kept.extend(part);
        lists.extend_from_slice(&nearest);
    }
    let second = lists.iter().filter(|list| **list == 1).count();
    let mut halves = [Vec::new(), Vec::new()];
    // Where all are alike, or nearly, any half is as good.
    if second.min(kept.len() - second) * 8 < kept.len() {
        let (first, _) = centres.split_at(dimensions);
        centres = [first, first].concat();
        let middle = kept.len() / 2;
        halves[1] = kept.split_off(middle);
        halves[0] = kept;
    } else {
        kept.into_iter().zip(lists).for_each(|(item, list)| halves[list as usize].push(item));
    }
    Ok(Some((centres, halves)))
}

/// Takes the next items that are in no list into the lists.
pub(super) async fn fold(store: &Store, name: &str) -> Result<()> {
    let (reader, known) = (store.clone(), name.to_owned());
    let assigned = blocking(move || reader.read(|read| assign(read, &known))).await?;
    let Some(assigned) = assigned else { return Ok(()) };
    let name = name.to_owned();
    store.write(move |write| append(write, &name, &assigned)).await
}

/// Items with the lists that they belong to.
struct Assigned {
    /// The lists as they were.
    begun: Lists,
    /// The item up to which all are here.
    end: u32,
    /// In order of the lists.
    items: Vec<(u32, Coded)>,
}

/// The next items, each with the list of the nearest centroid.
fn assign(read: &Read<'_>, name: &str) -> Result<Option<Assigned>> {
    let Some(namespace) = namespace::find(read, name)? else { return Ok(None) };
    let Some(begun) = Lists::of(&namespace) else { return Ok(None) };
    let centroids: Vec<f32> = codes::numbers(lists::centroids(read, &namespace, begun.version, begun.count)?).collect();
    let (mut items, mut vectors, mut nearest) = (Vec::new(), Vec::new(), Vec::new());
    let mut end = begun.covered;
    for _ in 0..BLOCKS_A_FOLD {
        let from = end;
        end = (from / BLOCK + 1).saturating_mul(BLOCK).min(namespace.coded);
        let coded = coded(read, &namespace, (from, end), &mut vectors)?;
        Isa::detect().assign(&vectors, &centroids, namespace.dimensions, &mut nearest);
        items.extend(nearest.iter().copied().zip(coded));
    }
    items.sort_unstable_by_key(|(list, (item, _))| (*list, *item));
    Ok(Some(Assigned { begun, end, items }))
}

/// Appends to the lists what was assigned to them. What is forgotten goes from those that are written.
fn append(write: &mut Write<'_, '_>, name: &str, assigned: &Assigned) -> Result<()> {
    let Some(mut namespace) = namespace::find_in(write, name)? else { return Ok(()) };
    // Another process may have been faster.
    let Some(mut lists) = Lists::of(&namespace).filter(|lists| *lists == assigned.begun) else { return Ok(()) };
    let dimensions = namespace.dimensions;
    let most = longest(lists.held as usize + assigned.items.len(), lists.count as usize);
    let (mut changed, mut added, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    {
        let read = write.reading();
        let blocks = Codes::all(&read, &namespace)?;
        for part in assigned.items.chunk_by(|a, b| a.0 == b.0) {
            let Some((number, _)) = part.first() else { continue };
            let list = lists::read_list(&read, &namespace, lists.version, *number)?;
            let before = list.len();
            let mut list = list.to_vec(dimensions);
            list.extend(part.iter().map(|(_, coded)| coded.clone()));
            list.retain(|(item, _)| codes::is_live(&blocks, *item));
            lists.held = (lists.held + list.len() as u64).saturating_sub(before as u64);
            let look = |items: &[Coded]| with_vectors(&read, &namespace, items).map(Some);
            let long = list.len() > most;
            let parts = if long { split(Isa::detect(), dimensions, &list, look)? } else { None };
            if let Some((centres, [first, second])) = parts {
                moved.push((*number, centres[..dimensions].to_vec()));
                added.push((centres[dimensions..].to_vec(), second));
                changed.push((*number, first));
            } else {
                changed.push((*number, list));
            }
        }
    }
    if !added.is_empty() {
        let stored = lists::centroids(&write.reading(), &namespace, lists.version, lists.count)?;
        let mut centroids: Vec<f32> = codes::numbers(stored).collect();
        for (number, centre) in moved {
            centroids[number as usize * dimensions..][..dimensions].copy_from_slice(&centre);
        }
        for (centre, list) in added {
            centroids.extend(centre);
            changed.push((lists.count, list));
            lists.count += 1;
        }
        lists::write_centroids(write, &namespace, lists.version, &centroids)?;
    }
    for (number, list) in changed {
        lists::write_list(write, &namespace, lists.version, number, &list)?;
    }
    lists.covered = assigned.end;
    namespace.lists = Some(lists);
    namespace::keep(write, name, &namespace)
}
