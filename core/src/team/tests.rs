use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::json;

use super::{
    Agent, Coordinator, Epic, EpicPlan, EpicTask, Planner, TeamConfig, TeamReply, TeamRequest,
    scripted::{Answer, Mind, Ruled, WordEmbedder},
};
use crate::{
    Budget, Context, Engine, Error, ErrorKind, FnFunction, NanoUsd,
    gate::ArtifactKind,
    model::{ChatRequest, Role, ToolCall},
    monitor::{Event, EventKind, FnSink},
    parallel::TaskOutcome,
    recall::{NeighboursRequest, RecallQuery},
};

fn last(request: &ChatRequest) -> &str {
    &request.messages.last().unwrap().content
}

fn writer(id: &str) -> Arc<Ruled> {
    Arc::new(Ruled::new(id, |request, _| {
        let task = last(request).lines().find_map(|line| line.strip_prefix("Your task: ")).unwrap_or("?");
        Answer::Text(format!("Done: {task}"))
    }))
}

fn epic(requirements: &[&str]) -> Epic {
    Epic {
        title: "A shop".into(),
        requirements: requirements.iter().map(ToString::to_string).collect(),
        ..Epic::default()
    }
}

fn task(name: &str, requirement: usize, after: &[&str], produces: ArtifactKind) -> EpicTask {
    EpicTask {
        name: name.into(),
        description: format!("make {name}"),
        requirements: vec![requirement],
        after: after.iter().map(ToString::to_string).collect(),
        agent: None,
        produces,
    }
}

fn open(models: &[Arc<Ruled>]) -> (tempfile::TempDir, Mind) {
    let folder = tempfile::tempdir().unwrap();
    let mind = Mind::open(folder.path(), TeamConfig::default(), models, true);
    (folder, mind)
}

#[tokio::test]
async fn without_a_model_for_json_the_rules_plan_and_say_why() {
    let (_folder, mind) = open(&[writer("plain")]);
    let plan = mind.team.plan(&Context::new(), &epic(&["a cart", "a till"])).await.unwrap();
    let Planner::Rules { because } = &plan.planner else { panic!("{:?}", plan.planner) };
    assert!(because.contains("JSON"), "{because}");
    let names: Vec<_> = plan.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["requirement-1", "requirement-2", "integration"]);
    assert_eq!(plan.epic.agents.len(), 8);
    assert!(plan.tasks.iter().all(|task| task.agent.is_some()));
}

#[tokio::test]
async fn a_model_that_writes_json_plans_unless_its_plan_is_wrong() {
    let answers = [
        (
            "{\"tasks\": [{\"name\": \"all\", \"description\": \"do all\", \"requirements\": [0, 1], \
           \"after\": [], \"produces\": \"text\"}]}",
            "",
        ),
        (
            "{\"tasks\": [{\"name\": \"half\", \"description\": \"do it\", \"requirements\": [0], \
           \"after\": [], \"produces\": \"text\"}]}",
            "no task serves",
        ),
        ("I would rather not.", "not of the form"),
    ];
    for (answer, problem) in answers {
        let model = Ruled::new("planner", move |_, _| Answer::Text(answer.into()));
        let model = Arc::new(model.with(|profile| profile.capabilities.json_schema = true));
        let (_folder, mind) = open(&[Arc::clone(&model)]);
        let plan = mind.team.plan(&Context::new(), &epic(&["a cart", "a till"])).await.unwrap();
        // What is no JSON of the form is asked for once more, with what was wrong.
        let told = usize::from(problem.contains("form"));
        assert_eq!(model.asked().len(), 1 + told, "{problem}");
        match plan.planner {
            Planner::Model { model } => assert!(problem.is_empty() && model == "planner" && plan.tasks.len() == 1),
            Planner::Rules { because } => assert!(!problem.is_empty() && because.contains(problem), "{because}"),
            Planner::Caller => panic!(),
        }
    }
}

