//! Rotary positions: how fast each pair of a head's numbers turns, and the ways in which models were stretched to longer
//! contexts. The formulas are those of `ggml_rope_ext` and `llama_context` in llama.cpp.

use std::f64::consts::TAU;

/// The rotation of some layers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rope {
    /// Radians a position, of each pair.
    speeds: Vec<f64>,
    /// What cosines and sines are multiplied with.
    magnitude: f64,
}

/// How positions are stretched.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scaling {
    None,
    /// Every speed is divided by the same number.
    Linear(f64),
    /// Slow pairs are divided, fast ones left, those between mixed (Peng et al., arXiv 2309.00071).
    Yarn {
        factor: f64,
        original_context: f64,
    },
}

impl Rope {
    /// Turns `dimensions` numbers of a head: pair `i` by its position times `base` to the power of -2i / `dimensions`,
    /// divided by its number of `factors` where there are some. `magnitude` is what the file asks for.
    pub(super) fn new(
        dimensions: usize,
        base: f64,
        factors: Option<&[f32]>,
        scaling: &Scaling,
        magnitude: f64,
    ) -> Self {
        let count = dimensions as f64;
        let pairs = (0..dimensions / 2).map(|i| {
            let factor = factors.and_then(|factors| factors.get(i)).map_or(1.0, |&factor| f64::from(factor));
            (i as f64, base.powf(-2.0 * i as f64 / count) / factor)
        });
        match *scaling {
            Scaling::None => Self { speeds: pairs.map(|(_, speed)| speed).collect(), magnitude },
            Scaling::Linear(factor) => Self { speeds: pairs.map(|(_, speed)| speed / factor).collect(), magnitude },
            Scaling::Yarn { factor, original_context } => {
                // The pair that turns so many times over the original context; 32 and 1 are what YaRN was made with.
                let turning = |times: f64| count * (original_context / (times * TAU)).ln() / (2.0 * base.ln());
                let (low, high) = (turning(32.0).floor().max(0.0), turning(1.0).ceil().min(count - 1.0));
                let speed = |(i, speed): (f64, f64)| {
                    let kept = 1.0 - ((i - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    speed / factor * (1.0 - kept) + speed * kept
                };
                Self { speeds: pairs.map(speed).collect(), magnitude: magnitude * (1.0 + 0.1 * factor.max(1.0).ln()) }
            }
        }
    }

    /// Adds the cosines and then the sines of a position to `angles`, [`Rope::dimensions`] numbers.
    pub(super) fn turn(&self, position: usize, angles: &mut Vec<f32>) {
        let turned = |speed: &f64| position as f64 * speed;
        angles.extend(self.speeds.iter().map(|speed| (turned(speed).cos() * self.magnitude) as f32));
        angles.extend(self.speeds.iter().map(|speed| (turned(speed).sin() * self.magnitude) as f32));
    }

    /// Numbers of a head that are turned.
    pub(super) fn dimensions(&self) -> usize {
        2 * self.speeds.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_what_the_formulas_say() {
        let plain = Rope::new(8, 10_000.0, None, &Scaling::None, 1.0);
        let near = |rope: &Rope, expected: [f64; 4]| {
            assert!(
                rope.speeds.iter().zip(expected).all(|(speed, expected)| (speed - expected).abs() < 1e-12),
                "{rope:?}"
            );
        };
        near(&plain, [1.0, 0.1, 0.01, 0.001]);
        near(&Rope::new(8, 10_000.0, None, &Scaling::Linear(8.0), 1.0), [0.125, 0.0125, 0.00125, 0.000_125]);
        near(&Rope::new(8, 10_000.0, Some(&[1.0, 1.0, 2.0, 8.0]), &Scaling::None, 1.0), [1.0, 0.1, 0.005, 0.000_125]);
        // Over 1000 positions pair 0 turns 159 times, pair 1 16 times, pair 2 1.6 times and pair 3 not once.
        let yarn = Rope::new(8, 10_000.0, None, &Scaling::Yarn { factor: 4.0, original_context: 1000.0 }, 1.0);
        let between = |kept: f64, speed: f64| speed / 4.0 * (1.0 - kept) + speed * kept;
        near(&yarn, [1.0, between(2.0 / 3.0, 0.1), between(1.0 / 3.0, 0.01), 0.000_25]);
        assert!((yarn.magnitude - 1.138_629_436).abs() < 1e-9);
        let mut angles = Vec::new();
        plain.turn(100, &mut angles);
        assert_eq!(angles.len(), plain.dimensions());
        assert!((angles[1] - 10.0_f32.cos()).abs() < 1e-6 && (angles[5] - 10.0_f32.sin()).abs() < 1e-6);
    }
}
