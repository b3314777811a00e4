//! Sets of items in rows of 8,192: small enough that one more item rewrites a kilobyte at most.
//!
//! A row is as short as its set allows: nothing when all are in, positions u16 when few are, else a bit each.

use super::malformed;
use crate::error::Result;

/// Items a row is about.
pub(super) const SPAN: u32 = 8_192;
/// Bytes of a row of bits.
pub(super) const BYTES: usize = SPAN as usize / 8;

/// The row of `item`.
pub(super) fn row_of(item: u32) -> u32 {
    item / SPAN
}

/// A row, as stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'t> {
    Full,
    /// Positions in the row, u16 little-endian, in order.
    Few(&'t [[u8; 2]]),
    Bits(&'t [u8; BYTES]),
}

impl<'t> Row<'t> {
    pub(super) fn parse(value: &'t [u8]) -> Result<Self> {
        if value.is_empty() {
            return Ok(Self::Full);
        }
        if let Ok(bits) = value.try_into() {
            return Ok(Self::Bits(bits));
        }
        match value.as_chunks() {
            (few, []) if few.len() < BYTES / 2 && few.iter().all(|at| u32::from(u16::from_le_bytes(*at)) < SPAN) => {
                Ok(Self::Few(few))
            }
            _ => Err(malformed()),
        }
    }
}

/// A row while it is changed.
#[derive(Clone, Debug)]
pub(super) struct RowMut(Box<[u8; BYTES]>);

impl RowMut {
    /// What is stored, or an empty row.
    pub(super) fn of(value: Option<&[u8]>) -> Result<Self> {
        let mut bits = Box::new([0; BYTES]);
        match value.map(Row::parse).transpose()? {
            None => {}
            Some(Row::Full) => bits.fill(u8::MAX),
            Some(Row::Bits(stored)) => bits.copy_from_slice(stored),
            Some(Row::Few(few)) => {
                for at in few {
                    let at = usize::from(u16::from_le_bytes(*at));
                    bits[at / 8] |= 1 << (at % 8);
                }
            }
        }
        Ok(Self(bits))
    }

    pub(super) fn insert(&mut self, item: u32) {
        let at = (item % SPAN) as usize;
        self.0[at / 8] |= 1 << (at % 8);
    }

    /// Removes `item`; says whether it was there.
    pub(super) fn remove(&mut self, item: u32) -> bool {
        let at = (item % SPAN) as usize;
        let had = self.0[at / 8] >> (at % 8) & 1 == 1;
        self.0[at / 8] &= !(1 << (at % 8));
        had
    }

    /// As stored; none when nothing is in it.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let count: u32 = self.0.iter().map(|byte| byte.count_ones()).sum();
        match count {
            0 => None,
            SPAN => Some(Vec::new()),
            few if (few as usize) < BYTES / 2 => {
                let there = (0..SPAN as u16).filter(|at| self.0[usize::from(at / 8)] >> (at % 8) & 1 == 1);
                Some(there.flat_map(u16::to_le_bytes).collect())
            }
            _ => Some(self.0.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_of_all_sizes_are_read_as_written() {
        for count in [1, 2, 511, 512, 513, 8_191, 8_192_u32] {
            let mut row = RowMut::of(None).unwrap();
            (0..count).for_each(|item| row.insert(SPAN * 3 + item * 5 % SPAN));
            let stored = row.to_bytes().unwrap();
            let mut again = RowMut::of(Some(&stored)).unwrap();
            assert!(stored.len() <= BYTES);
            assert!((0..count).all(|item| again.remove(item * 5 % SPAN)), "{count}");
            assert!(again.to_bytes().is_none());
        }
    }

    proptest! {
        #[test]
        fn what_is_damaged_is_refused_or_read(value in prop::collection::vec(any::<u8>(), 0..1_100)) {
            if let Ok(row) = RowMut::of(Some(&value)) {
                prop_assert!(row.to_bytes().is_some());
            }
        }
    }
}
