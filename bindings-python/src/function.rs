//! Functions written in Python: bodies of tasks, and tools.

use async_trait::async_trait;
use serde_json::Value;
use triune::{Context, Error, Function, FunctionSpec, Result};

use crate::host::{HostCall, read, write};

/// A function of the host: a callable that takes its input as JSON and answers JSON.
#[derive(Debug)]
pub(crate) struct HostFunction {
    spec: FunctionSpec,
    run: HostCall,
}

impl HostFunction {
    pub(crate) fn new(spec: &str, run: HostCall) -> Result<Self> {
        let spec = serde_json::from_str(spec)
            .map_err(|error| Error::invalid(format!("the description of the function has another form: {error}")))?;
        Ok(Self { spec, run })
    }
}

#[async_trait]
impl Function for HostFunction {
    fn spec(&self) -> &FunctionSpec {
        &self.spec
    }

    async fn call(&self, cx: &Context, input: Value) -> Result<Value> {
        let answer = cx.run(self.run.call_text(cx, write(&input)?)).await?;
        read("the function answered in another form", &answer)
    }
}
