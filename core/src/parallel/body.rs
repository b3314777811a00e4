//! Does what a task says, once.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use serde_json::Value;

use super::{Task, TaskBody, TaskCall, template::Data};
use crate::{
    context::Context,
    engine::{DynEngine, Function, Registry},
    error::{Error, ErrorKind, Result},
    router::{GenerateRequest, Prompt, RouterEngine},
};

/// What tasks call.
#[derive(Debug)]
pub(super) struct Tools {
    pub(super) router: RouterEngine,
    pub(super) engines: Registry<dyn DynEngine>,
    pub(super) functions: Registry<dyn Function>,
}

impl Tools {
    /// Does `task`. A panic in it is an error of the task.
    pub(super) async fn perform(&self, cx: &Context, task: &Task, call: TaskCall) -> Result<Value> {
        let work = AssertUnwindSafe(self.dispatch(cx, task, call)).catch_unwind();
        Box::pin(cx.run(async { work.await.unwrap_or_else(|panic| Err(panicked(&*panic))) })).await
    }

    async fn dispatch(&self, cx: &Context, task: &Task, call: TaskCall) -> Result<Value> {
        let data = Data { input: &call.input, results: &call.results };
        match &task.body {
            TaskBody::Function(name) => {
                let function = self.functions.get(name).map_err(|e| {
                    let advice = "register it before the run, in every process that may go on with it";
                    Error::not_found(format!("{}; {advice}", e.message())).during("Task::function")
                })?;
                let call = serde_json::to_value(call)
                    .map_err(|e| Error::unexpected("a task call has no JSON form").caused_by(e))?;
                function.call(cx, call).await
            }
            TaskBody::Engine { name, request } => {
                let request = data.value(request)?;
                self.engines.get(name)?.call_json(cx, request).await
            }
            TaskBody::Prompt(request) => {
                let request = fill(request, &data)?;
                Ok(Value::String(self.router.generate(cx, request).await?.text))
            }
            TaskBody::Value(value) => Ok(value.clone()),
        }
    }
}

fn fill(request: &GenerateRequest, data: &Data<'_>) -> Result<GenerateRequest> {
    let mut request = request.clone();
    request.system = request.system.map(|system| data.text(&system)).transpose()?;
    match &mut request.prompt {
        Prompt::Text(text) => *text = data.text(text)?,
        Prompt::Messages(messages) => {
            for message in messages {
                message.content = data.text(&message.content)?;
            }
        }
    }
    Ok(request)
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Error::new(ErrorKind::Unexpected, "the task panicked; mend its function").during("Task::run").with("panic", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, model::Message};
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn every_text_of_a_prompt_is_filled() {
        let (input, results) = (json!({"city": "Paris"}), BTreeMap::from([("fetch".to_owned(), json!("rain"))]));
        let data = Data { input: &input, results: &results };
        let mut request = GenerateRequest::new("Weather in {{ input.city }}: {{ results.fetch }}?");
        request.system = Some("You know {{ input.city }}.".into());
        let filled = fill(&request, &data).unwrap();
        assert_eq!(filled.prompt, Prompt::Text("Weather in Paris: rain?".into()));
        assert_eq!(filled.system.as_deref(), Some("You know Paris."));
        let chat = Prompt::Messages(vec![Message::user("{{ results.fetch }}"), Message::user("{{ results.fetsh }}")]);
        let error = fill(&chat.into(), &data).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("results.fetsh"));
    }
}
