//! The indexes of vectors: which items are nearest to a query.
//!
//! All read the same rows and the same 1-bit codes; what they add to them can be built, and thrown away, at any time.

mod admitted;
mod change;
mod check;
mod codes;
mod estimate;
mod forest;
mod ivf;
mod ivf_build;
mod kernel;
mod kmeans;
mod lists;
pub(super) mod measure;
mod rows;
mod scan;
mod shortlist;

use std::{
    collections::{HashMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use tokio_util::sync::CancellationToken;

use admitted::{Admitted, Asked};
pub(super) use change::NewVectors;
pub(super) use check::check;
use codes::{BLOCK, Codes, Quantiser};
use estimate::Estimator;
pub(super) use forest::Forest;
pub(super) use ivf::Lists;
use kernel::Isa;
use rows::RowReader;
use shortlist::{Listed, Shortlist};

use super::{
    IndexStatistics, RecallConfig,
    namespace::{self, Namespace},
    rows::{Change, item_of},
};
use crate::{
    context::Context,
    error::Result,
    store::{Read, Store, Write},
};

/// How much a query looks at for a part of the ten nearest that it is to find: measured, see `docs/benchmarks.md`.
#[derive(Clone, Copy, Debug)]
struct Effort {
    recall: f64,
    /// Codes that are guessed again by an [`Estimator`], and as many more for each item that is wanted.
    listed: (usize, usize),
    /// Vectors that are compared exactly, and as many more for each item that is wanted.
    rescored: (usize, usize),
    /// Part of the codes in lists that are scanned.
    scanned: f64,
}

const EFFORTS: [Effort; 6] = [
    Effort { recall: 0.9, listed: (60, 4), rescored: (10, 2), scanned: 0.08 },
    Effort { recall: 0.95, listed: (100, 5), rescored: (15, 2), scanned: 0.14 },
    Effort { recall: 0.98, listed: (200, 6), rescored: (30, 3), scanned: 0.22 },
    Effort { recall: 0.99, listed: (350, 8), rescored: (60, 5), scanned: 0.33 },
    Effort { recall: 0.995, listed: (600, 10), rescored: (60, 6), scanned: 0.45 },
    Effort { recall: 1.0, listed: (1_400, 20), rescored: (150, 10), scanned: 0.65 },
];
/// Bits of a code that tell vectors apart as well as was measured.
const WELL_TOLD: usize = 256;
/// Vectors with which the part of the lists was measured.
const MEASURED_WITH: f64 = 100_000.0;
/// A filter that keeps less of the vectors than this is served by the scan, whatever the index.
const STRICT: f64 = 0.2;

/// One in so many of the nearest, or more, from the farther half of those guessed best, and more are compared; from the
/// farther half of those listed, and more are listed, which takes another scan.
const GUESSED_FAR: usize = 16;
const LISTED_FAR: usize = 12;
/// So many vectors are compared exactly by default, where they take no more than so many bytes: a few milliseconds.
const EXACT: usize = 20_000;
const EXACT_BYTES: usize = 64 << 20;

/// Which index serves a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IndexChoice {
    /// The one that was measured to be fastest for so many vectors.
    #[default]
    Auto,
    /// A scan of 1-bit codes: nothing to build.
    Scan,
    /// Lists of the same codes by centroid, built in the background: a query scans the nearest.
    Ivf,
    /// arroy's trees, built in the background.
    Arroy,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'q> {
    /// Of length 1.
    pub(super) vector: &'q [f32],
    /// Only these items.
    pub(super) admitted: Option<&'q RoaringBitmap>,
    /// So many items.
    pub(super) wanted: usize,
}

/// Finds the items nearest to a query among those that have a code. What it finds it has compared exactly; what may be
/// missing is what it has not looked at.
trait Index {
    /// The nearest items, after looking at `width` times as much as usual.
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Asked<'_>, width: usize) -> Result<Found>;
}

/// What an index found.
#[derive(Debug)]
struct Found {
    /// The cosine and the number of the nearest items, best first.
    nearest: Vec<(f32, u32)>,
    /// Whether so little of it comes from the farther half of what was looked at that there is hardly any beyond.
    enough: bool,
}

impl Found {
    /// When nothing nearer is to be found by looking at more.
    fn all(nearest: Vec<(f32, u32)>) -> Self {
        Self { nearest, enough: true }
    }
}

/// The vectors of a namespace, as they are when a query begins.
pub(super) struct Snapshot<'a, 't> {
    cx: &'a Context,
    config: &'a RecallConfig,
    read: &'a Read<'t>,
    namespace: &'a Namespace,
    isa: Isa,
    rows: RowReader<'t>,
    looked_up: bool,
    codes: Vec<Codes<'t>>,
    quantiser: Option<Quantiser>,
}

impl<'a, 't> Snapshot<'a, 't> {
    pub(super) fn open(
        cx: &'a Context,
        config: &'a RecallConfig,
        read: &'a Read<'t>,
        namespace: &'a Namespace,
    ) -> Result<Self> {
        let quantiser = if namespace.sampled > 0 { Quantiser::read(read, namespace)? } else { None };
        let codes = if quantiser.is_some() { Codes::all(read, namespace)? } else { Vec::new() };
        let (isa, rows) = (Isa::detect(), RowReader::new(read, namespace));
        Ok(Self { cx, config, read, namespace, isa, rows, looked_up: false, codes, quantiser })
    }

    /// The cosine and the number of the items nearest to the query, best first.
    pub(super) fn nearest(&mut self, query: &Query<'_>) -> Result<Vec<(f32, u32)>> {
        let admitted = query.admitted.map(|admitted| Admitted::of(admitted, &self.codes));
        let query = &Asked { vector: query.vector, admitted, wanted: query.wanted };
        let mut found =
            if self.config.recall >= 1.0 || self.is_small() { self.compare_all(query)? } else { self.look(query)? };
        let waiting = self.waiting(query)?;
        if !waiting.is_empty() {
            found.extend(waiting);
            best(&mut found, query.wanted);
        }
        Ok(found)
    }

    /// The vector of an item that was not forgotten, f32 little-endian.
    pub(super) fn vector(&mut self, item: u32) -> Result<Option<&'t [u8]>> {
        self.rows.get(item)
    }

    /// Whether comparing all vectors takes so little that nothing is to be missed.
    fn is_small(&self) -> bool {
        let vectors = self.namespace.vectors as usize;
        let auto = self.config.index == IndexChoice::Auto;
        auto && vectors <= EXACT.min(self.config.scan_limit) && vectors * self.namespace.dimensions * 4 <= EXACT_BYTES
    }

    /// Looks at twice as much until that is enough: where many vectors are nearly alike, codes tell little.
    fn look(&mut self, query: &Asked<'_>) -> Result<Vec<(f32, u32)>> {
        let mut width = 1;
        while (width * self.listed(query)) < self.namespace.vectors as usize {
            let found = self.index(query).nearest(self, query, width)?;
            if found.enough {
                return Ok(found.nearest);
            }
            width *= 2;
        }
        self.compare_all(query)
    }

    fn index(&self, query: &Asked<'_>) -> &'static dyn Index {
        let admitted = query.admitted.as_ref().map(|admitted| admitted.live);
        let strict = admitted.is_some_and(|items| (items as f64) < STRICT * self.namespace.vectors as f64);
        match self.config.index {
            _ if strict => &scan::Scan,
            IndexChoice::Arroy if self.namespace.forest.is_some() => &forest::Arroy,
            IndexChoice::Auto | IndexChoice::Ivf if Lists::of(self.namespace).is_some() => &ivf::Ivf,
            _ => &scan::Scan,
        }
    }

    fn compare_all(&mut self, query: &Asked<'_>) -> Result<Vec<(f32, u32)>> {
        let items = match &query.admitted {
            Some(admitted) => admitted.coded(&self.codes),
            None => self.codes.iter().flat_map(Codes::items).collect(),
        };
        self.score(query, &items)
    }

    /// The nearest of the items that have no code yet.
    fn waiting(&self, query: &Asked<'_>) -> Result<Vec<(f32, u32)>> {
        if self.quantiser.is_some() && self.namespace.coded >= self.namespace.next {
            return Ok(Vec::new());
        }
        let (mut found, mut score) = (Vec::new(), Vec::new());
        for row in self.rows.uncoded()? {
            let (item, row) = row?;
            if query.admitted.as_ref().is_none_or(|admitted| admitted.items.contains(item)) {
                self.isa.scores(query.vector, &[row], &mut score);
                found.extend(score.iter().map(|score| (score.clamp(-1.0, 1.0), item)));
            }
            if found.len() % ROWS_A_CHECK == 0 {
                self.cx.check()?;
            }
        }
        best(&mut found, query.wanted);
        Ok(found)
    }

    /// An empty list of `width` times as many codes as the query usually looks at.
    fn shortlist(&self, query: &Asked<'_>, width: usize) -> Shortlist<'t> {
        Shortlist::new(self.listed(query).saturating_mul(width), self.namespace.dimensions)
    }

    /// The best of those listed: all guessed again, and the best of them compared exactly; more of them as long as the
    /// guess does not tell which are nearest.
    fn score_listed(&mut self, query: &Asked<'_>, list: Shortlist<'t>) -> Result<Found> {
        let is_full = list.is_full();
        let mut listed = list.finish();
        listed.sort_unstable();
        let mut guessed = self.guesses(query, &listed);
        guessed.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let guessed: Vec<u32> = guessed.into_iter().map(|(_, item)| item).collect();
        let (mut compared, mut next) = (0, self.rescored(query).min(guessed.len()));
        let mut nearest = Vec::new();
        loop {
            nearest.extend(self.cosines(query.vector, &guessed[compared..next])?);
            best(&mut nearest, query.wanted);
            compared = next;
            if compared == guessed.len()
                || from_farther_half(&nearest, &guessed[..compared]) * GUESSED_FAR < nearest.len()
            {
                break;
            }
            next = (compared * 2).min(guessed.len());
        }
        let order: Vec<u32> = listed.iter().map(|listed| listed.item).collect();
        let enough = !is_full || from_farther_half(&nearest, &order) * LISTED_FAR < nearest.len();
        Ok(Found { nearest, enough })
    }

    /// A guess of how near each of those listed is: only their order means something.
    fn guesses(&self, query: &Asked<'_>, listed: &[Listed<'t>]) -> Vec<(f32, u32)> {
        let estimator = Estimator::new(&self.centred(query));
        listed.iter().map(|listed| (estimator.estimate(listed.groups, listed.place), listed.item)).collect()
    }

    /// The best of `items`, compared exactly.
    fn score(&mut self, query: &Asked<'_>, items: &[u32]) -> Result<Vec<(f32, u32)>> {
        let mut found = self.cosines(query.vector, items)?;
        best(&mut found, query.wanted);
        Ok(found)
    }

    /// The cosines of the query and those of `items` that have a vector, in their order.
    pub(super) fn cosines(&mut self, vector: &[f32], items: &[u32]) -> Result<Vec<(f32, u32)>> {
        if !self.looked_up && items.len() * 4 > self.codes.len() {
            self.rows.look_up_all()?;
            self.looked_up = true;
        }
        let mut found = Vec::with_capacity(items.len());
        let (mut rows, mut scores) = (Vec::new(), Vec::new());
        for items in items.chunks(ROWS_A_CHECK) {
            self.cx.check()?;
            rows.clear();
            for item in items {
                if let Some(row) = self.rows.get(*item)? {
                    rows.push(row);
                    found.push((0.0, *item));
                }
            }
            self.isa.scores(vector, &rows, &mut scores);
            let begin = found.len() - rows.len();
            for (found, score) in found[begin..].iter_mut().zip(&scores) {
                found.0 = score.clamp(-1.0, 1.0);
            }
        }
        Ok(found)
    }

    /// The vectors of those of `items` that have one.
    pub(super) fn rows(&mut self, items: &[u32]) -> Result<HashMap<u32, Vec<f32>>> {
        let mut found = HashMap::with_capacity(items.len());
        for item in items {
            if let Some(row) = self.rows.get(*item)? {
                found.insert(*item, codes::numbers(row).collect());
            }
        }
        Ok(found)
    }

    /// How many items before `end` have a code.
    fn live_before(&self, end: u32) -> u64 {
        let whole = self.codes.partition_point(|block| block.first + (BLOCK - 1) < end);
        let (whole, rest) = self.codes.split_at(whole);
        let bits = whole.iter().flat_map(|block| block.live).map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        bits + rest.iter().take(1).flat_map(Codes::items).filter(|item| *item < end).count() as u64
    }

    fn is_live(&self, item: u32) -> bool {
        codes::is_live(&self.codes, item)
    }

    /// The code of the query.
    fn code(&self, query: &Asked<'_>) -> Vec<u64> {
        self.quantiser.as_ref().map_or_else(Vec::new, |quantiser| quantiser.code(query.vector.iter().copied()))
    }

    /// The query as codes see vectors: around the mean.
    fn centred(&self, query: &Asked<'_>) -> Vec<f32> {
        self.quantiser.as_ref().map_or_else(Vec::new, |quantiser| quantiser.centred(query.vector))
    }

    fn effort(&self) -> Effort {
        let enough = EFFORTS.iter().find(|effort| self.config.recall <= effort.recall);
        *enough.unwrap_or(&EFFORTS[EFFORTS.len() - 1])
    }

    /// So many codes are to be guessed again for the recall that is wanted.
    fn listed(&self, query: &Asked<'_>) -> usize {
        self.effort_of(query, self.effort().listed)
    }

    /// So many vectors are to be compared exactly for the recall that is wanted.
    fn rescored(&self, query: &Asked<'_>) -> usize {
        self.effort_of(query, self.effort().rescored)
    }

    fn effort_of(&self, query: &Asked<'_>, (first, each): (usize, usize)) -> usize {
        // Codes of few bits tell less; then the vectors are short, and comparing more of them costs the same.
        let short = (WELL_TOLD / self.namespace.dimensions.max(1)).max(1);
        (first + each * query.wanted).saturating_mul(short)
    }

    /// Such a part of the codes in lists is to be scanned for the recall that is wanted. Fewer vectors have fewer lists, of
    /// which a larger part is near a query.
    fn scanned(&self) -> f64 {
        let fewer = MEASURED_WITH / self.namespace.vectors.max(1) as f64;
        self.effort().scanned * fewer.powf(0.2).max(1.0)
    }
}

/// Rows between two looks at the deadline.
const ROWS_A_CHECK: usize = 4_096;

/// How many of the nearest are in the second half of the order in which items were looked at.
fn from_farther_half(nearest: &[(f32, u32)], order: &[u32]) -> usize {
    let nearest: HashSet<u32> = nearest.iter().map(|(_, item)| *item).collect();
    order[order.len() / 2..].iter().filter(|item| nearest.contains(item)).count()
}

/// Leaves the `wanted` best, in order; equal ones by their number.
fn best(found: &mut Vec<(f32, u32)>, wanted: usize) {
    let order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    if found.len() > wanted {
        found.select_nth_unstable_by(wanted, order);
        found.truncate(wanted);
    }
    found.sort_unstable_by(order);
}

/// What is due in the background, one step of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Codes,
    Lists(ivf::Due),
    Forest(forest::Due),
}

