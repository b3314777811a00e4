//! Weights that are in memory while they are wanted: loaded by the first request that needs them, and gone after a time
//! without any, or when others need the room.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex as AsyncMutex;

use super::scheduler::Scheduler;
use crate::{
    error::{Error, ErrorKind, Result},
    model::LocalStatistics,
    runtime::blocking,
};

/// Makes what writes, which goes on with the counts that are given.
type Load = Box<dyn Fn(LocalStatistics) -> Result<Scheduler> + Send + Sync>;

/// Memory that several local models share: where one lacks room to be loaded, others that write nothing leave, the
/// longest unused first. They are loaded again by their next request. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct MemoryBudget(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// None for no limit.
    bytes: Option<u64>,
    /// Bytes of weights and of what is remembered.
    held: AtomicU64,
    members: Mutex<Vec<Weak<Resident>>>,
    /// Held while a model is loaded, until its bytes are those of a member: two at once would find the same room.
    loading: Mutex<()>,
}

impl MemoryBudget {
    /// `bytes` for weights and what is remembered of tokens, of all models together; no limit when absent.
    pub fn new(bytes: Option<u64>) -> Self {
        Self(Arc::new(Shared { bytes, ..Shared::default() }))
    }

    /// Runs `load`, which needs `bytes` and keeps them in a member, once there is room for them; one at a time.
    pub(super) fn within<T>(&self, bytes: u64, load: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(most) = self.0.bytes else { return load() };
        self.allows(bytes)?;
        let _one = lock(&self.0.loading);
        make_room(&lock(&self.0.members), bytes, most)?;
        load()
    }

    /// Whether `bytes` are within it when nothing else is.
    pub(super) fn allows(&self, bytes: u64) -> Result<()> {
        let Some(most) = self.0.bytes.filter(|most| bytes > *most) else { return Ok(()) };
        let message = "the model alone is larger than memory_budget_bytes; raise it or take a smaller model";
        Err(Error::invalid(message).with("bytes", bytes).with("memory_budget_bytes", most))
    }

    /// Bytes that are left of it.
    pub(super) fn left(&self) -> u64 {
        self.0.bytes.map_or(u64::MAX, |most| most.saturating_sub(self.0.held.load(Ordering::Relaxed)))
    }

    pub(super) fn take(&self, bytes: u64) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give(&self, bytes: u64) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `bytes` until what is returned is dropped.
    pub(super) fn hold(&self, bytes: u64) -> Held {
        self.take(bytes);
        Held { budget: self.clone(), bytes }
    }

    /// Has models that write nothing forget what they remember.
    pub(super) fn have_idle_forget(&self) {
        let members: Vec<_> = lock(&self.0.members).iter().filter_map(Weak::upgrade).collect();
        for member in members {
            member.lock().forget_if_idle();
        }
    }

    fn join(&self, member: &Arc<Resident>) {
        let mut members = lock(&self.0.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(member));
    }
}

/// Bytes of a budget that are taken.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) budget: MemoryBudget,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

/// Has models leave until `bytes` more are within `most`; none where those that may leave are not enough.
fn make_room(members: &[Weak<Resident>], bytes: u64, most: u64) -> Result<()> {
    let members: Vec<_> = members.iter().filter_map(Weak::upgrade).collect();
    let now = Instant::now();
    let mut loaded = Vec::new();
    for member in &members {
        let used = member.lock().idle_since(now);
        loaded.push((used, member.bytes(), member));
    }
    let mut held: u64 = loaded.iter().map(|(_, its, _)| its).sum();
    let idle: u64 = loaded.iter().filter(|(used, ..)| used.is_some()).map(|(_, its, _)| its).sum();
    if held - idle + bytes <= most {
        loaded.sort_by_key(|(used, ..)| *used);
        // What is remembered is read again sooner than weights are.
        for (used, its, member) in &mut loaded {
            if held + bytes > most && used.is_some() {
                let forgotten = member.lock().forget_if_idle();
                held = held.saturating_sub(forgotten);
                *its = its.saturating_sub(forgotten);
            }
        }
        for (_, its, member) in loaded.into_iter().filter(|(used, its, _)| used.is_some() && *its > 0) {
            if held + bytes <= most {
                break;
            }
            if member.lock().unload_unless_used_since(Instant::now()) {
                held = held.saturating_sub(its);
            }
        }
    }
    if held + bytes <= most {
        return Ok(());
    }
    let message = "other local models are at work and leave no room in memory_budget_bytes; ask again later";
    Err(Error::new(ErrorKind::Overloaded, message).with("retry_after_ms", 1000))
}

