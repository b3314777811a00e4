//! Scanning all codes, and comparing the nearest exactly.

use super::{
    Asked, Found, Index, Snapshot,
    codes::{BLOCK, LIVE},
    kernel::{GROUP_WORD, LANES},
    shortlist::Shortlist,
};
use crate::error::Result;

/// Up to so many items that a filter leaves are compared exactly, without looking at codes.
const DIRECT: usize = 1_024;

/// Codes that are scanned with one bound.
const AT_ONCE: usize = 256;
/// Blocks between two looks at the deadline.
const CHECK_EVERY: usize = 64;

/// The scan. There is nothing to build: a new vector is found by the next query of any process.
#[derive(Debug)]
pub(super) struct Scan;

impl Index for Scan {
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Asked<'_>, width: usize) -> Result<Found> {
        if let Some(admitted) = &query.admitted
            && admitted.live <= (snapshot.rescored(query).max(DIRECT)) as u64
        {
            let items = admitted.coded(&snapshot.codes);
            return snapshot.score(query, &items).map(Found::all);
        }
        let mut list = snapshot.shortlist(query, width);
        scan_from(snapshot, query, 0, &mut list)?;
        snapshot.score_listed(query, list)
    }
}

/// Scans the codes of all items from `first` on.
pub(super) fn scan_from<'t>(
    snapshot: &Snapshot<'_, 't>,
    query: &Asked<'_>,
    first: u32,
    list: &mut Shortlist<'t>,
) -> Result<()> {
    let mut found = Vec::with_capacity(AT_ONCE);
    let mut masks = [0; LIVE];
    let code = snapshot.code(query);
    let from = snapshot.codes.partition_point(|block| block.first + (BLOCK - 1) < first);
    for (at, block) in snapshot.codes.iter().enumerate().skip(from) {
        if at % CHECK_EVERY == 0 {
            snapshot.cx.check()?;
        }
        let admitted = query.admitted.as_ref().and_then(|admitted| admitted.mask(at));
        masks.copy_from_slice(admitted.unwrap_or(block.live));
        for before in block.first..first.max(block.first) {
            let at = (before - block.first) as usize;
            masks[at / 8] &= !(1 << (at % 8));
        }
        if masks.iter().all(|mask| *mask == 0) {
            continue;
        }
        // In parts, so that what the first leave out is not looked at in the next.
        let part = AT_ONCE / LANES * code.len() * GROUP_WORD;
        for ((groups, masks), first) in
            block.groups.chunks(part).zip(masks.chunks(AT_ONCE / LANES)).zip((block.first..).step_by(AT_ONCE))
        {
            found.clear();
            snapshot.isa.near(groups, &code, masks, list.bound(), &mut found);
            list.take(&found, groups, |place| Some(first + place));
        }
    }
    Ok(())
}
