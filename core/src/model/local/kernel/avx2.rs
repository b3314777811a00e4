//! Products with AVX2, FMA and F16C.
//!
//! Eight rows at once: `maddubs` multiplies 32 unsigned quants, four of each row, with the same four activations, and
//! adds neighbours to 16 bits. Sixteen bits hold several such sums (for 4-bit weights eight, 8 x 2 x 15 x 127 = 30,480),
//! so that widening to 32 bits happens once a block and not once an instruction.
#![allow(clippy::inline_always, reason = "only as a part of its caller is it compiled for the caller's processor")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions have a prefix of their own")]

use std::{arch::x86_64::*, ops::Range};

use half::f16;

use super::{
    Activations, Matrix, Out,
    format::{BLOCK, Layout, Quantised, Quants, TILE, Zero},
    matrix::Data,
};

/// Rows of activations that share the reading of weights.
const ROWS: usize = 4;
/// Rows of activations that are multiplied with a tile before the next tile's turn: with its 64 KiB they stay near.
const NEAR: usize = 32;
/// The same for weights that are no quants: a multiple of the six rows of a product.
const NEAR_FLOAT: usize = 96;

/// The results of `tiles` of the matrix.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn multiply(matrix: &Matrix, tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
    match &matrix.data {
        Data::Quantised(kind, data) => match kind {
            Quantised::Q4_0 => quantised::<Q4_0>(data, tiles, inputs, out),
            Quantised::Q4_1 => quantised::<Q4_1>(data, tiles, inputs, out),
            Quantised::Q5_0 => quantised::<Q5_0>(data, tiles, inputs, out),
            Quantised::Q5_1 => quantised::<Q5_1>(data, tiles, inputs, out),
            Quantised::Q8_0 => quantised::<Q8_0>(data, tiles, inputs, out),
            Quantised::Q4K => quantised::<Q4K>(data, tiles, inputs, out),
            Quantised::Q5K => quantised::<Q5K>(data, tiles, inputs, out),
            Quantised::Q6K => quantised::<Q6K>(data, tiles, inputs, out),
        },
        Data::Half(data) => float::<f16>(data, tiles, inputs, out),
        Data::Float(data) => float::<f32>(data, tiles, inputs, out),
    }
}

/// A type known when the program is compiled, so that each has a loop of its own.
trait Kind {
    const LAYOUT: Layout;
}

macro_rules! kinds {
    ($($name:ident),*) => {$(
        struct $name;
        impl Kind for $name {
            const LAYOUT: Layout = Quantised::$name.layout();
        }
    )*};
}
kinds!(Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K);

#[target_feature(enable = "avx2,fma,f16c")]
fn quantised<K: Kind>(data: &[u8], tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
    let tile_bytes = inputs.blocks() * K::LAYOUT.block_bytes();
    let tile = |at: usize| &data[at * tile_bytes..][..tile_bytes];
    for near in (0..inputs.rows()).step_by(NEAR) {
        let rows = NEAR.min(inputs.rows() - near);
        let mut at = tiles.start;
        // One row alone reads each activation for two tiles.
        while rows == 1 && at + 1 < tiles.end {
            let results = product::<K, 2, 1>([tile(at), tile(at + 1)], inputs, near);
            out.put(near, at * TILE, &numbers(results[0][0]));
            out.put(near, (at + 1) * TILE, &numbers(results[1][0]));
            at += 2;
        }
        for at in at..tiles.end {
            let mut row = near;
            while row + ROWS <= near + rows {
                let results = product::<K, 1, ROWS>([tile(at)], inputs, row);
                for (i, result) in results[0].iter().enumerate() {
                    out.put(row + i, at * TILE, &numbers(*result));
                }
                row += ROWS;
            }
            if row + 2 <= near + rows {
                let results = product::<K, 1, 2>([tile(at)], inputs, row);
                out.put(row, at * TILE, &numbers(results[0][0]));
                out.put(row + 1, at * TILE, &numbers(results[0][1]));
                row += 2;
            }
            if row < near + rows {
                let results = product::<K, 1, 1>([tile(at)], inputs, row);
                out.put(row, at * TILE, &numbers(results[0][0]));
            }
        }
    }
}

