//! A plan as a graph of numbers: checked once, then walked without names.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::Plan;
use crate::error::{Error, Result};

/// Tasks a plan may have.
const MAX_TASKS: usize = 100_000;
/// Entries that all `after` lists of a plan may have together.
const MAX_EDGES: usize = 1_000_000;
/// Characters of a task name.
const MAX_NAME: usize = 200;
/// Tasks of a cycle named in the error.
const CYCLE_SHOWN: usize = 12;

/// The edges of a checked plan. Tasks are numbers in plan order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Graph {
    /// For each task, the tasks it waits for, without repetition.
    pub(super) before: Vec<Vec<u32>>,
    /// For each task, the tasks that wait for it.
    pub(super) after: Vec<Vec<u32>>,
    /// For each task, the number of tasks on the longest path from it to an end, itself included.
    pub(super) rank: Vec<u32>,
    /// The tasks in an order in which they can run; among those that can run, plan order.
    pub(super) order: Vec<u32>,
}

impl Graph {
    /// Checks `plan`.
    ///
    /// # Errors
    /// `Invalid` for a name that is empty, too long or taken, an unknown name in `after`, a cycle (named in order), or
    /// a plan that is too large.
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let numbers = numbers(plan)?;
        let mut before = Vec::with_capacity(plan.tasks.len());
        let mut after = vec![Vec::new(); plan.tasks.len()];
        let mut edges = 0;
        for (task, number) in plan.tasks.iter().zip(0_u32..) {
            edges += task.after.len();
            if edges > MAX_EDGES {
                return Err(invalid(format!("the plan has more than {MAX_EDGES} dependencies; split it")));
            }
            let mut mine = Vec::with_capacity(task.after.len());
            for name in &task.after {
                mine.push(*numbers.get(name.as_str()).ok_or_else(|| unknown(plan, &task.name, name))?);
            }
            mine.sort_unstable();
            mine.dedup();
            for &first in &mine {
                after[first as usize].push(number);
            }
            before.push(mine);
        }
        let order = sort(&before, &after);
        if order.len() < before.len() {
            return Err(cyclic(plan, &find_cycle(&before, &order)));
        }
        let mut rank = vec![1_u32; before.len()];
        for &task in order.iter().rev() {
            for &first in &before[task as usize] {
                rank[first as usize] = rank[first as usize].max(rank[task as usize] + 1);
            }
        }
        Ok(Self { before, after, rank, order })
    }

    /// How many tasks there are.
    pub(super) fn len(&self) -> usize {
        self.before.len()
    }
}

fn invalid(message: String) -> Error {
    Error::invalid(message).during("Plan::validate")
}

/// The number of each name.
fn numbers(plan: &Plan) -> Result<HashMap<&str, u32>> {
    if plan.tasks.len() > MAX_TASKS {
        return Err(invalid(format!("a plan has at most {MAX_TASKS} tasks; split it")).with("tasks", plan.tasks.len()));
    }
    let mut numbers = HashMap::with_capacity(plan.tasks.len());
    for (task, number) in plan.tasks.iter().zip(0_u32..) {
        if task.name.is_empty() || task.name.chars().count() > MAX_NAME {
            return Err(
                invalid(format!("the name of a task is 1 to {MAX_NAME} characters")).with("position", number + 1)
            );
        }
        if numbers.insert(task.name.as_str(), number).is_some() {
            return Err(invalid(format!("two tasks are called \"{}\"; names are unique in a plan", task.name)));
        }
    }
    Ok(numbers)
}

fn unknown(plan: &Plan, task: &str, name: &str) -> Error {
    let near = plan.tasks.iter().map(|known| (strsim::jaro_winkler(&known.name, name), known.name.as_str()));
    let nearest = near.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score > 0.7);
    let hint = nearest.map_or_else(
        || "add a task of that name or remove it from `after`".into(),
        |(_, known)| format!("did you mean \"{known}\"?"),
    );
    invalid(format!("task \"{task}\" waits for \"{name}\", which is not in the plan; {hint}"))
}

/// Kahn's algorithm; the smallest number goes first. Tasks on or behind a cycle are missing from the result.
fn sort(before: &[Vec<u32>], after: &[Vec<u32>]) -> Vec<u32> {
    let mut missing: Vec<_> = before.iter().map(Vec::len).collect();
    let free = (0_u32..).zip(&missing).filter(|(_, missing)| **missing == 0);
    let mut ready: BinaryHeap<_> = free.map(|(task, _)| Reverse(task)).collect();
    let mut order = Vec::with_capacity(before.len());
    while let Some(Reverse(task)) = ready.pop() {
        order.push(task);
        for &next in &after[task as usize] {
            missing[next as usize] -= 1;
            if missing[next as usize] == 0 {
                ready.push(Reverse(next));
            }
        }
    }
    order
}

/// A cycle among the tasks that `order` does not hold, in the order in which they would run; its first task in plan
/// order stands first.
fn find_cycle(before: &[Vec<u32>], order: &[u32]) -> Vec<u32> {
    let mut sorted = vec![false; before.len()];
    for &task in order {
        sorted[task as usize] = true;
    }
    // Each task left waits for a task left, so walking backwards must come to a task seen before.
    let mut place = vec![usize::MAX; before.len()];
    let mut path: Vec<u32> = Vec::new();
    let mut at = (0_u32..).zip(&sorted).find(|(_, sorted)| !**sorted).map(|(task, _)| task);
    while let Some(task) = at {
        if place[task as usize] != usize::MAX {
            path.drain(..place[task as usize]);
            break;
        }
        place[task as usize] = path.len();
        path.push(task);
        at = before[task as usize].iter().copied().find(|first| !sorted[*first as usize]);
    }
    path.reverse();
    let first = (0..path.len()).min_by_key(|i| path[*i]).unwrap_or(0);
    path.rotate_left(first);
    path
}

