//! What models cost and can do: LiteLLM's price table, built in with a date, and files of the user before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Capabilities, LongPrice, ModelProfile, Price};
use crate::{
    error::{Error, ErrorKind, Result},
    money::{Day, NanoUsd},
};

/// The built-in table; its `_source` entry says where it is from, of which date and under which licence.
const BUILT_IN: &str = include_str!("prices.json");
/// What `Price` counts in a dollar for one token: nano-dollars for a million tokens.
const PER_USD_A_TOKEN: f64 = 1e15;

/// The age in days from which on a price is told to be old.
const OLD_DAYS: i64 = 90;
/// A model that ends within so many days is told of.
const SOON_DAYS: i64 = 30;
/// Ways of serving a call: the field of [`Price`] and what LiteLLM's names of its prices end with.
const STANDARD: &str = "";
const BATCH: &str = "_batches";
const FLEX: &str = "_flex";
const PRIORITY: &str = "_priority";
/// LiteLLM names models of these providers behind a slash; their own names are without.
const PREFIXES: [&str; 2] = ["gemini/", "mistral/"];

/// What the table says of one model.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ListedModel {
    /// Whose it is, by LiteLLM's name.
    pub provider: String,
    /// What it costs; none when the table gives no price by token or by image.
    pub price: Option<Price>,
    /// Tokens of request and answer.
    pub context_length: Option<u64>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Length of its vectors, for an embedder.
    pub dimensions: Option<usize>,
    /// When its provider ends it.
    pub ends: Option<Day>,
    /// Of which day its entry is, as far as known.
    pub priced_on: Option<Day>,
}

/// Something about the price of a configured model that its user should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PriceWarning {
    /// Its provider ends the model within 30 days, or has ended it.
    Ends {
        /// The model.
        model: String,
        /// The day.
        on: Day,
    },
    /// Its price is of a table of more than 90 days ago.
    Old {
        /// The model.
        model: String,
        /// The day of the table.
        priced_on: Day,
    },
}

impl fmt::Display for PriceWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends { model, on } => write!(f, "the provider ends \"{model}\" on {on}; name a newer model"),
            Self::Old { model, priced_on } => write!(
                f,
                "the price of \"{model}\" is of {priced_on}; update triune, or give `prices` of the router a newer table"
            ),
        }
    }
}

/// Prices by model name.
///
/// ```
/// use triune::model::{Prices, Usage};
/// let prices = Prices::built_in()?;
/// let price = prices.price("gpt-4o")?;
/// assert_eq!(price.cost(&Usage::of(1_000_000, 0)).usd(), 2.5);
/// # Ok::<(), triune::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, ListedModel>);

impl Prices {
    /// The built-in table.
    pub fn built_in() -> Result<Self> {
        Self::parse(BUILT_IN)
    }

