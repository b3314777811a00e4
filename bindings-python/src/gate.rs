//! Gates written in Python.

use async_trait::async_trait;
use serde::Deserialize;
use triune::{
    Context, Result,
    gate::{Artifact, Finding, Gate, Verdict},
};

use crate::host::{HostCall, read, write};

/// A gate of the host: a callable that takes an artifact as JSON and answers what it found as JSON.
#[derive(Debug)]
pub(crate) struct HostGate {
    name: String,
    check: HostCall,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    passed: bool,
    #[serde(default)]
    findings: Vec<Finding>,
}

impl HostGate {
    pub(crate) fn new(name: String, check: HostCall) -> Self {
        Self { name, check }
    }
}

#[async_trait]
impl Gate for HostGate {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self, cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        let answer = cx.run(self.check.call_text(cx, write(artifact)?)).await?;
        let Said { passed, findings } = read("the gate answered in another form", &answer)?;
        Ok(Verdict { gate: self.name.clone(), passed, findings })
    }
}
