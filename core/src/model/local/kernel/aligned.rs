//! Numbers that begin where a line of the processor's cache begins, so that no register is read from two lines.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

/// Bytes of a line, and of the largest register.
const LINE: usize = 64;

/// Numbers whose count never changes.
pub(super) struct Aligned<T> {
    /// Up to a line more than are used.
    numbers: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    /// So many zeros.
    pub(super) fn new(len: usize) -> Self {
        // From the system these are zeros that take no memory before they are written.
        let numbers = vec![T::default(); len + LINE / size_of::<T>()];
        // Where the system puts numbers at odd places, reading them is slower and nothing else.
        let start = numbers.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { numbers, start, len }
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.numbers[self.start..self.start + self.len]
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.numbers[self.start..self.start + self.len]
    }
}

impl<T> fmt::Debug for Aligned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aligned({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_a_line_and_has_all_places() {
        for len in [0, 1, 15, 16, 1000] {
            let mut numbers = Aligned::<f32>::new(len);
            assert!(numbers.len() == len && numbers.as_ptr().addr().is_multiple_of(LINE));
            numbers.fill(1.0);
            assert!(numbers.iter().all(|number| *number == 1.0));
        }
    }
}