#[tokio::test]
async fn tasks_go_to_those_who_fit_and_nobody_works_twice_while_another_is_idle() {
    let (_folder, mind) = open(&[writer("plain")]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let cx = Context::new().events(Arc::new(FnSink(move |event: &Event| {
        if let EventKind::TaskAssigned { agent, similarity, .. } = &event.kind {
            sink.lock().unwrap().push((agent.clone(), *similarity));
        }
    })));
    let requirements = [
        "write code to implement it",
        "test edge cases",
        "translate the language",
        "a message for the audience",
        "plan steps",
    ];
    let plan = mind.team.plan(&cx, &Epic { team_size: Some(20), ..epic(&requirements) }).await.unwrap();
    let agents: Vec<_> = plan.tasks.iter().map(|task| task.agent.clone().unwrap()).collect();
    let unique: std::collections::HashSet<_> = agents.iter().collect();
    assert_eq!((agents.len(), unique.len(), plan.epic.agents.len()), (6, 6, 20));
    for (agent, role) in agents.iter().zip(["engineer", "tester", "translator", "marketer", "planner"]) {
        assert!(agent.starts_with(role), "{agent} is no {role}");
    }
    let seen = seen.lock().unwrap();
    assert!(seen.len() == 6 && seen[0].0 == agents[0] && seen[0].1 > 0.3, "{seen:?}");
}

#[tokio::test]
async fn an_epic_runs_to_its_end_and_leaves_memory_and_relations() {
    let model = writer("plain");
    let (_folder, mind) = open(&[Arc::clone(&model)]);
    let cx = Context::new();
    let reply = mind.team.call(&cx, TeamRequest::Run { epic: epic(&["a cart", "a till"]) }).await.unwrap();
    let TeamReply::Report(report) = reply else { panic!() };
    assert_eq!((report.outcome.as_str(), report.tasks.len(), report.agents), ("succeeded", 3, 3));
    assert_eq!(report.tasks[0].result, "Done: a cart");
    assert_eq!((report.input_tokens, report.output_tokens, report.cost), (30, 15, NanoUsd(45)));
    assert_eq!(report.saved, report.reference_cost - report.cost);
    let asked = model.asked();
    let integration = last(asked.last().unwrap());
    assert!(integration.contains("Done: a cart") && integration.contains("Done: a till"), "{integration}");
    assert!(asked[0].messages[0].role == Role::System && asked[0].messages[0].content.contains("never follow"));

    let mut query = RecallQuery::new("a cart", 5);
    query.namespace.clone_from(&report.namespace);
    let hits = mind.recall.query(&cx, query).await.unwrap();
    assert!(hits.iter().any(|hit| hit.item.text == "Done: a cart" && hit.item.metadata["task"] == "requirement-1"));
    let near = json!({"namespace": report.namespace, "of": "task:requirement-2"});
    let near: NeighboursRequest = serde_json::from_value(near).unwrap();
    let near = mind.recall.neighbours(&cx, near).await.unwrap();
    let names: Vec<_> = near.iter().map(|near| near.name.as_str()).collect();
    let agent = format!("agent:{}", report.tasks[1].agent);
    assert!(names.contains(&"requirement:1") && names.contains(&agent.as_str()), "{names:?}");

    let TeamReply::Epics { epics } = mind.team.call(&cx, TeamRequest::Unfinished {}).await.unwrap() else { panic!() };
    assert!(epics.is_empty(), "it has ended");
    let again = mind.team.call(&cx, TeamRequest::Resume { epic: report.epic.clone() }).await.unwrap();
    let TeamReply::Report(again) = again else { panic!() };
    assert!(again.tasks.iter().all(|task| task.restored) && again.cost == report.cost);
    assert_eq!(model.asked().len(), 3, "nothing is done again");
}

#[cfg(feature = "syntax")]
#[tokio::test]
async fn a_refused_answer_is_mended() {
    let model = Arc::new(Ruled::new("coder", |request, number| {
        if number == 0 {
            return Answer::Text("def f(:\n    pass".into());
        }
        assert!(last(request).contains("line 1") && request.messages.len() == 4, "{:?}", request.messages);
        Answer::Text("```python\ndef f():\n    pass\n```".into())
    }));
    let (_folder, mind) = open(&[model]);
    let tasks = vec![task("code", 0, &[], ArtifactKind::Python)];
    let plan = EpicPlan { epic: epic(&["code"]), tasks, planner: Planner::Caller };
    let report = mind.team.run(&Context::new(), plan).await.unwrap().report().await.unwrap();
    let code = &report.tasks[0];
    assert_eq!((code.outcome, code.attempts, code.cost), (TaskOutcome::Succeeded, 2, NanoUsd(30)));
    assert!(code.gates.iter().all(|verdict| verdict.passed));
}

#[cfg(feature = "syntax")]
#[tokio::test]
async fn what_is_refused_every_time_fails_with_its_findings_and_skips_what_waits() {
    let model = Arc::new(Ruled::new("coder", |request, _| {
        let code = last(request).contains("make code") || last(request).contains("refused");
        Answer::Text(if code { "no code at all, sorry".into() } else { "fine".into() })
    }));
    let (_folder, mind) = open(&[model]);
    let tasks = vec![
        task("code", 0, &[], ArtifactKind::Rust),
        task("use", 0, &["code"], ArtifactKind::Text),
        task("other", 0, &[], ArtifactKind::Text),
    ];
    let plan = EpicPlan { epic: epic(&["code"]), tasks, planner: Planner::Caller };
    let report = mind.team.run(&Context::new(), plan).await.unwrap().report().await.unwrap();
    let outcomes: Vec<_> = report.tasks.iter().map(|task| task.outcome).collect();
    assert_eq!(outcomes, [TaskOutcome::Failed, TaskOutcome::Skipped, TaskOutcome::Succeeded]);
    assert_eq!(report.outcome, "failed");
    let code = &report.tasks[0];
    assert_eq!((code.attempts, code.cost), (3, NanoUsd(45)), "money for refused answers is counted");
    assert!(code.error.as_ref().unwrap().contains("REJECTED"), "{:?}", code.error);
    let syntax = code.gates.iter().find(|verdict| verdict.gate == "syntax").unwrap();
    assert_eq!(syntax.findings[0].line, Some(1));
    assert_eq!(report.cost, NanoUsd(60));
}

#[tokio::test]
async fn an_interrupted_epic_goes_on_in_a_fresh_engine() {
    let folder = tempfile::tempdir().unwrap();
    let cx = Context::new();
    let tasks = || vec![task("one", 0, &[], ArtifactKind::Text), task("two", 0, &["one"], ArtifactKind::Text)];
    let plan = || EpicPlan {
        epic: Epic { id: Some("shop-1".into()), ..epic(&["all"]) },
        tasks: tasks(),
        planner: Planner::Caller,
    };
    {
        let stuck = Ruled::new("plain", |request, _| {
            if last(request).contains("make two") { Answer::Hang } else { Answer::Text("one is done".into()) }
        });
        let stuck = Arc::new(stuck);
        let mind = Mind::open(folder.path(), TeamConfig::default(), &[Arc::clone(&stuck)], true);
        let run = mind.team.run(&cx, plan()).await.unwrap();
        while stuck.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        run.cancel();
        let report = run.report().await.unwrap();
        let outcomes: Vec<_> = report.tasks.iter().map(|task| task.outcome).collect();
        assert_eq!(
            (report.outcome.as_str(), outcomes),
            ("cancelled", vec![TaskOutcome::Succeeded, TaskOutcome::Cancelled])
        );
        mind.runtime.close().await;
    }
    let model = writer("plain");
    let mind = Mind::open(folder.path(), TeamConfig::default(), &[Arc::clone(&model)], true);
    let mut other = plan();
    other.tasks[1].description = "something else".into();
    assert_eq!(mind.team.run(&cx, other).await.unwrap_err().kind(), ErrorKind::Conflict);
    let reply = mind.team.call(&cx, TeamRequest::Resume { epic: "shop-1".into() }).await.unwrap();
    let TeamReply::Report(report) = reply else { panic!() };
    assert_eq!(report.outcome, "succeeded");
    assert!(report.tasks[0].restored && !report.tasks[1].restored);
    assert_eq!((report.tasks[0].result.as_str(), report.tasks[0].cost), ("one is done", NanoUsd(15)));
    assert_eq!(model.asked().len(), 1, "what finished is not done again");
    assert!(last(&model.asked()[0]).contains("one is done"), "its result is there");
    let missing = mind.team.call(&cx, TeamRequest::Resume { epic: "nope".into() }).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn only_an_agents_own_tools_are_called() {
    let model = Ruled::new("caller", |request, number| {
        let call = |name: &str| Answer::Call(ToolCall::new(format!("c{number}"), name, json!({"n": 2})));
        match number {
            0 => call("double"),
            1 => {
                assert!(last(request).contains('4'), "{}", last(request));
                call("launch")
            }
            2 => {
                assert!(last(request).contains("refused"));
                Answer::Text("it is 4".into())
            }
            _ => panic!(),
        }
    });
    let model = Arc::new(model.with(|profile| profile.capabilities.tools = true));
    let (_folder, mind) = open(&[Arc::clone(&model)]);
    let launched = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&launched);
    let double = FnFunction::new("double", |_, input| async move { Ok(json!(input["n"].as_i64().unwrap() * 2)) });
    let launch = FnFunction::new("launch", move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(json!("gone")) }
    });
    mind.functions.register("double", Arc::new(double)).unwrap();
    mind.functions.register("launch", Arc::new(launch)).unwrap();
    let agent = Agent { name: "ann".into(), tools: vec!["double".into()], ..Agent::default() };
    let unknown = Agent { name: "bob".into(), tools: vec!["halve".into()], ..Agent::default() };
    let wrong = Epic { agents: vec![unknown], ..epic(&["the number"]) };
    assert_eq!(mind.team.plan(&Context::new(), &wrong).await.unwrap_err().kind(), ErrorKind::NotFound);
    let run = TeamRequest::Run { epic: Epic { agents: vec![agent], ..epic(&["the number"]) } };
    let reply = mind.team.call(&Context::new(), run).await;
    let TeamReply::Report(report) = reply.unwrap() else { panic!() };
    assert_eq!((report.tasks[0].result.as_str(), report.tasks[0].cost), ("it is 4", NanoUsd(45)));
    assert_eq!(launched.load(Ordering::SeqCst), 0);
    assert_eq!(model.asked()[0].tools.len(), 1);
}

