//! What is known of a remote model: from its configuration, else from the price table.

use crate::{
    error::{Error, Result},
    model::{ListedModel, ModelConfig, ModelProfile, Price, Prices},
};

/// Whose models they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seller {
    /// By the OpenTelemetry names.
    pub(super) name: &'static str,
    /// What stands before the names of its models in the price table.
    pub(super) listed_under: &'static str,
}

impl Seller {
    /// What the price table says of its model `name`.
    pub(super) fn listed<'a>(self, prices: &'a Prices, name: &str) -> Option<&'a ListedModel> {
        let under = format!("{}{name}", self.listed_under);
        prices.get(&under).or_else(|| prices.get(name))
    }
}

/// The profile of the model that `config` names. A server of one's own is free unless the configuration prices it;
/// a provider's model must have a price, since nothing would bound what it spends.
pub(super) fn profile(config: &ModelConfig, prices: &Prices, seller: Seller, official: bool) -> Result<ModelProfile> {
    let name = &config.source;
    if name.is_empty() {
        return Err(Error::invalid("a remote model needs `source`: the provider's name of it"));
    }
    let listed = seller.listed(prices, name);
    let price = match (config.price, listed.and_then(|listed| listed.price)) {
        (Some(price), _) | (None, Some(price)) => price,
        (None, None) if official => return Err(prices.price(name).err().unwrap_or_else(|| no_price(name))),
        (None, None) => Price::default(),
    };
    let context_length =
        config.context_length.or(listed.and_then(|listed| listed.context_length)).ok_or_else(|| {
            Error::invalid(format!("the context length of \"{name}\" is not known; set `context_length` of the model"))
        })?;
    Ok(ModelProfile {
        id: config.id.clone().unwrap_or_else(|| name.clone()),
        provider: seller.name.into(),
        local: false,
        context_length,
        price,
        capabilities: config.capabilities.or(listed.map(|listed| listed.capabilities)).unwrap_or_default(),
        quality: config.quality,
        latency_ms: config.latency_ms,
    })
}

fn no_price(name: &str) -> Error {
    Error::invalid(format!("there is no price for \"{name}\"; set `price` of the model"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    const OPENAI: Seller = Seller { name: "openai", listed_under: "" };

    fn config(source: &str) -> ModelConfig {
        ModelConfig { source: source.into(), ..ModelConfig::default() }
    }

    #[test]
    fn the_configuration_goes_before_the_table() {
        let prices = Prices::built_in().unwrap();
        let listed = profile(&config("gpt-4o"), &prices, OPENAI, true).unwrap();
        assert!(listed.capabilities.tools && listed.capabilities.logprobs && listed.context_length == 128_000);
        let own = ModelConfig { context_length: Some(10), id: Some("mine".into()), ..config("gpt-4o") };
        let own = profile(&own, &prices, OPENAI, true).unwrap();
        assert_eq!((own.context_length, own.id.as_str(), own.price), (10, "mine", listed.price));
    }

    #[test]
    fn an_unpriced_model_of_a_provider_is_refused_and_ones_own_is_free() {
        let prices = Prices::built_in().unwrap();
        let unknown = ModelConfig { context_length: Some(2048), ..config("gpt-4oo") };
        let error = profile(&unknown, &prices, OPENAI, true).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("\"gpt-4o\""));
        assert_eq!(profile(&unknown, &prices, OPENAI, false).unwrap().price, Price::default());
        let error = profile(&config("my-model"), &prices, OPENAI, false).unwrap_err();
        assert!(error.message().contains("context_length"), "{error}");
        assert!(profile(&config(""), &prices, OPENAI, false).is_err());
    }
}
