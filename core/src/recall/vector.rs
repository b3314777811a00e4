//! Vectors as bytes, and how near they are.

use crate::{
    error::{Error, ErrorKind, Result},
    model::cosine,
};

/// Numbers in a vector at most.
const MAX_DIMENSIONS: usize = 65_536;

/// `vector` made one long.
///
/// # Errors
/// `Invalid` when it is empty, too long, zero, or holds what is not a number.
pub(super) fn unit(vector: &[f32]) -> Result<Vec<f32>> {
    if vector.is_empty() || vector.len() > MAX_DIMENSIONS {
        return Err(Error::invalid(format!("a vector has 1 to {MAX_DIMENSIONS} numbers")).with("given", vector.len()));
    }
    if !vector.iter().all(|x| x.is_finite()) {
        return Err(Error::invalid("a vector holds numbers only, neither NaN nor infinity"));
    }
    // In f64, so that neither tiny nor huge numbers vanish in their squares.
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(Error::invalid("a vector of zeros has no direction and so no meaning"));
    }
    Ok(vector.iter().map(|x| (f64::from(*x) / length) as f32).collect())
}

/// `vector` as stored.
pub(super) fn to_bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Compares stored vectors with one vector, without an allocation for each.
#[derive(Debug)]
pub(super) struct Comparer<'q> {
    query: &'q [f32],
    scratch: Vec<f32>,
}

impl<'q> Comparer<'q> {
    /// Compares with `query`, which is one long.
    pub(super) fn new(query: &'q [f32]) -> Self {
        Self { query, scratch: Vec::with_capacity(query.len()) }
    }

    /// The cosine of the query and a stored vector, -1 to 1.
    pub(super) fn cosine(&mut self, stored: &[u8]) -> Result<f32> {
        read(stored, &mut self.scratch);
        if self.scratch.len() != self.query.len() {
            return Err(Error::new(ErrorKind::Corrupt, "a stored vector has a wrong length; run `triune check`")
                .with("expected", self.query.len())
                .with("found", self.scratch.len()));
        }
        Ok(cosine(self.query, &self.scratch).clamp(-1.0, 1.0))
    }
}

/// Reads a stored vector.
pub(super) fn read(stored: &[u8], vector: &mut Vec<f32>) {
    vector.clear();
    vector.extend(stored.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_no_direction_is_refused() {
        for bad in [&[][..], &[0.0, 0.0], &[1.0, f32::NAN], &[f32::INFINITY]] {
            assert_eq!(unit(bad).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    proptest! {
        #[test]
        fn a_unit_vector_is_one_long_and_survives_storage(raw in prop::collection::vec(-1e30_f32..1e30, 1..50)) {
            prop_assume!(raw.iter().any(|x| *x != 0.0));
            let vector = unit(&raw).unwrap();
            let same = Comparer::new(&vector).cosine(&to_bytes(&vector)).unwrap();
            prop_assert!((same - 1.0).abs() < 1e-5);
            let mut back = Vec::new();
            read(&to_bytes(&vector), &mut back);
            prop_assert_eq!(back, vector);
        }
    }
}
