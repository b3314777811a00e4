//! A share of the requests is answered by the dearest model of the plan too, so that there are judgements of what that is
//! worth: in the background, after the reply, and from the budgets. Nothing is learned before both answers are judged.

use super::{
    LedgerEntry, RouterEngine,
    attempt::{Live, Step, TimeLeft},
    bill::{Bill, Charge},
    executor::{may_think, worst},
    labels, learn,
    prepare::Prepared,
};
use crate::{
    context::{Context, Priority},
    error::Result,
    model::ChatRequest,
};

/// The model that may answer a request beside the one that does.
#[derive(Debug)]
pub(super) struct Shadow {
    step: Step,
    request: ChatRequest,
    tag: Option<String>,
}

impl Shadow {
    /// That of a request, when the settings want one of it. `id` is that of the reply: a share of the ids is drawn.
    pub(super) fn of(engine: &RouterEngine, prepared: &Prepared, id: &str) -> Option<Self> {
        let (config, asked) = (&engine.config().learning, &prepared.decision.request);
        // What must stay in this process stays; money that is short is for answers.
        if !config.enabled || asked.needs.local_only || asked.thrifty || !is_drawn(id, config.shadow) {
            return None;
        }
        let dearest = prepared.steps.iter().max_by_key(|step| step.most())?;
        let is_text = prepared.request.tools.is_empty();
        (is_text && prepared.steps.len() > 1).then(|| Self {
            step: dearest.clone(),
            request: prepared.request.clone(),
            tag: asked.tag.clone(),
        })
    }

    /// Asks it in the background, unless it is `answered`, the model that answered, or enough are asked now. Stops when the
    /// folder is closed.
    pub(super) fn ask(self, engine: &RouterEngine, cx: &Context, id: &str, answered: &str) {
        if self.step.id() == answered {
            return;
        }
        let learning = engine.learning();
        let Some((background, permit)) = learning.shadow() else { return };
        // Not of the caller's call: neither its deadline nor its budget nor its unit of work.
        let cx = Context::new()
            .tenant(&cx.tenant)
            .events(cx.events.clone())
            .priority(Priority::Background)
            .within(engine.timeout());
        let (engine, id) = (engine.clone(), id.to_owned());
        background.spawn(async move {
            let _permit = permit;
            if let Err(error) = self.answer(&engine, &cx, &id).await {
                tracing::debug!(%error, "a model was not asked beside the one that answered");
            }
        });
    }

    async fn answer(self, engine: &RouterEngine, cx: &Context, id: &str) -> Result<()> {
        let Self { step, mut request, tag } = self;
        let model = std::sync::Arc::clone(&step.model);
        let profile = model.profile();
        let tokens = step.input_tokens + step.max_output_tokens;
        let most = worst(&step, &request);
        let entry = LedgerEntry {
            tenant: cx.tenant.to_string(),
            tag: tag.clone(),
            model: profile.id.clone(),
            key: profile.key.clone(),
            cost: most,
            ..LedgerEntry::default()
        };
        if !engine.budgets().is_within_soft(&entry).await? {
            return Ok(());
        }
        let leave = engine.admission().enter(cx, profile, tokens, std::time::Duration::ZERO).await?;
        let charge = Charge {
            id,
            tag: tag.as_deref(),
            model: &profile.id,
            key: profile.key.as_deref(),
            price: &profile.price,
            input_tokens: step.input_tokens,
            most,
            decision: None,
        };
        let mut bill = Bill::open(engine, cx, charge).await?;
        bill.is_shadow();
        if may_think(profile, &request) {
            bill.may_think(step.max_output_tokens);
        }
        request.sampling.max_tokens = Some(u32::try_from(step.max_output_tokens).unwrap_or(u32::MAX));
        let left = TimeLeft { total: engine.timeout(), first: None, idle: None };
        let mut live = Live::new(cx, step, request, left, (leave, bill), None);
        let ended = live.read_whole().await;
        let text = std::mem::take(&mut live.text);
        let cost = live.close(&ended);
        ended?;
        let outcome = learn::Outcome { cost, answer: Some(text), ..learn::Outcome::default() };
        let (tenant, id, model) = (cx.tenant.clone(), id.to_owned(), profile.id.clone());
        let kept = engine
            .learning()
            .store()
            .write(move |write| labels::add_beside(write, (&tenant, &id), &model, outcome.clone()));
        kept.await
    }
}

/// Whether the reply of this id is one of the part `share` that is drawn: ids end with 32 bits of chance.
fn is_drawn(id: &str, share: f64) -> bool {
    let chance = id.get(id.len().saturating_sub(8)..).and_then(|end| u32::from_str_radix(end, 16).ok());
    chance.is_some_and(|chance| f64::from(chance) < share * f64::from(u32::MAX) + share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_ids_are_drawn_as_is_asked_for() {
        let ids: Vec<_> = (0..4000).map(|_| uuid::Uuid::now_v7().simple().to_string()).collect();
        let drawn = |share| ids.iter().filter(|id| is_drawn(id, share)).count();
        assert_eq!((drawn(0.0), drawn(1.0)), (0, 4000));
        assert!((100..300).contains(&drawn(0.05)), "{}", drawn(0.05));
        assert!(!is_drawn("", 1.0) && !is_drawn("odd", 0.5));
    }
}
