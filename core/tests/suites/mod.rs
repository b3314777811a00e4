//! What any store must do, written once against its trait. Call it from the tests of each store.
#![allow(dead_code, reason = "each test program calls the suites of its own traits")]

pub(crate) mod graph;
pub(crate) mod vectors;
