//! What the runtime gives a call, as opposed to what the caller asks for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{Error, ErrorKind, Result},
    money::{Budget, NanoUsd},
    monitor::{Event, EventKind, EventSink},
    store::Unit,
};

/// Which of the calls that wait for the same model in this process goes first. Among equal ones the earliest deadline
/// does, then the first that came. Who waits for 10 seconds counts as one priority higher, and so on for each 10 seconds
/// more: every call has its turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person waits for it.
    Interactive,
    /// As most calls.
    #[default]
    Normal,
    /// It may take its time: others go first, and it makes way for them when they lack room.
    Background,
}

/// Cancellation, deadline, priority, tenant, budget, trace and events of one call. Handed down through every call; cheap to
/// clone. A child context can only be narrower than its parent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Context {
    /// Cancelled when the caller no longer wants the result; work stops at its next step (a generation: at the next
    /// token).
    pub cancel: CancellationToken,
    /// When the call must have ended; none for no limit.
    pub deadline: Option<Instant>,
    /// Whether it goes before others where calls wait for the same thing.
    pub priority: Priority,
    /// Who the call is for; empty for none. Memories, caches, budgets and ledgers keep tenants apart.
    pub tenant: Arc<str>,
    /// What the call may spend; none for no limit.
    pub budget: Option<Budget>,
    /// Identifies the call in events and logs.
    pub trace: Arc<str>,
    /// Sees what happens in the call.
    pub events: Arc<dyn EventSink>,
    /// Writes that wait for the task they belong to, so that both become visible in one commit.
    pub unit: Option<Unit>,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context without limits, with a fresh trace.
    pub fn new() -> Self {
        Self {
            cancel: CancellationToken::new(),
            deadline: None,
            priority: Priority::default(),
            tenant: Arc::from(""),
            budget: None,
            trace: Arc::from(uuid::Uuid::now_v7().simple().to_string()),
            events: Arc::new(()),
            unit: None,
        }
    }

    /// The same call, one step down: cancelled with this one, or on its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { cancel: self.cancel.child_token(), ..self.clone() }
    }

    /// Ends after `time` from now, or at the deadline it already has when that is earlier.
    #[must_use]
    pub fn within(mut self, time: Duration) -> Self {
        let end = Instant::now().checked_add(time);
        self.deadline = match (self.deadline, end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self
    }

    /// Goes before others, or after them.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Spends from `budget`.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Spends at most `limit`, and that from the budget it already has, if any.
    #[must_use]
    pub fn at_most(self, limit: NanoUsd) -> Self {
        let budget = self.budget.as_ref().map_or_else(|| Budget::new(limit), |outer| outer.child(limit));
        self.budget(budget)
    }

    /// For `tenant`.
    #[must_use]
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Arc::from(tenant);
        self
    }

    /// Watched by `events`.
    #[must_use]
    pub fn events(mut self, events: Arc<dyn EventSink>) -> Self {
        self.events = events;
        self
    }

    /// Writes of this call wait for `unit`.
    #[must_use]
    pub fn unit(mut self, unit: Option<Unit>) -> Self {
        self.unit = unit;
        self
    }

    /// Tells whoever watches.
    pub fn emit(&self, kind: EventKind) {
        self.events.emit(&Event::now(self.trace.clone(), self.tenant.clone(), kind));
    }

    /// Time left until the deadline; none without one.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// To be called between two steps of work that does not await.
    ///
    /// # Errors
    /// `Cancelled` or `Timeout` when the work must stop.
    pub fn check(&self) -> Result<()> {
        if self.cancel.is_cancelled() {
            return Err(cancelled());
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(timed_out()),
            _ => Ok(()),
        }
    }

    /// Runs `work` until it ends, the caller cancels or the deadline passes. Dropping the future must stop the work.
    ///
    /// # Errors
    /// `Cancelled`, `Timeout`, or what the work returns.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(cancelled()),
            () = deadline => Err(timed_out()),
            result = work => result,
        }
    }

    /// Waits for `time`, unless the call must stop before.
    ///
    /// # Errors
    /// `Cancelled` or `Timeout`.
    pub async fn sleep(&self, time: Duration) -> Result<()> {
        self.run(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the caller cancelled the call")
}

fn timed_out() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline of the call passed; give it more time or ask for less")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_wins() {
        let cx = Context::new().within(Duration::from_secs(1)).within(Duration::from_mins(1));
        assert!(cx.time_left().unwrap() <= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn cancelling_a_parent_stops_a_child_but_not_the_other_way() {
        let parent = Context::new();
        let (one, two) = (parent.child(), parent.child());
        one.cancel.cancel();
        assert!(one.check().is_err() && two.check().is_ok() && parent.check().is_ok());
        parent.cancel.cancel();
        assert_eq!(two.run(std::future::pending::<Result<()>>()).await.unwrap_err().kind(), ErrorKind::Cancelled);
    }

    #[test]
    fn a_limit_of_its_own_does_not_widen_the_budget_of_the_caller() {
        let outer = Context::new().at_most(NanoUsd(10));
        let inner = outer.child().at_most(NanoUsd(1_000)).budget.unwrap();
        assert!(inner.reserve(NanoUsd(11)).is_err());
        inner.reserve(NanoUsd(10)).unwrap().settle(NanoUsd(10));
        assert_eq!(outer.budget.unwrap().left(), NanoUsd::ZERO);
    }

    #[tokio::test]
    async fn a_passed_deadline_ends_the_wait() {
        let cx = Context::new().within(Duration::from_millis(5));
        assert_eq!(cx.run(std::future::pending::<Result<()>>()).await.unwrap_err().kind(), ErrorKind::Timeout);
    }
}
