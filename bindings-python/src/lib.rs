//! The private native half of the Python package `triune`: handles, futures and streams that carry JSON texts. The
//! typed and documented surface is Python, in `python/triune`.

mod embedder;
mod ending;
mod engine;
mod error;
mod feed;
mod function;
mod gate;
mod host;
mod mind;
mod model;
mod reranker;
mod router;
mod runtime;
mod scope;
mod work;

use std::ffi::OsString;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use super::{cli, ending::ending, feed::Feed, mind::Mind, work::Work};
    use pyo3::prelude::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}

/// Runs the command line; answers its exit code. `program` starts this command again, in a process of its own.
#[pyfunction]
fn cli(py: Python<'_>, program: Vec<OsString>, arguments: Vec<OsString>) -> u8 {
    py.detach(move || triune::cli::run(&program, arguments))
}
