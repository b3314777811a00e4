//! The inner loops of the vector indexes: Hamming distances of 1-bit codes, and exact scores of rows that lie scattered
//! in the memory map.
//!
//! They are chosen when the program runs, so that a program built for any processor counts bits with what this one has.
//! All `unsafe` of recall is here.
#![allow(unsafe_code, reason = "instructions of the processor have no safe form; see the comments at each use")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions have a prefix of their own")]
#![allow(clippy::inline_always, reason = "only as a part of its caller is it compiled for the caller's processor")]

/// Codes that are compared at once: they lie word by word beside each other.
pub(super) const LANES: usize = 8;
/// Bytes of one word of all codes of a group.
pub(super) const GROUP_WORD: usize = LANES * 8;
/// Rows that are fetched ahead of the one that is scored.
const AHEAD: usize = 4;
/// Bytes that memory gives at once.
const CACHE_LINE: usize = 64;
/// Products that are added side by side.
const SUMS: usize = 64;

/// A code near enough: its Hamming distance, and its place in what was scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Near {
    pub(super) distance: u32,
    pub(super) place: u32,
}

/// The instructions that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// Those that every processor of this kind has; on 64-bit ARM they are good ones.
    Portable,
    /// x86-64 with AVX2 and FMA: every server and most laptops since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 with `vpopcntq`: servers since 2019, and Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best this processor has.
    pub(super) fn detect() -> Self {
        Self::all().next_back().unwrap_or(Self::Portable)
    }

    /// All this processor has, the best last.
    fn all() -> impl DoubleEndedIterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let avx2 =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2");
        let all = [
            (Self::Portable, true),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, avx2),
            #[cfg(target_arch = "x86_64")]
            (
                Self::Avx512,
                avx2 && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vpopcntdq"),
            ),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(isa, _)| isa)
    }

    /// Adds to `found` the codes at most `bound` away from `query`. `codes` are whole groups of codes of as many words as
    /// the query; of each group those count whose bit is set in its byte of `masks`, and the groups beyond `masks` do
    /// not.
    pub(super) fn near(self, codes: &[u8], query: &[u64], masks: &[u8], bound: u32, found: &mut Vec<Near>) {
        match self {
            Self::Portable => near(codes, query, masks, bound, found),
            // SAFETY: an `Isa` of this kind is made where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { near_avx2(codes, query, masks, bound, found) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { near_avx512(codes, query, masks, bound, found) },
        }
    }

    /// Puts into `best`, for each of `vectors`, which of `centroids` has the largest dot product with it. Both lie one after
    /// the other, of `dimensions` numbers each.
    pub(super) fn assign(self, vectors: &[f32], centroids: &[f32], dimensions: usize, best: &mut Vec<u32>) {
        best.clear();
        match self {
            Self::Portable => assign(vectors, centroids, dimensions, best, |a, b, sum| a * b + sum),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { assign_avx2(vectors, centroids, dimensions, best) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { assign_avx512(vectors, centroids, dimensions, best) },
        }
    }

    /// Puts the dot products of `query` and each of `rows`, f32 little-endian, into `scores`. The shorter length counts.
    pub(super) fn scores(self, query: &[f32], rows: &[&[u8]], scores: &mut Vec<f32>) {
        scores.clear();
        scores.reserve(rows.len());
        match self {
            Self::Portable => dots(query, rows, scores, |a, b, sum| a * b + sum),
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { dots_avx2(query, rows, scores) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { dots_avx512(query, rows, scores) },
        }
    }
}

/// The distances of four and four codes: AVX2 counts bits by a table of sixteen nibbles.
///
/// # Safety
/// The processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn near_avx2(codes: &[u8], query: &[u64], masks: &[u8], bound: u32, found: &mut Vec<Near>) {
    use std::arch::x86_64::*;
    /// Words whose counts, at most 8 a byte, add up in a byte.
    const WORDS_IN_A_BYTE: usize = 31;
    let bits = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    let (bits, low, zero) = (_mm256_broadcastsi128_si256(bits), _mm256_set1_epi8(15), _mm256_setzero_si256());
    let beyond = _mm256_set1_epi64x(i64::from(bound) + 1);
    each_group(codes, query.len(), masks, |at, group, mask| {
        let mut sums = [zero; 2];
        for (words, query) in group.chunks(WORDS_IN_A_BYTE * GROUP_WORD).zip(query.chunks(WORDS_IN_A_BYTE)) {
            let mut counts = [zero; 2];
            for (words, query) in words.as_chunks::<GROUP_WORD>().0.iter().zip(query) {
                let query = _mm256_set1_epi64x(query.cast_signed());
                for (counts, words) in counts.iter_mut().zip(words.as_chunks::<32>().0) {
                    // SAFETY: 32 bytes are read of 32, at any address.
                    let words = unsafe { _mm256_loadu_si256(words.as_ptr().cast()) };
                    let differ = _mm256_xor_si256(words, query);
                    let first = _mm256_shuffle_epi8(bits, _mm256_and_si256(differ, low));
                    let second = _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16::<4>(differ), low));
                    *counts = _mm256_add_epi8(*counts, _mm256_add_epi8(first, second));
                }
            }
            for (sum, counts) in sums.iter_mut().zip(counts) {
                *sum = _mm256_add_epi64(*sum, _mm256_sad_epu8(counts, zero));
            }
        }
        let within = sums.map(|sum| _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(beyond, sum))));
        let hits = (within[0] | within[1] << 4) as u8 & mask;
        if hits != 0 {
            let mut distances = [0; LANES];
            // SAFETY: 64 bytes are written to eight words of 64 bits.
            unsafe {
                _mm256_storeu_si256(distances.as_mut_ptr().cast(), sums[0]);
                _mm256_storeu_si256(distances.as_mut_ptr().add(4).cast(), sums[1]);
            }
            keep(at, hits, &distances, found);
        }
    });
}

