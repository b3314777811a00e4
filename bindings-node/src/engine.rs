//! Engines that are written in JavaScript.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;
use triune::{Context, Engine, Result};

use crate::{
    error::{Thrown, read},
    host::{Host, HostCallback},
};

/// An engine of the user. It is asked and answers any JSON.
pub(crate) struct HostEngine {
    name: String,
    host: Host<String>,
}

impl HostEngine {
    pub(crate) fn new(name: String, callback: &HostCallback<'_, String>) -> Result<Self, Thrown> {
        Ok(Self { name, host: Host::new(callback)? })
    }
}

impl fmt::Debug for HostEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostEngine").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Engine for HostEngine {
    type Request = Value;
    type Reply = Value;

    fn name(&self) -> &str {
        &self.name
    }

    async fn call(&self, cx: &Context, request: Value) -> Result<Value> {
        let answer = self.host.ask(cx, request.to_string()).await?;
        read("the reply of the engine", &answer)
    }
}
