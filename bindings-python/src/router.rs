//! Routers written in Python.

use serde::Serialize;
use tokio::runtime::Handle;
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

impl Chooser for HostRouter {
    /// Waits for Python; the engine calls it where that holds nobody up.
    fn choose(&self, request: &RouteRequest, fitting: &[ModelState]) -> Result<Vec<Choice>> {
        let asked = write(&Asked { request, models: fitting })?;
        let answer = Handle::current().block_on(self.route.call_text(&Context::new(), asked))?;
        read("the router answered in another form", &answer)
    }
}
