//! Answers that were given before: to the same request, and, where the settings allow it, to one that means the same.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Cache;
use crate::{
    context::Context,
    error::{Error, Result},
    model::{ChatRequest, FinishReason, Role, TokenLogprob, ToolCall, Usage, cosine},
};

/// Which answers are given again to the same request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExactCache {
    /// None.
    Off,
    /// Those to requests that leave nothing to chance: of temperature 0, or with a seed.
    #[default]
    Deterministic,
    /// All.
    All,
}

/// How an answer was found that had been given before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CacheHit {
    /// To the same request.
    Exact,
    /// To one that means the same.
    Semantic,
}

/// Settings of the cache of answers. Answers of one tenant are never given to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnswerCacheConfig {
    /// Which answers are given again to the same request, as long as the models are the same. Default `deterministic`.
    pub exact: ExactCache,
    /// How long, in seconds. Default: a day.
    pub ttl_s: u64,
    /// Gives an answer also to a request that differs in its last message only, when the embeddings of both messages
    /// have at least this cosine, above 0 and up to 1. Find it with `Triune.router.calibrate_cache`, on pairs of your own
    /// requests: a threshold that is too low gives wrong answers. Needs an embedder. Default: off.
    pub semantic: Option<f64>,
    /// Requests of a tenant that are compared with, newest first. They are known until the process ends. Default 10,000.
    pub semantic_entries: usize,
}

impl Default for AnswerCacheConfig {
    fn default() -> Self {
        Self { exact: ExactCache::Deterministic, ttl_s: 86_400, semantic: None, semantic_entries: 10_000 }
    }
}

impl AnswerCacheConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub(super) fn validate(&self) -> Result<()> {
        match self.semantic {
            Some(threshold) if !(threshold > 0.0 && threshold <= 1.0) => {
                Err(Error::invalid(format!("`cache.semantic` of the router is {threshold}; it is above 0 and up to 1")))
            }
            Some(_) if self.exact == ExactCache::Off => Err(Error::invalid(
                "`cache.semantic` of the router gives kept answers again, and `cache.exact` is off: none is kept; set it to \
                 `deterministic`, or leave `semantic` out",
            )),
            _ => Ok(()),
        }
    }
}

impl AnswerCacheConfig {
    /// Whether an answer to `request` may be kept.
    pub(super) fn keeps(&self, request: &ChatRequest) -> bool {
        let sampling = &request.sampling;
        let by_chance = sampling.temperature != Some(0.0) && sampling.seed.is_none();
        match self.exact {
            ExactCache::Off => false,
            ExactCache::Deterministic => !by_chance,
            ExactCache::All => true,
        }
    }
}

/// An answer as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) text: String,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) finish_reason: FinishReason,
    pub(super) model: String,
    pub(super) usage: Usage,
}

/// Where a request is found again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the whole request and its scope.
    exact: [u8; 32],
    /// Of all but the text of the last message; none where that text is not all that is asked.
    rest: Option<[u8; 32]>,
}

impl Place {
    /// Of `request`, as far as `config` lets its answer be kept. `scope` is what else an answer depends on: the models
    /// that there are, and what is needed of them.
    pub(super) fn of(config: &AnswerCacheConfig, request: &ChatRequest, scope: &[u8]) -> Option<Self> {
        if !config.keeps(request) {
            return None;
        }
        let exact = digest(request, scope)?;
        let last = request.messages.last().filter(|last| last.role == Role::User && last.images.is_empty());
        let rest = last.filter(|_| request.tools.is_empty()).and_then(|_| {
            let mut rest = request.clone();
            rest.messages.last_mut()?.content.clear();
            digest(&rest, scope)
        });
        Some(Self { exact, rest })
    }
}

fn digest(request: &ChatRequest, scope: &[u8]) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    hash.update((scope.len() as u64).to_be_bytes());
    hash.update(scope);
    hash.update(serde_json::to_vec(request).ok()?);
    Some(hash.finalize().into())
}

/// The answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    cache: Arc<dyn Cache>,
    ttl: Duration,
    threshold: Option<f64>,
    most: usize,
    /// By tenant, newest first.
    near: Arc<Mutex<HashMap<String, VecDeque<Neighbour>>>>,
}

#[derive(Debug)]
struct Neighbour {
    /// Of all but the last message: only requests that are alike in it are compared.
    rest: [u8; 32],
    vector: Vec<f32>,
    exact: [u8; 32],
}

impl Answers {
    pub(super) fn new(config: &AnswerCacheConfig, cache: Arc<dyn Cache>) -> Self {
        Self {
            cache,
            ttl: Duration::from_secs(config.ttl_s),
            threshold: config.semantic,
            most: config.semantic_entries,
            near: Arc::default(),
        }
    }

