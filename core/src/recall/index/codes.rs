//! 1-bit codes of vectors, in blocks: the sign of each number, around the mean of the namespace.
//!
//! The Hamming distance of two codes tells their angle well enough to leave a few hundred of a hundred thousand vectors
//! to be compared exactly (Charikar 2002; the mean makes the signs even).

use super::kernel::{GROUP_WORD, LANES};
use crate::{
    error::{Error, ErrorKind, Result},
    recall::namespace::Namespace,
    store::{Read, Write},
};

/// Items of one block of codes.
pub(super) const BLOCK: u32 = 1_024;
/// Bytes that say which items of a block have a vector: one bit each.
pub(super) const LIVE: usize = BLOCK as usize / 8;

/// Makes codes around a mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantiser {
    mean: Vec<f32>,
}

impl Quantiser {
    /// Around the mean of `rows`, f32 little-endian, each of `dimensions` numbers.
    pub(super) fn around<'r>(dimensions: usize, rows: impl Iterator<Item = &'r [u8]>) -> Self {
        let (mut sums, mut count) = (vec![0.0_f64; dimensions], 0.0);
        for row in rows {
            for (sum, number) in sums.iter_mut().zip(numbers(row)) {
                *sum += f64::from(number);
            }
            count += 1.0;
        }
        Self { mean: sums.into_iter().map(|sum| (sum / f64::max(count, 1.0)) as f32).collect() }
    }

    /// That of the namespace; none when its vectors have no codes yet.
    pub(super) fn read(read: &Read<'_>, namespace: &Namespace) -> Result<Option<Self>> {
        Self::parse(read.tables.codes.get(read.txn, &namespace.vector_prefix())?, namespace.dimensions)
    }

    /// As [`Quantiser::read`], in a write.
    pub(super) fn read_in(write: &Write<'_, '_>, namespace: &Namespace) -> Result<Option<Self>> {
        Self::parse(write.tables.codes.get(write.txn, &namespace.vector_prefix())?, namespace.dimensions)
    }

    fn parse(stored: Option<&[u8]>, dimensions: usize) -> Result<Option<Self>> {
        let Some(stored) = stored else { return Ok(None) };
        let mean: Vec<f32> = numbers(stored).collect();
        if mean.len() == dimensions { Ok(Some(Self { mean })) } else { Err(malformed("codes")) }
    }

    pub(super) fn write(&self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let bytes: Vec<u8> = self.mean.iter().flat_map(|x| x.to_le_bytes()).collect();
        write.tables.codes.put(write.txn, &namespace.vector_prefix(), &bytes)
    }

    /// A vector without the mean.
    pub(super) fn centred(&self, vector: &[f32]) -> Vec<f32> {
        vector.iter().zip(&self.mean).map(|(number, mean)| number - mean).collect()
    }

    /// The code of a vector.
    pub(super) fn code(&self, vector: impl Iterator<Item = f32>) -> Vec<u64> {
        let mut code = vec![0; words(self.mean.len())];
        for (at, (number, mean)) in vector.zip(&self.mean).enumerate() {
            code[at / 64] |= u64::from(number > *mean) << (at % 64);
        }
        code
    }
}

/// Words of a code.
pub(super) fn words(dimensions: usize) -> usize {
    dimensions.div_ceil(64)
}

/// The numbers of a stored vector.
pub(super) fn numbers(row: &[u8]) -> impl Iterator<Item = f32> {
    row.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

pub(super) fn malformed(table: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "a block of the vector index is malformed; run `triune check`").with("table", table)
}

/// The codes of up to 1,024 items, as stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes<'t> {
    /// The first item.
    pub(super) first: u32,
    /// Which of them have a vector.
    pub(super) live: &'t [u8; LIVE],
    /// Their codes, in groups.
    pub(super) groups: &'t [u8],
}

impl<'t> Codes<'t> {
    /// All blocks of the namespace, in order.
    pub(super) fn all(read: &Read<'t>, namespace: &Namespace) -> Result<Vec<Self>> {
        let mut blocks = Vec::with_capacity((namespace.coded / BLOCK) as usize + 1);
        for row in read.tables.codes.prefix_unverified(read.txn, &namespace.vector_prefix())? {
            let (key, value) = row?;
            // The mean stands under the namespace alone.
            if let Some((first, [])) = key.get(4..).and_then(|item| item.split_first_chunk()) {
                blocks.push(Self::parse(u32::from_be_bytes(*first), value, namespace.dimensions)?);
            }
        }
        Ok(blocks)
    }

    pub(super) fn parse(first: u32, value: &'t [u8], dimensions: usize) -> Result<Self> {
        let (live, groups) = value.split_first_chunk::<LIVE>().ok_or_else(|| malformed("codes"))?;
        let group = words(dimensions) * GROUP_WORD;
        if !first.is_multiple_of(BLOCK)
            || group == 0
            || !groups.len().is_multiple_of(group)
            || groups.len() / group > LIVE
        {
            return Err(malformed("codes"));
        }
        Ok(Self { first, live, groups })
    }

