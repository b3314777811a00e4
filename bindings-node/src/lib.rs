//! The native half of the npm package `triune`. It is private: the surface that a user sees is `lib/*.ts`.
//!
//! Requests, replies and settings cross as JSON texts that are read and written on the worker threads, never on the
//! thread of the event loop; vectors cross as `Float32Array`.

#![expect(clippy::needless_pass_by_value, reason = "napi hands its arguments over by value")]

mod call;
mod cancel;
mod embedder;
mod engine;
mod error;
mod events;
mod function;
mod gate;
mod host;
mod mind;
mod model;
mod open;
mod reranker;
mod router;
mod scope;
mod stream;

use std::ffi::OsString;

use napi_derive::napi;

/// The version of the engine.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The command line, by its arguments without the name of the command; answers the exit code of the process. `program`
/// starts the command again.
#[napi]
pub fn cli(program: Vec<String>, arguments: Vec<String>) -> u32 {
    let program: Vec<OsString> = program.into_iter().map(Into::into).collect();
    u32::from(triune::cli::run(&program, std::iter::once("triune".to_owned()).chain(arguments)))
}