impl Due {
    /// Whether it is done outside of the transaction that puts it in place, and may then come too late.
    fn is_long(self) -> bool {
        matches!(self, Self::Lists(ivf::Due::Build | ivf::Due::Fold) | Self::Forest(forest::Due::Build))
    }
}

fn due(config: &RecallConfig, namespace: &Namespace) -> Option<Due> {
    if change::is_due(namespace) {
        return Some(Due::Codes);
    }
    ivf::due(config, namespace).map(Due::Lists).or_else(|| forest::due(config, namespace, now_ms()).map(Due::Forest))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Whether the index of the namespace has something to do in the background.
pub(super) fn is_due(config: &RecallConfig, namespace: &Namespace) -> bool {
    due(config, namespace).is_some()
}

/// Which index serves a query without a filter, and how far it is.
pub(super) fn statistics(config: &RecallConfig, read: &Read<'_>, namespace: &Namespace) -> Result<IndexStatistics> {
    let cx = Context::new();
    let snapshot = Snapshot::open(&cx, config, read, namespace)?;
    let kind = match config.index {
        _ if config.recall >= 1.0 || snapshot.is_small() => "exact",
        IndexChoice::Arroy if namespace.forest.is_some() => "arroy",
        IndexChoice::Auto | IndexChoice::Ivf if Lists::of(namespace).is_some() => "ivf",
        _ => "scan",
    };
    let coded = snapshot.live_before(namespace.coded);
    Ok(IndexStatistics { kind: kind.to_owned(), coded, due: is_due(config, namespace) })
}

/// Does what is due, in small transactions, until nothing is any more or `closing` is cancelled.
pub(super) async fn do_what_is_due(
    config: &RecallConfig,
    store: &Store,
    closing: &CancellationToken,
    name: &str,
) -> Result<()> {
    let mut before = None;
    while !closing.is_cancelled() {
        let found = store.read(|read| match namespace::find(read, name)? {
            Some(namespace) => Ok(due(config, &namespace).map(|due| (due, namespace))),
            None => Ok(None),
        })?;
        let Some((due, namespace)) = found else { return Ok(()) };
        // What changed nothing would change nothing again: the next who stores tries anew.
        let state = (due, namespace.mean, namespace.coded, namespace.lists, namespace.forest);
        if due.is_long() && before == Some(state) {
            return Ok(());
        }
        before = Some(state);
        match due {
            Due::Lists(ivf::Due::Build) => ivf_build::build(store, closing, name).await?,
            Due::Forest(forest::Due::Build) => forest::build(store, closing, name).await?,
            Due::Lists(ivf::Due::Fold) => ivf_build::fold(store, name).await?,
            due => change(store, name, due).await?,
        }
    }
    Ok(())
}

/// One step that is a transaction and nothing else.
async fn change(store: &Store, name: &str, due: Due) -> Result<()> {
    let name = name.to_owned();
    let step = move |write: &mut Write<'_, '_>| {
        let Some(mut change) = Change::begin_known(write, &name)? else { return Ok(()) };
        match due {
            Due::Codes => change::step(write, &mut change.namespace)?,
            Due::Lists(_) => {
                change.namespace.lists = None;
                lists::remove_others(write, &mut change.namespace)?;
            }
            Due::Forest(_) => forest::step(write, &mut change.namespace)?,
        }
        change.end(write)
    };
    store.write(step).await
}

/// The items that have a vector, those too that were forgotten while it was no part of the namespace.
pub(super) fn items(read: &Read<'_>, namespace: &Namespace) -> Result<RoaringBitmap> {
    let mut items: RoaringBitmap = Codes::all(read, namespace)?.iter().flat_map(Codes::items).collect();
    let keys = (namespace.vector_key(namespace.coded), namespace.vector_key(u32::MAX));
    for row in read.tables.vectors.between(read.txn, &keys.0, &keys.1)? {
        items.insert(item_of(row?.0)?);
    }
    Ok(items)
}

/// Removes all that is indexed of a namespace.
pub(super) fn clear(write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
    for table in [write.tables.vectors, write.tables.rows, write.tables.codes, write.tables.lists] {
        table.delete_prefix(write.txn, &namespace.vector_prefix())?;
    }
    forest::clear(write, namespace)
}

#[cfg(test)]
mod tests;
