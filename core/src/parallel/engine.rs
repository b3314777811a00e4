//! The engine `parallel`.

use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    ParallelConfig, ParallelReply, ParallelRequest, Plan, RunReport, RunRequest, RunState,
    attempt::Shared,
    body::Tools,
    hash,
    journal::{self, Claim, Journal, JournalEvent, NewRun},
    past::Past,
    run::Run,
};
use crate::{
    context::Context,
    engine::{DynEngine, Engine, Function, Registry},
    error::{Error, ErrorKind, Result},
    router::RouterEngine,
    runtime::{Runtime, blocking},
    store::Store,
};

/// Tasks that a run may have at work at once.
const MAX_CONCURRENCY: usize = 10_000;
/// Bytes of the id of a run.
const MAX_RUN_ID: usize = 200;

/// The engine `parallel`: runs plans, and goes on with them after a crash. Cheap to clone.
///
/// # Contract
/// - A task is started once all tasks in its `after` have succeeded; there is no barrier between unrelated tasks.
/// - A task counts as finished when its result is committed, in one transaction with everything it stored and paid. A
///   finished task is never run again; one that was cut off before is run again, so its work must bear repetition.
/// - A run is worked on by one process at a time; each commit checks that it still is this one.
#[derive(Clone, Debug)]
pub struct ParallelEngine(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ParallelConfig,
    store: Store,
    tools: Arc<Tools>,
    runtime: Runtime,
}

/// A run at work. Dropping it cancels the run; what finished stays in the journal.
#[derive(Debug)]
pub struct RunHandle {
    /// The id of the run.
    pub run: String,
    done: oneshot::Receiver<Result<RunReport>>,
    cancel: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl RunHandle {
    /// Stops the run. Its report says `Cancelled`, and a run with the same id goes on with it.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end. A run that was cancelled has a report too.
    ///
    /// # Errors
    /// `Timeout` when the deadline of the caller passed, `Conflict` when another process took the run over, and what
    /// the store reports. What finished stays in the journal in each case.
    pub async fn report(mut self) -> Result<RunReport> {
        (&mut self.done).await.map_err(|_| {
            Error::new(ErrorKind::Cancelled, "the engine was closed; the run goes on when it is run again")
        })?
    }
}

impl ParallelEngine {
    /// An engine that journals in `store`, and whose tasks call `router`, `engines` and `functions`.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(
        config: ParallelConfig,
        store: Store,
        router: RouterEngine,
        engines: Registry<dyn DynEngine>,
        functions: Registry<dyn Function>,
        runtime: Runtime,
    ) -> Result<Self> {
        check_concurrency(config.concurrency)?;
        if config.timeout_ms == 0 || config.lease_ms < 10 {
            return Err(
                Error::invalid("timeout_ms is at least 1 and lease_ms at least 10").during("ParallelEngine::new")
            );
        }
        let tools = Arc::new(Tools { router, engines, functions });
        Ok(Self(Arc::new(Inner { config, store, tools, runtime })))
    }

    /// The functions of the host; more can be registered at any time.
    pub fn functions(&self) -> &Registry<dyn Function> {
        &self.0.tools.functions
    }

    /// Runs a plan to its end. With the id of an interrupted or cancelled run, goes on with it; with the id of a run
    /// that ended, gives its report and runs nothing. Dropping the future cancels the run.
    ///
    /// # Errors
    /// `Invalid` for a plan that cannot run, `Conflict` when the id belongs to another plan or a run at work,
    /// `Cancelled` and `Timeout` when the call must stop (what finished stays in the journal), and what the store
    /// reports. A task that fails is no error: the report says so.
    pub async fn run(&self, cx: &Context, request: RunRequest) -> Result<RunReport> {
        finish(cx, self.start(cx, request).await?).await
    }

    /// Starts a plan like [`run`](Self::run), and returns once it is in the journal.
    ///
    /// # Errors
    /// Those of [`run`](Self::run).
    pub async fn start(&self, cx: &Context, request: RunRequest) -> Result<RunHandle> {
        let id = request.run.unwrap_or_else(|| uuid::Uuid::now_v7().simple().to_string());
        self.launch(cx, id, Some(request.tasks), request.concurrency).await
    }

    /// Goes on with an interrupted or cancelled run by the plan in the journal, like [`run`](Self::run).
    ///
    /// # Errors
    /// `NotFound` when there is no such run, and those of [`run`](Self::run).
    pub async fn resume(&self, cx: &Context, run: &str) -> Result<RunReport> {
        finish(cx, self.launch(cx, run.to_owned(), None, None).await?).await
    }

