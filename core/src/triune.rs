//! The handle a program holds: wires the parts together.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    config::Config,
    context::Context,
    creative::{CreativeEngine, CreativeSolution, SolveRequest},
    engine::{DynEngine, Engine, Function, Health, Registry},
    error::{Error, ErrorKind, Result},
    folder::{self, FolderReply, FolderRequest},
    gate::{Gate, GateEngine},
    model::{ChatModel, Embedder, ImageModel, ImageRequest, LocalStatistics, Reranker},
    monitor::{EventSink, EventStream, Fanout, Metrics},
    open::{Location, OpenModels, open_models, parse_url},
    parallel::{ParallelEngine, RunReport, RunRequest},
    recall::{Hit, RecallEngine, RecallQuery, StoreRequest},
    router::{CheapestRouter, GenerateReply, GenerateRequest, GenerateStream, ImageReply, Router, RouterEngine},
    runtime::{Runtime, blocking},
    store::Store,
    team::{Epic, EpicReport, TeamEngine, TeamReply, TeamRequest},
};

/// Models, memory, tasks, ideas and a team, in one process and one folder. Cheap to clone; the folder is closed with
/// the last clone.
///
/// ```no_run
/// # async fn example() -> triune::Result<()> {
/// use triune::{Triune, recall::{RecallQuery, StoreRequest}, router::GenerateRequest};
///
/// let mind = Triune::open("./mind").await?;
/// let cx = mind.context();
/// mind.store_knowledge(&cx, StoreRequest::new("Ada moved to Paris in 2024")).await?;
/// for hit in mind.recall_knowledge(&cx, RecallQuery::new("Where does Ada live?", 5)).await? {
///     println!("{:.2} {}", hit.score, hit.item.text);
/// }
/// let reply = mind.generate(&cx, GenerateRequest::new("Say hello to Ada.")).await?;
/// println!("{} ({}, saved {})", reply.text, reply.model, reply.saved);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Triune(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    runtime: Runtime,
    events: Fanout,
    engines: Registry<dyn DynEngine>,
    router: RouterEngine,
    recall: RecallEngine,
    parallel: ParallelEngine,
    creative: CreativeEngine,
    gate: GateEngine,
    team: TeamEngine,
    store: Store,
    /// The settings it goes by and the models opened by them; none until it is open.
    opened: tokio::sync::Mutex<Option<(Config, OpenModels)>>,
}

/// The engines every [`Triune`] has; their names are taken.
const OWN_ENGINES: &[&str] = &["router", "recall", "parallel", "creative", "gate", "team"];

impl Triune {
    /// Opens `lmdb:///path` or a plain path with the settings of the environment, making the folder when it is not
    /// there.
    ///
    /// # Errors
    /// As for [`TriuneBuilder::open`].
    pub async fn open(url: &str) -> Result<Self> {
        Self::builder(url).open().await
    }

    /// Opens `url` step by step.
    pub fn builder(url: &str) -> TriuneBuilder {
        TriuneBuilder { url: url.to_owned(), config: None, router: None, models: Vec::new(), embedder: None }
    }

    /// A context for one call: its events are seen by [`Triune::metrics`] and [`Triune::events`].
    pub fn context(&self) -> Context {
        Context::new().events(Arc::new(self.0.events.clone()))
    }

    /// Calls an engine by name: the JSON form of everything below.
    ///
    /// # Errors
    /// `NotFound` for an unknown engine, `Invalid` for a request of another form, and what the engine returns.
    pub async fn call(&self, cx: &Context, engine: &str, request: Value) -> Result<Value> {
        let engine = self.0.engines.get(engine)?;
        cx.run(engine.call_json(cx, request)).await
    }

    /// Backs the folder up, writes knowledge into a file or reads it in.
    ///
    /// # Errors
    /// See [`FolderRequest`].
    pub async fn folder(&self, cx: &Context, request: FolderRequest) -> Result<FolderReply> {
        folder::ask(cx, (&self.0.recall, &self.0.store), request).await
    }

