//! triune: an AI engine that lives inside an application.

mod context;
mod engine;
mod error;
mod money;
pub mod monitor;
mod runtime;
pub mod store;

pub use context::Context;
pub use engine::{DynEngine, Engine, FnFunction, Function, FunctionSpec, Health, Layer, Registry};
pub use error::{Cause, Error, ErrorKind, Result};
pub use money::{Budget, Hold, NanoUsd};
pub use runtime::Runtime;
