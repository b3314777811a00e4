//! Which task starts when: a deterministic state machine without clock or I/O.
//!
//! There is no barrier: a task is ready as soon as its own predecessors are done. Among ready tasks the one with the
//! longest path to an end goes first, then the one that stands first in the plan.

use std::{cmp::Reverse, collections::BinaryHeap, sync::Arc};

use super::graph::Graph;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For this many predecessors.
    Waiting(u32),
    Ready,
    /// Holds a slot.
    Running,
    /// Ended its work, but its result is not safe yet; or waits to be tried again. Holds no slot.
    Pausing,
    Done,
    Failed,
    Skipped,
}

/// A task that will not run, and the failed task it is skipped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skip {
    pub(super) task: u32,
    pub(super) because: u32,
}

/// The state of every task of a run.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    graph: Arc<Graph>,
    states: Vec<State>,
    ready: BinaryHeap<(u32, Reverse<u32>)>,
    slots: usize,
    running: usize,
    ended: usize,
}

impl Schedule {
    /// A run of `graph` with `slots` tasks at once.
    pub(super) fn new(graph: Arc<Graph>, slots: usize) -> Self {
        let states: Vec<_> = graph.before.iter().map(|before| State::Waiting(before.len() as u32)).collect();
        let mut schedule = Self { graph, states, ready: BinaryHeap::new(), slots, running: 0, ended: 0 };
        for task in 0..schedule.states.len() as u32 {
            if schedule.states[task as usize] == State::Waiting(0) {
                schedule.push(task);
            }
        }
        schedule
    }

    /// The next task to run, if one is ready and a slot is free. It holds the slot until it is paused or has ended.
    pub(super) fn start(&mut self) -> Option<u32> {
        while self.running < self.slots {
            let (_, Reverse(task)) = self.ready.pop()?;
            // A task that a journal ended is still in the heap.
            if self.states[task as usize] == State::Ready {
                self.states[task as usize] = State::Running;
                self.running += 1;
                return Some(task);
            }
        }
        None
    }

    /// Gives the slot of a running task back, while its result is written or until it is tried again.
    pub(super) fn pause(&mut self, task: u32) {
        if self.states[task as usize] == State::Running {
            self.running -= 1;
            self.states[task as usize] = State::Pausing;
        }
    }

    /// Makes a paused task ready again.
    pub(super) fn again(&mut self, task: u32) {
        if self.states[task as usize] == State::Pausing {
            self.push(task);
        }
    }

    /// A task succeeded: tasks that waited for it alone are ready.
    pub(super) fn finish(&mut self, task: u32) {
        if !self.end(task, State::Done) {
            return;
        }
        let graph = Arc::clone(&self.graph);
        for &next in &graph.after[task as usize] {
            if let State::Waiting(missing) = self.states[next as usize] {
                self.states[next as usize] = State::Waiting(missing - 1);
                if missing == 1 {
                    self.push(next);
                }
            }
        }
    }

    /// A task failed: everything behind it is skipped, nearest first.
    pub(super) fn fail(&mut self, task: u32) -> Vec<Skip> {
        let mut skipped = Vec::new();
        if !self.end(task, State::Failed) {
            return skipped;
        }
        let graph = Arc::clone(&self.graph);
        let mut behind = vec![task];
        let mut at = 0;
        while let Some(&first) = behind.get(at) {
            at += 1;
            for &next in &graph.after[first as usize] {
                if self.end(next, State::Skipped) {
                    skipped.push(Skip { task: next, because: task });
                    behind.push(next);
                }
            }
        }
        skipped
    }

    /// Whether every task has ended.
    pub(super) fn is_done(&self) -> bool {
        self.ended == self.states.len()
    }

    fn push(&mut self, task: u32) {
        self.states[task as usize] = State::Ready;
        self.ready.push((self.graph.rank[task as usize], Reverse(task)));
    }

