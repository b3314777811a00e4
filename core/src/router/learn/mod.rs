//! What the router learns from judged answers: which model is good enough for a prompt, whether an answer is to be
//! taken, and what a choice would have cost. Nothing here asks a model, reads a clock or a file, or draws by chance that
//! is not the same every time.
//!
//! [`LearnedRouter`] is the policy that chooses by it. Its parts can be used alone: [`QualityHead`] foretells qualities,
//! [`Verifier`] doubts answers, [`calibrate`] finds a threshold that keeps a promise, [`evaluate`] and [`evaluate_pair`]
//! say what a choice is worth on records.

mod calibrate;
mod checks;
mod clusters;
mod equations;
mod evaluate;
mod features;
mod head;
mod kernel;
mod learned;
mod lexer;
mod logistic;
mod matrix;
mod neighbours;
mod packed;
mod prior;
mod record;
mod seed;
mod verifier;

pub use calibrate::{Calibration, Choice, calibrate};
pub use checks::Answer;
pub(super) use checks::same_result;
pub use evaluate::{Foretold, PairReport, Report, Tradeoff, evaluate, evaluate_pair, tradeoffs};
pub use head::{Prediction, QualityHead};
pub use learned::LearnedRouter;
pub use record::{Outcome, Record};
pub use verifier::{Doubt, Judged, VERIFIER_LABELS, Verifier};