    /// Forgets which requests mean the same: another embedder has another space.
    pub(super) fn forget_meanings(&self) {
        self.near.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether the request at `place` is compared with others by what it means.
    pub(super) fn compares(&self, place: &Place) -> bool {
        self.threshold.is_some() && place.rest.is_some()
    }

    /// The answer that was given at `place`.
    pub(super) async fn same(&self, cx: &Context, place: &Place) -> Result<Option<Kept>> {
        self.read(cx, &place.exact).await
    }

    /// The answer that was given to the request most like that at `place`, whose last message has `vector`.
    pub(super) async fn alike(&self, cx: &Context, place: &Place, vector: &[f32]) -> Result<Option<Kept>> {
        match self.nearest(&cx.tenant, place, vector) {
            Some(exact) => self.read(cx, &exact).await,
            None => Ok(None),
        }
    }

    fn nearest(&self, tenant: &str, place: &Place, vector: &[f32]) -> Option<[u8; 32]> {
        let (threshold, rest) = (self.threshold?, place.rest?);
        let near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
        let neighbours = near.get(tenant)?.iter().filter(|neighbour| neighbour.rest == rest);
        let scored = neighbours.map(|neighbour| (f64::from(cosine(&neighbour.vector, vector)), neighbour.exact));
        let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 >= threshold).then_some(best.1)
    }

    /// Keeps `answer` for `place`; with `vector`, if there is one, for requests like it too. An answer that does not
    /// stand by itself is not kept: one that was cut short or withheld.
    pub(super) async fn keep(
        &self,
        cx: &Context,
        place: &Place,
        vector: Option<Vec<f32>>,
        answer: &Kept,
    ) -> Result<()> {
        if !matches!(answer.finish_reason, FinishReason::Stop | FinishReason::ToolCalls) {
            return Ok(());
        }
        let value = serde_json::to_vec(answer).map_err(|e| Error::unexpected("an answer is no JSON").caused_by(e))?;
        self.cache.put(cx, &key(&place.exact), value, Some(self.ttl)).await?;
        if let (Some(vector), Some(rest)) = (vector, place.rest) {
            let mut near = self.near.lock().unwrap_or_else(PoisonError::into_inner);
            let neighbours = near.entry(cx.tenant.to_string()).or_default();
            neighbours.retain(|known| known.exact != place.exact);
            neighbours.push_front(Neighbour { rest, vector, exact: place.exact });
            neighbours.truncate(self.most);
        }
        Ok(())
    }

    /// What cannot be read, being of another version, is as if it had never been kept.
    async fn read(&self, cx: &Context, exact: &[u8; 32]) -> Result<Option<Kept>> {
        let value = self.cache.get(cx, &key(exact)).await?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }
}

/// Apart from what else is in the cache.
fn key(exact: &[u8; 32]) -> Vec<u8> {
    [b"answer:".as_slice(), exact].concat()
}