    /// A run as it is in the journal: the tasks that ended, all `restored`.
    ///
    /// # Errors
    /// `NotFound` when there is no such run.
    pub async fn get(&self, cx: &Context, run: &str) -> Result<RunReport> {
        cx.check()?;
        check_id(run)?;
        let (store, run) = (self.0.store.clone(), run.to_owned());
        blocking(move || report(&store, run)).await
    }

    /// Ids of runs that have not ended, oldest first: those at work, and those that were interrupted. A run that the
    /// caller cancelled is not among them.
    ///
    /// # Errors
    /// What the store reports.
    pub async fn unfinished(&self, cx: &Context) -> Result<Vec<String>> {
        cx.check()?;
        let store = self.0.store.clone();
        blocking(move || store.read(journal::unfinished)).await
    }

    /// Takes the run and sets it to work.
    async fn launch(
        &self,
        cx: &Context,
        id: String,
        plan: Option<Plan>,
        concurrency: Option<usize>,
    ) -> Result<RunHandle> {
        cx.check()?;
        check_id(&id)?;
        concurrency.map_or(Ok(()), check_concurrency)?;
        let alone = Alone::new(&self.0.store, &id)?;
        let (new, plan) = match plan {
            Some(plan) => {
                let (new, plan) = blocking(move || prepare(plan, concurrency)).await?;
                (Some(new), Some(plan))
            }
            None => (None, None),
        };
        let Inner { config, store, tools, runtime } = &*self.0;
        let (fence, next) = match journal::claim(store, &id, new, config.lease_ms).await? {
            Claim::Ours { fence, next } => (fence, next),
            Claim::Ended => {
                let store = store.clone();
                let ended = id.clone();
                return Ok(handle(id, cx).0.with(blocking(move || report(&store, ended)).await));
            }
            Claim::Missing => return Err(missing(&id)),
            Claim::Busy { until_ms } => return Err(busy(&id, until_ms)),
            Claim::OtherPlan => return Err(self.other_plan(id, plan).await),
        };
        let journal = Journal::new(store.clone(), id.clone(), fence, next, config.lease_ms);
        let (mut past, recorded) = {
            let (store, id) = (store.clone(), id.clone());
            blocking(move || read_past(&store, &id)).await?
        };
        let (started, cx) = handle(id.clone(), cx);
        let concurrency = concurrency.or(recorded).unwrap_or(config.concurrency);
        let shared = Shared {
            plan: std::mem::take(&mut past.plan),
            journal,
            tools: Arc::clone(tools),
            cx,
            closing: runtime.closing().clone(),
            timeout_ms: config.timeout_ms,
            backoff_ms: config.backoff_ms,
            lease_ms: config.lease_ms,
        };
        let run = Run::new(id, Arc::new(shared), past, concurrency, runtime.clone());
        let StartedHandle { handle, done } = started;
        runtime.spawn(async move {
            let report = run.drive().await;
            // Whoever hears of the end may run the same id again at once.
            drop(alone);
            let _ = done.send(report);
        });
        Ok(handle)
    }

    async fn other_plan(&self, id: String, given: Option<Plan>) -> Error {
        let (store, run) = (self.0.store.clone(), id.clone());
        let differs = match (blocking(move || read_past(&store, &run)).await, given) {
            (Ok((past, _)), Some(given)) => hash::difference(&past.plan, &given),
            (Err(error), _) => return error,
            (_, None) => String::new(),
        };
        let advice = "resume it with its own plan, or give the new plan another id";
        Error::new(ErrorKind::Conflict, format!("run \"{id}\" belongs to another plan: {differs}; {advice}"))
            .during("ParallelEngine::run")
    }
}

/// A handle whose report is not known yet.
struct StartedHandle {
    handle: RunHandle,
    done: oneshot::Sender<Result<RunReport>>,
}

impl StartedHandle {
    fn with(self, report: Result<RunReport>) -> RunHandle {
        let _ = self.done.send(report);
        self.handle
    }
}

/// A handle, and the context of its run.
fn handle(run: String, cx: &Context) -> (StartedHandle, Context) {
    let cx = cx.child();
    let (done, receiver) = oneshot::channel();
    let cancel = cx.cancel.clone();
    let handle = RunHandle { run, done: receiver, _cancel_on_drop: cancel.clone().drop_guard(), cancel };
    (StartedHandle { handle, done }, cx)
}

