//! The nearest codes of a scan, kept without keeping all: those that are then compared exactly.

use super::kernel::Near;

/// An item whose code is near, and where the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed<'t> {
    distance: u32,
    pub(super) item: u32,
    /// The groups among which its code is, and its place there.
    pub(super) groups: &'t [u8],
    pub(super) place: u32,
}

/// About so many of the nearest codes. What is farther than them is not taken as the scan goes on, by counts of distances.
#[derive(Debug)]
pub(super) struct Shortlist<'t> {
    wanted: usize,
    /// The least distance up to which there are as many as wanted.
    bound: u32,
    /// How many were taken of each distance, and how many of them are within the bound.
    counts: Vec<usize>,
    within: usize,
    taken: Vec<Listed<'t>>,
}

impl<'t> Shortlist<'t> {
    /// For `wanted` codes of `bits` bits.
    pub(super) fn new(wanted: usize, bits: usize) -> Self {
        let wanted = wanted.max(1);
        let taken = Vec::with_capacity(wanted.saturating_mul(4).min(4_096));
        Self { wanted, bound: bits as u32, counts: vec![0; bits + 1], within: 0, taken }
    }

    /// Codes farther than this are not wanted.
    pub(super) fn bound(&self) -> u32 {
        self.bound
    }

    /// Whether farther ones may have been left out.
    pub(super) fn is_full(&self) -> bool {
        self.within >= self.wanted
    }

    /// Takes what was found near enough among `groups`, and of what `item` gives the item.
    pub(super) fn take(&mut self, found: &[Near], groups: &'t [u8], item: impl Fn(u32) -> Option<u32>) {
        for near in found {
            if near.distance > self.bound {
                continue;
            }
            let Some(item) = item(near.place) else { continue };
            self.taken.push(Listed { distance: near.distance, item, groups, place: near.place });
            self.counts[near.distance as usize] += 1;
            self.within += 1;
            while self.within - self.counts[self.bound as usize] >= self.wanted {
                self.within -= self.counts[self.bound as usize];
                self.bound -= 1;
            }
        }
    }

    /// Those that are left: at least as many as wanted where there are so many, and at most twice as many: many may be
    /// equally far.
    pub(super) fn finish(mut self) -> Vec<Listed<'t>> {
        let bound = self.bound;
        self.taken.retain(|listed| listed.distance <= bound);
        if self.taken.len() > 2 * self.wanted {
            self.taken.select_nth_unstable(2 * self.wanted);
            self.taken.truncate(2 * self.wanted);
        }
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_keeps_the_nearest_and_all_that_are_as_near(
            distances in prop::collection::vec(0..40_u32, 0..300), wanted in 1..30_usize, part in 1..50_usize
        ) {
            let mut list = Shortlist::new(wanted, 64);
            let near: Vec<_> = distances.iter().zip(0..).map(|(distance, place)| Near { distance: *distance, place }).collect();
            for part in near.chunks(part) {
                list.take(part, &[], |place| (place % 5 != 0).then_some(place + 7));
            }
            let mut admitted: Vec<_> = near.iter().filter(|near| near.place % 5 != 0).collect();
            admitted.sort_by_key(|near| near.distance);
            let last = admitted.get(wanted - 1).or(admitted.last()).map_or(0, |near| near.distance);
            let within = admitted.iter().filter(|near| near.distance <= last).count();
            let items: Vec<u32> = list.finish().into_iter().map(|listed| listed.item).collect();
            prop_assert_eq!(items.len(), within.min(2 * wanted));
            let farthest = items.iter().map(|item| distances[*item as usize - 7]).max().unwrap_or(0);
            prop_assert!(farthest <= last);
        }
    }
}
