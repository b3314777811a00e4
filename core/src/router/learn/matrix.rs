//! The little linear algebra that the heads need, on flat row-major slices.

/// The sum of the products, in eight lanes that the compiler makes vector instructions of.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// As [`dot`], in double precision.
pub(super) fn dot64(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 4];
    let (left, right) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in left.zip(right) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}

/// `a += scale * b`.
pub(super) fn add_scaled(a: &mut [f64], scale: f64, b: &[f64]) {
    for (x, y) in a.iter_mut().zip(b) {
        *x += scale * y;
    }
}

/// The lower triangle `L` of `L Lᵀ = matrix`, by rows; nothing when the matrix is not positive definite.
pub(super) struct Cholesky {
    size: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    pub(super) fn of(matrix: &[f64], size: usize) -> Option<Self> {
        let mut lower = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..=row {
                let (a, b) = (row * size, column * size);
                let rest = matrix[a + column] - dot64(&lower[a..a + column], &lower[b..b + column]);
                if row == column {
                    if rest <= 0.0 || !rest.is_finite() {
                        return None;
                    }
                    lower[a + column] = rest.sqrt();
                } else {
                    lower[a + column] = rest / lower[b + column];
                }
            }
        }
        Some(Self { size, lower })
    }

    /// `L⁻¹ b`.
    pub(super) fn forward(&self, b: &[f64]) -> Vec<f64> {
        let mut x = vec![0.0; self.size];
        for row in 0..self.size {
            let line = &self.lower[row * self.size..];
            x[row] = (b[row] - dot64(&line[..row], &x[..row])) / line[row];
        }
        x
    }

    /// `(L Lᵀ)⁻¹ b`.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<f64> {
        let mut x = self.forward(b);
        for row in (0..self.size).rev() {
            x[row] /= self.lower[row * self.size + row];
            let (value, line) = (x[row], &self.lower[row * self.size..row * self.size + row]);
            add_scaled(&mut x[..row], -value, line);
        }
        x
    }

    /// `(L Lᵀ)⁻¹`.
    pub(super) fn inverse(&self) -> Vec<f64> {
        let mut inverse = vec![0.0; self.size * self.size];
        let mut unit = vec![0.0; self.size];
        for column in 0..self.size {
            unit[column] = 1.0;
            // Symmetric, so that a column is a row.
            inverse[column * self.size..(column + 1) * self.size].copy_from_slice(&self.solve(&unit));
            unit[column] = 0.0;
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_positive_definite_system_is_solved_and_another_is_refused() {
        let matrix = [4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0];
        let factor = Cholesky::of(&matrix, 3).unwrap();
        let x = factor.solve(&[1.0, 2.0, 3.0]);
        for (row, wanted) in [1.0, 2.0, 3.0].iter().enumerate() {
            assert!((dot64(&matrix[row * 3..row * 3 + 3], &x) - wanted).abs() < 1e-12);
        }
        let inverse = factor.inverse();
        assert!((dot64(&inverse[..3], &[1.0, 2.0, 3.0]) - x[0]).abs() < 1e-12);
        assert!(Cholesky::of(&[1.0, 2.0, 2.0, 1.0], 2).is_none());
    }

    #[test]
    fn products_take_all_parts_in() {
        let a: Vec<_> = (0..19).map(|i| i as f32).collect();
        assert!((dot(&a, &a) - (0..19).map(|i| (i * i) as f32).sum::<f32>()).abs() < f32::EPSILON);
    }
}