/// What writes, and how to have it again.
pub(super) struct Resident {
    load: Load,
    idle: Option<Duration>,
    budget: MemoryBudget,
    slot: Mutex<Slot>,
    /// Held while loading, which takes time that no one else should wait for.
    loading: Mutex<()>,
    /// The same for those that wait without a thread.
    gate: Arc<AsyncMutex<()>>,
    alarm: Arc<Alarm>,
}

struct Slot {
    scheduler: Option<Arc<Scheduler>>,
    used: Instant,
    /// Whether a thread looks after it.
    watched: bool,
    /// What its weights take in memory.
    bytes: u64,
    /// Of those that are gone.
    before: LocalStatistics,
    /// How often loading failed, and why it did the last time.
    failed: (u64, Option<Error>),
}

impl Resident {
    /// With what is loaded already, if anything; its weights take `bytes`. It leaves after `idle` without an answer.
    pub(super) fn new(
        first: Option<Scheduler>,
        bytes: u64,
        load: Load,
        idle: Option<Duration>,
        budget: MemoryBudget,
    ) -> Arc<Self> {
        let slot = Slot {
            scheduler: None,
            used: Instant::now(),
            watched: false,
            bytes,
            before: LocalStatistics::default(),
            failed: (0, None),
        };
        let resident = Arc::new(Self {
            load,
            idle,
            budget,
            slot: Mutex::new(slot),
            loading: Mutex::default(),
            gate: Arc::default(),
            alarm: Arc::default(),
        });
        resident.budget.join(&resident);
        if let Some(first) = first {
            resident.keep(Arc::new(first));
        }
        resident
    }

    /// What writes, when it is in memory.
    pub(super) fn loaded(&self) -> Option<Arc<Scheduler>> {
        let mut slot = self.lock();
        slot.used = Instant::now();
        slot.scheduler.clone()
    }

    /// What writes, and how long this call took to load it. Blocks while it is loaded; those that wait for the same load
    /// share what comes of it.
    ///
    /// # Errors
    /// Those of loading; `Overloaded` when there is no room for it now.
    pub(super) fn get(self: &Arc<Self>) -> Result<(Arc<Scheduler>, Option<Duration>)> {
        self.get_after(self.failures())
    }

    /// The same, waiting without a thread while another call loads it. Where this one does, `tell` is told how long it
    /// took. The load goes on when this future is dropped.
    ///
    /// # Errors
    /// As for [`Resident::get`].
    pub(super) async fn wait(self: &Arc<Self>, tell: impl FnOnce(Duration) + Send + 'static) -> Result<Arc<Scheduler>> {
        let failures = self.failures();
        let gate = Arc::clone(&self.gate).lock_owned().await;
        if let Some(outcome) = self.outcome_since(failures) {
            return outcome;
        }
        let resident = Arc::clone(self);
        let load = move || {
            let _gate = gate;
            let (scheduler, took) = resident.get_after(failures)?;
            if let Some(took) = took {
                tell(took);
            }
            Ok(scheduler)
        };
        blocking(load).await
    }

    fn failures(&self) -> u64 {
        self.lock().failed.0
    }

    /// What there is for one who came when so many loads had failed; none when it must be loaded.
    fn outcome_since(&self, failures: u64) -> Option<Result<Arc<Scheduler>>> {
        if let Some(loaded) = self.loaded() {
            return Some(Ok(loaded));
        }
        let slot = self.lock();
        slot.failed.1.as_ref().filter(|_| slot.failed.0 > failures).map(|error| Err(same(error)))
    }

    fn get_after(self: &Arc<Self>, failures: u64) -> Result<(Arc<Scheduler>, Option<Duration>)> {
        if let Some(loaded) = self.loaded() {
            return Ok((loaded, None));
        }
        let _one = lock(&self.loading);
        if let Some(outcome) = self.outcome_since(failures) {
            return Ok((outcome?, None));
        }
        let started = Instant::now();
        let (bytes, before) = {
            let slot = self.lock();
            (slot.bytes, slot.before)
        };
        let load = || {
            let scheduler = Arc::new((self.load)(before)?);
            self.keep(Arc::clone(&scheduler));
            Ok(scheduler)
        };
        match self.budget.within(bytes, load) {
            Ok(scheduler) => Ok((scheduler, Some(started.elapsed()))),
            Err(error) => {
                let mut slot = self.lock();
                slot.failed = (slot.failed.0 + 1, Some(same(&error)));
                Err(error)
            }
        }
    }

