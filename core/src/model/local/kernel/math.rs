//! What stands between the products: norms, positions, gates. Plain Rust, compiled once for every processor and again
//! for those with AVX2 and FMA, AVX-512 or NEON, where the compiler makes many numbers at a time of the same lines.

use super::{Isa, format::BLOCK};

/// Defines a function twice, and calls the one for this processor. In the body, `FUSED` says whether a product and a
/// sum are one instruction.
macro_rules! for_each_processor {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $kind:ty),* $(,)?) $(-> $result:ty)? $body:block)*) => {$(
        $(#[$doc])*
        pub(in super::super) fn $name(isa: Isa, $($arg: $kind),*) $(-> $result)? {
            #[inline(always)]
            fn lines<const FUSED: bool>($($arg: $kind),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $kind),*) $(-> $result)? {
                lines::<true>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma")]
            fn avx512($($arg: $kind),*) $(-> $result)? {
                lines::<true>($($arg),*)
            }

            match isa {
                Isa::Portable => lines::<false>($($arg),*),
                // SAFETY: an `Isa` of this kind is made by `detect` only, where the processor has the instructions.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 | Isa::AvxVnni => unsafe { avx2($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => unsafe { avx512($($arg),*) },
                // Every processor the program is compiled for has these.
                #[cfg(target_arch = "aarch64")]
                Isa::Neon | Isa::NeonDot => lines::<true>($($arg),*),
            }
        }
    )*};
}

/// Numbers that are added side by side, so that the order of a sum is the same for every processor. As many as four
/// registers hold: of fewer, the compiler makes single numbers.
const LANES: usize = 32;

#[inline(always)]
fn madd<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
pub(super) fn sum(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = madd::<FUSED>(a[i], b[i], lanes[i]);
        }
    }
    sum(lanes) + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// e to the power of `x`, within two units of the last place; 0 and infinity are never reached.
///
/// Range reduction and polynomial of Cephes' `expf`.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then lies in the low bits.
    const WHOLE: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = madd::<FUSED>(x, std::f32::consts::LOG2_E, WHOLE);
    let whole = shifted - WHOLE;
    // ln 2 in two parts, so that the remainder is exact.
    let rest = madd::<FUSED>(whole, -0.693_359_4, x);
    let rest = madd::<FUSED>(whole, 2.121_944_4e-4, rest);
    let mut power = 1.987_569_2e-4;
    for factor in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        power = madd::<FUSED>(power, rest, factor);
    }
    let power = madd::<FUSED>(power, rest * rest, rest) + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(WHOLE.to_bits()).wrapping_add(127) << 23;
    power * f32::from_bits(exponent)
}

