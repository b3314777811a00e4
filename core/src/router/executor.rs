//! Walks a plan: one attempt after the other until a model answers, each with its permit, its bill and its time.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tracing::{Instrument, Span, field};

use super::{
    Attempt, GenerateReply, RouteOutcome, RoutePlan, StreamEvent,
    backoff::{Backoff, retry_after},
    bill::{Bill, may_be_billed},
    breaker::{Outcome, Permit},
    engine::RouterEngine,
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, ChatRequest, ChatStream, Delta, FinishReason, TokenLogprob, ToolCall, Usage},
    money::NanoUsd,
    monitor::EventKind,
};

/// The longest wait for a model that asked for one, while another model could answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A model of the plan, and what the request is for it.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) model: Arc<dyn ChatModel>,
    pub(super) input_tokens: u64,
    pub(super) max_output_tokens: u64,
}

/// Whether text may be given out before the whole answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// No: any failure can still be answered by another model.
    Whole,
    /// Yes: a failure after text was given out is the caller's.
    Pieces,
}

/// A request on its way through the plan. Dropping it stops the model and pays for what it wrote.
pub(super) struct Walk {
    engine: RouterEngine,
    cx: Context,
    request: ChatRequest,
    plan: RoutePlan,
    /// The models not yet given up; the first is the one tried.
    steps: VecDeque<Step>,
    mode: Mode,
    /// What all attempts together may cost.
    max_cost: Option<NanoUsd>,
    id: String,
    started: Instant,
    attempts: Vec<Attempt>,
    /// What attempts without an answer cost.
    wasted: NanoUsd,
    tries: u32,
    backoff: Backoff,
    pause: Option<Duration>,
    live: Option<Live>,
    given_out: bool,
    ended: bool,
}

/// The attempt in progress.
struct Live {
    cx: Context,
    /// Time the model has left. Only waiting for it counts: a caller who reads slowly does not make it slow.
    left: Duration,
    answer: Option<ChatStream>,
    permit: Permit,
    bill: Bill,
    span: Span,
    since: Instant,
    text: String,
    tool_calls: Vec<ToolCall>,
    logprobs: Vec<TokenLogprob>,
}

/// What came of one look at the answer.
enum Seen {
    Nothing,
    Text(String),
    End(Usage, FinishReason),
}

impl Walk {
    pub(super) fn new(
        engine: RouterEngine,
        cx: &Context,
        request: ChatRequest,
        plan: RoutePlan,
        steps: VecDeque<Step>,
        (mode, max_cost): (Mode, Option<NanoUsd>),
    ) -> Self {
        let backoff = Backoff::new(engine.first_wait());
        Self {
            engine,
            cx: cx.clone(),
            request,
            plan,
            steps,
            mode,
            max_cost,
            id: uuid::Uuid::now_v7().simple().to_string(),
            started: Instant::now(),
            attempts: Vec::new(),
            wasted: NanoUsd::ZERO,
            tries: 0,
            backoff,
            pause: None,
            live: None,
            given_out: false,
            ended: false,
        }
    }

