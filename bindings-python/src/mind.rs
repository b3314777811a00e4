//! The native handle: opens a folder, and hands requests to the core as JSON.

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use pyo3::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use triune::{
    Config, Context, Error, ErrorKind, NanoUsd, Result, Triune,
    model::{EmbedderConfig, ModelConfig},
    router::ChosenRouter,
};

use crate::{
    embedder::HostEmbedder,
    engine::HostEngine,
    error::to_py,
    feed::Feed,
    function::HostFunction,
    gate::HostGate,
    host::{HostCall, HostLoop, write},
    model::HostModel,
    reranker::HostReranker,
    router::HostRouter,
    runtime,
    scope::Scope,
    work::{Outcome, Work},
};

/// An open folder with its engines.
#[pyclass(frozen, module = "triune._native")]
pub(crate) struct Mind {
    open: Mutex<Option<Triune>>,
    closed: CancellationToken,
    event_loop: HostLoop,
}

/// A profile as JSON, and the callable that does the work.
type Part<'py> = (String, Bound<'py, PyAny>);

#[pymethods]
impl Mind {
    /// Opens `url`. Settings are JSON or a TOML file, with the environment on top; models and embedder are named by
    /// their sources, or parts of the host.
    #[staticmethod]
    fn open(
        url: &str,
        config: Option<String>,
        config_file: Option<PathBuf>,
        models: Vec<String>,
        host_models: Vec<Part<'_>>,
        embedder: Option<String>,
        host_embedder: Option<Part<'_>>,
    ) -> PyResult<Work> {
        let event_loop = HostLoop::default();
        let mut builder = Triune::builder(url);
        for (profile, chat) in host_models {
            let model = HostModel::new(&profile, HostCall::new(&chat, &event_loop)?).map_err(to_py)?;
            builder = builder.model(Arc::new(model));
        }
        if let Some((profile, embed)) = host_embedder {
            let embedder = HostEmbedder::new(&profile, HostCall::new(&embed, &event_loop)?).map_err(to_py)?;
            builder = builder.embedder(Arc::new(embedder));
        }
        let handle = event_loop.clone();
        Ok(Work::new(&event_loop, None, async move {
            let config = settings(config, config_file, models, embedder)?;
            let open = builder.config(config).open().await?;
            let closed = CancellationToken::new();
            Ok(Outcome::Opened(Box::new(Mind { open: Mutex::new(Some(open)), closed, event_loop: handle })))
        }))
    }

    /// Calls an engine.
    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of Python, one by one")]
    #[pyo3(signature = (engine, request, timeout_ms = None, tenant = None, budget_nano_usd = None, priority = None))]
    fn call(
        &self,
        py: Python<'_>,
        engine: String,
        request: String,
        timeout_ms: Option<f64>,
        tenant: Option<String>,
        budget_nano_usd: Option<i64>,
        priority: Option<&str>,
    ) -> PyResult<Work> {
        let mind = self.mind().map_err(to_py)?;
        let outer = Scope::inner(py, &self.event_loop)?;
        let cx = context(outer, &mind, timeout_ms, tenant, budget_nano_usd, priority).map_err(to_py)?;
        Ok(self.work(cx.cancel.clone(), async move {
            let request = parse(&request)?;
            let reply = mind.call(&cx, &engine, request).await?;
            Ok(Outcome::Json(write(&reply)?))
        }))
    }

    /// Asks something of the folder as a whole: a backup, an export, an import.
    #[pyo3(signature = (request, timeout_ms = None, tenant = None, budget_nano_usd = None, priority = None))]
    fn folder(
        &self,
        py: Python<'_>,
        request: String,
        timeout_ms: Option<f64>,
        tenant: Option<String>,
        budget_nano_usd: Option<i64>,
        priority: Option<&str>,
    ) -> PyResult<Work> {
        let mind = self.mind().map_err(to_py)?;
        let outer = Scope::inner(py, &self.event_loop)?;
        let cx = context(outer, &mind, timeout_ms, tenant, budget_nano_usd, priority).map_err(to_py)?;
        Ok(self.work(cx.cancel.clone(), async move {
            let request = serde_json::from_str(&request)
                .map_err(|error| Error::invalid(format!("the folder is not asked for that: {error}")))?;
            Ok(Outcome::Json(write(&mind.folder(&cx, request).await?)?))
        }))
    }