    /// Generates text by the cheapest model that meets the needs.
    ///
    /// # Errors
    /// See [`RouterEngine::generate`].
    pub async fn generate(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateReply> {
        self.0.router.generate(cx, request).await
    }

    /// The same, piece by piece.
    ///
    /// # Errors
    /// See [`RouterEngine::stream`].
    pub async fn stream(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateStream> {
        self.0.router.stream(cx, request).await
    }

    /// Makes images by the image model of the settings.
    ///
    /// # Errors
    /// See [`RouterEngine::generate_image`].
    pub async fn generate_image(&self, cx: &Context, request: ImageRequest) -> Result<ImageReply> {
        self.0.router.generate_image(cx, request).await
    }

    /// Keeps knowledge; returns its id once it is on disk.
    ///
    /// # Errors
    /// See [`RecallEngine::store`].
    pub async fn store_knowledge(&self, cx: &Context, request: StoreRequest) -> Result<String> {
        self.0.recall.store(cx, request).await
    }

    /// Finds knowledge, best first.
    ///
    /// # Errors
    /// See [`RecallEngine::query`].
    pub async fn recall_knowledge(&self, cx: &Context, query: RecallQuery) -> Result<Vec<Hit>> {
        self.0.recall.query(cx, query).await
    }

    /// Runs a plan of tasks to its end.
    ///
    /// # Errors
    /// See [`ParallelEngine::run`].
    pub async fn coordinate_parallel_tasks(&self, cx: &Context, request: RunRequest) -> Result<RunReport> {
        self.0.parallel.run(cx, request).await
    }

    /// Solves a problem with ideas that are measured and ranked.
    ///
    /// # Errors
    /// See [`CreativeEngine::solve`].
    pub async fn generate_creative_solution(&self, cx: &Context, request: SolveRequest) -> Result<CreativeSolution> {
        self.0.creative.solve(cx, request).await
    }

    /// Plans and runs an epic to its end.
    ///
    /// # Errors
    /// Those of [`Coordinator::plan`](crate::team::Coordinator::plan) and [`EpicRun::report`](crate::team::EpicRun::report).
    pub async fn run_epic(&self, cx: &Context, epic: Epic) -> Result<EpicReport> {
        match self.0.team.call(cx, TeamRequest::Run { epic }).await? {
            TeamReply::Report(report) => Ok(*report),
            _ => Err(Error::unexpected("the team answered something else than a report")),
        }
    }

    /// The engine `router`.
    pub fn router(&self) -> &RouterEngine {
        &self.0.router
    }

    /// The engine `recall`.
    pub fn recall(&self) -> &RecallEngine {
        &self.0.recall
    }

    /// The engine `parallel`.
    pub fn parallel(&self) -> &ParallelEngine {
        &self.0.parallel
    }

    /// The engine `creative`.
    pub fn creative(&self) -> &CreativeEngine {
        &self.0.creative
    }

    /// The engine `gate`.
    pub fn gate(&self) -> &GateEngine {
        &self.0.gate
    }

    /// The engine `team`.
    pub fn team(&self) -> &TeamEngine {
        &self.0.team
    }

    /// The store of the folder.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Adds a chat model, or puts it in the place of the one with its id.
    ///
    /// # Errors
    /// `Invalid` when its id is not a name, or its price negative.
    pub fn register_model(&self, model: Arc<dyn ChatModel>) -> Result<()> {
        model.profile().price.validate()?;
        let id = model.profile().id.clone();
        self.0.router.models().register(&id, model)
    }

    /// Goes by other settings of `models`, `image_model`, `discover` and `router` from now on: models, their keys and prices,
    /// budgets, policies. No request is dropped; those on their way keep the models they have. The environment goes before
    /// `config`, and keys are read from it again. Models of the program stay.
    ///
    /// # Errors
    /// `Invalid` when another setting differs from those that the folder was opened with, or a setting is out of range;
    /// `NotFound` for a model that is not on this machine. Then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<()> {
        let config = config.with_environment(std::env::vars_os())?;
        let mut opened = self.0.opened.lock().await;
        let (now, models) = opened.as_mut().ok_or_else(|| Error::unexpected("the mind is not open yet"))?;
        let same = Config {
            models: now.models.clone(),
            image_model: now.image_model.clone(),
            discover: now.discover,
            router: now.router.clone(),
            ..config.clone()
        };
        if config.router.learning.enabled != now.router.learning.enabled {
            let message = "`router.learning.enabled` can only be changed when the folder is opened again";
            return Err(Error::invalid(message).during("Triune::reload"));
        }
        if same != *now {
            let message = "only `models`, `image_model`, `discover` and `router` can be changed while a folder is open; open it \
                           again for other settings";
            return Err(Error::invalid(message).during("Triune::reload"));
        }
        models.replace(&self.context(), &self.0.router, &config).await?;
        *now = config;
        Ok(())
    }

    /// Decides by `router` from now on which model answers.
    pub fn set_router(&self, router: Arc<dyn Router>) {
        self.0.router.set_router(router);
    }

    /// Sets the embedder.
    pub fn set_embedder(&self, embedder: Arc<dyn Embedder>) {
        self.0.router.set_embedder(embedder);
    }

    /// Sets the reranker.
    pub fn set_reranker(&self, reranker: Arc<dyn Reranker>) {
        self.0.router.set_reranker(reranker);
    }

    /// Sets the image model.
    pub fn set_image_model(&self, model: Arc<dyn ImageModel>) {
        self.0.router.set_image_model(model);
    }

    /// Adds a function of the host: a task body, or a tool.
    ///
    /// # Errors
    /// `Invalid` when its name is not one.
    pub fn register_function(&self, function: Arc<dyn Function>) -> Result<()> {
        let name = function.spec().name.clone();
        self.0.parallel.functions().register(&name, function)
    }

    /// Adds an engine of the user.
    ///
    /// # Errors
    /// `Conflict` for the name of an engine of triune, `Invalid` when its name is not one.
    pub fn register_engine(&self, engine: Arc<dyn DynEngine>) -> Result<()> {
        let name = engine.dyn_name().to_owned();
        if OWN_ENGINES.contains(&name.as_str()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("\"{name}\" is an engine of triune; choose another name"),
            ));
        }
        self.0.engines.register(&name, engine)
    }

    /// Adds a gate.
    ///
    /// # Errors
    /// `Invalid` when its name is not one.
    pub fn register_gate(&self, gate: Arc<dyn Gate>) -> Result<()> {
        let name = gate.name().to_owned();
        self.0.gate.gates().register(&name, gate)
    }

    /// Adds a sink that sees every event.
    pub fn add_sink(&self, sink: Arc<dyn EventSink>) {
        self.0.events.add(sink);
    }

    /// Events from now on.
    pub fn events(&self) -> EventStream {
        self.0.events.listen()
    }

    /// What happened so far in this process.
    pub fn metrics(&self) -> Metrics {
        self.0.events.metrics().metrics()
    }

    /// What the models in this process did and hold, by their names: load, cache hits, tokens a second, memory.
    pub fn local_statistics(&self) -> BTreeMap<String, LocalStatistics> {
        self.0.router.local_statistics()
    }

    /// How every engine is, by name.
    pub async fn health(&self, cx: &Context) -> BTreeMap<String, Health> {
        let mut health = BTreeMap::new();
        for engine in self.0.engines.items() {
            health.insert(engine.dyn_name().to_owned(), engine.dyn_health(cx).await);
        }
        health
    }

    /// Stops what still runs and waits for it. What was interrupted can go on when the folder is opened again; what it
    /// cost so far is in the ledger.
    pub async fn close(&self) {
        self.0.runtime.close().await;
        // What dropped calls had to pay was only queued.
        if let Err(error) = self.0.store.flush().await {
            tracing::warn!(%error, "the last writes may be lost");
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        self.runtime.closing().cancel();
        // The engines know the registry they are in: without this they would keep each other, and the folder, open.
        self.engines.clear();
        self.router.models().clear();
        self.parallel.functions().clear();
        self.gate.gates().clear();
    }
}