    /// The next piece of the answer; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<StreamEvent>> {
        while !self.ended {
            match self.advance().await {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Text(text)) => return Ok(Some(StreamEvent::Text { text })),
                Ok(Seen::End(usage, finish_reason)) => {
                    self.ended = true;
                    return self.finish(usage, finish_reason).await.map(Some);
                }
                Err(error) => {
                    if let Err(error) = self.fail(error) {
                        self.ended = true;
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn advance(&mut self) -> Result<Seen> {
        if self.live.as_ref().is_none_or(|live| live.answer.is_none()) {
            self.begin().await?;
        }
        let (Some(live), pieces) = (self.live.as_mut(), self.mode == Mode::Pieces) else { return Ok(Seen::Nothing) };
        let Some(answer) = live.answer.as_mut() else { return Ok(Seen::Nothing) };
        let next = wait(&live.cx, &mut live.left, async { Ok(answer.next().await) });
        let delta = next.instrument(live.span.clone()).await?.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the answer was cut off before its end").during("ChatModel::chat")
        })??;
        Ok(match delta {
            Delta::Text { text } => {
                live.bill.wrote(text.len());
                live.text.push_str(&text);
                if pieces && !text.is_empty() {
                    self.given_out = true;
                    Seen::Text(text)
                } else {
                    Seen::Nothing
                }
            }
            Delta::Logprob { logprob } => {
                live.logprobs.push(logprob);
                Seen::Nothing
            }
            Delta::ToolCall { call } => {
                live.bill.wrote(call.name.len() + call.arguments.to_string().len());
                live.tool_calls.push(call);
                Seen::Nothing
            }
            Delta::Done { usage, finish_reason } => Seen::End(usage, finish_reason),
        })
    }

    /// Starts an attempt with the first model that is left.
    async fn begin(&mut self) -> Result<()> {
        if let Some(pause) = self.pause.take() {
            self.cx.sleep(pause).await?;
        }
        self.cx.check()?;
        let step = self.steps.front().ok_or_else(|| Error::unexpected("a plan without a model was walked"))?;
        let profile = step.model.profile();
        self.tries += 1;
        let worst = Usage { input_tokens: step.input_tokens, cached_tokens: 0, output_tokens: step.max_output_tokens };
        let worst = profile.price.cost(&worst);
        if let Some(most) = self.max_cost.filter(|most| self.wasted + worst > *most) {
            return Err(Error::new(ErrorKind::OverBudget, "the call would cost more than its max_cost; allow more")
                .with("needed", worst)
                .with("spent", self.wasted)
                .with("limit", most));
        }
        let permit = self.engine.admit(&profile.id)?;
        let holds = self.engine.budgets().reserve(&self.cx, worst)?;
        let bill = Bill::new(
            Arc::clone(self.engine.ledger_book()),
            &self.cx,
            &self.id,
            (&profile.id, profile.price),
            self.engine.reference(),
            holds,
            step.input_tokens,
        );
        let mut request = self.request.clone();
        request.sampling.max_tokens = Some(u32::try_from(step.max_output_tokens).unwrap_or(u32::MAX));
        let (cx, span) = (self.cx.child(), attempt_span(step));
        // From here on the attempt is in `live`, so that a dropped walk gives permit and money back.
        let live = self.live.insert(Live {
            cx,
            left: self.engine.timeout(),
            answer: None,
            permit,
            bill,
            span,
            since: Instant::now(),
            text: String::new(),
            tool_calls: Vec::new(),
            logprobs: Vec::new(),
        });
        // Sent, it may be billed, also when nobody waits for the answer any more.
        live.bill.begin();
        let called = wait(&live.cx, &mut live.left, step.model.chat(&live.cx, request));
        let called = called.instrument(live.span.clone()).await;
        if called.as_ref().is_err_and(|error| !may_be_billed(error)) {
            live.bill.refused();
        }
        live.answer = Some(called?);
        Ok(())
    }

    /// Notes a failed attempt and prepares the next one.
    ///
    /// # Errors
    /// What the caller gets, when there is to be no next one.
    fn fail(&mut self, error: Error) -> Result<()> {
        // The caller's own end says nothing about the model.
        let left = self.cx.check().err();
        self.note_failure(&error, left.is_some());
        if let Some(left) = left {
            return Err(left.during("RouterEngine::generate"));
        }
        if self.given_out || matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Cancelled) {
            return Err(error);
        }
        if self.may_retry(&error) {
            self.pause = Some(self.backoff.after(&error));
            return Ok(());
        }
        self.steps.pop_front();
        (self.tries, self.backoff) = (0, Backoff::new(self.engine.first_wait()));
        if self.steps.is_empty() { Err(self.exhausted(error)) } else { Ok(()) }
    }

    fn may_retry(&self, error: &Error) -> bool {
        let others = self.steps.len() > 1;
        let asked = retry_after(error).unwrap_or_default();
        // Waiting longer than the caller or one try may take is a failure told late.
        let longest = self.cx.time_left().map_or(self.engine.timeout(), |left| left.min(self.engine.timeout()));
        error.is_retryable()
            && self.tries < self.engine.attempts()
            && error.kind() != ErrorKind::CircuitOpen
            // A model that was silent for the whole time is not asked again while another can be.
            && !(others && error.kind() == ErrorKind::Timeout)
            && asked <= if others { longest.min(PATIENCE) } else { longest }
    }

