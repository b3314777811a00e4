//! The engine `team`.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Coordinator, Epic, EpicPlan, EpicReport, Planner, TeamConfig, TeamReply, TeamRequest, assign, crew, plan, planner,
    record::{self, EpicRecord},
    report::report,
    tally::Tally,
    work::work,
};
use crate::{
    context::Context,
    engine::{DynEngine, Engine, Health, Registry},
    error::{Error, ErrorKind, Result},
    gate::GateEngine,
    monitor::EventKind,
    parallel::{ParallelEngine, Plan, RunRequest, Task, TaskBody},
    recall::RecallEngine,
    router::RouterEngine,
    runtime::Runtime,
    store::Store,
};

/// The name it is called by, which tasks of epics in the journal bear.
const NAME: &str = "team";

/// The engine `team`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TeamEngine(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) config: TeamConfig,
    pub(super) store: Store,
    pub(super) router: RouterEngine,
    pub(super) recall: RecallEngine,
    pub(super) parallel: ParallelEngine,
    pub(super) gate: GateEngine,
    runtime: Runtime,
}

/// An epic at work. Dropping it cancels the work; what finished stays in the journal.
#[derive(Debug)]
pub struct EpicRun {
    /// The id of the epic.
    pub epic: String,
    done: oneshot::Receiver<Result<EpicReport>>,
    cancel: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl EpicRun {
    /// Stops the work. Its report says `cancelled`, and a run with the same id goes on with it.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end. An epic that was cancelled has a report too.
    ///
    /// # Errors
    /// `Timeout` when the deadline of the caller passed, and what the store and Parallel Mind report. What finished
    /// stays in the journal in each case.
    pub async fn report(self) -> Result<EpicReport> {
        // By name, so that the guard lives until the end.
        let Self { epic, done, _cancel_on_drop, .. } = self;
        done.await.map_err(|_| {
            Error::new(ErrorKind::Cancelled, "triune was closed before the epic ended; resume it by its id")
                .with("epic", epic)
        })?
    }
}

impl TeamEngine {
    /// A team that works by these engines. It must be [registered](Self::register_in) with the engines that tasks of
    /// `parallel` call.
    ///
    /// # Errors
    /// `Invalid` when the configuration is out of range.
    pub fn new(
        config: TeamConfig,
        store: Store,
        router: RouterEngine,
        recall: RecallEngine,
        parallel: ParallelEngine,
        gate: GateEngine,
        runtime: Runtime,
    ) -> Result<Self> {
        config.validate()?;
        Ok(Self(Arc::new(Inner { config, store, router, recall, parallel, gate, runtime })))
    }

    /// Registers this engine under its name, without keeping it alive: the tasks of its own runs find it there.
    ///
    /// # Errors
    /// None: the name is a good one.
    pub fn register_in(&self, engines: &Registry<dyn DynEngine>) -> Result<()> {
        engines.register(NAME, Arc::new(Door(Arc::downgrade(&self.0))))
    }

    /// Plans and runs `epic`, or goes on with the one of its id.
    async fn plan_and_run(&self, cx: &Context, epic: Epic) -> Result<EpicRun> {
        plan::check_epic(&epic)?;
        let known = epic.id.as_deref().map(|id| record::find(&self.0.store, id)).transpose()?.flatten();
        let Some(known) = known else {
            let plan = self.plan(cx, &epic).await?;
            return self.run(cx, plan).await;
        };
        let old = &known.plan.epic;
        if (&old.title, &old.description, &old.requirements) == (&epic.title, &epic.description, &epic.requirements) {
            return self.go_on(cx, known);
        }
        Err(Error::new(ErrorKind::Conflict, "the id is that of another epic; leave it out or choose another one")
            .during("TeamEngine::run"))
    }

    /// Goes on with an epic, if this process has the models and tools that its agents name.
    fn go_on(&self, cx: &Context, record: EpicRecord) -> Result<EpicRun> {
        self.complete(&record.plan.epic)?;
        Ok(self.start(cx, record))
    }

