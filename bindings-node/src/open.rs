//! Opening.

use std::{path::PathBuf, sync::Arc};

use napi::bindgen_prelude::Float32Array;
use napi_derive::napi;
use triune::{
    Config, Error, Triune,
    model::{ChatModel, Embedder},
};

use crate::{
    embedder::HostEmbedder,
    error::{Thrown, answer, read},
    host::HostCallback,
    mind::Mind,
    model::HostModel,
};

/// Collects what a [`Mind`] is opened with. Parts of the user are taken on the thread of the event loop, the rest is
/// done on a worker.
#[napi]
#[derive(Debug)]
pub struct Opening {
    url: String,
    settings: Settings,
    models: Vec<Arc<dyn ChatModel>>,
    embedder: Option<Arc<dyn Embedder>>,
}

#[derive(Clone, Debug)]
enum Settings {
    Default,
    Json(String),
    File(PathBuf),
}

impl Settings {
    fn config(self) -> triune::Result<Config> {
        match self {
            Self::Default => Ok(Config::default()),
            Self::Json(text) => Config::from_json(read("the settings", &text)?),
            Self::File(path) => Config::from_file(&path),
        }
    }
}

#[napi]
impl Opening {
    /// Will open `url`.
    #[napi(constructor)]
    pub fn new(url: String) -> Self {
        Self { url, settings: Settings::Default, models: Vec::new(), embedder: None }
    }

    /// With these settings, the environment on top.
    #[napi]
    pub fn config(&mut self, json: String) {
        self.settings = Settings::Json(json);
    }

    /// With the settings of a TOML file, the environment on top.
    #[napi]
    pub fn config_file(&mut self, path: String) {
        self.settings = Settings::File(PathBuf::from(path));
    }

    /// With a chat model of the user.
    #[napi]
    pub fn model(&mut self, profile: String, callback: HostCallback<'_, String>) -> napi::Result<()> {
        answer(|| {
            self.models.push(Arc::new(HostModel::new(&profile, &callback)?));
            Ok(())
        })
    }

    /// With an embedder of the user.
    #[napi]
    pub fn embedder(&mut self, profile: String, callback: HostCallback<'_, Float32Array>) -> napi::Result<()> {
        answer(|| {
            self.embedder = Some(Arc::new(HostEmbedder::new(&profile, &callback)?));
            Ok(())
        })
    }

    /// Opens.
    #[napi]
    pub async fn open(&self) -> Result<Mind, Thrown> {
        let mut builder = Triune::builder(&self.url);
        let settings = self.settings.clone();
        let config = napi::bindgen_prelude::spawn_blocking(move || settings.config()).await;
        builder = builder.config(config.map_err(|e| Error::unexpected("settings cannot be read").caused_by(e))??);
        for model in &self.models {
            builder = builder.model(Arc::clone(model));
        }
        if let Some(embedder) = &self.embedder {
            builder = builder.embedder(Arc::clone(embedder));
        }
        Ok(Mind::new(builder.open().await?))
    }
}
