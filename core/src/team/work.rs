//! One task of an epic: what its agent knows, asks and makes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Agent, EpicPlan, EpicTask, TaskWork,
    engine::Inner,
    namespace, prompt,
    record::{self, TaskRecord},
    tally::{Spent, Tally},
};
use crate::{
    context::Context,
    engine::FunctionSpec,
    error::{Error, ErrorKind, Result},
    gate::{Artifact, Verdict},
    model::{Message, Role, ToolCall},
    recall::{RecallQuery, RelateRequest, StoreRequest},
    router::{GenerateReply, GenerateRequest, Prompt},
};

/// Times a model may call tools before it must answer.
const TOOL_ROUNDS: usize = 4;
/// Calls of one round that are made.
const CALLS_A_ROUND: usize = 8;
/// Bytes of a tool's result that a model is given.
const TOOL_RESULT: usize = 8 * 1024;
/// Bytes of a passage of memory.
const PASSAGE: usize = 2 * 1024;
/// Wait before a model that failed is asked again; doubles.
const BACKOFF: Duration = Duration::from_millis(200);

/// An agent at its task.
struct Desk<'a> {
    cx: &'a Context,
    team: &'a Inner,
    id: &'a str,
    plan: &'a EpicPlan,
    task: &'a EpicTask,
    agent: &'a Agent,
    tools: Vec<FunctionSpec>,
    /// What was known when the work began, and what is known since, but for what is spent since: `tally` has that.
    record: TaskRecord,
    tally: Arc<Tally>,
    /// What of it is kept.
    kept: Spent,
}

/// What a task spent is counted when its work is dropped, too.
impl Drop for Desk<'_> {
    fn drop(&mut self) {
        if let Some(unit) = self.cx.unit.as_ref().filter(|_| self.tally.spent() != self.kept) {
            record::keep_soon(&self.team.store, unit, self.id, &self.task.name, self.record());
        }
    }
}

/// Does `task` of epic `id`, given the results of the tasks before it.
///
/// # Errors
/// `NotFound` when there is no such epic or task; `Rejected` when the gates refused every answer; what models, recall
/// and gates report.
pub(super) async fn work(
    cx: &Context,
    team: &Inner,
    id: &str,
    task: &str,
    results: &BTreeMap<String, TaskWork>,
) -> Result<TaskWork> {
    let plan = record::epic(&team.store, id)?.plan;
    let task = plan.tasks.iter().find(|known| known.name == task);
    let task = task.ok_or_else(|| Error::not_found("the epic has no such task").during("TeamEngine::work"))?;
    let agent = plan.epic.agents.iter().find(|agent| task.agent.as_deref() == Some(agent.name.as_str()));
    let agent = agent.ok_or_else(|| Error::not_found("the task has no agent").during("TeamEngine::work"))?;
    let mut record = record::task(&team.store, id, &task.name)?;
    record.notes.clear();
    let (tally, cx) = &Tally::count(cx);
    let (tally, kept) = (Arc::clone(tally), Spent::default());
    let mut desk = Desk { cx, team, id, plan: &plan, task, agent, tools: Vec::new(), record, tally, kept };
    desk.take_tools().await?;
    let memory = desk.memory(results).await?;
    let room = desk.room(results, &memory).await?;
    let question = prompt::task(&plan.epic, task, results, &memory, room);
    let (text, model) = desk.make(question).await?;
    desk.remember(&text, &model).await?;
    desk.keep().await?;
    Ok(TaskWork { text, model, gates: desk.record.gates.clone(), notes: desk.record.notes.clone() })
}

