//! Routers that only choose: code of the host program, most of all.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{CheapestRouter, ModelState, PassedOver, RouteOutcome, RoutePlan, RouteRequest, RouteStep, Router};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
};

/// A model that was chosen: in JSON its name, or an object with the reason too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Said")]
pub struct Choice {
    /// Its id.
    pub model: String,
    /// Why.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Name(String),
    Reasoned {
        model: String,
        #[serde(default)]
        reason: Option<String>,
    },
}

impl From<Said> for Choice {
    fn from(said: Said) -> Self {
        let (model, reason) = match said {
            Said::Name(model) => (model, None),
            Said::Reasoned { model, reason } => (model, reason),
        };
        Self { model, reason: reason.unwrap_or_else(|| "chosen by the program".into()) }
    }
}

/// Chooses among models that can serve a request.
#[async_trait]
pub trait Chooser: Send + Sync + fmt::Debug + 'static {
    /// Some of the models `fitting`, which all meet every need of `request`, best first. `cx` is of the call.
    async fn choose(&self, cx: &Context, request: &RouteRequest, fitting: &[ModelState]) -> Result<Vec<Choice>>;
    /// Learns from what happened.
    fn observe(&self, _outcome: &RouteOutcome) {}
}

/// A router that has models chosen by a [`Chooser`]. What a model must offer is checked before, so that no choice can
/// break a promise, such as that a prompt stays in this process.
#[derive(Clone, Debug)]
pub struct ChosenRouter<C>(C);

impl<C: Chooser> ChosenRouter<C> {
    /// Has `chooser` choose.
    pub fn new(chooser: C) -> Self {
        Self(chooser)
    }
}

#[async_trait]
impl<C: Chooser> Router for ChosenRouter<C> {
    /// A chooser may have to be waited for.
    fn route(&self, _: &RouteRequest, _: &[ModelState]) -> Result<RoutePlan> {
        let message = "this router waits for what chooses; call `decide`";
        Err(Error::new(ErrorKind::Unsupported, message).during("Router::route"))
    }

    async fn decide(&self, cx: &Context, request: &RouteRequest, models: &[ModelState]) -> Result<RoutePlan> {
        let RoutePlan { steps: fitting, mut passed_over, .. } = CheapestRouter.route(request, models)?;
        let fits = |state: &&ModelState| fitting.iter().any(|step| step.model == state.profile.id);
        let states: Vec<_> = models.iter().filter(fits).cloned().collect();
        let mut left = fitting;
        let mut steps = Vec::new();
        for Choice { model, reason } in self.0.choose(cx, request, &states).await? {
            let Some(at) = left.iter().position(|step| step.model == model) else {
                let names: Vec<_> = states.iter().map(|state| state.profile.id.as_str()).collect();
                let message =
                    format!("the router chose \"{model}\"; it may choose each of these once: {}", names.join(", "));
                return Err(Error::invalid(message).during("Router::decide"));
            };
            steps.push(RouteStep { reason, ..left.remove(at) });
        }
        if steps.is_empty() {
            return Err(
                Error::invalid("the router chose no model; have it choose at least one").during("Router::decide")
            );
        }
        let others = left.into_iter().map(|step| PassedOver { model: step.model, reason: "it was not chosen".into() });
        passed_over.extend(others);
        Ok(RoutePlan { steps, passed_over })
    }

    fn observe(&self, outcome: &RouteOutcome) {
        self.0.observe(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        error::ErrorKind,
        model::{ModelProfile, Price},
        money::NanoUsd,
        router::Needs,
    };

    #[derive(Debug)]
    struct Always(&'static [&'static str]);

    #[async_trait]
    impl Chooser for Always {
        async fn choose(&self, _: &Context, _: &RouteRequest, _: &[ModelState]) -> Result<Vec<Choice>> {
            Ok(self.0.iter().map(|name| Said::Name((*name).into()).into()).collect())
        }
    }

    fn models() -> Vec<ModelState> {
        let state = |id: &str, local| {
            let mut profile = ModelProfile::local(id, 1000);
            profile.local = local;
            profile.price = Price { input: NanoUsd(i64::from(!local)), ..Price::default() };
            ModelState::from(Arc::new(profile))
        };
        vec![state("near", true), state("far", false), state("farther", false)]
    }

    async fn route(chosen: &'static [&'static str], request: &RouteRequest) -> Result<RoutePlan> {
        ChosenRouter::new(Always(chosen)).decide(&Context::new(), request, &models()).await
    }

    #[tokio::test]
    async fn the_order_is_the_choosers() {
        let plan = route(&["far", "near"], &RouteRequest::default()).await.unwrap();
        let steps: Vec<_> = plan.steps.iter().map(|step| step.model.as_str()).collect();
        assert_eq!(steps, ["far", "near"]);
        assert_eq!(plan.passed_over[0].model, "farther");
    }

    #[tokio::test]
    async fn no_choice_breaks_a_need() {
        let needs = Needs { local_only: true, ..Needs::default() };
        let request = RouteRequest { needs, ..RouteRequest::default() };
        for chosen in [&["far"][..], &["near", "near"], &["unknown"], &[]] {
            assert_eq!(route(chosen, &request).await.unwrap_err().kind(), ErrorKind::Invalid, "{chosen:?}");
        }
        assert_eq!(route(&["near"], &request).await.unwrap().steps.len(), 1);
    }

    #[test]
    fn a_choice_is_a_name_or_has_a_reason() {
        let read = |json: &str| serde_json::from_str::<Choice>(json).unwrap();
        assert_eq!(read("\"a\"").model, "a");
        assert_eq!(read("{\"model\": \"a\", \"reason\": \"cheap\"}").reason, "cheap");
    }
}
