//! What weights are multiplied with: rows of numbers, also rounded to eight bits.

use std::sync::{Mutex, PoisonError};

use super::{Isa, Pool, format::BLOCK, math::round};

/// Rows of inputs, once as they are and once as eight-bit numbers of which every 32 share a scale.
///
/// Rounded like `q8_1` of llama.cpp: a scale is the largest magnitude of its block over 127.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Activations {
    rows: usize,
    cols: usize,
    pub(super) values: Vec<f32>,
    pub(super) quants: Vec<i8>,
    /// One a block.
    pub(super) scales: Vec<f32>,
    /// The sum of the quants of each block, and of its first half.
    pub(super) sums: Vec<i32>,
    pub(super) half_sums: Vec<i32>,
    /// The sum times the scale of each block: what a stored zero is multiplied with.
    pub(super) weighted: Vec<f32>,
}

/// Some rows, and what is kept of them.
struct Rows<'a> {
    values: &'a mut [f32],
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    weighted: &'a mut [f32],
    sums: &'a mut [i32],
    half_sums: &'a mut [i32],
}

impl Rows<'_> {
    fn make(&mut self, first: usize, cols: usize, make: impl Fn(usize, &mut [f32])) {
        for (row, numbers) in self.values.chunks_exact_mut(cols).enumerate() {
            make(first + row, numbers);
        }
    }

    fn round(&mut self, isa: Isa) {
        round(isa, self.values, self.quants, self.scales, self.sums, self.half_sums);
        for ((weighted, scale), sum) in self.weighted.iter_mut().zip(&*self.scales).zip(&*self.sums) {
            *weighted = scale * *sum as f32;
        }
    }
}

