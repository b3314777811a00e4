//! The plan by a model: asked once, for JSON, and checked like any other plan.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Epic, EpicTask, Planner, plan};
use crate::{
    context::Context,
    error::{Error, Result},
    model::ResponseFormat,
    router::{GenerateRequest, RouterEngine},
};

/// What a model writes.
#[derive(Deserialize)]
struct Proposal {
    tasks: Vec<EpicTask>,
}

/// Tasks for `epic`: by a model if one that writes JSON to a schema would serve the epic, else by rules, saying why.
///
/// # Errors
/// `Cancelled` and `Timeout` of the call.
pub(super) async fn tasks(cx: &Context, router: &RouterEngine, epic: &Epic) -> Result<(Vec<EpicTask>, Planner)> {
    let because = match by_model(cx, router, epic).await {
        Ok(planned) => return Ok(planned),
        Err(because) => because,
    };
    cx.check()?;
    Ok((plan::by_rules(epic), Planner::Rules { because }))
}

async fn by_model(cx: &Context, router: &RouterEngine, epic: &Epic) -> Result<(Vec<EpicTask>, Planner), String> {
    let mut request = GenerateRequest::new(prompt(epic));
    request.system = Some("You plan the work of a team. You answer with one JSON object and nothing else.".into());
    request.needs = epic.needs.clone();
    request.sampling.temperature = Some(0.0);
    request.sampling.max_tokens = Some((256 + 128 * epic.requirements.len() as u32).min(4096));
    let writes = writes_json(cx, router, &request).await;
    if !writes.map_err(|e| format!("no model could be asked: {}", said(&e)))? {
        return Err("no model that writes JSON to a schema is configured for this epic".into());
    }
    request.response_format = ResponseFormat::JsonSchema { name: "plan".into(), schema: schema() };
    let reply = Box::pin(router.generate(cx, request)).await.map_err(|e| format!("the model failed: {}", said(&e)))?;
    let tasks = read(&reply.text).map_err(|e| format!("the plan of {} is not what was asked: {e}", reply.model))?;
    plan::check_tasks(&tasks, epic.requirements.len())
        .map_err(|e| format!("the plan of {} cannot work: {}", reply.model, e.message()))?;
    Ok((tasks, Planner::Model { model: reply.model }))
}

fn said(error: &Error) -> String {
    format!("{}: {}", error.code(), error.message())
}

/// Whether the model that would serve `request` writes JSON to a schema.
async fn writes_json(cx: &Context, router: &RouterEngine, request: &GenerateRequest) -> Result<bool> {
    let route = router.route(cx, request).await?;
    let Some(step) = route.steps.first() else {
        return Err(Error::invalid("no model fits the needs of the epic").during("Coordinator::plan"));
    };
    Ok(router.models().get(&step.model)?.profile().capabilities.json_schema)
}

fn prompt(epic: &Epic) -> String {
    let requirements: Vec<_> = epic.requirements.iter().enumerate().map(|(at, text)| format!("{at}. {text}")).collect();
    format!(
        "Project: {}\n{}\nRequirements, by number:\n{}\n\nSplit the work into at most {} tasks, so that as many as \
         possible can be done at once. Every requirement number is in the `requirements` of at least one task. A task \
         lists in `after` only names of tasks whose results it needs. A name has only letters, digits, `_` and `-`. \
         `produces` is the kind of result: text, json, rust, python or javascript.\n\
         {{\"tasks\": [{{\"name\": \"...\", \"description\": \"...\", \"requirements\": [0], \"after\": [], \
         \"produces\": \"text\"}}]}}",
        epic.title,
        epic.description,
        requirements.join("\n"),
        2 * epic.requirements.len() + 1,
    )
}

fn schema() -> Value {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    json!({
        "type": "object", "additionalProperties": false, "required": ["tasks"],
        "properties": {"tasks": {"type": "array", "items": {
            "type": "object", "additionalProperties": false,
            "required": ["name", "description", "requirements", "after", "produces"],
            "properties": {
                "name": {"type": "string"}, "description": {"type": "string"},
                "requirements": {"type": "array", "items": {"type": "integer"}}, "after": texts,
                "produces": {"type": "string", "enum": ["text", "json", "rust", "python", "javascript"]},
            },
        }}},
    })
}

/// Reads the JSON object in `text`, whatever stands around it. A model never chooses agents.
fn read(text: &str) -> Result<Vec<EpicTask>, String> {
    let (Some(start), Some(end)) = (text.find('{'), text.rfind('}')) else {
        return Err("there is no JSON in it".into());
    };
    let json = text.get(start..=end).ok_or("there is no JSON in it")?;
    let mut proposal: Proposal =
        serde_json::from_str(json).map_err(|e| format!("line {}: {:?}", e.line(), e.classify()))?;
    proposal.tasks.iter_mut().for_each(|task| task.agent = None);
    Ok(proposal.tasks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_is_found_in_prose() {
        let task = "{\"name\": \"a\", \"description\": \"d\", \"requirements\": [0], \"agent\": \"x\"}";
        let tasks = read(&format!("Sure!\n```json\n{{\"tasks\": [{task}]}}\n```\nDone.")).unwrap();
        assert_eq!((tasks.len(), tasks[0].agent.as_deref()), (1, None));
        for text in ["", "no", "} {", "{\"tasks\": 1}", "{\"tasks\": [{\"name\": \"a\"}]}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\{|\\}|\"tasks\"|:|\\[|\\]|\\PC{0,3}){0,30}") {
            let _ = read(&text);
        }
    }
}