    /// Keeps what a part of the planning of epic `id` took, also when it failed.
    async fn counted<T>(&self, id: &str, tally: &Tally, planned: Result<T>) -> Result<T> {
        let kept = record::add_planning(&self.0.store, id, tally.spent()).await;
        let planned = planned?;
        kept.map(|()| planned)
    }

    async fn make_plan(&self, cx: &Context, epic: Epic) -> Result<EpicPlan> {
        let (tasks, planner) = Box::pin(planner::tasks(cx, &self.0.router, &epic)).await?;
        let mut plan = EpicPlan { epic, tasks, planner };
        cx.emit(EventKind::EpicPlanned {
            epic: plan.epic.id.clone().unwrap_or_default(),
            tasks: plan.tasks.len(),
            planner: match &plan.planner {
                Planner::Model { model } => model.clone(),
                Planner::Rules { .. } => "rules".into(),
                Planner::Caller => "caller".into(),
            },
        });
        self.assign(cx, &mut plan).await?;
        Ok(plan)
    }

    /// Gives tasks without an agent to one. Tells of every task.
    async fn assign(&self, cx: &Context, plan: &mut EpicPlan) -> Result<()> {
        let EpicPlan { epic, tasks, .. } = plan;
        let fit = assign::fit(cx, &self.0.router, tasks, &epic.agents).await?;
        let given: Vec<_> = tasks
            .iter()
            .map(|task| epic.agents.iter().position(|agent| task.agent.as_ref() == Some(&agent.name)))
            .collect();
        let chosen = assign::assign(&fit, &given, epic.agents.len());
        for ((task, agent), fit) in tasks.iter_mut().zip(chosen).zip(fit) {
            let name = &epic.agents[agent].name;
            task.agent = Some(name.clone());
            cx.emit(EventKind::TaskAssigned {
                epic: epic.id.clone().unwrap_or_default(),
                task: task.name.clone(),
                agent: name.clone(),
                similarity: fit[agent],
            });
        }
        Ok(())
    }

    /// Fills what an epic may leave out, and checks what it names.
    fn complete(&self, epic: &Epic) -> Result<Epic> {
        plan::check_epic(epic)?;
        let mut epic = epic.clone();
        epic.id.get_or_insert_with(|| uuid::Uuid::now_v7().simple().to_string());
        if epic.agents.is_empty() {
            epic.agents = crew::agents(epic.team_size.unwrap_or(self.0.config.agents));
        }
        for agent in &epic.agents {
            if let Some(model) = &agent.model {
                self.0.router.models().get(model)?;
            }
            for tool in &agent.tools {
                self.0.parallel.functions().get(tool)?;
            }
        }
        Ok(epic)
    }

    /// Starts the work of an epic that is kept; one that has ended is not done again.
    fn start(&self, cx: &Context, record: EpicRecord) -> EpicRun {
        let id = record.plan.epic.id.clone().unwrap_or_default();
        let (tell, done) = oneshot::channel();
        let cx = cx.child();
        let cancel = cx.cancel.clone();
        let run = EpicRun { epic: id.clone(), done, _cancel_on_drop: cancel.clone().drop_guard(), cancel };
        if let Some(mut report) = record.report.filter(|report| report.outcome != "cancelled") {
            report.tasks.iter_mut().for_each(|task| task.restored = true);
            let _ = tell.send(Ok(report));
            return run;
        }
        let team = self.clone();
        self.0.runtime.spawn(async move {
            let report = Box::pin(team.drive(&cx, &id, record.plan)).await;
            // Nobody waits for the report of an epic that was let go.
            let _ = tell.send(report);
        });
        run
    }

