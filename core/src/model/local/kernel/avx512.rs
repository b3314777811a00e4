//! Products with AVX-512 and VNNI: sixteen rows at once.

use std::{arch::x86_64::*, ops::Range};

use half::{bf16, f16};

use super::{
    Activations, Matrix, Out,
    format::Quantised,
    matrix::Data,
    product::{self, Floats, STRIDE, Simd, four, multiply_with},
    vnni::by_dot_products,
};

pub(super) struct Avx512;

multiply_with!(Avx512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");

impl Floats for Avx512 {
    const LANES: usize = 16;
    const FUSED: bool = true;
    type Numbers = __m512;

    #[inline(always)]
    unsafe fn splat(number: f32) -> __m512 {
        // SAFETY: as the caller promises. So below.
        unsafe { _mm512_set1_ps(number) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }

    /// They are the upper halves of 32-bit numbers.
    #[inline(always)]
    unsafe fn load_brain(from: *const bf16) -> __m512 {
        // SAFETY: see `splat`.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }

    #[inline(always)]
    unsafe fn store(numbers: __m512, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { _mm512_storeu_ps(to, numbers) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
}

impl Simd for Avx512 {
    const SIGNED_OFFSET: i32 = 128;
    type Integers = __m512i;
    type Bytes = __m512i;

    #[inline(always)]
    unsafe fn splat_integer(integer: i32) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_set1_epi32(integer) }
    }

    #[inline(always)]
    unsafe fn convert(integers: __m512i) -> __m512 {
        // SAFETY: see `splat`.
        unsafe { _mm512_cvtepi32_ps(integers) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn and(bytes: __m512i, mask: i8) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(mask)) }
    }

    #[inline(always)]
    unsafe fn with_bits(bytes: __m512i, bits: __m512i, mask: i8) -> __m512i {
        // SAFETY: see `splat`.
        unsafe { _mm512_or_si512(bytes, _mm512_and_si512(bits, _mm512_set1_epi8(mask))) }
    }

    #[inline(always)]
    unsafe fn shift(bytes: __m512i, left: i32) -> __m512i {
        // SAFETY: see `splat`.
        unsafe {
            let bits = _mm_cvtsi32_si128(left.abs());
            if left < 0 { _mm512_srl_epi16(bytes, bits) } else { _mm512_sll_epi16(bytes, bits) }
        }
    }

    by_dot_products!(
        __m512i,
        _mm512_loadu_si512,
        _mm512_and_si512,
        _mm512_srli_epi16,
        _mm512_xor_si512,
        _mm512_set1_epi8,
        _mm512_set1_epi32,
        _mm512_dpbusd_epi32
    );
}
