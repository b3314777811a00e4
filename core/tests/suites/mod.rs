//! What any store must do, written once against its trait. Call it from the tests of each store.
#![allow(dead_code, reason = "each test program calls the suites of its own traits")]
#![allow(clippy::unwrap_used, reason = "a suite fails by panicking, as tests do")]

pub(crate) mod graph;
pub(crate) mod vectors;
