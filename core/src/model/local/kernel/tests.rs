//! Every kernel against candle's reading of the same weights, and the fast ones against the plain one.

use candle_core::{
    Device, Tensor,
    quantized::{GgmlDType, QTensor},
};
use half::{bf16, f16};
use proptest::prelude::*;

use super::*;

const KINDS: [(Quantised, GgmlDType); 8] = [
    (Quantised::Q4_0, GgmlDType::Q4_0),
    (Quantised::Q4_1, GgmlDType::Q4_1),
    (Quantised::Q5_0, GgmlDType::Q5_0),
    (Quantised::Q5_1, GgmlDType::Q5_1),
    (Quantised::Q8_0, GgmlDType::Q8_0),
    (Quantised::Q4K, GgmlDType::Q4K),
    (Quantised::Q5K, GgmlDType::Q5K),
    (Quantised::Q6K, GgmlDType::Q6K),
];

/// Numbers without a pattern; some rows far larger than others.
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((state >> 16) as u16) / 32768.0 - 1.0
    };
    (0..count).map(|i| next() * if i / 64 % 5 == 0 { 30.0 } else { 1.0 }).collect()
}

/// A matrix, and its weights as candle reads them from the same bytes.
fn quantised(kind: (Quantised, GgmlDType), rows: usize, cols: usize, seed: u32) -> (Matrix, Vec<f32>) {
    let weights = Tensor::from_vec(noise(rows * cols, seed), (rows, cols), &Device::Cpu).unwrap();
    let packed = QTensor::quantize(&weights, kind.1).unwrap();
    let read = packed.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    (Matrix::quantised(kind.0, rows, cols, &packed.data().unwrap()), read)
}

fn product(matrix: &Matrix, inputs: &Activations, isa: Isa, threads: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; inputs.rows() * matrix.rows()];
    matrix.multiply(inputs, &mut out, isa, &mut Pool::new(threads));
    out
}

/// The product of the rounded activations with the weights, in 64 bits.
fn expected(weights: &[f32], cols: usize, inputs: &Activations, rounded: bool) -> Vec<f64> {
    let value = |at: usize| {
        if rounded {
            f64::from(inputs.quants[at]) * f64::from(inputs.scales[at / format::BLOCK])
        } else {
            f64::from(inputs.values[at])
        }
    };
    let rows = weights.chunks(cols);
    let dot = |row: usize, weights: &[f32]| {
        weights.iter().enumerate().map(|(i, w)| f64::from(*w) * value(row * cols + i)).sum::<f64>()
    };
    (0..inputs.rows()).flat_map(|row| rows.clone().map(move |weights| dot(row, weights))).collect()
}

fn assert_near(got: &[f32], expected: &[f64], what: &str) {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().map(|x| x.abs()).fold(1.0, f64::max);
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*got) - expected).abs() < 1e-5 * size, "{what} at {at}: {got} instead of {expected}");
    }
}

/// Every processor that a program for 64-bit ARM runs on has NEON: if it were not found, nothing here would test it.
#[cfg(target_arch = "aarch64")]
#[test]
fn neon_is_found() {
    assert!(Isa::all().any(|isa| isa == Isa::Neon) && Isa::detect() != Isa::Portable);
}

#[test]
fn weights_are_read_as_candle_reads_them() {
    for kind in KINDS {
        let (matrix, weights) = quantised(kind, 11, 512, 7);
        let mut row = vec![0.0; 512];
        for at in 0..11 {
            matrix.row(at, &mut row);
            for (got, expected) in row.iter().zip(&weights[at * 512..]) {
                assert!((got - expected).abs() <= 1e-6 * expected.abs(), "{:?}: {got} {expected}", kind.0);
            }
        }
    }
}

/// Those of 256 weights have scales that the file has as products of two numbers.
#[test]
fn blocks_of_32_take_as_much_as_in_the_file() {
    for kind in KINDS.iter().filter(|kind| kind.0.file_block() == format::BLOCK) {
        let (matrix, _) = quantised(*kind, 32, 96, 5);
        assert_eq!(matrix.bytes(), 32 * kind.0.row_bytes(96), "{:?}", kind.0);
    }
}

