//! The verified cascade: the answer of a model is doubted before it is given out, and a dearer one is asked where the
//! doubt is too great.

use super::{
    GenerateReply,
    answers::Kept,
    attempt::Step,
    bill::Bill,
    executor::{Mode, Walk},
    learn::Answer,
    prepare::Prepared,
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::FinishReason,
    money::NanoUsd,
};

/// The code of an attempt whose answer was doubted.
pub(super) const DOUBTED: &str = "doubted";

/// What an answer is held against.
#[derive(Clone, Debug)]
pub(super) struct Cascade {
    prompt: String,
    threshold: f64,
    /// Answers of one model that are compared.
    pub(super) agreement: u32,
}

impl Cascade {
    /// That of a request, when the settings or the request ask for one.
    pub(super) fn of(engine: &super::RouterEngine, prepared: &Prepared, mode: Mode) -> Result<Option<Self>> {
        let (config, asked) = (&engine.config().learning, &prepared.decision.request);
        if !config.cascade || mode != Mode::Whole || prepared.steps.len() < 2 {
            return Ok(None);
        }
        let retention = asked.needs.min_retention.unwrap_or(config.min_retention);
        let confidence = asked.needs.confidence.unwrap_or(config.confidence);
        let threshold = engine.learning().threshold(retention, confidence)?;
        Ok(asked.prompt.clone().map(|prompt| Self { prompt, threshold, agreement: config.agreement }))
    }
}

/// An answer that was doubted.
pub(super) struct Doubted {
    answer: Kept,
    agreement: Option<f64>,
    /// Open until it is known whether the answer stands.
    bill: Option<Bill>,
}

impl Doubted {
    /// Whether the bill of the answer is not here yet.
    pub(super) fn wants_bill(&self) -> bool {
        self.bill.is_none()
    }

    /// Takes the bill of the answer; says what it cost.
    pub(super) fn keep(&mut self, mut bill: Bill) -> NanoUsd {
        let cost = bill.cost(&self.answer.usage);
        bill.hold_what_is_known();
        self.bill = Some(bill);
        cost
    }
}

impl Walk {
    /// What speaks against the answer that is there, when a dearer model could do better; the answer is then kept, for
    /// when no other model answers.
    pub(super) fn doubt(&mut self, finish_reason: FinishReason) -> Option<Error> {
        let (cascade, live) = (self.cascade.as_ref()?, self.live.as_ref()?);
        // What calls a tool need not say anything in words, and what the caller cut short is as long as it was to be.
        let cut_by_caller = finish_reason == FinishReason::Length && self.request.sampling.max_tokens.is_some();
        if !live.tool_calls.is_empty() || live.text.is_empty() || cut_by_caller || !self.could_be_dearer() {
            return None;
        }
        let own = live.step.most();
        let dearer = |step: &Step| step.most() > own;
        let answer = Answer {
            text: &live.text,
            finish_reason: Some(finish_reason),
            logprobs: &live.logprobs,
            fits_form: None,
            agreement: live.agreement,
        };
        let doubt = self.engine.learning().router().doubt(&cascade.prompt, &answer);
        if doubt.value < cascade.threshold {
            return None;
        }
        let answer = Kept {
            text: live.text.clone(),
            tool_calls: Vec::new(),
            logprobs: if self.request.sampling.logprobs.is_some() { live.logprobs.clone() } else { Vec::new() },
            finish_reason,
            model: live.step.id().to_owned(),
            usage: live.bill.usage(),
        };
        // One that was doubted before is booked as it goes.
        self.doubted = Some(Doubted { answer, agreement: live.agreement, bill: None });
        // A cheaper model would be doubted too.
        let first = self.steps.pop_front();
        self.steps.retain(dearer);
        self.steps.extend(first);
        self.steps.rotate_right(1);
        let by = if doubt.learned { "what was learned" } else { "rules" };
        let remarks = if doubt.remarks.is_empty() { String::new() } else { format!(": {}", doubt.remarks.join(", ")) };
        let message = format!("a dearer model is asked, since the answer is doubted by {by}{remarks}");
        Some(Error::new(ErrorKind::Rejected, message).with(DOUBTED, format!("{:.2}", doubt.value)))
    }

    /// Whether a model is left that costs more than the one of the answer that is there.
    pub(super) fn could_be_dearer(&self) -> bool {
        let own = self.live.as_ref().map(|live| live.step.most());
        own.is_some_and(|own| self.steps.iter().skip(1).any(|step| step.most() > own))
    }

    /// The answer that was doubted, when nothing better came: it is paid for and judged as any other.
    pub(super) async fn doubted_reply(&mut self) -> Result<Option<Box<GenerateReply>>> {
        let Some(Doubted { answer, agreement, bill: Some(bill) }) = self.doubted.take() else { return Ok(None) };
        let own = bill.cost(&answer.usage);
        let remember = self.engine.remember(&self.cx, &self.id, &self.decision.request, &answer, (own, agreement));
        let (paid, ()) = tokio::join!(bill.pay(answer.usage), remember);
        let reference_cost = paid?.reference_cost;
        let Kept { text, tool_calls, logprobs, finish_reason, model, usage } = answer;
        // It was counted with the attempts without an answer.
        let cost = self.wasted;
        Ok(Some(Box::new(GenerateReply {
            id: self.id.clone(),
            text,
            tool_calls,
            logprobs,
            finish_reason,
            model,
            usage,
            cost,
            reference_cost,
            saved: reference_cost - cost,
            latency_ms: self.started.elapsed().as_millis() as u64,
            attempts: std::mem::take(&mut self.attempts),
            route: std::mem::take(&mut self.plan),
            cache_hit: None,
            alternatives: Vec::new(),
        })))
    }
}
