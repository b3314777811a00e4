//! The Creative engine: ideas from several prompts and models, measured and ranked.

mod config;
mod engine;
mod request;

pub use config::CreativeConfig;
pub use engine::CreativeEngine;
pub use request::{Constraint, ConstraintCheck, CreativeReply, CreativeRequest, CreativeSolution, Idea, SolveRequest};
