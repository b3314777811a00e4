//! The router at work: chooses models, has the plan walked, and answers about money.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{FutureExt, StreamExt, future::try_join_all, stream};

use super::{
    EmbedReply, EmbedRequest, GenerateReply, GenerateRequest, GenerateStream, ImageReply, LedgerEntry, LedgerQuery,
    LedgerTotals, LmdbCache, RoutePlan, Router, RouterConfig, RouterReply, RouterRequest, StreamEvent,
    admission::Admission,
    answers::Answers,
    breaker::{BreakerPolicy, Breakers},
    budgets::{BudgetState, Budgets, system_clock},
    cascade::Cascade,
    executor::{Mode, Walk},
    hedge::FirstPieces,
    kept::Before,
    learning::Learning,
    ledger::{Ledger, LedgerGroup, LedgerGroupTotals, Policy, Replay, check_tenant},
    prepare::chat_request,
    single::{Answer, Answered, PaidEmbedder, Single},
    structured::Form,
};
use crate::{
    context::Context,
    engine::{Engine, Health, Registry},
    error::{Error, Result},
    model::{
        ChatModel, Embedder, GeneratedImages, ImageModel, ImageRequest, LocalStatistics, ModelProfile, Price,
        PriceWarning, Prices, Reranker, estimate_tokens,
    },
    money::Day,
    monitor::EventKind,
    runtime::blocking,
    store::Store,
};

/// Replies that are shown to be judged when the request does not say how many.
const SHADOWED: usize = 100;

/// The engine `router`: every request to the cheapest model that meets its needs, with fallbacks, breakers, budgets
/// and a ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RouterEngine(Arc<Inner>);

struct Inner {
    router: RwLock<Arc<dyn Router>>,
    models: Registry<dyn ChatModel>,
    embedder: RwLock<Option<Arc<dyn Embedder>>>,
    reranker: RwLock<Option<Arc<dyn Reranker>>>,
    image_model: RwLock<Option<Arc<dyn ImageModel>>>,
    ledger: Arc<Ledger>,
    settings: RwLock<Arc<Settings>>,
    learning: Arc<Learning>,
    admission: Admission,
    first_pieces: FirstPieces,
    store: Store,
}

/// What can change while the engine is open. A request on its way sees the change at its next step.
struct Settings {
    config: Arc<RouterConfig>,
    prices: Arc<Prices>,
    reference: Price,
    budgets: Arc<Budgets>,
    answers: Answers,
}

impl Settings {
    /// Blocks where it reads a price file. What `before` knows of calls on their way goes on.
    fn new(config: RouterConfig, store: &Store, before: Option<&Self>) -> Result<Self> {
        let prices = Prices::load(config.prices.as_deref())?;
        let reference = prices.price(&config.reference_model).map_err(|e| e.with("setting", "reference_model"))?;
        config.cache.validate()?;
        config.learning.validate()?;
        let held = before.map(|before| before.budgets.on_their_way()).unwrap_or_default();
        let budgets = Budgets::new(&config.budgets, config.durable_holds, (store.clone(), held), system_clock)?;
        let answers = Answers::new(&config.cache, Arc::new(LmdbCache::new(store.clone())));
        Ok(Self { prices: Arc::new(prices), reference, budgets: Arc::new(budgets), answers, config: Arc::new(config) })
    }
}

/// Without the price table, which is long.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterEngine")
            .field("router", &self.router)
            .field("models", &self.models.names())
            .finish_non_exhaustive()
    }
}

