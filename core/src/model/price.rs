//! What a model costs: by the kind of token, the length of the request and the way it was served.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::{ServiceTier, Usage};
use crate::{
    error::{Error, Result},
    money::NanoUsd,
};

/// Nano-dollars for a million tokens, so that every published price is an integer. Never negative: a call would give
/// money to a budget.
///
/// ```
/// use triune::{NanoUsd, model::{Price, Usage}};
/// let price = Price { cached: Some(NanoUsd(75_000_000)), ..Price::new(NanoUsd(150_000_000), NanoUsd(600_000_000)) };
/// let usage = Usage { cached_tokens: 400, ..Usage::of(1000, 10) };
/// assert_eq!(price.cost(&usage), NanoUsd(600 * 150 + 400 * 75 + 10 * 600));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Price {
    /// For a million tokens read.
    #[serde(deserialize_with = "not_negative")]
    pub input: NanoUsd,
    /// For a million tokens written.
    #[serde(deserialize_with = "not_negative")]
    pub output: NanoUsd,
    /// For a million tokens read from the provider's cache. Default: as `input`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cached: Option<NanoUsd>,
    /// For a million tokens put into the provider's cache for some minutes. Default: as `input`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<NanoUsd>,
    /// For a million tokens put into the provider's cache for an hour or longer. Default: as `cache_write`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<NanoUsd>,
    /// For a million tokens of thought. Default: as `output`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<NanoUsd>,
    /// For a million tokens of images read. Default: as `input`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub image_input: Option<NanoUsd>,
    /// For a million tokens of images written. Default: as `output`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub image_output: Option<NanoUsd>,
    /// For one image made, beside its tokens. Default: nothing.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub per_image: Option<NanoUsd>,
    /// What longer requests cost, every token of them. Default: no more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub above: Vec<LongPrice>,
    /// What calls in a batch cost. Default: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Box<Price>>,
    /// What calls cost that are served when there is room. Default: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flex: Option<Box<Price>>,
    /// What calls cost that are served before others. Default: the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Box<Price>>,
}

/// What a request of more than so many tokens costs, as [`Price`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LongPrice {
    /// Longer than this, in tokens of the request with the cached ones.
    pub tokens: u64,
    /// For a million tokens read.
    #[serde(deserialize_with = "not_negative")]
    pub input: NanoUsd,
    /// For a million tokens written, thoughts too.
    #[serde(deserialize_with = "not_negative")]
    pub output: NanoUsd,
    /// For a million tokens read from the provider's cache. Default: as `input`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cached: Option<NanoUsd>,
    /// For a million tokens put into the provider's cache for some minutes. Default: as `input`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<NanoUsd>,
    /// For a million tokens put into the provider's cache for an hour or longer. Default: as `cache_write`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub cache_write_1h: Option<NanoUsd>,
    /// For a million tokens of thought. Default: as `output`.
    #[serde(deserialize_with = "none_negative", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<NanoUsd>,
}

const NEGATIVE: &str = "a price is not negative; correct the `price` of the model";

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NanoUsd, D::Error> {
    let price = NanoUsd::deserialize(deserializer)?;
    if price < NanoUsd::ZERO { Err(D::Error::custom(NEGATIVE)) } else { Ok(price) }
}

fn none_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NanoUsd>, D::Error> {
    let price = Option::<NanoUsd>::deserialize(deserializer)?;
    if price.is_some_and(|price| price < NanoUsd::ZERO) { Err(D::Error::custom(NEGATIVE)) } else { Ok(price) }
}

/// What each kind of token costs in one call.
struct Rates {
    input: NanoUsd,
    cached: NanoUsd,
    cache_write: NanoUsd,
    cache_write_1h: NanoUsd,
    image_input: NanoUsd,
    output: NanoUsd,
    reasoning: NanoUsd,
    image_output: NanoUsd,
}

impl Price {
    /// So much for a million tokens read and written, whatever their kind.
    pub fn new(input: NanoUsd, output: NanoUsd) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// Checks what cannot be a price.
    ///
    /// # Errors
    /// `Invalid` when something has a negative price, or a tier has tiers of its own.
    pub fn validate(&self) -> Result<()> {
        let optional = [
            self.cached,
            self.cache_write,
            self.cache_write_1h,
            self.reasoning,
            self.image_input,
            self.image_output,
            self.per_image,
        ];
        let long = self.above.iter().flat_map(|long| {
            let optional = [long.cached, long.cache_write, long.cache_write_1h, long.reasoning];
            [long.input, long.output].into_iter().chain(optional.into_iter().flatten())
        });
        let mut all = [self.input, self.output].into_iter().chain(optional.into_iter().flatten()).chain(long);
        if !all.all(|price| price >= NanoUsd::ZERO) {
            return Err(Error::invalid(NEGATIVE));
        }
        for tier in self.tiers() {
            tier.validate()?;
            if tier.tiers().next().is_some() {
                return Err(Error::invalid("`batch`, `flex` and `priority` of a price have none of these themselves"));
            }
        }
        Ok(())
    }

