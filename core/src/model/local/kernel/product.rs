//! Products of packed weights, of the instructions that a processor has: see [`Simd`].

use std::ops::Range;

use half::{bf16, f16};

use super::{
    Activations, Out,
    format::{BLOCK, GROUP, Layout, Quantised, Quants, TILE, Zero},
};

/// Rows of activations that are multiplied with a tile before the next tile's turn: with its 64 KiB they stay near.
const NEAR: usize = 32;
/// The same for weights that are no quants: a multiple of the rows of a product.
const NEAR_FLOAT: usize = 96;
/// Bytes from one group of a tile to the next.
pub(super) const STRIDE: usize = TILE * GROUP;

/// What instructions of a processor do with a register of numbers.
///
/// # Safety
/// All functions: the processor has the instructions, and pointers point to as much as is read or written. They have no
/// `target_feature` of their own, so that they always become part of the loop that calls them.
pub(in super::super) trait Floats {
    /// Numbers in a register.
    const LANES: usize;
    /// Whether a product and a sum are one instruction.
    const FUSED: bool;
    type Numbers: Copy;

    unsafe fn splat(number: f32) -> Self::Numbers;
    unsafe fn load(from: *const f32) -> Self::Numbers;
    unsafe fn load_half(from: *const f16) -> Self::Numbers;
    unsafe fn load_brain(from: *const bf16) -> Self::Numbers;
    unsafe fn store(numbers: Self::Numbers, to: *mut f32);
    unsafe fn multiply(a: Self::Numbers, b: Self::Numbers) -> Self::Numbers;
    /// a x b + c, rounded once where it is one instruction.
    unsafe fn multiply_add(a: Self::Numbers, b: Self::Numbers, c: Self::Numbers) -> Self::Numbers;
}

/// Instructions for dot products of eight-bit numbers; a register has one for each of some rows of a tile.
///
/// # Safety
/// As for [`Floats`].
pub(super) trait Simd: Floats {
    const SIGNED_OFFSET: i32;
    type Integers: Copy;
    /// Quants of a group of as many rows as a register has numbers, a byte each.
    type Bytes: Copy;

    unsafe fn splat_integer(integer: i32) -> Self::Integers;
    unsafe fn convert(integers: Self::Integers) -> Self::Numbers;

    unsafe fn load_bytes(from: *const u8) -> Self::Bytes;
    /// The bits that every byte has in common with `mask`.
    unsafe fn and(bytes: Self::Bytes, mask: i8) -> Self::Bytes;
    /// The same of `bits`, beside those of `bytes`.
    unsafe fn with_bits(bytes: Self::Bytes, bits: Self::Bytes, mask: i8) -> Self::Bytes;
    /// Each byte shifted by so many bits to the left, or to the right where it is less than 0. What comes to its other end
    /// is anything. `left` is known when the program is compiled.
    unsafe fn shift(bytes: Self::Bytes, left: i32) -> Self::Bytes;

