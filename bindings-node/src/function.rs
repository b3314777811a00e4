//! Functions that are written in JavaScript: bodies of tasks, and tools.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;
use triune::{Context, Function, FunctionSpec, Result};

use crate::{
    error::{Thrown, read},
    host::{Host, HostCallback},
};

/// A function of the user.
pub(crate) struct HostFunction {
    spec: FunctionSpec,
    host: Host<String>,
}

impl HostFunction {
    pub(crate) fn new(spec: &str, callback: &HostCallback<'_, String>) -> Result<Self, Thrown> {
        Ok(Self { spec: read("the description of the function", spec)?, host: Host::new(callback)? })
    }
}

impl fmt::Debug for HostFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostFunction").field("name", &self.spec.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Function for HostFunction {
    fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    async fn call(&self, cx: &Context, input: Value) -> Result<Value> {
        let answer = self.host.ask(cx, input.to_string()).await?;
        read("the result of the function", &answer)
    }
}