    /// Streams an answer; the request is that of `generate`.
    #[pyo3(signature = (request, timeout_ms = None, tenant = None, budget_nano_usd = None, priority = None))]
    fn stream(
        &self,
        py: Python<'_>,
        request: String,
        timeout_ms: Option<f64>,
        tenant: Option<String>,
        budget_nano_usd: Option<i64>,
        priority: Option<&str>,
    ) -> PyResult<Feed> {
        let mind = self.mind().map_err(to_py)?;
        let outer = Scope::inner(py, &self.event_loop)?;
        let cx = context(outer, &mind, timeout_ms, tenant, budget_nano_usd, priority).map_err(to_py)?;
        let stop = self.closed.child_token();
        let end = cx.clone();
        let start = async move {
            let request = serde_json::from_str(&request)
                .map_err(|error| Error::invalid(format!("the request does not fit engine \"router\": {error}")))?;
            mind.stream(&cx, request).await
        };
        let pieces = stream::once(start).try_flatten().and_then(|event| async move { write(&event) });
        let pieces = stream::unfold((Box::pin(pieces), end), |(mut pieces, cx)| async move {
            let next = cx.run(async { Ok(pieces.next().await) }).await;
            next.unwrap_or_else(|error| Some(Err(error))).map(|piece| (piece, (pieces, cx)))
        });
        Ok(Feed::new(&self.event_loop, stop, pieces))
    }

    /// Events from now on.
    fn events(&self) -> PyResult<Feed> {
        let events = self.mind().map_err(to_py)?.events();
        let pieces = stream::unfold(events, |mut events| async move {
            let event = events.next().await?;
            Some((write(&json!({ "missed": events.missed(), "event": *event })), events))
        });
        Ok(Feed::new(&self.event_loop, self.closed.child_token(), pieces))
    }

    /// The sums of all events as JSON.
    fn metrics(&self) -> PyResult<String> {
        write(&self.mind().map_err(to_py)?.metrics()).map_err(to_py)
    }

    /// How every engine is, as JSON.
    fn health(&self) -> PyResult<Work> {
        let mind = self.mind().map_err(to_py)?;
        let cx = mind.context();
        Ok(self.work(cx.cancel.clone(), async move { Ok(Outcome::Json(write(&mind.health(&cx).await)?)) }))
    }

    /// Adds a chat model.
    fn register_model(&self, profile: &str, chat: &Bound<'_, PyAny>) -> PyResult<()> {
        let model = HostModel::new(profile, self.host(chat)?).map_err(to_py)?;
        self.mind().and_then(|mind| mind.register_model(Arc::new(model))).map_err(to_py)
    }

    /// Sets the embedder.
    fn set_embedder(&self, profile: &str, embed: &Bound<'_, PyAny>) -> PyResult<()> {
        let embedder = HostEmbedder::new(profile, self.host(embed)?).map_err(to_py)?;
        self.mind().map(|mind| mind.set_embedder(Arc::new(embedder))).map_err(to_py)
    }

    /// Has `route` choose the models from now on.
    fn set_router(&self, route: &Bound<'_, PyAny>) -> PyResult<()> {
        let router = ChosenRouter::new(HostRouter::new(self.host(route)?));
        self.mind().map(|mind| mind.set_router(Arc::new(router))).map_err(to_py)
    }

    /// Sets the reranker.
    fn set_reranker(&self, name: String, rerank: &Bound<'_, PyAny>) -> PyResult<()> {
        let reranker = HostReranker::new(name, self.host(rerank)?);
        self.mind().map(|mind| mind.set_reranker(Arc::new(reranker))).map_err(to_py)
    }

    /// Adds a function.
    fn register_function(&self, spec: &str, run: &Bound<'_, PyAny>) -> PyResult<()> {
        let function = HostFunction::new(spec, self.host(run)?).map_err(to_py)?;
        self.mind().and_then(|mind| mind.register_function(Arc::new(function))).map_err(to_py)
    }

    /// Takes a function out again. Nothing is there to be taken out once this is closed.
    fn unregister_function(&self, name: &str) {
        if let Ok(mind) = self.mind() {
            mind.parallel().functions().remove(name);
        }
    }

    /// Adds an engine.
    fn register_engine(&self, name: String, answer: &Bound<'_, PyAny>) -> PyResult<()> {
        let engine = HostEngine::new(name, self.host(answer)?);
        self.mind().and_then(|mind| mind.register_engine(Arc::new(engine))).map_err(to_py)
    }

