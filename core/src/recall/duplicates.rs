//! Texts that are the same, or nearly: found by fingerprints of their words.
//!
//! A fingerprint is four bands of three minimal hashes each (Broder 1997, banded as in Leskovec, Rajaraman and Ullman,
//! "Mining of Massive Datasets", 3.4): two texts that share 9 of 10 words have a band in common in 99 of 100 cases. All
//! fingerprints of a namespace are looked at once a transaction, whatever is stored in it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    column::{NewColumn, slots_a_block},
    namespace::Namespace,
    rows::item_of,
    words::Words,
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// Bands of a fingerprint, and minimal hashes of a band.
const BANDS: usize = 4;
const HASHES: usize = 3;
/// Bytes of a fingerprint.
const BYTES: usize = BANDS * 4;
/// Different words from which on texts may be nearly the same; with fewer they are the same or not.
const NEAR_FROM: usize = 8;
/// Part of the words of both that two texts share that are nearly the same.
const NEAR: f64 = 0.9;
/// Items that may be the same as one are compared with it at most: the newest that hold.
pub(super) const MOST: usize = 8;
/// Items that share a band are looked at at most.
const LOOKED_AT: usize = 64;

/// What becomes of an item whose text is there already, or nearly (nine of ten words): in the same namespace, under
/// another id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Duplicates {
    /// It is stored, and names the other one as `duplicate_of`.
    #[default]
    Keep,
    /// It is not stored: the other one gets the metadata that it has not and the longer life, and its id is the answer. Only
    /// where both are of the same session, speaker and time and its id is new; else it is kept.
    Merge,
    /// Nothing is stored, and `Conflict` names the other one.
    Refuse,
}

/// A fingerprint of the words of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint([u32; BANDS]);

