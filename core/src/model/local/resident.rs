//! Weights that are in memory while they are wanted: loaded by the first request that needs them, and gone after a time
//! without any, or when others need the room.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant},
};

use super::scheduler::Scheduler;
use crate::{
    error::{Error, ErrorKind, Result},
    model::LocalStatistics,
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
    members: Mutex<Vec<Weak<Resident>>>,
}

impl MemoryBudget {
    /// `bytes` for weights and what is remembered of tokens, of all models together; no limit when absent.
    pub fn new(bytes: Option<u64>) -> Self {
        Self(Arc::new(Shared { bytes, members: Mutex::default() }))
    }

    /// Runs `load`, for which `bytes` are needed, once there is room for them; one at a time.
    pub(super) fn within<T>(&self, bytes: u64, load: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some(most) = self.0.bytes else { return load() };
        self.allows(bytes)?;
        let members = lock(&self.0.members);
        make_room(&members, bytes, most)?;
        load()
    }

    /// Whether `bytes` are within it when nothing else is.
    pub(super) fn allows(&self, bytes: u64) -> Result<()> {
        let Some(most) = self.0.bytes.filter(|most| bytes > *most) else { return Ok(()) };
        let message = "the model alone is larger than memory_budget_bytes; raise it or take a smaller model";
        Err(Error::invalid(message).with("bytes", bytes).with("memory_budget_bytes", most))
    }

    fn join(&self, member: &Arc<Resident>) {
        let mut members = lock(&self.0.members);
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(member));
    }
}

/// Has models leave until `bytes` more are within `most`.
fn make_room(members: &[Weak<Resident>], bytes: u64, most: u64) -> Result<()> {
    let mut loaded: Vec<_> = members.iter().filter_map(Weak::upgrade).filter(|member| member.bytes() > 0).collect();
    loaded.sort_by_key(|member| member.lock().used);
    let mut held: u64 = loaded.iter().map(|member| member.bytes()).sum();
    for member in loaded {
        if held + bytes <= most {
            break;
        }
        let its = member.bytes();
        if member.lock().unload_unless_used_since(Instant::now()) {
            held -= its;
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
    alarm: Arc<Alarm>,
}

struct Slot {
    scheduler: Option<Arc<Scheduler>>,
    used: Instant,
    /// Whether a thread looks after it.
    watched: bool,
    /// What it takes, from the last time.
    bytes: u64,
    /// Of those that are gone.
    before: LocalStatistics,
}

impl Resident {
    /// With what is loaded already, if anything; otherwise loading takes about `bytes`. It leaves after `idle` without an
    /// answer.
    pub(super) fn new(
        first: Option<Scheduler>,
        bytes: u64,
        load: Load,
        idle: Option<Duration>,
        budget: MemoryBudget,
    ) -> Arc<Self> {
        let slot =
            Slot { scheduler: None, used: Instant::now(), watched: false, bytes, before: LocalStatistics::default() };
        let resident = Arc::new(Self {
            load,
            idle,
            budget,
            slot: Mutex::new(slot),
            loading: Mutex::default(),
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

    /// What writes, and how long this call took to load it. Blocks while it is loaded.
    ///
    /// # Errors
    /// Those of loading; `Overloaded` when there is no room for it now.
    pub(super) fn get(self: &Arc<Self>) -> Result<(Arc<Scheduler>, Option<Duration>)> {
        if let Some(loaded) = self.loaded() {
            return Ok((loaded, None));
        }
        let _one = lock(&self.loading);
        if let Some(loaded) = self.loaded() {
            return Ok((loaded, None));
        }
        let started = Instant::now();
        let (bytes, before) = {
            let slot = self.lock();
            (slot.bytes, slot.before)
        };
        let scheduler = Arc::new(self.budget.within(bytes, || (self.load)(before))?);
        self.keep(Arc::clone(&scheduler));
        Ok((scheduler, Some(started.elapsed())))
    }

    pub(super) fn statistics(&self) -> LocalStatistics {
        let slot = self.lock();
        slot.scheduler.as_ref().map_or(slot.before, |scheduler| scheduler.statistics())
    }

    fn keep(self: &Arc<Self>, scheduler: Arc<Scheduler>) {
        let mut slot = self.lock();
        slot.bytes = scheduler.statistics().weight_bytes;
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
    /// Lets the weights go, unless an answer is written, waits, or ended after `since`; says whether they are gone.
    fn unload_unless_used_since(&mut self, since: Instant) -> bool {
        let Some(scheduler) = &self.scheduler else { return true };
        // Whoever has taken it is about to hand over an answer.
        let taken = Arc::strong_count(scheduler) > 1;
        if taken || self.used > since || scheduler.idle_since().is_none_or(|ended| ended > since) {
            return false;
        }
        let held = scheduler.statistics();
        self.before = LocalStatistics { loaded: false, weight_bytes: 0, memory_bytes: 0, kept_bytes: 0, ..held };
        self.scheduler = None;
        true
    }
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
