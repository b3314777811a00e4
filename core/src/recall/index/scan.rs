//! Scanning all codes, and comparing the nearest exactly.

use std::iter::Peekable;

use roaring::bitmap::Iter;

use super::{
    Found, Index, Query, Snapshot,
    codes::{BLOCK, Codes, LIVE},
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
    fn nearest(&self, snapshot: &mut Snapshot<'_, '_>, query: &Query<'_>, width: usize) -> Result<Found> {
        if let Some(admitted) = query.admitted
            && admitted.len() <= (snapshot.rescored(query).max(DIRECT)) as u64
        {
            let live: Vec<u32> = admitted.iter().filter(|item| snapshot.is_live(*item)).collect();
            return snapshot.score(query, &live).map(Found::all);
        }
        let mut list = snapshot.shortlist(query, width);
        scan_from(snapshot, query, 0, &mut list)?;
        snapshot.score_listed(query, list)
    }
}

/// Scans the codes of all items from `first` on.
pub(super) fn scan_from<'t>(
    snapshot: &Snapshot<'_, 't>,
    query: &Query<'_>,
    first: u32,
    list: &mut Shortlist<'t>,
) -> Result<()> {
    let mut found = Vec::with_capacity(AT_ONCE);
    let mut masks = [0; LIVE];
    let code = snapshot.code(query);
    let mut admitted = query.admitted.map(|admitted| admitted.range(first..).peekable());
    let from = snapshot.codes.partition_point(|block| block.first + (BLOCK - 1) < first);
    for (at, block) in snapshot.codes[from..].iter().enumerate() {
        if at % CHECK_EVERY == 0 {
            snapshot.cx.check()?;
        }
        masks.copy_from_slice(block.live);
        if !restrict(&mut masks, block, admitted.as_mut(), first) {
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

/// Leaves the items that are `admitted`, an iterator in order that stands at or before the block, from `first` on; says
/// whether any is left.
fn restrict(masks: &mut [u8; LIVE], block: &Codes<'_>, admitted: Option<&mut Peekable<Iter<'_>>>, first: u32) -> bool {
    if let Some(admitted) = admitted {
        let mut allowed = [0; LIVE];
        let mut any = false;
        while let Some(item) = admitted.next_if(|item| *item <= block.first + (BLOCK - 1)) {
            // Those before belong to blocks without codes.
            let Some(at) = item.checked_sub(block.first) else { continue };
            allowed[at as usize / 8] |= 1 << (at % 8);
            any = true;
        }
        if !any {
            return false;
        }
        masks.iter_mut().zip(allowed).for_each(|(mask, allowed)| *mask &= allowed);
    }
    for at in block.first..first.max(block.first) {
        let at = (at - block.first) as usize;
        masks[at / 8] &= !(1 << (at % 8));
    }
    true
}