    async fn drive(&self, cx: &Context, id: &str, plan: EpicPlan) -> Result<EpicReport> {
        let mut request = RunRequest::new(tasks(id, &plan));
        request.run = Some(format!("epic-{id}"));
        request.concurrency = Some(self.0.config.concurrency);
        // Not `run`: what was cancelled has a report too.
        let run = self.0.parallel.start(cx, request).await?.report().await?;
        let took = plan.tasks.iter().map(|task| Ok((task.name.clone(), record::task(&self.0.store, id, &task.name)?)));
        let took = took.collect::<Result<_>>()?;
        let planning = record::planning(&self.0.store, id)?;
        let report = report(id, plan, run, planning, took);
        record::end(&self.0.store, report.clone()).await?;
        cx.emit(EventKind::EpicFinished {
            epic: report.epic.clone(),
            outcome: report.outcome.clone(),
            cost: report.cost,
            saved: report.saved,
            latency_ms: report.latency_ms,
        });
        Ok(report)
    }
}

/// The tasks of a run: each calls this engine by name, so that a fresh process can go on with them.
fn tasks(id: &str, plan: &EpicPlan) -> Plan {
    let tasks = plan.tasks.iter().map(|task| {
        let request = json!({"do": "work", "epic": id, "task": task.name, "results": "{{ results }}"});
        let body = TaskBody::Engine { name: NAME.into(), request };
        Task::new(&task.name, body).after(&task.after)
    });
    Plan { tasks: tasks.collect() }
}

#[async_trait]
impl Coordinator for TeamEngine {
    async fn plan(&self, cx: &Context, epic: &Epic) -> Result<EpicPlan> {
        let epic = self.complete(epic)?;
        let id = epic.id.clone().unwrap_or_default();
        let (tally, cx) = Tally::count(cx);
        let planned = Box::pin(self.make_plan(&cx, epic)).await;
        self.counted(&id, &tally, planned).await
    }

    async fn run(&self, cx: &Context, plan: EpicPlan) -> Result<EpicRun> {
        let mut plan = EpicPlan { epic: self.complete(&plan.epic)?, ..plan };
        plan::check_plan(&plan)?;
        let id = plan.epic.id.clone().unwrap_or_default();
        if plan.tasks.iter().any(|task| task.agent.is_none()) {
            let (tally, cx) = Tally::count(cx);
            let assigned = self.assign(&cx, &mut plan).await;
            self.counted(&id, &tally, assigned).await?;
        }
        let record = record::begin(&self.0.store, id, &plan).await?;
        Ok(self.start(cx, record))
    }
}

#[async_trait]
impl Engine for TeamEngine {
    type Request = TeamRequest;
    type Reply = TeamReply;
    fn name(&self) -> &'static str {
        NAME
    }
    async fn call(&self, cx: &Context, request: TeamRequest) -> Result<TeamReply> {
        let run = match request {
            TeamRequest::Plan { epic } => return Ok(TeamReply::Plan(Box::new(self.plan(cx, &epic).await?))),
            TeamRequest::Unfinished {} => return Ok(TeamReply::Epics { epics: record::unfinished(&self.0.store)? }),
            TeamRequest::Work { epic, task, results } => {
                let work = Box::pin(work(cx, &self.0, &epic, &task, &results)).await?;
                return Ok(TeamReply::Work(Box::new(work)));
            }
            TeamRequest::Run { epic } => self.plan_and_run(cx, epic).await?,
            TeamRequest::RunPlan { plan } => self.run(cx, plan).await?,
            TeamRequest::Resume { epic } => self.go_on(cx, record::epic(&self.0.store, &epic)?)?,
        };
        let report = run.report().await?;
        if report.outcome == "cancelled" {
            cx.check()?;
        }
        Ok(TeamReply::Report(Box::new(report)))
    }
}

/// The team as its own tasks see it. Were it the team itself, the engines would hold the team and the team, through
/// `parallel`, the engines: the store would never close.
#[derive(Debug)]
struct Door(Weak<Inner>);

#[async_trait]
impl DynEngine for Door {
    fn dyn_name(&self) -> &'static str {
        NAME
    }
    async fn call_json(&self, cx: &Context, request: Value) -> Result<Value> {
        let team = self.0.upgrade().ok_or_else(|| Error::new(ErrorKind::Cancelled, "triune was closed"))?;
        TeamEngine(team).call_json(cx, request).await
    }
    async fn dyn_health(&self, _cx: &Context) -> Health {
        Health::good()
    }
}