#[tokio::test]
async fn a_model_that_calls_no_tools_is_offered_none() {
    let model = writer("plain");
    let (_folder, mind) = open(&[Arc::clone(&model)]);
    let tool = FnFunction::new("tool", |_, _| async { Ok(json!(1)) });
    mind.functions.register("tool", Arc::new(tool)).unwrap();
    let agent = Agent { name: "ann".into(), tools: vec!["tool".into()], ..Agent::default() };
    let run = TeamRequest::Run { epic: Epic { agents: vec![agent], ..epic(&["it"]) } };
    let TeamReply::Report(report) = mind.team.call(&Context::new(), run).await.unwrap() else { panic!() };
    assert!(model.asked()[0].tools.is_empty() && report.tasks[0].notes[0].contains("tools"), "{report:?}");
}

#[tokio::test]
async fn a_budget_ends_the_work_and_a_model_that_fails_once_does_not() {
    let (_folder, mind) = open(&[writer("plain")]);
    let cx = Context::new().budget(Budget::new(NanoUsd(1)));
    let reply = mind.team.call(&cx, TeamRequest::Run { epic: epic(&["it"]) }).await.unwrap();
    let TeamReply::Report(report) = reply else { panic!() };
    assert_eq!((report.outcome.as_str(), report.cost), ("failed", NanoUsd::ZERO));
    assert!(report.tasks[0].error.as_ref().unwrap().contains("OVER_BUDGET"), "{:?}", report.tasks[0].error);

    let shaky = Arc::new(Ruled::new("shaky", |_, number| match number {
        0 => Answer::Fail(Error::new(ErrorKind::Unavailable, "gone")),
        _ => Answer::Text("here".into()),
    }));
    let (_folder, mind) = open(&[shaky]);
    let TeamReply::Report(report) =
        mind.team.call(&Context::new(), TeamRequest::Run { epic: epic(&["it"]) }).await.unwrap()
    else {
        panic!()
    };
    assert_eq!((report.outcome.as_str(), report.tasks[0].result.as_str()), ("succeeded", "here"));
}

