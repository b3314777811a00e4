//! Which agent does which task.

use std::collections::HashSet;

use super::{Agent, EpicTask};
use crate::{
    context::Context,
    error::{ErrorKind, Result},
    model::cosine,
    router::RouterEngine,
};

/// How well each agent fits each task: a row a task.
pub(super) type Fit = Vec<Vec<f64>>;

/// Similarity of tasks to roles and skills: cosine of their embeddings or, without an embedder, words they share.
pub(super) async fn fit(cx: &Context, router: &RouterEngine, tasks: &[EpicTask], agents: &[Agent]) -> Result<Fit> {
    let tasks: Vec<_> = tasks.iter().map(|task| task.description.clone()).collect();
    let agents: Vec<_> = agents.iter().map(|agent| format!("{}: {}", agent.role, agent.skills.join(", "))).collect();
    match router.embedder() {
        Ok(embedder) => {
            let count = tasks.len();
            // Many agents share a role: each text is embedded once.
            let mut texts = tasks;
            let mut places = Vec::with_capacity(agents.len());
            for agent in agents {
                let known = texts[count..].iter().position(|text| *text == agent);
                places.push(known.map_or(texts.len(), |at| count + at));
                if known.is_none() {
                    texts.push(agent);
                }
            }
            let vectors = cx.run(embedder.embed(cx, texts)).await?;
            let row = |task: usize| {
                places.iter().map(|at| f64::from(cosine(&vectors[task].vector, &vectors[*at].vector))).collect()
            };
            Ok((0..count).map(row).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let agents: Vec<_> = agents.iter().map(|text| words(text)).collect();
            Ok(tasks.iter().map(|task| agents.iter().map(|agent| shared(&words(task), agent)).collect()).collect())
        }
        Err(error) => Err(error),
    }
}

fn words(text: &str) -> HashSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() > 2);
    words.map(str::to_lowercase).collect()
}

/// Shared words over all words of both.
fn shared(a: &HashSet<String>, b: &HashSet<String>) -> f64 {
    let both = a.intersection(b).count();
    let all = a.len() + b.len() - both;
    if all == 0 { 0.0 } else { both as f64 / all as f64 }
}

/// Gives each task that has no agent the best fitting of the agents with the fewest tasks, best fits first, so that
/// no two agents differ by more than one task. Answers the agent of each task. `given` holds agents that are set.
pub(super) fn assign(fit: &Fit, given: &[Option<usize>], agents: usize) -> Vec<usize> {
    let mut load = vec![0_usize; agents];
    let mut chosen = given.to_vec();
    for agent in given.iter().flatten() {
        load[*agent] += 1;
    }
    let open = (0..chosen.len()).filter(|task| chosen[*task].is_none());
    let mut pairs: Vec<_> = open.flat_map(|task| (0..agents).map(move |agent| (task, agent))).collect();
    // Stable, so equal fits go by the order of tasks and agents.
    pairs.sort_by(|a, b| fit[b.0][b.1].total_cmp(&fit[a.0][a.1]));
    let mut level = 0;
    while agents > 0 && chosen.contains(&None) {
        for (task, agent) in &pairs {
            if chosen[*task].is_none() && load[*agent] <= level {
                chosen[*task] = Some(*agent);
                load[*agent] += 1;
            }
        }
        level += 1;
    }
    chosen.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_fit_wins_among_the_free() {
        let fit = vec![vec![0.9, 0.1], vec![0.8, 0.2], vec![0.1, 0.7]];
        assert_eq!(assign(&fit, &[None, None, None], 2), [0, 0, 1]);
        assert_eq!(assign(&fit, &[None, Some(0), None], 2), [0, 0, 1], "what is set stays, even if it is not best");
        assert_eq!(assign(&fit[..2].to_vec(), &[None, None], 2), [0, 1], "nobody works twice while another is idle");
    }

    #[test]
    fn shared_words_need_no_embedder() {
        let (task, engineer) = (words("Write the code of a shop"), words("engineer: write code, build"));
        assert!(shared(&task, &engineer) > shared(&task, &words("tester: verify, edge cases")));
        assert!(shared(&HashSet::new(), &HashSet::new()).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn work_is_spread_evenly(tasks in 1..40_usize, agents in 1..30_usize, seed in any::<u64>()) {
            let value = |i: usize, j: usize| (((i * 31 + j * 17) as u64 ^ seed) % 97) as f64 / 97.0;
            let fit: Fit = (0..tasks).map(|i| (0..agents).map(|j| value(i, j)).collect()).collect();
            let chosen = assign(&fit, &vec![None; tasks], agents);
            let mut load = vec![0; agents];
            for agent in &chosen {
                load[*agent] += 1;
            }
            let (least, most) = (load.iter().min().unwrap(), load.iter().max().unwrap());
            prop_assert!(chosen.len() == tasks && most - least <= 1);
        }
    }
}
