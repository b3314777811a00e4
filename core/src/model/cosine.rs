//! The likeness of two vectors, by the instructions this processor has.
#![allow(unsafe_code, reason = "one call of a function for processors with AVX2, made where they are there")]

/// Numbers that are added side by side.
const LANES: usize = 32;

/// Cosine of two vectors of length 1: their dot product. The shorter length counts.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { with_avx2(a, b) };
    }
    dot(a, b, |a, b, sum| a * b + sum)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b, f32::mul_add)
}

/// Made part of its callers, of which each has other instructions.
#[inline(always)]
#[expect(clippy::inline_always, reason = "only as a part of its caller is it compiled for the caller's processor")]
fn dot(a: &[f32], b: &[f32], add: impl Fn(f32, f32, f32) -> f32) -> f32 {
    let length = a.len().min(b.len());
    let ((a, a_rest), (b, b_rest)) = (a[..length].as_chunks::<LANES>(), b[..length].as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = add(a[i], b[i], sums[i]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_lengths() {
        for length in [0, 1, 31, 32, 33, 100, 384] {
            let a: Vec<_> = (0..length).map(|i| (i as f32).sin()).collect();
            let b: Vec<_> = (0..length + 3).map(|i| (i as f32).cos()).collect();
            let expected: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            for got in [cosine(&a, &b), cosine(&b, &a), dot(&a, &b, |a, b, sum| a * b + sum)] {
                assert!((f64::from(got) - expected).abs() < 1e-4, "{length}: {got} {expected}");
            }
        }
    }
}
