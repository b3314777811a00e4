//! The engine against its contract, with functions of the test as tasks.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    TaskOutcome::{Failed, Skipped, Succeeded},
    *,
};
use crate::{
    Context, DynEngine, Engine, Error, ErrorKind, FnFunction, Function, Registry, Result, Runtime,
    monitor::{Event, EventKind, FnSink},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Durability, Store, StoreConfig},
};

#[derive(Debug)]
struct NoRouter;

impl Router for NoRouter {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(Error::invalid("this test has no models"))
    }
}

fn router(store: &Store) -> RouterEngine {
    RouterEngine::new(RouterConfig::default(), Arc::new(NoRouter), Registry::new("model"), store.clone()).unwrap()
}

/// A folder, and an engine as a process would have it.
struct Host {
    engine: ParallelEngine,
    engines: Registry<dyn DynEngine>,
    store: Store,
    runtime: Runtime,
}

impl Host {
    fn open(folder: &Path) -> Self {
        Self::with(folder, ParallelConfig { backoff_ms: 1, ..ParallelConfig::default() }, Durability::Relaxed)
    }

    fn with(folder: &Path, config: ParallelConfig, durability: Durability) -> Self {
        let store = Store::open(folder, &StoreConfig { durability, ..StoreConfig::default() }).unwrap();
        let (engines, functions, runtime) = (Registry::new("engine"), Registry::new("function"), Runtime::default());
        let (router, store_too) = (router(&store), store.clone());
        let engine =
            ParallelEngine::new(config, store_too, router, engines.clone(), functions, runtime.clone()).unwrap();
        Self { engine, engines, store, runtime }
    }

    fn function<F, R>(&self, name: &str, run: F)
    where
        F: Fn(Context, Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value>> + Send + 'static,
    {
        let function: Arc<dyn Function> = Arc::new(FnFunction::new(name, run));
        self.engine.functions().register(name, function).unwrap();
    }

    /// A function that counts its calls and returns null.
    fn counter(&self, name: &str) -> Arc<AtomicU32> {
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        self.function(name, move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok(Value::Null) }
        });
        calls
    }

    /// Changes the record of a run as another process would.
    async fn change_record(&self, run: &'static str, change: impl Fn(&mut Value) + Send + 'static) {
        self.store
            .write(move |write| {
                let mut record: Value = write.tables.runs.get_json(write.txn, run.as_bytes())?.unwrap();
                change(&mut record);
                write.tables.runs.put_json(write.txn, run.as_bytes(), &record)
            })
            .await
            .unwrap();
    }
}

fn plan(tasks: impl IntoIterator<Item = Task>) -> Plan {
    tasks.into_iter().collect()
}

fn request(run: &str, tasks: impl IntoIterator<Item = Task>) -> RunRequest {
    RunRequest { run: Some(run.into()), ..RunRequest::new(plan(tasks)) }
}

fn outcomes(report: &RunReport) -> Vec<(&str, TaskOutcome)> {
    report.tasks.iter().map(|task| (task.task.as_str(), task.outcome)).collect()
}

/// Waits for something that another task brings about.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn results_flow_along_the_edges_and_come_back_in_plan_order() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.function("add", |_, call| async move {
        let call: TaskCall = serde_json::from_value(call).unwrap();
        let sum: i64 = call.results.values().filter_map(Value::as_i64).sum();
        Ok(json!(sum + call.input.as_i64().unwrap_or(0)))
    });
    let tasks = [
        Task::function("sum", "add").after(["one", "two"]).input(json!(100)),
        Task::new("one", TaskBody::Value(json!(1))),
        Task::function("two", "add").input(json!(2)),
    ];
    let report = host.engine.run(&Context::new(), RunRequest::new(plan(tasks))).await.unwrap();
    assert_eq!(report.state, RunState::Succeeded);
    let values: Vec<_> = report.tasks.iter().map(|task| (task.task.as_str(), task.value.clone())).collect();
    assert_eq!(values, [("sum", json!(103)), ("one", json!(1)), ("two", json!(2))]);
}

#[tokio::test]
async fn an_empty_plan_succeeds_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let report = Host::open(folder.path()).engine.run(&Context::new(), RunRequest::new(plan([]))).await.unwrap();
    assert_eq!((report.state, report.tasks.len()), (RunState::Succeeded, 0));
}