    /// Whether `item`, which is of this block, has a vector.
    pub(super) fn is_live(&self, item: u32) -> bool {
        let at = (item - self.first) as usize;
        self.live.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1)
    }
}

impl<'t> Codes<'t> {
    /// The items that have a vector.
    pub(super) fn items(&self) -> impl Iterator<Item = u32> + use<'t> {
        let block = *self;
        (block.first..=block.first + (BLOCK - 1)).filter(move |item| block.is_live(*item))
    }
}

/// Where among `blocks`, which are in order, the block of `item` is.
pub(super) fn place(blocks: &[Codes<'_>], item: u32) -> Option<usize> {
    let first = item / BLOCK * BLOCK;
    // Nearly always no block is missing: then its place is known.
    let base = blocks.first().map_or(0, |block| block.first);
    let guess = (first.wrapping_sub(base) / BLOCK) as usize;
    match blocks.get(guess) {
        Some(block) if block.first == first => Some(guess),
        _ => blocks.binary_search_by_key(&first, |block| block.first).ok(),
    }
}

/// Whether `item` has a vector, looked up in `blocks`, which are in order.
pub(super) fn is_live(blocks: &[Codes<'_>], item: u32) -> bool {
    place(blocks, item).and_then(|at| blocks.get(at)).is_some_and(|block| block.is_live(item))
}

/// A block of codes while it is changed.
#[derive(Clone, Debug)]
pub(super) struct CodesMut {
    first: u32,
    words: usize,
    bytes: Vec<u8>,
}

impl CodesMut {
    /// The block of which `item` is, empty when there is none.
    pub(super) fn load(write: &Write<'_, '_>, namespace: &Namespace, item: u32) -> Result<Self> {
        let first = item / BLOCK * BLOCK;
        let stored = write.tables.codes.get_unverified(write.txn, &namespace.vector_key(first))?;
        if let Some(stored) = stored {
            Codes::parse(first, stored, namespace.dimensions)?;
        }
        Ok(Self::of(first, namespace.dimensions, stored.map_or_else(|| vec![0; LIVE], <[u8]>::to_vec)))
    }

    /// An empty one.
    pub(super) fn empty(first: u32, dimensions: usize) -> Self {
        Self::of(first, dimensions, vec![0; LIVE])
    }

    fn of(first: u32, dimensions: usize, bytes: Vec<u8>) -> Self {
        Self { first, words: words(dimensions), bytes }
    }

    /// Sets the code of `item`.
    pub(super) fn set(&mut self, item: u32, code: &[u64]) {
        let at = (item - self.first) as usize;
        let group = self.words * GROUP_WORD;
        let needed = LIVE + (at / LANES + 1) * group;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
        self.bytes[at / 8] |= 1 << (at % 8);
        put_code(&mut self.bytes[LIVE..], at, code);
    }

    /// Notes that `item` has no vector any more; says whether it had one.
    pub(super) fn remove(&mut self, item: u32) -> bool {
        let at = (item - self.first) as usize;
        let had = self.bytes[at / 8] >> (at % 8) & 1 == 1;
        self.bytes[at / 8] &= !(1 << (at % 8));
        had
    }

    /// The items from `first` on, `count` of them, that have a vector.
    pub(super) fn live(&self, first: u32, count: u32) -> impl Iterator<Item = u32> {
        let within = (first - self.first) as usize..(first - self.first + count) as usize;
        within.filter(|at| self.bytes[at / 8] >> (at % 8) & 1 == 1).map(|at| self.first + at as u32)
    }

    /// Writes the block; one without items goes.
    pub(super) fn store(&self, write: &mut Write<'_, '_>, namespace: &Namespace) -> Result<()> {
        let key = namespace.vector_key(self.first);
        if self.bytes[..LIVE].iter().all(|byte| *byte == 0) {
            return write.tables.codes.delete(write.txn, &key).map(drop);
        }
        write.tables.codes.put(write.txn, &key, &self.bytes)
    }
}

/// Puts a code at a place among `groups`.
pub(super) fn put_code(groups: &mut [u8], place: usize, code: &[u64]) {
    let group = place / LANES * code.len() * GROUP_WORD;
    for (word, bits) in code.iter().enumerate() {
        let to = group + word * GROUP_WORD + place % LANES * 8;
        groups[to..to + 8].copy_from_slice(&bits.to_le_bytes());
    }
}

/// The code at a place among `groups`.
pub(super) fn code_at(groups: &[u8], place: usize, words: usize) -> Vec<u64> {
    let group = place / LANES * words * GROUP_WORD;
    let word = |word: usize| {
        let bytes = groups.get(group + word * GROUP_WORD + place % LANES * 8..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    };
    (0..words).map(word).collect()
}
