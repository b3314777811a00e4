//! What models cost and can do: LiteLLM's price table, built in with a date, and files of the user before it.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value};

use super::{Capabilities, Price};
use crate::{
    error::{Error, ErrorKind, Result},
    money::NanoUsd,
};

/// The built-in table; its `_source` entry says where it is from, of which date and under which licence.
const BUILT_IN: &str = include_str!("prices.json");
/// What `Price` counts in a dollar for one token: nano-dollars for a million tokens.
const PER_USD_A_TOKEN: f64 = 1e15;

/// What the table says of one model.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ListedModel {
    /// Whose it is, by LiteLLM's name.
    pub provider: String,
    /// What it costs; none when the table gives no price by token.
    pub price: Option<Price>,
    /// What one image costs, where images are priced each.
    pub per_image: Option<NanoUsd>,
    /// Tokens of request and answer. Where a longer request costs more a token, only up to that length, so that a
    /// price is never too low.
    pub context_length: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Length of its vectors, for an embedder.
    pub dimensions: Option<usize>,
    /// When its provider ends it, as year-month-day.
    pub ends: Option<String>,
}

/// Prices by model name.
///
/// ```
/// use triune::model::{Prices, Usage};
/// let prices = Prices::built_in()?;
/// let price = prices.price("gpt-4o")?;
/// assert_eq!(price.cost(&Usage { input_tokens: 1_000_000, ..Usage::default() }).usd(), 2.5);
/// # Ok::<(), triune::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, ListedModel>);

impl Prices {
    /// The built-in table.
    pub fn built_in() -> Result<Self> {
        Self::parse(BUILT_IN)
    }

    /// The built-in table with the entries of `file` before it. Blocks while it reads.
    ///
    /// # Errors
    /// `NotFound` when the file cannot be read, `Invalid` when it is not of LiteLLM's form.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let mut prices = Self::built_in()?;
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).map_err(|e| {
                Error::new(ErrorKind::NotFound, "the price file cannot be read; check `prices` of the router")
                    .during("Prices::load")
                    .with("file", file.display())
                    .caused_by(e)
            })?;
            prices.0.extend(Self::parse(&text)?.0);
        }
        Ok(prices)
    }

    /// Reads a table in the format of LiteLLM's `model_prices_and_context_window.json`. Entries that begin with `_`
    /// and `sample_spec` are notes.
    ///
    /// # Errors
    /// `Invalid`, naming the entry and the field.
    pub fn parse(text: &str) -> Result<Self> {
        let table: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
            Error::invalid("a price file is a JSON object of models in LiteLLM's format")
                .during("Prices::parse")
                .caused_by(e)
        })?;
        let entries = table.iter().filter(|(name, _)| !name.starts_with('_') && *name != "sample_spec");
        entries
            .map(|(name, entry)| {
                let entry = Entry { name, fields: entry.as_object().ok_or_else(|| bad(name, "the entry"))? };
                Ok((name.clone(), entry.read()?))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What the table says of `name`.
    pub fn get(&self, name: &str) -> Option<&ListedModel> {
        self.0.get(name)
    }

    /// What `name` costs.
    ///
    /// # Errors
    /// `Invalid`, naming the nearest name there is.
    pub fn price(&self, name: &str) -> Result<Price> {
        self.get(name).and_then(|model| model.price).ok_or_else(|| {
            let nearest = self.nearest(name).map_or(".".to_owned(), |near| format!("; did you mean \"{near}\"?"));
            Error::invalid(format!(
                "there is no price for \"{name}\"{nearest} A model's `price` or the router's `prices` file can give it"
            ))
            .during("Prices::price")
        })
    }

    /// The priced name most like `name`.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let priced = self.0.iter().filter(|(_, model)| model.price.is_some());
        let scored = priced.map(|(known, _)| (strsim::jaro_winkler(known, name), known.as_str()));
        scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
    }
}

/// One entry of the table as it stands in the file.
struct Entry<'a> {
    name: &'a str,
    fields: &'a Map<String, Value>,
}

