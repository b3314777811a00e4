//! The models of a configuration, opened.

use crate::{config::Config, context::Context, error::Result, router::RouterEngine};

pub(crate) async fn open_models(
    _cx: &Context,
    _router: &RouterEngine,
    _config: &Config,
    _chosen_model: bool,
    _chosen_embedder: bool,
) -> Result<()> {
    Ok(())
}
