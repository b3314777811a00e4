//! The hot path of local models: products of quantised weights, and what stands between them. Which instructions are
//! used is found out when the program runs, so that a program built for any processor is fast on this one.
//!
//! All `unsafe` of local models is in this folder: instructions of the processor, the output that threads share, and
//! the pool of threads.
#![allow(unsafe_code, reason = "instructions of the processor have no safe form; see the comments at each use")]
#![allow(clippy::wildcard_imports, reason = "the names of instructions have a prefix of their own")]
#![allow(clippy::inline_always, reason = "only as a part of its caller is it compiled for the caller's processor")]

mod activations;
mod aligned;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
mod format;
mod math;
mod matrix;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_dot;
mod pool;
mod portable;
mod product;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "aarch64")]
use std::arch::is_aarch64_feature_detected;
use std::{marker::PhantomData, ops::Range};

pub(super) use self::{
    activations::Activations,
    attention::{Heads, PAGE, Queries, Query, attend, attention},
    format::Quantised,
    math::{add, add_row, geglu, gelu, layer_norm, rms_norm, rotate_halves, rotate_neighbours, swiglu},
    matrix::Matrix,
    pool::Pool,
};

/// The instructions that are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    /// Those every processor has.
    Portable,
    /// x86-64 with AVX2, FMA and F16C: every server and most laptops since 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 and AVX-VNNI: desktops and laptops since 2021.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// AVX-512 with VNNI: servers since 2019, and Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 64-bit ARM: every such processor.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 64-bit ARM with dot products: phones and servers since 2018, Apple silicon.
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Isa {
    /// The best this processor has.
    pub(super) fn detect() -> Self {
        Self::all().next_back().unwrap_or(Self::Portable)
    }

    /// All this processor has, the best last.
    pub(super) fn all() -> impl DoubleEndedIterator<Item = Self> {
        let all = [
            (Self::Portable, true),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx2, has_avx2()),
            #[cfg(target_arch = "x86_64")]
            (Self::AvxVnni, has_avx2() && is_x86_feature_detected!("avxvnni")),
            #[cfg(target_arch = "x86_64")]
            (Self::Avx512, has_avx2() && has_avx512()),
            #[cfg(target_arch = "aarch64")]
            (Self::Neon, is_aarch64_feature_detected!("neon")),
            #[cfg(target_arch = "aarch64")]
            (Self::NeonDot, is_aarch64_feature_detected!("neon") && is_aarch64_feature_detected!("dotprod")),
        ];
        all.into_iter().filter(|(_, there)| *there).map(|(isa, _)| isa)
    }

    fn multiply(self, matrix: &Matrix, tiles: Range<usize>, inputs: &Activations, out: &Out<'_>) {
        match self {
            Self::Portable => portable::multiply(matrix, tiles, inputs, out),
            // SAFETY: an `Isa` of this kind is made by `detect` only, where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { avx2::multiply(matrix, tiles, inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => unsafe { avx_vnni::multiply(matrix, tiles, inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { avx512::multiply(matrix, tiles, inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { neon::multiply(matrix, tiles, inputs, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot => unsafe { neon_dot::multiply(matrix, tiles, inputs, out) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vnni")
}

/// Results that threads fill together: each has places of its own.
pub(super) struct Out<'a> {
    first: *mut f32,
    rows: usize,
    cols: usize,
    of: PhantomData<&'a mut [f32]>,
}

// SAFETY: `put` is the only access, and threads call it for different places.
unsafe impl Sync for Out<'_> {}

impl<'a> Out<'a> {
    /// Rows of `cols` results each.
    pub(super) fn new(results: &'a mut [f32], cols: usize) -> Self {
        Self { first: results.as_mut_ptr(), rows: results.len() / cols.max(1), cols, of: PhantomData }
    }

    /// Where `count` results from column `col` on are written; none where the row has no room for all of them. Who writes
    /// there is bound as by [`Out::put`].
    #[inline(always)]
    fn places(&self, row: usize, col: usize, count: usize) -> Option<*mut f32> {
        assert!(row < self.rows, "a result has a place");
        // SAFETY: row and columns are inside, checked above and here.
        (col + count <= self.cols).then(|| unsafe { self.first.add(row * self.cols + col) })
    }

    /// Writes results from column `col` on; those past the last column are left out.
    ///
    /// No two threads may write the same places, nor does any caller: each gives its threads tiles, or heads of rows,
    /// of their own.
    pub(super) fn put(&self, row: usize, col: usize, results: &[f32]) {
        assert!(row < self.rows && col < self.cols, "a result has a place");
        let count = results.len().min(self.cols - col);
        // SAFETY: row and columns are inside, checked above, and nobody else reads or writes them: tiles, and heads of
        // rows, are given to one thread each.
        unsafe { std::ptr::copy_nonoverlapping(results.as_ptr(), self.first.add(row * self.cols + col), count) };
    }
}