/// Opens a [`Triune`] step by step.
#[derive(Debug)]
#[must_use = "nothing is opened until `open` is awaited"]
pub struct TriuneBuilder {
    url: String,
    config: Option<Config>,
    router: Option<Arc<dyn Router>>,
    models: Vec<Arc<dyn ChatModel>>,
    embedder: Option<Arc<dyn Embedder>>,
}

impl TriuneBuilder {
    /// With these settings; the environment (`TRIUNE__...`) goes before them.
    pub fn config(mut self, config: Config) -> Self {
        self.config = Some(config);
        self
    }

    /// Deciding by `router` instead of [`CheapestRouter`].
    pub fn router(mut self, router: Arc<dyn Router>) -> Self {
        self.router = Some(router);
        self
    }

    /// With a chat model of the user.
    pub fn model(mut self, model: Arc<dyn ChatModel>) -> Self {
        self.models.push(model);
        self
    }

    /// With an embedder of the user.
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// Opens the folder and loads the models.
    ///
    /// # Errors
    /// `Unsupported` for an unknown scheme, `Invalid` for settings out of range, `NotFound` for a model that is not
    /// on this machine (with the command that gets it), and those of [`Store::open`].
    pub async fn open(self) -> Result<Triune> {
        let Location::Folder(folder) = parse_url(&self.url)?;
        let config = self.config.unwrap_or_default().with_environment(std::env::vars_os())?;
        let (runtime, events) = (Runtime::default(), Fanout::default());
        let store_config = config.store.clone();
        let store = blocking(move || Store::open(&folder, &store_config)).await?;

        let models = Registry::new("model");
        let (engines, functions) = (Registry::new("engine"), Registry::new("function"));
        let own_router = self.router.is_some();
        let policy = self.router.unwrap_or_else(|| Arc::new(CheapestRouter));
        let router = RouterEngine::new(config.router.clone(), policy, models, store.clone())?;
        router.begin_to_learn(own_router, runtime.clone()).await?;
        let recall = RecallEngine::new(config.recall.clone(), store.clone(), router.clone(), runtime.clone())?;
        let parallel = ParallelEngine::new(
            config.parallel.clone(),
            store.clone(),
            router.clone(),
            engines.clone(),
            functions,
            runtime.clone(),
        )?;
        let creative = CreativeEngine::new(config.creative.clone(), router.clone(), recall.clone())?;
        let gate = GateEngine::new()?;
        let team = TeamEngine::new(
            config.team.clone(),
            store.clone(),
            router.clone(),
            recall.clone(),
            parallel.clone(),
            gate.clone(),
            runtime.clone(),
        )?;
        let own: [Arc<dyn DynEngine>; 5] = [
            Arc::new(router.clone()),
            Arc::new(recall.clone()),
            Arc::new(parallel.clone()),
            Arc::new(creative.clone()),
            Arc::new(gate.clone()),
        ];
        for engine in own {
            let name = engine.dyn_name().to_owned();
            engines.register(&name, engine)?;
        }
        team.register_in(&engines)?;
        let opened = tokio::sync::Mutex::default();
        let parts = Parts { runtime, events, engines, router, recall, parallel, creative, gate, team, store, opened };
        let mind = Triune(Arc::new(parts));
        let (chosen_model, chosen_embedder) = (!self.models.is_empty(), self.embedder.is_some());
        for model in self.models {
            mind.register_model(model)?;
        }
        if let Some(embedder) = self.embedder {
            mind.set_embedder(embedder);
        }
        let models = open_models(&mind.context(), &mind.0.router, &config, chosen_model, chosen_embedder).await?;
        *mind.0.opened.lock().await = Some((config, models));
        Ok(mind)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures_util::{StreamExt, stream};
    use serde_json::json;

    use super::*;
    use crate::{
        engine::FnFunction,
        model::{ChatRequest, ChatStream, Delta, EmbedderConfig, FinishReason, ModelProfile, Price, Usage},
        money::NanoUsd,
        parallel::{Plan, Task},
        team::scripted::WordEmbedder,
    };

    /// Costs a dollar an answer.
    #[derive(Debug)]
    struct Dear(ModelProfile);

    impl Dear {
        fn new() -> Arc<Self> {
            let mut profile = ModelProfile::local("dear", 1000);
            profile.price = Price { output: NanoUsd(NanoUsd::PER_USD * 1_000_000), ..Price::default() };
            Arc::new(Self(profile))
        }
    }

    #[async_trait]
    impl ChatModel for Dear {
        fn profile(&self) -> &ModelProfile {
            &self.0
        }

        async fn chat(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
            let usage = Usage { output_tokens: 1, ..Usage::default() };
            let done = Delta::Done { usage, finish_reason: FinishReason::Stop };
            Ok(stream::iter([Ok(Delta::Text { text: "yes".into() }), Ok(done)]).boxed())
        }
    }

    async fn open(folder: &std::path::Path) -> Triune {
        let config = Config::from_json(json!({"discover": false})).unwrap();
        Triune::builder(folder.to_str().unwrap()).config(config).model(Dear::new()).open().await.unwrap()
    }

    #[tokio::test]
    async fn what_a_task_spent_before_the_close_is_in_the_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let mind = open(folder.path()).await;
        let paid = Arc::new(AtomicUsize::new(0));
        let (tool, seen) = (mind.clone(), Arc::clone(&paid));
        let body = FnFunction::new("pays", move |cx: Context, _| {
            let (mind, paid) = (tool.clone(), Arc::clone(&seen));
            async move {
                mind.generate(&cx, GenerateRequest::new("a")).await?;
                paid.fetch_add(1, Ordering::SeqCst);
                std::future::pending().await
            }
        });
        mind.register_function(Arc::new(body)).unwrap();
        let tasks = (0..3).map(|i| Task::function(format!("t{i}"), "pays")).collect();
        let request = RunRequest::new(Plan { tasks });
        let _run = mind.parallel().start(&mind.context(), request).await.unwrap();
        while paid.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        assert_eq!(mind.router().totals(None).unwrap().calls, 0, "they wait for the end of their tasks");
        mind.close().await;
        let totals = mind.router().totals(None).unwrap();
        assert_eq!((totals.calls, totals.cost), (3, NanoUsd(3 * NanoUsd::PER_USD)));
    }

