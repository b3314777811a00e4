//! The Creative engine: ideas from several prompts and models, measured and ranked.

mod amount;
mod check;
mod config;
mod engine;
mod judge;
mod measure;
mod operators;
mod request;
mod solve;

pub use config::CreativeConfig;
pub use engine::CreativeEngine;
pub use request::{Constraint, ConstraintCheck, CreativeReply, CreativeRequest, CreativeSolution, Idea, SolveRequest};

#[cfg(test)]
mod tests;
