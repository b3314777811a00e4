//! A memory in a folder of its own, whose embeddings are kept in a file from one run to the next.

use std::{
    collections::HashMap,
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use triune::{
    Context, Error, Registry, Result, Runtime,
    model::{
        ChatModel, Embedder, EmbedderProfile, Embedding, Precision,
        local::{LocalEmbedder, LocalEmbedderConfig},
    },
    recall::{Hit, RecallConfig, RecallEngine, RecallQuery, StoreRequest},
    router::{ModelState, RoutePlan, RouteRequest, Router, RouterConfig, RouterEngine},
    store::{Store, StoreConfig},
};

/// This program asks no chat model.
#[derive(Debug)]
struct NoModels;

impl Router for NoModels {
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        Err(Error::not_found("this program has no chat model"))
    }
}

/// Embeds each text once in its life.
#[derive(Debug)]
struct Kept {
    embedder: LocalEmbedder,
    file: PathBuf,
    known: Mutex<HashMap<u64, Vec<f32>>>,
}

impl Kept {
    fn open(model: &Path, cache: &Path) -> Result<Self> {
        let config = LocalEmbedderConfig::default().precision(Precision::F32);
        let embedder = LocalEmbedder::load_with("all-minilm-l6-v2", model, &config)?;
        let file = cache.join("minilm.vectors");
        let bytes = fs::read(&file).unwrap_or_default();
        let row = 8 + embedder.profile().dimensions * 4;
        let mut known = HashMap::new();
        for row in bytes.chunks_exact(row) {
            let (key, vector) = row.split_at(8);
            let key = u64::from_le_bytes(key.try_into().unwrap_or_default());
            known.insert(key, vector.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
        }
        Ok(Self { embedder, file, known: Mutex::new(known) })
    }
}

/// FNV-1a.
fn key(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[async_trait::async_trait]
impl Embedder for Kept {
    fn profile(&self) -> &EmbedderProfile {
        self.embedder.profile()
    }

    async fn embed(&self, cx: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let missing: Vec<String> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            texts.iter().filter(|text| !known.contains_key(&key(text))).cloned().collect()
        };
        for missing in missing.chunks(256) {
            let made = self.embedder.embed(cx, missing.to_vec()).await?;
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let mut rows = Vec::new();
            for (text, made) in missing.iter().zip(made) {
                rows.extend(key(text).to_le_bytes());
                rows.extend(made.vector.iter().flat_map(|part| part.to_le_bytes()));
                known.insert(key(text), made.vector);
            }
            let mut file = OpenOptions::new();
            let written = file.create(true).append(true).open(&self.file).and_then(|mut file| file.write_all(&rows));
            written.map_err(|e| Error::invalid("no place for vectors").caused_by(e))?;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = texts.iter().map(|text| {
            let vector = known.get(&key(text)).cloned().unwrap_or_default();
            Embedding { vector, tokens: 0, truncated: false }
        });
        Ok(found.collect())
    }
}

/// What is measured.
pub(super) struct Memory {
    pub(super) recall: RecallEngine,
    pub(super) cx: Context,
    _folder: tempfile::TempDir,
}

impl Memory {
    /// An empty memory with the embedder in the folder `model`; `None` finds by words alone.
    pub(super) fn open(model: Option<&Path>, cache: &Path, config: RecallConfig) -> Result<Self> {
        let no_place = |e| Error::invalid("no place for the memory").caused_by(e);
        fs::create_dir_all(cache).map_err(no_place)?;
        let folder = tempfile::tempdir_in(cache).map_err(no_place)?;
        let store = Store::open(folder.path(), &StoreConfig::default())?;
        let models: Registry<dyn ChatModel> = Registry::new("model");
        let router = RouterEngine::new(RouterConfig::default(), Arc::new(NoModels), models, store.clone())?;
        if let Some(model) = model {
            router.set_embedder(Arc::new(Kept::open(model, cache)?));
        }
        let recall = RecallEngine::new(config, store, router, Runtime::default())?;
        Ok(Self { recall, cx: Context::new(), _folder: folder })
    }

    pub(super) async fn store(&self, items: Vec<StoreRequest>) -> Result<()> {
        for items in items.chunks(1_000) {
            self.recall.store_many(&self.cx, items.to_vec()).await?;
        }
        Ok(())
    }

    pub(super) async fn ask(&self, query: RecallQuery) -> Result<Vec<Hit>> {
        self.recall.query(&self.cx, query).await
    }
}