    /// Whether nothing costs anything.
    pub fn is_free(&self) -> bool {
        *self == Self::default()
    }

    /// What `usage` costs, rounded up to the nano-dollar: never less than billed. Saturates.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let price = self.of_tier(usage.tier);
        let rates = price.rates(usage.input_tokens);
        let mut fresh = usage.input_tokens;
        let mut part_of_input = |tokens: u64| take(&mut fresh, tokens);
        let read = [
            (rates.cached, part_of_input(usage.cached_tokens)),
            (rates.cache_write_1h, part_of_input(usage.cache_write_1h_tokens)),
            (rates.cache_write, part_of_input(usage.cache_write_tokens)),
            (rates.image_input, part_of_input(usage.image_input_tokens)),
            (rates.input, fresh),
        ];
        let mut said = usage.output_tokens;
        let mut part_of_output = |tokens: u64| take(&mut said, tokens);
        let written = [
            (rates.reasoning, part_of_output(usage.reasoning_tokens)),
            (rates.image_output, part_of_output(usage.image_output_tokens)),
            (rates.output, said),
        ];
        let tokens = nano_for_millions(read.iter().chain(&written));
        tokens + price.per_image.unwrap_or_default().times(usage.images)
    }

    /// The most that a call can cost which reads `input_tokens` and writes up to `output_tokens` in the standard tier:
    /// at the price of the dearest kind of token that a request without images and one-hour cache marks can have.
    pub fn most(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let rates = self.rates(input_tokens);
        let read = rates.input.max(rates.cached).max(rates.cache_write);
        Self::most_at(&rates, (read, input_tokens), output_tokens)
    }

    /// The same for a request that may have images and one-hour cache marks.
    pub fn most_of_any_kind(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        let rates = self.rates(input_tokens);
        let kinds = [rates.input, rates.cached, rates.cache_write, rates.cache_write_1h, rates.image_input];
        let read = kinds.into_iter().max().unwrap_or_default();
        Self::most_at(&rates, (read, input_tokens), output_tokens)
    }

    fn most_at(rates: &Rates, read: (NanoUsd, u64), output_tokens: u64) -> NanoUsd {
        let written = rates.output.max(rates.reasoning).max(rates.image_output);
        nano_for_millions([read, (written, output_tokens)].iter())
    }

    /// This price where calls are served in `tier` unless they ask for another.
    #[cfg_attr(not(feature = "cloud"), expect(dead_code, reason = "providers are behind the feature `cloud`"))]
    pub(crate) fn usually(self, tier: ServiceTier) -> Self {
        let usual = self.of_tier(tier).clone();
        Self { batch: self.batch, flex: self.flex, priority: self.priority, ..usual }
    }

    fn tiers(&self) -> impl Iterator<Item = &Self> {
        [&self.batch, &self.flex, &self.priority].into_iter().filter_map(|tier| tier.as_deref())
    }

    fn of_tier(&self, tier: ServiceTier) -> &Self {
        let own = match tier {
            ServiceTier::Standard => None,
            ServiceTier::Batch => self.batch.as_deref(),
            ServiceTier::Flex => self.flex.as_deref(),
            ServiceTier::Priority => self.priority.as_deref(),
        };
        own.unwrap_or(self)
    }

    /// The prices of a request of `input_tokens`. A kind without a price of its own costs what the kind does that it is
    /// part of.
    fn rates(&self, input_tokens: u64) -> Rates {
        let long = self.above.iter().filter(|long| input_tokens > long.tokens).max_by_key(|long| long.tokens);
        let (input, output, cached, cache_write, cache_write_1h, reasoning) = match long {
            Some(long) => (long.input, long.output, long.cached, long.cache_write, long.cache_write_1h, long.reasoning),
            None => (self.input, self.output, self.cached, self.cache_write, self.cache_write_1h, self.reasoning),
        };
        let cache_write = cache_write.unwrap_or(input);
        Rates {
            input,
            cached: cached.unwrap_or(input),
            cache_write,
            cache_write_1h: cache_write_1h.unwrap_or(cache_write),
            image_input: self.image_input.unwrap_or(input),
            output,
            reasoning: reasoning.unwrap_or(output),
            image_output: self.image_output.unwrap_or(output),
        }
    }
}

