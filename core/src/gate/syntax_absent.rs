//! The gate `syntax` of a build without the feature `syntax`.

use async_trait::async_trait;

use super::{Artifact, ArtifactKind, Gate, Verdict};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
};

/// Refuses Rust, Python and JavaScript that does not parse. This build has no parsers: code is `Unsupported`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyntaxGate;

#[async_trait]
impl Gate for SyntaxGate {
    fn name(&self) -> &'static str {
        "syntax"
    }

    async fn check(&self, _cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        match artifact.kind {
            ArtifactKind::Text | ArtifactKind::Json => Ok(Verdict::new(self.name(), Vec::new())),
            ArtifactKind::Rust | ArtifactKind::Python | ArtifactKind::Javascript => Err(Error::new(
                ErrorKind::Unsupported,
                "the gate \"syntax\" needs feature `syntax`; build triune with it, or check by other gates",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn code_is_not_passed_unchecked() {
        let code = Artifact::new("a", ArtifactKind::Rust, "fn main() {}");
        let error = SyntaxGate.check(&Context::new(), &code).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("`syntax`"));
    }
}
