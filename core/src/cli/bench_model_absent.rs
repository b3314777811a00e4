//! Without the feature `local` there are no models in this process.

use clap::Args;

use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
};

#[derive(Debug, Args)]
pub(super) struct BenchModel {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

impl BenchModel {
    #[expect(clippy::unused_async, reason = "the signature of the part that is there")]
    pub(super) async fn run(self, _: &Context) -> Result<()> {
        Err(Error::new(ErrorKind::Unsupported, "models in this process need the cargo feature `local`"))
    }
}