    /// Adds the dot products of a block of 4-bit quants with 32 activations each.
    unsafe fn add_nibbles<const T: usize, const M: usize>(
        dots: &mut [[Self::Integers; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    );
    /// Adds the dot products of half a block, four groups of quants, with 16 activations each. `DEEP` of them fit in 16
    /// bits: four of quants below 32, two of those below 64.
    unsafe fn add_half<const T: usize, const M: usize, const DEEP: usize>(
        dots: &mut [[Self::Integers; M]; T],
        weights: [[Self::Bytes; 4]; T],
        quants: [*const i8; M],
    );
    /// Adds the dot products of a block of signed quants, each more by [`Simd::SIGNED_OFFSET`].
    unsafe fn add_signed<const T: usize, const M: usize>(
        dots: &mut [[Self::Integers; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    );
}

/// Defines `multiply` of the instructions `$simd`. Each type of weights has a function of its own.
macro_rules! multiply_with {
    ($simd:ty, $features:literal) => {
        /// The results of `tiles` of the matrix.
        #[target_feature(enable = $features)]
        pub(super) fn multiply(matrix: &Matrix, tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
            match &matrix.data {
                Data::Quantised(kind, data) => match kind {
                    Quantised::Q4_0 => quantised::<product::Q4_0>(data, tiles, inputs, out),
                    Quantised::Q4_1 => quantised::<product::Q4_1>(data, tiles, inputs, out),
                    Quantised::Q5_0 => quantised::<product::Q5_0>(data, tiles, inputs, out),
                    Quantised::Q5_1 => quantised::<product::Q5_1>(data, tiles, inputs, out),
                    Quantised::Q8_0 => quantised::<product::Q8_0>(data, tiles, inputs, out),
                    Quantised::Q4K => quantised::<product::Q4K>(data, tiles, inputs, out),
                    Quantised::Q5K => quantised::<product::Q5K>(data, tiles, inputs, out),
                    Quantised::Q6K => quantised::<product::Q6K>(data, tiles, inputs, out),
                },
                Data::Half(data) => float(&data[..], tiles, inputs, out),
                Data::Brain(data) => float(&data[..], tiles, inputs, out),
                Data::Float(data) => float(&data[..], tiles, inputs, out),
            }
        }

        #[target_feature(enable = $features)]
        fn quantised<K: product::Kind>(data: &[u8], tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
            // SAFETY: this function is called where the processor has the instructions.
            unsafe { product::quantised::<$simd, K>(data, tiles, inputs, out) }
        }

        #[target_feature(enable = $features)]
        fn float<F: product::Float>(data: &[F], tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
            // SAFETY: this function is called where the processor has the instructions.
            unsafe { product::float::<$simd, F>(data, tiles, inputs, out) }
        }
    };
}
pub(super) use multiply_with;

/// A type known when the program is compiled, so that each has a loop of its own.
pub(super) trait Kind {
    const LAYOUT: Layout;
}

macro_rules! kinds {
    ($($name:ident),*) => {$(
        pub(super) struct $name;
        impl Kind for $name {
            const LAYOUT: Layout = Quantised::$name.layout();
        }
    )*};
}
kinds!(Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K);

/// The results of `tiles` of quantised weights.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn quantised<S: Simd, K: Kind>(
    data: &[u8],
    tiles: Range<usize>,
    inputs: &Activations,
    out: &Out<'_>,
) {
    let units = units::<S>(tiles, out);
    for near in (0..inputs.rows()).step_by(NEAR) {
        let rows = near..(near + NEAR).min(inputs.rows());
        let mut unit = units.start;
        // SAFETY: as the caller promises.
        unsafe {
            // One row alone reads each activation for two registers of weights, where there are registers for them.
            let room = S::LANES == TILE || !matches!(K::LAYOUT.quants, Quants::Five | Quants::Six);
            while room && rows.len() == 1 && unit + 1 < units.end {
                product::<S, K, 2, 1>(data, unit, inputs, near, out);
                unit += 2;
            }
            for unit in unit..units.end {
                let mut row = near;
                while S::LANES == TILE && row + 8 <= rows.end {
                    product::<S, K, 1, 8>(data, unit, inputs, row, out);
                    row += 8;
                }
                while row + 4 <= rows.end {
                    product::<S, K, 1, 4>(data, unit, inputs, row, out);
                    row += 4;
                }
                if row + 2 <= rows.end {
                    product::<S, K, 1, 2>(data, unit, inputs, row, out);
                    row += 2;
                }
                if row < rows.end {
                    product::<S, K, 1, 1>(data, unit, inputs, row, out);
                }
            }
        }
    }
}

/// The registers of `tiles` that have results.
#[inline(always)]
fn units<S: Simd>(tiles: Range<usize>, out: &Out<'_>) -> Range<usize> {
    let each = TILE / S::LANES;
    tiles.start * each..(tiles.end * each).min(out.cols.div_ceil(S::LANES))
}

/// `T` registers of rows from `unit` on times `M` rows of activations from `row` on.
#[inline(always)]
unsafe fn product<S: Simd, K: Kind, const T: usize, const M: usize>(
    data: &[u8],
    unit: usize,
    inputs: &Activations,
    row: usize,
    out: &Out<'_>,
) {
    let layout = K::LAYOUT;
    let (blocks, bytes, each) = (inputs.blocks(), layout.block_bytes(), TILE / S::LANES);
    assert!((unit + T).div_ceil(each) * blocks * bytes <= data.len());
    assert!((row + M) * blocks <= inputs.scales.len() && (row + M) * inputs.cols() <= inputs.quants.len());
    // SAFETY: `block` is inside each tile and each row, by the two assertions; the other tables of the activations have
    // one number a block, as the scales have.
    unsafe {
        let tiles: [_; T] = std::array::from_fn(|t| data.as_ptr().add((unit + t) / each * blocks * bytes));
        let lanes: [_; T] = std::array::from_fn(|t| (unit + t) % each * S::LANES);
        let mut sums = [[S::splat(0.0); M]; T];
        for block in 0..blocks {
            let weights: [_; T] = std::array::from_fn(|t| tiles[t].add(block * bytes));
            let at: [_; M] = std::array::from_fn(|m| (row + m) * blocks + block);
            if let Quants::Six = layout.quants {
                add_halves::<S, K, T, M>(&mut sums, weights, lanes, inputs, at);
            } else {
                add_block::<S, K, T, M>(&mut sums, weights, lanes, inputs, at);
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            for (m, sums) in sums.iter().enumerate() {
                put::<S>(out, row + m, unit + t, *sums);
            }
        }
    }
}

#[inline(always)]
unsafe fn put<S: Simd>(out: &Out<'_>, row: usize, unit: usize, numbers: S::Numbers) {
    if let Some(to) = out.places(row, unit * S::LANES, S::LANES) {
        // SAFETY: there is room for as many, and as for `Out::put` nobody else reads or writes them.
        return unsafe { S::store(numbers, to) };
    }
    let mut results = [0.0; TILE];
    // SAFETY: there is room for a whole tile.
    unsafe { S::store(numbers, results.as_mut_ptr()) };
    out.put(row, unit * S::LANES, &results[..S::LANES]);
}

/// Adds a block whose 32 columns share a scale. `weights` point to packed blocks, of which the rows from `lanes` on are
/// multiplied, and `at` is inside the tables of `inputs`.
#[inline(always)]
unsafe fn add_block<S: Simd, K: Kind, const T: usize, const M: usize>(
    sums: &mut [[S::Numbers; M]; T],
    weights: [*const u8; T],
    lanes: [usize; T],
    inputs: &Activations,
    at: [usize; M],
) {
    let layout = K::LAYOUT;
    // SAFETY: as the caller promises.
    unsafe {
        let quants: [_; M] = std::array::from_fn(|m| inputs.quants.as_ptr().add(at[m] * BLOCK));
        let first: [_; T] = std::array::from_fn(|t| weights[t].add(lanes[t] * GROUP));
        let offset = match (layout.quants, layout.zero) {
            (Quants::Eight, _) => S::SIGNED_OFFSET,
            (_, Zero::Offset(offset)) => offset,
            (_, Zero::Stored) => 0,
        };
        let before: [_; M] = std::array::from_fn(|m| S::splat_integer(-offset * *inputs.sums.get_unchecked(at[m])));
        let mut dots = [before; T];
        match layout.quants {
            Quants::Nibble => S::add_nibbles(&mut dots, first, quants),
            Quants::Five | Quants::Six => {
                for half in 0..2 {
                    let weights = halves_of::<S, K, T>(first, half);
                    S::add_half::<T, M, 4>(&mut dots, weights, quants.map(|quants| quants.add(half * BLOCK / 2)));
                }
            }
            Quants::Eight => S::add_signed(&mut dots, first, quants),
        }
        for t in 0..T {
            let scales = numbers_at::<S, K>(weights[t].add(layout.quant_bytes()), lanes[t]);
            let zeros = match layout.zero {
                Zero::Stored => {
                    numbers_at::<S, K>(weights[t].add(layout.quant_bytes() + layout.scale_bytes()), lanes[t])
                }
                Zero::Offset(_) => S::splat(0.0),
            };
            for m in 0..M {
                let scale = S::multiply(scales, S::splat(*inputs.scales.get_unchecked(at[m])));
                sums[t][m] = S::multiply_add(S::convert(dots[t][m]), scale, sums[t][m]);
                if let Zero::Stored = layout.zero {
                    let weighted = S::splat(*inputs.weighted.get_unchecked(at[m]));
                    sums[t][m] = S::multiply_add(zeros, weighted, sums[t][m]);
                }
            }
        }
    }
}

/// Half a block of each of `T` tiles, as of [`half_of`].
#[inline(always)]
unsafe fn halves_of<S: Simd, K: Kind, const T: usize>(blocks: [*const u8; T], half: usize) -> [[S::Bytes; 4]; T] {
    // SAFETY: as the caller promises.
    unsafe {
        // A loop, since a function of it would not be compiled for the processor.
        let mut halves = [half_of::<S, K>(blocks[0], half); T];
        for t in 1..T {
            halves[t] = half_of::<S, K>(blocks[t], half);
        }
        halves
    }
}

/// Half a block of quants of five or six bits, whose low four are packed as [`Quants::Nibble`] and whose high bits follow.
#[inline(always)]
unsafe fn half_of<S: Simd, K: Kind>(block: *const u8, half: usize) -> [S::Bytes; 4] {
    // SAFETY: as the caller promises; a block has four groups of nibbles, and after them one or two of high bits.
    unsafe {
        // The high bits of each of the four groups where they belong, from the fifth bit on.
        let (high, mask) = if let Quants::Five = K::LAYOUT.quants {
            let all = S::load_bytes(block.add(4 * STRIDE));
            let high = if half == 0 {
                [S::shift(all, 4), S::shift(all, 3), S::shift(all, 2), S::shift(all, 1)]
            } else {
                [all, S::shift(all, -1), S::shift(all, -2), S::shift(all, -3)]
            };
            (high, 0x10)
        } else {
            let all = S::load_bytes(block.add((4 + half) * STRIDE));
            ([S::shift(all, 4), S::shift(all, 2), all, S::shift(all, -2)], 0x30)
        };
        let mut quants = high;
        for (group, quants) in quants.iter_mut().enumerate() {
            let both = S::load_bytes(block.add(group * STRIDE));
            let low = if half == 0 { both } else { S::shift(both, -4) };
            *quants = S::with_bits(S::and(low, 15), *quants, mask);
        }
        quants
    }
}

/// Adds a block of which each half has its scale; otherwise as [`add_block`].
#[inline(always)]
unsafe fn add_halves<S: Simd, K: Kind, const T: usize, const M: usize>(
    sums: &mut [[S::Numbers; M]; T],
    weights: [*const u8; T],
    lanes: [usize; T],
    inputs: &Activations,
    at: [usize; M],
) {
    let layout = K::LAYOUT;
    let Zero::Offset(offset) = layout.zero else { return };
    // SAFETY: as the caller promises; the second half of a block is 16 activations on.
    unsafe {
        for half in 0..2 {
            let first: [_; T] = std::array::from_fn(|t| weights[t].add(lanes[t] * GROUP));
            let halves = halves_of::<S, K, T>(first, half);
            let quants: [_; M] = std::array::from_fn(|m| inputs.quants.as_ptr().add(at[m] * BLOCK + half * BLOCK / 2));
            let before: [_; M] = std::array::from_fn(|m| {
                let first = *inputs.half_sums.get_unchecked(at[m]);
                let sum = if half == 0 { first } else { *inputs.sums.get_unchecked(at[m]) - first };
                S::splat_integer(-offset * sum)
            });
            let mut dots = [before; T];
            S::add_half::<T, M, 2>(&mut dots, halves, quants);
            for t in 0..T {
                let scales = weights[t].add(layout.quant_bytes() + half * layout.scale_bytes() / 2);
                let scales = numbers_at::<S, K>(scales, lanes[t]);
                for m in 0..M {
                    let scale = S::multiply(scales, S::splat(*inputs.scales.get_unchecked(at[m])));
                    sums[t][m] = S::multiply_add(S::convert(dots[t][m]), scale, sums[t][m]);
                }
            }
        }
    }
}

/// Scales or zeros, from that of `lane` on.
#[expect(clippy::cast_ptr_alignment, reason = "registers are loaded from any place")]
#[inline(always)]
unsafe fn numbers_at<S: Simd, K: Kind>(at: *const u8, lane: usize) -> S::Numbers {
    // SAFETY: as the caller promises; there is a number of the layout's width for each row of a tile.
    unsafe {
        if K::LAYOUT.wide { S::load(at.cast::<f32>().add(lane)) } else { S::load_half(at.cast::<f16>().add(lane)) }
    }
}

/// The four activations of `group`, as one number.
#[inline(always)]
pub(super) unsafe fn four(quants: *const i8, group: usize) -> i32 {
    // SAFETY: as the caller promises; the four bytes are read where they lie.
    unsafe { quants.add(group * GROUP).cast::<i32>().read_unaligned() }
}

/// Weights that are no quants.
pub(in super::super) trait Float: Copy {
    /// # Safety
    /// As for [`Floats`].
    unsafe fn load<S: Floats>(from: *const Self) -> S::Numbers;
    fn number(self) -> f32;
}

impl Float for f32 {
    #[inline(always)]
    unsafe fn load<S: Floats>(from: *const Self) -> S::Numbers {
        // SAFETY: as the caller promises.
        unsafe { S::load(from) }
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self
    }
}

impl Float for f16 {
    #[inline(always)]
    unsafe fn load<S: Floats>(from: *const Self) -> S::Numbers {
        // SAFETY: as the caller promises.
        unsafe { S::load_half(from) }
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self.to_f32()
    }
}

impl Float for bf16 {
    #[inline(always)]
    unsafe fn load<S: Floats>(from: *const Self) -> S::Numbers {
        // SAFETY: as the caller promises.
        unsafe { S::load_brain(from) }
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self.to_f32()
    }
}

/// The results of `tiles` of weights that are no quants.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn float<S: Simd, F: Float>(data: &[F], tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
    let units = units::<S>(tiles, out);
    for near in (0..inputs.rows()).step_by(NEAR_FLOAT) {
        let rows = near..(near + NEAR_FLOAT).min(inputs.rows());
        for unit in units.clone().step_by(2) {
            // SAFETY: as the caller promises.
            unsafe {
                if unit + 1 < units.end {
                    float_rows::<S, F, 2>(data, unit, inputs, rows.clone(), out);
                } else {
                    float_rows::<S, F, 1>(data, unit, inputs, rows.clone(), out);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn float_rows<S: Simd, F: Float, const T: usize>(
    data: &[F],
    unit: usize,
    inputs: &Activations,
    rows: Range<usize>,
    out: &Out<'_>,
) {
    let mut row = rows.start;
    // SAFETY: as the caller promises.
    unsafe {
        while S::LANES == TILE && row + 8 <= rows.end {
            float_product::<S, F, T, 8>(data, unit, inputs, row, out);
            row += 8;
        }
        while row + 6 <= rows.end {
            float_product::<S, F, T, 6>(data, unit, inputs, row, out);
            row += 6;
        }
        while row + 2 <= rows.end {
            float_product::<S, F, T, 2>(data, unit, inputs, row, out);
            row += 2;
        }
        if row < rows.end {
            float_product::<S, F, T, 1>(data, unit, inputs, row, out);
        }
    }
}

#[inline(always)]
unsafe fn float_product<S: Simd, F: Float, const T: usize, const M: usize>(
    data: &[F],
    unit: usize,
    inputs: &Activations,
    row: usize,
    out: &Out<'_>,
) {
    let (cols, each) = (inputs.cols(), TILE / S::LANES);
    assert!((unit + T).div_ceil(each) * cols * TILE <= data.len() && (row + M) * cols <= inputs.values.len());
    // SAFETY: `col` is inside each tile and each row, by the assertion.
    unsafe {
        let first: [_; T] =
            std::array::from_fn(|t| data.as_ptr().add((unit + t) / each * cols * TILE + (unit + t) % each * S::LANES));
        // The results of a row side by side: one activation is in a register at a time.
        let mut sums = [[S::splat(0.0); T]; M];
        for col in 0..cols {
            let weights: [_; T] = std::array::from_fn(|t| F::load::<S>(first[t].add(col * TILE)));
            for (m, sums) in sums.iter_mut().enumerate() {
                let value = S::splat(*inputs.values.as_ptr().add((row + m) * cols + col));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = S::multiply_add(weights, value, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            for (t, sums) in sums.iter().enumerate() {
                put::<S>(out, row + m, unit + t, *sums);
            }
        }
    }
}