#[tokio::test]
async fn a_failure_skips_what_is_behind_it_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.counter("fine");
    host.function("bad", |_, _| async { Err(Error::invalid("no such city")) });
    let tasks = [
        Task::function("a", "bad").retries(3),
        Task::function("b", "fine").after(["a"]),
        Task::function("c", "fine").after(["b", "d"]),
        Task::function("d", "fine"),
        Task::function("e", "nobody"),
        Task::function("f", "panics"),
    ];
    host.function("panics", |_, _| async { panic!("out of cheese") });
    let report = host.engine.run(&Context::new(), request("r", tasks.clone())).await.unwrap();
    let expected = [("a", Failed), ("b", Skipped), ("c", Skipped), ("d", Succeeded), ("e", Failed), ("f", Failed)];
    assert_eq!((report.state, outcomes(&report)), (RunState::Failed, expected.to_vec()));
    assert_eq!(report.tasks[0].attempts, 1, "an invalid request does not get better");
    assert_eq!(report.tasks[2].error.as_deref(), Some("`a` failed"));
    assert_eq!(report.tasks[4].code.as_deref(), Some("NOT_FOUND"));
    assert!(report.tasks[4].error.as_deref().unwrap().contains("register it"));
    assert_eq!(report.tasks[5].code.as_deref(), Some("UNEXPECTED"));
    assert!(report.tasks[5].error.as_deref().unwrap().contains("out of cheese"));

    let again = host.engine.run(&Context::new(), request("r", tasks)).await.unwrap();
    let read = host.engine.get(&Context::new(), "r").await.unwrap();
    assert_eq!(again, read);
    assert!(read.tasks.iter().all(|task| task.restored));
    assert_eq!(outcomes(&read), expected);
}

#[tokio::test]
async fn errors_that_may_go_away_are_tried_again_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let cx = Context::new().events(Arc::new(FnSink(move |event: &Event| {
        sink.lock().unwrap().push(event.kind.clone());
    })));
    host.function("flaky", |_, call| async move {
        match call["attempt"].as_u64() {
            Some(1) => Err(Error::new(ErrorKind::Host, "the host raised")),
            Some(2) => Err(Error::new(ErrorKind::Unavailable, "not now")),
            attempt => Ok(json!(attempt)),
        }
    });
    let tasks = [Task::function("ok", "flaky").retries(2), Task::function("given_up", "flaky").retries(1)];
    let report = host.engine.run(&cx, request("r", tasks)).await.unwrap();
    assert_eq!(report.tasks[0].value, json!(3));
    assert_eq!((report.tasks[0].attempts, report.tasks[1].attempts), (3, 2));
    assert_eq!(report.tasks[1].code.as_deref(), Some("UNAVAILABLE"));
    let seen = seen.lock().unwrap();
    let names: Vec<_> = seen.iter().map(EventKind::name).collect();
    let count = |name: &str| names.iter().filter(|n| **n == name).count();
    assert_eq!((names[0], names[names.len() - 1]), ("run_started", "run_finished"));
    assert_eq!((count("task_started"), count("task_retried"), count("task_finished")), (5, 3, 2));
}

#[tokio::test]
async fn a_task_that_takes_too_long_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.function("slow", |_, _| std::future::pending());
    let task = Task { timeout_ms: Some(10), ..Task::function("t", "slow") };
    let report = host.engine.run(&Context::new(), request("r", [task])).await.unwrap();
    assert_eq!(report.tasks[0].code.as_deref(), Some("TIMEOUT"));
    assert!(report.tasks[0].error.as_deref().unwrap().contains("10 ms"));
}

