//! Kinds of prompts that nobody named: clusters of their vectors.

use serde::{Deserialize, Serialize};

use super::{matrix::dot, packed, seed};

/// Prompts that a cluster has in the mean: fewer would say too little of a model.
const EACH: usize = 64;

/// Clusters at most.
const MOST: usize = 32;

/// Steps of Lloyd's algorithm; further ones move hardly anything.
const STEPS: usize = 12;

/// Centres of vectors that are like each other, by k-means (Lloyd 1982). The same vectors give the same centres.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Clusters {
    width: usize,
    #[serde(with = "packed::f32s")]
    centres: Vec<f32>,
    /// Half of the squared length of each centre.
    #[serde(with = "packed::f32s")]
    halves: Vec<f32>,
}

impl Clusters {
    /// Those of `vectors`, which are of one length; nothing when there are too few for two.
    pub(super) fn of(vectors: &[&[f32]]) -> Option<Self> {
        let width = vectors.first()?.len();
        let count = (vectors.len() / EACH).min(MOST);
        if count < 2 || width == 0 {
            return None;
        }
        let begin = seed::sample(vectors.len(), count);
        let mut clusters = Self::at(width, begin.iter().flat_map(|at| vectors[*at]).copied().collect());
        for _ in 0..STEPS {
            let mut sums = vec![0.0f32; clusters.centres.len()];
            let mut counts = vec![0.0f32; count];
            for vector in vectors {
                let at = clusters.nearest(vector)? as usize;
                counts[at] += 1.0;
                sums[at * width..(at + 1) * width].iter_mut().zip(*vector).for_each(|(sum, part)| *sum += part);
            }
            for (at, count) in counts.iter().enumerate() {
                let place = at * width..(at + 1) * width;
                if *count > 0.0 {
                    sums[place].iter_mut().for_each(|sum| *sum /= count);
                } else {
                    // A centre that nothing is near to stays where it is.
                    sums[place.clone()].copy_from_slice(&clusters.centres[place]);
                }
            }
            clusters = Self::at(width, sums);
        }
        Some(clusters)
    }

    fn at(width: usize, centres: Vec<f32>) -> Self {
        let halves = centres.chunks_exact(width).map(|centre| dot(centre, centre) / 2.0).collect();
        Self { width, centres, halves }
    }

    /// The cluster of `vector`; none for one of another length.
    pub(super) fn nearest(&self, vector: &[f32]) -> Option<u32> {
        if vector.len() != self.width {
            return None;
        }
        let near =
            self.centres.chunks_exact(self.width).zip(&self.halves).map(|(centre, half)| dot(centre, vector) - half);
        let best = near.enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
        u32::try_from(best.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike_is_in_one_cluster() {
        let vectors: Vec<[f32; 2]> = (0..300)
            .map(|i| {
                let (corner, noise) = (i % 2, (i % 7) as f32 * 0.01);
                if corner == 0 { [1.0 + noise, 0.0] } else { [0.0, 1.0 - noise] }
            })
            .collect();
        let vectors: Vec<&[f32]> = vectors.iter().map(<[f32; 2]>::as_slice).collect();
        let clusters = Clusters::of(&vectors).unwrap();
        let of = |at: usize| clusters.nearest(vectors[at]).unwrap();
        let (even, odd): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
            ((0..300).step_by(2).map(of).collect(), (1..300).step_by(2).map(of).collect());
        assert!(even.is_disjoint(&odd), "{even:?} {odd:?}");
        assert_eq!(clusters.nearest(&[1.0]), None);
        assert!(Clusters::of(&vectors[..EACH]).is_none(), "too few");
    }
}
