//! The budgets of the configuration and of the call.

use std::collections::BTreeMap;

use super::RouterConfig;
use crate::{
    context::Context,
    error::{Error, Result},
    money::{Budget, Hold, NanoUsd},
};

/// What all and each tenant may spend in this process.
#[derive(Debug)]
pub(super) struct Budgets {
    all: Option<Budget>,
    tenants: BTreeMap<String, Budget>,
}

impl Budgets {
    pub(super) fn new(config: &RouterConfig) -> Result<Self> {
        let all = config.budget_usd.map(limit).transpose()?.map(Budget::new);
        let tenants = config.budgets_usd.iter().map(|(tenant, usd)| {
            let limit = limit(*usd)?;
            // What a tenant spends, all spend.
            let budget = all.as_ref().map_or_else(|| Budget::new(limit), |all| all.child(limit));
            Ok((tenant.clone(), budget))
        });
        Ok(Self { tenants: tenants.collect::<Result<_>>()?, all })
    }

    /// Holds `amount` on every budget that the call spends from, or on none. Nothing is held for nothing.
    pub(super) fn reserve(&self, cx: &Context, amount: NanoUsd) -> Result<Vec<Hold>> {
        if amount <= NanoUsd::ZERO {
            return Ok(Vec::new());
        }
        let ours = self.tenants.get(&*cx.tenant).or(self.all.as_ref());
        cx.budget.iter().chain(ours).map(|budget| budget.reserve(amount)).collect()
    }
}

fn limit(usd: f64) -> Result<NanoUsd> {
    let limit = NanoUsd::from_usd(usd)?;
    if limit < NanoUsd::ZERO {
        return Err(Error::invalid("a budget is not negative; correct `budget_usd` or `budgets_usd` of the router"));
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_refusal_by_one_budget_holds_nothing_on_another() {
        let mut config = RouterConfig { budget_usd: Some(1.0), ..RouterConfig::default() };
        config.budgets_usd.insert("ada".into(), 0.5);
        let budgets = Budgets::new(&config).unwrap();
        let own = Budget::new(NanoUsd(NanoUsd::PER_USD));
        let cx = Context::new().tenant("ada").budget(own.clone());
        let refused = budgets.reserve(&cx, NanoUsd::from_usd(0.6).unwrap()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OverBudget);
        assert_eq!(own.left(), own.limit());
        for hold in budgets.reserve(&cx, NanoUsd::from_usd(0.4).unwrap()).unwrap() {
            hold.settle(NanoUsd::from_usd(0.4).unwrap());
        }
        let other = Context::new().tenant("bob");
        assert!(budgets.reserve(&other, NanoUsd::from_usd(0.7).unwrap()).is_err(), "all spend from one budget");
        assert!(budgets.reserve(&other, NanoUsd::from_usd(0.6).unwrap()).is_ok());
        assert!(budgets.reserve(&cx, NanoUsd::ZERO).unwrap().is_empty());
        config.budget_usd = Some(-1.0);
        assert_eq!(Budgets::new(&config).unwrap_err().kind(), ErrorKind::Invalid);
    }
}
