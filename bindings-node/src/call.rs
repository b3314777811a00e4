//! The options of one call.

use std::time::Duration;

use serde::Deserialize;
use triune::{Context, Error, NanoUsd, Priority, Result, Triune};

use crate::{cancel::Cancel, error::read};

/// What a caller may ask of any call, see `CallOptions` in `lib/types.ts`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CallOptions {
    timeout_ms: Option<f64>,
    tenant: Option<String>,
    budget_nano_usd: Option<i64>,
    priority: Option<Priority>,
}

/// The context of a call that `cancel` stops.
pub(crate) fn context(triune: &Triune, options: Option<&str>, cancel: &Cancel) -> Result<Context> {
    let mut cx = cancel.context(triune);
    let Some(options) = options else { return Ok(cx) };
    let options: CallOptions = read("the options of the call", options)?;
    if let Some(ms) = options.timeout_ms {
        let time = Duration::try_from_secs_f64(ms / 1000.0);
        cx = cx.within(time.map_err(|_| Error::invalid("timeoutMs must be a number of milliseconds from 0 on"))?);
    }
    if let Some(tenant) = options.tenant {
        cx = cx.tenant(&tenant);
    }
    if let Some(limit) = options.budget_nano_usd {
        cx = cx.at_most(NanoUsd(limit));
    }
    if let Some(priority) = options.priority {
        cx = cx.priority(priority);
    }
    Ok(cx)
}
