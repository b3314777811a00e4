//! The gate `json`.

use async_trait::async_trait;
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::{Artifact, ArtifactKind, Finding, Gate, MAX_FINDINGS, Verdict, content::unfenced, within};
use crate::{
    context::Context,
    error::{Error, Result},
    runtime::blocking,
};

/// Refuses JSON that does not parse, or does not fit the schema of the artifact.
///
/// The content must be JSON and nothing else, but for one code fence around it. Schemas are those of JSON Schema up to
/// draft 2020-12; a `$ref` to another document is `Invalid`, since nothing is fetched.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonGate;

#[async_trait]
impl Gate for JsonGate {
    fn name(&self) -> &'static str {
        "json"
    }

    async fn check(&self, cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        if artifact.kind != ArtifactKind::Json {
            return Ok(Verdict::new(self.name(), Vec::new()));
        }
        within(&artifact.content)?;
        let (content, schema) = (artifact.content.clone(), artifact.schema.clone());
        let findings = cx.run(blocking(move || findings(&content, schema.as_ref()))).await?;
        Ok(Verdict::new(self.name(), findings))
    }
}

fn findings(content: &str, schema: Option<&Value>) -> Result<Vec<Finding>> {
    let validator = schema.map(validator).transpose()?;
    let (json, first_line) = unfenced(content);
    let value: Value = match serde_json::from_str(json) {
        Ok(value) => value,
        Err(e) => {
            let line = (e.line() > 0).then(|| e.line() + first_line - 1);
            return Ok(vec![Finding { message: format!("this is not JSON: {e}"), line }]);
        }
    };
    let Some(validator) = validator else { return Ok(Vec::new()) };
    let errors = validator.iter_errors(&value).take(MAX_FINDINGS);
    Ok(errors
        .map(|error| {
            let path = error.instance_path().to_string();
            let place = if path.is_empty() { "the whole".to_owned() } else { path };
            // Masked: a finding says what is wrong, not what the user's data is.
            Finding { message: format!("{place} does not fit the schema: {}", error.masked()), line: None }
        })
        .collect())
}

/// Checks the schema too. Patterns run on a linear-time matcher, so that no schema can stall the gate.
fn validator(schema: &Value) -> Result<Validator> {
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema).map_err(|e| {
        Error::invalid(format!("the schema of the artifact is not a JSON schema that can be used: {}", e.masked()))
            .during("JsonGate::check")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use proptest::prelude::*;
    use serde_json::json;

    async fn check(content: &str, schema: Option<Value>) -> Result<Verdict> {
        let mut artifact = Artifact::new("a", ArtifactKind::Json, content);
        artifact.schema = schema;
        JsonGate.check(&Context::new(), &artifact).await
    }

    #[tokio::test]
    async fn only_json_passes() {
        assert!(check("{\"a\": [1, 2]}", None).await.unwrap().passed);
        assert!(check("```json\n{\"a\": 1}\n```", None).await.unwrap().passed);
        for content in ["Here: {\"a\": 1}", "{'a': 1}", "", "{} {}"] {
            assert!(!check(content, None).await.unwrap().passed, "{content:?}");
        }
        let verdict = check("```json\n{\"a\":\n 1,}\n```", None).await.unwrap();
        assert_eq!(verdict.findings[0].line, Some(3), "lines are those of the artifact");
    }

    #[tokio::test]
    async fn the_schema_counts() {
        let schema =
            json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 1}}});
        assert!(check("{\"n\": 1}", Some(schema.clone())).await.unwrap().passed);
        let verdict = check("{\"n\": \"secret\"}", Some(schema.clone())).await.unwrap();
        assert!(!verdict.passed && verdict.findings[0].message.contains("/n"), "{verdict:?}");
        assert!(!verdict.findings[0].message.contains("secret"));
        assert!(!check("{}", Some(schema)).await.unwrap().passed);
    }

    #[tokio::test]
    async fn a_schema_that_is_none_is_an_error() {
        let error = check("{}", Some(json!({"type": "objekt"}))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let error = check("{}", Some(json!({"$ref": "https://example.com/schema.json"}))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "nothing is fetched");
    }

    #[tokio::test]
    async fn other_kinds_are_not_its_business() {
        let artifact = Artifact::new("a", ArtifactKind::Text, "no json");
        assert!(JsonGate.check(&Context::new(), &artifact).await.unwrap().passed);
    }

    #[test]
    fn deep_nesting_is_refused_without_a_crash() {
        assert_eq!(findings(&"[".repeat(500_000), None).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_text_gets_a_verdict(text in "(`{0,3}|\\{|\\}|\"|\\[|\\]|\\n|\\PC{0,4}){0,40}") {
            let right = serde_json::from_str::<Value>(unfenced(&text).0).is_ok();
            prop_assert_eq!(findings(&text, None).unwrap().is_empty(), right);
        }
    }
}
