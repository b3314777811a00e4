//! Walks a plan: one attempt after the other until a model answers, each with its leave, its bill and its time.
//! [`super::failover`] says what follows a failure.

use std::{
    borrow::Cow,
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Attempt, Decision, GenerateReply, RouteOutcome, RoutePlan, StreamEvent,
    answers::Kept,
    attempt::{Live, Step, TimeLeft, record_answer},
    backoff::Backoff,
    bill::{Bill, Charge},
    breaker::{EMPTY, Outcome},
    cascade::{Cascade, Doubted},
    engine::RouterEngine,
    hedge::late,
    kept::Keeping,
    prepare::Prepared,
    seam,
    shadow::Shadow,
    single::tell_breaker,
    structured::{Form, Repair},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{
        CacheFor, ChatRequest, Delta, FinishReason, Message, ModelProfile, ReasoningEffort, Usage, estimate_tokens,
    },
    money::NanoUsd,
    monitor::EventKind,
};

/// Why one of two models is stopped.
const OVERTAKEN: &str = "another model began its answer first";

/// Whether text may be given out before the whole answer is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// No: any failure can still be answered by another model.
    Whole,
    /// Yes: after a failure, another model goes on where the answer broke off.
    Pieces,
}

/// A request on its way through the plan. Dropping it stops the model and pays for what it wrote.
pub(super) struct Walk {
    pub(super) engine: RouterEngine,
    pub(super) cx: Context,
    pub(super) request: ChatRequest,
    pub(super) plan: RoutePlan,
    /// The models not yet given up; the first is the one tried.
    pub(super) steps: VecDeque<Step>,
    pub(super) mode: Mode,
    /// The form that the answer must have.
    pub(super) form: Form,
    /// What was wrong with the form of the last answer, for its model to mend.
    pub(super) repair: Option<Repair>,
    /// Whether the model that is tried was told so before.
    pub(super) told: bool,
    /// What an answer is doubted by.
    pub(super) cascade: Option<Cascade>,
    /// An answer that was doubted, for when nothing better comes.
    pub(super) doubted: Option<Doubted>,
    /// The model that is asked beside the one that answers.
    shadow: Option<Shadow>,
    /// Where the answer is kept for requests to come.
    keeping: Option<Keeping>,
    /// What all attempts together may cost.
    max_cost: Option<NanoUsd>,
    /// The caller's name of the task.
    tag: Option<String>,
    /// What the plan was made from.
    pub(super) decision: Arc<Decision>,
    pub(super) id: String,
    pub(super) started: Instant,
    pub(super) attempts: Vec<Attempt>,
    /// What attempts without an answer cost.
    pub(super) wasted: NanoUsd,
    pub(super) tries: u32,
    pub(super) backoff: Backoff,
    pub(super) pause: Option<Duration>,
    pub(super) live: Option<Live>,
    /// The second model that was asked because the first is late.
    hedge: Option<Live>,
    hedged: bool,
    /// What models that failed after it gave out.
    pub(super) given: String,
    /// Tokens of those.
    pub(super) given_usage: Usage,
    /// Why the answer broke off first.
    pub(super) broke_off: Option<Error>,
    /// The end of the answer, when the last text still has to be given out before it.
    end: Option<(Usage, FinishReason)>,
    ended: bool,
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
        prepared: Prepared,
        mode: Mode,
        (form, keeping, cascade): (Form, Option<Keeping>, Option<Cascade>),
    ) -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        let shadow = Shadow::of(&engine, &prepared, &id);
        let Prepared { request, plan, steps, decision } = prepared;
        let backoff = Backoff::new(engine.first_wait());
        Self {
            engine,
            cx: cx.clone(),
            request,
            plan,
            steps,
            mode,
            form,
            repair: None,
            told: false,
            shadow,
            keeping,
            cascade,
            doubted: None,
            max_cost: decision.request.needs.max_cost,
            tag: decision.request.tag.clone(),
            decision: Arc::new(decision),
            id,
            started: Instant::now(),
            attempts: Vec::new(),
            wasted: NanoUsd::ZERO,
            tries: 0,
            backoff,
            pause: None,
            live: None,
            hedge: None,
            hedged: false,
            given: String::new(),
            given_usage: Usage::default(),
            broke_off: None,
            end: None,
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
                        // Nobody is there to take it once the caller has left; a deadline that passed is no reason to
                        // throw away what is there.
                        let gone = self.cx.cancel.is_cancelled();
                        let doubted = if gone { None } else { self.doubted_reply().await? };
                        return doubted.map(|reply| Some(StreamEvent::Done { reply })).ok_or(error);
                    }
                }
            }
        }
        Ok(None)
    }

    async fn advance(&mut self) -> Result<Seen> {
        if let Some((usage, finish_reason)) = self.end.take() {
            return Ok(Seen::End(usage, finish_reason));
        }
        if self.live.is_none() {
            self.live = Some(self.begin().await?);
        }
        let delta = self.look().await?;
        let Some(live) = self.live.as_mut() else { return Ok(Seen::Nothing) };
        let pieces = self.mode == Mode::Pieces;
        Ok(match delta {
            Delta::Text { text } => {
                live.bill.wrote(text.len());
                live.pieces += 1;
                let text = match &mut live.seam {
                    Some(seam) => seam.join(&text)?,
                    None => text,
                };
                live.text.push_str(&text);
                if pieces && !text.is_empty() { Seen::Text(text) } else { Seen::Nothing }
            }
            Delta::Logprob { logprob } => {
                live.logprobs.push(logprob);
                Seen::Nothing
            }
            Delta::PaidBy { key } => {
                live.bill.paid_by(key);
                Seen::Nothing
            }
            Delta::ToolCall { call } => {
                // Where its pieces were told as they came, they are counted.
                if !live.hides {
                    live.bill.wrote(call.name.len() + call.arguments.to_string().len());
                }
                live.tool_calls.push(call);
                Seen::Nothing
            }
            Delta::Progress { bytes } => {
                live.hides = true;
                live.bill.wrote(bytes);
                Seen::Nothing
            }
            // Taken by the attempt itself.
            Delta::Usage { .. } => Seen::Nothing,
            Delta::Done { usage, finish_reason } => {
                live.bill.took(usage);
                let rest = live.seam.as_mut().map(seam::Seam::end).transpose()?.unwrap_or_default();
                live.text.push_str(&rest);
                if let Some(objection) = self.objection(finish_reason) {
                    return Err(objection);
                }
                self.compare(finish_reason).await;
                if let Some(doubt) = self.doubt(finish_reason) {
                    return Err(doubt);
                }
                if rest.is_empty() {
                    Seen::End(usage, finish_reason)
                } else {
                    self.end = Some((usage, finish_reason));
                    Seen::Text(rest)
                }
            }
        })
    }

    /// What speaks against giving out an answer that ended without an error; the walk then goes on as after a failure,
    /// and the attempt is paid for. Only while nothing of it was given out.
    fn objection(&mut self, finish_reason: FinishReason) -> Option<Error> {
        let live = self.live.as_mut()?;
        let others = self.steps.len() > 1;
        if !self.given.is_empty() || self.mode == Mode::Pieces && !live.text.is_empty() {
            return None;
        }
        if finish_reason == FinishReason::ContentFilter {
            let message = "the provider's content filter withheld the answer; change the request";
            let withheld = || Error::new(ErrorKind::Rejected, message).with("filter", "answer");
            return (others && self.engine.config().reroute_filtered.answers()).then(withheld);
        }
        // A stop text may end an answer before it begins, and a form may be the empty text.
        let may_be_empty = !self.request.sampling.stop.is_empty() || !seam::can_go_on(&self.request);
        if live.text.is_empty() && live.tool_calls.is_empty() && !may_be_empty {
            let message = "the model answered nothing; try again, allow more tokens, or ask another model";
            // A model that spent all its tokens on thinking would again. One of this process says what it says. That the
            // request has no answer may lie in it, so nothing is held against the model.
            let again = finish_reason != FinishReason::Length;
            let nothing = || Error::new(ErrorKind::Unavailable, message).retryable(again).with(EMPTY, true);
            return (others || !live.step.model.profile().local).then(nothing);
        }
        // What was cut short has no form, and says so by its finish reason.
        if finish_reason == FinishReason::Stop && live.tool_calls.is_empty() && self.mode == Mode::Whole {
            match self.form.read(&live.text) {
                Ok(Cow::Borrowed(_)) => {}
                Ok(Cow::Owned(mended)) => live.text = mended,
                Err(fault) => {
                    let message = format!("the answer is not of the form that was asked for: {fault}");
                    if self.engine.config().repair && !self.told {
                        self.repair = Some(Repair { answer: std::mem::take(&mut live.text), fault });
                    }
                    // Without chance the same model would say the same, unless it is told.
                    let again = self.repair.is_some() || self.request.sampling.temperature != Some(0.0);
                    return Some(Error::new(ErrorKind::Rejected, message).retryable(again));
                }
            }
        }
        None
    }

    /// The next piece of the answer, of whichever model began it.
    async fn look(&mut self) -> Result<Delta> {
        loop {
            let Some(live) = self.live.as_mut() else { return Err(Error::unexpected("nothing was asked")) };
            let Some(usual) = (!live.has_begun() && self.steps.len() > 1 && self.engine.config().hedge)
                .then(|| self.engine.first_pieces().p95(live.step.id()))
                .flatten()
            else {
                return live.next().await;
            };
            let Some(hedge) = self.hedge.as_mut() else {
                if self.hedged {
                    return live.next().await;
                }
                let since = live.since;
                tokio::select! {
                    biased;
                    delta = live.next() => return delta,
                    () = late(since, usual) => {}
                }
                self.hedged = true;
                // A second model is asked only where it has a place and the money is there.
                self.hedge = self.ask(1, Duration::ZERO).await.ok();
                continue;
            };
            let (first, delta) = tokio::select! {
                biased;
                delta = live.next() => (true, delta),
                delta = hedge.next() => (false, delta),
            };
            match (first, delta) {
                (true, Ok(delta)) => {
                    self.lose_hedge(OVERTAKEN);
                    return Ok(delta);
                }
                (false, Ok(delta)) => {
                    // It would have taken longer still: without it, only quick answers were remembered.
                    let (slow, took) = (live.step.id().to_owned(), live.since.elapsed());
                    self.engine.first_pieces().note(&slow, took);
                    self.take_hedge(OVERTAKEN);
                    return Ok(delta);
                }
                // The caller has left, or the other one is not to answer what this one refused.
                (first, Err(error)) if self.ends_all(&error) => {
                    let why = "the error of another model ends the request";
                    if first {
                        self.lose_hedge(why);
                    } else {
                        self.take_hedge(why);
                    }
                    return Err(error);
                }
                (true, Err(error)) => {
                    let failed = std::mem::replace(&mut self.live, self.hedge.take());
                    self.note_failure(failed, &error, Outcome::of(&error));
                    self.steps.pop_front();
                }
                (false, Err(error)) => {
                    let failed = self.hedge.take();
                    self.note_failure(failed, &error, Outcome::of(&error));
                    self.steps.remove(1);
                }
            }
            if let Some(live) = self.live.as_mut().filter(|_| self.steps.len() == 1) {
                live.is_last();
            }
        }
    }

    /// Whether no other model is to be asked after `error` of one of two.
    fn ends_all(&self, error: &Error) -> bool {
        let of_the_request = error.kind() == ErrorKind::Invalid && self.given.is_empty();
        self.cx.check().is_err() || of_the_request || self.is_final_refusal(error)
    }

    /// What the second model says is what counts.
    fn take_hedge(&mut self, why: &str) {
        std::mem::swap(&mut self.live, &mut self.hedge);
        self.steps.swap(0, 1);
        self.lose_hedge(why);
    }

    /// Starts an attempt with the first model that is left.
    async fn begin(&mut self) -> Result<Live> {
        if let Some(pause) = self.pause.take() {
            self.cx.sleep(pause).await?;
        }
        self.cx.check()?;
        self.tries += 1;
        self.ask(0, self.longest_wait()).await
    }

    /// Asks the model of a step, which waits up to `longest` for its turn.
    async fn ask(&mut self, at: usize, longest: Duration) -> Result<Live> {
        let mut step =
            self.steps.get(at).cloned().ok_or_else(|| Error::unexpected("a plan without a model was walked"))?;
        let model = Arc::clone(&step.model);
        let profile = model.profile();
        let (mut request, seam) = if self.given.is_empty() {
            let mut request = self.request.clone();
            if let Some(repair) = self.repair.take_if(|_| at == 0) {
                self.told = true;
                step.input_tokens += repair.tell(&mut request);
                let room = profile.context_length.saturating_sub(step.input_tokens);
                step.max_output_tokens = step.max_output_tokens.min(room).max(1);
            }
            (request, None)
        } else {
            let (request, seam) = seam::go_on(profile, &self.request, &self.given);
            step.input_tokens += estimate_tokens(self.given.len()) + 64;
            let left = step.max_output_tokens.saturating_sub(self.given_usage.output_tokens);
            let room = profile.context_length.saturating_sub(step.input_tokens);
            step.max_output_tokens = left.min(room).max(1);
            (request, Some(seam))
        };
        let worst = worst(&step, &request);
        let under_way = self.live.as_ref().map_or(NanoUsd::ZERO, |live| live.bill.most());
        let spent = self.wasted + under_way;
        if let Some(most) = self.max_cost.filter(|most| spent + worst > *most) {
            return Err(Error::new(ErrorKind::OverBudget, "the call would cost more than its max_cost; allow more")
                .with("needed", worst)
                .with("spent", spent)
                .with("limit", most));
        }
        if self.cascade.is_some() && profile.capabilities.logprobs {
            request.sampling.logprobs = request.sampling.logprobs.or(Some(2));
        }
        self.open(step, request, seam, longest).await
    }

    /// Asks `request` of the model of the answer that is there, at once or not at all.
    pub(super) async fn ask_again(&mut self, request: ChatRequest) -> Result<Live> {
        let step = self.live.as_ref().map(|live| live.step.clone());
        let step = step.ok_or_else(|| Error::unexpected("nothing was asked"))?;
        self.open(step, request, None, Duration::ZERO).await
    }

    async fn open(
        &mut self,
        step: Step,
        mut request: ChatRequest,
        seam: Option<seam::Seam>,
        longest: Duration,
    ) -> Result<Live> {
        let model = Arc::clone(&step.model);
        let profile = model.profile();
        let tokens = step.input_tokens + step.max_output_tokens;
        let leave = self.engine.admission().enter(&self.cx, profile, tokens, longest).await?;
        let charge = Charge {
            id: &self.id,
            tag: self.tag.as_deref(),
            model: &profile.id,
            key: profile.key.as_deref(),
            price: &profile.price,
            input_tokens: step.input_tokens,
            most: worst(&step, &request),
            decision: Some(Arc::clone(&self.decision)),
        };
        let mut bill = Bill::open(&self.engine, &self.cx, charge).await?;
        if may_think(profile, &request) {
            bill.may_think(step.max_output_tokens);
        }
        request.sampling.max_tokens = Some(u32::try_from(step.max_output_tokens).unwrap_or(u32::MAX));
        let left = self.time_for(&step);
        Ok(Live::new(&self.cx, step, request, left, (leave, bill), seam))
    }

    /// A model of this process is slow for reasons of its own, and waiting for it costs nothing; another one that is
    /// silent is left for the next.
    fn time_for(&self, step: &Step) -> TimeLeft {
        let config = self.engine.config();
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let (profile, total) = (step.model.profile(), self.engine.timeout());
        let first = profile.first_token_timeout_ms.unwrap_or(config.first_token_timeout_ms);
        // A long request takes its time to read.
        let first = limit(first).map(|first| first + Duration::from_millis(step.input_tokens));
        let others = self.steps.len() > 1;
        TimeLeft {
            total,
            first: first.filter(|_| others && !profile.local),
            idle: limit(config.idle_timeout_ms).filter(|_| !profile.local),
        }
    }

    /// Stops the model that was asked second, or was overtaken by it.
    fn lose_hedge(&mut self, why: &str) {
        let Some(loser) = self.hedge.take() else { return };
        let lost = Error::new(ErrorKind::Cancelled, why);
        self.note_failure(Some(loser), &lost, Outcome::Neutral);
    }

    async fn finish(&mut self, usage: Usage, finish_reason: FinishReason) -> Result<StreamEvent> {
        let Some(live) = self.live.take() else {
            return Err(Error::unexpected("an answer ended that had not begun"));
        };
        let (model, latency_ms) = (live.step.id().to_owned(), live.latency_ms());
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let change = live.leave.record(Outcome::Success, Some(tokens), Instant::now());
        tell_breaker(&self.cx, &model, change);
        if let Some(first) = live.first_after.filter(|_| self.engine.config().hedge) {
            self.engine.first_pieces().note(&model, first);
        }
        self.cx.emit(EventKind::Attempted {
            model: model.clone(),
            attempt: self.tries,
            ok: true,
            code: None,
            latency_ms,
        });
        // What was doubted before did not stand; its bill is settled here.
        self.doubted = None;
        let text = if self.given.is_empty() { live.text } else { std::mem::take(&mut self.given) + &live.text };
        let answer = Kept {
            text,
            tool_calls: live.tool_calls,
            // They may have been asked for to doubt the answer by.
            logprobs: if self.request.sampling.logprobs.is_some() { live.logprobs } else { Vec::new() },
            finish_reason,
            model: model.clone(),
            usage: Usage {
                input_tokens: usage.input_tokens.saturating_add(self.given_usage.input_tokens),
                output_tokens: usage.output_tokens.saturating_add(self.given_usage.output_tokens),
                ..usage
            },
        };
        // The reference model would have read the request once, and written all of the answer.
        let mut once = Usage { output_tokens: answer.usage.output_tokens, ..usage };
        if self.given_usage.input_tokens > 0 {
            once.input_tokens = usage.input_tokens.min(self.given_usage.input_tokens);
        }
        // A stream was given out as it came: what `generate` checks and doubts is not checked there.
        let checked = self.mode == Mode::Whole
            || !self.engine.config().learning.cascade && matches!(self.form.read(&answer.text), Ok(Cow::Borrowed(_)));
        self.keeping.take_if(|_| !checked);
        // Together: both wait for the same commit.
        let keep = self.engine.keep(&self.cx, self.keeping.take(), &answer);
        let learned_of = (live.bill.cost(&usage), live.agreement);
        let remember = self.engine.remember(&self.cx, &self.id, &self.decision.request, &answer, learned_of);
        let (paid, (), ()) = tokio::join!(live.bill.pay_instead_of(usage, &once), keep, remember);
        let paid = paid?;
        record_answer(&live.span, usage, finish_reason, paid.cost);
        if let Some(shadow) = self.shadow.take().filter(|_| answer.tool_calls.is_empty()) {
            shadow.ask(&self.engine, &self.cx, &self.id, &model);
        }
        let outcome = RouteOutcome { model: model.clone(), code: None, latency_ms, cost: paid.cost };
        self.engine.router().observe(&outcome);
        self.attempts.push(Attempt { model: model.clone(), code: None, message: None, latency_ms });
        let cost = paid.cost + self.wasted;
        let Kept { text, tool_calls, logprobs, finish_reason, model, usage } = answer;
        Ok(StreamEvent::Done {
            reply: Box::new(GenerateReply {
                id: self.id.clone(),
                text,
                tool_calls,
                logprobs,
                finish_reason,
                model,
                usage,
                cost,
                reference_cost: paid.reference_cost,
                saved: paid.reference_cost - cost,
                latency_ms: self.started.elapsed().as_millis() as u64,
                attempts: std::mem::take(&mut self.attempts),
                route: std::mem::take(&mut self.plan),
                cache_hit: None,
                alternatives: Vec::new(),
            }),
        })
    }

    /// What all attempts together may cost.
    pub(super) fn max_cost(&self) -> Option<NanoUsd> {
        self.max_cost
    }

    /// Models of the plan, those given up included.
    pub(super) fn planned(&self) -> impl Iterator<Item = &str> {
        self.plan.steps.iter().map(|step| step.model.as_str())
    }
}

/// Whether the model may think where nobody sees it: as it likes, but for Claude, which does when it is told to.
pub(super) fn may_think(profile: &ModelProfile, request: &ChatRequest) -> bool {
    profile.capabilities.reasoning
        && match request.sampling.reasoning_effort {
            Some(effort) => effort != ReasoningEffort::None,
            None => profile.provider != "anthropic",
        }
}

/// The most that `step` can cost with `request`. Plans are made by the usual number of tokens; what is held is what can be
/// billed.
pub(super) fn worst(step: &Step, request: &ChatRequest) -> NanoUsd {
    let price = &step.model.profile().price;
    if price.is_free() {
        return NanoUsd::ZERO;
    }
    let input = step.model.most_tokens(request).unwrap_or(0).max(step.input_tokens);
    let dear = |message: &Message| message.cache == Some(CacheFor::OneHour) || !message.images.is_empty();
    if request.messages.iter().any(dear) {
        price.most_of_any_kind(input, step.max_output_tokens)
    } else {
        price.most(input, step.max_output_tokens)
    }
}
