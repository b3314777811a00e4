//! Routers written in Python.

use async_trait::async_trait;
use serde::Serialize;
use triune::{
    Context, Result,
    router::{Choice, Chooser, ModelState, RouteRequest},
};

use crate::host::{HostCall, read, write};

/// A router of the host: a callable that takes [`Asked`] as JSON and answers the models it chose as JSON.
#[derive(Debug)]
pub(crate) struct HostRouter {
    route: HostCall,
}

#[derive(Serialize)]
struct Asked<'a> {
    request: &'a RouteRequest,
    models: &'a [ModelState],
}

impl HostRouter {
    pub(crate) fn new(route: HostCall) -> Self {
        Self { route }
    }
}

#[async_trait]
impl Chooser for HostRouter {
    async fn choose(&self, cx: &Context, request: &RouteRequest, fitting: &[ModelState]) -> Result<Vec<Choice>> {
        let asked = write(&Asked { request, models: fitting })?;
        let answer = self.route.call_text(cx, asked).await?;
        read("the router answered in another form", &answer)
    }
}
