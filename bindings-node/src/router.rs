//! Routers that are written in JavaScript.

use std::fmt;

use async_trait::async_trait;
use serde::Serialize;
use triune::{
    Context, Error, ErrorKind, Result,
    router::{Choice, Chooser, ModelState, RouteRequest},
};

use crate::{
    error::{Thrown, read, write},
    host::{Host, HostCallback},
};

/// A router of the user.
pub(crate) struct HostRouter(Host<String>);

/// What it is asked.
#[derive(Serialize)]
struct Asked<'a> {
    request: &'a RouteRequest,
    models: &'a [ModelState],
}

impl HostRouter {
    pub(crate) fn new(callback: &HostCallback<'_, String>) -> Result<Self, Thrown> {
        Ok(Self(Host::new(callback)?))
    }
}

impl fmt::Debug for HostRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRouter").finish_non_exhaustive()
    }
}

#[async_trait]
impl Chooser for HostRouter {
    async fn choose(&self, cx: &Context, request: &RouteRequest, fitting: &[ModelState]) -> Result<Vec<Choice>> {
        let asked = write(&Asked { request, models: fitting })?;
        let answer = self.0.ask(cx, asked).await?;
        read("the choice of the router", &answer).map_err(|e| Error::new(ErrorKind::Host, e.message().to_owned()))
    }
}
