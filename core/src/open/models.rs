//! The models of a configuration, opened: those that are named, or else the catalogued ones on this machine.

use std::sync::Arc;

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
) -> Result<()> {
    let prices = router.prices();
    let budget = local::MemoryBudget::new(config.memory_budget_bytes);
    for named in &config.models {
        let connect_timeout_ms = named.connect_timeout_ms.or(Some(config.router.connect_timeout_ms));
        let named = ModelConfig { connect_timeout_ms, ..named.clone() };
        let model = open_chat(cx, &named, prices, &budget).await?;
        let id = model.profile().id.clone();
        router.models().register(&id, model)?;
    }
    if config.models.is_empty() && !own_models && config.discover {
        for name in local::present(ModelKind::Chat)? {
            let found = ModelConfig { source: name.clone(), ..ModelConfig::default() };
            router.models().register(&name, open_chat(cx, &found, prices, &budget).await?)?;
        }
    }
    if let Some(named) = &config.image_model {
        router.set_image_model(cloud::open_image_model(named, prices)?);
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
                cloud::open_embedder(cx, &embedder, prices).await?
            }
        });
    }
    if let Some(named) = &config.reranker {
        router.set_reranker(local::open_reranker(cx, named).await?);
    }
    for warning in router.price_warnings() {
        tracing::warn!("{warning}");
    }
    Ok(())
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