    /// The built-in table with the entries of `file` before it. They are of the day that their `_source` entry gives as
    /// `taken`, else of the day when the file was last written. Blocks while it reads.
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
            let written = std::fs::metadata(file).and_then(|file| file.modified()).ok().map(Day::of);
            let own = Self::parse(&text)?.0.into_iter().map(|(name, mut model)| {
                model.priced_on = model.priced_on.or(written);
                (name, model)
            });
            prices.0.extend(own);
        }
        Ok(prices)
    }

    /// Reads a table in the format of LiteLLM's `model_prices_and_context_window.json`. Entries that begin with `_`
    /// and `sample_spec` are notes; `_source` may give the day of the table as `taken`.
    ///
    /// # Errors
    /// `Invalid`, naming the entry and the field.
    pub fn parse(text: &str) -> Result<Self> {
        let table: Map<String, Value> = serde_json::from_str(text).map_err(|e| {
            Error::invalid("a price file is a JSON object of models in LiteLLM's format")
                .during("Prices::parse")
                .caused_by(e)
        })?;
        let taken = table.get("_source").and_then(|source| source["taken"].as_str()?.parse().ok());
        let entries = table.iter().filter(|(name, _)| !name.starts_with('_') && *name != "sample_spec");
        entries
            .map(|(name, entry)| {
                let entry = Entry { name, fields: entry.as_object().ok_or_else(|| bad(name, "the entry"))? };
                Ok((name.clone(), ListedModel { priced_on: taken, ..entry.read()? }))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// What the table says of `name`.
    pub fn get(&self, name: &str) -> Option<&ListedModel> {
        let prefixed = || PREFIXES.iter().find_map(|prefix| self.0.get(&format!("{prefix}{name}")));
        self.0.get(name).or_else(prefixed)
    }

    /// What `name` costs.
    ///
    /// # Errors
    /// `Invalid`, naming the nearest name there is.
    pub fn price(&self, name: &str) -> Result<Price> {
        self.get(name).and_then(|model| model.price.clone()).ok_or_else(|| {
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

    /// What users of `models` should know of their prices on the day `today`: which end soon or have ended, and which
    /// prices are old. A model that the configuration prices has no day of its price.
    pub fn warnings<'a>(models: impl IntoIterator<Item = &'a ModelProfile>, today: Day) -> Vec<PriceWarning> {
        let mut warnings = Vec::new();
        for profile in models {
            let model = || profile.id.clone();
            if let Some(on) = profile.ends.filter(|ends| ends.days_since(today) <= SOON_DAYS) {
                warnings.push(PriceWarning::Ends { model: model(), on });
            }
            if let Some(priced_on) = profile.priced_on.filter(|day| today.days_since(*day) > OLD_DAYS) {
                warnings.push(PriceWarning::Old { model: model(), priced_on });
            }
        }
        warnings
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
        let chat = matches!(mode.as_deref(), Some("chat" | "responses"));
        Ok(ListedModel {
            price: self.price()?,
            context_length: self.count("max_input_tokens").or_else(|| self.count("max_tokens")),
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
            // Some entries have words there.
            ends: self.text("deprecation_date").and_then(|day| day.parse().ok()),
            priced_on: None,
            provider,
        })
    }

    /// None when nothing in the entry has a price that is known here.
    fn price(&self) -> Result<Option<Price>> {
        let tiered = self.tiered()?;
        let standard = if tiered.is_empty() { self.of_tier(STANDARD, None)? } else { Self::from_tiers(tiered) };
        let Some(mut price) = standard else { return Ok(None) };
        let tier = |suffix| self.of_tier(suffix, Some(&price)).map(|tier| tier.map(Box::new));
        let (batch, flex, priority) = (tier(BATCH)?, tier(FLEX)?, tier(PRIORITY)?);
        (price.batch, price.flex, price.priority) = (batch, flex, priority);
        Ok(Some(price))
    }

    /// The prices whose names end with `suffix`; where one is missing, that of `standard` counts. None when there are none.
    fn of_tier(&self, suffix: &str, standard: Option<&Price>) -> Result<Option<Price>> {
        let field = |name: &str| self.per_token(&format!("{name}{suffix}"));
        let mut input = field("input_cost_per_token")?;
        let image_output = field("output_cost_per_image_token")?;
        let mut output = field("output_cost_per_token")?;
        let per_image = if standard.is_none() { self.per_image()? } else { None };
        if standard.is_none() && (per_image.is_some() || image_output.is_some()) {
            // What is priced by the image, or by its tokens, has no price by other tokens.
            input = input.or(Some(NanoUsd::ZERO));
        }
        if self.text("mode").as_deref() == Some("image_generation") {
            // Servers that do not tell the kinds apart made images.
            output = image_output.or(output);
        }
        if input.is_none() && output.is_none() {
            return Ok(None);
        }
        // An embedder writes nothing; a chat model that is priced for one side only is not priced.
        let Some(input) = input.or(standard.map(|price| price.input)) else { return Ok(None) };
        let mut above = self.above(suffix, standard)?;
        if let Some(standard) = standard.filter(|_| above.is_empty()) {
            above.clone_from(&standard.above);
        }
        let other = |own: Option<NanoUsd>, of: fn(&Price) -> Option<NanoUsd>| own.or(standard.and_then(of));
        Ok(Some(Price {
            input,
            output: output.or(standard.map(|price| price.output)).unwrap_or_default(),
            cached: other(field("cache_read_input_token_cost")?, |price| price.cached),
            cache_write: other(field("cache_creation_input_token_cost")?, |price| price.cache_write),
            cache_write_1h: other(self.for_an_hour(suffix)?, |price| price.cache_write_1h),
            reasoning: field("output_cost_per_reasoning_token")?,
            image_input: other(field("input_cost_per_image_token")?, |price| price.image_input),
            image_output: other(image_output, |price| price.image_output),
            per_image: per_image.or(standard.and_then(|price| price.per_image)),
            above,
            ..Price::default()
        }))
    }

    /// OpenAI keeps what is cached for half a day where Anthropic does for an hour.
    fn for_an_hour(&self, suffix: &str) -> Result<Option<NanoUsd>> {
        match self.per_token(&format!("cache_creation_input_token_cost_above_1hr{suffix}"))? {
            None => self.per_token(&format!("cache_creation_input_token_cost_above_12hr{suffix}")),
            some => Ok(some),
        }
    }

    /// The tiers of length: `input_cost_per_token_above_128k_tokens` is one of 128,000.
    fn above(&self, suffix: &str, standard: Option<&Price>) -> Result<Vec<LongPrice>> {
        let thousands: BTreeSet<u64> = self.fields.keys().filter_map(|field| thousands(field, suffix)).collect();
        let tiers = thousands.into_iter().map(|thousands| {
            let end = format!("_above_{thousands}k_tokens{suffix}");
            let tokens = thousands * 1000;
            let standard = standard.and_then(|price| price.above.iter().find(|long| long.tokens == tokens));
            let field = |name: &str| self.per_token(&format!("{name}{end}"));
            let plain = |name: &str| self.per_token(&format!("{name}{suffix}")).map(Option::unwrap_or_default);
            let (input, output) = (field("input_cost_per_token")?, field("output_cost_per_token")?);
            Ok(LongPrice {
                tokens,
                input: input.map_or_else(|| plain("input_cost_per_token"), Ok)?,
                output: output.map_or_else(|| plain("output_cost_per_token"), Ok)?,
                cached: field("cache_read_input_token_cost")?.or(standard.and_then(|long| long.cached)),
                cache_write: field("cache_creation_input_token_cost")?.or(standard.and_then(|long| long.cache_write)),
                cache_write_1h: self.for_an_hour(&end)?.or(standard.and_then(|long| long.cache_write_1h)),
                reasoning: None,
            })
        });
        tiers.collect()
    }

    /// `tiered_pricing`: a list of prices, each for requests whose length is in its `range`.
    fn tiered(&self) -> Result<Vec<LongPrice>> {
        let wrong = || bad(self.name, "tiered_pricing");
        let list = match self.fields.get("tiered_pricing") {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(list) => list.as_array().ok_or_else(wrong)?,
        };
        // Tools are priced in tiers too, by their results.
        let by_token = list.iter().filter(|tier| tier.get("input_cost_per_token").is_some());
        let tiers = by_token.map(|tier| {
            let entry = Entry { name: self.name, fields: tier.as_object().ok_or_else(wrong)? };
            let from = tier["range"].get(0).and_then(Value::as_f64).filter(|from| *from >= 0.0).ok_or_else(wrong)?;
            let field = |name: &str| entry.per_token(name);
            Ok(LongPrice {
                tokens: from as u64,
                input: field("input_cost_per_token")?.unwrap_or_default(),
                output: field("output_cost_per_token")?.unwrap_or_default(),
                cached: field("cache_read_input_token_cost")?,
                cache_write: field("cache_creation_input_token_cost")?,
                cache_write_1h: None,
                reasoning: field("output_cost_per_reasoning_token")?,
            })
        });
        let mut tiers = tiers.collect::<Result<Vec<_>>>()?;
        tiers.sort_by_key(|tier| tier.tokens);
        Ok(tiers)
    }

    /// The first tier is what a short request costs.
    fn from_tiers(mut tiers: Vec<LongPrice>) -> Option<Price> {
        let above = tiers.split_off(1.min(tiers.len()));
        let first = tiers.pop()?;
        Some(Price {
            cached: first.cached,
            cache_write: first.cache_write,
            reasoning: first.reasoning,
            above,
            ..Price::new(first.input, first.output)
        })
    }

    fn per_image(&self) -> Result<Option<NanoUsd>> {
        // Chat models that make images too have a price by the image beside that by their tokens, for the same images.
        if self.text("mode").as_deref() == Some("chat") {
            return Ok(None);
        }
        let usd = self.number("output_cost_per_image")?;
        match usd.map(NanoUsd::from_usd).transpose() {
            Ok(price) if price.is_none_or(|price| price >= NanoUsd::ZERO) => Ok(price),
            _ => Err(bad(self.name, "output_cost_per_image")),
        }
    }

    fn per_token(&self, field: &str) -> Result<Option<NanoUsd>> {
        let Some(usd) = self.number(field)? else { return Ok(None) };
        let price = usd * PER_USD_A_TOKEN;
        if (0.0..9.0e18).contains(&price) {
            Ok(Some(NanoUsd(price.round() as i64)))
        } else {
            Err(bad(self.name, field))
        }
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
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

/// `128` for a field `input_cost_per_token_above_128k_tokens` and what else is after `suffix`.
fn thousands(field: &str, suffix: &str) -> Option<u64> {
    let prefixes = ["input_cost_per_token_above_", "output_cost_per_token_above_"];
    let tier = prefixes.iter().find_map(|prefix| field.strip_prefix(prefix))?;
    let number: u64 = tier.strip_suffix(suffix)?.strip_suffix("k_tokens")?.parse().ok()?;
    number.checked_mul(1000).map(|_| number)
}

fn bad(entry: &str, field: &str) -> Error {
    Error::invalid(format!("{field} of \"{entry}\" is not what LiteLLM's price format has there; correct the file"))
        .during("Prices::parse")
}

#[cfg(test)]
#[path = "prices_tests.rs"]
mod tests;
