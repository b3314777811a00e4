//! Money as an integer, budgets that a hundred concurrent calls cannot overspend, and the days they are for.

mod budget;
mod day;

use std::{
    fmt,
    iter::Sum,
    ops::{Add, Sub},
};

pub use budget::{Budget, Hold};
pub use day::{Day, Period};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An amount in nano-dollars: 1 USD is 1,000,000,000. Sums saturate instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// Nano-dollars in a dollar.
    pub const PER_USD: i64 = 1_000_000_000;

    /// From dollars, rounded to the nearest nano-dollar.
    ///
    /// # Errors
    /// `Invalid` when `usd` is not a finite number or its size is beyond nine billion dollars.
    pub fn from_usd(usd: f64) -> Result<Self> {
        let nano = usd * Self::PER_USD as f64;
        if !nano.is_finite() || nano.abs() >= 9.0e18 {
            return Err(Error::invalid("an amount of money is a finite number of dollars below nine billion"));
        }
        Ok(Self(nano.round() as i64))
    }

    /// In dollars, for display. Never compute with the result.
    pub fn usd(self) -> f64 {
        self.0 as f64 / Self::PER_USD as f64
    }

    /// `count` times this amount.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }
}

impl Add for NanoUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for NanoUsd {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, size) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        write!(f, "{sign}${}.{:09}", size / Self::PER_USD as u64, size % Self::PER_USD as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_round_to_the_nearest_nano_dollar() {
        assert_eq!(NanoUsd::from_usd(0.000_000_000_6).unwrap(), NanoUsd(1));
        assert_eq!(NanoUsd::from_usd(1.5).unwrap(), NanoUsd(1_500_000_000));
        assert!(NanoUsd::from_usd(f64::NAN).is_err());
        assert!(NanoUsd::from_usd(1e300).is_err());
        assert_eq!(NanoUsd(-1_500_000_001).to_string(), "-$1.500000001");
    }
}