impl Entry<'_> {
    fn read(&self) -> Result<ListedModel> {
        let (mode, provider) = (self.text("mode"), self.text("litellm_provider").unwrap_or_default());
        let (image, chat) = (mode.as_deref() == Some("image_generation"), mode.as_deref() == Some("chat"));
        let input = self.per_token("input_cost_per_token")?;
        let output = match self.per_token("output_cost_per_image_token")? {
            Some(price) if image => Some(price),
            _ => self.per_token("output_cost_per_token")?,
        };
        let cached = self.per_token("cache_read_input_token_cost")?;
        let price = input.map(|input| Price {
            input,
            cached: cached.unwrap_or(input),
            output: output.unwrap_or(NanoUsd::ZERO),
        });
        let per_image = self.number("output_cost_per_image")?;
        let per_image = match per_image.map(NanoUsd::from_usd).transpose() {
            Ok(price) if price.is_none_or(|price| price >= NanoUsd::ZERO) => price,
            _ => return Err(bad(self.name, "output_cost_per_image")),
        };
        let longest = self.count("max_input_tokens").or_else(|| self.count("max_tokens"));
        Ok(ListedModel {
            price,
            per_image,
            context_length: longest.into_iter().chain(self.dearer_above()).min(),
            capabilities: Capabilities {
                tools: self.flag("supports_function_calling"),
                json_schema: self.flag("supports_response_schema"),
                grammar: false,
                images: self.flag("supports_vision"),
                // OpenAI gives them for every chat model that does not reason first.
                logprobs: provider == "openai" && chat && !self.flag("supports_reasoning"),
                reasoning: self.flag("supports_reasoning"),
                // Absent, it takes them.
                fixed_sampling: self.fields.get("supports_sampling_params") == Some(&Value::Bool(false)),
            },
            dimensions: self.count("output_vector_size").and_then(|n| usize::try_from(n).ok()),
            ends: self.text("deprecation_date"),
            provider,
        })
    }

    /// The length above which a token costs more: `128000` for a field `input_cost_per_token_above_128k_tokens`.
    fn dearer_above(&self) -> Option<u64> {
        let tiers = self.fields.keys().filter_map(|field| {
            let tier = ["input_cost_per_token_above_", "output_cost_per_token_above_"]
                .iter()
                .find_map(|prefix| field.strip_prefix(prefix))?;
            tier.strip_suffix("k_tokens")?.parse::<u64>().ok()?.checked_mul(1000)
        });
        tiers.min()
    }

    fn per_token(&self, field: &'static str) -> Result<Option<NanoUsd>> {
        let Some(usd) = self.number(field)? else { return Ok(None) };
        let price = usd * PER_USD_A_TOKEN;
        if (0.0..9.0e18).contains(&price) {
            Ok(Some(NanoUsd(price.round() as i64)))
        } else {
            Err(bad(self.name, field))
        }
    }

    fn number(&self, field: &'static str) -> Result<Option<f64>> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            // Some hand-written tables quote their numbers.
            Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| bad(self.name, field)),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| bad(self.name, field)),
        }
    }

    fn count(&self, field: &str) -> Option<u64> {
        let value = self.fields.get(field)?;
        value.as_u64().or_else(|| value.as_f64().filter(|n| *n >= 0.0).map(|n| n as u64))
    }

    fn flag(&self, field: &str) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    fn text(&self, field: &str) -> Option<String> {
        self.fields.get(field).and_then(Value::as_str).map(str::to_owned)
    }
}

fn bad(entry: &str, field: &str) -> Error {
    Error::invalid(format!("{field} of \"{entry}\" is not what LiteLLM's price format has there; correct the file"))
        .during("Prices::parse")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Usage;
    use proptest::prelude::*;

    #[test]
    fn the_built_in_table_has_exact_prices() {
        let prices = Prices::built_in().unwrap();
        let gpt = prices.price("gpt-4o").unwrap();
        let (input, cached, output) = (NanoUsd(2_500_000_000), NanoUsd(1_250_000_000), NanoUsd(10_000_000_000));
        assert_eq!(gpt, Price { input, cached, output });
        let usage = Usage { input_tokens: 1000, cached_tokens: 0, output_tokens: 500 };
        assert_eq!(gpt.cost(&usage), NanoUsd::from_usd(0.0075).unwrap());
        let listed = prices.get("gpt-4o").unwrap();
        assert!(listed.capabilities.tools && listed.capabilities.images && listed.capabilities.json_schema);
        assert_eq!(listed.context_length, Some(128_000));
        assert_eq!(prices.get("text-embedding-3-small").unwrap().dimensions, Some(1536));
        assert!(prices.get("_source").is_none());
    }

    #[test]
    fn a_length_tier_ends_the_context_so_that_no_price_is_too_low() {
        let prices = Prices::built_in().unwrap();
        assert_eq!(prices.get("claude-haiku-5-5").unwrap().context_length, Some(100_000));
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let error = Prices::built_in().unwrap().price("gpt-4oo").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("\"gpt-4o\""), "{error}");
    }

    #[test]
    fn entries_of_a_file_go_before_the_built_in_ones() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let table = r#"{"gpt-4o": {"input_cost_per_token": 1e-6, "output_cost_per_token": "2e-6"}, "sample_spec": 1}"#;
        std::fs::write(file.path(), table).unwrap();
        let prices = Prices::load(Some(file.path())).unwrap();
        assert_eq!(prices.price("gpt-4o").unwrap().input, NanoUsd(1_000_000_000));
        assert_eq!(prices.price("gpt-4o").unwrap().output, NanoUsd(2_000_000_000));
        assert!(prices.get("gpt-4o-mini").is_some());
        assert_eq!(Prices::load(Some(Path::new("absent.json"))).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_price_that_is_none_is_an_error_with_its_place() {
        for price in ["-1", "1e9", "\"NaN\"", "[]", "\"free\""] {
            let table = format!("{{\"m\": {{\"input_cost_per_token\": {price}}}}}");
            let error = Prices::parse(&table).unwrap_err();
            assert!(error.message().contains("input_cost_per_token of \"m\""), "{price}: {error}");
        }
        let error = Prices::parse(r#"{"m": {"output_cost_per_image": -0.1}}"#).unwrap_err();
        assert!(error.message().contains("output_cost_per_image of \"m\""), "{error}");
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let field = prop_oneof![
            Just("input_cost_per_token".to_owned()),
            Just("output_cost_per_token".to_owned()),
            Just("output_cost_per_image".to_owned()),
            Just("max_input_tokens".to_owned()),
            Just("input_cost_per_token_above_99999999999999999999k_tokens".to_owned()),
            ".{0,8}",
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map(field.clone(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_makes_it_panic(value in json()) {
            let _ = Prices::parse(&value.to_string());
        }

        #[test]
        fn a_price_in_whole_cents_a_million_is_read_exactly(cents in 0u32..1_000_000) {
            let usd_a_token = f64::from(cents) / 100.0 / 1e6;
            let table = format!("{{\"m\": {{\"input_cost_per_token\": {usd_a_token:e}}}}}");
            let price = Prices::parse(&table).unwrap().price("m").unwrap();
            prop_assert_eq!(price.input, NanoUsd(i64::from(cents) * 10_000_000));
        }
    }
}