for_each_processor! {
    /// Rounds blocks of 32 numbers to eight bits, and gives the scale of each, the sum of its quants, and that of its
    /// first half.
    fn round(values: &[f32], quants: &mut [i8], scales: &mut [f32], sums: &mut [i32], half_sums: &mut [i32]) {
        /// Adding it rounds to the nearest whole number, ties to even, which then lies in the low bits.
        const WHOLE: f32 = 12_582_912.0;
        let blocks = values.as_chunks::<BLOCK>().0.iter().zip(quants.as_chunks_mut::<BLOCK>().0);
        for ((((values, quants), scale), sum), half_sum) in blocks.zip(scales).zip(sums).zip(half_sums) {
            // The magnitudes as integers: their order is the same, and the compiler may compare many at once.
            let largest = values.iter().fold(0, |largest: u32, value| largest.max(value.to_bits() & 0x7fff_ffff));
            *scale = f32::from_bits(largest) / 127.0;
            let inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
            for (quant, value) in quants.iter_mut().zip(values) {
                *quant = (value * inverse + WHOLE).to_bits().wrapping_sub(WHOLE.to_bits()) as i8;
            }
            *half_sum = quants[..BLOCK / 2].iter().map(|&quant| i32::from(quant)).sum();
            *sum = *half_sum + quants[BLOCK / 2..].iter().map(|&quant| i32::from(quant)).sum::<i32>();
        }
    }

    /// Root-mean-square norm: `x` over the root of the mean of its squares, times `weight`.
    fn rms_norm(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
        let mean = dot::<FUSED>(x, x) / x.len() as f32;
        let scale = 1.0 / (mean + epsilon).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * scale * weight;
        }
    }

    /// Layer norm: `x` less its mean, over the root of its variance, times `weight`, plus `bias`.
    fn layer_norm(x: &mut [f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let mut lanes = [0.0; LANES];
        let (chunks, rest) = x.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                lanes[i] += chunk[i];
            }
        }
        let mean = (sum(lanes) + rest.iter().sum::<f32>()) / x.len() as f32;
        for x in x.iter_mut() {
            *x -= mean;
        }
        let scale = 1.0 / (dot::<FUSED>(x, x) / x.len() as f32 + epsilon).sqrt();
        for ((x, weight), bias) in x.iter_mut().zip(weight).zip(bias) {
            *x = madd::<FUSED>(*x * scale, *weight, *bias);
        }
    }

    /// Adds `bias` to every row of `x`.
    fn add_row(x: &mut [f32], bias: &[f32]) {
        for row in x.chunks_exact_mut(bias.len()) {
            for (x, bias) in row.iter_mut().zip(bias) {
                *x += bias;
            }
        }
    }

    /// GELU by the error function, which is approximated to 1.5e-7 (Abramowitz and Stegun, 7.1.26).
    fn gelu(x: &mut [f32]) {
        for x in x.iter_mut() {
            let y = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
            let t = 1.0 / madd::<FUSED>(0.327_591_1, y, 1.0);
            let mut tail = 1.061_405_4;
            for factor in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
                tail = madd::<FUSED>(tail, t, factor);
            }
            // One less the error function of |x| over the root of 2.
            let tail = tail * t * exp::<FUSED>(-y * y);
            *x = if *x >= 0.0 { *x - 0.5 * *x * tail } else { 0.5 * *x * tail };
        }
    }

    /// Adds `more` to `x`.
    fn add(x: &mut [f32], more: &[f32]) {
        for (x, more) in x.iter_mut().zip(more) {
            *x += more;
        }
    }

    /// The gate of a SwiGLU: `gate` x sigmoid(`gate`) x `up`, left in `gate`.
    fn swiglu(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp::<FUSED>(-*gate)) * up;
        }
    }

    /// The gate of a GeGLU with the tanh form of GELU, left in `gate`.
    fn geglu(gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            let x = *gate;
            // tanh(y) = 1 - 2 / (1 + e^2y), so 0.5 (1 + tanh(y)) = 1 - 1 / (1 + e^2y).
            let double = 2.0 * 0.797_884_6 * x * madd::<FUSED>(0.044_715 * x, x, 1.0);
            *gate = (x - x / (1.0 + exp::<FUSED>(double))) * up;
        }
    }

    /// Rotates neighbours by the angles of a position: how models converted as llama are turned. `x` is a sequence of
    /// heads of twice as many numbers as there are angles.
    fn rotate_neighbours(x: &mut [f32], cos: &[f32], sin: &[f32]) {
        for head in x.chunks_exact_mut(cos.len() * 2) {
            for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                let [a, b] = *pair;
                *pair = [a * cos - b * sin, a * sin + b * cos];
            }
        }
    }

    /// The same, where a number is turned with the one half a head on.
    fn rotate_halves(x: &mut [f32], cos: &[f32], sin: &[f32]) {
        for head in x.chunks_exact_mut(cos.len() * 2) {
            let (first, second) = head.split_at_mut(cos.len());
            for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + a.abs().max(b.abs()))
    }

    /// GELU with the error function as its series (Abramowitz and Stegun, 7.1.6).
    fn gelu_of(x: f32) -> f32 {
        let y = f64::from(x) / 2.0_f64.sqrt();
        let mut term = y;
        let mut sum = y;
        for n in 1..200 {
            term *= 2.0 * y * y / (2.0 * f64::from(n) + 1.0);
            sum += term;
        }
        let error_function = 2.0 / std::f64::consts::PI.sqrt() * (-y * y).exp() * sum;
        (0.5 * f64::from(x) * (1.0 + error_function)) as f32
    }

    #[test]
    fn exp_is_near_enough() {
        for i in -8600..8700 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            for got in [exp::<false>(x), exp::<true>(x)] {
                assert!((f64::from(got) / expected - 1.0).abs() < 3e-7, "{x}: {got} {expected}");
            }
        }
        assert!(exp::<true>(-1e30) < 1e-37 && exp::<false>(f32::INFINITY).is_finite());
    }

    proptest! {
        #[test]
        fn gates_norms_and_turns_are_what_their_formulas_say(
            x in prop::collection::vec(-8f32..8.0, 24), y in prop::collection::vec(-8f32..8.0, 24), angle in 0f32..6.0
        ) {
            for isa in Isa::all() {
                let mut gate = x.clone();
                swiglu(isa, &mut gate, &y);
                for i in 0..24 {
                    prop_assert!(near(gate[i], x[i] / (1.0 + (-x[i]).exp()) * y[i]));
                }
                let mut gate = x.clone();
                geglu(isa, &mut gate, &y);
                for i in 0..24 {
                    let tanh = (0.797_884_6 * (x[i] + 0.044_715 * x[i].powi(3))).tanh();
                    prop_assert!(near(gate[i], 0.5 * x[i] * (1.0 + tanh) * y[i]));
                }
                let mut curved = x.clone();
                gelu(isa, &mut curved);
                for i in 0..24 {
                    prop_assert!((curved[i] - gelu_of(x[i])).abs() < 2e-6, "{} {} {}", x[i], curved[i], gelu_of(x[i]));
                }
                let mut normed = x.clone();
                layer_norm(isa, &mut normed, &y, &x, 1e-12);
                let mean = x.iter().sum::<f32>() / 24.0;
                let root = (x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 24.0).sqrt();
                for i in 0..24 {
                    prop_assert!(near(normed[i], (x[i] - mean) / root * y[i] + x[i]));
                }
                let mut normed = vec![0.0; 24];
                rms_norm(isa, &x, &y, 1e-5, &mut normed);
                let root = (x.iter().map(|x| x * x).sum::<f32>() / 24.0 + 1e-5).sqrt();
                for i in 0..24 {
                    prop_assert!(near(normed[i], x[i] / root * y[i]));
                }
                let (cos, sin) = ([angle.cos(); 6], [angle.sin(); 6]);
                let (mut neighbours, mut halves) = (x.clone(), x.clone());
                rotate_neighbours(isa, &mut neighbours, &cos, &sin);
                rotate_halves(isa, &mut halves, &cos, &sin);
                prop_assert!(near(halves[12 + 7], x[12 + 1] * sin[0] + x[12 + 7] * cos[0]));
                prop_assert!(near(neighbours[13], x[12] * sin[0] + x[13] * cos[0]));
            }
        }
    }
}