impl Desk<'_> {
    /// Asks until the gates pass an answer or the attempts are used up.
    async fn make(&mut self, question: String) -> Result<(String, String)> {
        let mut messages = vec![Message::user(question)];
        let retries = self.team.config.retries;
        for attempt in 0..=retries {
            self.record.attempts += 1;
            let reply = match self.answer(&mut messages).await {
                Ok(reply) => reply,
                Err(error) => {
                    self.keep().await?;
                    self.cx.check()?;
                    if attempt == retries || !error.is_retryable() {
                        return Err(error);
                    }
                    self.cx.sleep(BACKOFF * 2_u32.saturating_pow(attempt)).await?;
                    continue;
                }
            };
            let artifact = Artifact::new(&self.task.name, self.task.produces, &reply.text);
            let checked = self.team.gate.check(self.cx, &artifact, &[]).await?;
            self.record.gates = checked.verdicts;
            self.keep().await?;
            if checked.passed {
                return Ok((reply.text, reply.model));
            }
            messages.push(Message::new(Role::Assistant, reply.text));
            messages.push(Message::user(prompt::refused(&self.record.gates)));
        }
        Err(rejected(&self.record.gates, retries + 1))
    }

    /// One answer, with the tools called that the model wants called on its way there.
    async fn answer(&mut self, messages: &mut Vec<Message>) -> Result<GenerateReply> {
        let mut round = 0;
        loop {
            let mut request = self.request(Prompt::Messages(messages.clone()));
            request.tools.clone_from(&self.tools);
            let mut reply = Box::pin(self.team.router.generate(self.cx, request)).await?;
            self.record.model = Some(reply.model.clone());
            // Kept at once: when the task is cut off, what it spent is still counted.
            self.keep().await?;
            if reply.tool_calls.is_empty() || round == TOOL_ROUNDS {
                return Ok(reply);
            }
            round += 1;
            reply.tool_calls.truncate(CALLS_A_ROUND);
            let mut said = Message::new(Role::Assistant, reply.text);
            said.tool_calls.clone_from(&reply.tool_calls);
            messages.push(said);
            for call in reply.tool_calls {
                let result = self.call(&call).await?;
                let mut answer =
                    Message::new(Role::Tool, format!("<data>\n{}\n</data>", prompt::data(&result, TOOL_RESULT)));
                answer.tool_call_id = Some(call.id);
                messages.push(answer);
            }
        }
    }

    /// Calls a tool. What goes wrong is told to the model, but for the end of the call itself.
    async fn call(&self, call: &ToolCall) -> Result<String> {
        // A model may name what it was never offered; only the agent's own tools count.
        if !self.tools.iter().any(|tool| tool.name == call.name) {
            return Ok("refused: you have no such tool".into());
        }
        let function = self.team.parallel.functions().get(&call.name)?;
        let result = self.cx.run(function.call(self.cx, call.arguments.clone())).await;
        self.cx.check()?;
        Ok(match result {
            Ok(value) => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            Err(error) => format!("failed: {}: {}", error.code(), error.message()),
        })
    }

    fn request(&self, prompt: Prompt) -> GenerateRequest {
        let epic = &self.plan.epic;
        let mut request = GenerateRequest::from(prompt);
        request.system = Some(prompt::system(self.agent));
        request.needs = epic.needs.clone();
        if self.agent.model.is_some() {
            request.needs.model.clone_from(&self.agent.model);
        }
        request.sampling.max_tokens = Some(epic.max_tokens.unwrap_or(self.team.config.max_tokens));
        request
    }

    /// Takes the agent's tools if a model that can call them would serve it.
    async fn take_tools(&mut self) -> Result<()> {
        if self.agent.tools.is_empty() {
            return Ok(());
        }
        let functions = self.team.parallel.functions();
        let tools = self.agent.tools.iter().map(|name| Ok(functions.get(name)?.spec().clone()));
        let tools: Vec<_> = tools.collect::<Result<_>>()?;
        let mut request = self.request(Prompt::Text(self.task.description.clone()));
        request.tools.clone_from(&tools);
        match self.team.router.route(self.cx, &request).await {
            Ok(route) if !route.steps.is_empty() => self.tools = tools,
            Ok(_) | Err(_) => self.record.notes.push("no model that fits can call tools, so none were offered".into()),
        }
        Ok(())
    }

    /// Bytes of material there is room for: half the context of the model that would be asked first.
    async fn room(&self, results: &BTreeMap<String, TaskWork>, memory: &[String]) -> Result<usize> {
        if prompt::material(results, memory) <= prompt::SMALL {
            return Ok(usize::MAX);
        }
        let request = self.request(Prompt::Text(self.task.description.clone()));
        let route = self.team.router.route(self.cx, &request).await?;
        let Some(first) = route.steps.first() else { return Ok(prompt::SMALL) };
        let tokens = self.team.router.models().get(&first.model)?.profile().context_length / 2;
        // Models count about one token in three bytes or more.
        Ok((tokens as usize).saturating_mul(3).max(prompt::SMALL))
    }

    /// Passages of the epic's shared memory that are near the task and not among the results it is given anyway.
    async fn memory(&self, results: &BTreeMap<String, TaskWork>) -> Result<Vec<String>> {
        let wanted = self.team.config.memory;
        if wanted == 0 {
            return Ok(Vec::new());
        }
        let mut query = RecallQuery::new(&self.task.description, (wanted + results.len() + 1).min(1000));
        query.namespace = namespace(self.id);
        let hits = self.team.recall.query(self.cx, query).await?;
        let new = hits.into_iter().filter(|hit| !results.contains_key(&hit.item.id) && hit.item.id != self.task.name);
        Ok(new.take(wanted).map(|hit| prompt::data(&hit.item.text, PASSAGE)).collect())
    }

    /// Stores the result and its relations, visible together with the end of the task.
    async fn remember(&self, text: &str, model: &str) -> Result<()> {
        let namespace = namespace(self.id);
        let mut item = StoreRequest::new(text);
        item.namespace.clone_from(&namespace);
        item.id = Some(self.task.name.clone());
        let facts = [
            ("epic", self.id.into()),
            ("task", self.task.name.as_str().into()),
            ("agent", self.agent.name.as_str().into()),
            ("requirements", self.task.requirements.clone().into()),
            ("model", model.into()),
        ];
        item.metadata =
            facts.into_iter().map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value)).collect();
        let task = format!("task:{}", self.task.name);
        let relation = |from: String, kind: &str, to: String| {
            let namespace = namespace.clone();
            RelateRequest { namespace, from, kind: kind.into(), to, weight: 1.0 }
        };
        let recall = &self.team.recall;
        recall.store(self.cx, item).await?;
        recall.relate(self.cx, relation(format!("agent:{}", self.agent.name), "did", task.clone())).await?;
        for at in &self.task.requirements {
            recall.relate(self.cx, relation(task.clone(), "serves", format!("requirement:{at}"))).await?;
        }
        Ok(())
    }

    fn record(&self) -> TaskRecord {
        let mut record = self.record.clone();
        record.spent = record.spent.plus(self.tally.spent());
        record
    }

    async fn keep(&mut self) -> Result<()> {
        let (record, spent) = (self.record(), self.tally.spent());
        record::keep(&self.team.store, self.cx.unit.as_ref(), self.id, &self.task.name, record).await?;
        self.kept = spent;
        Ok(())
    }
}

fn rejected(verdicts: &[Verdict], attempts: u32) -> Error {
    let gates: Vec<_> =
        verdicts.iter().filter(|verdict| !verdict.passed).map(|verdict| verdict.gate.as_str()).collect();
    let gates = gates.join(", ");
    Error::new(
        ErrorKind::Rejected,
        format!("the gates ({gates}) refused every answer; see what they found, and ask for less or of a better model"),
    )
    .during("TeamEngine::work")
    .with("attempts", attempts)
}
