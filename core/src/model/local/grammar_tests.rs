use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    super::{sampler::Sampler, testing},
    *,
};
use crate::model::Sampling;

fn tokenizer() -> Tokenizer {
    Tokenizer::new(&testing::tiny_gguf()).unwrap()
}

fn json_schema(schema: Value) -> ResponseFormat {
    ResponseFormat::JsonSchema { name: "answer".into(), schema }
}

/// What is written by chance under `format`; none when it had no end after `most` tokens.
fn written(
    grammars: &Grammars,
    tokenizer: &Tokenizer,
    format: &ResponseFormat,
    seed: u64,
    most: usize,
) -> Option<String> {
    let mut constraint = grammars.constraint(tokenizer, format).unwrap().unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let all = Sampling { temperature: Some(1.0), top_p: Some(1.0), seed: Some(seed), ..Sampling::default() };
    let mut sampler = Sampler::new(&all);
    let mut bytes = Vec::new();
    for _ in 0..most {
        let mut scores: Vec<_> = (0..tokenizer.len()).map(|_| random.random::<f32>()).collect();
        constraint.mask(&mut scores).unwrap();
        let token = sampler.choose(&mut scores);
        if tokenizer.is_end(token) {
            return Some(String::from_utf8(bytes).unwrap());
        }
        bytes.extend_from_slice(tokenizer.bytes(token));
        if constraint.take(token).unwrap() {
            return Some(String::from_utf8(bytes).unwrap());
        }
    }
    None
}

/// A schema with bounds, so that what fits it has an end.
pub(in super::super) fn random_schema(random: &mut StdRng, depth: u32) -> Value {
    let kinds = if depth == 0 { 8 } else { 12 };
    match random.random_range(0..kinds) {
        0 => {
            let least = random.random_range(0..4);
            json!({"type": "string", "minLength": least, "maxLength": least + random.random_range(0..9)})
        }
        1 => {
            let patterns = ["^[a-z]{1,4}$", "^[A-Z][0-9]{2}-x$", "^(yes|no)$", "^\\d{3}$", "^[^\"\\\\]{2}é?$"];
            json!({"type": "string", "pattern": patterns[random.random_range(0..patterns.len())]})
        }
        2 => {
            let least = random.random_range(-500_i64..500);
            json!({"type": "integer", "minimum": least, "maximum": least + random.random_range(0..2000)})
        }
        3 => {
            let least = random.random_range(-50.0_f64..50.0).round() / 4.0;
            json!({"type": "number", "minimum": least, "exclusiveMaximum": least + random.random_range(1.0..9.0_f64).round()})
        }
        4 => {
            let all = [json!("red"), json!(7), Value::Null, json!(true), json!({"a": [1]}), json!("\u{e9}\"")];
            json!({"enum": all[..random.random_range(1..=all.len())]})
        }
        5 => json!({"const": random.random_range(0..99)}),
        6 => json!({"type": ["boolean", "null"]}),
        7 => {
            let formats = ["date", "uuid", "ipv4"];
            json!({"type": "string", "format": formats[random.random_range(0..formats.len())]})
        }
        8 | 9 => {
            let mut properties = serde_json::Map::new();
            for at in 0..random.random_range(0..5) {
                properties.insert(format!("p{at} é"), random_schema(random, depth - 1));
            }
            let required: Vec<_> = properties.keys().filter(|_| random.random()).cloned().collect();
            json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
        }
        10 => {
            let least = random.random_range(0..3);
            let items = random_schema(random, depth - 1);
            json!({"type": "array", "items": items, "minItems": least, "maxItems": least + random.random_range(0..4)})
        }
        _ => {
            let choices: Vec<_> = (0..random.random_range(1..4)).map(|_| random_schema(random, depth - 1)).collect();
            json!({"anyOf": choices})
        }
    }
}

#[test]
fn what_is_written_under_a_schema_fits_it() {
    let (grammars, tokenizer) = (Grammars::default(), tokenizer());
    let mut ended = 0;
    for seed in 0..1000 {
        let schema = random_schema(&mut StdRng::seed_from_u64(seed), 3);
        let Some(text) = written(&grammars, &tokenizer, &json_schema(schema.clone()), seed, 1500) else { continue };
        ended += 1;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} of {schema}"));
        let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
        assert!(validator.is_valid(&value), "{text} does not fit {schema}");
    }
    assert!(ended > 950, "only {ended} of 1000 came to an end");
}

