//! Runs `tests/conformance/*.json`: the cases that Rust, Python and Node must answer alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test")]

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;
use triune::{
    Config, Context, Error, ErrorKind, Result, Triune,
    model::{ChatModel, ChatRequest, ChatStream, Delta, FinishReason, ModelProfile, Usage},
};

/// Answers always the same, as its case says.
#[derive(Debug)]
struct Scripted {
    profile: ModelProfile,
    case: Value,
}

#[async_trait]
impl ChatModel for Scripted {
    fn profile(&self) -> &ModelProfile {
        &self.profile
    }

    async fn chat(&self, _: &Context, _: ChatRequest) -> Result<ChatStream> {
        if let Some(code) = self.case["error"].as_str() {
            let kind = ErrorKind::ALL.iter().find(|kind| kind.code() == code).copied().unwrap();
            return Err(Error::new(kind, "as the case says"));
        }
        let tokens = |key: &str| self.case[key].as_u64().unwrap();
        let usage =
            Usage { input_tokens: tokens("input_tokens"), output_tokens: tokens("output_tokens"), ..Usage::default() };
        let deltas = [
            Ok(Delta::Text { text: self.case["text"].as_str().unwrap().into() }),
            Ok(Delta::Done { usage, finish_reason: FinishReason::Stop }),
        ];
        Ok(Box::pin(futures_util::stream::iter(deltas)))
    }
}

/// Whether `found` has all that `expected` asks for; if not, where.
fn compare(expected: &Value, found: &Value, at: &str) -> std::result::Result<(), String> {
    match (expected, found) {
        (Value::Object(map), _) if map.len() == 1 && map.get("$any") == Some(&Value::Bool(true)) => Ok(()),
        (Value::Object(expected), Value::Object(found)) => expected.iter().try_for_each(|(key, value)| {
            let inner = found.get(key).ok_or_else(|| format!("{at}.{key} is absent"))?;
            compare(value, inner, &format!("{at}.{key}"))
        }),
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                return Err(format!("{at} has {} entries, not {}", found.len(), expected.len()));
            }
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.try_for_each(|(i, (expected, found))| compare(expected, found, &format!("{at}[{i}]")))
        }
        (Value::Number(a), Value::Number(b)) if (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() <= 1e-6 => Ok(()),
        _ if expected == found => Ok(()),
        _ => Err(format!("{at} is {found}, not {expected}")),
    }
}

fn check_error<T: std::fmt::Debug>(result: Result<T>, expected: &Value) -> std::result::Result<(), String> {
    let Err(error) = result else { return Err(format!("no error, but {result:?}")) };
    let message = expected["message"].as_str().unwrap_or_default();
    if error.code() == expected["code"].as_str().unwrap() && error.to_string().contains(message) {
        return Ok(());
    }
    Err(format!("the error is {error}, not {expected}"))
}

async fn open(case: &Value, folder: &Path) -> Result<Triune> {
    let url = case["url"].as_str().unwrap_or(folder.to_str().unwrap());
    let config = Config::from_json(case["config"].clone())?;
    let mut builder = Triune::builder(url).config(config);
    for model in case["models"].as_array().into_iter().flatten() {
        let profile = serde_json::from_value(model["profile"].clone()).unwrap();
        builder = builder.model(Arc::new(Scripted { profile, case: model.clone() }));
    }
    builder.open().await
}

async fn run(case: &Value) -> std::result::Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let opened = open(case, &folder.path().join("mind")).await;
    if let Some(expected) = case.get("open_error") {
        return check_error(opened, expected);
    }
    let mind = opened.map_err(|error| error.to_string())?;
    for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let reply = mind.call(&mind.context(), step["engine"].as_str().unwrap(), step["request"].clone()).await;
        match step.get("error") {
            Some(expected) => check_error(reply, expected).map_err(|e| format!("step {i}: {e}"))?,
            None => compare(&step["expect"], &reply.map_err(|e| format!("step {i}: {e}"))?, "reply")
                .map_err(|e| format!("step {i}: {e}"))?,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let (mut passed, mut failed) = (0, Vec::new());
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let cases: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for case in cases["cases"].as_array().unwrap() {
            match run(case).await {
                Ok(()) => passed += 1,
                Err(why) => failed.push(format!("{}: {}: {why}", path.display(), case["name"])),
            }
        }
    }
    println!("{passed} conformance cases passed");
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed >= 40, "only {passed} cases");
}
