#![doc = include_str!("../README.md")]

#[cfg(feature = "cli")]
pub mod cli;
mod config;
mod context;
pub mod creative;
mod engine;
mod error;
mod folder;
pub mod gate;
pub mod model;
mod money;
pub mod monitor;
mod open;
pub mod parallel;
pub mod recall;
pub mod router;
mod runtime;
pub mod store;
pub mod team;
mod triune;

pub use config::Config;
pub use context::{Context, Priority};
pub use engine::{DynEngine, Engine, FnFunction, Function, FunctionSpec, Health, Layer, Registry};
pub use error::{Cause, Error, ErrorKind, Result};
pub use folder::{FolderReply, FolderRequest};
pub use money::{Budget, Day, Hold, NanoUsd, Period};
pub use runtime::Runtime;
pub use triune::{Triune, TriuneBuilder};

/// The Rust of the project's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
