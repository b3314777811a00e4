//! The ways in which a problem is put to a model, so that answers differ.

use super::SolveRequest;

/// A prompt variation: its name, and what it adds to the problem.
type Operator = (&'static str, &'static str);

/// Plain first: a single idea is not twisted. Then SCAMPER (Eberle 1971), analogy, a dropped constraint, a random
/// stimulus and another person's eyes. `{}` is filled from the lists below.
const OPERATORS: &[Operator] = &[
    ("plain", ""),
    ("substitute", "Replace one material, person or place in the usual solution by another."),
    ("analogy", "Borrow how {nature} solves a similar problem."),
    ("combine", "Combine two things that exist already into one solution."),
    ("persona", "Think as {person} would."),
    ("eliminate", "Take something away instead of adding something."),
    ("stimulus", "Let the word \"{word}\" lead you to the idea."),
    ("reverse", "Turn the usual solution upside down: who gives, who takes, what comes first."),
    ("relax", "First imagine that money and time did not matter; then make that idea affordable."),
    ("adapt", "Adapt a solution from a quite different trade."),
    ("modify", "Make one part of the usual solution much larger, smaller, slower or more frequent."),
    ("other-use", "Use something that is at hand already for a purpose it was not made for."),
];

const NATURE: &[&str] =
    &["an ant colony", "a forest", "the human body", "a river", "a beehive", "a spider", "a coral reef"];
const PEOPLE: &[&str] =
    &["a ten-year-old child", "a nurse", "a farmer", "a thrifty grandmother", "a game designer", "a sailor"];
const WORDS: &[&str] = &[
    "bridge",
    "mirror",
    "seed",
    "ticket",
    "clock",
    "rain",
    "library",
    "magnet",
    "parade",
    "ladder",
    "lantern",
    "market",
    "orchestra",
    "postcard",
    "rope",
    "garden",
];

/// Temperatures, in turn: nearer to and farther from what a model says first.
const TEMPERATURES: &[f64] = &[0.7, 1.0, 1.2];
/// Earlier ideas that a prompt names.
const SHOWN: usize = 5;
/// Characters of each of them.
const SHOWN_LENGTH: usize = 160;

/// A question to a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Question {
    pub(super) operator: &'static str,
    pub(super) prompt: String,
    pub(super) temperature: f64,
    pub(super) seed: Option<u64>,
}

/// The question of try `number`, counted from 0. It asks for something else than `earlier`, the ideas found so far.
/// The same arguments give the same question.
pub(super) fn question(request: &SolveRequest, number: usize, earlier: &[String]) -> Question {
    let (operator, twist) = OPERATORS[number % OPERATORS.len()];
    let turn = number / OPERATORS.len();
    let pick = |list: &[&'static str]| list[(number + turn) % list.len()];
    let twist =
        twist.replace("{nature}", pick(NATURE)).replace("{person}", pick(PEOPLE)).replace("{word}", pick(WORDS));
    let mut lines = vec![format!("Problem: {}", request.problem.trim())];
    if !request.constraints.is_empty() {
        lines.push("The idea must meet all of these:".into());
        lines.extend(request.constraints.iter().map(|constraint| format!("- {constraint}")));
    }
    if !earlier.is_empty() {
        lines.push("These ideas are known; yours must be a different one:".into());
        lines.extend(earlier.iter().rev().take(SHOWN).map(|idea| format!("- {}", short(idea))));
    }
    if !twist.is_empty() {
        lines.push(twist);
    }
    lines.push("Give one concrete idea in one to three sentences, and nothing else.".into());
    Question {
        operator,
        prompt: lines.join("\n"),
        temperature: TEMPERATURES[number % TEMPERATURES.len()],
        seed: request.seed.map(|seed| seed.wrapping_add(number as u64)),
    }
}

/// The beginning of an idea, in one line.
fn short(idea: &str) -> String {
    idea.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::creative::{Constraint, ConstraintCheck};
    use std::collections::HashSet;

    #[test]
    fn no_two_tries_ask_the_same() {
        let mut request = SolveRequest::new("Cut food waste");
        request.seed = Some(u64::MAX);
        let asked: HashSet<_> = (0..300).map(|n| question(&request, n, &[])).map(|q| (q.prompt, q.seed)).collect();
        assert_eq!(asked.len(), 300);
        let prompts: HashSet<_> = (0..36).map(|n| question(&request, n, &[]).prompt).collect();
        assert!(prompts.len() >= 18, "{}", prompts.len());
        assert!(prompts.iter().all(|prompt| !prompt.contains('{')));
    }

    #[test]
    fn constraints_and_known_ideas_are_told() {
        let mut request = SolveRequest::new("Cut food waste");
        request.constraints =
            vec![Constraint::Check(ConstraintCheck::MaxAmount(500.0)), Constraint::Text("no new staff".into())];
        let earlier: Vec<_> = (0..9).map(|n| format!("idea\n{n}")).collect();
        let prompt = question(&request, 0, &earlier).prompt;
        assert!(prompt.contains("costs at most 500") && prompt.contains("no new staff"));
        assert!(prompt.contains("- idea 8") && !prompt.contains("idea 3"));
    }
}