/// `T` tiles times `M` rows of activations from `row` on.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn product<K: Kind, const T: usize, const M: usize>(
    tiles: [&[u8]; T],
    inputs: &Activations,
    row: usize,
) -> [[__m256; M]; T] {
    let (blocks, bytes) = (inputs.blocks(), K::LAYOUT.block_bytes());
    assert!(tiles.iter().all(|tile| tile.len() == blocks * bytes));
    assert!((row + M) * blocks <= inputs.scales.len() && (row + M) * inputs.cols() <= inputs.quants.len());
    let mut sums = [[_mm256_setzero_ps(); M]; T];
    for block in 0..blocks {
        // SAFETY: `block` is inside each tile and each row, by the two assertions; the other tables of the
        // activations have one number a block, as the scales have.
        unsafe {
            let weights: [_; T] = std::array::from_fn(|t| tiles[t].as_ptr().add(block * bytes));
            let at: [_; M] = std::array::from_fn(|m| (row + m) * blocks + block);
            let quants: [_; M] = std::array::from_fn(|m| inputs.quants.as_ptr().add(at[m] * BLOCK));
            if let Quants::Six = K::LAYOUT.quants {
                halves::<K, T, M>(&mut sums, weights, quants, inputs, at);
            } else {
                whole::<K, T, M>(&mut sums, weights, quants, inputs, at);
            }
        }
    }
    sums
}

/// Adds a block whose 32 columns share a scale.
///
/// # Safety
/// The processor has AVX2, FMA and F16C. `weights` point to a packed block each, `quants` to 32 activations each, and
/// `at` is inside the tables of `inputs`. All functions below ask the same, of the blocks, halves or groups they name;
/// they have no `target_feature` of their own, so that they always become part of the loop that calls them.
#[inline(always)]
unsafe fn whole<K: Kind, const T: usize, const M: usize>(
    sums: &mut [[__m256; M]; T],
    weights: [*const u8; T],
    quants: [*const i8; M],
    inputs: &Activations,
    at: [usize; M],
) {
    let layout = K::LAYOUT;
    // SAFETY: as the caller promises.
    unsafe {
        let dots = match layout.quants {
            Quants::Nibble => nibbles::<T, M>(weights, quants),
            Quants::Five | Quants::Six => bytes::<T, M, 4>(weights, quants),
            Quants::Eight => signed::<T, M>(weights, quants),
        };
        for t in 0..T {
            let scales = numbers_at::<K>(weights[t].add(layout.quant_bytes()));
            let zeros = match layout.zero {
                Zero::Stored => numbers_at::<K>(weights[t].add(layout.quant_bytes() + layout.scale_bytes())),
                Zero::Offset(_) => _mm256_setzero_ps(),
            };
            for m in 0..M {
                let mut dot = dots[t][m];
                if let Zero::Offset(offset) = layout.zero
                    && offset != 0
                {
                    dot = _mm256_sub_epi32(dot, _mm256_set1_epi32(offset * inputs.sums.get_unchecked(at[m])));
                }
                let scale = _mm256_mul_ps(scales, _mm256_set1_ps(*inputs.scales.get_unchecked(at[m])));
                sums[t][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sums[t][m]);
                if let Zero::Stored = layout.zero {
                    let weighted = _mm256_set1_ps(*inputs.weighted.get_unchecked(at[m]));
                    sums[t][m] = _mm256_fmadd_ps(zeros, weighted, sums[t][m]);
                }
            }
        }
    }
}

/// Adds a block of which each half has its scale.
#[inline(always)]
unsafe fn halves<K: Kind, const T: usize, const M: usize>(
    sums: &mut [[__m256; M]; T],
    weights: [*const u8; T],
    quants: [*const i8; M],
    inputs: &Activations,
    at: [usize; M],
) {
    let layout = K::LAYOUT;
    let Zero::Offset(offset) = layout.zero else { return };
    // SAFETY: as the caller promises; the second half of a block is 128 bytes of weights and 16 activations on.
    unsafe {
        for half in 0..2 {
            let weights_of: [_; T] = std::array::from_fn(|t| weights[t].add(half * 128));
            let quants_of: [_; M] = std::array::from_fn(|m| quants[m].add(half * 16));
            let mut dots = [[_mm256_setzero_si256(); M]; T];
            // Two groups fit in 16 bits.
            for deep in 0..2 {
                let mut pairs = [[_mm256_setzero_si256(); M]; T];
                add_group(&mut pairs, weights_of, quants_of, deep * 2);
                add_group(&mut pairs, weights_of, quants_of, deep * 2 + 1);
                add_wide(&mut dots, pairs);
            }
            for t in 0..T {
                let scales = numbers_at::<K>(weights[t].add(layout.quant_bytes() + half * layout.scale_bytes() / 2));
                for m in 0..M {
                    let first = *inputs.half_sums.get_unchecked(at[m]);
                    let sum = if half == 0 { first } else { inputs.sums.get_unchecked(at[m]) - first };
                    let dot = _mm256_sub_epi32(dots[t][m], _mm256_set1_epi32(offset * sum));
                    let scale = _mm256_mul_ps(scales, _mm256_set1_ps(*inputs.scales.get_unchecked(at[m])));
                    sums[t][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sums[t][m]);
                }
            }
        }
    }
}

