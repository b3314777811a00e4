//! What the Creative engine is asked and answers.

use serde::{Deserialize, Serialize};

use crate::{money::NanoUsd, router::Needs};

/// Something a solution must meet. A plain text is for a judge; the others are checked by code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Constraint {
    /// Words for a judge; without a calibrated judge it is reported as unchecked.
    Text(String),
    /// Checked by code.
    Check(ConstraintCheck),
}

/// A constraint that code can check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ConstraintCheck {
    /// At most this many words.
    MaxWords(usize),
    /// At least this many words.
    MinWords(usize),
    /// Mentions this, ignoring case.
    Mentions(String),
    /// Does not mention this, ignoring case.
    Avoids(String),
    /// Every amount of money named in it is at most this many dollars (or euros, or pounds).
    MaxAmount(f64),
}

/// A problem to solve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SolveRequest {
    /// The problem.
    pub problem: String,
    /// What a solution must meet.
    #[serde(default)]
    pub constraints: Vec<Constraint>,
    /// Ideas wanted, 1 to 100. Default 6.
    #[serde(default = "six")]
    pub ideas: usize,
    /// What the models must offer.
    #[serde(default)]
    pub needs: Needs,
    /// Tokens of one idea at most. Default 120.
    #[serde(default = "tokens")]
    pub max_tokens: u32,
    /// Makes sampling repeatable on local models.
    #[serde(default)]
    pub seed: Option<u64>,
    /// Where ideas are remembered, so that novelty is against all that was seen. Default `ideas`.
    #[serde(default = "namespace")]
    pub namespace: String,
}

fn six() -> usize {
    6
}

fn tokens() -> u32 {
    120
}

fn namespace() -> String {
    "ideas".into()
}

impl SolveRequest {
    /// Six ideas for `problem`.
    pub fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            constraints: Vec::new(),
            ideas: six(),
            needs: Needs::default(),
            max_tokens: tokens(),
            seed: None,
            namespace: namespace(),
        }
    }
}

/// One idea, measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Idea {
    /// The idea.
    pub text: String,
    /// The model it is from.
    pub model: String,
    /// The prompt variation it is from.
    pub operator: String,
    /// 1 − the highest cosine with any idea seen before it, 0 to 1; an exact repeat is 0. Absent for the very first.
    pub novelty: Option<f64>,
    /// Share of the constraints it meets, 0 to 1; absent when none could be checked.
    pub feasibility: Option<f64>,
    /// The constraints it does not meet, in words.
    pub violated: Vec<String>,
    /// The constraints nobody could check.
    pub unchecked: Vec<String>,
}

/// Ideas for a problem, best first: those that meet every checked constraint before others, then by novelty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CreativeSolution {
    /// The ideas.
    pub solutions: Vec<Idea>,
    /// Mean novelty of the ideas; absent when none has one.
    pub novelty_index: Option<f64>,
    /// Mean feasibility of the ideas; absent when none has one.
    pub feasibility_score: Option<f64>,
    /// Geometric mean of the two; absent unless both are there.
    pub creativity_score: Option<f64>,
    /// Answers that were dropped as repeats of another idea.
    pub repeats: usize,
    /// What all calls cost.
    pub cost: NanoUsd,
    /// What they saved.
    pub saved: NanoUsd,
    /// What the numbers do not say: a judge that was refused, constraints nobody checked.
    pub notes: Vec<String>,
}

/// What the engine `creative` is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CreativeRequest {
    /// Solves a problem.
    Solve(SolveRequest),
}

/// What the engine `creative` answers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum CreativeReply {
    /// To `solve`.
    Solved(CreativeSolution),
}
