//! Epics and plans: what is checked before any work, and the plan by rules.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Epic, EpicPlan, EpicTask, MAX_AGENTS};
use crate::{
    error::{Error, Result},
    gate::ArtifactKind,
};

const MAX_REQUIREMENTS: usize = 200;
const MAX_TITLE: usize = 500;
const MAX_TEXT: usize = 100_000;
const MAX_REQUIREMENT: usize = 4_000;
const MAX_NAME: usize = 64;
/// The task of the plan by rules that puts the others' results together.
const INTEGRATION: &str = "integration";

fn invalid(message: impl Into<String>) -> Error {
    Error::invalid(message).during("Coordinator::plan")
}

/// # Errors
/// `Invalid`, naming the field.
pub(super) fn check_epic(epic: &Epic) -> Result<()> {
    if epic.title.trim().is_empty() || epic.title.len() > MAX_TITLE {
        return Err(invalid(format!("an epic has a title of 1 to {MAX_TITLE} bytes")));
    }
    if epic.description.len() > MAX_TEXT {
        return Err(invalid(format!("the description of the epic is longer than {MAX_TEXT} bytes; shorten it")));
    }
    if epic.requirements.is_empty() || epic.requirements.len() > MAX_REQUIREMENTS {
        return Err(invalid(format!(
            "an epic has 1 to {MAX_REQUIREMENTS} requirements; this one has {}",
            epic.requirements.len()
        )));
    }
    if let Some(at) = epic.requirements.iter().position(|text| text.trim().is_empty() || text.len() > MAX_REQUIREMENT) {
        return Err(invalid(format!("requirement {at} is empty or longer than {MAX_REQUIREMENT} bytes")));
    }
    if epic.id.as_deref().is_some_and(|id| !is_name(id)) {
        return Err(invalid(format!("the id of an epic is 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`")));
    }
    if epic.team_size.is_some_and(|size| size == 0 || size > MAX_AGENTS) || epic.agents.len() > MAX_AGENTS {
        return Err(invalid(format!("a team has 1 to {MAX_AGENTS} agents")));
    }
    if epic.max_tokens == Some(0) {
        return Err(invalid("max_tokens is 0; ask for at least one token"));
    }
    let mut names = HashSet::new();
    for agent in &epic.agents {
        if agent.name.trim().is_empty() || agent.name.len() > MAX_NAME || agent.name.contains('\0') {
            return Err(invalid(format!("the name of an agent is 1 to {MAX_NAME} bytes")));
        }
        if !names.insert(agent.name.as_str()) {
            return Err(invalid(format!("two agents are called \"{}\"; give each a name of its own", agent.name)));
        }
        if agent.instructions.len() > MAX_TEXT {
            return Err(invalid(format!("the instructions of \"{}\" are longer than {MAX_TEXT} bytes", agent.name)));
        }
    }
    Ok(())
}

/// Names of tasks and epics stand in ids, keys and templates, so they hold nothing that means something there.
fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(fits)
}

/// # Errors
/// `Invalid`, naming what is wrong: no task or too many, a name, an unknown task, agent or requirement, a requirement
/// that no task serves, a cycle.
pub(super) fn check_plan(plan: &EpicPlan) -> Result<()> {
    check_epic(&plan.epic)?;
    check_tasks(&plan.tasks, plan.epic.requirements.len())?;
    let agents: HashSet<_> = plan.epic.agents.iter().map(|agent| agent.name.as_str()).collect();
    match plan.tasks.iter().filter_map(|task| task.agent.as_deref()).find(|agent| !agents.contains(agent)) {
        Some(agent) => Err(invalid(format!("a task is given to \"{agent}\", who is not in the team"))),
        None => Ok(()),
    }
}

/// See [`check_plan`].
pub(super) fn check_tasks(tasks: &[EpicTask], requirements: usize) -> Result<()> {
    let most = 4 * requirements + 8;
    if tasks.is_empty() || tasks.len() > most {
        return Err(invalid(format!(
            "a plan for {requirements} requirements has 1 to {most} tasks, not {}",
            tasks.len()
        )));
    }
    let mut numbers = HashMap::new();
    for (number, task) in tasks.iter().enumerate() {
        if !is_name(&task.name) {
            return Err(invalid(format!("the name of a task is 1 to {MAX_NAME} letters, digits, `_`, `-` or `.`")));
        }
        if task.description.trim().is_empty() || task.description.len() > MAX_TEXT {
            return Err(invalid(format!(
                "task \"{}\" has no description, or one longer than {MAX_TEXT} bytes",
                task.name
            )));
        }
        if numbers.insert(task.name.as_str(), number).is_some() {
            return Err(invalid(format!("two tasks are called \"{}\"", task.name)));
        }
        if let Some(unknown) = task.requirements.iter().find(|at| **at >= requirements) {
            return Err(invalid(format!("task \"{}\" serves requirement {unknown}, which there is not", task.name)));
        }
    }
    let served: BTreeSet<_> = tasks.iter().flat_map(|task| &task.requirements).copied().collect();
    if let Some(missed) = (0..requirements).find(|at| !served.contains(at)) {
        return Err(invalid(format!("no task serves requirement {missed}")));
    }
    check_order(tasks, &numbers)
}

