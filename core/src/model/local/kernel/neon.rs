//! Products with the instructions that every 64-bit ARM processor has: eight rows at once, in two registers.
//!
//! `smlal` multiplies eight quants, four of each of two rows, with activations and adds to 16 bits, which hold several
//! such products (of 4-bit weights eight, and neighbours together: 8 x 2 x 15 x 127 = 30,480), so that widening to 32
//! bits happens once a block.

use std::{arch::aarch64::*, ops::Range};

use half::f16;

use super::{
    Activations, Matrix, Out,
    format::{GROUP, Quantised},
    matrix::Data,
    product::{self, Floats, STRIDE, Simd, four, multiply_with},
};

/// Bytes of a register.
pub(super) const REGISTER: usize = 16;

/// With `DOT`, dot products are instructions: see `neon_dot`.
pub(super) struct Neon<const DOT: bool>;

multiply_with!(Neon<false>, "neon");

impl<const DOT: bool> Floats for Neon<DOT> {
    const LANES: usize = 8;
    const FUSED: bool = true;
    type Numbers = [float32x4_t; 2];

    #[inline(always)]
    unsafe fn splat(number: f32) -> [float32x4_t; 2] {
        // SAFETY: as the caller promises. So below.
        unsafe { [vdupq_n_f32(number); 2] }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4))] }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe {
            let halves = vreinterpretq_f16_u16(vld1q_u16(from.cast()));
            [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
        }
    }

    #[inline(always)]
    unsafe fn store(numbers: [float32x4_t; 2], to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe {
            vst1q_f32(to, numbers[0]);
            vst1q_f32(to.add(4), numbers[1]);
        }
    }

    #[inline(always)]
    unsafe fn multiply(a: [float32x4_t; 2], b: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe { [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])] }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: [float32x4_t; 2], b: [float32x4_t; 2], c: [float32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe { [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])] }
    }
}

impl Simd for Neon<false> {
    const SIGNED_OFFSET: i32 = 0;
    type Integers = [int32x4_t; 2];

    #[inline(always)]
    unsafe fn splat_integer(integer: i32) -> [int32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe { [vdupq_n_s32(integer); 2] }
    }

    #[inline(always)]
    unsafe fn convert(integers: [int32x4_t; 2]) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe { convert(integers) }
    }

    #[inline(always)]
    unsafe fn add_nibbles<const T: usize, const M: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; a block has four groups of bytes, and eight of activations.
        unsafe {
            for t in 0..T {
                let first = sum_nibbles(weights[t], quants);
                add_wide(&mut dots[t], first, sum_nibbles(weights[t].add(REGISTER), quants));
            }
        }
    }

    #[inline(always)]
    unsafe fn add_bytes<const T: usize, const M: usize, const HALVES: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; half a block has four groups. Of quants below 32 four fit in 16 bits, of those below 64 two.
        unsafe {
            if HALVES == 2 {
                add_groups::<T, M, 8, 4>(dots, weights, quants);
            } else {
                add_groups::<T, M, 4, 2>(dots, weights, quants);
            }
        }
    }

    /// 2 x 128 x 127 fits in 16 bits, once.
    #[inline(always)]
    unsafe fn add_signed<const T: usize, const M: usize>(
        dots: &mut [[[int32x4_t; 2]; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; a block has eight groups.
        unsafe { add_groups::<T, M, 8, 1>(dots, weights, quants) };
    }
}

#[inline(always)]
pub(super) unsafe fn convert(integers: [int32x4_t; 2]) -> [float32x4_t; 2] {
    // SAFETY: as the caller promises.
    unsafe { [vcvtq_f32_s32(integers[0]), vcvtq_f32_s32(integers[1])] }
}

/// The low halves of bytes.
#[inline(always)]
pub(super) unsafe fn low(both: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    unsafe { vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))) }
}

/// The high halves of bytes.
#[inline(always)]
pub(super) unsafe fn high(both: uint8x16_t) -> int8x16_t {
    // SAFETY: as the caller promises.
    unsafe { vreinterpretq_s8_u8(vshrq_n_u8::<4>(both)) }
}

/// Adds the dot products of `GROUPS` groups of bytes, of which `DEEP` fit in 16 bits.
#[inline(always)]
unsafe fn add_groups<const T: usize, const M: usize, const GROUPS: usize, const DEEP: usize>(
    dots: &mut [[[int32x4_t; 2]; M]; T],
    weights: [*const u8; T],
    quants: [*const i8; M],
) {
    // SAFETY: as the caller promises.
    unsafe {
        for group in (0..GROUPS).step_by(DEEP) {
            let quants = quants.map(|quants| quants.add(group * GROUP));
            for t in 0..T {
                let weights = weights[t].add(group * STRIDE);
                let first = sum_bytes::<M, DEEP>(weights, quants);
                add_wide(&mut dots[t], first, sum_bytes::<M, DEEP>(weights.add(REGISTER), quants));
            }
        }
    }
}

/// The dot products of a block of 4-bit quants of four rows, each as two sums.
#[inline(always)]
unsafe fn sum_nibbles<const M: usize>(weights: *const u8, quants: [*const i8; M]) -> [int16x8_t; M] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut pairs = [[vdupq_n_s16(0); 2]; M];
        for group in 0..4 {
            let both = vld1q_u8(weights.add(group * STRIDE));
            for m in 0..M {
                pairs[m] = add_products(pairs[m], low(both), four(quants[m], group));
                pairs[m] = add_products(pairs[m], high(both), four(quants[m], group + 4));
            }
        }
        pairs.map(|pairs| vpaddq_s16(pairs[0], pairs[1]))
    }
}

/// The dot products of `DEEP` groups of bytes of four rows, each as two sums.
#[inline(always)]
unsafe fn sum_bytes<const M: usize, const DEEP: usize>(weights: *const u8, quants: [*const i8; M]) -> [int16x8_t; M] {
    // SAFETY: as the caller promises.
    unsafe {
        let mut pairs = [[vdupq_n_s16(0); 2]; M];
        for group in 0..DEEP {
            let weights = vld1q_s8(weights.add(group * STRIDE).cast());
            for m in 0..M {
                pairs[m] = add_products(pairs[m], weights, four(quants[m], group));
            }
        }
        pairs.map(|pairs| vpaddq_s16(pairs[0], pairs[1]))
    }
}

/// Adds the products of four quants of each of four rows with four activations.
#[inline(always)]
unsafe fn add_products(to: [int16x8_t; 2], weights: int8x16_t, four: i32) -> [int16x8_t; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        let quants = vreinterpretq_s8_s32(vdupq_n_s32(four));
        [vmlal_s8(to[0], vget_low_s8(weights), vget_low_s8(quants)), vmlal_high_s8(to[1], weights, quants)]
    }
}

/// Adds the two sums of each row, of the first four rows and of the second.
#[inline(always)]
unsafe fn add_wide<const M: usize>(to: &mut [[int32x4_t; 2]; M], first: [int16x8_t; M], second: [int16x8_t; M]) {
    for m in 0..M {
        // SAFETY: as the caller promises.
        unsafe { to[m] = [vpadalq_s16(to[m][0], first[m]), vpadalq_s16(to[m][1], second[m])] };
    }
}
