//! One attempt: a model is asked, with leave and with money held for it, and answers in the time that it has.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use tracing::{Instrument, Span, field};

use super::{
    admission::Leave,
    bill::{Bill, may_be_billed},
    breaker::{Outcome, cut_off},
    seam::Seam,
    single::tell_breaker,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, ChatRequest, ChatStream, Delta, FinishReason, TokenLogprob, ToolCall, Usage},
    money::NanoUsd,
};

/// A model of the plan, and what the request is for it.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) model: Arc<dyn ChatModel>,
    pub(super) input_tokens: u64,
    pub(super) max_output_tokens: u64,
}

impl Step {
    pub(super) fn id(&self) -> &str {
        &self.model.profile().id
    }

    /// The most that it can cost, as a plan counts it.
    pub(super) fn most(&self) -> NanoUsd {
        self.model.profile().price.most(self.input_tokens, self.max_output_tokens)
    }
}

/// Time that a model has. Only waiting for it counts: a caller who reads slowly does not make it slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLeft {
    /// In all.
    pub(super) total: Duration,
    /// Until its answer begins.
    pub(super) first: Option<Duration>,
    /// Between two pieces of the answer.
    pub(super) idle: Option<Duration>,
}

/// The attempt in progress. Dropped, it stops the model and pays for what it wrote.
pub(super) struct Live {
    pub(super) step: Step,
    cx: Context,
    left: TimeLeft,
    calling: Option<BoxFuture<'static, Result<ChatStream>>>,
    answer: Option<ChatStream>,
    pub(super) leave: Leave,
    pub(super) bill: Bill,
    pub(super) span: Span,
    pub(super) since: Instant,
    /// Time to the first piece of the answer.
    pub(super) first_after: Option<Duration>,
    /// Joins its answer to what another model gave out.
    pub(super) seam: Option<Seam>,
    pub(super) text: String,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) pieces: u64,
    /// The part of the model's other answers that came to the same, where some were asked for.
    pub(super) agreement: Option<f64>,
    /// Whether it wrote what is not given out as it comes.
    pub(super) hides: bool,
}

impl Live {
    /// Asks `request` of the model; it is sent when the answer is first looked at.
    pub(super) fn new(
        cx: &Context,
        step: Step,
        request: ChatRequest,
        left: TimeLeft,
        (leave, bill): (Leave, Bill),
        seam: Option<Seam>,
    ) -> Self {
        let (cx, span) = (cx.child(), attempt_span(&step));
        let (model, inner) = (Arc::clone(&step.model), cx.clone());
        let calling = async move { model.chat(&inner, request).await }.boxed();
        Self {
            step,
            cx,
            left,
            calling: Some(calling),
            answer: None,
            leave,
            bill,
            span,
            since: Instant::now(),
            first_after: None,
            seam,
            text: String::new(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
            pieces: 0,
            agreement: None,
            hides: false,
        }
    }

    /// Whether a piece of the answer came.
    pub(super) fn has_begun(&self) -> bool {
        self.first_after.is_some()
    }

    /// The next piece of the answer. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Delta> {
        loop {
            let span = self.span.clone();
            match self.look().instrument(span).await? {
                // No pieces of the answer.
                Delta::PaidBy { key } => self.bill.paid_by(key),
                Delta::Usage { usage, whole: true } => self.bill.took(usage),
                Delta::Usage { usage, whole: false } => self.bill.heard(usage),
                delta => {
                    if self.first_after.is_none() {
                        self.first_after = Some(self.since.elapsed());
                        if !matches!(delta, Delta::Done { .. }) {
                            tell_breaker(&self.cx, self.step.id(), self.leave.begun());
                        }
                    }
                    return Ok(delta);
                }
            }
        }
    }

    /// Reads the whole answer, which nobody waits for piece by piece; says what it took.
    pub(super) async fn read_whole(&mut self) -> Result<Usage> {
        loop {
            match self.next().await? {
                Delta::Text { text } => {
                    self.bill.wrote(text.len());
                    self.text.push_str(&text);
                }
                Delta::Progress { bytes } => {
                    self.hides = true;
                    self.bill.wrote(bytes);
                }
                Delta::Logprob { .. } | Delta::PaidBy { .. } | Delta::Usage { .. } => {}
                Delta::ToolCall { call } => {
                    if !self.hides {
                        self.bill.wrote(call.name.len() + call.arguments.to_string().len());
                    }
                    self.tool_calls.push(call);
                }
                Delta::Done { usage, .. } => {
                    self.bill.took(usage);
                    return Ok(usage);
                }
            }
        }
    }

