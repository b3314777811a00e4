//! Products with AVX2 and AVX-VNNI: eight rows at once.

use std::{arch::x86_64::*, ops::Range};

use half::{bf16, f16};

use super::{
    Activations, Matrix, Out,
    avx2::Avx2,
    format::Quantised,
    matrix::Data,
    product::{self, Floats, STRIDE, Simd, four, multiply_with},
    vnni::by_dot_products,
};

pub(super) struct AvxVnni;

multiply_with!(AvxVnni, "avx2,fma,f16c,avxvnni");

impl Floats for AvxVnni {
    const LANES: usize = Avx2::LANES;
    const FUSED: bool = true;
    type Numbers = __m256;

    #[inline(always)]
    unsafe fn splat(number: f32) -> __m256 {
        // SAFETY: as the caller promises; whoever has AVX-VNNI has AVX2. So below.
        unsafe { Avx2::splat(number) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::load(from) }
    }

    #[inline(always)]
    unsafe fn load_half(from: *const f16) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::load_half(from) }
    }

    #[inline(always)]
    unsafe fn load_brain(from: *const bf16) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::load_brain(from) }
    }

    #[inline(always)]
    unsafe fn store(numbers: __m256, to: *mut f32) {
        // SAFETY: see `splat`.
        unsafe { Avx2::store(numbers, to) }
    }

    #[inline(always)]
    unsafe fn multiply(a: __m256, b: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::multiply(a, b) }
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::multiply_add(a, b, c) }
    }
}

impl Simd for AvxVnni {
    const SIGNED_OFFSET: i32 = 128;
    type Integers = __m256i;
    type Bytes = __m256i;

    #[inline(always)]
    unsafe fn splat_integer(integer: i32) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { Avx2::splat_integer(integer) }
    }

    #[inline(always)]
    unsafe fn convert(integers: __m256i) -> __m256 {
        // SAFETY: see `splat`.
        unsafe { Avx2::convert(integers) }
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { Avx2::load_bytes(from) }
    }

    #[inline(always)]
    unsafe fn and(bytes: __m256i, mask: i8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { Avx2::and(bytes, mask) }
    }

    #[inline(always)]
    unsafe fn with_bits(bytes: __m256i, bits: __m256i, mask: i8) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { Avx2::with_bits(bytes, bits, mask) }
    }

    #[inline(always)]
    unsafe fn shift(bytes: __m256i, left: i32) -> __m256i {
        // SAFETY: see `splat`.
        unsafe { Avx2::shift(bytes, left) }
    }

    by_dot_products!(
        __m256i,
        _mm256_loadu_si256,
        _mm256_and_si256,
        _mm256_srli_epi16,
        _mm256_xor_si256,
        _mm256_set1_epi8,
        _mm256_set1_epi32,
        _mm256_dpbusd_avx_epi32
    );
}