    #[tokio::test]
    async fn what_a_task_spent_is_kept_when_the_runtime_of_the_host_just_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let host = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mind = open(&path).await;
                let (paid, mut was_paid) = tokio::sync::mpsc::channel(1);
                let tool = mind.clone();
                let body = FnFunction::new("pays", move |cx: Context, _| {
                    let (mind, paid) = (tool.clone(), paid.clone());
                    async move {
                        mind.generate(&cx, GenerateRequest::new("a")).await?;
                        let _ = paid.send(()).await;
                        std::future::pending().await
                    }
                });
                mind.register_function(Arc::new(body)).unwrap();
                let request = RunRequest::new(Plan { tasks: vec![Task::function("t", "pays")] });
                let _run = mind.parallel().start(&mind.context(), request).await.unwrap();
                was_paid.recv().await.unwrap();
                // The function holds the mind, so it has to go before the folder can be closed.
                mind.parallel().functions().clear();
            });
        });
        host.join().unwrap();
        assert_eq!(open(folder.path()).await.router().totals(None).unwrap().calls, 1);
    }

    #[tokio::test]
    async fn the_embedder_of_the_program_goes_before_that_of_the_settings() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config { discover: false, ..Config::default() };
        config.embedder = Some(EmbedderConfig { source: "not-on-this-machine".into(), ..EmbedderConfig::default() });
        let open = || Triune::builder(folder.path().to_str().unwrap()).config(config.clone());
        let mind = open().embedder(Arc::new(WordEmbedder::new())).open().await.unwrap();
        assert_eq!(mind.router().embedder().unwrap().profile().id, "words");
        drop(mind);
        assert!(open().open().await.is_err());
    }

    #[tokio::test]
    async fn settings_are_replaced_while_the_folder_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let mind = open(folder.path()).await;
        let mut config = Config { discover: false, ..Config::default() };
        config.router.budgets = vec![serde_json::from_value(json!({ "period": "total", "limit_usd": 0.5 })).unwrap()];
        mind.reload(config.clone()).await.unwrap();
        let cx = mind.context();
        assert_eq!(mind.router().budget_states(&cx).await.unwrap().len(), 1);
        config.router.reference_model = "no such model".into();
        assert_eq!(mind.reload(config.clone()).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(mind.router().budget_states(&cx).await.unwrap().len(), 1, "nothing has changed");
        config.router.reference_model = "gpt-4o".into();
        config.team.agents += 1;
        let error = mind.reload(config.clone()).await.unwrap_err();
        assert!(error.message().contains("`models`"), "{error}");

        // What cannot be registered is found before anything is replaced.
        config.team.agents -= 1;
        config.router.budgets.clear();
        let named = |id: &str| {
            let model = json!({"id": id, "provider": "openai", "source": "m", "base_url": "http://localhost:1", "context_length": 9});
            serde_json::from_value::<crate::model::ModelConfig>(model).unwrap()
        };
        for models in [["a", "two words"], ["a", "a"], ["a", "dear"]] {
            config.models = models.map(named).into();
            assert_eq!(mind.reload(config.clone()).await.unwrap_err().kind(), ErrorKind::Invalid, "{models:?}");
            assert_eq!(mind.router().budget_states(&cx).await.unwrap().len(), 1, "nothing has changed");
            assert_eq!(mind.router().models().names(), ["dear"]);
        }
        config.models = ["a", "b"].map(named).into();
        mind.reload(config.clone()).await.unwrap();
        assert_eq!(mind.router().models().names(), ["a", "b", "dear"]);
        assert!(mind.router().budget_states(&cx).await.unwrap().is_empty());
    }
}
