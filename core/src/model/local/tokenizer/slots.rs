//! Numbers, found by what they stand for.

/// A hash table of numbers alone. What they stand for is kept elsewhere, so a vocabulary of 262,144 texts need not be in
/// memory twice, and building the table allocates once.
#[derive(Debug)]
pub(super) struct Slots(Vec<u32>);

const NONE: u32 = u32::MAX;

impl Slots {
    /// Room for `count` numbers.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![NONE; (2 * count).next_power_of_two().max(2)])
    }

    /// Adds `number`, at most as often as there is room. Of those that stand for the same, the first is found.
    pub(super) fn insert(&mut self, hash: usize, number: u32) {
        let mut at = hash & (self.0.len() - 1);
        while self.0[at] != NONE {
            at = (at + 1) & (self.0.len() - 1);
        }
        self.0[at] = number;
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
