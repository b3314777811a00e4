//! Quality gates: checks on what was generated.

mod content;
mod empty;
mod engine;
mod json;
#[cfg(feature = "syntax")]
mod syntax;
#[cfg(not(feature = "syntax"))]
#[path = "syntax_absent.rs"]
mod syntax;

use std::fmt;

use async_trait::async_trait;
pub use empty::NonEmptyGate;
pub use engine::{GateEngine, GateReply, GateRequest};
pub use json::JsonGate;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub use syntax::SyntaxGate;

use crate::{
    context::Context,
    error::{Error, Result},
};

/// Bytes of content that a gate that parses takes.
const MAX_BYTES: usize = 1 << 20;
/// Findings of one gate that are told; more help nobody.
const MAX_FINDINGS: usize = 10;

fn within(content: &str) -> Result<()> {
    if content.len() <= MAX_BYTES {
        return Ok(());
    }
    Err(Error::invalid("the artifact is longer than 1 MiB; check it in parts").with("bytes", content.len()))
}

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

impl Verdict {
    /// What `gate` found: nothing wrong is a pass.
    pub fn new(gate: impl Into<String>, findings: Vec<Finding>) -> Self {
        Self { gate: gate.into(), passed: findings.is_empty(), findings }
    }
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
