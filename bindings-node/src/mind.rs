//! The handle that JavaScript holds.

use std::{
    fmt,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

use napi::bindgen_prelude::{Float32Array, Float64Array, Function, Uint32Array};
use napi_derive::napi;
use tokio_util::sync::CancellationToken;
use triune::{
    Config, Error, ErrorKind, Triune,
    recall::StoreRequest,
    router::{ChosenRouter, EmbedRequest, GenerateRequest},
};

use crate::{
    call::context,
    cancel::Cancel,
    embedder::HostEmbedder,
    engine::HostEngine,
    error::{Thrown, answer, read, write},
    events::Events,
    function::HostFunction,
    gate::HostGate,
    host::HostCallback,
    model::HostModel,
    reranker::HostReranker,
    router::HostRouter,
    scope::Scope,
    stream::Pieces,
};

/// An open [`Triune`].
#[napi]
#[derive(Debug)]
pub struct Mind {
    /// None once it is closed.
    triune: RwLock<Option<Triune>>,
    /// Above the cancellation of every call.
    closing: CancellationToken,
}

impl Mind {
    pub(crate) fn new(triune: Triune) -> Self {
        Self { triune: RwLock::new(Some(triune)), closing: CancellationToken::new() }
    }

    fn triune(&self) -> triune::Result<Triune> {
        let triune = self.triune.read().unwrap_or_else(PoisonError::into_inner);
        triune.clone().ok_or_else(|| {
            Error::new(ErrorKind::Cancelled, "this Triune is closed; open the folder again with Triune.open")
        })
    }
}

/// Vectors and what is to be known of them.
#[napi(object)]
pub struct Embedded {
    /// All vectors, one after the other.
    pub vectors: Float32Array,
    /// How many there are.
    pub count: u32,
    /// For each text, whether it was longer than the embedder reads.
    pub truncated: Vec<bool>,
    /// The embedder.
    pub embedder: String,
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Embedded")
    }
}

#[napi]
impl Mind {
    /// What stops one call, or all when this is closed; within a scope, what stops a part of its call.
    #[napi]
    pub fn cancel(&self, scope: Option<&Scope>) -> Cancel {
        scope.map_or_else(|| Cancel::new(self.closing.child_token()), |scope| Cancel::within(scope.inner()))
    }

