//! The gate `non-empty`.

use async_trait::async_trait;

use super::{Artifact, Finding, Gate, Verdict, content::unfenced};
use crate::{context::Context, error::Result};

/// Refuses what is empty or only white space, a code fence around nothing included.
#[derive(Clone, Copy, Debug, Default)]
pub struct NonEmptyGate;

#[async_trait]
impl Gate for NonEmptyGate {
    fn name(&self) -> &'static str {
        "non-empty"
    }

    async fn check(&self, _cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        let blank = unfenced(&artifact.content).0.trim().is_empty();
        let findings = blank.then(|| Finding { message: "there is no content".into(), line: None });
        Ok(Verdict::new(self.name(), findings.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::ArtifactKind;

    #[tokio::test]
    async fn white_space_is_not_content() {
        for (content, passed) in [("", false), (" \n\t\u{a0}", false), ("```\n\n```", false), ("x", true)] {
            let artifact = Artifact::new("a", ArtifactKind::Text, content);
            assert_eq!(NonEmptyGate.check(&Context::new(), &artifact).await.unwrap().passed, passed, "{content:?}");
        }
    }
}
