//! What any [`TaskQueue`] must do, written once against the trait. Adapters run the same suite on their servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use triune::{
    Context, ErrorKind,
    parallel::{Lease, LmdbQueue, QueueStats, QueuedTask, TaskQueue},
    store::{Store, StoreConfig},
};

/// Longer than any test.
const LONG: Duration = Duration::from_mins(5);
/// A lease that ends while a test waits.
const SHORT: Duration = Duration::from_millis(150);

fn task(id: &str, priority: i32) -> QueuedTask {
    QueuedTask { id: id.into(), payload: json!({ "of": id }), priority, attempts: 0 }
}

fn counts(stats: QueueStats) -> [usize; 4] {
    [stats.waiting, stats.leased, stats.completed, stats.failed]
}

/// The next task, waited for.
async fn lease_soon(queue: &dyn TaskQueue, cx: &Context, name: &str, time: Duration) -> Lease {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(lease) = queue.lease(cx, name, time).await.unwrap() {
            return lease;
        }
        assert!(Instant::now() < end, "no task of {name} came back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn lease_now(queue: &dyn TaskQueue, cx: &Context, name: &str) -> Lease {
    queue.lease(cx, name, LONG).await.unwrap().expect("a task waits")
}

fn is_conflict<T: std::fmt::Debug>(result: triune::Result<T>) {
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Conflict);
}

/// What any [`TaskQueue`] must do. The queue must be empty before.
pub async fn task_queue_suite(queue: &dyn TaskQueue) {
    let cx = &Context::new();
    order_and_identity(queue, cx).await;
    ends(queue, cx).await;
    expiry(queue, cx).await;
    extension(queue, cx).await;
    retries(queue, cx).await;
    cancelling(queue, cx).await;
    limits(queue, cx).await;
}

async fn order_and_identity(queue: &dyn TaskQueue, cx: &Context) {
    assert_eq!(queue.lease(cx, "order", LONG).await.unwrap(), None, "an unknown queue is empty");
    assert_eq!(counts(queue.stats(cx, "order").await.unwrap()), [0; 4]);
    let tasks = [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0), ("f", i32::MAX), ("g", i32::MIN)];
    for (id, priority) in tasks {
        assert!(queue.enqueue(cx, "order", task(id, priority)).await.unwrap());
    }
    assert!(!queue.enqueue(cx, "order", task("b", 9)).await.unwrap(), "the id is taken");
    assert!(queue.enqueue(cx, "other", task("b", 9)).await.unwrap(), "queues are apart");
    assert_eq!(counts(queue.stats(cx, "order").await.unwrap()), [7, 0, 0, 0]);
    let mut served = Vec::new();
    while let Some(lease) = queue.lease(cx, "order", LONG).await.unwrap() {
        assert_eq!((lease.task.payload["of"].as_str(), lease.task.attempts), (Some(lease.task.id.as_str()), 0));
        served.push(lease.task.id);
    }
    assert_eq!(served, ["f", "b", "d", "a", "e", "c", "g"], "by priority, then by arrival");
    assert_eq!(counts(queue.stats(cx, "order").await.unwrap()), [0, 7, 0, 0]);
}

