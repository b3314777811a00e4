//! The router at work: chooses models, has the plan walked, and answers about money.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::{
    EmbedReply, EmbedRequest, GenerateReply, GenerateRequest, GenerateStream, ImageReply, LedgerEntry, LedgerQuery,
    LedgerTotals, ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterReply, RouterRequest, StreamEvent,
    breaker::{BreakerPolicy, Breakers, Permit},
    budgets::{BudgetState, Budgets, system_clock},
    executor::{Mode, Step, Walk},
    ledger::{Candidate, Decision, Ledger, LedgerGroup, LedgerGroupTotals, Policy, Replay, check_tag, check_tenant},
    single::{Answer, Answered, PaidEmbedder, Single},
};
use crate::{
    context::Context,
    engine::{Engine, Health, Registry},
    error::{Error, ErrorKind, Result},
    model::{
        ChatModel, ChatRequest, Embedder, GeneratedImages, ImageModel, ImageRequest, LocalStatistics, ModelProfile,
        Price, PriceWarning, Prices, Reranker, ResponseFormat, estimate_tokens,
    },
    money::Day,
    monitor::EventKind,
    runtime::blocking,
    store::Store,
};

/// Tokens an answer may have when the request does not say.
const DEFAULT_MAX_TOKENS: u64 = 1024;

/// The engine `router`: every request to the cheapest model that meets its needs, with fallbacks, breakers, budgets
/// and a ledger. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RouterEngine(Arc<Inner>);

struct Inner {
    router: Arc<dyn Router>,
    models: Registry<dyn ChatModel>,
    embedder: RwLock<Option<Arc<dyn Embedder>>>,
    reranker: RwLock<Option<Arc<dyn Reranker>>>,
    image_model: RwLock<Option<Arc<dyn ImageModel>>>,
    ledger: Arc<Ledger>,
    prices: Prices,
    reference: Price,
    budgets: Budgets,
    breakers: Breakers,
    config: RouterConfig,
}

