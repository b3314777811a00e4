//! The engine `gate`.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Artifact, Gate, JsonGate, NonEmptyGate, SyntaxGate, Verdict};
use crate::{
    context::Context,
    engine::{Engine, Registry},
    error::Result,
    monitor::EventKind,
};

/// What the engine `gate` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum GateRequest {
    /// Checks an artifact.
    Check {
        /// The artifact.
        artifact: Artifact,
        /// By these gates; by all that there are when empty.
        #[serde(default)]
        gates: Vec<String>,
    },
}

/// What the engine `gate` answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateReply {
    /// Whether every gate passed it.
    pub passed: bool,
    /// What each said.
    pub verdicts: Vec<Verdict>,
}

/// The engine `gate`: checks what was generated. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GateEngine {
    gates: Registry<dyn Gate>,
}

impl GateEngine {
    /// An engine with the gates that come with triune: `non-empty`, `json` and `syntax`.
    ///
    /// # Errors
    /// None for the gates of triune.
    pub fn new() -> Result<Self> {
        let gates = Registry::<dyn Gate>::new("gate");
        gates.register("non-empty", Arc::new(NonEmptyGate))?;
        gates.register("json", Arc::new(JsonGate))?;
        gates.register("syntax", Arc::new(SyntaxGate))?;
        Ok(Self { gates })
    }

    /// The gates; more can be registered at any time.
    pub fn gates(&self) -> &Registry<dyn Gate> {
        &self.gates
    }

    /// Checks `artifact` by these gates, or by all that there are when none is named. Every gate is asked, so that
    /// all that is wrong is told at once.
    ///
    /// # Errors
    /// `NotFound` when a gate is not registered; what a gate that could not check returns.
    pub async fn check(&self, cx: &Context, artifact: &Artifact, gates: &[String]) -> Result<GateReply> {
        let gates = match gates {
            [] => self.gates.items(),
            names => names.iter().map(|name| self.gates.get(name)).collect::<Result<_>>()?,
        };
        let mut verdicts = Vec::with_capacity(gates.len());
        for gate in gates {
            let verdict = cx.run(gate.check(cx, artifact)).await?;
            cx.emit(EventKind::GateChecked {
                gate: verdict.gate.clone(),
                artifact: artifact.name.clone(),
                passed: verdict.passed,
            });
            verdicts.push(verdict);
        }
        Ok(GateReply { passed: verdicts.iter().all(|verdict| verdict.passed), verdicts })
    }
}

#[async_trait]
impl Engine for GateEngine {
    type Request = GateRequest;
    type Reply = GateReply;
    fn name(&self) -> &'static str {
        "gate"
    }
    async fn call(&self, cx: &Context, request: GateRequest) -> Result<GateReply> {
        match request {
            GateRequest::Check { artifact, gates } => self.check(cx, &artifact, &gates).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{engine::DynEngine, error::ErrorKind, gate::Finding, monitor::FnSink};
    use serde_json::json;
    use std::sync::Mutex;

    #[derive(Debug)]
    struct NoShouting;

    #[async_trait]
    impl Gate for NoShouting {
        fn name(&self) -> &'static str {
            "no-shouting"
        }
        async fn check(&self, _cx: &Context, artifact: &Artifact) -> Result<Verdict> {
            let loud = artifact.content.contains('!');
            let findings = loud.then(|| Finding { message: "it shouts".into(), line: None });
            Ok(Verdict::new(self.name(), findings.into_iter().collect()))
        }
    }

    #[tokio::test]
    async fn all_gates_are_asked_and_each_is_told_of() {
        let engine = GateEngine::new().unwrap();
        engine.gates().register("no-shouting", Arc::new(NoShouting)).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let cx = Context::new().events(Arc::new(FnSink(move |event: &crate::monitor::Event| {
            if let EventKind::GateChecked { gate, passed, .. } = &event.kind {
                sink.lock().unwrap().push((gate.clone(), *passed));
            }
        })));
        let reply = engine.call_json(&cx, json!({"do": "check", "artifact": {"content": "Hey!"}})).await.unwrap();
        assert_eq!((&reply["passed"], reply["verdicts"].as_array().unwrap().len()), (&json!(false), 4));
        assert_eq!(seen.lock().unwrap().iter().filter(|(_, passed)| *passed).count(), 3);
        let named = json!({"do": "check", "artifact": {"content": "Hey!"}, "gates": ["non-empty"]});
        assert_eq!(engine.call_json(&cx, named).await.unwrap()["passed"], true);
    }

    #[tokio::test]
    async fn an_unknown_gate_is_told_what_there_is() {
        let artifact = Artifact::new("a", crate::gate::ArtifactKind::Text, "x");
        let engine = GateEngine::new().unwrap();
        let error = engine.check(&Context::new(), &artifact, &["sintax".into()]).await.unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.message().contains("syntax"));
    }
}