impl Fingerprint {
    pub(super) fn of(text: &str, words: &Words) -> Self {
        if words.terms.len() < NEAR_FROM {
            let same = crc32fast::hash(text.trim().as_bytes()).max(1);
            return Self([same; BANDS]);
        }
        let mut least = [u64::MAX; BANDS * HASHES];
        for (term, _) in &words.terms {
            let hash = fnv(term.as_bytes());
            for (least, seed) in least.iter_mut().zip(1_u64..) {
                *least = (*least).min(mixed(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            }
        }
        let mut bands = [0; BANDS];
        for (band, least) in bands.iter_mut().zip(least.chunks_exact(HASHES)) {
            let all = least.iter().fold(0_u64, |all, hash| mixed(all ^ hash));
            // 0 stands for none.
            *band = ((all >> 32) as u32).max(1);
        }
        Self(bands)
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let mut bands = [0; BANDS];
        for (band, bytes) in bands.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *band = u32::from_le_bytes(*bytes);
        }
        Self(bands)
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (bytes, band) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(self.0) {
            *bytes = band.to_le_bytes();
        }
        bytes
    }
}

/// FNV-1a, 64 bits.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of SplitMix64.
fn mixed(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Whether two texts are the same, or nearly, by their words.
pub(super) fn alike(a: (&str, &Words), b: (&str, &Words)) -> bool {
    if a.0.trim() == b.0.trim() {
        return true;
    }
    let (a, b) = (&a.1.terms, &b.1.terms);
    if a.len().min(b.len()) < NEAR_FROM {
        return false;
    }
    // Both are sorted by term.
    let (mut left, mut right, mut shared) = (0, 0, 0);
    while left < a.len() && right < b.len() {
        match a[left].0.cmp(&b[right].0) {
            std::cmp::Ordering::Less => left += 1,
            std::cmp::Ordering::Greater => right += 1,
            std::cmp::Ordering::Equal => (left, right, shared) = (left + 1, right + 1, shared + 1),
        }
    }
    shared as f64 >= NEAR * (a.len() + b.len() - shared) as f64
}

/// The bands that a transaction asks for, and who has them.
#[derive(Debug, Default)]
pub(super) struct Bands {
    wanted: HashMap<(usize, u32), Vec<u32>>,
    /// Whether a band may be wanted, by its last bits: most are not.
    maybe: Vec<u64>,
}

const MAYBE_BITS: u32 = 1 << 16;

impl Bands {
    /// Asks for the bands of `fingerprints`, and looks at all that are stored.
    pub(super) fn find(
        read: &Read<'_>,
        namespace: &Namespace,
        fingerprints: impl Iterator<Item = Fingerprint>,
    ) -> Result<Self> {
        let mut bands = Self { wanted: HashMap::new(), maybe: vec![0; MAYBE_BITS as usize / 64] };
        for fingerprint in fingerprints {
            for (at, band) in fingerprint.0.into_iter().enumerate() {
                bands.wanted.entry((at, band)).or_default();
                let bit = band % MAYBE_BITS;
                bands.maybe[bit as usize / 64] |= 1 << (bit % 64);
            }
        }
        for row in read.tables.fingerprints.prefix(read.txn, &namespace.prefix())? {
            let (key, block) = row?;
            for (stored, item) in block.as_chunks::<BYTES>().0.iter().zip(item_of(key)?..) {
                bands.add(item, Fingerprint::from_bytes(stored));
            }
        }
        Ok(bands)
    }

    /// Notes the fingerprint of an item.
    pub(super) fn add(&mut self, item: u32, fingerprint: Fingerprint) {
        if self.wanted.is_empty() {
            return;
        }
        for (at, band) in fingerprint.0.into_iter().enumerate() {
            let bit = band % MAYBE_BITS;
            if self.maybe[bit as usize / 64] >> (bit % 64) & 1 == 1
                && let Some(items) = self.wanted.get_mut(&(at, band))
            {
                items.push(item);
            }
        }
    }

    /// The items that share a band, the newest first.
    pub(super) fn of(&self, fingerprint: Fingerprint) -> Vec<u32> {
        let mut items: Vec<u32> = Vec::new();
        for band in fingerprint.0.into_iter().enumerate() {
            items.extend(self.wanted.get(&band).into_iter().flatten().rev().take(LOOKED_AT));
        }
        items.sort_unstable_by(|a, b| b.cmp(a));
        items.dedup();
        items
    }
}

/// What a transaction does to fingerprints.
#[derive(Debug, Default)]
pub(super) struct NewFingerprints(NewColumn<BYTES>);

const _: () = assert!(slots_a_block(BYTES) > 0, "a block has slots");

impl NewFingerprints {
    pub(super) fn put(
        &mut self,
        write: &Write<'_, '_>,
        namespace: &Namespace,
        item: u32,
        fingerprint: Fingerprint,
    ) -> Result<()> {
        self.0.put(write, write.tables.fingerprints, namespace, item, &fingerprint.to_bytes())
    }

    pub(super) fn remove(&mut self, write: &Write<'_, '_>, namespace: &Namespace, item: u32) -> Result<()> {
        self.put(write, namespace, item, Fingerprint::default())
    }

    pub(super) fn write(self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let table = write.tables.fingerprints;
        self.0.write(write, table, namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recall::words;

    fn text(words: std::ops::Range<usize>) -> String {
        words.map(|word| format!("word{word}")).collect::<Vec<_>>().join(" ")
    }

    fn shares_a_band(a: &str, b: &str) -> bool {
        let of = |text: &str| Fingerprint::of(text, &words::of_text(text));
        of(a).0.iter().zip(of(b).0).any(|(a, b)| *a == b)
    }

    #[test]
    fn texts_of_nearly_the_same_words_share_a_band_and_others_do_not() {
        let (mut near, mut far) = (0, 0);
        for from in 0..200 {
            let from = from * 1_000;
            let (a, b, c) = (text(from..from + 60), text(from + 2..from + 62), text(from + 30..from + 90));
            near += usize::from(shares_a_band(&a, &b));
            far += usize::from(shares_a_band(&a, &c));
            let words = [&a, &b, &c].map(|text| words::of_text(text));
            assert!(alike((&a, &words[0]), (&b, &words[1])) && !alike((&a, &words[0]), (&c, &words[2])));
        }
        assert!(near >= 195, "{near} of 200 that share 58 of 62 words");
        assert!(far <= 60, "{far} of 200 that share a third");
    }

    #[test]
    fn short_texts_are_the_same_or_not() {
        assert!(shares_a_band("Yes, I do!", " Yes, I do! "));
        assert!(!shares_a_band("Ada likes tea", "Ada likes coffee"));
        let words = words::of_text("Ada likes tea");
        assert!(!alike(("Ada likes tea", &words), ("Ada likes tea.", &words)));
    }
}
