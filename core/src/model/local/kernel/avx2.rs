//! Products with AVX2, FMA and F16C: eight rows at once.
//!
//! `maddubs` multiplies 32 unsigned quants, four of each row, with the same four activations, and adds neighbours to 16
//! bits. Sixteen bits hold several such sums (for 4-bit weights eight, 8 x 2 x 15 x 127 = 30,480), so that widening to 32
//! bits happens once a block and not once an instruction.

use std::{arch::x86_64::*, ops::Range};

use half::{bf16, f16};

use super::{
    Activations, Matrix, Out,
    format::Quantised,
    matrix::Data,
    product::{self, Floats, STRIDE, Simd, four, multiply_with},
};

pub(super) struct Avx2;

multiply_with!(Avx2, "avx2,fma,f16c");

impl Floats for Avx2 {
    const LANES: usize = 8;
    const FUSED: bool = true;
    type Numbers = __m256;

    #[inline(always)]
    unsafe fn splat(number: f32) -> __m256 {
        // SAFETY: as the caller promises. So below.
        unsafe { _mm256_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }

    /// They are the upper halves of 32-bit numbers.
    #[inline(always)]
    unsafe fn load_brain(from: *const bf16) -> __m256 {
        // SAFETY: see `splat`.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn store(numbers: __m256, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { _mm256_storeu_ps(to, numbers) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
}

impl Simd for Avx2 {
    const SIGNED_OFFSET: i32 = 0;
    type Integers = __m256i;
    type Bytes = __m256i;

    #[inline(always)]
    unsafe fn splat_integer(integer: i32) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { _mm256_set1_epi32(integer) }
    }

    #[inline(always)]
    unsafe fn convert(integers: __m256i) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { _mm256_cvtepi32_ps(integers) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { _mm256_loadu_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn and(bytes: __m256i, mask: i8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(mask)) }
    }

    #[inline(always)]
    unsafe fn with_bits(bytes: __m256i, bits: __m256i, mask: i8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { _mm256_or_si256(bytes, _mm256_and_si256(bits, _mm256_set1_epi8(mask))) }
    }

    #[inline(always)]
    unsafe fn shift(bytes: __m256i, left: i32) -> __m256i {
        // SAFETY: see `splat`.
        unsafe {
            let bits = _mm_cvtsi32_si128(left.abs());
            if left < 0 { _mm256_srl_epi16(bytes, bits) } else { _mm256_sll_epi16(bytes, bits) }
        }
    }

    #[inline(always)]
    unsafe fn add_nibbles<const T: usize, const M: usize>(
        dots: &mut [[__m256i; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; a block has four times 32 bytes of quants, and eight groups of activations.
        unsafe {
            let (low, mut pairs) = (_mm256_set1_epi8(15), [[_mm256_setzero_si256(); M]; T]);
            for group in 0..4 {
                for t in 0..T {
                    let both = _mm256_loadu_si256(weights[t].add(group * STRIDE).cast());
                    let first = _mm256_and_si256(both, low);
                    let second = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
                    for m in 0..M {
                        let (one, other) = (splat(four(quants[m], group)), splat(four(quants[m], group + 4)));
                        pairs[t][m] = _mm256_add_epi16(pairs[t][m], _mm256_maddubs_epi16(first, one));
                        pairs[t][m] = _mm256_add_epi16(pairs[t][m], _mm256_maddubs_epi16(second, other));
                    }
                }
            }
            add_wide(dots, pairs);
        }
    }

    #[inline(always)]
    unsafe fn add_half<const T: usize, const M: usize, const DEEP: usize>(
        dots: &mut [[__m256i; M]; T],
        weights: [[__m256i; 4]; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; half a block has four groups.
        unsafe {
            for first in (0..4).step_by(DEEP) {
                let mut pairs = [[_mm256_setzero_si256(); M]; T];
                for at in 0..DEEP {
                    let group = first + at;
                    for t in 0..T {
                        for m in 0..M {
                            let products = _mm256_maddubs_epi16(weights[t][group], splat(four(quants[m], group)));
                            pairs[t][m] = _mm256_add_epi16(pairs[t][m], products);
                        }
                    }
                }
                add_wide(dots, pairs);
            }
        }
    }

    /// Magnitudes of the weights times activations with their sign: 2 x 128 x 127 fits in 16 bits, once.
    #[inline(always)]
    unsafe fn add_signed<const T: usize, const M: usize>(
        dots: &mut [[__m256i; M]; T],
        weights: [*const u8; T],
        quants: [*const i8; M],
    ) {
        // SAFETY: see `splat`; a block has eight groups.
        unsafe {
            for group in 0..8 {
                let mut pairs = [[_mm256_setzero_si256(); M]; T];
                for t in 0..T {
                    let weights = _mm256_loadu_si256(weights[t].add(group * STRIDE).cast());
                    let magnitudes = _mm256_abs_epi8(weights);
                    for m in 0..M {
                        let signed = _mm256_sign_epi8(splat(four(quants[m], group)), weights);
                        pairs[t][m] = _mm256_maddubs_epi16(magnitudes, signed);
                    }
                }
                add_wide(dots, pairs);
            }
        }
    }
}

#[inline(always)]
unsafe fn splat(four: i32) -> __m256i {
    // SAFETY: as the caller promises.
    unsafe { _mm256_set1_epi32(four) }
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
