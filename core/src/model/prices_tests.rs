use super::*;
use crate::model::{ServiceTier, Usage};
use proptest::prelude::*;

#[test]
fn the_built_in_table_has_exact_prices() {
    let prices = Prices::built_in().unwrap();
    let gpt = prices.price("gpt-4o").unwrap();
    let plain = |price: &Price| (price.input, price.cached, price.output);
    let cached = Some(NanoUsd(1_250_000_000));
    assert_eq!(plain(&gpt), (NanoUsd(2_500_000_000), cached, NanoUsd(10_000_000_000)));
    let half = (NanoUsd(1_250_000_000), cached, NanoUsd(5_000_000_000));
    assert_eq!(plain(gpt.batch.as_ref().unwrap()), half, "what is cached costs no less in a batch: none is listed");
    assert_eq!(gpt.priority.as_ref().unwrap().input, NanoUsd(4_250_000_000));
    assert_eq!(gpt.cost(&Usage::of(1000, 500)), NanoUsd::from_usd(0.0075).unwrap());
    let listed = prices.get("gpt-4o").unwrap();
    assert!(listed.capabilities.tools && listed.capabilities.images && listed.capabilities.json_schema);
    assert_eq!(listed.context_length, Some(128_000));
    assert_eq!(prices.get("text-embedding-3-small").unwrap().dimensions, Some(1536));
    assert!(prices.get("_source").is_none());
}

#[test]
fn a_long_request_costs_more_and_fits_the_whole_context() {
    let prices = Prices::built_in().unwrap();
    let haiku = prices.get("claude-haiku-5-5").unwrap();
    let price = haiku.price.clone().unwrap();
    assert_eq!(haiku.context_length, Some(1_000_000));
    let usd = |usd: f64| NanoUsd::from_usd(usd).unwrap();
    assert_eq!(price.cost(&Usage::of(100_000, 1000)), usd(0.01 + 0.0005));
    assert_eq!(price.cost(&Usage::of(200_000, 1000)), usd(0.1 + 0.0025));
    let written = Usage { cache_write_tokens: 1000, cache_write_1h_tokens: 1000, ..Usage::of(2000, 0) };
    assert_eq!(price.cost(&written), usd(0.000_125 + 0.000_2));
    let long = Usage { cache_write_1h_tokens: 200_000, ..Usage::of(200_000, 0) };
    assert_eq!(price.cost(&long), usd(0.2));
    let batch = Usage { tier: ServiceTier::Batch, ..Usage::of(200_000, 1000) };
    assert_eq!(price.cost(&batch), usd(0.05 + 0.00125), "tiers of length are in the other tiers too");
    let sol = prices.price("gpt-6-sol").unwrap();
    let fast = Usage { tier: ServiceTier::Priority, cached_tokens: 300_000, ..Usage::of(300_000, 0) };
    assert_eq!(sol.cost(&fast), usd(0.24));
}

#[test]
fn models_are_known_by_the_names_of_their_providers() {
    let prices = Prices::built_in().unwrap();
    let listed = prices.get("gemini-2.5-pro").unwrap();
    assert_eq!(listed.provider, "gemini");
    assert_eq!(listed.price.as_ref().unwrap().above[0].tokens, 200_000);
    assert_eq!(prices.get("mistral-large-latest").map(|listed| listed.provider.as_str()), Some("mistral"));
}

#[test]
fn images_are_priced_by_their_tokens_or_each() {
    let prices = Prices::built_in().unwrap();
    let image = prices.price("gpt-image-2").unwrap();
    let usage = Usage { image_input_tokens: 1000, ..Usage::of(2000, 1000) };
    assert_eq!(image.cost(&usage), NanoUsd::from_usd(0.008 + 0.005 + 0.03).unwrap());
    let table = r#"{"each": {"mode": "image_generation", "output_cost_per_image": 0.04},
        "tokens": {"mode": "image_generation", "output_cost_per_image_token": 3e-5}}"#;
    let prices = Prices::parse(table).unwrap();
    let made = Usage { images: 3, ..Usage::of(100, 0) };
    assert_eq!(prices.price("each").unwrap().cost(&made), NanoUsd(120_000_000));
    assert_eq!(prices.price("tokens").unwrap().cost(&Usage::of(5, 1000)), NanoUsd(30_000_000));
}

