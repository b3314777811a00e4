//! Products with the instructions that every 64-bit ARM processor has: eight rows at once, in two registers.
//!
//! `smlal` multiplies eight quants, four of each of two rows, with activations and adds to 16 bits, which hold several
//! such products (of 4-bit weights eight, and neighbours together: 8 x 2 x 15 x 127 = 30,480), so that widening to 32
//! bits happens once a block.

use std::{arch::aarch64::*, ops::Range};

use half::{bf16, f16};

use super::{
    Activations, Matrix, Out,
    format::Quantised,
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

    /// They are the upper halves of 32-bit numbers.
    #[inline(always)]
    unsafe fn load_brain(from: *const bf16) -> [float32x4_t; 2] {
        // SAFETY: see `splat`.
        unsafe {
            let brains = vld1q_u16(from.cast());
            let wide = [vmovl_u16(vget_low_u16(brains)), vmovl_high_u16(brains)];
            wide.map(|four| vreinterpretq_f32_u32(vshlq_n_u32::<16>(four)))
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
    type Bytes = [uint8x16_t; 2];

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
    unsafe fn load_bytes(from: *const u8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat`.
        unsafe { load_bytes(from) }
    }

    #[inline(always)]
    unsafe fn and(bytes: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat`.
        unsafe { and(bytes, mask) }
    }

    #[inline(always)]
    unsafe fn with_bits(bytes: [uint8x16_t; 2], bits: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
        // SAFETY: see `splat`.
        unsafe { with_bits(bytes, bits, mask) }
    }

    #[inline(always)]
    unsafe fn shift(bytes: [uint8x16_t; 2], left: i32) -> [uint8x16_t; 2] {
        // SAFETY: see `splat`.
        unsafe { shift(bytes, left) }
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
                for half in 0..2 {
                    let mut pairs = [[vdupq_n_s16(0); 2]; M];
                    for group in 0..4 {
                        let [first, second] = nibbles(weights[t].add(group * STRIDE + half * REGISTER));
                        for m in 0..M {
                            pairs[m] = add_products(pairs[m], first, four(quants[m], group));
                            pairs[m] = add_products(pairs[m], second, four(quants[m], group + 4));
                        }
                    }
                    for m in 0..M {
                        dots[t][m][half] = add_pairs(dots[t][m][half], pairs[m]);
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
        // SAFETY: see `splat`; half a block has four groups.
        unsafe {
            for t in 0..T {
                for half in 0..2 {
                    for first in (0..4).step_by(DEEP) {
                        let mut pairs = [[vdupq_n_s16(0); 2]; M];
                        for at in 0..DEEP {
                            let group = first + at;
                            let weights = vreinterpretq_s8_u8(weights[t][group][half]);
                            for m in 0..M {
                                pairs[m] = add_products(pairs[m], weights, four(quants[m], group));
                            }
                        }
                        for m in 0..M {
                            dots[t][m][half] = add_pairs(dots[t][m][half], pairs[m]);
                        }
                    }
                }
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
        unsafe {
            for t in 0..T {
                for half in 0..2 {
                    for group in 0..8 {
                        let weights = vld1q_s8(weights[t].add(group * STRIDE + half * REGISTER).cast());
                        for m in 0..M {
                            let pairs = add_products([vdupq_n_s16(0); 2], weights, four(quants[m], group));
                            dots[t][m][half] = add_pairs(dots[t][m][half], pairs);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(super) unsafe fn convert(integers: [int32x4_t; 2]) -> [float32x4_t; 2] {
    // SAFETY: as the caller promises.
    unsafe { [vcvtq_f32_s32(integers[0]), vcvtq_f32_s32(integers[1])] }
}

/// The low and the high halves of 16 bytes.
#[inline(always)]
pub(super) unsafe fn nibbles(from: *const u8) -> [int8x16_t; 2] {
    // SAFETY: as the caller promises.
    unsafe {
        let both = vld1q_u8(from);
        [vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15))), vreinterpretq_s8_u8(vshrq_n_u8::<4>(both))]
    }
}

/// Two registers of bytes.
#[inline(always)]
pub(super) unsafe fn load_bytes(from: *const u8) -> [uint8x16_t; 2] {
    // SAFETY: as the caller promises. So below.
    unsafe { [vld1q_u8(from), vld1q_u8(from.add(REGISTER))] }
}

#[inline(always)]
pub(super) unsafe fn and(bytes: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
    // SAFETY: see `load_bytes`.
    bytes.map(|bytes| unsafe { vandq_u8(bytes, vdupq_n_u8(mask.cast_unsigned())) })
}

#[inline(always)]
pub(super) unsafe fn with_bits(bytes: [uint8x16_t; 2], bits: [uint8x16_t; 2], mask: i8) -> [uint8x16_t; 2] {
    // SAFETY: see `load_bytes`.
    unsafe {
        let bits = and(bits, mask);
        [vorrq_u8(bytes[0], bits[0]), vorrq_u8(bytes[1], bits[1])]
    }
}

#[inline(always)]
pub(super) unsafe fn shift(bytes: [uint8x16_t; 2], left: i32) -> [uint8x16_t; 2] {
    // SAFETY: see `load_bytes`; a shift by less than nothing is one to the right.
    bytes.map(|bytes| unsafe { vshlq_u8(bytes, vdupq_n_s8(left as i8)) })
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

/// Adds the four numbers of each row: first neighbours in 16 bits, then two of those to 32.
#[inline(always)]
unsafe fn add_pairs(to: int32x4_t, pairs: [int16x8_t; 2]) -> int32x4_t {
    // SAFETY: as the caller promises.
    unsafe { vpadalq_s16(to, vpaddq_s16(pairs[0], pairs[1])) }
}