async fn ends(queue: &dyn TaskQueue, cx: &Context) {
    for id in ["good", "bad"] {
        queue.enqueue(cx, "ends", task(id, 0)).await.unwrap();
    }
    assert_eq!(queue.result(cx, "ends", "good").await.unwrap(), None);
    let good = lease_now(queue, cx, "ends").await;
    assert_eq!(queue.result(cx, "ends", "good").await.unwrap(), None, "leased is not completed");
    queue.complete(cx, "ends", &good, json!({"n": 1})).await.unwrap();
    assert_eq!(queue.result(cx, "ends", "good").await.unwrap(), Some(json!({"n": 1})));
    is_conflict(queue.complete(cx, "ends", &good, json!(2)).await);
    is_conflict(queue.fail(cx, "ends", &good, None).await);
    is_conflict(queue.extend(cx, "ends", &good, LONG).await);
    assert_eq!(queue.result(cx, "ends", "good").await.unwrap(), Some(json!({"n": 1})), "exactly once");
    let bad = lease_now(queue, cx, "ends").await;
    queue.fail(cx, "ends", &bad, None).await.unwrap();
    is_conflict(queue.complete(cx, "ends", &bad, json!(2)).await);
    assert_eq!(queue.result(cx, "ends", "bad").await.unwrap(), None);
    assert_eq!(counts(queue.stats(cx, "ends").await.unwrap()), [0, 0, 1, 1]);
    assert!(!queue.enqueue(cx, "ends", task("good", 0)).await.unwrap(), "an ended task is not done again");
    assert_eq!(queue.lease(cx, "ends", LONG).await.unwrap(), None);
}