impl RouterEngine {
    /// A router engine over `models`, deciding by `router`. Reads the price file, if one is configured.
    ///
    /// # Errors
    /// `Invalid` when the configuration names a price file that is not one, a reference model without a price or a
    /// negative budget; `NotFound` when the price file is not there.
    pub fn new(
        config: RouterConfig,
        router: Arc<dyn Router>,
        models: Registry<dyn ChatModel>,
        store: Store,
    ) -> Result<Self> {
        let settings = Settings::new(config, &store, None)?;
        let config = &settings.config;
        let breakers = Breakers::new(BreakerPolicy {
            failures: config.breaker_failures,
            open_for: Duration::from_millis(config.breaker_open_ms),
            exhausted_for: Duration::from_millis(config.exhausted_ms),
            // A probe reports within the time of its call, if it ever does.
            probe_for: Duration::from_millis(config.timeout_ms.max(config.breaker_open_ms)),
        });
        Ok(Self(Arc::new(Inner {
            router: RwLock::new(router),
            models,
            embedder: RwLock::default(),
            reranker: RwLock::default(),
            image_model: RwLock::default(),
            ledger: Arc::new(Ledger::new(store.clone(), config.ledger_days)),
            learning: Arc::new(Learning::new(store.clone())),
            admission: Admission::new(breakers, config.max_concurrency),
            first_pieces: FirstPieces::default(),
            settings: RwLock::new(Arc::new(settings)),
            store,
        })))
    }

    /// Goes by `config` from now on; requests on their way are not dropped. What breakers, places and the ledger go by
    /// stays until the folder is opened again: `breaker_failures`, `breaker_open_ms`, `exhausted_ms`, `max_concurrency` and
    /// `ledger_days`.
    ///
    /// # Errors
    /// As for [`new`](Self::new); then nothing has changed.
    pub async fn reconfigure(&self, config: RouterConfig) -> Result<()> {
        let (before, store) = (self.settings(), self.0.store.clone());
        let settings = blocking(move || Settings::new(config, &store, Some(&before))).await?;
        self.set_settings(Arc::new(settings));
        Ok(())
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.0.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_settings(&self, settings: Arc<Settings>) {
        *self.0.settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// The chat models; more can be registered at any time.
    pub fn models(&self) -> &Registry<dyn ChatModel> {
        &self.0.models
    }

    /// What models cost.
    pub fn prices(&self) -> Arc<Prices> {
        Arc::clone(&self.settings().prices)
    }

    /// Decides by `router` from now on. Requests on their way keep the plan that they have.
    pub fn set_router(&self, router: Arc<dyn Router>) {
        *self.0.router.write().unwrap_or_else(PoisonError::into_inner) = router;
    }

    /// Checks that a model of the settings can be registered by this id.
    pub(crate) fn check_model_id(id: &str) -> Result<()> {
        Registry::<dyn ChatModel>::check_name(id).map_err(|e| e.with("setting", "models"))
    }

    /// What was known of the failures of `model` is of the one that was there before.
    pub(crate) fn renew(&self, model: &str) {
        self.breakers().renew(model);
    }

    /// Sets the embedder.
    pub fn set_embedder(&self, embedder: Arc<dyn Embedder>) {
        self.answers().forget_meanings();
        *self.0.embedder.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder);
    }

    /// The embedder. One that is not of this process, or not free, is tried as often as the settings allow and paid
    /// for. `NotFound`, with the command that gets one, when there is none.
    pub fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        let embedder = self.0.embedder.read().unwrap_or_else(PoisonError::into_inner).clone();
        embedder
            .map(|embedder| PaidEmbedder::of(self, embedder))
            .ok_or_else(|| Error::not_found("there is no embedder; get one with `triune models pull all-minilm-l6-v2`"))
    }

    /// Sets the reranker.
    pub fn set_reranker(&self, reranker: Arc<dyn Reranker>) {
        *self.0.reranker.write().unwrap_or_else(PoisonError::into_inner) = Some(reranker);
    }

    /// The reranker. `NotFound`, with the setting that names one, when there is none.
    pub fn reranker(&self) -> Result<Arc<dyn Reranker>> {
        let reranker = self.0.reranker.read().unwrap_or_else(PoisonError::into_inner).clone();
        reranker.ok_or_else(|| {
            Error::not_found("there is no reranker; name one in the settings: `reranker = { source = \"...\" }`")
        })
    }

