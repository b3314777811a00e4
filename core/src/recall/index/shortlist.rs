//! The nearest codes of a scan, kept without keeping all: those that are then compared exactly.

use super::kernel::Near;

/// About so many of the nearest codes. What is farther than them is dropped as the scan goes on, by counts of distances.
#[derive(Debug)]
pub(super) struct Shortlist {
    wanted: usize,
    bound: u32,
    /// How many of each distance are kept.
    counts: Vec<u32>,
    kept: Vec<(u32, u32)>,
    /// So many, and it is time to drop some.
    limit: usize,
}

impl Shortlist {
    /// For `wanted` codes of `bits` bits.
    pub(super) fn new(wanted: usize, bits: usize) -> Self {
        let wanted = wanted.max(1);
        let limit = wanted.saturating_mul(2);
        Self {
            wanted,
            bound: bits as u32,
            counts: vec![0; bits + 1],
            kept: Vec::with_capacity(limit.min(4_096)),
            limit,
        }
    }

    /// Codes farther than this are not wanted.
    pub(super) fn bound(&self) -> u32 {
        self.bound
    }

    /// Takes what is near enough, and of what `item` gives the item.
    pub(super) fn take(&mut self, found: &[Near], item: impl Fn(u32) -> Option<u32>) {
        for near in found {
            if near.distance > self.bound {
                continue;
            }
            let Some(item) = item(near.place) else { continue };
            if let Some(count) = self.counts.get_mut(near.distance as usize) {
                *count += 1;
                self.kept.push((near.distance, item));
            }
            if self.kept.len() >= self.limit {
                self.drop_farthest();
            }
        }
    }

    fn drop_farthest(&mut self) {
        let mut within = 0;
        // The least distance up to which there are enough; none when there are too few.
        let enough = self.counts.iter().position(|count| {
            within += *count as usize;
            within >= self.wanted
        });
        let Some(bound) = enough else { return };
        self.bound = bound as u32;
        self.counts[bound + 1..].fill(0);
        self.kept.retain(|(distance, _)| *distance <= bound as u32);
        // Many may be equally far.
        self.limit = self.kept.len() + self.wanted;
    }

    /// The items that are left: at least as many as wanted where there are so many, and at most twice as many.
    pub(super) fn into_items(mut self) -> Vec<u32> {
        self.drop_farthest();
        if self.kept.len() > 2 * self.wanted {
            self.kept.select_nth_unstable(2 * self.wanted);
            self.kept.truncate(2 * self.wanted);
        }
        self.kept.into_iter().map(|(_, item)| item).collect()
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
                list.take(part, |place| (place % 5 != 0).then_some(place + 7));
            }
            let mut admitted: Vec<_> = near.iter().filter(|near| near.place % 5 != 0).collect();
            admitted.sort_by_key(|near| near.distance);
            let last = admitted.get(wanted - 1).or(admitted.last()).map_or(0, |near| near.distance);
            let within = admitted.iter().filter(|near| near.distance <= last).count();
            let items = list.into_items();
            prop_assert_eq!(items.len(), within.min(2 * wanted));
            let farthest = items.iter().map(|item| distances[*item as usize - 7]).max().unwrap_or(0);
            prop_assert!(farthest <= last);
        }
    }
}
