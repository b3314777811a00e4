//! Parts for tests of the team and of creative: models that answer by a rule, an embedder that counts words, and the
//! engines wired around them.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use super::{TeamConfig, TeamEngine};
use crate::{
    context::Context,
    engine::{DynEngine, Function, Registry},
    error::Result,
    gate::GateEngine,
    model::{
        ChatModel, ChatRequest, ChatStream, Delta, Embedder, EmbedderProfile, Embedding, FinishReason, ModelProfile,
        Price, ToolCall, Usage,
    },
    money::NanoUsd,
    parallel::{ParallelConfig, ParallelEngine},
    recall::{RecallConfig, RecallEngine},
    router::{CheapestRouter, RouterConfig, RouterEngine},
    runtime::Runtime,
    store::{Store, StoreConfig},
};

/// What a model does when it is asked.
pub(crate) enum Answer {
    Text(String),
    Call(ToolCall),
    Fail(crate::Error),
    /// Some text, and then the error.
    Break(&'static str, crate::Error),
    Hang,
}

type Rule = dyn Fn(&ChatRequest, usize) -> Answer + Send + Sync;

/// A model that answers by a rule, given the request and the number of the call.
pub(crate) struct Ruled {
    profile: ModelProfile,
    rule: Box<Rule>,
    asked: Mutex<Vec<ChatRequest>>,
}

impl fmt::Debug for Ruled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ruled")
    }
}

impl Ruled {
    /// A local model that costs a nano-dollar for each token, so that costs show.
    pub(crate) fn new(id: &str, rule: impl Fn(&ChatRequest, usize) -> Answer + Send + Sync + 'static) -> Self {
        let mut profile = ModelProfile::local(id, 8192);
        let price = NanoUsd(1_000_000);
        profile.price = Price::new(price, price);
        Self { profile, rule: Box::new(rule), asked: Mutex::default() }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut ModelProfile)) -> Self {
        change(&mut self.profile);
        self
    }

    pub(crate) fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl ChatModel for Ruled {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(request.clone());
            asked.len() - 1
        };
        let usage = Usage::of(10, 5);
        let (piece, finish_reason) = match (self.rule)(&request, number) {
            Answer::Text(text) => (Delta::Text { text }, FinishReason::Stop),
            Answer::Call(call) => (Delta::ToolCall { call }, FinishReason::ToolCalls),
            Answer::Fail(error) => return Err(error),
            Answer::Break(text, error) => {
                return Ok(stream::iter([Ok(Delta::Text { text: text.into() }), Err(error)]).boxed());
            }
            Answer::Hang => return Ok(stream::pending().boxed()),
        };
        Ok(stream::iter([Ok(piece), Ok(Delta::Done { usage, finish_reason })]).boxed())
    }
}

/// Each word is a direction: texts that share words are near.
#[derive(Debug)]
pub(crate) struct WordEmbedder(EmbedderProfile);

impl WordEmbedder {
    pub(crate) fn new() -> Self {
        Self(EmbedderProfile {
            id: "words".into(),
            dimensions: 256,
            max_tokens: 512,
            local: true,
            price: Price::default(),
            key: None,
        })
    }

    /// One that costs as much for each token as the models.
    pub(crate) fn priced() -> Self {
        let Self(mut profile) = Self::new();
        profile.price.input = NanoUsd(1_000_000);
        Self(profile)
    }
}

#[async_trait]
impl Embedder for WordEmbedder {
    fn profile(&self) -> &EmbedderProfile {
        &self.0
    }

    async fn embed(&self, _: &Context, texts: Vec<String>) -> Result<Vec<Embedding>> {
        let embed = |text: &String| {
            let mut vector = vec![0.0_f32; self.0.dimensions];
            vector[0] = 0.01;
            for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
                let mut hasher = DefaultHasher::new();
                word.to_lowercase().hash(&mut hasher);
                vector[hasher.finish() as usize % self.0.dimensions] += 1.0;
            }
            let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            for x in &mut vector {
                *x /= length;
            }
            Embedding { vector, tokens: 1, truncated: false }
        };
        Ok(texts.iter().map(embed).collect())
    }
}

/// The engines of one folder.
#[derive(Debug)]
pub(crate) struct Mind {
    pub(crate) team: TeamEngine,
    pub(crate) router: RouterEngine,
    pub(crate) recall: RecallEngine,
    pub(crate) functions: Registry<dyn Function>,
    pub(crate) runtime: Runtime,
}

impl Mind {
    pub(crate) fn open(folder: &Path, config: TeamConfig, models: &[Arc<Ruled>], embeds: bool) -> Self {
        let store = Store::open(folder, &StoreConfig::default()).unwrap();
        let runtime = Runtime::default();
        let registry: Registry<dyn ChatModel> = Registry::new("model");
        for model in models {
            registry.register(&model.profile().id, Arc::<Ruled>::clone(model)).unwrap();
        }
        let router =
            RouterEngine::new(RouterConfig::default(), Arc::new(CheapestRouter), registry, store.clone()).unwrap();
        if embeds {
            router.set_embedder(Arc::new(WordEmbedder::new()));
        }
        let recall =
            RecallEngine::new(RecallConfig::default(), store.clone(), router.clone(), runtime.clone()).unwrap();
        let (engines, functions) = (Registry::<dyn DynEngine>::new("engine"), Registry::new("function"));
        let parallel = ParallelEngine::new(
            ParallelConfig::default(),
            store.clone(),
            router.clone(),
            engines.clone(),
            functions.clone(),
            runtime.clone(),
        )
        .unwrap();
        let gate = GateEngine::new().unwrap();
        let team =
            TeamEngine::new(config, store, router.clone(), recall.clone(), parallel, gate, runtime.clone()).unwrap();
        team.register_in(&engines).unwrap();
        Self { team, router, recall, functions, runtime }
    }
}
