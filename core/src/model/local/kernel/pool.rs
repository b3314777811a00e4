//! Threads that compute one product together, and sleep when there is none.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

/// Looks for work this often before a thread sleeps: some ten microseconds, about the time between two products.
const LOOKS: usize = 2_000;

/// A pool of threads. The caller of [`Pool::run`] is one of them; the others look for work for some microseconds after
/// each piece and then sleep, so an idle pool uses no processor.
pub(in super::super) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Grows by one with each job.
    job: AtomicUsize,
    /// What is to be done; read by helpers only while `job` is the one they have seen and `busy` counts them.
    work: Mutex<Option<Work>>,
    next: AtomicUsize,
    /// Helpers that have not yet ended the present job.
    busy: AtomicUsize,
    failed: AtomicBool,
    stop: AtomicBool,
    asleep: Mutex<usize>,
    wake: Condvar,
}

/// Work of one job.
#[derive(Clone, Copy)]
struct Work {
    parts: usize,
    /// Lives until [`Pool::run`] returns, which waits for every helper.
    part: &'static (dyn Fn(usize) + Sync),
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads, the caller among them. Where the system gives fewer, it has fewer.
    pub(in super::super) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let helper = |at: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("triune-model-{at}")).spawn(move || shared.help()).ok()
        };
        let helpers = (1..threads).map_while(helper).collect();
        Self { shared, helpers }
    }

    pub(in super::super) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Does `part` for every number below `parts`, in any order and by any thread, and returns when all are done.
    ///
    /// # Panics
    /// When a part did.
    pub(in super::super) fn run(&mut self, parts: usize, part: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.helpers.is_empty() {
            return (0..parts).for_each(part);
        }
        // SAFETY: only the lifetime changes. Helpers use it between the growth of `job` below and their leaving `busy`,
        // and this function returns, also by a panic of `part`, after `busy` is zero.
        let part: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(part) };
        let shared = &*self.shared;
        *lock(&shared.work) = Some(Work { parts, part });
        shared.next.store(0, Ordering::Relaxed);
        shared.busy.store(self.helpers.len(), Ordering::Relaxed);
        shared.job.fetch_add(1, Ordering::SeqCst);
        if *lock(&shared.asleep) > 0 {
            shared.wake.notify_all();
        }
        shared.take(Work { parts, part });
        let mut looks = 0;
        while shared.busy.load(Ordering::Acquire) > 0 {
            looks += 1;
            // A helper that lost its core must get it back.
            if looks < LOOKS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        *lock(&shared.work) = None;
        assert!(!shared.failed.swap(false, Ordering::AcqRel), "a part of a product panicked");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(lock(&self.shared.asleep));
        self.shared.wake.notify_all();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn take(&self, Work { parts, part }: Work) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if at >= parts {
                return;
            }
            if catch_unwind(AssertUnwindSafe(|| part(at))).is_err() {
                self.failed.store(true, Ordering::Release);
            }
        }
    }

    fn help(&self) {
        let mut seen = 0;
        while self.wait_for_more_than(seen) {
            seen += 1;
            let work = *lock(&self.work);
            if let Some(work) = work {
                self.take(work);
            }
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Returns true when there is a job after number `seen`, false when there will be none.
    fn wait_for_more_than(&self, seen: usize) -> bool {
        for _ in 0..LOOKS {
            if self.job.load(Ordering::Acquire) != seen {
                return true;
            }
            std::hint::spin_loop();
        }
        let mut asleep = lock(&self.asleep);
        *asleep += 1;
        while self.job.load(Ordering::SeqCst) == seen && !self.stop.load(Ordering::SeqCst) {
            asleep = self.wake.wait(asleep).unwrap_or_else(PoisonError::into_inner);
        }
        *asleep -= 1;
        self.job.load(Ordering::SeqCst) != seen
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, time::Duration};

    use super::*;

    #[test]
    fn every_part_is_done_once() {
        for threads in 1..5 {
            let mut pool = Pool::new(threads);
            assert_eq!(pool.threads(), threads);
            for parts in [0, 1, 2, 7, 100] {
                let done: Vec<_> = (0..parts).map(|_| AtomicU64::new(0)).collect();
                pool.run(parts, &|at| {
                    done[at].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    done.iter().all(|times| times.load(Ordering::Relaxed) == 1),
                    "{threads} threads, {parts} parts"
                );
            }
        }
    }

    #[test]
    fn many_jobs_with_pauses_between() {
        let mut pool = Pool::new(3);
        let sum = AtomicU64::new(0);
        for job in 0..2000 {
            if job % 500 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            pool.run(5, &|at| {
                sum.fetch_add(at as u64, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 2000 * 10);
    }

    #[test]
    fn a_panic_is_the_callers_and_the_pool_goes_on() {
        let mut pool = Pool::new(2);
        let panicked = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|at| assert!(at != 5, "part 5"))));
        assert!(panicked.is_err());
        let sum = AtomicU64::new(0);
        pool.run(4, &|at| {
            sum.fetch_add(at as u64, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 6);
    }
}
