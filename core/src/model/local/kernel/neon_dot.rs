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
    neon::{Neon, REGISTER, and, convert, load_bytes, nibbles, shift, with_bits},
    product::{self, STRIDE, Simd, multiply_with},
};

multiply_with!(Neon<true>, "neon,dotprod");

impl Simd for Neon<true> {
    const SIGNED_OFFSET: i32 = 0;
    type Integers = [int32x4_t; 2];
    type Bytes = [uint8x16_t; 2];

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
    unsafe fn load_bytes(from: *const u8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat_integer`.
        unsafe { load_bytes(from) }
    }

    #[inline(always)]
    unsafe fn and(bytes: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat_integer`.
        unsafe { and(bytes, mask) }
    }

    #[inline(always)]
    unsafe fn with_bits(bytes: [uint8x16_t; 2], bits: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat_integer`.
        unsafe { with_bits(bytes, bits, mask) }
    }

    #[inline(always)]
    unsafe fn shift(bytes: [uint8x16_t; 2], left: i32) -> [uint8x16_t; 2] {
        // SAFETY: see `splat_integer`.
        unsafe { shift(bytes, left) }
    }

    #[inline(always)]
    unsafe fn add_nibbles<const T: usize, const M: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat_integer`; a block has four groups of bytes, and eight of activations.
        unsafe {
            let early: [_; M] = std::array::from_fn(|m| vld1q_s8(quants[m]));
            let late: [_; M] = std::array::from_fn(|m| vld1q_s8(quants[m].add(BLOCK / 2)));
            for t in 0..T {
                for half in 0..2 {
                    let mut first = [vdupq_n_s8(0); 4];
                    let mut second = first;
                    for group in 0..4 {
                        [first[group], second[group]] = nibbles(weights[t].add(group * STRIDE + half * REGISTER));
                    }
                    for m in 0..M {
                        dots[t][m][half] = add_four(dots[t][m][half], first, early[m]);
                        dots[t][m][half] = add_four(dots[t][m][half], second, late[m]);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn add_half<const T: usize, const M: usize, const DEEP: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [[[uint8x16_t; 2]; 4]; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat_integer`; half a block has 16 activations.
        unsafe {
            let quants: [_; M] = std::array::from_fn(|m| vld1q_s8(quants[m]));
            for t in 0..T {
                for half in 0..2 {
                    let weights = weights[t].map(|weights| vreinterpretq_s8_u8(weights[half]));
                    for m in 0..M {
                        dots[t][m][half] = add_four(dots[t][m][half], weights, quants[m]);
                    }
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
        // SAFETY: see `splat_integer`; a block has twice four groups, each of 16 activations.
        unsafe {
            for part in 0..2 {
                let quants: [_; M] = std::array::from_fn(|m| vld1q_s8(quants[m].add(part * BLOCK / 2)));
                for t in 0..T {
                    for half in 0..2 {
                        let first = weights[t].add(4 * part * STRIDE + half * REGISTER);
                        let weights = std::array::from_fn(|group| vld1q_s8(first.add(group * STRIDE).cast()));
                        for m in 0..M {
                            dots[t][m][half] = add_four(dots[t][m][half], weights, quants[m]);
                        }
                    }
                }
            }
        }
    }
}

/// Adds the dot products of four groups of four rows with 16 activations.
#[inline(always)]
unsafe fn add_four(to: int32x4_t, weights: [int8x16_t; 4], quants: int8x16_t) -> int32x4_t {
    // SAFETY: as the caller promises.
    unsafe {
        let to = add::<0>(to, weights[0], quants);
        let to = add::<1>(to, weights[1], quants);
        let to = add::<2>(to, weights[2], quants);
        add::<3>(to, weights[3], quants)
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