    /// Settles an answer that was read whole, or not to its `end`, and is not given out; says what it cost.
    pub(super) fn close(self, end: &Result<Usage>) -> NanoUsd {
        let (outcome, tokens) = match end {
            Ok(usage) => (Outcome::Success, Some(usage.input_tokens + usage.output_tokens)),
            Err(error) => (Outcome::of(error), None),
        };
        tell_breaker(&self.cx, self.step.id(), self.leave.record(outcome, tokens, Instant::now()));
        self.bill.give_up()
    }

    /// No other model is left: this one is waited for.
    pub(super) fn is_last(&mut self) {
        self.left.first = None;
    }

    /// Whether the time of the attempt ran out while it was writing.
    pub(super) fn wrote_to_the_end(&self) -> bool {
        self.has_begun() && self.left.total.is_zero()
    }

    async fn look(&mut self) -> Result<Delta> {
        if let Some(calling) = &mut self.calling {
            // Sent, it may be billed, also when nobody waits for the answer any more.
            self.bill.begin();
            self.leave.sent();
            let called = wait(&self.cx, &mut self.left, false, calling).await;
            self.calling = None;
            if called.as_ref().is_err_and(|error| !may_be_billed(error)) {
                self.bill.refused();
            }
            self.answer = Some(called?);
        }
        let Some(answer) = &mut self.answer else { return Err(cut_off().during("ChatModel::chat")) };
        let begun = self.first_after.is_some();
        let next = async { Ok(answer.next().await) };
        let delta = wait(&self.cx, &mut self.left, begun, next).await?;
        delta.unwrap_or_else(|| Err(cut_off().during("ChatModel::chat")))
    }

    pub(super) fn latency_ms(&self) -> u64 {
        self.since.elapsed().as_millis() as u64
    }
}

/// Waits for `work` of a model as long as the model has time, and takes from it what the wait took.
async fn wait<T>(cx: &Context, left: &mut TimeLeft, begun: bool, work: impl Future<Output = Result<T>>) -> Result<T> {
    let phase = if begun { left.idle } else { left.first };
    let total = left.total;
    let _waiting = Waiting { since: Instant::now(), left, begun };
    match phase.filter(|phase| *phase < total) {
        None => cx.clone().within(total).run(work).await,
        Some(phase) => match tokio::time::timeout(phase, cx.run(work)).await {
            Ok(done) => done,
            Err(_) if begun => Err(silent("the model stopped in the middle of its answer; see `idle_timeout_ms`")),
            Err(_) => Err(silent("the model did not begin to answer in time; see `first_token_timeout_ms`")),
        },
    }
}

/// Takes what a wait took from the time that is left, also when the wait is dropped.
struct Waiting<'a> {
    since: Instant,
    left: &'a mut TimeLeft,
    begun: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let (took, left) = (self.since.elapsed(), &mut *self.left);
        left.total = left.total.saturating_sub(took);
        if !self.begun {
            left.first = left.first.map(|first| first.saturating_sub(took));
        }
    }
}

fn silent(message: &str) -> Error {
    Error::new(ErrorKind::Timeout, message).during("ChatModel::chat")
}

/// A span by the OpenTelemetry names for generative AI; never a prompt.
fn attempt_span(step: &Step) -> Span {
    let profile = step.model.profile();
    let span = tracing::info_span!(
        "chat",
        otel.name = field::Empty,
        otel.kind = if profile.local { "internal" } else { "client" },
        gen_ai.operation.name = "chat",
        gen_ai.provider.name = profile.provider,
        gen_ai.request.model = profile.id,
        gen_ai.request.max_tokens = step.max_output_tokens,
        gen_ai.usage.input_tokens = field::Empty,
        gen_ai.usage.output_tokens = field::Empty,
        gen_ai.usage.cache_read.input_tokens = field::Empty,
        gen_ai.response.finish_reasons = field::Empty,
        triune.cost.usd = field::Empty,
        error.type = field::Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("chat {}", profile.id));
    }
    span
}

pub(super) fn record_answer(span: &Span, usage: Usage, finish_reason: FinishReason, cost: NanoUsd) {
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
    span.record("gen_ai.response.finish_reasons", finish_reason.as_str());
    span.record("triune.cost.usd", cost.usd());
}