/// Dot products of 4-bit quants.
#[inline(always)]
unsafe fn nibbles<const T: usize, const M: usize>(
    weights: [*const u8; T],
    quants: [*const i8; M],
) -> [[__m256i; M]; T] {
    // SAFETY: as the caller promises; a block has four times 32 bytes of quants, and eight groups of activations.
    unsafe {
        let (low, mut pairs) = (_mm256_set1_epi8(15), [[_mm256_setzero_si256(); M]; T]);
        for group in 0..4 {
            for t in 0..T {
                let both = _mm256_loadu_si256(weights[t].add(group * 32).cast());
                let first = _mm256_and_si256(both, low);
                let second = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                for m in 0..M {
                    let (one, other) = (four(quants[m], group), four(quants[m], group + 4));
                    pairs[t][m] = _mm256_add_epi16(pairs[t][m], _mm256_maddubs_epi16(first, one));
                    pairs[t][m] = _mm256_add_epi16(pairs[t][m], _mm256_maddubs_epi16(second, other));
                }
            }
        }
        let mut dots = [[_mm256_setzero_si256(); M]; T];
        add_wide(&mut dots, pairs);
        dots
    }
}

/// Dot products of quants of a byte each, of which `DEPTH` groups fit in 16 bits.
#[inline(always)]
unsafe fn bytes<const T: usize, const M: usize, const DEPTH: usize>(
    weights: [*const u8; T],
    quants: [*const i8; M],
) -> [[__m256i; M]; T] {
    // SAFETY: as the caller promises; a block has eight groups.
    unsafe {
        let mut dots = [[_mm256_setzero_si256(); M]; T];
        for deep in 0..8 / DEPTH {
            let mut pairs = [[_mm256_setzero_si256(); M]; T];
            for group in deep * DEPTH..(deep + 1) * DEPTH {
                add_group(&mut pairs, weights, quants, group);
            }
            add_wide(&mut dots, pairs);
        }
        dots
    }
}

/// Adds the products of a group, neighbours together.
#[inline(always)]
unsafe fn add_group<const T: usize, const M: usize>(
    pairs: &mut [[__m256i; M]; T],
    weights: [*const u8; T],
    quants: [*const i8; M],
    group: usize,
) {
    for t in 0..T {
        // SAFETY: as the caller promises; a group has 32 bytes of weights and four activations.
        unsafe {
            let weights = _mm256_loadu_si256(weights[t].add(group * 32).cast());
            for m in 0..M {
                let products = _mm256_maddubs_epi16(weights, four(quants[m], group));
                pairs[t][m] = _mm256_add_epi16(pairs[t][m], products);
            }
        }
    }
}

/// Dot products of signed quants: their magnitudes, unsigned, times activations with the sign of both. A pair is at most
/// 2 x 128 x 127 = 32,512, which leaves no room to add pairs in 16 bits.
#[inline(always)]
unsafe fn signed<const T: usize, const M: usize>(weights: [*const u8; T], quants: [*const i8; M]) -> [[__m256i; M]; T] {
    // SAFETY: as the caller promises; a block has eight groups of 32 bytes and of four activations.
    unsafe {
        let mut dots = [[_mm256_setzero_si256(); M]; T];
        for group in 0..8 {
            let mut pairs = [[_mm256_setzero_si256(); M]; T];
            for t in 0..T {
                let weights = _mm256_loadu_si256(weights[t].add(group * 32).cast());
                let magnitudes = _mm256_abs_epi8(weights);
                for m in 0..M {
                    pairs[t][m] = _mm256_maddubs_epi16(magnitudes, _mm256_sign_epi8(four(quants[m], group), weights));
                }
            }
            add_wide(&mut dots, pairs);
        }
        dots
    }
}