    fn note_failure(&mut self, error: &Error, caller_left: bool) {
        let Some(model) = self.steps.front().map(|step| step.model.profile().id.clone()) else { return };
        let (mut latency_ms, mut cost) = (0, NanoUsd::ZERO);
        if let Some(live) = self.live.take() {
            latency_ms = live.since.elapsed().as_millis() as u64;
            live.span.record("error.type", error.code());
            let outcome = if caller_left { Outcome::Neutral } else { Outcome::of(error) };
            self.engine.tell_breaker(&self.cx, &model, live.permit.record(outcome, Instant::now()));
            cost = live.bill.give_up();
            self.wasted = self.wasted + cost;
        }
        let code = Some(error.code().to_owned());
        self.cx.emit(EventKind::Attempted {
            model: model.clone(),
            attempt: self.tries,
            ok: false,
            code: code.clone(),
            latency_ms,
        });
        self.engine.router().observe(&RouteOutcome { model: model.clone(), code: code.clone(), latency_ms, cost });
        self.attempts.push(Attempt { model, code, message: Some(error.message().to_owned()), latency_ms });
    }

    /// The last error, with the story of all of them.
    fn exhausted(&self, last: Error) -> Error {
        let tried = self.attempts.iter().map(|attempt| {
            let code = attempt.code.as_deref().unwrap_or_default();
            format!("{} {code}", attempt.model)
        });
        let tried = tried.collect::<Vec<_>>().join(", ");
        last.retryable(false).during("RouterEngine::generate").with("tried", tried)
    }

    async fn finish(&mut self, usage: Usage, finish_reason: FinishReason) -> Result<StreamEvent> {
        let (Some(live), Some(step)) = (self.live.take(), self.steps.front()) else {
            return Err(Error::unexpected("an answer ended that had not begun"));
        };
        let model = step.model.profile().id.clone();
        let latency_ms = live.since.elapsed().as_millis() as u64;
        self.engine.tell_breaker(&self.cx, &model, live.permit.record(Outcome::Success, Instant::now()));
        self.cx.emit(EventKind::Attempted {
            model: model.clone(),
            attempt: self.tries,
            ok: true,
            code: None,
            latency_ms,
        });
        let paid = live.bill.pay(usage).await?;
        record_answer(&live.span, usage, finish_reason, paid.cost);
        let outcome = RouteOutcome { model: model.clone(), code: None, latency_ms, cost: paid.cost };
        self.engine.router().observe(&outcome);
        self.attempts.push(Attempt { model: model.clone(), code: None, message: None, latency_ms });
        let cost = paid.cost + self.wasted;
        Ok(StreamEvent::Done {
            reply: Box::new(GenerateReply {
                id: self.id.clone(),
                text: live.text,
                tool_calls: live.tool_calls,
                logprobs: live.logprobs,
                finish_reason,
                model,
                usage,
                cost,
                reference_cost: paid.reference_cost,
                saved: paid.reference_cost - cost,
                latency_ms: self.started.elapsed().as_millis() as u64,
                attempts: std::mem::take(&mut self.attempts),
                route: std::mem::take(&mut self.plan),
                alternatives: Vec::new(),
            }),
        })
    }
}

/// Waits for `work` of a model as long as the model has time `left`, and takes from it what the wait took.
async fn wait<T>(cx: &Context, left: &mut Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let since = Instant::now();
    let done = cx.clone().within(*left).run(work).await;
    *left = left.saturating_sub(since.elapsed());
    done
}

/// A span by the OpenTelemetry names for generative AI; never a prompt.
fn attempt_span(step: &Step) -> Span {
    let profile = step.model.profile();
    tracing::info_span!(
        "chat",
        otel.name = format!("chat {}", profile.id),
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
    )
}

fn record_answer(span: &Span, usage: Usage, finish_reason: FinishReason, cost: NanoUsd) {
    span.record("gen_ai.usage.input_tokens", usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", usage.output_tokens);
    span.record("gen_ai.usage.cache_read.input_tokens", usage.cached_tokens);
    span.record("gen_ai.response.finish_reasons", finish_reason.as_str());
    span.record("triune.cost.usd", cost.usd());
}
