//! A run survives `kill -9` at any moment: a child process works on it and is killed, this one goes on with it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use triune::{
    Context, Error, ErrorKind, FnFunction, Function, Registry, Result, Runtime,
    parallel::{ParallelConfig, ParallelEngine, Plan, RunReport, RunRequest, RunState, Task, TaskCall},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Store, StoreConfig},
};

/// Tells the child which folder to work in.
const FOLDER: &str = "TRIUNE_TEST_PARALLEL_FOLDER";
/// Tells the child how long a task takes, in milliseconds.
const TASK_MS: &str = "TRIUNE_TEST_PARALLEL_TASK_MS";
/// How many runs are killed; 4 when absent.
const KILLS: &str = "TRIUNE_TEST_PARALLEL_KILLS";
/// Layers of the plan, and tasks in each.
const LAYERS: usize = 8;
const WIDTH: usize = 6;

#[derive(Debug)]
struct NoRouter;

impl Router for NoRouter {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(Error::invalid("this test has no models"))
    }
}

/// An engine on the store in `folder`, whose function `work` writes a line for each call.
fn engine(folder: &Path) -> ParallelEngine {
    let store = Store::open(&folder.join("store"), &StoreConfig::default()).unwrap();
    let models = Registry::new("model");
    let router = RouterEngine::new(RouterConfig::default(), Arc::new(NoRouter), models, store.clone()).unwrap();
    let functions: Registry<dyn Function> = Registry::new("function");
    let calls = folder.join("calls");
    let task_ms = std::env::var(TASK_MS).map_or(2, |ms| ms.parse().unwrap());
    let work = FnFunction::new("work", move |_, call| {
        let calls = calls.clone();
        async move {
            let call: TaskCall = serde_json::from_value(call).unwrap();
            let mut file = OpenOptions::new().create(true).append(true).open(calls).unwrap();
            // One write, so that lines of two processes do not mix.
            file.write_all(format!("{} {}\n", call.task, call.attempt).as_bytes()).unwrap();
            let sum: u64 = call.results.values().filter_map(Value::as_u64).sum();
            tokio::time::sleep(Duration::from_millis(task_ms)).await;
            Ok(json!(1 + sum % 1_000_003))
        }
    });
    functions.register("work", Arc::new(work)).unwrap();
    let (engines, runtime) = (Registry::new("engine"), Runtime::default());
    ParallelEngine::new(ParallelConfig::default(), store, router, engines, functions, runtime).unwrap()
}

/// Layers of tasks, each task after all of the layer before.
fn request() -> RunRequest {
    let name = |layer: usize, i: usize| format!("{layer}-{i}");
    let mut tasks = Vec::new();
    for layer in 0..LAYERS {
        for i in 0..WIDTH {
            let before = layer.checked_sub(1).map(|before| (0..WIDTH).map(move |j| name(before, j)));
            tasks.push(Task::function(name(layer, i), "work").after(before.into_iter().flatten()));
        }
    }
    let mut request = RunRequest::new(Plan { tasks });
    request.run = Some("killed".into());
    request.concurrency = Some(4);
    request
}

/// The child: works on the run until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let report = engine(Path::new(&folder)).run(&Context::new(), request()).await.unwrap();
    assert_eq!(report.state, RunState::Succeeded);
}

fn calls(folder: &Path) -> Vec<(String, u32)> {
    let text = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    let line = |line: &str| line.split_once(' ').map(|(task, attempt)| (task.into(), attempt.parse().unwrap()));
    text.lines().filter_map(line).collect()
}

/// A child that works on the run, once it has made so many calls.
fn working_child(folder: &Path, calls_made: usize, task_ms: u64) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, folder)
        .env(TASK_MS, task_ms.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while calls(folder).len() < calls_made && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "the child does not work");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

/// Works in a child that is killed after so many calls, or a little later.
fn work_and_kill(folder: &Path, calls_before_kill: usize, then: Duration) {
    let mut child = working_child(folder, calls_before_kill, 2);
    std::thread::sleep(then);
    child.kill().unwrap();
    child.wait().unwrap();
}

fn check(report: &RunReport, acknowledged: &RunReport, folder: &Path, before: &[(String, u32)]) {
    assert_eq!(report.state, RunState::Succeeded);
    assert_eq!(report.tasks.len(), LAYERS * WIDTH);
    // Every result is what an undisturbed run gives.
    let mut value = 1;
    for layer in report.tasks.chunks(WIDTH) {
        assert!(layer.iter().all(|task| task.value == json!(value)), "layer of {}", layer[0].task);
        value = 1 + (value * WIDTH as u64) % 1_000_003;
    }
    let after = calls(folder);
    let again: Vec<_> = after[before.len()..].iter().map(|(task, _)| task.as_str()).collect();
    for done in &acknowledged.tasks {
        assert!(!again.contains(&done.task.as_str()), "{} was done and was run again", done.task);
    }
    let restored = report.tasks.iter().filter(|task| task.restored).count();
    assert_eq!(restored, acknowledged.tasks.len());
    assert_eq!(again.len(), report.tasks.len() - restored, "the others ran once more");
    let mut times: HashMap<&str, usize> = HashMap::new();
    for (task, _) in &after {
        *times.entry(task).or_default() += 1;
    }
    assert_eq!(times.len(), LAYERS * WIDTH, "every task was run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_goes_on_without_repeating_what_was_done() {
    let rounds = std::env::var(KILLS).map_or(4, |rounds| rounds.parse().unwrap());
    for round in 0..rounds {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (kill_at, then) = (rand::random_range(1..=LAYERS * WIDTH), rand::random_range(0..20));
        eprintln!("round {round}: killed after {kill_at} calls and {then} ms");
        work_and_kill(path, kill_at, Duration::from_millis(then));
        if round % 2 == 1 {
            // Killed a second time, while it goes on.
            let more = calls(path).len() + rand::random_range(1..10);
            work_and_kill(path, more, Duration::from_millis(then));
        }
        let engine = engine(path);
        let (cx, before) = (Context::new(), calls(path));
        let acknowledged = engine.get(&cx, "killed").await.unwrap();
        let begun = Instant::now();
        let report = engine.run(&cx, request()).await.unwrap();
        // The lease of the dead process would have lasted 10 s.
        assert!(begun.elapsed() < Duration::from_secs(8), "a dead owner is not waited for");
        check(&report, &acknowledged, path, &before);
        assert_eq!(engine.unfinished(&cx).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_process_keeps_its_run() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = working_child(folder.path(), 1, 60_000);
    let engine = engine(folder.path());
    let cx = Context::new();
    let error = engine.run(&cx, request()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("another process"), "{error}");
    assert_eq!(engine.unfinished(&cx).await.unwrap(), ["killed"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(engine.run(&cx, request()).await.unwrap().state, RunState::Succeeded);
}