/// The distances of eight codes.
///
/// # Safety
/// The processor has AVX-512 with `vpopcntq`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt,avx512f,avx512vpopcntdq")]
unsafe fn near_avx512(codes: &[u8], query: &[u64], masks: &[u8], bound: u32, found: &mut Vec<Near>) {
    use std::arch::x86_64::*;
    let most = _mm512_set1_epi64(i64::from(bound));
    each_group(codes, query.len(), masks, |at, group, mask| {
        let mut sum = _mm512_setzero_si512();
        for (words, query) in group.as_chunks::<GROUP_WORD>().0.iter().zip(query) {
            // SAFETY: 64 bytes are read of 64, at any address.
            let words = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
            let differ = _mm512_xor_si512(words, _mm512_set1_epi64(query.cast_signed()));
            sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(differ));
        }
        let hits = _mm512_cmple_epu64_mask(sum, most) & mask;
        if hits != 0 {
            let mut distances = [0; LANES];
            // SAFETY: 64 bytes are written to eight words of 64 bits.
            unsafe { _mm512_storeu_si512(distances.as_mut_ptr().cast(), sum) };
            keep(at, hits, &distances, found);
        }
    });
}

/// Calls `look` with the number, the codes and the mask of each group that counts. Made part of its callers, of which
/// each has other instructions. So below.
#[inline(always)]
fn each_group(codes: &[u8], words: usize, masks: &[u8], mut look: impl FnMut(usize, &[u8], u8)) {
    let groups = codes.chunks_exact((words * GROUP_WORD).max(1));
    for (at, (group, mask)) in groups.zip(masks).enumerate() {
        if *mask != 0 {
            look(at, group, *mask);
        }
    }
}

#[inline(always)]
fn keep(at: usize, mut hits: u8, distances: &[u64; LANES], found: &mut Vec<Near>) {
    while hits != 0 {
        let lane = hits.trailing_zeros() as usize;
        hits &= hits - 1;
        found.push(Near { distance: distances[lane] as u32, place: (at * LANES + lane) as u32 });
    }
}