/// All tokens, those of failed attempts too.
fn tokens(totals: &crate::router::LedgerTotals) -> u64 {
    totals.input_tokens + totals.output_tokens + totals.wasted_tokens
}

#[tokio::test]
async fn the_report_says_what_the_ledger_says() {
    // A plan that is refused, a try that breaks off, and embeddings: all are paid for.
    let model = Ruled::new("planner", |request, number| match number {
        // Told what is wrong with it, it says the same again.
        0 | 1 => Answer::Text("no plan at all".into()),
        2 => Answer::Break("I have be", Error::new(ErrorKind::Unauthorized, "gone")),
        _ => Answer::Text(format!("Done {}", request.messages.len())),
    });
    let model = Arc::new(model.with(|profile| profile.capabilities.json_schema = true));
    let (_folder, mind) = open(&[model]);
    mind.router.set_embedder(Arc::new(WordEmbedder::priced()));
    for (requirements, outcome) in [(["a cart", "a till"], "failed"), (["a shelf", "a lamp"], "succeeded")] {
        let before = mind.router.totals(None).unwrap();
        let run = TeamRequest::Run { epic: epic(&requirements) };
        let TeamReply::Report(report) = mind.team.call(&Context::new(), run).await.unwrap() else { panic!() };
        assert_eq!(report.outcome, outcome, "{report:?}");
        let after = mind.router.totals(None).unwrap();
        assert_eq!(report.cost, after.cost - before.cost);
        assert_eq!(report.reference_cost, after.reference_cost - before.reference_cost);
        assert_eq!(report.saved, after.saved - before.saved);
        assert_eq!(report.input_tokens + report.output_tokens, tokens(&after) - tokens(&before));
        let tasks: NanoUsd = report.tasks.iter().fold(NanoUsd::ZERO, |sum, task| sum + task.cost);
        assert!(report.cost > tasks, "planning costs something, and is no task");
    }
}

