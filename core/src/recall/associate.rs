//! What a question is associated with: a short random walk from the best items over the things they mention to the items
//! that are about these.
//!
//! A personalised PageRank (Haveliwala 2002) on the graph of passages and entities of one answer, as in `HippoRAG`
//! (Gutiérrez et al. 2024) and `LinearRAG`, but without a model: it starts at the best items, the better the more often,
//! and at what is about an entity that the question names. From an item it goes to an entity the item mentions, and from
//! there to an item that is about it: its heading, or the subject of its first sentence. Things that are only mentioned
//! lead nowhere, so that names which are everywhere carry nothing. Constants were tuned on 40 questions of `HotpotQA`, see
//! `docs/benchmarks.md`; they may all be doubled or halved without much change.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;

/// Items that the walk starts at, besides those about what the question names.
pub(super) const SEEDS: usize = 5;
/// Items about one thing at most; what more are about is no way to any of them.
pub(super) const ABOUT: usize = 20;
/// Entities of an item that the walk may go to.
pub(super) const MENTIONED: usize = 64;
/// Probability to start anew.
const RESTART: f64 = 0.5;
/// Part of the starts at the best items; the others are at what the question names.
const BY_SCORE: f64 = 0.8;
/// How much more often it starts at a better item: the power of its score as a part of the best one's.
const SHARPNESS: i32 = 10;
/// Steps. What is further away has less than a thousandth.
const STEPS: usize = 10;
/// Items that are looked at, at most.
const MAX_ITEMS: usize = 2_000;

/// The graph that is walked.
pub(super) trait Links {
    /// What `item` mentions, by normal name, without what it is about; [`MENTIONED`] at most.
    fn mentioned(&mut self, item: u32) -> Result<Vec<String>>;

    /// The items that are about `name` and may be found; none when there are more than [`ABOUT`].
    fn about(&mut self, name: &str) -> Result<Vec<u32>>;
}

/// How strongly items are associated with a question, 0 to 1, the strongest 1, in the order of the items; nothing when no
/// item is about what it names. `best` are items and their scores, best first; `named` are the entities it names.
pub(super) fn walk(best: &[(u32, f64)], named: &[String], links: &mut impl Links) -> Result<BTreeMap<u32, f64>> {
    let best = &best[..best.len().min(SEEDS)];
    let Some((_, top)) = best.first().filter(|(_, top)| *top > 0.0) else { return Ok(BTreeMap::new()) };
    let mut graph = Graph { links, about: HashMap::new(), ways: HashMap::new() };
    let mut starts: BTreeMap<u32, f64> = BTreeMap::new();
    let mut of_names: Vec<Vec<u32>> = Vec::new();
    for name in named {
        let items = graph.about(name)?;
        if !items.is_empty() {
            of_names.push(items);
        }
    }
    for items in &of_names {
        for item in items {
            *starts.entry(*item).or_default() += (1.0 - BY_SCORE) / (of_names.len() * items.len()) as f64;
        }
    }
    // Without a place to hold on to, what is found is as good as it is: a walk would only stir it.
    if of_names.is_empty() {
        return Ok(BTreeMap::new());
    }
    // That the question names something about which there is an item is a part of the association; being the best is not.
    let given = starts.clone();
    let weights: Vec<f64> = best.iter().map(|(_, score)| (score / top).clamp(0.0, 1.0).powi(SHARPNESS)).collect();
    let sum: f64 = weights.iter().sum();
    for ((item, _), weight) in best.iter().zip(&weights) {
        *starts.entry(*item).or_default() += BY_SCORE * weight / sum;
    }
    let mut here = starts.clone();
    let mut came: BTreeMap<u32, f64> = BTreeMap::new();
    for _ in 0..STEPS {
        came = BTreeMap::new();
        for (item, part) in &here {
            let ways = graph.ways(*item)?;
            for items in ways {
                let each = (1.0 - RESTART) * part / (ways.len() * items.len()) as f64;
                for item in items {
                    *came.entry(*item).or_default() += each;
                }
            }
        }
        here.clone_from(&came);
        for (item, part) in &starts {
            *here.entry(*item).or_default() += RESTART * part;
        }
    }
    for (item, part) in given {
        *came.entry(item).or_default() += RESTART * part;
    }
    let most = came.values().copied().fold(0.0, f64::max);
    // The root: what is associated at all differs from what is not more than one such item from another.
    Ok(came.into_iter().filter(|(_, part)| *part > 0.0).map(|(item, part)| (item, (part / most).sqrt())).collect())
}