#[tokio::test]
async fn engines_are_asked_what_the_template_says() {
    #[derive(Debug)]
    struct Echo;
    #[async_trait::async_trait]
    impl Engine for Echo {
        type Request = Value;
        type Reply = Value;
        fn name(&self) -> &'static str {
            "echo"
        }
        async fn call(&self, _: &Context, request: Value) -> Result<Value> {
            Ok(json!({ "echo": request }))
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.engines.register("echo", Arc::new(Echo)).unwrap();
    let ask = |request: Value| TaskBody::Engine { name: "echo".into(), request };
    let tasks = [
        Task::new("data", TaskBody::Value(json!({"rows": [1, 2]}))),
        Task::new(
            "ask",
            ask(json!({"rows": "{{ results.data.rows }}", "text": "{{ input }}: {{ results.data.rows | length }}"})),
        )
        .after(["data"])
        .input(json!("rows")),
        Task::new("typo", ask(json!("x{{ results.date }}"))).after(["data"]),
    ];
    let report = host.engine.run(&Context::new(), request("r", tasks)).await.unwrap();
    assert_eq!(report.tasks[1].value, json!({"echo": {"rows": [1, 2], "text": "rows: 2"}}));
    assert_eq!(report.tasks[2].code.as_deref(), Some("INVALID"));
    assert!(report.tasks[2].error.as_deref().unwrap().contains("results.date"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_tasks_at_once_than_allowed_and_no_barrier() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now_too, most_too) = (Arc::clone(&now), Arc::clone(&most));
    host.function("work", move |_, _| {
        let (now, most) = (Arc::clone(&now_too), Arc::clone(&most_too));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(Value::Null)
        }
    });
    let tasks = (0..200).map(|i| Task::function(i.to_string(), "work"));
    let request_at_3 = RunRequest { concurrency: Some(3), ..request("limit", tasks) };
    let report = host.engine.run(&Context::new(), request_at_3).await.unwrap();
    assert_eq!((report.state, most.load(Ordering::SeqCst)), (RunState::Succeeded, 3));

    // "gate" ends only once "deep" ran, which lies two levels below its sibling.
    let open = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&open);
    host.function("gate", move |_, _| {
        let opened = Arc::clone(&opened);
        async move {
            opened.notified().await;
            Ok(Value::Null)
        }
    });
    host.function("open", move |_, _| {
        open.notify_one();
        async { Ok(Value::Null) }
    });
    let tasks = [
        Task::function("gate", "gate"),
        Task::function("a", "work"),
        Task::function("b", "work").after(["a"]),
        Task::function("deep", "open").after(["b"]),
    ];
    let cx = Context::new().within(Duration::from_secs(20));
    assert_eq!(host.engine.run(&cx, request("barrier", tasks)).await.unwrap().state, RunState::Succeeded);
}

/// Two tasks that end, and one that hangs until it is dropped.
fn half_done() -> [Task; 4] {
    [
        Task::function("a", "count"),
        Task::function("b", "count").after(["a"]),
        Task::function("hangs", "hangs").after(["b"]),
        Task::function("last", "count").after(["hangs"]),
    ]
}

