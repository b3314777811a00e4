//! The engine `gate`.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{Artifact, Gate, Verdict};
use crate::{
    context::Context,
    engine::{Engine, Registry},
    error::{Error, Result},
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
    /// An engine with the gates that come with triune.
    ///
    /// # Errors
    /// None for the gates of triune.
    pub fn new() -> Result<Self> {
        Ok(Self { gates: Registry::new("gate") })
    }
    /// The gates; more can be registered at any time.
    pub fn gates(&self) -> &Registry<dyn Gate> {
        &self.gates
    }
}

#[async_trait]
impl Engine for GateEngine {
    type Request = GateRequest;
    type Reply = GateReply;
    fn name(&self) -> &str {
        "gate"
    }
    async fn call(&self, _cx: &Context, _request: GateRequest) -> Result<GateReply> {
        Err(Error::unexpected("UNFINISHED"))
    }
}