/// Without the price table, which is long.
impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterEngine")
            .field("router", &self.router)
            .field("models", &self.models.names())
            .field("config", &self.config)
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
        let prices = Prices::load(config.prices.as_deref())?;
        let reference = prices.price(&config.reference_model).map_err(|e| e.with("setting", "reference_model"))?;
        let open_for = Duration::from_millis(config.breaker_open_ms);
        Ok(Self(Arc::new(Inner {
            router,
            models,
            embedder: RwLock::default(),
            reranker: RwLock::default(),
            image_model: RwLock::default(),
            ledger: Arc::new(Ledger::new(store.clone(), config.ledger_days)),
            prices,
            reference,
            budgets: Budgets::new(&config.budgets, config.durable_holds, store, system_clock)?,
            breakers: Breakers::new(BreakerPolicy { failures: config.breaker_failures, open_for }),
            config,
        })))
    }

    /// The chat models; more can be registered at any time.
    pub fn models(&self) -> &Registry<dyn ChatModel> {
        &self.0.models
    }

    /// What models cost.
    pub fn prices(&self) -> &Prices {
        &self.0.prices
    }

    /// Sets the embedder.
    pub fn set_embedder(&self, embedder: Arc<dyn Embedder>) {
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
    pub async fn generate(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateReply> {
        let mut walk = self.walk(cx, request, Mode::Whole).await?;
        while let Some(event) = walk.next().await? {
            if let StreamEvent::Done { reply } = event {
                return Ok(*reply);
            }
        }
        Err(Error::unexpected("an answer ended without its last piece").during("RouterEngine::generate"))
    }

    /// Answers `request` piece by piece. Once text was given out, a failure of the model is an error of the stream.
    pub async fn stream(&self, cx: &Context, request: GenerateRequest) -> Result<GenerateStream> {
        let walk = self.walk(cx, request, Mode::Pieces).await?;
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
        Ok(self.prepare(cx, request.clone()).await?.plan)
    }

    /// Entries of the ledger, newest first.
    pub async fn ledger(&self, cx: &Context, query: LedgerQuery) -> Result<Vec<LedgerEntry>> {
        let ledger = Arc::clone(&self.0.ledger);
        cx.run(blocking(move || ledger.query(&query))).await
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
            return self.replay(cx, query, Arc::clone(&self.0.router), models).await;
        };
        let known = models.unwrap_or_default().into_iter().chain(now()).find(|profile| profile.id == name);
        let listed = || {
            let price = self.0.prices.price(&name)?;
            Ok(ModelProfile { price, ..ModelProfile::local(name.clone(), 0) })
        };
        let profile = known.map_or_else(listed, Ok)?;
        self.replay_always(cx, query, profile).await
    }

    /// How the budgets of the settings stand, in their order.
    pub async fn budget_states(&self, cx: &Context) -> Result<Vec<BudgetState>> {
        cx.run(self.0.budgets.states()).await
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

    async fn walk(&self, cx: &Context, request: GenerateRequest, mode: Mode) -> Result<Walk> {
        cx.check()?;
        let Prepared { request, plan, steps, decision } = self.prepare(cx, request).await?;
        let models: Vec<_> = plan.steps.iter().map(|step| step.model.clone()).collect();
        let reason = plan.steps.first().map(|step| step.reason.clone()).unwrap_or_default();
        cx.emit(EventKind::Routed { models, reason });
        Ok(Walk::new(self.clone(), cx, request, plan, steps, mode, decision))
    }

    async fn prepare(&self, cx: &Context, request: GenerateRequest) -> Result<Prepared> {
        check_tenant(&cx.tenant)?;
        check_tag(request.tag.as_deref())?;
        let (request, mut asked) = chat_request(request)?;
        asked.thrifty = self.0.budgets.is_thrifty(&cx.tenant, asked.tag.as_deref()).await?;
        let (models, named) = (self.0.models.items(), asked.needs.model.clone());
        // A long text takes a model's tokenizer its time.
        let count = blocking(move || {
            let chosen = |model: &Arc<dyn ChatModel>| named.as_ref().is_none_or(|named| *named == model.profile().id);
            let steps = models.into_iter().map(|model| measure(&request, chosen(&model), model));
            Ok((steps.collect::<Vec<_>>(), request))
        });
        let (mut measured, request) = cx.run(count).await?;
        let now = Instant::now();
        let states: Vec<_> = measured.iter().map(|step| self.state(step, now)).collect();
        asked.input_tokens = measured.iter().map(|step| step.input_tokens).max().unwrap_or_default();
        asked.max_output_tokens = request.sampling.max_tokens.map_or(DEFAULT_MAX_TOKENS, u64::from);
        let plan = self.0.router.route(&asked, &states)?;
        let mut take = |id: &str| {
            let at = measured.iter().position(|step| step.model.profile().id == id);
            at.map(|at| measured.swap_remove(at)).ok_or_else(|| {
                Error::not_found("the router named a model that is not there, or named it twice").with("model", id)
            })
        };
        let steps = plan.steps.iter().map(|step| take(&step.model)).collect::<Result<_>>()?;
        let candidates = states.iter().map(candidate).collect();
        Ok(Prepared { request, plan, steps, decision: Decision { request: asked, candidates } })
    }

    fn state(&self, step: &Step, now: Instant) -> ModelState {
        let profile = step.model.profile();
        ModelState {
            breaker: self.0.breakers.state(&profile.id, now),
            input_tokens: Some(step.input_tokens),
            max_output_tokens: Some(step.max_output_tokens),
            profile: Arc::new(profile.clone()),
        }
    }

    pub(super) fn router(&self) -> &dyn Router {
        &*self.0.router
    }

    pub(super) fn breakers(&self) -> &Breakers {
        &self.0.breakers
    }

    /// Leave to call `model`.
    ///
    /// # Errors
    /// `CircuitOpen` when it failed too often.
    pub(super) fn admit(&self, model: &str) -> Result<Permit> {
        self.0.breakers.admit(model, Instant::now()).ok_or_else(|| {
            Error::new(ErrorKind::CircuitOpen, "the model failed too often and is left alone for a while; call later")
                .with("model", model)
        })
    }

    pub(super) fn budgets(&self) -> &Budgets {
        &self.0.budgets
    }

    pub(super) fn ledger_book(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    pub(super) fn reference(&self) -> &Price {
        &self.0.reference
    }

    pub(super) fn attempts(&self) -> u32 {
        self.0.config.attempts.max(1)
    }

    pub(super) fn first_wait(&self) -> Duration {
        Duration::from_millis(self.0.config.backoff_ms)
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.config.timeout_ms)
    }
}

/// A request that is ready to be walked.
struct Prepared {
    request: ChatRequest,
    plan: RoutePlan,
    steps: VecDeque<Step>,
    decision: Decision,
}

fn candidate(state: &ModelState) -> Candidate {
    let (input_tokens, output_tokens) = (state.input_tokens.unwrap_or(0), state.max_output_tokens.unwrap_or(0));
    Candidate {
        model: state.profile.id.clone(),
        input_tokens,
        max_output_tokens: output_tokens,
        max_cost: state.profile.price.most(input_tokens, output_tokens),
        quality: state.profile.quality,
        breaker: state.breaker,
    }
}

/// What is asked of a model, and what that needs.
fn chat_request(request: GenerateRequest) -> Result<(ChatRequest, RouteRequest)> {
    request.sampling.validate().map_err(|e| e.during("RouterEngine::generate"))?;
    let GenerateRequest { prompt, system, mut needs, tools, response_format, sampling, tag } = request;
    let messages = prompt.into_messages(system);
    if messages.is_empty() {
        return Err(Error::invalid("a chat has at least one message").during("RouterEngine::generate"));
    }
    needs.tools |= !tools.is_empty();
    needs.json_schema |= matches!(response_format, ResponseFormat::JsonSchema { .. });
    needs.grammar |= response_format.needs_grammar();
    needs.images |= messages.iter().any(|message| !message.images.is_empty());
    let request = ChatRequest { messages, tools, response_format, sampling };
    Ok((request, RouteRequest { needs, tag, ..RouteRequest::default() }))
}

/// What `request` is for `model`: its tokens, and those its answer may have. They are estimated where the model cannot
/// be chosen.
fn measure(request: &ChatRequest, can_be_chosen: bool, model: Arc<dyn ChatModel>) -> Step {
    // A model that cannot count refuses the request when it is called; until then the usual estimate stands.
    let counted = can_be_chosen.then(|| model.count_tokens(request).ok()).flatten();
    let input_tokens = counted.unwrap_or_else(|| request.estimate_tokens());
    let left = model.profile().context_length.saturating_sub(input_tokens);
    // A full context leaves no room: one token is asked for, which does not fit either.
    let default = DEFAULT_MAX_TOKENS.min(left).max(1);
    let max_output_tokens = request.sampling.max_tokens.map_or(default, u64::from);
    Step { model, input_tokens, max_output_tokens }
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
            |model: &&Arc<dyn ChatModel>| self.0.breakers.state(&model.profile().id, now) != super::BreakerState::Open;
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