    /// Asks an engine.
    #[napi]
    pub async fn call(
        &self,
        engine: String,
        request: String,
        options: Option<String>,
        cancel: &Cancel,
    ) -> Result<String, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let reply = triune.call(&cx, &engine, read("the request", &request)?).await?;
        Ok(write(&reply)?)
    }

    /// Asks something of the folder as a whole: a backup, an export, an import.
    #[napi]
    pub async fn folder(&self, request: String, options: Option<String>, cancel: &Cancel) -> Result<String, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let reply = triune.folder(&cx, read("the request", &request)?).await?;
        Ok(write(&reply)?)
    }

    /// Generates piece by piece.
    #[napi]
    pub async fn stream(&self, request: String, options: Option<String>, cancel: &Cancel) -> Result<Pieces, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let request: GenerateRequest = read("the request", &request)?;
        let stream = cx.run(triune.stream(&cx, request)).await?;
        Ok(Pieces::new(cx, stream))
    }

    /// Embeds texts.
    #[napi]
    pub async fn embed(
        &self,
        texts: Vec<String>,
        query: bool,
        options: Option<String>,
        cancel: &Cancel,
    ) -> Result<Embedded, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let reply = cx.run(triune.router().embed(&cx, EmbedRequest { texts, query })).await?;
        Ok(Embedded {
            count: reply.vectors.len() as u32,
            vectors: reply.vectors.concat().into(),
            truncated: reply.truncated,
            embedder: reply.embedder,
        })
    }

    /// Keeps much knowledge in one transaction; answers the ids as JSON. `items` are JSON lists of requests without
    /// their vectors. Those are in `vectors`, one after the other: `lengths` says how long each item's is, 0 for none.
    #[napi]
    pub async fn store_many(
        &self,
        items: Vec<String>,
        vectors: Float32Array,
        lengths: Uint32Array,
        options: Option<String>,
        cancel: &Cancel,
    ) -> Result<String, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let mut requests: Vec<StoreRequest> = Vec::with_capacity(lengths.len());
        for part in items {
            requests.extend(read::<Vec<StoreRequest>>("the items", &part)?);
        }
        let mut rest: &[f32] = &vectors;
        for (request, length) in requests.iter_mut().zip(lengths.iter()) {
            if *length > 0 {
                let (vector, more) = rest
                    .split_at_checked(*length as usize)
                    .ok_or_else(|| Error::unexpected("there are fewer numbers than the vectors have"))?;
                request.vector = Some(vector.to_vec());
                rest = more;
            }
        }
        Ok(write(&cx.run(triune.recall().store_many(&cx, requests)).await?)?)
    }

    /// Counters and latencies, as JSON.
    #[napi]
    #[allow(clippy::unused_async, reason = "so that the JSON is written on a worker thread")]
    pub async fn metrics(&self) -> Result<String, Thrown> {
        Ok(write(&self.triune()?.metrics())?)
    }

    /// How every engine is, as JSON.
    #[napi]
    pub async fn health(&self, options: Option<String>, cancel: &Cancel) -> Result<String, Thrown> {
        let triune = self.triune()?;
        let cx = context(&triune, options.as_deref(), cancel)?;
        let health = cx.run(async { Ok(triune.health(&cx).await) }).await?;
        Ok(write(&health)?)
    }

    /// Hands events to `listener`.
    #[napi]
    pub fn events(&self, listener: Function<'_, String, ()>) -> napi::Result<Events> {
        answer(|| {
            let listener = listener.build_threadsafe_function().weak::<true>().build();
            let listener = listener.map_err(|e| Error::unexpected("the listener cannot be called").caused_by(e))?;
            Ok(Events::new(self.triune()?.events(), listener))
        })
    }

    /// Adds a chat model.
    #[napi]
    pub fn register_model(&self, profile: String, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| Ok(self.triune()?.register_model(Arc::new(HostModel::new(&profile, &callback)?))?))
    }

    /// Sets the embedder.
    #[napi]
    pub fn set_embedder(&self, profile: String, callback: HostCallback<'_, Float32Array>) -> napi::Result<()> {
        answer(|| {
            self.triune()?.set_embedder(Arc::new(HostEmbedder::new(&profile, &callback)?));
            Ok(())
        })
    }

    /// Has a function of the user choose the models from now on.
    #[napi]
    pub fn set_router(&self, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| {
            self.triune()?.set_router(Arc::new(ChosenRouter::new(HostRouter::new(&callback)?)));
            Ok(())
        })
    }

    /// Sets the reranker.
    #[napi]
    pub fn set_reranker(&self, name: String, callback: HostCallback<'_, Float64Array>) -> napi::Result<()> {
        answer(|| {
            self.triune()?.set_reranker(Arc::new(HostReranker::new(name, &callback)?));
            Ok(())
        })
    }

    /// Adds a function.
    #[napi]
    pub fn register_function(&self, spec: String, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| Ok(self.triune()?.register_function(Arc::new(HostFunction::new(&spec, &callback)?))?))
    }

    /// Takes a function out again. Nothing is there to be taken out once this is closed.
    #[napi]
    pub fn unregister_function(&self, name: String) {
        if let Ok(triune) = self.triune() {
            triune.parallel().functions().remove(&name);
        }
    }

    /// Adds an engine.
    #[napi]
    pub fn register_engine(&self, name: String, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| Ok(self.triune()?.register_engine(Arc::new(HostEngine::new(name, &callback)?))?))
    }

    /// Adds a gate.
    #[napi]
    pub fn register_gate(&self, name: String, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| Ok(self.triune()?.register_gate(Arc::new(HostGate::new(name, &callback)?))?))
    }

    /// Goes by other settings, as JSON or the path of a TOML file, from now on.
    #[napi]
    pub async fn reload(&self, json: Option<String>, file: Option<String>) -> Result<(), Thrown> {
        let triune = self.triune()?;
        let config = match (json, file) {
            (Some(json), _) => Config::from_json(read("the settings", &json)?)?,
            (None, Some(path)) => {
                let read = napi::bindgen_prelude::spawn_blocking(move || Config::from_file(Path::new(&path)));
                read.await.map_err(|e| Error::unexpected("settings cannot be read").caused_by(e))??
            }
            (None, None) => Config::default(),
        };
        Ok(triune.reload(config).await?)
    }

    /// Stops what still runs, waits for it and closes the folder. Closing again does nothing.
    #[napi]
    pub async fn close(&self) {
        let triune = self.triune.write().unwrap_or_else(PoisonError::into_inner).take();
        self.closing.cancel();
        if let Some(triune) = triune {
            triune.close().await;
        }
    }
}
