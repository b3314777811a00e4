//! A model that answers what a test wrote down for it.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::{
    context::Context,
    error::{Error, Result},
    model::{
        Capabilities, ChatModel, ChatRequest, ChatStream, Delta, FinishReason, ModelProfile, Price, RateLimit,
        ToolCall, Usage,
    },
    money::NanoUsd,
};

type MakeError = fn() -> Error;

enum Act {
    Says(Vec<String>),
    Calls(ToolCall),
    FailsAtOnce(MakeError),
    FailsAfter(Vec<String>, MakeError),
    CutOff(Vec<String>),
    Tells(Vec<Delta>, MakeError),
    Slowly(Duration, Vec<Delta>),
    Hangs,
}

/// Plays its acts, one a call; every text is one token, every request ten.
pub(super) struct Scripted {
    profile: ModelProfile,
    acts: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<ChatRequest>>,
    calls: AtomicUsize,
    counted: AtomicUsize,
    counts_for: Duration,
    most_tokens: u64,
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

impl Scripted {
    pub(super) fn local(id: &str) -> Self {
        Self {
            profile: ModelProfile::local(id, 4096),
            acts: Mutex::default(),
            asked: Mutex::default(),
            calls: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            counts_for: Duration::ZERO,
            most_tokens: 10,
        }
    }

    /// Costs `nano` for each token.
    pub(super) fn remote(id: &str, nano: i64) -> Self {
        let price = NanoUsd(nano * 1_000_000);
        let mut model = Self::local(id);
        model.profile.local = false;
        model.profile.price = Price::new(price, price);
        model
    }

    /// Changes what it can do.
    pub(super) fn offers(&mut self, change: impl FnOnce(&mut Capabilities)) {
        change(&mut self.profile.capabilities);
    }

    /// Says what it is besides its id.
    pub(super) fn is_revision(&mut self, revision: &str) {
        self.profile.revision = Some(revision.to_owned());
    }

    fn act(self, act: Act) -> Self {
        self.acts.lock().unwrap().push_back(act);
        self
    }

    pub(super) fn says(self, texts: &[&str]) -> Self {
        self.act(Act::Says(owned(texts)))
    }

    pub(super) fn calls_tool(self, call: ToolCall) -> Self {
        self.act(Act::Calls(call))
    }

    pub(super) fn fails_at_once(self, error: MakeError) -> Self {
        self.act(Act::FailsAtOnce(error))
    }

    pub(super) fn fails(self, error: MakeError) -> Self {
        self.fails_after(&[], error)
    }

    pub(super) fn fails_after(self, texts: &[&str], error: MakeError) -> Self {
        self.act(Act::FailsAfter(owned(texts), error))
    }

    pub(super) fn cut_off(self, texts: &[&str]) -> Self {
        self.act(Act::CutOff(owned(texts)))
    }

    /// Gives `deltas`, then fails.
    pub(super) fn tells(self, deltas: Vec<Delta>, error: MakeError) -> Self {
        self.act(Act::Tells(deltas, error))
    }

    /// Gives each of `deltas` after such a wait, then ends well.
    pub(super) fn slowly(self, wait: Duration, deltas: Vec<Delta>) -> Self {
        self.act(Act::Slowly(wait, deltas))
    }

    /// Has such a rate limit.
    pub(super) fn limited(mut self, limit: RateLimit) -> Self {
        self.profile.rate_limit = Some(limit);
        self
    }

    /// Has such a price.
    pub(super) fn priced(mut self, price: Price) -> Self {
        self.profile.price = price;
        self
    }

    pub(super) fn hangs(self) -> Self {
        self.act(Act::Hangs)
    }

    /// Takes that long to count tokens.
    pub(super) fn counts_for(mut self, time: Duration) -> Self {
        self.counts_for = time;
        self
    }

    /// May be billed for so many tokens of a request.
    pub(super) fn at_most(mut self, tokens: u64) -> Self {
        self.most_tokens = tokens;
        self
    }

    /// How often it counted tokens.
    pub(super) fn counted(&self) -> usize {
        self.counted.load(Ordering::SeqCst)
    }

    /// What it was asked, in order.
    pub(super) fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[async_trait]
impl ChatModel for Scripted {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, _: &Context, request: ChatRequest) -> Result<ChatStream> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(request.sampling.max_tokens.is_some() || self.profile.local, "what is billed is bounded");
        self.asked.lock().unwrap().push(request);
        let act = self.acts.lock().unwrap().pop_front().expect("the test wrote down too few acts");
        let text = |text: String| Ok(Delta::Text { text });
        Ok(match act {
            Act::Says(texts) => {
                let usage = Usage::of(10, texts.len() as u64);
                let done = Ok(Delta::Done { usage, finish_reason: FinishReason::Stop });
                stream::iter(texts.into_iter().map(text).chain([done])).boxed()
            }
            Act::Calls(call) => {
                let done = Delta::Done { usage: Usage::of(10, 1), finish_reason: FinishReason::ToolCalls };
                stream::iter([Ok(Delta::ToolCall { call }), Ok(done)]).boxed()
            }
            Act::FailsAtOnce(error) => return Err(error()),
            Act::FailsAfter(texts, error) => stream::iter(texts.into_iter().map(text).chain([Err(error())])).boxed(),
            Act::CutOff(texts) => stream::iter(texts.into_iter().map(text)).boxed(),
            Act::Tells(deltas, error) => stream::iter(deltas.into_iter().map(Ok).chain([Err(error())])).boxed(),
            Act::Slowly(wait, deltas) => {
                let usage = Usage::of(10, deltas.len() as u64);
                let done = Delta::Done { usage, finish_reason: FinishReason::Stop };
                let slow = stream::iter(deltas).then(move |delta| async move {
                    tokio::time::sleep(wait).await;
                    Ok(delta)
                });
                slow.chain(stream::iter([Ok(done)])).boxed()
            }
            Act::Hangs => stream::pending().boxed(),
        })
    }

    fn count_tokens(&self, _: &ChatRequest) -> Result<u64> {
        self.counted.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.counts_for);
        Ok(10)
    }

    fn most_tokens(&self, _: &ChatRequest) -> Result<u64> {
        Ok(self.most_tokens)
    }
}
