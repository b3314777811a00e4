//! The models of a configuration, opened: those that are named, or else the catalogued ones on this machine.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::{cloud, local};
use crate::{
    config::Config,
    context::Context,
    error::{Error, Result},
    model::{
        ChatModel, ChatRequest, ChatStream, EmbedderConfig, LocalConfig, LocalStatistics, ModelConfig, ModelKind,
        ModelProfile, OpenAiApi, Price, Prices, Provider,
    },
    router::RouterEngine,
    runtime::blocking,
};

/// The embedder that is used when the configuration names none.
const DEFAULT_EMBEDDER: &str = "all-minilm-l6-v2";

/// Opens the models of `config` and hands them to `router`. A kind of model that the program brought itself
/// (`own_models`, `own_embedder`) is not looked for on this machine; its own embedder goes before that of the settings.
pub(crate) async fn open_models(
    cx: &Context,
    router: &RouterEngine,
    config: &Config,
    own_models: bool,
    own_embedder: bool,
) -> Result<OpenModels> {
    let prices = router.prices();
    let budget = local::MemoryBudget::new(config.memory_budget_bytes);
    let mut open = OpenModels { by_id: BTreeMap::new(), budget, own_models, image_model: false };
    for (id, model, named) in open.opened(cx, router, config, &prices).await? {
        router.models().register(&id, model)?;
        open.by_id.insert(id, named);
    }
    if let Some(named) = &config.image_model {
        router.set_image_model(cloud::open_image_model(named, &prices)?);
        open.image_model = true;
    }
    let found =
        || Ok::<_, Error>(local::present(ModelKind::Embedder)?.into_iter().find(|name| name == DEFAULT_EMBEDDER));
    let embedder = match &config.embedder {
        // The program knows better than the settings.
        _ if own_embedder => None,
        Some(named) => Some(named.clone()),
        None if config.discover => found()?.map(|source| EmbedderConfig { source, ..EmbedderConfig::default() }),
        None => None,
    };
    if let Some(embedder) = embedder {
        router.set_embedder(match embedder.provider {
            Provider::Local => {
                let source = if embedder.source.is_empty() { DEFAULT_EMBEDDER } else { &embedder.source };
                local::open_embedder(cx, source, &embedder).await?
            }
            Provider::Openai | Provider::Gemini | Provider::Anthropic => {
                cloud::open_embedder(cx, &embedder, &prices).await?
            }
        });
    }
    if let Some(named) = &config.reranker {
        router.set_reranker(local::open_reranker(cx, named).await?);
    }
    for warning in router.price_warnings() {
        tracing::warn!("{warning}");
    }
    Ok(open)
}

/// The chat models of a configuration that are open.
#[derive(Debug)]
pub(crate) struct OpenModels {
    /// What each was opened by.
    by_id: BTreeMap<String, ModelConfig>,
    budget: local::MemoryBudget,
    own_models: bool,
    /// Whether the image model is one of the configuration.
    image_model: bool,
}

type Opened = (String, Arc<dyn ChatModel>, ModelConfig);

impl OpenModels {
    /// Has `router` go by the models and settings of `config`. A model in this process that is named as before stays in
    /// memory; requests on their way keep the models they have.
    ///
    /// # Errors
    /// As for [`open_models`]; then nothing has changed.
    pub(crate) async fn replace(&mut self, cx: &Context, router: &RouterEngine, config: &Config) -> Result<()> {
        let prices = config.router.prices.clone();
        let prices = blocking(move || Prices::load(prices.as_deref())).await?;
        let opened = self.opened(cx, router, config, &prices).await?;
        let image_model =
            config.image_model.as_ref().map(|named| cloud::open_image_model(named, &prices)).transpose()?;
        router.reconfigure(config.router.clone()).await?;
        let by_id: BTreeMap<_, _> = opened.iter().map(|(id, _, named)| (id.clone(), named.clone())).collect();
        for (id, model, named) in opened {
            router.models().register(&id, model)?;
            if self.by_id.get(&id).is_some_and(|before| *before != named) {
                router.renew(&id);
            }
        }
        for gone in self.by_id.keys().filter(|id| !by_id.contains_key(*id)) {
            router.models().remove(gone);
        }
        match image_model {
            Some(model) => {
                router.set_image_model(model);
                self.image_model = true;
            }
            None if self.image_model => {
                router.remove_image_model();
                self.image_model = false;
            }
            // It is one of the program.
            None => {}
        }
        self.by_id = by_id;
        Ok(())
    }

