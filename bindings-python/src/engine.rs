//! Engines written in Python.

use async_trait::async_trait;
use serde_json::Value;
use triune::{Context, DynEngine, Health, Result};

use crate::host::{HostCall, read, write};

/// An engine of the host: a callable that takes a request as JSON and answers JSON.
#[derive(Debug)]
pub(crate) struct HostEngine {
    name: String,
    answer: HostCall,
}

impl HostEngine {
    pub(crate) fn new(name: String, answer: HostCall) -> Self {
        Self { name, answer }
    }
}

#[async_trait]
impl DynEngine for HostEngine {
    fn dyn_name(&self) -> &str {
        &self.name
    }

    async fn call_json(&self, cx: &Context, request: Value) -> Result<Value> {
        let answer = cx.run(self.answer.call_text(cx, write(&request)?)).await?;
        read("the engine answered in another form", &answer)
    }

    async fn dyn_health(&self, _cx: &Context) -> Health {
        Health::good()
    }
}
