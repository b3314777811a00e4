//! Numbers, found by what they stand for.

use super::super::gguf::corrupt;
use crate::error::Result;

/// A hash table of numbers alone. What they stand for is kept elsewhere, so a vocabulary of 262,144 texts need not be in
/// memory twice, and building the table allocates once.
#[derive(Debug)]
pub(super) struct Slots(Vec<u32>);

const NONE: u32 = u32::MAX;

/// Places that are looked at for one number. Half of all are free, so that real vocabularies need some dozens.
const MOST_PROBES: usize = 1024;

impl Slots {
    /// Room for `count` numbers.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![NONE; (2 * count).next_power_of_two().max(2)])
    }

    /// Adds `number`, at most as often as there is room, unless there is one that stands for the same: `is` says so.
    ///
    /// # Errors
    /// `Corrupt` when very many have the same hash, as only made-up ones have: finding them would take for ever.
    pub(super) fn insert(&mut self, hash: usize, number: u32, is: impl Fn(u32) -> bool) -> Result<()> {
        let mut at = hash & (self.0.len() - 1);
        for _ in 0..MOST_PROBES {
            if self.0[at] == NONE {
                self.0[at] = number;
                return Ok(());
            }
            if is(self.0[at]) {
                return Ok(());
            }
            at = (at + 1) & (self.0.len() - 1);
        }
        Err(corrupt("the tokenizer's texts were chosen to collide; take the file from who made the model"))
    }

    /// The number with that hash of which `is` is true.
    pub(super) fn find(&self, hash: usize, is: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = hash & (self.0.len() - 1);
        while self.0[at] != NONE {
            if is(self.0[at]) {
                return Some(self.0[at]);
            }
            at = (at + 1) & (self.0.len() - 1);
        }
        None
    }
}

/// FNV-1a, with its high bits folded into those that are used.
pub(super) fn hash(bytes: &[u8]) -> usize {
    let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    (hash ^ hash >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_take_one_place_and_made_up_hashes_are_refused() {
        let mut slots = Slots::new(1 << 16);
        for number in 0..1 << 16 {
            slots.insert(7, number, |_| true).unwrap();
        }
        assert_eq!(slots.find(7, |_| true), Some(0), "the first of equal ones");
        assert!(slots.0.iter().filter(|&&slot| slot != NONE).count() == 1);
        let mut slots = Slots::new(1 << 16);
        let added = (0..1 << 16).try_for_each(|number| slots.insert(7, number, |_| false));
        assert_eq!(added.unwrap_err().kind(), crate::error::ErrorKind::Corrupt);
    }
}