fn check_order(tasks: &[EpicTask], numbers: &HashMap<&str, usize>) -> Result<()> {
    let mut waits_for = Vec::with_capacity(tasks.len());
    let mut waited_by = vec![Vec::new(); tasks.len()];
    for (number, task) in tasks.iter().enumerate() {
        let before: BTreeSet<_> = task.after.iter().map(String::as_str).collect();
        for name in &before {
            let first = numbers
                .get(name)
                .ok_or_else(|| invalid(format!("task \"{}\" waits for a task that there is not", task.name)))?;
            waited_by[*first].push(number);
        }
        waits_for.push(before.len());
    }
    let mut ready: Vec<_> = (0..tasks.len()).filter(|task| waits_for[*task] == 0).collect();
    let mut done = 0;
    while let Some(task) = ready.pop() {
        done += 1;
        for next in &waited_by[task] {
            waits_for[*next] -= 1;
            if waits_for[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    if done == tasks.len() { Ok(()) } else { Err(invalid("some tasks wait for each other in a circle")) }
}

/// One task a requirement and, if there are several, one after all that puts their results together.
pub(super) fn by_rules(epic: &Epic) -> Vec<EpicTask> {
    let task = |name: String, description: String, requirements, after| EpicTask {
        name,
        description,
        requirements,
        after,
        agent: None,
        produces: ArtifactKind::Text,
    };
    let one =
        |(at, text): (usize, &String)| task(format!("requirement-{}", at + 1), text.clone(), vec![at], Vec::new());
    let mut tasks: Vec<_> = epic.requirements.iter().enumerate().map(one).collect();
    if tasks.len() > 1 {
        let after = tasks.iter().map(|task| task.name.clone()).collect();
        let description = format!("Put the results of the other tasks together into one whole: {}", epic.title);
        tasks.push(task(INTEGRATION.into(), description, (0..epic.requirements.len()).collect(), after));
    }
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::{Agent, Planner};
    use proptest::prelude::*;

    fn epic(requirements: usize) -> Epic {
        let requirements = (0..requirements).map(|at| format!("requirement number {at}")).collect();
        Epic { title: "A shop".into(), requirements, ..Epic::default() }
    }

    fn task(name: &str, requirements: &[usize], after: &[&str]) -> EpicTask {
        EpicTask {
            name: name.into(),
            description: "do it".into(),
            requirements: requirements.to_vec(),
            after: after.iter().map(ToString::to_string).collect(),
            agent: None,
            produces: ArtifactKind::Text,
        }
    }

    #[test]
    fn an_epic_that_cannot_be_right_is_refused() {
        assert!(check_epic(&epic(1)).is_ok());
        let twins = vec![Agent { name: "a".into(), ..Agent::default() }; 2];
        let wrong = [
            Epic { title: " ".into(), ..epic(1) },
            epic(0),
            epic(MAX_REQUIREMENTS + 1),
            Epic { requirements: vec![String::new()], ..epic(1) },
            Epic { id: Some("a b".into()), ..epic(1) },
            Epic { team_size: Some(0), ..epic(1) },
            Epic { agents: twins, ..epic(1) },
            Epic { max_tokens: Some(0), ..epic(1) },
        ];
        for epic in wrong {
            assert!(check_epic(&epic).is_err(), "{epic:?}");
        }
    }

    #[test]
    fn a_plan_that_cannot_work_is_refused() {
        assert!(check_tasks(&[task("a", &[0], &[]), task("b", &[1], &["a", "a"])], 2).is_ok());
        let wrong: [(&str, Vec<EpicTask>); 8] = [
            ("1 to", vec![]),
            ("1 to", (0..17).map(|at| task(&format!("t{at}"), &[0, 1], &[])).collect()),
            ("letters", vec![task("{{ a }}", &[0, 1], &[])]),
            ("two tasks", vec![task("a", &[0], &[]), task("a", &[1], &[])]),
            ("which there is not", vec![task("a", &[0, 1, 2], &[])]),
            ("no task serves requirement 1", vec![task("a", &[0], &[])]),
            ("there is not", vec![task("a", &[0, 1], &["b"])]),
            ("circle", vec![task("a", &[0], &["b"]), task("b", &[1], &["a"])]),
        ];
        for (part, tasks) in wrong {
            let error = check_tasks(&tasks, 2).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn an_unknown_agent_is_refused() {
        let mut given = task("a", &[0], &[]);
        given.agent = Some("bob".into());
        let plan = EpicPlan { epic: epic(1), tasks: vec![given], planner: Planner::Caller };
        assert!(check_plan(&plan).unwrap_err().message().contains("bob"));
    }

    proptest! {
        #[test]
        fn the_plan_by_rules_is_always_right(requirements in 1..=MAX_REQUIREMENTS) {
            let tasks = by_rules(&epic(requirements));
            prop_assert!(check_tasks(&tasks, requirements).is_ok());
            prop_assert_eq!(tasks.len(), if requirements == 1 { 1 } else { requirements + 1 });
        }

        #[test]
        fn waiting_only_for_earlier_tasks_is_never_a_circle(edges in prop::collection::vec((0..12_usize, 0..12_usize), 0..40)) {
            let mut tasks: Vec<_> = (0..12).map(|at| task(&format!("t{at}"), &[0], &[])).collect();
            for (a, b) in &edges {
                if a != b {
                    tasks[*a.max(b)].after.push(format!("t{}", a.min(b)));
                }
            }
            prop_assert!(check_tasks(&tasks, 1).is_ok());
            if let Some((a, b)) = edges.iter().find(|(a, b)| a != b) {
                tasks[*a.min(b)].after.push(format!("t{}", a.max(b)));
                prop_assert!(check_tasks(&tasks, 1).is_err());
            }
        }
    }
}
