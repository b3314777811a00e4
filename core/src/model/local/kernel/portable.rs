//! Products in plain Rust: for processors without instructions of their own here, and what the others are tested by.

use std::ops::Range;

use half::{bf16, f16};

use super::{
    Activations, Matrix, Out,
    format::{BLOCK, Layout, Quants, TILE, Zero},
    matrix::{Data, Parts},
    product::Floats,
};

/// Registers of any processor.
pub(super) struct Portable;

impl Floats for Portable {
    const LANES: usize = 8;
    const FUSED: bool = false;
    type Numbers = [f32; 8];

    #[inline(always)]
    unsafe fn splat(number: f32) -> [f32; 8] {
        [number; 8]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: as the caller promises.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> [f32; 8] {
        // SAFETY: as the caller promises.
        unsafe { from.cast::<[f16; 8]>().read_unaligned() }.map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const bf16) -> [f32; 8] {
        // SAFETY: as the caller promises.
        unsafe { from.cast::<[bf16; 8]>().read_unaligned() }.map(bf16::to_f32)
    }

    #[inline(always)]
    unsafe fn store(numbers: [f32; 8], to: *mut f32) {
        // SAFETY: as the caller promises.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(numbers) }
    }

    #[inline(always)]
    unsafe fn multiply(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
}

/// The results of `tiles` of the matrix.
pub(super) fn multiply(matrix: &Matrix, tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
    for tile in tiles {
        for row in 0..inputs.rows() {
            let results = match &matrix.data {
                Data::Quantised(kind, data) => quantised(&kind.layout(), data, tile, inputs, row),
                Data::Half(data) => float(&data[tile * TILE * matrix.cols..], inputs, row, |weight| weight.to_f32()),
                Data::Brain(data) => float(&data[tile * TILE * matrix.cols..], inputs, row, |weight| weight.to_f32()),
                Data::Float(data) => float(&data[tile * TILE * matrix.cols..], inputs, row, |weight| *weight),
            };
            out.put(row, tile * TILE, &results);
        }
    }
}

fn quantised(layout: &Layout, data: &[u8], tile: usize, inputs: &Activations, row: usize) -> [f32; TILE] {
    let (blocks, bytes) = (inputs.blocks(), layout.block_bytes());
    let mut results = [0.0; TILE];
    for block in 0..blocks {
        let parts = Parts::of(layout, &data[(tile * blocks + block) * bytes..][..bytes]);
        let at = row * blocks + block;
        let quants = &inputs.quants[at * BLOCK..][..BLOCK];
        let scale = inputs.scales[at];
        for (lane, result) in results.iter_mut().enumerate() {
            let dot =
                |range: Range<usize>| range.map(|i| parts.quant(lane, i) * i32::from(quants[i])).sum::<i32>() as f32;
            if layout.quants == Quants::Six {
                *result += dot(0..BLOCK / 2) * (parts.scale(lane, 0) * scale);
                *result += dot(BLOCK / 2..BLOCK) * (parts.scale(lane, BLOCK / 2) * scale);
            } else {
                *result += dot(0..BLOCK) * (parts.scale(lane, 0) * scale);
            }
            if layout.zero == Zero::Stored {
                *result += parts.zero(lane) * inputs.weighted[at];
            }
        }
    }
    results
}

fn float<T>(tile: &[T], inputs: &Activations, row: usize, weight: impl Fn(&T) -> f32) -> [f32; TILE] {
    let mut results = [0.0; TILE];
    let values = &inputs.values[row * inputs.cols()..][..inputs.cols()];
    for (value, column) in values.iter().zip(tile.chunks_exact(TILE)) {
        results.iter_mut().zip(column).for_each(|(result, w)| *result += value * weight(w));
    }
    results
}