    /// Ends a task once; says whether it had not ended before.
    fn end(&mut self, task: u32, state: State) -> bool {
        match self.states[task as usize] {
            State::Done | State::Failed | State::Skipped => return false,
            State::Running => self.running -= 1,
            State::Waiting(_) | State::Ready | State::Pausing => {}
        }
        self.states[task as usize] = state;
        self.ended += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parallel::{Plan, Task};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn schedule(edges: &[&[usize]], slots: usize) -> Schedule {
        let edges: Vec<Vec<usize>> = edges.iter().map(|after| after.to_vec()).collect();
        Schedule::new(Arc::new(graph(&edges)), slots)
    }

    fn graph(edges: &[Vec<usize>]) -> Graph {
        let tasks = edges.iter().enumerate();
        let task = |(i, after): (usize, &Vec<usize>)| {
            Task::function(i.to_string(), "f").after(after.iter().map(ToString::to_string))
        };
        Graph::new(&Plan { tasks: tasks.map(task).collect() }).unwrap()
    }

    fn start_all(schedule: &mut Schedule) -> Vec<u32> {
        std::iter::from_fn(|| schedule.start()).collect()
    }

    #[test]
    fn the_longest_path_goes_first_then_plan_order() {
        let mut schedule = schedule(&[&[], &[], &[1], &[]], 9);
        assert_eq!(start_all(&mut schedule), [1, 0, 3]);
    }

    #[test]
    fn there_is_no_barrier() {
        // 0 → 2 and a slow 1: 2 starts while 1 still runs.
        let mut schedule = schedule(&[&[], &[], &[0]], 9);
        assert_eq!(start_all(&mut schedule), [0, 1]);
        schedule.finish(0);
        assert_eq!(start_all(&mut schedule), [2]);
        schedule.finish(2);
        assert!(!schedule.is_done());
        schedule.finish(1);
        assert!(schedule.is_done());
    }

    #[test]
    fn a_failure_skips_what_is_behind_it_and_nothing_else() {
        let mut schedule = schedule(&[&[], &[0], &[1], &[], &[3, 2]], 1);
        assert_eq!(start_all(&mut schedule), [0]);
        let skipped: Vec<_> = schedule.fail(0).iter().map(|skip| (skip.task, skip.because)).collect();
        assert_eq!(skipped, [(1, 0), (2, 0), (4, 0)]);
        assert_eq!(start_all(&mut schedule), [3]);
        schedule.finish(3);
        assert!(schedule.is_done());
    }

    #[test]
    fn a_paused_task_gives_its_slot_away() {
        let mut schedule = schedule(&[&[], &[]], 1);
        assert_eq!(start_all(&mut schedule), [0]);
        schedule.pause(0);
        assert_eq!(start_all(&mut schedule), [1]);
        schedule.again(0);
        assert_eq!(start_all(&mut schedule), Vec::<u32>::new());
        schedule.finish(1);
        assert_eq!(start_all(&mut schedule), [0]);
    }

    #[test]
    fn what_a_journal_ended_never_starts() {
        let mut schedule = schedule(&[&[], &[0], &[]], 9);
        schedule.finish(0);
        schedule.fail(2);
        assert_eq!(start_all(&mut schedule), [1]);
    }

    proptest! {
        #[test]
        fn every_task_ends_once_and_after_its_own_predecessors_only(
            edges in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
            slots in 1_usize..6,
            dice in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..10), 400),
        ) {
            let pick = |(i, after): (usize, &Vec<prop::sample::Index>)| {
                if i == 0 { vec![] } else { after.iter().map(|index| index.index(i)).collect::<Vec<_>>() }
            };
            let edges: Vec<_> = edges.iter().enumerate().map(pick).collect();
            let mut schedule = Schedule::new(Arc::new(graph(&edges)), slots);
            let (mut running, mut done, mut lost) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
            let mut dice = dice.into_iter();
            while !schedule.is_done() {
                for task in start_all(&mut schedule) {
                    prop_assert!(edges[task as usize].iter().all(|first| done.contains(&(*first as u32))));
                    prop_assert!(!done.contains(&task) && !lost.contains(&task) && !running.contains(&task));
                    running.push(task);
                }
                // Work is never held back: with a free slot, every task whose predecessors are done is running.
                let able = (0..edges.len() as u32).filter(|task| {
                    edges[*task as usize].iter().all(|first| done.contains(&(*first as u32)))
                        && !done.contains(task) && !lost.contains(task)
                });
                prop_assert_eq!(running.len(), able.count().min(slots));
                let (index, die) = dice.next().unwrap();
                let task = running.swap_remove(index.index(running.len()));
                if die == 0 {
                    lost.insert(task);
                    for skip in schedule.fail(task) {
                        prop_assert!(lost.insert(skip.task));
                    }
                } else if die == 1 {
                    schedule.pause(task);
                    schedule.again(task);
                } else {
                    schedule.finish(task);
                    done.insert(task);
                }
            }
            prop_assert_eq!(done.len() + lost.len(), edges.len());
            for (task, after) in edges.iter().enumerate() {
                let behind = after.iter().any(|first| lost.contains(&(*first as u32)));
                prop_assert!(!behind || lost.contains(&(task as u32)));
            }
        }
    }
}
