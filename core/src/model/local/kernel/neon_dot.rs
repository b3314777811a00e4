//! Products with the dot products of ARM processors since 2018 (`dotprod`): eight rows at once, in two registers.
//!
//! `sdot` multiplies four quants of each of four rows with the same four activations and adds all to 32 bits. It is
//! written as assembly: its function in Rust is not stable (rust-lang/rust#117224).

use std::{
    arch::{aarch64::*, asm},
    ops::Range,
};

use super::{
    Activations, Matrix, Out,
    format::{BLOCK, Quantised},
    matrix::Data,
    neon::{Neon, REGISTER, convert, high, low},
    product::{self, STRIDE, Simd, multiply_with},
};

multiply_with!(Neon<true>, "neon,dotprod");

impl Simd for Neon<true> {
    const SIGNED_OFFSET: i32 = 0;
    type Integers = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn splat_integer(integer: i32) -> [int32x4_t; 2] {
        // SAFETY: as the caller promises. So below.
        unsafe { [vdupq_n_s32(integer); 2] }
    }

    #[inline(always)]
    unsafe fn convert(integers: [int32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see `splat_integer`.
        unsafe { convert(integers) }
    }

    #[inline(always)]
    unsafe fn add_nibbles<const T: usize, const M: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat_integer`; a block has four groups of bytes, and eight of activations.
        unsafe {
            for t in 0..T {
                let both = four_groups(weights[t]);
                add_four_groups(&mut dots[t], both.map(|rows| rows.map(|both| low(both))), quants);
                let late = quants.map(|quants| quants.add(BLOCK / 2));
                add_four_groups(&mut dots[t], both.map(|rows| rows.map(|both| high(both))), late);
            }
        }
    }

    #[inline(always)]
    unsafe fn add_bytes<const T: usize, const M: usize, const HALVES: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat_integer`; half a block has four groups.
        unsafe {
            for half in 0..HALVES {
                let quants = quants.map(|quants| quants.add(half * BLOCK / 2));
                for t in 0..T {
                    let weights = four_groups(weights[t].add(half * 4 * STRIDE));
                    add_four_groups(
                        &mut dots[t],
                        weights.map(|rows| rows.map(|byte| vreinterpretq_s8_u8(byte))),
                        quants,
                    );
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_signed<const T: usize, const M: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat_integer`; the instruction takes signed quants.
        unsafe { Self::add_bytes::<T, M, 2>(dots, weights, quants) };
    }
}

/// The bytes of four groups, for each of two times four rows.
#[inline(always)]
unsafe fn four_groups(from: *const u8) -> [[uint8x16_t; 4]; 2] {
    // SAFETY: as the caller promises.
    let rows = |from: *const u8| unsafe { std::array::from_fn(|group| vld1q_u8(from.add(group * STRIDE))) };
    // SAFETY: as the caller promises.
    [rows(from), rows(unsafe { from.add(REGISTER) })]
}

/// Adds the dot products of four groups with 16 activations. Both registers of rows are written out: in a loop that the
/// compiler leaves one, the sums would live in memory.
#[inline(always)]
unsafe fn add_four_groups<const M: usize>(
    dots: &mut [[int32x4_t; 2]; M],
    [first, second]: [[int8x16_t; 4]; 2],
    quants: [*const i8; M],
) {
    for m in 0..M {
        // SAFETY: as the caller promises.
        unsafe {
            let quants = vld1q_s8(quants[m]);
            let [mut one, mut other] = dots[m];
            one = add::<0>(one, first[0], quants);
            other = add::<0>(other, second[0], quants);
            one = add::<1>(one, first[1], quants);
            other = add::<1>(other, second[1], quants);
            one = add::<2>(one, first[2], quants);
            other = add::<2>(other, second[2], quants);
            one = add::<3>(one, first[3], quants);
            other = add::<3>(other, second[3], quants);
            dots[m] = [one, other];
        }
    }
}

/// Adds the dot products of four rows with the four activations of `GROUP`.
#[inline(always)]
unsafe fn add<const GROUP: usize>(to: int32x4_t, weights: int8x16_t, quants: int8x16_t) -> int32x4_t {
    let mut sums = to;
    // SAFETY: as the caller promises; the instruction changes `sums` only.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {quants:v}.4b[{group}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            quants = in(vreg) quants,
            group = const GROUP,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}