/// The four activations of `group`, once for each row of a tile.
#[inline(always)]
unsafe fn four(quants: *const i8, group: usize) -> __m256i {
    // SAFETY: as the caller promises; the four bytes are read where they lie.
    unsafe { _mm256_set1_epi32(quants.add(group * 4).cast::<i32>().read_unaligned()) }
}

/// Adds neighbours, twice eight numbers of 16 bits, to eight of 32.
#[inline(always)]
unsafe fn add_wide<const T: usize, const M: usize>(to: &mut [[__m256i; M]; T], pairs: [[__m256i; M]; T]) {
    for t in 0..T {
        for m in 0..M {
            // SAFETY: as the caller promises.
            unsafe { to[t][m] = _mm256_add_epi32(to[t][m], _mm256_madd_epi16(pairs[t][m], _mm256_set1_epi16(1))) };
        }
    }
}

/// Eight scales or zeros.
#[inline(always)]
unsafe fn numbers_at<K: Kind>(at: *const u8) -> __m256 {
    // SAFETY: as the caller promises; there are eight numbers of the width that the layout has.
    unsafe { if K::LAYOUT.wide { _mm256_loadu_ps(at.cast()) } else { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) } }
}

/// Weights that are no quants.
trait Float: Copy {
    /// Eight weights.
    ///
    /// # Safety
    /// `at` points to eight of them, and the processor has F16C.
    unsafe fn eight(at: *const Self) -> __m256;
}

impl Float for f32 {
    #[inline(always)]
    unsafe fn eight(at: *const Self) -> __m256 {
        // SAFETY: as the caller promises.
        unsafe { _mm256_loadu_ps(at) }
    }
}

impl Float for f16 {
    #[inline(always)]
    unsafe fn eight(at: *const Self) -> __m256 {
        // SAFETY: as the caller promises.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn float<F: Float>(data: &[F], tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
    let len = TILE * inputs.cols();
    let tile = |at: usize| &data[at * len..][..len];
    for near in (0..inputs.rows()).step_by(NEAR_FLOAT) {
        let end = (near + NEAR_FLOAT).min(inputs.rows());
        for at in tiles.clone().step_by(2) {
            if at + 1 < tiles.end {
                float_tiles::<F, 2>([tile(at), tile(at + 1)], inputs, near..end, at, out);
            } else {
                float_tiles::<F, 1>([tile(at)], inputs, near..end, at, out);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn float_tiles<F: Float, const T: usize>(
    tiles: [&[F]; T],
    inputs: &Activations,
    rows: Range<usize>,
    at: usize,
    out: &Out<'_>,
) {
    let mut row = rows.start;
    while row + 6 <= rows.end {
        float_rows::<F, T, 6>(tiles, inputs, row, at, out);
        row += 6;
    }
    while row + 2 <= rows.end {
        float_rows::<F, T, 2>(tiles, inputs, row, at, out);
        row += 2;
    }
    if row < rows.end {
        float_rows::<F, T, 1>(tiles, inputs, row, at, out);
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn float_rows<F: Float, const T: usize, const M: usize>(
    tiles: [&[F]; T],
    inputs: &Activations,
    row: usize,
    at: usize,
    out: &Out<'_>,
) {
    let cols = inputs.cols();
    assert!(tiles.iter().all(|tile| tile.len() == cols * TILE) && (row + M) * cols <= inputs.values.len());
    // The results of a row side by side: one activation is in a register at a time.
    let mut sums = [[_mm256_setzero_ps(); T]; M];
    for col in 0..cols {
        // SAFETY: `col` is inside each tile and each row, by the assertion.
        unsafe {
            let weights: [_; T] = std::array::from_fn(|t| F::eight(tiles[t].as_ptr().add(col * TILE)));
            for (m, sums) in sums.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*inputs.values.as_ptr().add((row + m) * cols + col));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_fmadd_ps(weights, value, *sum);
                }
            }
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        for (t, sum) in sums.iter().enumerate() {
            out.put(row + m, (at + t) * TILE, &numbers(*sum));
        }
    }
}

/// The eight numbers of a register.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
fn numbers(of: __m256) -> [f32; TILE] {
    let mut numbers = [0.0; TILE];
    // SAFETY: there is room for eight.
    unsafe { _mm256_storeu_ps(numbers.as_mut_ptr(), of) };
    numbers
}