#[test]
fn each_form_is_kept_to() {
    let (grammars, tokenizer) = (Grammars::default(), tokenizer());
    let write = |format: &ResponseFormat, seed| written(&grammars, &tokenizer, format, seed, 3000);
    let regex = ResponseFormat::Regex { pattern: "(ab|[0-9]{2,3})x?".into() };
    let lark = ResponseFormat::Grammar { lark: "start: \"sum: \" NUMBER (\"+\" NUMBER)*\nNUMBER: /[0-9]{1,3}/".into() };
    let mut objects = 0;
    for seed in 0..40 {
        let text = write(&regex, seed).unwrap();
        let number = text.trim_end_matches('x');
        assert!(number == "ab" || number.parse::<u32>().is_ok_and(|n| n < 1000), "{text}");
        let text = write(&lark, seed).unwrap();
        assert!(text.strip_prefix("sum: ").unwrap().split('+').all(|n| n.parse::<u32>().is_ok()), "{text}");
        if let Some(text) = write(&ResponseFormat::JsonObject, seed) {
            // Its numbers may be out of any range.
            serde_json::from_str::<serde::de::IgnoredAny>(&text).unwrap();
            assert!(text.starts_with('{'), "{text}");
            objects += 1;
        }
    }
    assert!(objects > 0);
    assert!(grammars.constraint(&tokenizer, &ResponseFormat::Text).unwrap().is_none());
}

#[test]
fn properties_come_in_the_order_of_the_schema() {
    let (grammars, tokenizer) = (Grammars::default(), tokenizer());
    let bool = json!({"type": "boolean"});
    let schema = json!({"type": "object", "properties": {"z": bool, "a": bool}, "required": ["a", "z"],
        "additionalProperties": false});
    let text = written(&grammars, &tokenizer, &json_schema(schema), 1, 200).unwrap();
    assert!(text.starts_with("{\"z\": ") && text.contains(", \"a\": "), "{text}");
}

#[test]
fn a_form_that_cannot_be_kept_to_is_refused_with_the_reason() {
    let (grammars, tokenizer) = (Grammars::default(), tokenizer());
    let nested = |open: &str, close: &str, count: usize| format!("{}a{}", open.repeat(count), close.repeat(count));
    let regex = |pattern: &str| ResponseFormat::Regex { pattern: pattern.into() };
    let lark = |lark: &str| ResponseFormat::Grammar { lark: lark.into() };
    let cases = [
        (json_schema(json!({"type": "objekt"})), ErrorKind::Invalid, "no JSON schema"),
        (json_schema(json!([])), ErrorKind::Invalid, "no JSON schema"),
        (json_schema(json!({"not": {"type": "string"}})), ErrorKind::Unsupported, "not"),
        (json_schema(json!({"$ref": "https://example.com/other.json"})), ErrorKind::Unsupported, "ref"),
        (json_schema(json!(false)), ErrorKind::Unsupported, "schema"),
        (regex("(a"), ErrorKind::Invalid, "regular expression"),
        (regex("a(?=b)"), ErrorKind::Invalid, "regular expression"),
        (regex(&nested("(", ")", 5000)), ErrorKind::Invalid, "brackets"),
        (lark("no start here"), ErrorKind::Invalid, "grammar"),
        (lark(""), ErrorKind::Invalid, "grammar"),
        (lark(&format!("start: {}", nested("(", ")", 50_000))), ErrorKind::Invalid, "brackets"),
        (lark("start: start"), ErrorKind::Invalid, "grammar"),
        (lark(&"x".repeat(LONGEST_GRAMMAR + 1)), ErrorKind::Invalid, "longer"),
    ];
    for (format, kind, part) in cases {
        let shown: String = format!("{format:?}").chars().take(60).collect();
        let error = grammars.constraint(&tokenizer, &format).expect_err(&shown);
        assert_eq!(error.kind(), kind, "{shown}: {error}");
        assert!(error.message().contains(part) && error.message().len() < 600, "{shown}: {error}");
    }
}

#[test]
fn text_may_be_taken_in_any_tokens() {
    let (grammars, tokenizer) = (Grammars::default(), tokenizer());
    let format = ResponseFormat::Regex { pattern: "<a>b".into() };
    let constraint = || grammars.constraint(&tokenizer, &format).unwrap().unwrap();
    let mut whole = constraint();
    assert!(whole.take_text("<a") && !whole.is_complete() && whole.take_text(">b") && whole.is_complete());
    assert!(!constraint().take_text("<b"));
}