    /// Sets the image model.
    pub fn set_image_model(&self, model: Arc<dyn ImageModel>) {
        *self.0.image_model.write().unwrap_or_else(PoisonError::into_inner) = Some(model);
    }

    /// Has no image model any more.
    pub(crate) fn remove_image_model(&self) {
        *self.0.image_model.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The image model. `NotFound`, with the setting that names one, when there is none.
    pub fn image_model(&self) -> Result<Arc<dyn ImageModel>> {
        let model = self.0.image_model.read().unwrap_or_else(PoisonError::into_inner).clone();
        model.ok_or_else(|| {
            Error::not_found("there is no image model; name one in the settings: `image_model = { source = \"...\" }`")
        })
    }

    /// Answers `request`. Returns after the money it cost is in the ledger, or staged with the unit of the call.
    ///
    /// Each model of the plan is tried, errors that may go away more than once, until one answers; an error that lies
    /// in the request ends it at once. Before each try its highest cost is held on every budget it spends from.
    ///
    /// Several answers (`n`) are written at once; when one of them fails for good, the others are stopped.
    pub async fn generate(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateReply> {
        let each = request.each().map_err(|e| e.during("RouterEngine::generate"))?;
        let all = each.into_iter().enumerate().map(|(at, request)| self.generate_one(cx, request, at).boxed());
        let mut replies = try_join_all(all).await?.into_iter();
        let first = replies.next().ok_or_else(|| Error::unexpected("no answer was asked for"))?;
        Ok(GenerateReply { alternatives: replies.collect(), ..first })
    }

    async fn generate_one(&self, cx: &Context, request: GenerateRequest, number: usize) -> Result<GenerateReply> {
        let mut walk = match Box::pin(self.begin(cx, request, (Mode::Whole, number))).await? {
            Begun::Kept(reply) => return Ok(*reply),
            Begun::Walk(walk) => walk,
        };
        while let Some(event) = walk.next().await? {
            if let StreamEvent::Done { reply } = event {
                return Ok(*reply);
            }
        }
        Err(Error::unexpected("an answer ended without its last piece").during("RouterEngine::generate"))
    }

    /// Answers `request` piece by piece. When a model fails after text was given out, another one goes on where the text
    /// broke off; an answer that has a form cannot go on, and the failure is an error of the stream.
    ///
    /// # Errors
    /// `Invalid` for more than one answer: a stream is of one.
    pub async fn stream(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateStream> {
        if request.n != 1 {
            return Err(Error::invalid("a stream has one answer; leave n out, or ask without a stream")
                .during("RouterEngine::stream"));
        }
        let walk = match Box::pin(self.begin(cx, request, (Mode::Pieces, 0))).await? {
            Begun::Kept(reply) => return Ok(in_one_piece(reply)),
            Begun::Walk(walk) => walk,
        };
        let events = stream::unfold(walk, |mut walk| async move {
            let event = walk.next().await.transpose()?;
            Some((event, walk))
        });
        Ok(events.boxed())
    }

    /// Embeds texts.
    pub async fn embed(&self, cx: &Context, request: EmbedRequest) -> Result<EmbedReply> {
        let embedder = self.embedder()?;
        let embeddings = if request.query {
            cx.run(embedder.embed_queries(cx, request.texts)).await?
        } else {
            cx.run(embedder.embed(cx, request.texts)).await?
        };
        let truncated = embeddings.iter().map(|embedding| embedding.truncated).collect();
        let vectors = embeddings.into_iter().map(|embedding| embedding.vector).collect();
        Ok(EmbedReply { vectors, truncated, embedder: embedder.profile().id.clone() })
    }

    /// Makes images by the image model. Returns after the money they cost is in the ledger, or staged with the unit of
    /// the call.
    pub async fn generate_image(&self, cx: &Context, request: ImageRequest) -> Result<ImageReply> {
        request.validate().map_err(|e| e.during("RouterEngine::generate_image"))?;
        let model = self.image_model()?;
        let profile = model.profile();
        let single = Single {
            engine: self,
            cx,
            model: &profile.id,
            key: profile.key.as_deref(),
            price: &profile.price,
            input_tokens: estimate_tokens(request.prompt.len()),
            max_cost: model.max_cost(&request),
            profile: Some(profile),
            // Images are dear, and a server that is late goes on making them.
            repeat_when_billed: false,
        };
        let answered = single.ask(|cx| {
            let (model, request) = (Arc::clone(&model), request.clone());
            Box::pin(async move {
                let GeneratedImages { images, usage, cost } = model.generate(&cx, request).await?;
                Ok(Answer { value: images, usage, cost })
            })
        });
        let Answered { id, value, usage, cost, latency_ms } = answered.await?;
        Ok(ImageReply { id, images: value, model: profile.id.clone(), usage, cost, latency_ms })
    }

    /// The models that would be tried for `request`, and why; nothing is called.
    pub async fn route(&self, cx: &Context, request: &GenerateRequest) -> Result<RoutePlan> {
        let (request, asked) = chat_request(request.clone())?;
        Ok(self.prepare(cx, request, asked).await?.plan)
    }

    /// Entries of the ledger, newest first.
    pub async fn ledger(&self, cx: &Context, query: LedgerQuery) -> Result<Vec<LedgerEntry>> {
        let ledger = Arc::clone(&self.0.ledger);
        cx.run(blocking(move || ledger.query(&query))).await
    }

    /// The entries of the reply `id` among those that fit `query`, newest first.
    pub(super) async fn entries_of(&self, cx: &Context, query: LedgerQuery, id: String) -> Result<Vec<LedgerEntry>> {
        let ledger = Arc::clone(&self.0.ledger);
        cx.run(blocking(move || ledger.of_reply(&query, &id))).await
    }

    /// Sums of the ledger: of `tenant`, or of all when absent.
    pub fn totals(&self, tenant: Option<&str>) -> Result<LedgerTotals> {
        self.0.ledger.totals(tenant)
    }

    /// Sums of the ledger by groups, in the order of their names. Looks at every entry that fits `query`.
    pub async fn groups(&self, cx: &Context, by: LedgerGroup, query: LedgerQuery) -> Result<Vec<LedgerGroupTotals>> {
        let ledger = Arc::clone(&self.0.ledger);
        cx.run(blocking(move || ledger.grouped(by, &query))).await
    }

    /// What the calls that fit `query` would have cost, had `router` chosen among `models`; see [`Replay`].
    pub async fn replay(
        &self,
        cx: &Context,
        query: LedgerQuery,
        router: Arc<dyn Router>,
        models: Vec<Arc<ModelProfile>>,
    ) -> Result<Replay> {
        let ledger = Arc::clone(&self.0.ledger);
        let replay = move || ledger.replay(&query, &Policy::Router { router: &*router, models: &models });
        cx.run(blocking(replay)).await
    }

    /// What the calls that fit `query` would have cost, had `model` served them all; see [`Replay`]. It need not have been
    /// there.
    pub async fn replay_always(&self, cx: &Context, query: LedgerQuery, model: ModelProfile) -> Result<Replay> {
        let ledger = Arc::clone(&self.0.ledger);
        cx.run(blocking(move || ledger.replay(&query, &Policy::Always(&model)))).await
    }

    /// The replay that a request asks for by names.
    async fn replay_asked(
        &self,
        cx: &Context,
        query: LedgerQuery,
        (model, models): (Option<String>, Option<Vec<ModelProfile>>),
    ) -> Result<Replay> {
        let now = || self.0.models.items().into_iter().map(|model| model.profile().clone());
        let Some(name) = model else {
            let models: Vec<_> = models.unwrap_or_else(|| now().collect());
            for profile in &models {
                profile.price.validate()?;
            }
            let models = models.into_iter().map(Arc::new).collect();
            return self.replay(cx, query, self.router(), models).await;
        };
        let known = models.unwrap_or_default().into_iter().chain(now()).find(|profile| profile.id == name);
        let listed = || {
            let price = self.prices().price(&name)?;
            Ok(ModelProfile { price, ..ModelProfile::local(name.clone(), 0) })
        };
        let profile = known.map_or_else(listed, Ok)?;
        self.replay_always(cx, query, profile).await
    }

    /// How the budgets of the settings stand, in their order.
    pub async fn budget_states(&self, cx: &Context) -> Result<Vec<BudgetState>> {
        cx.run(self.budgets().states()).await
    }

    /// What is to be known of the prices of the models there are: which end within 30 days or have ended, and which prices
    /// are older than 90 days.
    pub fn price_warnings(&self) -> Vec<PriceWarning> {
        let models = self.0.models.items();
        let image = self.0.image_model.read().unwrap_or_else(PoisonError::into_inner).clone();
        let chat = models.iter().map(ChatModel::profile);
        let profiles = chat.chain(image.iter().map(|model| model.profile()));
        Prices::warnings(profiles, Day::today())
    }

    /// What the models in this process did and hold, by their names.
    pub fn local_statistics(&self) -> BTreeMap<String, LocalStatistics> {
        let models = self.0.models.items();
        models.iter().filter_map(|model| Some((model.profile().id.clone(), model.local_statistics()?))).collect()
    }

    async fn begin(&self, cx: &Context, request: GenerateRequest, (mode, number): (Mode, usize)) -> Result<Begun> {
        cx.check()?;
        check_tenant(&cx.tenant)?;
        let (request, asked) = chat_request(request)?;
        let form = Form::of(&request.response_format).map_err(|e| e.during("RouterEngine::generate"))?;
        let keeping = match self.kept(cx, &request, (&asked, &form, number)).await? {
            Before::Answered(reply) => return Ok(Begun::Kept(reply)),
            Before::Not(keeping) => keeping,
        };
        let prepared = self.prepare(cx, request, asked).await?;
        let cascade = Cascade::of(self, &prepared, mode)?;
        let plan = &prepared.plan;
        let models: Vec<_> = plan.steps.iter().map(|step| step.model.clone()).collect();
        let reason = plan.steps.first().map(|step| step.reason.clone()).unwrap_or_default();
        cx.emit(EventKind::Routed { models, reason });
        Ok(Begun::Walk(Box::new(Walk::new(self.clone(), cx, prepared, mode, (form, keeping, cascade)))))
    }

    pub(super) fn learning(&self) -> &Arc<Learning> {
        &self.0.learning
    }

    pub(super) fn answers(&self) -> Answers {
        self.settings().answers.clone()
    }

    pub(super) fn router(&self) -> Arc<dyn Router> {
        Arc::clone(&self.0.router.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn breakers(&self) -> &Breakers {
        self.0.admission.breakers()
    }

    pub(super) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    pub(super) fn first_pieces(&self) -> &FirstPieces {
        &self.0.first_pieces
    }

    pub(super) fn config(&self) -> Arc<RouterConfig> {
        Arc::clone(&self.settings().config)
    }

    /// How long it takes until one of `models` that are left alone may be called again; zero when one may now.
    pub(super) fn soonest<'a>(&self, models: impl Iterator<Item = &'a str>) -> Duration {
        let now = Instant::now();
        models.map(|model| self.breakers().left(model, now)).filter(|left| !left.is_zero()).min().unwrap_or_default()
    }

    pub(super) fn budgets(&self) -> Arc<Budgets> {
        Arc::clone(&self.settings().budgets)
    }

    pub(super) fn ledger_book(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    pub(super) fn reference(&self) -> Price {
        self.settings().reference.clone()
    }

    pub(super) fn attempts(&self) -> u32 {
        self.config().attempts.max(1)
    }

    pub(super) fn first_wait(&self) -> Duration {
        Duration::from_millis(self.config().backoff_ms)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.config().timeout_ms)
    }
}

/// How a request begins.
enum Begun {
    /// With an answer that was given before.
    Kept(Box<GenerateReply>),
    /// With the first model.
    Walk(Box<Walk>),
}

/// An answer that is there as a stream.
fn in_one_piece(reply: Box<GenerateReply>) -> GenerateStream {
    let text = (!reply.text.is_empty()).then(|| StreamEvent::Text { text: reply.text.clone() });
    stream::iter(text.into_iter().chain([StreamEvent::Done { reply }]).map(Ok)).boxed()
}

#[async_trait]
impl Engine for RouterEngine {
    type Request = RouterRequest;
    type Reply = RouterReply;

    fn name(&self) -> &'static str {
        "router"
    }

    async fn call(&self, cx: &Context, request: RouterRequest) -> Result<RouterReply> {
        Ok(match request {
            RouterRequest::Generate(request) => RouterReply::Generated(Box::new(self.generate(cx, request).await?)),
            RouterRequest::Route(request) => RouterReply::Routed(self.route(cx, &request).await?),
            RouterRequest::Embed(request) => RouterReply::Embedded(self.embed(cx, request).await?),
            RouterRequest::Image(request) => RouterReply::Images(Box::pin(self.generate_image(cx, request)).await?),
            RouterRequest::Ledger(query) => RouterReply::Ledger(self.ledger(cx, query).await?),
            RouterRequest::Totals { tenant } => RouterReply::Totals(self.totals(tenant.as_deref())?),
            RouterRequest::Groups { by, of } => RouterReply::Groups(self.groups(cx, by, of).await?),
            RouterRequest::Replay { model, models, of } => {
                RouterReply::Replayed(Box::pin(self.replay_asked(cx, of, (model, models))).await?)
            }
            RouterRequest::Budgets {} => RouterReply::Budgets(self.budget_states(cx).await?),
            RouterRequest::PriceWarnings {} => RouterReply::PriceWarnings(self.price_warnings()),
            RouterRequest::Feedback { id, score, shadow_score } => {
                self.judge(cx, &id, score, shadow_score).await?;
                RouterReply::Learned { records: 1 }
            }
            RouterRequest::Shadowed { limit } => {
                RouterReply::Shadowed(self.shadowed(cx, limit.unwrap_or(SHADOWED)).await?)
            }
            RouterRequest::Forget { id } => RouterReply::Forgotten { replies: self.forget(cx, id.as_deref()).await? },
            RouterRequest::Train { records } => RouterReply::Learned { records: self.train(cx, records).await? },
            RouterRequest::Evaluate { records, retention } => {
                RouterReply::Evaluated(Box::new(self.evaluate(cx, records, retention).await?))
            }
            RouterRequest::Calibrate { min_retention, confidence } => {
                let config = &self.config().learning;
                let (retention, confidence) =
                    (min_retention.unwrap_or(config.min_retention), confidence.unwrap_or(config.confidence));
                RouterReply::Calibrated(self.cascade_threshold(retention, confidence)?)
            }
            RouterRequest::CalibrateCache { pairs, false_hits } => {
                RouterReply::CacheThreshold { threshold: self.calibrate_cache(cx, &pairs, false_hits).await? }
            }
            RouterRequest::Explain { id } => RouterReply::Explained { text: self.explain(cx, &id).await? },
            RouterRequest::Models {} => {
                RouterReply::Models(self.0.models.items().iter().map(|model| model.profile().clone()).collect())
            }
            RouterRequest::LocalStatistics {} => RouterReply::LocalStatistics { models: self.local_statistics() },
        })
    }

    async fn health(&self, _: &Context) -> Health {
        let now = Instant::now();
        let models = self.0.models.items();
        let usable =
            |model: &&Arc<dyn ChatModel>| self.breakers().state(&model.profile().id, now) != super::BreakerState::Open;
        match (models.len(), models.iter().filter(usable).count()) {
            (0, _) => Health::bad("there is no model; get one with `triune models pull smollm2-135m`"),
            (all, 0) => Health::bad(format!("all {all} models failed too often and are left alone for a while")),
            // Nothing that keeps calls from working, but something to see to.
            _ => Health {
                detail: self.price_warnings().iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
                ..Health::good()
            },
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