#[test]
fn prices_in_ranges_are_tiers_of_length() {
    let table = r#"{"m": {"tiered_pricing": [
        {"range": [32000.0, 128000.0], "input_cost_per_token": 3e-6, "output_cost_per_token": 6e-6},
        {"range": [0, 32000.0], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6,
         "output_cost_per_reasoning_token": 4e-6}]},
        "tool": {"tiered_pricing": [{"max_results_range": [0, 10], "input_cost_per_query": 0.005}]}}"#;
    let prices = Prices::parse(table).unwrap();
    let price = prices.price("m").unwrap();
    let thought = Usage { reasoning_tokens: 10, ..Usage::of(32_000, 20) };
    assert_eq!(price.cost(&thought), NanoUsd(32_000_000 + 10 * 4000 + 10 * 2000));
    assert_eq!(price.cost(&Usage::of(32_001, 20)), NanoUsd(32_001 * 3000 + 20 * 6000));
    assert!(prices.get("tool").unwrap().price.is_none());
    let error = Prices::parse(r#"{"m": {"tiered_pricing": [{"input_cost_per_token": 1e-6}]}}"#).unwrap_err();
    assert!(error.message().contains("tiered_pricing of \"m\""), "{error}");
}

#[test]
fn every_entry_of_the_whole_public_table_is_read() {
    let Ok(folder) = std::env::var("TRIUNE_DATA") else { return };
    let file = Path::new(&folder).join("router/prices/model_prices_and_context_window_backup.json");
    if let Ok(text) = std::fs::read_to_string(file) {
        assert!(Prices::parse(&text).unwrap().0.len() > 4000);
    }
}

#[test]
fn ends_and_old_prices_are_told_of_the_models_that_are_used() {
    let day = |text: &str| text.parse::<Day>().unwrap();
    let model = |id: &str, ends: Option<&str>, priced_on: &str| {
        let mut profile = ModelProfile::local(id, 1);
        (profile.ends, profile.priced_on) = (ends.map(day), Some(day(priced_on)));
        profile
    };
    let models = [
        model("past", Some("2026-11-01"), "2026-11-22"),
        model("soon", Some("2026-12-22"), "2026-11-22"),
        model("later", Some("2026-12-23"), "2026-11-22"),
        model("old", None, "2026-08-23"),
        model("fresh", None, "2026-08-24"),
    ];
    let warnings = Prices::warnings(&models, day("2026-11-22"));
    let expected = [
        PriceWarning::Ends { model: "past".into(), on: day("2026-11-01") },
        PriceWarning::Ends { model: "soon".into(), on: day("2026-12-22") },
        PriceWarning::Old { model: "old".into(), priced_on: day("2026-08-23") },
    ];
    assert_eq!(warnings, expected);
    assert!(warnings[2].to_string().contains("2026-08-23"));
    let listed = Prices::built_in().unwrap();
    assert_eq!(listed.get("gpt-image-1").unwrap().ends, Some(day("2026-10-23")));
    assert_eq!(listed.get("gpt-4o").unwrap().priced_on, Some(day("2026-11-22")));
}

#[test]
fn a_file_of_the_user_has_a_day_of_its_own() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"_source": {"taken": "2027-01-02"}, "m": {"input_cost_per_token": 1e-6}}"#)
        .unwrap();
    let prices = Prices::load(Some(file.path())).unwrap();
    assert_eq!(prices.get("m").unwrap().priced_on.unwrap().to_string(), "2027-01-02");
    std::fs::write(file.path(), r#"{"m": {"input_cost_per_token": 1e-6}}"#).unwrap();
    assert!(
        Prices::load(Some(file.path())).unwrap().get("m").unwrap().priced_on >= Some(Day::of_ms(1_700_000_000_000))
    );
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
        Just("input_cost_per_token_above_99999999999999999k_tokens".to_owned()),
        Just("tiered_pricing".to_owned()),
        Just("range".to_owned()),
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
