//! What is known of a remote model: from its configuration, else from the price table.

use crate::{
    error::{Error, Result},
    model::{ModelConfig, ModelProfile, Price, Prices},
};

/// The profile of the model that `config` names. A server of one's own is free unless the configuration prices it;
/// a provider's model must have a price, since nothing would bound what it spends.
pub(super) fn profile(config: &ModelConfig, prices: &Prices, provider: &str, official: bool) -> Result<ModelProfile> {
    let name = &config.source;
    if name.is_empty() {
        return Err(Error::invalid("a remote model needs `source`: the provider's name of it"));
    }
    let listed = prices.get(name);
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
        provider: provider.into(),
        local: false,
        context_length,
        price,
        capabilities: config.capabilities.or(listed.map(|listed| listed.capabilities)).unwrap_or_default(),
        quality: config.quality,
        latency_ms: config.latency_ms,
        rate_limit: config.rate_limit,
        first_token_timeout_ms: config.first_token_timeout_ms,
    })
}

fn no_price(name: &str) -> Error {
    Error::invalid(format!("there is no price for \"{name}\"; set `price` of the model"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn config(source: &str) -> ModelConfig {
        ModelConfig { source: source.into(), ..ModelConfig::default() }
    }

    #[test]
    fn the_configuration_goes_before_the_table() {
        let prices = Prices::built_in().unwrap();
        let listed = profile(&config("gpt-4o"), &prices, "openai", true).unwrap();
        assert!(listed.capabilities.tools && listed.capabilities.logprobs && listed.context_length == 128_000);
        let own = ModelConfig { context_length: Some(10), id: Some("mine".into()), ..config("gpt-4o") };
        let own = profile(&own, &prices, "openai", true).unwrap();
        assert_eq!((own.context_length, own.id.as_str(), own.price), (10, "mine", listed.price));
    }

    #[test]
    fn an_unpriced_model_of_a_provider_is_refused_and_ones_own_is_free() {
        let prices = Prices::built_in().unwrap();
        let unknown = ModelConfig { context_length: Some(2048), ..config("gpt-4oo") };
        let error = profile(&unknown, &prices, "openai", true).unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.message().contains("\"gpt-4o\""));
        assert_eq!(profile(&unknown, &prices, "openai", false).unwrap().price, Price::default());
        let error = profile(&config("my-model"), &prices, "openai", false).unwrap_err();
        assert!(error.message().contains("context_length"), "{error}");
        assert!(profile(&config(""), &prices, "openai", false).is_err());
    }
}
