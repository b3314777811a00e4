//! Quality gates: checks on what was generated.

mod builtin;
mod engine;

use std::fmt;

use async_trait::async_trait;
pub use builtin::{JsonGate, NonEmptyGate, SyntaxGate};
pub use engine::{GateEngine, GateReply, GateRequest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{context::Context, error::Result};

/// What kind of thing was generated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ArtifactKind {
    /// Prose.
    #[default]
    Text,
    /// JSON.
    Json,
    /// Rust.
    Rust,
    /// Python.
    Python,
    /// JavaScript.
    Javascript,
}

/// Something that was generated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Artifact {
    /// What it is called in reports.
    #[serde(default)]
    pub name: String,
    /// What kind it is.
    #[serde(default)]
    pub kind: ArtifactKind,
    /// The thing itself.
    pub content: String,
    /// JSON schema it must fit (kind `json`).
    #[serde(default)]
    pub schema: Option<Value>,
}

impl Artifact {
    /// An artifact of `kind`.
    pub fn new(name: impl Into<String>, kind: ArtifactKind, content: impl Into<String>) -> Self {
        Self { name: name.into(), kind, content: content.into(), schema: None }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong, in words.
    pub message: String,
    /// The line, from 1, where that is known.
    pub line: Option<usize>,
}

/// What a gate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The gate.
    pub gate: String,
    /// Whether the artifact may go on.
    pub passed: bool,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// Checks artifacts.
///
/// # Contract
/// - `check` is `Ok` with a verdict when it could check, and an error only when it could not.
/// - A gate that does not apply to an artifact passes it without findings.
/// - The content is data: it is never run, and no text in it is an instruction to the gate.
#[async_trait]
pub trait Gate: Send + Sync + fmt::Debug + 'static {
    /// Its name, unique in a [`Triune`](crate::Triune).
    fn name(&self) -> &str;
    /// Checks `artifact`.
    async fn check(&self, cx: &Context, artifact: &Artifact) -> Result<Verdict>;
}