#[test]
fn products_of_all_shapes_and_threads() {
    for kind in KINDS {
        let cols = kind.0.file_block() * 2;
        for rows in [1, 7, 8, 9, 17, 40] {
            let (matrix, weights) = quantised(kind, rows, cols, rows as u32);
            for count in [1, 2, 3, 4, 5, 7, 33, 40] {
                let mut inputs = Activations::default();
                inputs.set(&noise(count * cols, 99 + count as u32), cols, Isa::detect());
                let expected = expected(&weights, cols, &inputs, true);
                for isa in Isa::all() {
                    for threads in [1, 3] {
                        let what = format!("{:?} {isa:?} {rows}x{cols}, {count} rows, {threads} threads", kind.0);
                        assert_near(&product(&matrix, &inputs, isa, threads), &expected, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn weights_that_are_no_quants() {
    let (rows, cols) = (19, 70);
    let weights = noise(rows * cols, 3);
    let halves: Vec<_> = weights.iter().map(|w| f16::from_f32(*w)).collect();
    let read: Vec<_> = halves.iter().map(|w| w.to_f32()).collect();
    // Numbers that sixteen bits of the other kind have no room for.
    let brains: Vec<_> = weights.iter().map(|w| bf16::from_f32(*w * 1e6)).collect();
    let large: Vec<_> = brains.iter().map(|w| w.to_f32()).collect();
    for (matrix, weights) in [
        (Matrix::float(rows, cols, &weights), &weights),
        (Matrix::half(rows, cols, &halves), &read),
        (Matrix::brain(rows, cols, &brains), &large),
    ] {
        let mut row = vec![0.0; cols];
        matrix.row(18, &mut row);
        assert_eq!(row, weights[18 * cols..]);
        for count in [1, 2, 6, 9, 35] {
            let mut inputs = Activations::default();
            inputs.set(&noise(count * cols, count as u32), cols, Isa::detect());
            let expected = expected(weights, cols, &inputs, false);
            for isa in Isa::all() {
                assert_near(&product(&matrix, &inputs, isa, 2), &expected, &format!("{isa:?} {count}"));
            }
        }
    }
}

/// Where every product and sum is a whole number that 32 bits hold, all give the same to the last bit.
#[test]
fn whole_numbers_are_exact() {
    for (kind, _) in KINDS {
        let (rows, cols) = (21, 512);
        let mut bytes: Vec<_> = noise(rows * cols / kind.file_block() * kind.file_bytes(), 11)
            .iter()
            .map(|number| (number * 4e3) as i32 as u8)
            .collect();
        for block in bytes.chunks_exact_mut(kind.file_bytes()) {
            for at in numbers_of(kind) {
                block[*at..*at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
            }
        }
        let matrix = Matrix::quantised(kind, rows, cols, &bytes);
        // A largest magnitude of 127 has a scale of 1.
        let values: Vec<_> = noise(9 * cols, 12).iter().map(|number| (number * 4e3).round() % 127.0).collect();
        let values: Vec<_> = values.chunks(32).flat_map(|block| [&[127.0], &block[1..]].concat()).collect();
        let mut inputs = Activations::default();
        inputs.set(&values, cols, Isa::Portable);
        assert_eq!(inputs.scales, vec![1.0; 9 * cols / format::BLOCK]);
        let plain = product(&matrix, &inputs, Isa::Portable, 1);
        for isa in Isa::all() {
            assert_eq!(product(&matrix, &inputs, isa, 1), plain, "{kind:?} {isa:?}");
        }
    }
}

/// Where the 16-bit numbers of a block of the file lie.
fn numbers_of(kind: Quantised) -> &'static [usize] {
    match kind {
        Quantised::Q4_1 | Quantised::Q5_1 | Quantised::Q4K | Quantised::Q5K => &[0, 2],
        Quantised::Q6K => &[208],
        _ => &[0],
    }
}

/// The largest quants and activations there are: no sum may leave its sixteen bits.
#[test]
fn extremes_do_not_overflow() {
    for (kind, _) in KINDS {
        let cols = kind.file_block();
        // Every bit set is the largest quant; the scales are made small numbers.
        let mut block = vec![0xff; kind.file_bytes()];
        let half = f16::from_f32(0.5).to_le_bytes();
        for &at in numbers_of(kind) {
            block[at..at + 2].copy_from_slice(&half);
        }
        for fill in [0xff_u8, 0x80, 0x7f] {
            if kind == Quantised::Q8_0 {
                block[2..].fill(fill);
            }
            let matrix = Matrix::quantised(kind, 1, cols, &block);
            let mut weights = vec![0.0; cols];
            matrix.row(0, &mut weights);
            for sign in [1.0, -1.0] {
                let mut inputs = Activations::default();
                inputs.set(&vec![sign; cols * 4], cols, Isa::detect());
                assert_eq!(inputs.quants[0], (127.0 * sign) as i8);
                let expected = expected(&weights, cols, &inputs, true);
                for isa in Isa::all() {
                    assert_near(&product(&matrix, &inputs, isa, 1), &expected, &format!("{kind:?} {isa:?} {fill}"));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_row_gives_the_same_alone_and_in_a_batch(kind in 0..8usize, rows in 1..40usize, count in 1..12usize, seed: u32) {
        let kind = KINDS[kind];
        let cols = kind.0.file_block();
        let (matrix, _) = quantised(kind, rows, cols, seed);
        let values = noise(count * cols, seed ^ 1);
        let mut inputs = Activations::default();
        inputs.set(&values, cols, Isa::detect());
        for isa in Isa::all() {
            let together = product(&matrix, &inputs, isa, 2);
            for (at, values) in values.chunks(cols).enumerate() {
                let mut alone = Activations::default();
                alone.set(values, cols, Isa::detect());
                prop_assert_eq!(&product(&matrix, &alone, isa, 1)[..], &together[at * rows..][..rows]);
            }
        }
    }
}