async fn finish(cx: &Context, handle: RunHandle) -> Result<RunReport> {
    let report = handle.report().await?;
    if report.state == RunState::Cancelled {
        cx.check()?;
    }
    Ok(report)
}

/// Checks a plan and makes it ready for the journal.
fn prepare(plan: Plan, concurrency: Option<usize>) -> Result<(NewRun, Plan)> {
    plan.validate()?;
    let hash = hash::hash(&plan)?;
    let event = JournalEvent::Planned { plan };
    let planned = serde_json::to_vec(&event)
        .map_err(|e| Error::unexpected("a plan has no JSON form").during("ParallelEngine::run").caused_by(e))?;
    let JournalEvent::Planned { plan } = event else { return Err(Error::unexpected("a plan changed its kind")) };
    Ok((NewRun { planned: Arc::new(planned), hash, concurrency }, plan))
}

/// What happened to `run`, and the concurrency it was started with.
fn read_past(store: &Store, run: &str) -> Result<(Past, Option<usize>)> {
    let (record, events) = store.read(|read| Ok((journal::record(read, run)?, journal::events(read, run)?)))?;
    let record = record.ok_or_else(|| missing(run))?;
    Ok((Past::new(events)?, record.concurrency))
}

fn report(store: &Store, run: String) -> Result<RunReport> {
    let (record, events) = store.read(|read| Ok((journal::record(read, &run)?, journal::events(read, &run)?)))?;
    let record = record.ok_or_else(|| missing(&run))?;
    Ok(Past::new(events)?.into_report(run, record.state))
}

fn missing(run: &str) -> Error {
    Error::not_found(format!("there is no run \"{run}\" in this folder; run its plan under this id"))
        .during("ParallelEngine::run")
}

fn busy(run: &str, until_ms: u64) -> Error {
    let left = until_ms.saturating_sub(journal::now_ms());
    let message =
        format!("run \"{run}\" is being worked on by another process until {left} ms from now, or longer; wait for it");
    Error::new(ErrorKind::Conflict, message).during("ParallelEngine::run").with("lease_until_ms", until_ms)
}

fn check_id(run: &str) -> Result<()> {
    if run.is_empty() || run.len() > MAX_RUN_ID || run.chars().any(char::is_control) {
        let message = format!("the id of a run is 1 to {MAX_RUN_ID} bytes of text without control characters");
        return Err(Error::invalid(message).during("ParallelEngine::run"));
    }
    Ok(())
}

fn check_concurrency(concurrency: usize) -> Result<()> {
    if concurrency == 0 || concurrency > MAX_CONCURRENCY {
        return Err(Error::invalid(format!("concurrency is 1 to {MAX_CONCURRENCY}")).with("concurrency", concurrency));
    }
    Ok(())
}

/// The runs that this process works on, by folder and id.
static AT_WORK: Mutex<Option<HashSet<(PathBuf, String)>>> = Mutex::new(None);

/// Says that a run is worked on in this process, until it is dropped.
#[derive(Debug)]
struct Alone((PathBuf, String));

impl Alone {
    fn new(store: &Store, run: &str) -> Result<Self> {
        let key = (store.folder().to_owned(), run.to_owned());
        let mut at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        if !at_work.get_or_insert_default().insert(key.clone()) {
            let message = format!("run \"{run}\" is being worked on by this process; wait for its report");
            return Err(Error::new(ErrorKind::Conflict, message).during("ParallelEngine::run"));
        }
        Ok(Self(key))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(at_work) = &mut *AT_WORK.lock().unwrap_or_else(PoisonError::into_inner) {
            at_work.remove(&self.0);
        }
    }
}

#[async_trait]
impl Engine for ParallelEngine {
    type Request = ParallelRequest;
    type Reply = ParallelReply;

    fn name(&self) -> &'static str {
        "parallel"
    }

    async fn call(&self, cx: &Context, request: ParallelRequest) -> Result<ParallelReply> {
        Ok(match request {
            ParallelRequest::Run(request) => ParallelReply::Report(self.run(cx, request).await?),
            ParallelRequest::Resume { run } => ParallelReply::Report(self.resume(cx, &run).await?),
            ParallelRequest::Validate { tasks } => {
                ParallelReply::Order { order: blocking(move || tasks.order()).await? }
            }
            ParallelRequest::Get { run } => ParallelReply::Report(self.get(cx, &run).await?),
            ParallelRequest::Unfinished {} => ParallelReply::Runs { runs: self.unfinished(cx).await? },
        })
    }
}