    pub(super) fn statistics(&self) -> LocalStatistics {
        let slot = self.lock();
        slot.scheduler.as_ref().map_or(slot.before, |scheduler| scheduler.statistics())
    }

    fn keep(self: &Arc<Self>, scheduler: Arc<Scheduler>) {
        let mut slot = self.lock();
        (slot.scheduler, slot.used) = (Some(scheduler), Instant::now());
        if let Some(idle) = self.idle
            && !slot.watched
        {
            let (resident, alarm) = (Arc::downgrade(self), Arc::clone(&self.alarm));
            let watch = move || watch(&resident, &alarm, idle);
            // Without the thread the model stays, which is no error.
            slot.watched = std::thread::Builder::new().name("triune-idle".into()).spawn(watch).is_ok();
        }
    }

    /// Bytes it holds now.
    fn bytes(&self) -> u64 {
        let statistics = self.statistics();
        statistics.weight_bytes + statistics.memory_bytes
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        lock(&self.slot)
    }
}

impl Slot {
    /// Since when nothing was asked of it, where it may leave `now`.
    fn idle_since(&self, now: Instant) -> Option<Instant> {
        let Some(scheduler) = &self.scheduler else { return Some(self.used) };
        // Whoever has taken it is about to hand over an answer.
        let taken = Arc::strong_count(scheduler) > 1;
        let ended = scheduler.idle_since().filter(|_| !taken)?;
        Some(self.used.max(ended)).filter(|used| *used <= now)
    }

    /// Has it forget what it remembers, unless it writes; says how many bytes.
    fn forget_if_idle(&self) -> u64 {
        let idle = self.scheduler.as_ref().filter(|scheduler| scheduler.idle_since().is_some());
        idle.map_or(0, |scheduler| scheduler.forget())
    }

    /// Lets the weights go, unless an answer is written, waits, or ended after `since`; says whether they are gone.
    fn unload_unless_used_since(&mut self, since: Instant) -> bool {
        let Some(scheduler) = &self.scheduler else { return true };
        if self.idle_since(since).is_none() {
            return false;
        }
        let held = scheduler.statistics();
        self.before = LocalStatistics { loaded: false, weight_bytes: 0, memory_bytes: 0, kept_bytes: 0, ..held };
        self.scheduler = None;
        true
    }
}

/// The same error for another who waited for the same.
fn same(error: &Error) -> Error {
    let copy = Error::new(error.kind(), error.message()).retryable(error.is_retryable()).during(error.operation());
    error.context().iter().fold(copy, |copy, (name, value)| copy.with(name, value))
}

impl fmt::Debug for Resident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resident").field("idle", &self.idle).finish_non_exhaustive()
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        *lock(&self.alarm.over) = true;
        self.alarm.ring.notify_all();
    }
}

/// Wakes those who watch when the model is dropped.
#[derive(Debug, Default)]
struct Alarm {
    over: Mutex<bool>,
    ring: Condvar,
}

/// Lets the weights of `resident` go after `idle` without an answer.
fn watch(resident: &Weak<Resident>, alarm: &Alarm, idle: Duration) {
    let mut pause = idle;
    loop {
        let over = lock(&alarm.over);
        let waited = alarm.ring.wait_timeout_while(over, pause, |over| !*over);
        if *waited.unwrap_or_else(PoisonError::into_inner).0 {
            return;
        }
        let (Some(resident), Some(since)) = (resident.upgrade(), Instant::now().checked_sub(idle)) else { return };
        let mut slot = resident.lock();
        if slot.unload_unless_used_since(since) {
            slot.watched = false;
            return;
        }
        // As long as is left of the time since it was last used, or until it may have ended.
        let used = slot.used.max(since);
        drop(slot);
        pause = (used + idle).saturating_duration_since(Instant::now()).max(idle / 8).max(Duration::from_millis(10));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "resident_tests.rs"]
mod tests;
