//! The items that a filter leaves, laid over the blocks of codes: looked up once a query, a bit each.

use roaring::RoaringBitmap;

use super::codes::{self, BLOCK, Codes, LIVE};

/// What is looked for among the codes of a snapshot.
#[derive(Debug)]
pub(super) struct Asked<'q> {
    /// Of length 1.
    pub(super) vector: &'q [f32],
    /// Only these items; all when there is no filter.
    pub(super) admitted: Option<Admitted<'q>>,
    /// So many items.
    pub(super) wanted: usize,
}

/// The items that a filter leaves.
#[derive(Debug)]
pub(super) struct Admitted<'q> {
    /// All of them, with a code or without.
    pub(super) items: &'q RoaringBitmap,
    /// Which of each block of codes have one.
    masks: Vec<[u8; LIVE]>,
    /// How many have one.
    pub(super) live: u64,
}

impl<'q> Admitted<'q> {
    pub(super) fn of(items: &'q RoaringBitmap, blocks: &[Codes<'_>]) -> Self {
        let mut masks = vec![[0; LIVE]; blocks.len()];
        let mut live = 0;
        for (mask, block) in masks.iter_mut().zip(blocks) {
            for item in items.range(block.first..=block.first + (BLOCK - 1)) {
                let at = (item - block.first) as usize;
                mask[at / 8] |= 1 << (at % 8);
            }
            for (mask, has) in mask.iter_mut().zip(block.live) {
                *mask &= has;
                live += u64::from(mask.count_ones());
            }
        }
        Self { items, masks, live }
    }

    /// Which items of the block at a place among the blocks are left.
    pub(super) fn mask(&self, block: usize) -> Option<&[u8; LIVE]> {
        self.masks.get(block)
    }

    /// Whether `item` is left and has a code in `blocks`.
    pub(super) fn contains(&self, blocks: &[Codes<'_>], item: u32) -> bool {
        let at = (item % BLOCK) as usize;
        let mask = codes::place(blocks, item).and_then(|block| self.mask(block));
        mask.is_some_and(|mask| mask[at / 8] >> (at % 8) & 1 == 1)
    }

    /// Those that have a code in `blocks`, in order.
    pub(super) fn coded(&self, blocks: &[Codes<'_>]) -> Vec<u32> {
        let mut items = Vec::with_capacity(self.live as usize);
        for (mask, block) in self.masks.iter().zip(blocks) {
            for (byte, first) in mask.iter().zip((block.first..).step_by(8)) {
                let mut bits = *byte;
                while bits != 0 {
                    items.push(first + bits.trailing_zeros());
                    bits &= bits - 1;
                }
            }
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_items_with_a_code_are_left() {
        let (mut first, mut third) = ([0; LIVE], [0; LIVE]);
        first.fill(0b0101_0101);
        third.fill(0b1111_0000);
        let block = |first, live| Codes { first, live, groups: &[] };
        let blocks = [block(BLOCK, &first), block(3 * BLOCK, &third)];
        let items: RoaringBitmap = (0..5 * BLOCK).filter(|item| item % 3 == 0).collect();
        let admitted = Admitted::of(&items, &blocks);
        let expected: Vec<u32> = (BLOCK..2 * BLOCK)
            .filter(|item| item % 2 == 0)
            .chain((3 * BLOCK..4 * BLOCK).filter(|item| item % 8 > 3))
            .filter(|item| item % 3 == 0)
            .collect();
        assert_eq!(admitted.coded(&blocks), expected);
        assert_eq!(admitted.live, expected.len() as u64);
        assert!((0..6 * BLOCK).all(|item| admitted.contains(&blocks, item) == expected.binary_search(&item).is_ok()));
    }
}
