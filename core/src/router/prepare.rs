//! From a request to the models that are tried for it: what is asked, what it is for each model, and the plan.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use super::{
    GenerateRequest, ModelState, RoutePlan, RouteRequest,
    admission::in_ms,
    attempt::Step,
    engine::RouterEngine,
    ledger::{Candidate, Decision, check_tag},
};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::{ChatModel, ChatRequest, ReasoningEffort, ResponseFormat, Role},
    runtime::blocking,
};

/// Tokens an answer may have when the request does not say.
const DEFAULT_MAX_TOKENS: u64 = 1024;

/// Bytes of a text whose tokens are counted in less time than another thread takes to begin.
const SHORT: usize = 2048;

impl RouterEngine {
    /// The models to try for `request`, best first, and what it is for each.
    pub(super) async fn prepare(
        &self,
        cx: &Context,
        request: ChatRequest,
        mut asked: RouteRequest,
    ) -> Result<Prepared> {
        if self.config().learning.enabled
            && let Some(prompt) = &asked.prompt
        {
            // Every request would be sent to an embedder outside, and paid for.
            asked.embedding = self.meaning(cx, prompt, true).await?.map(|meaning| meaning.vector);
        }
        asked.thrifty = self.budgets().is_thrifty(&cx.tenant, asked.tag.as_deref()).await?;
        let tools = request.tools.iter().map(|tool| tool.description.len() + tool.parameters.to_string().len());
        let length = request.messages.iter().map(|message| message.content.len()).chain(tools).sum::<usize>();
        let short = length <= SHORT;
        let (models, named) = (self.models().items(), asked.needs.model.clone());
        let count = move || {
            let chosen = |model: &Arc<dyn ChatModel>| named.as_ref().is_none_or(|named| *named == model.profile().id);
            let steps = models.into_iter().map(|model| measure(&request, chosen(&model), model));
            Ok((steps.collect::<Vec<_>>(), request))
        };
        // A long text takes a model's tokenizer its time; for a short one another thread would take longer.
        let (mut measured, request) = if short { count()? } else { cx.run(blocking(count)).await? };
        let now = Instant::now();
        let states: Vec<_> = measured.iter().map(|step| self.state(step, now)).collect();
        asked.input_tokens = measured.iter().map(|step| step.input_tokens).max().unwrap_or_default();
        asked.max_output_tokens = request.sampling.max_tokens.map_or(DEFAULT_MAX_TOKENS, u64::from);
        let router = self.router();
        let plan = cx.run(router.decide(cx, &asked, &states)).await.map_err(|error| {
            // Those that are left alone are what stands in the way.
            let soonest = self.soonest(measured.iter().map(Step::id));
            let closed = error.kind() == ErrorKind::CircuitOpen && !soonest.is_zero();
            if closed { error.with("retry_after_ms", in_ms(soonest)) } else { error }
        })?;
        let mut take = |id: &str| {
            let at = measured.iter().position(|step| step.model.profile().id == id);
            at.map(|at| measured.swap_remove(at)).ok_or_else(|| {
                Error::not_found("the router named a model that is not there, or named it twice").with("model", id)
            })
        };
        let steps = plan.steps.iter().map(|step| take(&step.model)).collect::<Result<_>>()?;
        let candidates = states.iter().map(|state| candidate(state, &plan)).collect();
        Ok(Prepared { request, plan, steps, decision: Decision { request: asked, candidates } })
    }

    fn state(&self, step: &Step, now: Instant) -> ModelState {
        let profile = step.model.profile();
        ModelState {
            breaker: self.breakers().state(&profile.id, now),
            input_tokens: Some(step.input_tokens),
            max_output_tokens: Some(step.max_output_tokens),
            profile: Arc::new(profile.clone()),
        }
    }
}

/// A request that is ready to be walked.
pub(super) struct Prepared {
    pub(super) request: ChatRequest,
    pub(super) plan: RoutePlan,
    pub(super) steps: VecDeque<Step>,
    pub(super) decision: Decision,
}

fn candidate(state: &ModelState, plan: &RoutePlan) -> Candidate {
    let id = &state.profile.id;
    let step = plan.steps.iter().zip(1..).find(|(step, _)| step.model == *id);
    let passed_over = plan.passed_over.iter().find(|passed| passed.model == *id);
    let reason = step.map(|(step, _)| &step.reason).or(passed_over.map(|passed| &passed.reason));
    let (input_tokens, output_tokens) = (state.input_tokens.unwrap_or(0), state.max_output_tokens.unwrap_or(0));
    Candidate {
        model: id.clone(),
        input_tokens,
        max_output_tokens: output_tokens,
        max_cost: state.profile.price.most(input_tokens, output_tokens),
        quality: state.profile.quality,
        breaker: state.breaker,
        turn: step.map(|(_, turn)| turn),
        reason: reason.cloned().unwrap_or_default(),
    }
}

/// What is asked of a model, and what that needs.
///
/// # Errors
/// `Invalid` for a request that no model could serve.
pub(super) fn chat_request(request: GenerateRequest) -> Result<(ChatRequest, RouteRequest)> {
    let GenerateRequest {
        prompt,
        system,
        mut needs,
        tools,
        tool_choice,
        parallel_tool_calls,
        response_format,
        sampling,
        tag,
        n: _,
    } = request;
    check_tag(tag.as_deref())?;
    let messages = prompt.into_messages(system);
    if messages.is_empty() {
        return Err(Error::invalid("a chat has at least one message").during("RouterEngine::generate"));
    }
    needs.tools |= !tools.is_empty();
    needs.json_schema |= matches!(response_format, ResponseFormat::JsonSchema { .. });
    needs.grammar |= response_format.needs_grammar();
    needs.images |= messages.iter().any(|message| !message.images.is_empty());
    needs.reasoning |= sampling.reasoning_effort.is_some_and(|effort| effort != ReasoningEffort::None);
    let prompt = messages.iter().rfind(|message| message.role == Role::User).map(|message| message.content.clone());
    let request = ChatRequest { messages, tools, tool_choice, parallel_tool_calls, response_format, sampling };
    request.validate().map_err(|e| e.during("RouterEngine::generate"))?;
    Ok((request, RouteRequest { needs, prompt, tag, ..RouteRequest::default() }))
}

/// What `request` is for `model`: its tokens, and those its answer may have. They are estimated where the model cannot
/// be chosen.
fn measure(request: &ChatRequest, can_be_chosen: bool, model: Arc<dyn ChatModel>) -> Step {
    // A model that cannot count refuses the request when it is called; until then the usual estimate stands.
    let counted = can_be_chosen.then(|| model.count_tokens(request).ok()).flatten();
    let input_tokens = counted.unwrap_or_else(|| request.estimate_tokens());
    let left = model.profile().context_length.saturating_sub(input_tokens);
    // A full context leaves no room: one token is asked for, which does not fit either.
    let default = DEFAULT_MAX_TOKENS.min(left).max(1);
    let max_output_tokens = request.sampling.max_tokens.map_or(default, u64::from);
    Step { model, input_tokens, max_output_tokens }
}