impl Activations {
    /// Takes `values`, rows of `cols` numbers; the memory of what was there before is used again. Blocks are rounded
    /// where `cols` is a multiple of 32; only then can quantised weights be multiplied with it.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "decoders write their rows in place; this is for rows that are there")
    )]
    pub(in super::super) fn set(&mut self, values: &[f32], cols: usize, isa: Isa) {
        self.set_exact(values, cols);
        self.make_room();
        self.parts(self.rows).for_each(|(_, mut part)| part.round(isa));
    }

    /// Takes `rows` rows of `cols` numbers that `make` writes, each given its number and its place, and rounds them as
    /// [`Activations::set`] does. The threads of the pool share the rows. Where there were as many numbers before, the
    /// places hold them.
    pub(in super::super) fn fill(
        &mut self,
        rows: usize,
        cols: usize,
        isa: Isa,
        pool: &mut Pool,
        make: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.room(rows, cols);
        self.make_room();
        self.make(pool, |first, part| {
            part.make(first, cols, &make);
            part.round(isa);
        });
    }

    /// The same without rounding them: for weights that are no quants.
    pub(in super::super) fn fill_exact(
        &mut self,
        rows: usize,
        cols: usize,
        pool: &mut Pool,
        make: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        self.room(rows, cols);
        self.make(pool, |first, part| part.make(first, cols, &make));
    }

    /// The places of `rows` rows of `cols` numbers, which hold anything: once they are written, one of the functions that
    /// fill them makes them ready.
    pub(in super::super) fn room(&mut self, rows: usize, cols: usize) -> &mut [f32] {
        (self.rows, self.cols) = (rows, cols);
        self.values.resize(rows * cols, 0.0);
        &mut self.values
    }

    /// Has the threads of the pool do `part`, given the number of its first row, to all rows.
    fn make(&mut self, pool: &mut Pool, part: impl Fn(usize, &mut Rows<'_>) + Sync) {
        // Few numbers are not worth waking a thread.
        let each = self.rows.div_ceil(pool.threads() * 2).max((1 << 12) / self.cols);
        if pool.threads() == 1 || self.rows <= each {
            // So few at once that they are near when they are rounded.
            return self.parts(each.min(16)).for_each(|(first, mut rows)| part(first, &mut rows));
        }
        let parts: Vec<_> = self.parts(each).map(|part| Mutex::new(Some(part))).collect();
        pool.run(parts.len(), &|at| {
            let rows = parts[at].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((first, mut rows)) = rows {
                part(first, &mut rows);
            }
        });
    }

    /// Makes room for the rounded numbers, where they are in whole blocks.
    fn make_room(&mut self) {
        let whole = self.cols.is_multiple_of(BLOCK);
        let blocks = if whole { self.values.len() / BLOCK } else { 0 };
        self.quants.resize(blocks * BLOCK, 0);
        for of_blocks in [&mut self.scales, &mut self.weighted] {
            of_blocks.resize(blocks, 0.0);
        }
        for of_blocks in [&mut self.sums, &mut self.half_sums] {
            of_blocks.resize(blocks, 0);
        }
    }

    /// The rows, `each` at a time, with the number of the first.
    fn parts(&mut self, each: usize) -> impl Iterator<Item = (usize, Rows<'_>)> {
        let each = each.max(1);
        let (numbers, blocks) = (each * self.cols, (each * self.blocks()).max(1));
        // Where nothing is rounded, there are no blocks to go with the numbers.
        let mut quants = self.quants.chunks_mut(numbers);
        let mut scales = self.scales.chunks_mut(blocks).zip(self.weighted.chunks_mut(blocks));
        let mut sums = self.sums.chunks_mut(blocks).zip(self.half_sums.chunks_mut(blocks));
        self.values.chunks_mut(numbers).enumerate().map(move |(at, values)| {
            let (scales, weighted) = scales.next().unwrap_or_default();
            let (sums, half_sums) = sums.next().unwrap_or_default();
            let quants = quants.next().unwrap_or_default();
            (at * each, Rows { values, quants, scales, weighted, sums, half_sums })
        })
    }

    /// Takes `values` without rounding them: for weights that are no quants.
    pub(in super::super) fn set_exact(&mut self, values: &[f32], cols: usize) {
        (self.rows, self.cols) = (values.len() / cols, cols);
        self.values.clear();
        self.values.extend_from_slice(values);
    }

    /// The numbers as they are.
    pub(in super::super) fn into_values(self) -> Vec<f32> {
        self.values
    }

    pub(in super::super) fn rows(&self) -> usize {
        self.rows
    }

    pub(in super::super) fn cols(&self) -> usize {
        self.cols
    }

    /// Blocks of one row.
    pub(super) fn blocks(&self) -> usize {
        self.cols / BLOCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_and_sizes() {
        let mut activations = Activations::default();
        activations.set(&[0.0; 64], 32, Isa::detect());
        assert_eq!((activations.rows(), activations.cols(), activations.blocks()), (2, 32, 1));
        assert!(activations.quants.iter().all(|&quant| quant == 0) && activations.scales == [0.0; 2]);
        activations.set(&[1.0; 6], 3, Isa::Portable);
        assert_eq!((activations.rows(), activations.values.len()), (2, 6));
    }

    #[test]
    fn rows_made_by_threads_are_the_same() {
        for (rows, cols) in [(1, 64), (3, 32), (70, 96), (300, 33)] {
            let values: Vec<_> = (0..rows * cols).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let (mut one, mut other) = (Activations::default(), Activations::default());
            one.set(&values, cols, Isa::Portable);
            for threads in [1, 3] {
                let make = |row: usize, numbers: &mut [f32]| numbers.copy_from_slice(&values[row * cols..][..cols]);
                other.fill(rows, cols, Isa::Portable, &mut Pool::new(threads), make);
                let (one, other) = (format!("{one:?}"), format!("{other:?}"));
                assert_eq!(one, other, "{rows} x {cols}, {threads} threads");
            }
        }
    }

    #[test]
    fn rows_are_made_ready_where_they_lie() {
        for (rows, cols) in [(1, 64), (3, 32), (70, 96), (300, 33)] {
            let values: Vec<_> = (0..rows * cols).map(|i| (i * 37 % 101) as f32 - 50.0).collect();
            let doubled: Vec<_> = values.iter().map(|number| number * 2.0).collect();
            for threads in [1, 3] {
                let (mut wanted, mut found, mut pool) =
                    (Activations::default(), Activations::default(), Pool::new(threads));
                let double = |_: usize, numbers: &mut [f32]| numbers.iter_mut().for_each(|number| *number *= 2.0);
                found.room(rows, cols).copy_from_slice(&values);
                found.fill_exact(rows, cols, &mut pool, double);
                assert!(found.quants.is_empty() && found.values == doubled, "{rows} x {cols}, {threads} threads");
                found.room(rows, cols).copy_from_slice(&values);
                found.fill(rows, cols, Isa::detect(), &mut pool, double);
                wanted.set(&doubled, cols, Isa::detect());
                assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "{rows} x {cols}, {threads} threads");
                assert_eq!(found.into_values(), doubled);
            }
        }
    }

    proptest! {
        #[test]
        fn a_rounded_number_is_within_half_a_step(values in prop::collection::vec(-1e4f32..1e4, 64)) {
            let (mut activations, mut other) = (Activations::default(), Activations::default());
            activations.set(&values, 64, Isa::Portable);
            other.set(&values, 64, Isa::detect());
            prop_assert_eq!((&activations.quants, &activations.sums), (&other.quants, &other.sums));
            for (i, value) in values.iter().enumerate() {
                let (quant, scale) = (activations.quants[i], activations.scales[i / BLOCK]);
                prop_assert!((f32::from(quant) * scale - value).abs() <= scale * 0.5001, "{value} {quant} {scale}");
                prop_assert!((-127..=127).contains(&quant));
            }
            for block in 0..2 {
                let sum: i32 = activations.quants[block * BLOCK..][..BLOCK].iter().map(|&q| i32::from(q)).sum();
                prop_assert_eq!(sum, activations.sums[block]);
                prop_assert!((sum as f32 * activations.scales[block] - activations.weighted[block]).abs() < 1e-3);
            }
        }
    }
}
