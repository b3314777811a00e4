//! Spherical k-means: centroids of length 1, each vector at the one with the largest dot product (Dhillon and Modha 2001).

use rand::{RngExt, rngs::StdRng};

use super::kernel::Isa;

/// Rounds of moving the centroids: more change the lists little.
const ROUNDS: usize = 8;

/// `count` centroids of `vectors`, one after the other, of `dimensions` numbers each. `go_on` is asked before each
/// round: when it says no, there are none.
pub(super) fn centroids(
    isa: Isa,
    rng: &mut StdRng,
    vectors: &[f32],
    dimensions: usize,
    count: usize,
    go_on: impl Fn() -> bool,
) -> Option<Vec<f32>> {
    let total = vectors.len() / dimensions.max(1);
    let vector = |at: usize| &vectors[at * dimensions..(at + 1) * dimensions];
    if total == 0 {
        return Some(Vec::new());
    }
    let mut centroids: Vec<f32> = Vec::with_capacity(count * dimensions);
    for at in rand::seq::index::sample(rng, total, count.min(total)) {
        centroids.extend_from_slice(vector(at));
    }
    let mut nearest = Vec::with_capacity(total);
    for _ in 0..ROUNDS {
        if !go_on() {
            return None;
        }
        isa.assign(vectors, &centroids, dimensions, &mut nearest);
        let mut sums = vec![0.0; centroids.len()];
        let mut sizes = vec![0_usize; centroids.len() / dimensions];
        for (at, list) in nearest.iter().enumerate() {
            let list = *list as usize;
            sizes[list] += 1;
            let sum = &mut sums[list * dimensions..(list + 1) * dimensions];
            sum.iter_mut().zip(vector(at)).for_each(|(sum, x)| *sum += x);
        }
        for (sum, size) in sums.chunks_exact_mut(dimensions).zip(sizes) {
            // One that nothing is near begins anew somewhere.
            if size == 0 || !normalise(sum) {
                sum.copy_from_slice(vector(rng.random_range(0..total)));
            }
        }
        centroids = sums;
    }
    Some(centroids)
}

/// Makes `vector` one long; says whether it has a direction.
fn normalise(vector: &mut [f32]) -> bool {
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length <= 0.0 {
        return false;
    }
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn vectors_about_few_directions_are_told_apart() {
        let mut rng = StdRng::seed_from_u64(5);
        let mut vectors = Vec::new();
        for at in 0..90 {
            let mut vector = [0.0_f32; 3];
            vector[at % 3] = 1.0;
            vector[(at + 1) % 3] = rng.random::<f32>() * 0.2;
            normalise(&mut vector);
            vectors.extend(vector);
        }
        let found = (0..10).any(|seed| {
            let mut rng = StdRng::seed_from_u64(seed);
            let centroids = centroids(Isa::detect(), &mut rng, &vectors, 3, 3, || true).unwrap();
            (0..3).all(|axis| centroids.chunks(3).any(|centroid| centroid[axis] > 0.98))
        });
        assert!(found);
        assert!(centroids(Isa::detect(), &mut rng, &vectors, 3, 3, || false).is_none(), "it can be stopped");
        assert_eq!(centroids(Isa::detect(), &mut rng, &vectors[..6], 3, 5, || true).unwrap().len(), 6);
        let zeros = [0.0; 12];
        assert_eq!(centroids(Isa::detect(), &mut rng, &zeros, 3, 2, || true).unwrap().len(), 6);
    }
}
