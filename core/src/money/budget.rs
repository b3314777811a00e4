//! A limit on spending in this process, shared by concurrent calls.

use std::sync::{Arc, Mutex, PoisonError};

use super::NanoUsd;
use crate::error::{Error, ErrorKind, Result};

/// A limit on spending, shared by every clone. A child budget spends from its parents too.
///
/// ```
/// use triune::{Budget, NanoUsd};
/// let budget = Budget::new(NanoUsd(100));
/// let hold = budget.reserve(NanoUsd(80))?;
/// assert!(budget.reserve(NanoUsd(30)).is_err(), "80 of 100 are held");
/// hold.settle(NanoUsd(50));
/// assert_eq!(budget.left(), NanoUsd(50));
/// # Ok::<(), triune::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Level>);

#[derive(Debug)]
struct Level {
    limit: NanoUsd,
    taken: Mutex<Taken>,
    parent: Option<Budget>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    spent: NanoUsd,
    held: NanoUsd,
}

impl Budget {
    /// A budget of `limit`.
    pub fn new(limit: NanoUsd) -> Self {
        Self(Arc::new(Level { limit, taken: Mutex::default(), parent: None }))
    }

    /// A budget of `limit` inside this one: what it spends, this one spends.
    #[must_use]
    pub fn child(&self, limit: NanoUsd) -> Self {
        Self(Arc::new(Level { limit, taken: Mutex::default(), parent: Some(self.clone()) }))
    }

    /// Holds `amount` until it is settled; dropping the hold gives it back.
    ///
    /// # Errors
    /// `OverBudget` when this budget or a parent has less than `amount` left; `Invalid` when it is negative.
    pub fn reserve(&self, amount: NanoUsd) -> Result<Hold> {
        if amount < NanoUsd::ZERO {
            return Err(Error::invalid("a reservation is never negative").during("Budget::reserve"));
        }
        let parent = self.0.parent.as_ref().map(|parent| parent.reserve(amount)).transpose()?.map(Box::new);
        let mut taken = self.taken();
        let left = self.0.limit - taken.spent - taken.held;
        if amount > left {
            return Err(Error::new(
                ErrorKind::OverBudget,
                "the budget does not cover this call; raise it or ask for less",
            )
            .during("Budget::reserve")
            .with("needed", amount)
            .with("left", left)
            .with("limit", self.0.limit));
        }
        taken.held = taken.held + amount;
        drop(taken);
        Ok(Hold { budget: self.clone(), amount, parent })
    }

    /// The limit it was made with.
    pub fn limit(&self) -> NanoUsd {
        self.0.limit
    }

    /// What was settled.
    pub fn spent(&self) -> NanoUsd {
        self.taken().spent
    }

    /// What can still be reserved here; a parent may have less.
    pub fn left(&self) -> NanoUsd {
        let taken = *self.taken();
        self.0.limit - taken.spent - taken.held
    }

    fn taken(&self) -> std::sync::MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, held: NanoUsd, spent: NanoUsd) {
        let mut taken = self.taken();
        taken.held = taken.held - held;
        taken.spent = taken.spent + spent;
    }
}

/// A reserved amount. Settle it with what was really spent; dropped, it costs nothing.
#[derive(Debug)]
#[must_use = "a hold that is dropped gives the money back"]
pub struct Hold {
    budget: Budget,
    amount: NanoUsd,
    parent: Option<Box<Hold>>,
}

impl Hold {
    /// What is held.
    pub fn amount(&self) -> NanoUsd {
        self.amount
    }

    /// Ends the hold and counts `spent`, which may be more than was held when the other side billed more.
    pub fn settle(mut self, spent: NanoUsd) {
        self.budget.release(self.amount, spent);
        self.amount = NanoUsd::ZERO;
        if let Some(parent) = self.parent.take() {
            parent.settle(spent);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.release(self.amount, NanoUsd::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_child_spends_from_its_parent() {
        let parent = Budget::new(NanoUsd(100));
        let child = parent.child(NanoUsd(1000));
        child.reserve(NanoUsd(60)).unwrap().settle(NanoUsd(60));
        assert_eq!(parent.left(), NanoUsd(40));
        let error = child.reserve(NanoUsd(41)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OverBudget);
        assert_eq!(child.left(), NanoUsd(940), "a refused reservation holds nothing");
    }

    #[test]
    fn a_hundred_threads_cannot_overspend() {
        let budget = Budget::new(NanoUsd(1_000));
        let granted: i64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| {
                    scope.spawn(|| match budget.reserve(NanoUsd(30)) {
                        Ok(hold) => {
                            hold.settle(NanoUsd(30));
                            1
                        }
                        Err(_) => 0,
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 33);
        assert_eq!(budget.spent(), NanoUsd(990));
    }

    proptest! {
        #[test]
        fn never_spends_more_than_the_limit_when_calls_cost_what_they_reserved(
            limit in 0i64..10_000, calls in prop::collection::vec((0i64..500, any::<bool>()), 0..60)
        ) {
            let budget = Budget::new(NanoUsd(limit));
            for (amount, settle) in calls {
                if let Ok(hold) = budget.reserve(NanoUsd(amount)) && settle { hold.settle(NanoUsd(amount)) }
            }
            prop_assert!(budget.spent() <= NanoUsd(limit));
            prop_assert_eq!(budget.left() + budget.spent(), NanoUsd(limit));
        }
    }
}