#[inline(always)]
fn near(codes: &[u8], query: &[u64], masks: &[u8], bound: u32, found: &mut Vec<Near>) {
    each_group(codes, query.len(), masks, |at, group, mask| {
        let mut distances = [0; LANES];
        for (words, query) in group.as_chunks::<GROUP_WORD>().0.iter().zip(query) {
            for (distance, word) in distances.iter_mut().zip(words.as_chunks::<8>().0) {
                *distance += u64::from((u64::from_le_bytes(*word) ^ query).count_ones());
            }
        }
        let within = distances.iter().enumerate().filter(|(_, distance)| **distance <= u64::from(bound));
        keep(at, within.fold(0, |hits, (lane, _)| hits | 1 << lane) & mask, &distances, found);
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn assign_avx2(vectors: &[f32], centroids: &[f32], dimensions: usize, best: &mut Vec<u32>) {
    assign(vectors, centroids, dimensions, best, f32::mul_add);
}

/// Eight vectors at once, so that a centroid is read once for all of them.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512vl,avx512dq")]
fn assign_avx512(vectors: &[f32], centroids: &[f32], dimensions: usize, best: &mut Vec<u32>) {
    use std::arch::x86_64::*;
    const AT_ONCE: usize = 8;
    const WIDTH: usize = 16;
    let dimensions = dimensions.max(1);
    let groups = vectors.chunks_exact(dimensions * AT_ONCE);
    let rest = groups.remainder();
    for group in groups {
        let mut nearest = [(f32::NEG_INFINITY, 0); AT_ONCE];
        for (number, centroid) in (0..).zip(centroids.chunks_exact(dimensions)) {
            let mut sums = [_mm512_setzero_ps(); AT_ONCE];
            for (step, part) in centroid.chunks(WIDTH).enumerate() {
                // Lanes past the end are not read and count as 0.
                let lanes = u16::MAX >> (WIDTH - part.len());
                // SAFETY: as many numbers are read as the chunk has.
                let part = unsafe { _mm512_maskz_loadu_ps(lanes, part.as_ptr()) };
                for (at, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the group has `AT_ONCE` vectors of `dimensions` numbers, and of each the same lanes are read.
                    let row =
                        unsafe { _mm512_maskz_loadu_ps(lanes, group.as_ptr().add(at * dimensions + step * WIDTH)) };
                    *sum = _mm512_fmadd_ps(row, part, *sum);
                }
            }
            for (sum, nearest) in sums.into_iter().zip(&mut nearest) {
                let dot = _mm512_reduce_add_ps(sum);
                if dot > nearest.0 {
                    *nearest = (dot, number);
                }
            }
        }
        best.extend(nearest.map(|(_, number)| number));
    }
    assign(rest, centroids, dimensions, best, f32::mul_add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,popcnt")]
fn dots_avx2(query: &[f32], rows: &[&[u8]], scores: &mut Vec<f32>) {
    dots(query, rows, scores, f32::mul_add);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,popcnt,avx512f,avx512bw,avx512vl,avx512dq")]
fn dots_avx512(query: &[f32], rows: &[&[u8]], scores: &mut Vec<f32>) {
    dots(query, rows, scores, f32::mul_add);
}

#[inline(always)]
fn dots(query: &[f32], rows: &[&[u8]], scores: &mut Vec<f32>, add: impl Fn(f32, f32, f32) -> f32 + Copy) {
    rows.iter().take(AHEAD).for_each(|row| prefetch(row));
    for (at, row) in rows.iter().enumerate() {
        if let Some(row) = rows.get(at + AHEAD) {
            prefetch(row);
        }
        scores.push(dot(query, row.as_chunks().0, |bytes| f32::from_le_bytes(*bytes), add));
    }
}

#[inline(always)]
fn dot<T>(query: &[f32], row: &[T], number: impl Fn(&T) -> f32, add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let length = query.len().min(row.len());
    let ((query, query_rest), (row, row_rest)) =
        (query[..length].as_chunks::<SUMS>(), row[..length].as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (query, row) in query.iter().zip(row) {
        for i in 0..SUMS {
            sums[i] = add(query[i], number(&row[i]), sums[i]);
        }
    }
    let mut rest = 0.0;
    for (query, row) in query_rest.iter().zip(row_rest) {
        rest = add(*query, number(row), rest);
    }
    // Half onto half: the processor adds registers, and the order is the same with all instructions.
    let mut half = SUMS / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        half /= 2;
    }
    sums[0] + rest
}

#[inline(always)]
fn assign(
    vectors: &[f32],
    centroids: &[f32],
    dimensions: usize,
    best: &mut Vec<u32>,
    add: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    let dimensions = dimensions.max(1);
    best.extend(vectors.chunks_exact(dimensions).map(|vector| {
        let mut nearest = (f32::NEG_INFINITY, 0);
        for (number, centroid) in (0..).zip(centroids.chunks_exact(dimensions)) {
            let dot = dot(vector, centroid, |number| *number, add);
            if dot > nearest.0 {
                nearest = (dot, number);
            }
        }
        nearest.1
    }));
}

/// Asks for the memory of `row` before it is needed: it lies anywhere in the map, and waiting for it would take longer than
/// scoring it.
#[inline(always)]
fn prefetch(row: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(CACHE_LINE) {
        // SAFETY: a prefetch reads nothing and cannot fail, whatever the address; this one is inside a slice.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (row, CACHE_LINE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    /// Codes of `count`, in groups as they are stored, and each as it is.
    fn codes(rng: &mut StdRng, count: usize, words: usize) -> (Vec<u8>, Vec<Vec<u64>>) {
        let codes: Vec<Vec<u64>> = (0..count).map(|_| (0..words).map(|_| rng.random()).collect()).collect();
        let mut stored = vec![0; count.div_ceil(LANES) * words * GROUP_WORD];
        for (at, code) in codes.iter().enumerate() {
            for (word, bits) in code.iter().enumerate() {
                let to = (at / LANES * words + word) * GROUP_WORD + at % LANES * 8;
                stored[to..to + 8].copy_from_slice(&bits.to_le_bytes());
            }
        }
        (stored, codes)
    }

    #[test]
    fn every_kind_of_instructions_finds_the_same_codes() {
        let mut rng = StdRng::seed_from_u64(1);
        for (count, words) in [(0, 1), (1, 1), (7, 3), (8, 6), (9, 6), (100, 12), (1_000, 6), (64, 33), (40, 1_024)] {
            let (stored, codes) = codes(&mut rng, count, words);
            let query: Vec<u64> = (0..words).map(|_| rng.random()).collect();
            let masks: Vec<u8> = (0..count.div_ceil(LANES)).map(|_| rng.random::<u8>() | rng.random::<u8>()).collect();
            let far = |code: &[u64]| code.iter().zip(&query).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            for bound in [0, words as u32 * 32 - 1, words as u32 * 64] {
                let all = codes.iter().zip(0..).map(|(code, place)| Near { distance: far(code), place });
                let expected: Vec<_> = all
                    .filter(|near| {
                        near.distance <= bound && masks[near.place as usize / LANES] >> (near.place % 8) & 1 == 1
                    })
                    .collect();
                for isa in Isa::all() {
                    let mut found = Vec::new();
                    isa.near(&stored, &query, &masks, bound, &mut found);
                    // The places that fill the last group up are masked out by whoever scans.
                    found.retain(|near| (near.place as usize) < count);
                    assert_eq!(found, expected, "{isa:?} {count} x {words} up to {bound}");
                }
            }
        }
    }

    #[test]
    fn every_kind_of_instructions_gives_the_same_scores() {
        let mut rng = StdRng::seed_from_u64(2);
        for length in [0, 1, 3, 63, 64, 65, 384, 1_000] {
            let mut numbers = || (0..length).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<_>>();
            let query = numbers();
            let rows: Vec<Vec<f32>> = (0..17).map(|_| numbers()).collect();
            // At an odd address: what LMDB gives is not aligned.
            let bytes: Vec<Vec<u8>> = rows
                .iter()
                .map(|row| std::iter::once(0).chain(row.iter().flat_map(|x| x.to_le_bytes())).collect())
                .collect();
            let views: Vec<&[u8]> = bytes.iter().map(|row| &row[1..]).collect();
            for isa in Isa::all() {
                let mut scores = vec![9.0];
                isa.scores(&query, &views, &mut scores);
                assert_eq!(scores.len(), rows.len());
                for (score, row) in scores.iter().zip(&rows) {
                    let exact: f64 = query.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert!((f64::from(*score) - exact).abs() < 1e-4, "{isa:?} {length}: {score} {exact}");
                }
            }
        }
    }

    #[test]
    fn every_kind_of_instructions_assigns_to_the_nearest() {
        let mut rng = StdRng::seed_from_u64(3);
        for (count, lists, dimensions) in [(0, 3, 5), (1, 1, 1), (7, 5, 16), (8, 9, 33), (25, 40, 384)] {
            let mut numbers = |count| (0..count).map(|_| rng.random::<f32>() - 0.5).collect::<Vec<_>>();
            let (vectors, centroids) = (numbers(count * dimensions), numbers(lists * dimensions));
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            for isa in Isa::all() {
                let mut best = vec![7];
                isa.assign(&vectors, &centroids, dimensions, &mut best);
                assert_eq!(best.len(), count);
                for (vector, best) in vectors.chunks(dimensions).zip(best) {
                    let dots: Vec<_> = centroids.chunks(dimensions).map(|centroid| dot(vector, centroid)).collect();
                    let most = dots.iter().copied().fold(f64::MIN, f64::max);
                    assert!(dots[best as usize] > most - 1e-5, "{isa:?} {count} x {dimensions}");
                }
            }
        }
    }

    #[test]
    fn a_row_that_is_cut_short_is_scored_without_reading_beyond_it() {
        let row: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        for isa in Isa::all() {
            let mut scores = Vec::new();
            isa.scores(&[1.0; 100], &[&row[..7], &row[..0]], &mut scores);
            assert_eq!(scores, [1.0, 0.0], "{isa:?}");
        }
    }
}
