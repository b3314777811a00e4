//! What is known of a remote model: from its configuration, else from the price table.

use sha2::{Digest, Sha256};

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
    /// The usual variable with a key.
    pub(super) key_env: &'static str,
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
    let price = match (&config.price, listed.and_then(|listed| listed.price.as_ref())) {
        (Some(price), _) | (None, Some(price)) => price.clone(),
        (None, None) if official => return Err(prices.price(name).err().unwrap_or_else(|| no_price(name))),
        (None, None) => Price::default(),
    };
    let mut own_keys = config.api_key.iter().chain(&config.api_keys);
    let own_key = own_keys.find(|key| !key.trim().is_empty()).map(String::as_str);
    // A price of one's own is as new as one keeps it.
    let priced_on = listed.filter(|listed| config.price.is_none() && listed.price.is_some());
    let context_length =
        config.context_length.or(listed.and_then(|listed| listed.context_length)).ok_or_else(|| {
            Error::invalid(format!("the context length of \"{name}\" is not known; set `context_length` of the model"))
        })?;
    Ok(ModelProfile {
        id: config.id.clone().unwrap_or_else(|| name.clone()),
        provider: seller.name.into(),
        local: false,
        context_length,
        price: price.usually(config.tier),
        capabilities: config.capabilities.or(listed.map(|listed| listed.capabilities)).unwrap_or_default(),
        quality: config.quality,
        latency_ms: config.latency_ms,
        key: key_name(own_key, config.api_key_env.as_deref(), seller, official),
        ends: listed.filter(|_| official || config.price.is_none()).and_then(|listed| listed.ends),
        priced_on: priced_on.and_then(|listed| listed.priced_on),
        rate_limit: config.rate_limit,
        first_token_timeout_ms: config.first_token_timeout_ms,
        revision: Some(revision(name, config.base_url.as_deref())),
    })
}

/// A digest: an address may have a password in it.
fn revision(name: &str, base_url: Option<&str>) -> String {
    let digest = Sha256::digest(format!("{name}\n{}", base_url.unwrap_or_default()));
    digest.first_chunk::<8>().map_or_else(String::new, |first| format!("{:016x}", u64::from_be_bytes(*first)))
}

/// What the key is called that settings give: its variable, or `api_key` where it stands in the settings themselves.
pub(super) fn key_name(key: Option<&str>, variable: Option<&str>, seller: Seller, official: bool) -> Option<String> {
    if key.is_some_and(|key| !key.trim().is_empty()) {
        return Some("api_key".into());
    }
    variable.or(official.then_some(seller.key_env)).map(str::to_owned)
}

fn no_price(name: &str) -> Error {
    Error::invalid(format!("there is no price for \"{name}\"; set `price` of the model"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ErrorKind, model::ServiceTier};

    const OPENAI: Seller = Seller { name: "openai", listed_under: "", key_env: "OPENAI_API_KEY" };

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
    fn the_profile_knows_the_day_of_the_price_the_end_of_the_model_and_the_name_of_the_key() {
        let prices = Prices::built_in().unwrap();
        let listed = profile(&config("gpt-image-1"), &prices, OPENAI, true).unwrap_err();
        assert!(listed.message().contains("context length"), "an image model is asked for with one: {listed}");
        let mut own = ModelConfig { context_length: Some(10), ..config("gpt-image-1") };
        let listed = profile(&own, &prices, OPENAI, true).unwrap();
        let days = |profile: &ModelProfile| [profile.ends, profile.priced_on].map(|day| day.map(|day| day.to_string()));
        assert_eq!(days(&listed), [Some("2026-10-23".into()), Some("2026-11-22".into())]);
        assert_eq!(listed.key.as_deref(), Some("OPENAI_API_KEY"));
        own.price = Some(Price::default());
        own.api_key = Some("sk-secret".into());
        let mine = profile(&own, &prices, OPENAI, false).unwrap();
        assert_eq!(days(&mine), [None, None], "one's own price and server are one's own affair");
        assert_eq!(mine.key.as_deref(), Some("api_key"));
        own.api_key = None;
        assert_eq!(profile(&own, &prices, OPENAI, false).unwrap().key, None);
    }

    #[test]
    fn the_usual_tier_of_an_account_is_what_its_calls_are_held_by() {
        let prices = Prices::built_in().unwrap();
        let price = |tier| profile(&ModelConfig { tier, ..config("gpt-4o") }, &prices, OPENAI, true).unwrap().price;
        let (standard, priority) = (price(ServiceTier::Standard), price(ServiceTier::Priority));
        let dear = standard.priority.as_deref().expect("the table has this tier");
        assert_eq!(priority.most(1000, 100), dear.most(1000, 100));
        assert_eq!((priority.priority, priority.flex), (standard.priority, standard.flex));
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