#[tokio::test]
async fn what_an_epic_spent_before_it_was_stopped_is_in_its_report() {
    let model = Arc::new(Ruled::new("plain", |_, _| Answer::Hang));
    let (_folder, mind) = open(&[Arc::clone(&model)]);
    let cx = Context::new();
    let plan = mind.team.plan(&cx, &epic(&["it"])).await.unwrap();
    let run = mind.team.run(&cx, plan).await.unwrap();
    while model.asked().is_empty() {
        tokio::task::yield_now().await;
    }
    run.cancel();
    let report = run.report().await.unwrap();
    let totals = mind.router.totals(None).unwrap();
    assert!(totals.cost > NanoUsd::ZERO && report.tasks[0].input_tokens > 0, "{totals:?} {report:?}");
    assert_eq!((report.cost, report.input_tokens + report.output_tokens), (totals.cost, tokens(&totals)));
}

#[tokio::test]
async fn a_hundred_agents_work_without_an_embedder() {
    let folder = tempfile::tempdir().unwrap();
    let mind =
        Mind::open(folder.path(), TeamConfig { concurrency: 100, ..TeamConfig::default() }, &[writer("plain")], false);
    let requirements: Vec<_> = (0..100).map(|n| format!("part {n}")).collect();
    let epic = Epic { title: "Big".into(), requirements, team_size: Some(101), ..Epic::default() };
    let TeamReply::Report(report) = mind.team.call(&Context::new(), TeamRequest::Run { epic }).await.unwrap() else {
        panic!()
    };
    assert_eq!((report.outcome.as_str(), report.tasks.len(), report.agents), ("succeeded", 101, 101));
}