#[tokio::test]
async fn a_cancelled_run_stops_at_once_and_goes_on_later() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let calls = host.counter("count");
    let hanging = Arc::new(AtomicU32::new(0));
    let hangs = Arc::clone(&hanging);
    host.function("hangs", move |_, _| {
        hangs.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let cx = Context::new();
    let cancel = cx.cancel.clone();
    let stop = async {
        until("the task hangs", || hanging.load(Ordering::SeqCst) == 1).await;
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(host.engine.run(&cx, request("r", half_done())), stop);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
    let kept = host.engine.get(&Context::new(), "r").await.unwrap();
    assert_eq!((kept.state, kept.tasks.len()), (RunState::Cancelled, 2));
    assert!(host.engine.unfinished(&Context::new()).await.unwrap().is_empty(), "the caller wished it to stop");

    // The same by the handle, which reports the cancelled task.
    let handle = host.engine.start(&Context::new(), request("r", half_done())).await.unwrap();
    until("the task hangs again", || hanging.load(Ordering::SeqCst) == 2).await;
    handle.cancel();
    let report = handle.report().await.unwrap();
    assert_eq!((report.state, report.tasks[2].outcome), (RunState::Cancelled, TaskOutcome::Cancelled));

    // And by dropping the future of `run`.
    {
        let cx = Context::new();
        let run = host.engine.run(&cx, request("r", half_done()));
        tokio::select! {
            _ = run => panic!("it cannot end"),
            () = until("the task hangs", || hanging.load(Ordering::SeqCst) == 3) => {}
        }
    }
    host.counter("hangs");
    let begun = Instant::now();
    let report = loop {
        match host.engine.resume(&Context::new(), "r").await {
            // The dropped run is still giving itself back.
            Err(error) if error.kind() == ErrorKind::Conflict && begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            other => break other.unwrap(),
        }
    };
    assert_eq!(report.state, RunState::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 3, "a and b ran once, last ran once");
    let restored: Vec<_> = report.tasks.iter().map(|task| task.restored).collect();
    assert_eq!(restored, [true, true, false, false]);
    assert_eq!(report.tasks[2].attempts, 4, "attempts are counted over all runs");
}

#[tokio::test]
async fn a_deadline_ends_the_run_as_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.counter("count");
    host.function("hangs", |_, _| std::future::pending());
    let cx = Context::new().within(Duration::from_millis(200));
    let error = host.engine.run(&cx, request("r", half_done())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(host.engine.unfinished(&Context::new()).await.unwrap(), ["r"]);
    host.counter("hangs");
    assert_eq!(host.engine.resume(&Context::new(), "r").await.unwrap().state, RunState::Succeeded);
}

#[tokio::test]
async fn a_run_goes_on_after_its_engine_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let calls = host.counter("count");
    host.function("hangs", |_, _| std::future::pending());
    let handle = host.engine.start(&Context::new(), request("r", half_done())).await.unwrap();
    until("two tasks are done", || calls.load(Ordering::SeqCst) == 2).await;
    tokio::time::timeout(Duration::from_secs(10), async {
        while host.engine.get(&Context::new(), "r").await.unwrap().tasks.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    host.runtime.close().await;
    assert_eq!(handle.report().await.unwrap_err().kind(), ErrorKind::Cancelled);

    let host = Host::open(folder.path());
    let (calls, hangs) = (host.counter("count"), host.counter("hangs"));
    assert_eq!(host.engine.unfinished(&Context::new()).await.unwrap(), ["r"]);
    let report = host.engine.run(&Context::new(), request("r", half_done())).await.unwrap();
    assert_eq!((report.state, calls.load(Ordering::SeqCst), hangs.load(Ordering::SeqCst)), (RunState::Succeeded, 1, 1));
}

#[tokio::test]
async fn an_id_belongs_to_one_plan_and_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.counter("count");
    host.function("hangs", |_, _| std::future::pending());
    let handle = host.engine.start(&Context::new(), request("r", half_done())).await.unwrap();
    let error = host.engine.run(&Context::new(), request("r", half_done())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("by this process"), "{error}");
    handle.cancel();
    handle.report().await.unwrap();
    let mut other = half_done();
    other[1].input = json!(7);
    let error = host.engine.run(&Context::new(), request("r", other)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("`input` of task \"b\" differs"), "{error}");
    assert_eq!(host.engine.resume(&Context::new(), "x").await.unwrap_err().kind(), ErrorKind::NotFound);
    for bad in ["", "a\0b", &"x".repeat(201)] {
        assert_eq!(host.engine.get(&Context::new(), bad).await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let none = RunRequest { concurrency: Some(0), ..RunRequest::new(plan([])) };
    assert_eq!(host.engine.run(&Context::new(), none).await.unwrap_err().kind(), ErrorKind::Invalid);
}

/// Makes the record of a run look as if a process elsewhere held it until `until_ms`.
fn held_elsewhere(record: &mut Value, until_ms: u64) {
    record["owner"] = json!({"process": "p", "pid": 1, "boot": "another machine", "space": "s", "started": 1});
    record["fence"] = json!(record["fence"].as_u64().unwrap() + 1);
    record["lease_until_ms"] = json!(until_ms);
    record["state"] = json!("running");
}

#[tokio::test]
async fn another_process_is_respected_until_its_lease_ends() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let calls = host.counter("count");
    host.function("hangs", |_, _| std::future::pending());
    let cx = Context::new().within(Duration::from_millis(300));
    host.engine.run(&cx, request("r", half_done())).await.unwrap_err();
    host.counter("hangs");
    host.change_record("r", |record| held_elsewhere(record, journal::now_ms() + 60_000)).await;
    let error = host.engine.resume(&Context::new(), "r").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("being worked on by another process until"), "{error}");
    host.change_record("r", |record| held_elsewhere(record, journal::now_ms() - 1)).await;
    assert_eq!(host.engine.resume(&Context::new(), "r").await.unwrap().state, RunState::Succeeded);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_late_owner_can_commit_nothing_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    host.counter("count");
    let (go, gone) = (Arc::new(tokio::sync::Notify::new()), Arc::new(AtomicU32::new(0)));
    let (go_too, gone_too) = (Arc::clone(&go), Arc::clone(&gone));
    host.function("hangs", move |_, _| {
        gone_too.fetch_add(1, Ordering::SeqCst);
        let go = Arc::clone(&go_too);
        async move {
            go.notified().await;
            Ok(json!("late"))
        }
    });
    let handle = host.engine.start(&Context::new(), request("r", half_done())).await.unwrap();
    until("the task hangs", || gone.load(Ordering::SeqCst) == 1).await;
    host.change_record("r", |record| held_elsewhere(record, journal::now_ms() + 60_000)).await;
    go.notify_one();
    assert_eq!(handle.report().await.unwrap_err().kind(), ErrorKind::Conflict);
    let kept = host.engine.get(&Context::new(), "r").await.unwrap();
    assert_eq!((kept.state, kept.tasks.len()), (RunState::Running, 2), "the late result was refused");
}

#[tokio::test]
async fn the_heartbeat_keeps_the_lease_and_finds_out_when_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let config = ParallelConfig { lease_ms: 60, ..ParallelConfig::default() };
    let host = Host::with(folder.path(), config, Durability::Relaxed);
    host.function("hangs", |_, _| std::future::pending());
    let handle = host.engine.start(&Context::new(), request("r", [Task::function("t", "hangs")])).await.unwrap();
    let lease = || {
        let record = host.store.read(|read| journal::record(read, "r")).unwrap().unwrap();
        record.lease_until_ms
    };
    let first = lease();
    until("the lease grows", || lease() > first + 60).await;
    host.change_record("r", |record| held_elsewhere(record, journal::now_ms() + 60_000)).await;
    assert_eq!(handle.report().await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn what_a_task_stores_and_pays_is_committed_with_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let store = host.store.clone();
    // Stages a payment (kept in any case) and knowledge (kept on success), then does what its input says.
    host.function("stage", move |cx, call| {
        let store = store.clone();
        async move {
            let call: TaskCall = serde_json::from_value(call).unwrap();
            for (always, what) in [(true, "paid"), (false, "stored")] {
                let (key, bad) = (format!("{what}:{}", call.task), call.input == "bad write" && !always);
                let job: crate::store::Job = Box::new(move |write| {
                    if bad {
                        return Err(Error::new(ErrorKind::Conflict, "refused by the store"));
                    }
                    let before: u32 = write.tables.cache.get_json(write.txn, key.as_bytes())?.unwrap_or(0);
                    write.tables.cache.put_json(write.txn, key.as_bytes(), &(before + 1))
                });
                store.commit_with(cx.unit.as_ref(), always, job).await?;
            }
            match call.input.as_str() {
                Some("fail") => Err(Error::new(ErrorKind::Unavailable, "no luck")),
                _ => Ok(Value::Null),
            }
        }
    });
    let tasks = [
        Task::function("good", "stage"),
        Task::function("bad", "stage").input(json!("fail")).retries(2),
        Task::function("refused", "stage").input(json!("bad write")),
    ];
    let report = host.engine.run(&Context::new(), request("r", tasks)).await.unwrap();
    assert_eq!(outcomes(&report), [("good", Succeeded), ("bad", Failed), ("refused", Failed)]);
    assert_eq!(report.tasks[2].code.as_deref(), Some("CONFLICT"));
    let count = |key: &str| {
        host.store.read(|read| read.tables.cache.get_json::<u32>(read.txn, key.as_bytes())).unwrap().unwrap_or(0)
    };
    assert_eq!((count("paid:good"), count("stored:good")), (1, 1));
    assert_eq!((count("paid:bad"), count("stored:bad")), (3, 0), "each attempt was paid for");
    assert_eq!((count("paid:refused"), count("stored:refused")), (1, 0), "paid for once, though committed twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_form_does_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::open(folder.path());
    let engine: &dyn DynEngine = &host.engine;
    let cx = Context::new();
    let tasks = json!([{"name": "b", "do": {"value": 2}, "after": ["a"]}, {"name": "a", "do": {"value": 1}}]);
    let order = engine.call_json(&cx, json!({"do": "validate", "tasks": tasks})).await.unwrap();
    assert_eq!(order, json!({"order": ["a", "b"]}));
    let report = engine.call_json(&cx, json!({"do": "run", "run": "r", "tasks": tasks})).await.unwrap();
    assert_eq!((&report["state"], &report["tasks"][0]["value"]), (&json!("succeeded"), &json!(2)));
    let again = engine.call_json(&cx, json!({"do": "resume", "run": "r"})).await.unwrap();
    assert_eq!(again["tasks"][1]["restored"], json!(true));
    assert_eq!(engine.call_json(&cx, json!({"do": "unfinished"})).await.unwrap(), json!({"runs": []}));
}
