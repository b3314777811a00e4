//! Budgets as the settings name them, and how they stand.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    money::{NanoUsd, Period},
    router::{
        LedgerEntry,
        ledger::{check_tag, check_tenant},
    },
};

/// What some calls may spend, and in which time. Calls are those that fit every field that is given; all of them share
/// the budget. What they may spend is kept in the folder, so that a new start does not begin anew. A budget that is new
/// begins with what the entries of the ledger say that was spent: with `ledger_days`, of those days.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BudgetConfig {
    /// Calls of this tenant; an empty one is calls without a tenant. Default: of all.
    pub tenant: Option<String>,
    /// Calls paid with the key of this name: its variable, such as `OPENAI_API_KEY`, or the name it has in the settings. Of
    /// several keys of one name all, `OPENAI_API_KEY#2` too. Default: with any.
    pub key: Option<String>,
    /// Calls with this tag. Default: with any or none.
    pub tag: Option<String>,
    /// Calls that this model answers, by its id. Default: that any does.
    pub model: Option<String>,
    /// `day` or `month`, both in UTC, or `total`: for as long as the folder is kept. Default `total`.
    pub period: Period,
    /// What they may spend in dollars. A call that could take more than is left is refused with `OverBudget`: what is held
    /// for it is a token for each byte of the request and all that its answer may have, at the dearest price that these can
    /// have, unless its model says less.
    pub limit_usd: f64,
    /// From here on, in dollars, an event warns and the router prefers cheaper models. Default: nowhere.
    pub soft_usd: Option<f64>,
}

impl BudgetConfig {
    /// What calls together may spend in `period`.
    pub fn new(limit_usd: f64, period: Period) -> Self {
        Self { period, limit_usd, ..Self::default() }
    }

    /// Only those of `tenant`.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Only those paid with the key called `key`.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Only those with `tag`.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Only those that `model` answers.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Warns from `usd` on.
    #[must_use]
    pub fn soft_usd(mut self, usd: f64) -> Self {
        self.soft_usd = Some(usd);
        self
    }

    /// The scope, the limit and the soft limit.
    pub(super) fn read(&self) -> Result<(BudgetScope, NanoUsd, Option<NanoUsd>)> {
        let wrong = |message: &'static str| Error::invalid(message).with("setting", "router.budgets");
        let amount = |usd: f64| match NanoUsd::from_usd(usd)? {
            amount if amount < NanoUsd::ZERO => Err(wrong("a budget is not negative; correct its `limit_usd`")),
            amount => Ok(amount),
        };
        check_tenant(self.tenant.as_deref().unwrap_or_default())?;
        check_tag(self.tag.as_deref())?;
        let (limit, soft) = (amount(self.limit_usd)?, self.soft_usd.map(amount).transpose()?);
        if soft.is_some_and(|soft| soft > limit) {
            return Err(wrong("a soft limit is no higher than the limit; correct `soft_usd` of the budget"));
        }
        let Self { tenant, key, tag, model, period, .. } = self.clone();
        Ok((BudgetScope { tenant, key, tag, model, period }, limit, soft))
    }
}

/// Which calls a budget is for, and how long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BudgetScope {
    /// Of this tenant.
    pub tenant: Option<String>,
    /// Paid with the key of this name.
    pub key: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// That this model answers.
    pub model: Option<String>,
    /// How long.
    pub period: Period,
}

impl BudgetScope {
    /// Whether `entry` is paid from it.
    pub(super) fn covers(&self, entry: &LedgerEntry) -> bool {
        let is = |asked: &Option<String>, own: Option<&str>| asked.as_deref().is_none_or(|asked| Some(asked) == own);
        is(&self.tenant, Some(&entry.tenant))
            && is(&self.key, entry.key.as_deref().map(first_of_its_name))
            && is(&self.tag, entry.tag.as_deref())
            && is(&self.model, Some(&entry.model))
    }
}

/// The name of the first key where `key` is a later one of the same name: which one pays is only known once one was taken.
fn first_of_its_name(key: &str) -> &str {
    match key.rsplit_once('#') {
        Some((first, number)) if !first.is_empty() && number.parse::<u32>().is_ok() => first,
        _ => key,
    }
}

/// In words: `all calls in a month`, `tenant "ada", tag "summarise" in a day`.
impl fmt::Display for BudgetScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("tenant", &self.tenant), ("key", &self.key), ("tag", &self.tag), ("model", &self.model)];
        let mut said = false;
        for (name, value) in parts {
            if let Some(value) = value {
                write!(f, "{}{name} \"{value}\"", if said { ", " } else { "" })?;
                said = true;
            }
        }
        if !said {
            f.write_str("all calls")?;
        }
        f.write_str(match self.period {
            Period::Day => " in a day",
            Period::Month => " in a month",
            Period::Total => "",
        })
    }
}

/// How a budget stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BudgetState {
    /// Which calls it is for, and how long.
    #[serde(flatten)]
    pub scope: BudgetScope,
    /// What they may spend.
    pub limit: NanoUsd,
    /// Where it warns.
    pub soft: Option<NanoUsd>,
    /// What they spent in this period.
    pub spent: NanoUsd,
    /// What is held for calls on their way, and what processes held that died.
    pub held: NanoUsd,
    /// When the period is over, in milliseconds since the Unix epoch; none without an end.
    pub ends_ms: Option<u64>,
}
