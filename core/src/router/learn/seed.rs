//! Chance that is the same every time.

/// A number that looks like chance, from `value` (the finaliser of SplitMix64; Steele, Lea and Flood 2014).
pub(super) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `most` of the numbers below `count`, spread by chance, the same each time.
pub(super) fn sample(count: usize, most: usize) -> Vec<usize> {
    let mut all: Vec<_> = (0..count).collect();
    all.sort_by_key(|i| mix(*i as u64));
    all.truncate(most);
    all
}