/// The least cosine at which, of `pairs` of requests (their cosine, and whether one answer serves both), at most
/// `false_hits` in a hundred of the pairs given one answer are wrong. None when no threshold of theirs is that good.
///
/// # Errors
/// `Invalid` without pairs, or for a part that is none.
pub fn calibrate_semantic(pairs: &[(f64, bool)], false_hits: f64) -> Result<Option<f64>> {
    if pairs.is_empty() || !(0.0..1.0).contains(&false_hits) {
        return Err(Error::invalid(
            "calibrating takes pairs of requests, and a part of wrong answers from 0 to below 1",
        ));
    }
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut wrong, mut best) = (0_usize, None);
    for (at, (cosine, same)) in sorted.iter().enumerate() {
        wrong += usize::from(!same);
        let ends_here = sorted.get(at + 1).is_none_or(|next| next.0 < *cosine);
        if ends_here && wrong as f64 <= false_hits * (at + 1) as f64 {
            best = Some(*cosine);
        }
    }
    // Rounding can bring the cosine of one text with itself above 1; what is not alike at all is no threshold.
    Ok(best.map(|cosine| cosine.min(1.0)).filter(|cosine| *cosine > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Message, Sampling},
        router::LmdbCache,
        store::{Store, StoreConfig},
    };

    fn asked(text: &str) -> ChatRequest {
        let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
        ChatRequest { sampling, ..ChatRequest::user(text) }
    }

    fn answer(text: &str) -> Kept {
        Kept {
            text: text.into(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
            finish_reason: FinishReason::Stop,
            model: "m".into(),
            usage: Usage::default(),
        }
    }

    fn open(config: &AnswerCacheConfig) -> (tempfile::TempDir, Answers) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
        (folder, Answers::new(config, Arc::new(LmdbCache::new(store))))
    }

    #[test]
    fn chance_is_kept_only_when_it_is_said_so() {
        let config = AnswerCacheConfig::default();
        let by_chance = ChatRequest::user("a");
        assert!(Place::of(&config, &by_chance, b"m").is_none());
        let all = AnswerCacheConfig { exact: ExactCache::All, ..config.clone() };
        assert!(Place::of(&all, &by_chance, b"m").is_some());
        let off = AnswerCacheConfig { exact: ExactCache::Off, ..config.clone() };
        assert!(Place::of(&off, &asked("a"), b"m").is_none());
        let place = |request: &ChatRequest, scope: &[u8]| Place::of(&config, request, scope).unwrap();
        assert_ne!(place(&asked("a"), b"m"), place(&asked("a"), b"n"), "other models answer otherwise");
        let mut longer = asked("a");
        longer.sampling.max_tokens = Some(9);
        assert_ne!(place(&asked("a"), b"m").exact, place(&longer, b"m").exact);
    }

    #[test]
    fn answers_cannot_be_alike_where_none_is_kept() {
        let config = AnswerCacheConfig { semantic: Some(0.9), exact: ExactCache::Off, ..AnswerCacheConfig::default() };
        assert!(config.validate().unwrap_err().message().contains("cache.exact"));
    }

    #[tokio::test]
    async fn the_same_request_of_the_same_tenant_is_found() {
        let config = AnswerCacheConfig::default();
        let (_folder, answers) = open(&config);
        let (ada, bob) = (Context::new().tenant("ada"), Context::new().tenant("bob"));
        let place = Place::of(&config, &asked("a"), b"m").unwrap();
        assert_eq!(answers.same(&ada, &place).await.unwrap(), None);
        let cut = Kept { finish_reason: FinishReason::Length, ..answer("x") };
        answers.keep(&ada, &place, None, &cut).await.unwrap();
        assert_eq!(answers.same(&ada, &place).await.unwrap(), None, "what was cut short is no answer");
        answers.keep(&ada, &place, None, &answer("x")).await.unwrap();
        assert_eq!(answers.same(&ada, &place).await.unwrap(), Some(answer("x")));
        assert_eq!(answers.same(&bob, &place).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_request_that_means_the_same_is_found_where_all_else_is_the_same() {
        let config = AnswerCacheConfig { semantic: Some(0.9), ..AnswerCacheConfig::default() };
        let (_folder, answers) = open(&config);
        let cx = Context::new().tenant("ada");
        let place = |request: &ChatRequest| Place::of(&config, request, b"m").unwrap();
        answers.keep(&cx, &place(&asked("a")), Some(vec![1.0, 0.0]), &answer("x")).await.unwrap();
        let other = place(&asked("b"));
        assert_eq!(answers.alike(&cx, &other, &[0.95, 0.312]).await.unwrap(), Some(answer("x")));
        assert_eq!(answers.alike(&cx, &other, &[0.8, 0.6]).await.unwrap(), None);
        assert_eq!(answers.alike(&Context::new(), &other, &[1.0, 0.0]).await.unwrap(), None, "another tenant");
        let mut told = asked("b");
        told.messages.insert(0, Message::system("in French"));
        assert_eq!(answers.alike(&cx, &place(&told), &[1.0, 0.0]).await.unwrap(), None);
    }

    #[test]
    fn a_threshold_is_as_low_as_wrong_answers_allow() {
        let pairs = [(0.99, true), (0.97, true), (0.96, false), (0.95, true), (0.9, true), (0.8, false), (0.7, false)];
        assert_eq!(calibrate_semantic(&pairs, 0.0).unwrap(), Some(0.97));
        assert_eq!(calibrate_semantic(&pairs, 0.2).unwrap(), Some(0.9));
        assert_eq!(calibrate_semantic(&[(0.9, false)], 0.1).unwrap(), None);
        assert_eq!(calibrate_semantic(&[(1.000_000_1, true)], 0.0).unwrap(), Some(1.0));
        assert_eq!(calibrate_semantic(&[(-0.2, true)], 0.0).unwrap(), None);
        assert_eq!(calibrate_semantic(&[(0.9, true), (0.9, false)], 0.0).unwrap(), None, "one cosine is one side");
        assert!(calibrate_semantic(&[], 0.1).is_err() && calibrate_semantic(&pairs, 1.0).is_err());
    }
}