    /// The models that `config` names, or else those on this machine; those in this process that are open already as they
    /// are.
    async fn opened(
        &self,
        cx: &Context,
        router: &RouterEngine,
        config: &Config,
        prices: &Prices,
    ) -> Result<Vec<Opened>> {
        let mut named = config.models.clone();
        if named.is_empty() && !self.own_models && config.discover {
            let found = local::present(ModelKind::Chat)?.into_iter();
            named.extend(found.map(|source| ModelConfig { source, ..ModelConfig::default() }));
        }
        let mut opened: Vec<Opened> = Vec::new();
        for mut named in named {
            if named.provider != Provider::Local {
                named.connect_timeout_ms = named.connect_timeout_ms.or(Some(config.router.connect_timeout_ms));
            }
            let as_before = self.by_id.iter().find(|(_, known)| **known == named && named.provider == Provider::Local);
            let model = match as_before.and_then(|(id, _)| router.models().get(id).ok()) {
                Some(model) => model,
                None => open_chat(cx, &named, prices, &self.budget).await?,
            };
            let id = model.profile().id.clone();
            // Checked here, so that nothing can fail once the first of them is in its place.
            RouterEngine::check_model_id(&id)?;
            if opened.iter().any(|(known, ..)| *known == id) {
                let message = format!("two models of the settings are called \"{id}\"; give one of them another `id`");
                return Err(Error::invalid(message));
            }
            if router.models().get(&id).is_ok() && !self.by_id.contains_key(&id) {
                let message =
                    format!("the program has a model called \"{id}\" already; give that of the settings another `id`");
                return Err(Error::invalid(message));
            }
            opened.push((id, model, named));
        }
        Ok(opened)
    }
}

async fn open_chat(
    cx: &Context,
    config: &ModelConfig,
    prices: &Prices,
    budget: &local::MemoryBudget,
) -> Result<Arc<dyn ChatModel>> {
    if config.provider != Provider::Local && config.local != LocalConfig::default() {
        let message = "`local` is for models that run in this process; leave it out for a model of a provider";
        return Err(Error::invalid(message).with("model", &config.source));
    }
    if config.provider != Provider::Openai && config.api != OpenAiApi::Chat {
        let message = "`api` is for models of the provider `openai`; leave it out for others";
        return Err(Error::invalid(message).with("model", &config.source));
    }
    config.price.as_ref().map_or(Ok(()), Price::validate)?;
    let model = match config.provider {
        Provider::Local => local::open_chat(cx, config, budget).await?,
        Provider::Openai | Provider::Gemini | Provider::Anthropic => return cloud::open_chat(config, prices),
    };
    let mut profile = model.profile().clone();
    profile.price = config.price.clone().unwrap_or(profile.price);
    profile.capabilities = config.capabilities.unwrap_or(profile.capabilities);
    profile.quality = config.quality.or(profile.quality);
    profile.latency_ms = config.latency_ms.or(profile.latency_ms);
    profile.rate_limit = config.rate_limit.or(profile.rate_limit);
    if profile == *model.profile() { Ok(model) } else { Ok(Arc::new(Reprofiled { profile, model })) }
}

/// A model of which the configuration knows better.
#[derive(Debug)]
struct Reprofiled {
    profile: ModelProfile,
    model: Arc<dyn ChatModel>,
}

#[async_trait]
impl ChatModel for Reprofiled {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, cx: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.model.chat(cx, request).await
    }

    fn count_tokens(&self, request: &ChatRequest) -> Result<u64> {
        self.model.count_tokens(request)
    }

    fn local_statistics(&self) -> Option<LocalStatistics> {
        self.model.local_statistics()
    }
}