/// Takes up to `tokens` from `left`; a provider that counts more parts than there are tokens gets no more than these.
fn take(left: &mut u64, tokens: u64) -> u64 {
    let taken = tokens.min(*left);
    *left -= taken;
    taken
}

fn nano_for_millions<'a>(parts: impl Iterator<Item = &'a (NanoUsd, u64)>) -> NanoUsd {
    let millionths = parts.fold(0_i128, |sum, (price, tokens)| {
        sum.saturating_add(i128::from(price.0.max(0)).saturating_mul(i128::from(*tokens)))
    });
    let nano = millionths / 1_000_000 + i128::from(millionths % 1_000_000 > 0);
    NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Dollars for a million tokens.
    fn usd(usd: f64) -> NanoUsd {
        NanoUsd::from_usd(usd).unwrap()
    }

    #[test]
    fn a_negative_price_is_refused() {
        let price = Price { cached: Some(NanoUsd(-1)), ..Price::default() };
        assert!(price.validate().is_err() && Price::default().validate().is_ok());
        let long = LongPrice { output: NanoUsd(-1), ..LongPrice::default() };
        assert!(Price { above: vec![long], ..Price::default() }.validate().is_err());
        let batch = Some(Box::new(price));
        assert!(Price { batch, ..Price::default() }.validate().is_err());
        let read = |json: &str| serde_json::from_str::<Price>(json);
        for json in [r#"{"output": -1}"#, r#"{"cached": -1}"#, r#"{"above": [{"tokens": 1, "input": -1}]}"#] {
            assert!(read(json).unwrap_err().to_string().contains("not negative"), "{json}");
        }
        assert_eq!(read(r#"{"output": 1}"#).unwrap().output, NanoUsd(1));
    }

    #[test]
    fn a_tier_of_a_tier_is_refused() {
        let inner = Price { flex: Some(Box::default()), ..Price::default() };
        let error = Price { batch: Some(Box::new(inner)), ..Price::default() }.validate().unwrap_err();
        assert!(error.message().contains("`batch`"), "{error}");
    }

    #[test]
    fn cost_is_exact_and_rounds_up() {
        let price = Price { cached: Some(usd(0.075)), ..Price::new(usd(0.15), usd(0.6)) };
        let usage = Usage { cached_tokens: 400, ..Usage::of(1000, 10) };
        assert_eq!(price.cost(&usage), NanoUsd(600 * 150 + 400 * 75 + 10 * 600));
        let tiny = Price::new(NanoUsd(1), NanoUsd::ZERO);
        assert_eq!((tiny.cost(&Usage::of(1, 0)), tiny.cost(&Usage::default())), (NanoUsd(1), NanoUsd(0)));
    }

    #[test]
    fn each_kind_of_token_has_its_price_and_none_is_counted_twice() {
        let price = Price {
            cached: Some(usd(0.1)),
            cache_write: Some(usd(1.25)),
            cache_write_1h: Some(usd(2.0)),
            image_input: Some(usd(3.0)),
            reasoning: Some(usd(7.0)),
            image_output: Some(usd(30.0)),
            per_image: Some(NanoUsd(40_000_000)),
            ..Price::new(usd(1.0), usd(5.0))
        };
        let usage = Usage {
            cached_tokens: 10,
            cache_write_tokens: 20,
            cache_write_1h_tokens: 30,
            image_input_tokens: 15,
            reasoning_tokens: 40,
            image_output_tokens: 50,
            images: 2,
            ..Usage::of(100, 200)
        };
        let read = 10 * 100 + 20 * 1250 + 30 * 2000 + 15 * 3000 + 25 * 1000;
        let written = 40 * 7000 + 50 * 30_000 + 110 * 5000;
        assert_eq!(price.cost(&usage), NanoUsd(read + written + 2 * 40_000_000));
        let too_many = Usage { cached_tokens: 500, ..Usage::of(100, 0) };
        assert_eq!(price.cost(&too_many), NanoUsd(100 * 100), "parts are no more than the whole");
    }

    #[test]
    fn a_kind_without_a_price_costs_what_it_is_part_of() {
        let price = Price { cache_write: Some(usd(1.25)), ..Price::new(usd(1.0), usd(5.0)) };
        let hour = Usage { cache_write_1h_tokens: 10, ..Usage::of(10, 0) };
        assert_eq!(price.cost(&hour), NanoUsd(10 * 1250));
        let others = Usage { cached_tokens: 5, image_input_tokens: 5, reasoning_tokens: 10, ..Usage::of(10, 10) };
        assert_eq!(price.cost(&others), NanoUsd(10 * 1000 + 10 * 5000));
    }

    #[test]
    fn every_token_of_a_long_request_has_the_long_price() {
        let long = |tokens, input, output| LongPrice { tokens, input, output, ..LongPrice::default() };
        // Not in order: the file of a user need not be.
        let above = vec![long(200, usd(4.0), usd(20.0)), long(100, usd(2.0), usd(10.0))];
        let price = Price { cached: Some(usd(0.1)), above, ..Price::new(usd(1.0), usd(5.0)) };
        assert_eq!(price.cost(&Usage::of(100, 1)), NanoUsd(100 * 1000 + 5000));
        assert_eq!(price.cost(&Usage::of(101, 1)), NanoUsd(101 * 2000 + 10_000));
        assert_eq!(price.cost(&Usage::of(201, 1)), NanoUsd(201 * 4000 + 20_000));
        let cached = Usage { cached_tokens: 101, ..Usage::of(101, 0) };
        assert_eq!(price.cost(&cached), NanoUsd(101 * 2000), "no cached price is given there: never too low");
    }

    #[test]
    fn a_call_costs_what_its_tier_does() {
        let half = Some(Box::new(Price::new(usd(0.5), usd(2.5))));
        let price = Price { batch: half, ..Price::new(usd(1.0), usd(5.0)) };
        let usage = |tier| Usage { tier, ..Usage::of(1000, 1000) };
        assert_eq!(price.cost(&usage(ServiceTier::Batch)), NanoUsd(1000 * 500 + 1000 * 2500));
        assert_eq!(price.cost(&usage(ServiceTier::Priority)), price.cost(&Usage::of(1000, 1000)));
    }

    #[test]
    fn prices_of_files_without_the_new_kinds_are_read_and_written_as_before() {
        let price: Price = serde_json::from_str(r#"{"input": 150, "cached": 75, "output": 600}"#).unwrap();
        assert_eq!(price, Price { cached: Some(NanoUsd(75)), ..Price::new(NanoUsd(150), NanoUsd(600)) });
        let json = serde_json::to_value(&price).unwrap();
        assert_eq!(json, serde_json::json!({"input": 150, "output": 600, "cached": 75}));
    }

    fn price() -> impl Strategy<Value = Price> {
        let amount = || prop_oneof![0..1_000_000_i64, Just(i64::MAX)].prop_map(NanoUsd);
        let optional = || prop::option::of(amount());
        let kinds = (optional(), optional(), optional(), optional(), optional());
        (amount(), amount(), kinds).prop_map(|(input, output, (cached, cache_write, reasoning, image, per_image))| {
            Price { cached, cache_write, reasoning, image_output: image, per_image, ..Price::new(input, output) }
        })
    }

    #[test]
    fn what_an_hour_in_the_cache_costs_is_in_the_most() {
        let price = Price {
            cache_write: Some(usd(1.25)),
            cache_write_1h: Some(usd(2.0)),
            image_input: Some(usd(3.0)),
            ..Price::new(usd(1.0), usd(5.0))
        };
        let hour = Usage { cache_write_1h_tokens: 100, ..Usage::of(100, 10) };
        let images = Usage { image_input_tokens: 100, ..Usage::of(100, 10) };
        let most = price.most_of_any_kind(100, 10);
        assert!(price.most(100, 10) < price.cost(&hour) && price.cost(&hour) < most);
        assert_eq!(price.cost(&images), most);
    }

    proptest! {
        #[test]
        fn no_usage_costs_less_than_nothing_or_more_than_the_most(
            price in price(), input in any::<u64>(), output in any::<u64>(), cached in any::<u64>(),
            written in any::<u64>(), reasoning in any::<u64>()
        ) {
            let usage = Usage {
                cached_tokens: cached, cache_write_tokens: written, reasoning_tokens: reasoning, ..Usage::of(input, output)
            };
            let cost = price.cost(&usage);
            prop_assert!(cost >= NanoUsd::ZERO && cost <= price.most(input, output));
        }
    }
}
