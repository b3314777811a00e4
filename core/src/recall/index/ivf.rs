//! Lists of the same codes by centroid (an inverted file, IVF): a query scans the lists whose centroids are nearest to it.
//!
//! Lists are built and kept in the background, in small transactions: storing never waits for them. Items from `covered`
//! on are in no list yet, and are scanned.

use serde::{Deserialize, Serialize};

use super::{
    Asked, Found, Index, Snapshot,
    codes::BLOCK,
    lists,
    scan::{Scan, scan_from},
    shortlist::Shortlist,
};
use crate::{
    error::Result,
    recall::{IndexChoice, RecallConfig, namespace::Namespace},
};

/// The lists of a namespace, as stored with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::recall) struct Lists {
    /// Under which they are stored.
    pub(super) version: u32,
    /// How many there are.
    pub(super) count: u32,
    /// All items before this one that had a vector are in one.
    pub(super) covered: u32,
    /// How many codes they hold, those of forgotten items too.
    pub(super) held: u64,
    /// The mean of their codes: others cannot be compared with them.
    pub(super) mean: u32,
    /// So many vectors there were when they were built.
    pub(super) built: u64,
}

/// What is to be done about the lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Build,
    /// Take in what is in none.
    Fold,
    Remove,
}

/// So many times more, or fewer, vectors than when they were built, and they are built again.
const OUTGROWN: u64 = 4;
/// Part of the codes that may be of forgotten items.
const DEAD: f64 = 0.3;

impl Lists {
    /// Those that can serve the namespace.
    pub(super) fn of(namespace: &Namespace) -> Option<Self> {
        namespace.lists.filter(|lists| lists.mean == namespace.mean && lists.count > 0)
    }

    fn is_worn(&self, namespace: &Namespace) -> bool {
        let beyond = u64::from(namespace.coded.saturating_sub(self.covered));
        let dead = (self.held + beyond).saturating_sub(namespace.vectors).min(self.held);
        namespace.vectors > self.built.saturating_mul(OUTGROWN)
            || namespace.vectors < self.built / OUTGROWN
            // The last block is in no list of theirs even when they were built a moment ago, and may be without vectors.
            || dead >= u64::from(BLOCK) && dead as f64 > DEAD * self.held as f64
    }
}

/// What is due, if anything.
pub(super) fn due(config: &RecallConfig, namespace: &Namespace) -> Option<Due> {
    let wanted = matches!(config.index, IndexChoice::Auto | IndexChoice::Ivf);
    let limit = config.scan_limit as u64;
    match &namespace.lists {
        Some(_) if !wanted || namespace.vectors < limit / 2 => Some(Due::Remove),
        // One that shrank below the limit keeps its lists, so that it does not build them again and again.
        Some(lists) if lists.mean != namespace.mean || lists.is_worn(namespace) => Some(Due::Build),
        Some(lists) => {
            let beyond = namespace.coded.saturating_sub(lists.covered);
            (beyond as usize >= config.pending_limit.max(BLOCK as usize)).then_some(Due::Fold)
        }
        None => (wanted && namespace.sampled > 0 && namespace.vectors > limit).then_some(Due::Build),
    }
}

/// The lists, and a scan of what is in none.
#[derive(Debug)]
pub(super) struct Ivf;

impl Index for Ivf {
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Asked<'_>, width: usize) -> Result<Found> {
        let Some(lists) = Lists::of(snapshot.namespace) else { return Scan.nearest(snapshot, query, width) };
        let mut list = snapshot.shortlist(query, width);
        scan_nearest(snapshot, query, (lists, width), &mut list)?;
        // Lists full of forgotten items, or of what a filter leaves out, may leave too few.
        if !list.is_full() {
            return Scan.nearest(snapshot, query, width);
        }
        scan_from(snapshot, query, lists.covered, &mut list)?;
        snapshot.score_listed(query, list)
    }
}

/// Scans the lists whose centroids are nearest to the query, until about enough codes were compared that can be hits.
fn scan_nearest<'t>(
    snapshot: &Snapshot<'_, 't>,
    query: &Asked<'_>,
    (lists, width): (Lists, usize),
    list: &mut Shortlist<'t>,
) -> Result<()> {
    let (read, namespace) = (snapshot.read, snapshot.namespace);
    let centroids = lists::centroids(read, namespace, lists.version, lists.count)?;
    let rows: Vec<&[u8]> = centroids.chunks_exact(namespace.dimensions * 4).collect();
    let mut scores = Vec::new();
    snapshot.isa.scores(query.vector, &rows, &mut scores);
    let mut order: Vec<u32> = (0..lists.count).collect();
    let score = |list: u32| scores.get(list as usize).copied().unwrap_or(f32::NEG_INFINITY);
    // A filter that keeps a half leaves the nearest ones farther away.
    let admitted = query.admitted.as_ref();
    let kept = admitted.map_or(1.0, |admitted| admitted.live as f64 / namespace.vectors.max(1) as f64);
    let scanned = (snapshot.scanned() * width as f64).min(1.0);
    let part = (scanned / kept.clamp(0.01, 1.0)).min(1.0);
    let live = snapshot.live_before(lists.covered);
    let budget = ((scanned * live as f64).ceil() as usize).max(query.wanted);
    // Such a part of the codes can be hits; how many of each list is not counted.
    let can_be = kept * live as f64 / lists.held.max(1) as f64;
    let probed = ((part * 1.5 * f64::from(lists.count)).ceil() as usize).max(8);
    if probed < order.len() {
        order.select_nth_unstable_by(probed, |a, b| score(*b).total_cmp(&score(*a)));
        order.truncate(probed);
    }
    order.sort_unstable_by(|a, b| score(*b).total_cmp(&score(*a)));
    let all = lists::locate_all(read, namespace, lists.version, lists.count)?;
    let code = snapshot.code(query);
    let (mut seen, mut found, mut masks) = (0.0, Vec::new(), Vec::new());
    for (at, number) in order.into_iter().enumerate() {
        if seen >= budget as f64 {
            break;
        }
        if at % CHECK_EVERY == 0 {
            snapshot.cx.check()?;
        }
        let Some(value) = all.get(number as usize).filter(|value| !value.is_empty()) else { continue };
        let codes = lists::List::parse(value, namespace.dimensions)?;
        masks.resize(codes.len().div_ceil(super::kernel::LANES), u8::MAX);
        found.clear();
        snapshot.isa.near(codes.groups, &code, &masks, list.bound(), &mut found);
        let counts = |item: &u32| match admitted {
            Some(admitted) => admitted.contains(&snapshot.codes, *item),
            None => snapshot.is_live(*item),
        };
        list.take(&found, codes.groups, |place| codes.item(place).filter(counts));
        seen += codes.len() as f64 * can_be;
    }
    Ok(())
}

/// Lists between two looks at the deadline.
const CHECK_EVERY: usize = 256;