async fn expiry(queue: &dyn TaskQueue, cx: &Context) {
    queue.enqueue(cx, "expiry", task("t", 0)).await.unwrap();
    let late = queue.lease(cx, "expiry", SHORT).await.unwrap().unwrap();
    let next = lease_soon(queue, cx, "expiry", LONG).await;
    assert_eq!((next.task.id.as_str(), next.task.attempts), ("t", 1));
    assert!(next.fence > late.fence);
    is_conflict(queue.extend(cx, "expiry", &late, LONG).await);
    is_conflict(queue.fail(cx, "expiry", &late, Some(Duration::ZERO)).await);
    is_conflict(queue.complete(cx, "expiry", &late, json!("late")).await);
    queue.complete(cx, "expiry", &next, json!("in time")).await.unwrap();
    assert_eq!(queue.result(cx, "expiry", "t").await.unwrap(), Some(json!("in time")));

    // An expired task counts as waiting before anybody asks for it.
    queue.enqueue(cx, "silent", task("t", 0)).await.unwrap();
    queue.lease(cx, "silent", SHORT).await.unwrap().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while counts(queue.stats(cx, "silent").await.unwrap()) != [1, 0, 0, 0] {
        assert!(Instant::now() < end, "the lease never expired");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn extension(queue: &dyn TaskQueue, cx: &Context) {
    queue.enqueue(cx, "extend", task("t", 0)).await.unwrap();
    let lease = queue.lease(cx, "extend", SHORT).await.unwrap().unwrap();
    queue.extend(cx, "extend", &lease, LONG).await.unwrap();
    let end = Instant::now() + SHORT * 2;
    while Instant::now() < end {
        assert_eq!(queue.lease(cx, "extend", LONG).await.unwrap(), None, "an extended lease holds");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    queue.complete(cx, "extend", &lease, Value::Null).await.unwrap();
    assert_eq!(queue.result(cx, "extend", "t").await.unwrap(), Some(Value::Null), "null is a result");
}

async fn retries(queue: &dyn TaskQueue, cx: &Context) {
    queue.enqueue(cx, "retry", task("t", 0)).await.unwrap();
    let first = lease_now(queue, cx, "retry").await;
    queue.fail(cx, "retry", &first, Some(Duration::ZERO)).await.unwrap();
    is_conflict(queue.complete(cx, "retry", &first, Value::Null).await);
    let second = lease_soon(queue, cx, "retry", LONG).await;
    assert!(second.fence > first.fence && second.task.attempts == 1);
    let given_back = Instant::now();
    queue.fail(cx, "retry", &second, Some(SHORT)).await.unwrap();
    assert_eq!(counts(queue.stats(cx, "retry").await.unwrap()), [1, 0, 0, 0]);
    let third = lease_soon(queue, cx, "retry", LONG).await;
    assert!(given_back.elapsed() + Duration::from_millis(5) >= SHORT, "it waited");
    assert_eq!(third.task.attempts, 2);
}

async fn cancelling(queue: &dyn TaskQueue, cx: &Context) {
    assert!(!queue.cancel(cx, "cancel", "t").await.unwrap());
    queue.enqueue(cx, "cancel", task("t", 0)).await.unwrap();
    assert!(queue.cancel(cx, "cancel", "t").await.unwrap());
    assert_eq!(queue.lease(cx, "cancel", LONG).await.unwrap(), None);
    assert!(queue.enqueue(cx, "cancel", task("t", 0)).await.unwrap(), "a cancelled id is free again");
    let lease = lease_now(queue, cx, "cancel").await;
    assert!(queue.cancel(cx, "cancel", "t").await.unwrap());
    is_conflict(queue.complete(cx, "cancel", &lease, Value::Null).await);
    // The old lease is no key to a new task of the same id.
    queue.enqueue(cx, "cancel", task("t", 0)).await.unwrap();
    let new = lease_now(queue, cx, "cancel").await;
    is_conflict(queue.complete(cx, "cancel", &lease, json!("old")).await);
    queue.complete(cx, "cancel", &new, json!("new")).await.unwrap();
    assert!(!queue.cancel(cx, "cancel", "t").await.unwrap(), "a completed task stays");
    assert_eq!(counts(queue.stats(cx, "cancel").await.unwrap()), [0, 0, 1, 0]);
}

async fn limits(queue: &dyn TaskQueue, cx: &Context) {
    for (name, id) in [("", "t"), ("q", ""), ("q", "a\0b"), (&"q".repeat(101), "t"), ("q", &"t".repeat(201))] {
        assert_eq!(queue.enqueue(cx, name, task(id, 0)).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let cancelled = Context::new();
    cancelled.cancel.cancel();
    assert_eq!(queue.lease(&cancelled, "q", LONG).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

/// Many workers at once: each task is completed by one of them.
pub async fn task_queue_crowd(queue: Arc<dyn TaskQueue>) {
    const TASKS: usize = 200;
    let cx = Context::new();
    let add = (0..TASKS).map(|i| {
        let (queue, cx) = (&queue, &cx);
        async move { queue.enqueue(cx, "crowd", task(&i.to_string(), 0)).await.unwrap() }
    });
    assert!(futures_util::future::join_all(add).await.into_iter().all(|new| new));
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (queue, cx) = (Arc::clone(&queue), cx.clone());
        workers.spawn(async move {
            let mut done = Vec::new();
            while let Some(lease) = queue.lease(&cx, "crowd", LONG).await.unwrap() {
                queue.complete(&cx, "crowd", &lease, json!(lease.task.id)).await.unwrap();
                done.push(lease.task.id);
            }
            done
        });
    }
    let done: Vec<String> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!((done.len(), done.iter().collect::<HashSet<_>>().len()), (TASKS, TASKS));
    assert_eq!(counts(queue.stats(&cx, "crowd").await.unwrap()), [0, 0, TASKS, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let queue = LmdbQueue::new(store);
    task_queue_suite(&queue).await;
    task_queue_crowd(Arc::new(queue)).await;
}

#[tokio::test]
async fn a_queue_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let cx = Context::new();
    let open = || LmdbQueue::new(Store::open(folder.path(), &StoreConfig::default()).unwrap());
    let queue = open();
    for id in ["a", "b", "c"] {
        queue.enqueue(&cx, "q", task(id, 0)).await.unwrap();
    }
    let a = lease_now(&queue, &cx, "q").await;
    let b = lease_now(&queue, &cx, "q").await;
    queue.complete(&cx, "q", &a, json!(1)).await.unwrap();
    drop(queue);
    let queue = open();
    assert_eq!(counts(queue.stats(&cx, "q").await.unwrap()), [1, 1, 1, 0]);
    queue.complete(&cx, "q", &b, json!(2)).await.unwrap();
    assert_eq!(lease_now(&queue, &cx, "q").await.task.id, "c");
    assert_eq!(queue.result(&cx, "q", "b").await.unwrap(), Some(json!(2)));
}
