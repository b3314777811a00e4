//! Dot products with `vpdpbusd`: an instruction that multiplies four unsigned quants with four activations and adds all
//! of them to 32 bits.

/// The dot products of a [`Simd`](super::product::Simd), of the instructions for registers of one size.
macro_rules! by_dot_products {
    ($integers:ty, $load:ident, $and:ident, $shift:ident, $xor:ident, $splat8:ident, $splat32:ident, $dot:ident) => {
        #[inline(always)]
        unsafe fn add_nibbles<const T: usize, const M: usize>(
            dots: &mut [[$integers; M]; T],
            weights: [*const u8; T],
            quants: [*const i8; M],
        ) {
            // SAFETY: as the caller promises; a block has four groups of bytes, and eight of activations.
            unsafe {
                let low = $splat8(15);
                for group in 0..4 {
                    for t in 0..T {
                        let both = $load(weights[t].add(group * STRIDE).cast());
                        let (first, second) = ($and(both, low), $and($shift::<4>(both), low));
                        for m in 0..M {
                            dots[t][m] = $dot(dots[t][m], first, $splat32(four(quants[m], group)));
                            dots[t][m] = $dot(dots[t][m], second, $splat32(four(quants[m], group + 4)));
                        }
                    }
                }
            }
        }

        #[inline(always)]
        unsafe fn add_half<const T: usize, const M: usize, const DEEP: usize>(
            dots: &mut [[$integers; M]; T],
            weights: [[$integers; 4]; T],
            quants: [*const i8; M],
        ) {
            for group in 0..4 {
                for t in 0..T {
                    for m in 0..M {
                        // SAFETY: as the caller promises.
                        unsafe {
                            dots[t][m] = $dot(dots[t][m], weights[t][group], $splat32(four(quants[m], group)));
                        }
                    }
                }
            }
        }

        /// With its sign bit turned a weight is 128 more.
        #[inline(always)]
        unsafe fn add_signed<const T: usize, const M: usize>(
            dots: &mut [[$integers; M]; T],
            weights: [*const u8; T],
            quants: [*const i8; M],
        ) {
            // SAFETY: as the caller promises; a block has eight groups.
            unsafe {
                let sign = $splat8(-128);
                for group in 0..8 {
                    for t in 0..T {
                        let weights = $xor($load(weights[t].add(group * STRIDE).cast()), sign);
                        for m in 0..M {
                            dots[t][m] = $dot(dots[t][m], weights, $splat32(four(quants[m], group)));
                        }
                    }
                }
            }
        }
    };
}
pub(super) use by_dot_products;