/// The part of the graph that was walked.
struct Graph<'l, L> {
    links: &'l mut L,
    about: HashMap<String, Vec<u32>>,
    /// Item → for each thing it mentions and something is about, the items about that.
    ways: HashMap<u32, Vec<Vec<u32>>>,
}

impl<L: Links> Graph<'_, L> {
    fn about(&mut self, name: &str) -> Result<Vec<u32>> {
        if let Some(known) = self.about.get(name) {
            return Ok(known.clone());
        }
        let items = self.links.about(name)?;
        self.about.insert(name.to_owned(), items.clone());
        Ok(items)
    }

    fn ways(&mut self, item: u32) -> Result<&[Vec<u32>]> {
        if !self.ways.contains_key(&item) {
            let mut ways = Vec::new();
            if self.ways.len() < MAX_ITEMS {
                for name in self.links.mentioned(item)? {
                    let items = self.about(&name)?;
                    if !items.is_empty() {
                        ways.push(items);
                    }
                }
            }
            self.ways.insert(item, ways);
        }
        Ok(self.ways.get(&item).map_or(&[], Vec::as_slice))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What each item is about, and mentions.
    struct Fixed(Vec<(&'static str, Vec<&'static str>)>);

    impl Links for Fixed {
        fn mentioned(&mut self, item: u32) -> Result<Vec<String>> {
            Ok(self.0[item as usize].1.iter().map(|name| (*name).to_owned()).collect())
        }

        fn about(&mut self, name: &str) -> Result<Vec<u32>> {
            Ok(self.0.iter().zip(0..).filter(|((subject, _), _)| *subject == name).map(|(_, item)| item).collect())
        }
    }

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn it_leads_from_the_best_to_what_that_is_about() {
        let mut links = Fixed(vec![
            ("aisa yeh jahaan", vec!["palash sen", "india"]),
            ("palash sen", vec!["euphoria", "india"]),
            ("euphoria", vec![]),
            ("", vec!["india"]),
        ]);
        let found = walk(&[(0, 0.9), (3, 0.5)], &named(&["aisa yeh jahaan"]), &mut links).unwrap();
        assert!(found[&1] > 0.0 && found[&1] > found[&2], "{found:?}");
        assert!(!found.contains_key(&3), "what is about nothing is no aim: {found:?}");
        assert!(found.values().any(|part| (part - 1.0).abs() < 1e-12));
    }

    #[test]
    fn it_starts_at_what_is_named_too() {
        let mut links = Fixed(vec![("a", vec![]), ("b", vec!["c"]), ("c", vec![])]);
        let found = walk(&[(0, 1.0)], &named(&["b"]), &mut links).unwrap();
        assert!(found[&1] > found[&2] && found[&2] > 0.0 && !found.contains_key(&0), "{found:?}");
    }

    #[test]
    fn nothing_comes_of_nothing() {
        let mut links = Fixed(vec![("a", vec!["b"])]);
        assert!(walk(&[], &named(&["a"]), &mut links).unwrap().is_empty());
        assert!(walk(&[(0, 0.0)], &named(&["a"]), &mut links).unwrap().is_empty());
        assert!(walk(&[(0, 1.0)], &[], &mut links).unwrap().is_empty());
    }

    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

    proptest! {
        #[test]
        fn any_graph_gives_parts_of_one(
            items in prop::collection::vec((0..5_usize, prop::collection::vec(0..5_usize, 0..4)), 1..12),
            scores in prop::collection::vec(0.0..1.0_f64, 1..12),
            asked in prop::collection::vec(0..5_usize, 0..3),
        ) {
            let name = |at: &usize| NAMES[*at];
            let mut links =
                Fixed(items.iter().map(|(about, of)| (name(about), of.iter().map(name).collect())).collect());
            let count = items.len() as u32;
            let mut best: Vec<(u32, f64)> = (0..count).zip(scores).collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1));
            let named: Vec<String> = asked.iter().map(|at| name(at).to_owned()).collect();
            let found = walk(&best, &named, &mut links).unwrap();
            prop_assert!(found.iter().all(|(item, part)| *item < count && *part > 0.0 && *part <= 1.0));
            prop_assert!(found.is_empty() || found.values().any(|part| (part - 1.0).abs() < 1e-9));
            prop_assert_eq!(found, walk(&best, &named, &mut links).unwrap(), "the same each time");
        }
    }
}