    /// Adds a gate.
    fn register_gate(&self, name: String, check: &Bound<'_, PyAny>) -> PyResult<()> {
        let gate = HostGate::new(name, self.host(check)?);
        self.mind().and_then(|mind| mind.register_gate(Arc::new(gate))).map_err(to_py)
    }

    /// Goes by other settings, JSON or a TOML file, from now on.
    fn reload(&self, config: Option<String>, config_file: Option<PathBuf>) -> PyResult<Work> {
        let mind = self.mind().map_err(to_py)?;
        Ok(Work::new(&self.event_loop, None, async move {
            mind.reload(settings(config, config_file, Vec::new(), None)?).await?;
            Ok(Outcome::Done)
        }))
    }

    /// Stops what still runs and closes the folder. Closing twice is no error.
    fn close(&self) -> PyResult<Work> {
        runtime::get().map_err(to_py)?;
        let mind = lock(&self.open).take();
        self.closed.cancel();
        Ok(Work::new(&self.event_loop, None, async move {
            if let Some(mind) = mind {
                mind.close().await;
            }
            Ok(Outcome::Done)
        }))
    }
}

impl Mind {
    fn mind(&self) -> Result<Triune> {
        runtime::get()?;
        lock(&self.open).clone().ok_or_else(closed)
    }

    fn host(&self, callable: &Bound<'_, PyAny>) -> PyResult<HostCall> {
        HostCall::new(callable, &self.event_loop)
    }

    /// Work that ends early when the mind is closed.
    fn work(&self, cancel: CancellationToken, work: impl Future<Output = Result<Outcome>> + Send + 'static) -> Work {
        let closing = self.closed.clone();
        Work::new(&self.event_loop, Some(cancel), async move {
            tokio::select! {
                biased;
                () = closing.cancelled() => Err(closed()),
                outcome = work => outcome,
            }
        })
    }
}

impl Drop for Mind {
    fn drop(&mut self) {
        let mind = lock(&self.open).take();
        if runtime::is_forked() {
            // The folder, its threads and their locks belong to the parent.
            mem::forget(mind);
        } else {
            let _inside = runtime::get().ok().map(tokio::runtime::Runtime::enter);
            drop(mind);
        }
    }
}

fn lock(open: &Mutex<Option<Triune>>) -> MutexGuard<'_, Option<Triune>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> Error {
    Error::new(ErrorKind::Cancelled, "this mind is closed; open the folder again")
}

fn parse(request: &str) -> Result<serde_json::Value> {
    serde_json::from_str(request).map_err(|error| Error::invalid(format!("the request is not JSON: {error}")))
}

/// The context of a call: a part of the call that the running code works for, or else one of its own.
fn context(
    outer: Option<Context>,
    mind: &Triune,
    timeout_ms: Option<f64>,
    tenant: Option<String>,
    budget: Option<i64>,
    priority: Option<&str>,
) -> Result<Context> {
    let mut cx = outer.unwrap_or_else(|| mind.context());
    if let Some(ms) = timeout_ms {
        let time = Duration::try_from_secs_f64(ms / 1000.0)
            .map_err(|_| Error::invalid("timeout is a number of seconds, zero or more"))?;
        cx = cx.within(time);
    }
    if let Some(tenant) = tenant {
        cx = cx.tenant(&tenant);
    }
    if let Some(budget) = budget {
        cx = cx.at_most(NanoUsd(budget));
    }
    if let Some(priority) = priority {
        let read = serde_json::from_value(priority.into());
        cx = cx.priority(read.map_err(|_| Error::invalid("priority is interactive, normal or background"))?);
    }
    Ok(cx)
}

fn settings(
    json: Option<String>,
    file: Option<PathBuf>,
    models: Vec<String>,
    embedder: Option<String>,
) -> Result<Config> {
    let mut config = match (json, file) {
        (Some(json), _) => Config::from_json(parse(&json)?)?,
        (None, Some(file)) => Config::from_file(&file)?,
        (None, None) => Config::default(),
    };
    config.models.extend(models.into_iter().map(|source| {
        let mut model = ModelConfig::default();
        model.source = source;
        model
    }));
    if let Some(source) = embedder {
        let mut named = EmbedderConfig::default();
        named.source = source;
        config.embedder = Some(named);
    }
    Ok(config)
}
