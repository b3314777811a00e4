//! Local models, opened where blocking is allowed. Chat models have no weights before they are asked.

use std::sync::Arc;

pub(super) use crate::model::local::MemoryBudget;
use crate::{
    context::Context,
    error::Result,
    model::{
        Catalogue, ChatModel, Embedder, EmbedderConfig, LocalConfig, ModelConfig, ModelKind, Reranker, RerankerConfig,
        local::{LocalEmbedder, LocalEmbedderConfig, LocalModel, LocalReranker},
        source::locate,
    },
    monitor::EventKind,
    runtime::blocking,
};

pub(super) async fn open_chat(cx: &Context, config: &ModelConfig, budget: &MemoryBudget) -> Result<Arc<dyn ChatModel>> {
    let (source, id) = (config.source.clone(), config.id.clone().unwrap_or_else(|| config.source.clone()));
    let context_length = config.context_length.or(config.local.context_length);
    let settings = LocalConfig { context_length, ..config.local.clone() };
    let budget = budget.clone();
    // Without the weights: a program may name more models than it asks, and need not wait for those it asks later.
    let open = move || LocalModel::open_within(id, &locate(&source, ModelKind::Chat)?, &settings, &budget);
    Ok(Arc::new(cx.run(blocking(open)).await?))
}

pub(super) async fn open_embedder(cx: &Context, source: &str, config: &EmbedderConfig) -> Result<Arc<dyn Embedder>> {
    let source = source.to_owned();
    let mut settings = LocalEmbedderConfig::default().precision(config.precision).device(config.device);
    if let Some(prompt) = &config.query_prompt {
        settings = settings.query_prompt(prompt);
    }
    if let Some(prompt) = &config.passage_prompt {
        settings = settings.passage_prompt(prompt);
    }
    let load = move || LocalEmbedder::load_with(source.clone(), &locate(&source, ModelKind::Embedder)?, &settings);
    let embedder = cx.run(blocking(load)).await?;
    let name = embedder.profile().id.clone();
    cx.emit(EventKind::ModelLoaded { model: name, load_ms: embedder.load_ms(), bytes: embedder.bytes() });
    Ok(Arc::new(embedder))
}

pub(super) async fn open_reranker(cx: &Context, config: &RerankerConfig) -> Result<Arc<dyn Reranker>> {
    let RerankerConfig { source, precision } = config.clone();
    // Its files are those of an embedder.
    let load = move || LocalReranker::load(source.clone(), &locate(&source, ModelKind::Embedder)?, precision);
    let reranker = cx.run(blocking(load)).await?;
    let name = reranker.name().to_owned();
    cx.emit(EventKind::ModelLoaded { model: name, load_ms: reranker.load_ms(), bytes: reranker.bytes() });
    Ok(Arc::new(reranker))
}

/// Names of the catalogued models of `kind` that are on this machine.
pub(super) fn present(kind: ModelKind) -> Result<Vec<String>> {
    let names = Catalogue::built_in()?.models.into_iter().filter(|model| model.kind == kind).map(|model| model.name);
    Ok(names.filter(|name| locate(name, kind).is_ok()).collect())
}
