//! What weights are multiplied with: rows of numbers, also rounded to eight bits.

use super::{Isa, format::BLOCK, math::round};

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

impl Activations {
    /// Takes `values`, rows of `cols` numbers; the memory of what was there before is used again. Blocks are rounded
    /// where `cols` is a multiple of 32; only then can quantised weights be multiplied with it.
    pub(in super::super) fn set(&mut self, values: &[f32], cols: usize, isa: Isa) {
        self.set_exact(values, cols);
        if !cols.is_multiple_of(BLOCK) {
            return;
        }
        let blocks = values.len() / BLOCK;
        self.quants.resize(values.len(), 0);
        for of_blocks in [&mut self.scales, &mut self.weighted] {
            of_blocks.resize(blocks, 0.0);
        }
        for of_blocks in [&mut self.sums, &mut self.half_sums] {
            of_blocks.resize(blocks, 0);
        }
        round(isa, values, &mut self.quants, &mut self.scales, &mut self.sums, &mut self.half_sums);
        for ((weighted, scale), sum) in self.weighted.iter_mut().zip(&self.scales).zip(&self.sums) {
            *weighted = scale * *sum as f32;
        }
    }

    /// Takes `values` without rounding them: for weights that are no quants.
    pub(in super::super) fn set_exact(&mut self, values: &[f32], cols: usize) {
        (self.rows, self.cols) = (values.len() / cols, cols);
        self.values.clear();
        self.values.extend_from_slice(values);
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
