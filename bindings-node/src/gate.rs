//! Gates that are written in JavaScript.

use std::fmt;

use async_trait::async_trait;
use triune::{
    Context, Error, ErrorKind, Result,
    gate::{Artifact, Gate, Verdict},
};

use crate::{
    error::{Thrown, read, write},
    host::{Host, HostCallback},
};

/// A gate of the user.
pub(crate) struct HostGate {
    name: String,
    host: Host<String>,
}

impl HostGate {
    pub(crate) fn new(name: String, callback: &HostCallback<'_, String>) -> Result<Self, Thrown> {
        Ok(Self { name, host: Host::new(callback)? })
    }
}

impl fmt::Debug for HostGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostGate").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Gate for HostGate {
    fn name(&self) -> &str {
        &self.name
    }

    async fn check(&self, cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        let answer = self.host.ask(cx, write(artifact)?).await?;
        read("the verdict of the gate", &answer)
            .map_err(|e| Error::new(ErrorKind::Host, e.message().to_owned()).with("gate", &self.name))
    }
}
