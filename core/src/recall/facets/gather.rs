//! Putting a set of items together out of rows and single items in any order.

use roaring::RoaringBitmap;

use super::bits::{BYTES, Row, SPAN};

/// Single items that are kept as such; more become bits.
const FEW: usize = 4_096;
/// Bytes of a page, the bits of 65,536 items: as many as roaring keeps together.
const PAGE: usize = 8_192;

/// Items that were found.
#[derive(Debug, Default)]
pub(super) struct Gather {
    few: Vec<u32>,
    /// By item / 65,536; those without items are not there.
    pages: Vec<Option<Box<[u8; PAGE]>>>,
}

impl Gather {
    pub(super) fn add(&mut self, item: u32) {
        if self.few.len() >= FEW {
            self.spill();
        }
        self.few.push(item);
    }

    /// Adds a row of bits, which is about the items from `first` on.
    pub(super) fn add_row(&mut self, first: u32, row: Row<'_>) {
        if let Row::Few(few) = row {
            return few.iter().for_each(|at| self.add(first + u32::from(u16::from_le_bytes(*at))));
        }
        let at = (first >> 16, (first % (1 << 16) / SPAN) as usize * BYTES);
        let to = &mut self.page(at.0)[at.1..at.1 + BYTES];
        match row {
            Row::Bits(bits) => to.iter_mut().zip(bits).for_each(|(to, bits)| *to |= bits),
            Row::Full => to.fill(u8::MAX),
            Row::Few(_) => {}
        }
    }

    fn page(&mut self, number: u32) -> &mut [u8; PAGE] {
        let number = number as usize;
        if self.pages.len() <= number {
            self.pages.resize(number + 1, None);
        }
        self.pages[number].get_or_insert_with(|| Box::new([0; PAGE]))
    }

    fn spill(&mut self) {
        for item in std::mem::take(&mut self.few) {
            let at = (item % (1 << 16)) as usize;
            self.page(item >> 16)[at / 8] |= 1 << (at % 8);
        }
        self.few.reserve(FEW);
    }

    /// The items that were found.
    pub(super) fn finish(mut self) -> RoaringBitmap {
        if !self.pages.iter().any(Option::is_some) {
            self.few.sort_unstable();
            self.few.dedup();
            return RoaringBitmap::from_sorted_iter(self.few).unwrap_or_default();
        }
        self.spill();
        let mut found = RoaringBitmap::new();
        for (number, page) in self.pages.iter().enumerate() {
            if let Some(page) = page {
                found |= RoaringBitmap::from_lsb0_bytes((number as u32) << 16, &page[..]);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_found_whatever_it_came_from() {
        for count in [0, 10, 5_000, 200_000_u32] {
            let mut gather = Gather::default();
            let mut expected = RoaringBitmap::new();
            for item in (0..count).map(|item| item.wrapping_mul(2_654_435_761) >> 8) {
                gather.add(item);
                expected.insert(item);
            }
            gather.add_row(SPAN * 9, Row::Full);
            gather.add_row(SPAN * 8, Row::Few(&[[1, 0], [0, 1]]));
            gather.add_row(SPAN * 17, Row::Bits(&[0x81; BYTES]));
            expected.insert_range(SPAN * 9..SPAN * 10);
            expected.extend([SPAN * 8 + 1, SPAN * 8 + 256]);
            expected.extend((SPAN * 17..SPAN * 18).filter(|item| [0, 7].contains(&(item % 8))));
            assert_eq!(gather.finish(), expected);
        }
        assert!(Gather::default().finish().is_empty());
    }
}
