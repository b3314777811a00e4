//! The verified cascade: the answer of a model is doubted before it is given out, and a dearer one is asked where the
//! doubt is too great.

use super::{
    CacheHit, GenerateReply,
    answers::Kept,
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
        Ok(asked.prompt.clone().map(|prompt| Self { prompt, threshold }))
    }
}

impl Walk {
    /// What speaks against the answer that is there, when a dearer model could do better; the answer is then kept, for
    /// when no other model answers.
    pub(super) fn doubt(&mut self, finish_reason: FinishReason) -> Option<Error> {
        let (cascade, live) = (self.cascade.as_ref()?, self.live.as_ref()?);
        let cost =
            |step: &super::attempt::Step| step.model.profile().price.most(step.input_tokens, step.max_output_tokens);
        let own = cost(&live.step);
        let dearer = |step: &super::attempt::Step| cost(step) > own;
        if !self.steps.iter().skip(1).any(dearer) {
            return None;
        }
        let answer =
            Answer { text: &live.text, finish_reason: Some(finish_reason), logprobs: &live.logprobs, fits_form: None };
        let doubt = self.engine.learning().router().doubt(&cascade.prompt, &answer);
        if doubt.value < cascade.threshold {
            return None;
        }
        let usage = live.bill.usage();
        self.doubted = Some(Kept {
            text: live.text.clone(),
            tool_calls: live.tool_calls.clone(),
            logprobs: if self.request.sampling.logprobs.is_some() { live.logprobs.clone() } else { Vec::new() },
            finish_reason,
            model: live.step.id().to_owned(),
            usage,
        });
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

    /// The answer that was doubted, when nothing better came: what it cost is booked already.
    pub(super) fn doubted_reply(&mut self) -> Option<Box<GenerateReply>> {
        let Kept { text, tool_calls, logprobs, finish_reason, model, usage } = self.doubted.take()?;
        let cost = self.wasted;
        Some(Box::new(GenerateReply {
            id: self.id.clone(),
            text,
            tool_calls,
            logprobs,
            finish_reason,
            model,
            usage,
            cost,
            reference_cost: NanoUsd::ZERO,
            saved: NanoUsd::ZERO - cost,
            latency_ms: self.started.elapsed().as_millis() as u64,
            attempts: std::mem::take(&mut self.attempts),
            route: std::mem::take(&mut self.plan),
            cache_hit: None::<CacheHit>,
            alternatives: Vec::new(),
        }))
    }
}