fn cyclic(plan: &Plan, cycle: &[u32]) -> Error {
    let name = |task: &u32| plan.tasks[*task as usize].name.as_str();
    let mut names: Vec<_> = cycle.iter().take(CYCLE_SHOWN).map(name).collect();
    if cycle.len() > CYCLE_SHOWN {
        names.push("…");
    }
    names.extend(cycle.first().map(name));
    invalid(format!("tasks wait for each other: {}; remove one of these dependencies", names.join(" → ")))
        .with("tasks_in_cycle", cycle.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, parallel::Task};
    use proptest::prelude::*;
    use serde_json::Value;

    fn plan(tasks: &[(&str, &[&str])]) -> Plan {
        let task = |(name, after): &(&str, &[&str])| {
            Task::new(*name, crate::parallel::TaskBody::Value(Value::Null)).after(after.iter().copied())
        };
        Plan { tasks: tasks.iter().map(task).collect() }
    }

    fn message(tasks: &[(&str, &[&str])]) -> String {
        let error = plan(tasks).validate().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        error.message().to_owned()
    }

    #[test]
    fn an_empty_plan_is_fine() {
        assert_eq!(Plan::default().order().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn the_order_keeps_plan_order_where_it_can() {
        let order = plan(&[("c", &["a"]), ("b", &[]), ("a", &[]), ("d", &["b", "b"])]).order().unwrap();
        assert_eq!(order, ["b", "a", "c", "d"]);
    }

    #[test]
    fn the_rank_is_the_longest_way_to_an_end() {
        let graph = Graph::new(&plan(&[("a", &[]), ("b", &["a"]), ("c", &["b", "a"]), ("d", &["a"])])).unwrap();
        assert_eq!(graph.rank, [3, 2, 1, 1]);
    }

    #[test]
    fn a_cycle_is_named_in_order() {
        assert!(message(&[("x", &["b"]), ("a", &["c"]), ("b", &["a"]), ("c", &["b"])]).contains(": a → b → c → a;"));
        assert!(message(&[("a", &["a"])]).contains(": a → a;"));
    }

    #[test]
    fn names_are_checked() {
        assert!(message(&[("a", &[]), ("a", &[])]).contains("two tasks are called \"a\""));
        assert!(message(&[("", &[])]).contains("1 to 200"));
        assert!(message(&[(&"x".repeat(201), &[])]).contains("1 to 200"));
        assert!(message(&[("fetch_page", &[]), ("sum", &["fetch_pages"])]).contains("did you mean \"fetch_page\"?"));
        assert!(message(&[("zzz", &[]), ("sum", &["fetch"])]).contains("add a task of that name"));
    }

    #[test]
    fn too_many_tasks_are_refused() {
        let task = Task::function("t", "f");
        let error = Plan { tasks: vec![task; MAX_TASKS + 1] }.validate().unwrap_err();
        assert!(error.message().contains("at most 100000"));
    }

    fn dag() -> impl Strategy<Value = Vec<Vec<usize>>> {
        prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40).prop_map(|tasks| {
            let pick = |(i, after): (usize, &Vec<prop::sample::Index>)| {
                if i == 0 { Vec::new() } else { after.iter().map(|index| index.index(i)).collect() }
            };
            tasks.iter().enumerate().map(pick).collect()
        })
    }

    /// The DAG with its tasks in another order, so that plan order and edges are at odds.
    fn shuffled(edges: &[Vec<usize>], turn: usize) -> Plan {
        let named = |(i, after): (usize, &Vec<usize>)| {
            Task::function(format!("t{i}"), "f").after(after.iter().map(|first| format!("t{first}")))
        };
        let mut tasks: Vec<_> = edges.iter().enumerate().map(named).collect();
        tasks.reverse();
        let turn = turn % tasks.len();
        tasks.rotate_left(turn);
        Plan { tasks }
    }

    proptest! {
        #[test]
        fn the_order_respects_every_edge(edges in dag(), turn in 0_usize..40) {
            let plan = shuffled(&edges, turn);
            let order = plan.order().unwrap();
            let place: HashMap<_, _> = order.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
            prop_assert_eq!(place.len(), edges.len());
            for task in &plan.tasks {
                for first in &task.after {
                    prop_assert!(place[first.as_str()] < place[task.name.as_str()]);
                }
            }
        }

        #[test]
        fn a_back_edge_gives_a_real_cycle(edges in dag(), turn in 0_usize..40, pick in any::<prop::sample::Index>()) {
            let mut plan = shuffled(&edges, turn);
            // From some task walk back as far as it goes, then make the first one wait for the last.
            let last = pick.index(edges.len());
            let mut first = last;
            while let Some(before) = edges[first].first() {
                first = *before;
            }
            let at = plan.tasks.iter().position(|task| task.name == format!("t{first}")).unwrap();
            plan.tasks[at].after.push(format!("t{last}"));
            let error = plan.validate().unwrap_err();
            let text = error.message().strip_prefix("tasks wait for each other: ").unwrap();
            let names: Vec<_> = text.split_once(';').unwrap().0.split(" → ").collect();
            prop_assert_eq!(names.first(), names.last());
            let task = |name: &str| plan.tasks.iter().find(|task| task.name == name);
            for pair in names.windows(2).filter(|pair| !pair.contains(&"…")) {
                prop_assert!(task(pair[1]).unwrap().after.iter().any(|first| first == pair[0]), "{:?}", names);
            }
        }
    }
}
