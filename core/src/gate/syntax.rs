//! The gate `syntax`, on tree-sitter's grammars.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use tree_sitter::{Language, Node, ParseOptions, ParseState, Parser, Tree};

use super::{Artifact, ArtifactKind, Finding, Gate, MAX_FINDINGS, Verdict, content::unfenced, within};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    runtime::blocking,
};

/// Longest time for one parse; what fits the size limit takes milliseconds.
const MAX_TIME: Duration = Duration::from_secs(10);

/// Refuses Rust, Python and JavaScript that does not parse. One code fence around the code is fine. Nothing is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyntaxGate;

#[async_trait]
impl Gate for SyntaxGate {
    fn name(&self) -> &'static str {
        "syntax"
    }

    async fn check(&self, cx: &Context, artifact: &Artifact) -> Result<Verdict> {
        let Some(language) = language(artifact.kind) else {
            return Ok(Verdict::new(self.name(), Vec::new()));
        };
        within(&artifact.content)?;
        let (content, inside) = (artifact.content.clone(), cx.clone());
        let findings = cx.run(blocking(move || findings(&inside, &content, &language))).await?;
        Ok(Verdict::new(self.name(), findings))
    }
}

fn language(kind: ArtifactKind) -> Option<Language> {
    match kind {
        ArtifactKind::Rust => Some(tree_sitter_rust::LANGUAGE.into()),
        ArtifactKind::Python => Some(tree_sitter_python::LANGUAGE.into()),
        ArtifactKind::Javascript => Some(tree_sitter_javascript::LANGUAGE.into()),
        ArtifactKind::Text | ArtifactKind::Json => None,
    }
}

fn findings(cx: &Context, content: &str, language: &Language) -> Result<Vec<Finding>> {
    let (code, first_line) = unfenced(content);
    let tree = parse(cx, code, language)?;
    let mut findings = Vec::new();
    if !tree.root_node().has_error() {
        return Ok(findings);
    }
    // By a cursor, not by recursion: the tree may be as deep as the code is long.
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        if let Some(message) = wrong(node, code) {
            findings.push(Finding { message, line: Some(node.start_position().row + first_line) });
        }
        let inside = node.has_error() && !node.is_error() && cursor.goto_first_child();
        if findings.len() == MAX_FINDINGS {
            return Ok(findings);
        }
        while !inside && !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                return Ok(findings);
            }
        }
    }
}

fn wrong(node: Node<'_>, code: &str) -> Option<String> {
    if node.is_missing() {
        return Some(format!("`{}` is missing", node.kind()));
    }
    if !node.is_error() {
        return None;
    }
    let text: String = code.get(node.byte_range()).unwrap_or("").chars().take(40).collect();
    let text = text.lines().next().unwrap_or("").trim_end();
    Some(if text.is_empty() { "this does not parse".into() } else { format!("this does not parse: `{text}`") })
}

fn parse(cx: &Context, code: &str, language: &Language) -> Result<Tree> {
    let mut parser = Parser::new();
    parser
        .set_language(language)
        .map_err(|e| Error::unexpected("a grammar does not fit the parser; please report this").caused_by(e))?;
    let end = Instant::now() + MAX_TIME;
    let mut watch = |_: &ParseState| {
        if cx.check().is_err() || Instant::now() >= end { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut watch);
    let bytes = code.as_bytes();
    let tree = parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or_default(), None, Some(options));
    tree.map_or_else(
        || {
            cx.check()?;
            Err(Error::new(ErrorKind::Timeout, "parsing took too long; check the code in parts").retryable(false))
        },
        Ok,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    async fn check(kind: ArtifactKind, content: &str) -> Verdict {
        SyntaxGate.check(&Context::new(), &Artifact::new("a", kind, content)).await.unwrap()
    }

    #[tokio::test]
    async fn right_code_passes_and_wrong_code_does_not() {
        use ArtifactKind::{Javascript, Python, Rust};
        let right = [
            (Rust, "fn main() { let x = vec![1, 2]; println!(\"{x:?}\"); }"),
            (Rust, "```rust\nfn f<'a>(s: &'a str) -> &'a str { s }\n```"),
            (Python, "def f(x):\n    return [y for y in x if y]\n"),
            (Javascript, "const f = async (x) => { await x?.y; };"),
        ];
        for (kind, code) in right {
            let verdict = check(kind, code).await;
            assert!(verdict.passed, "{code}: {verdict:?}");
        }
        let wrong = [
            (Rust, "fn main() {\n    let x = ;\n}", 2),
            (Rust, "fn main() {\n    f(1;\n}", 2),
            (Python, "def f(x):\n    return x\n\ndef g(:\n    pass\n", 4),
            (Python, "Here is the code you asked for!\n", 1),
            (Javascript, "```js\nlet a = 1;\nlet = = 2;\n```", 3),
        ];
        for (kind, code, line) in wrong {
            let verdict = check(kind, code).await;
            assert!(!verdict.passed && verdict.findings[0].line == Some(line), "{code}: {verdict:?}");
        }
    }

    #[tokio::test]
    async fn findings_are_few_and_long_code_is_refused() {
        let verdict = check(ArtifactKind::Python, &"x = = 1\n".repeat(1000)).await;
        assert!(!verdict.passed && verdict.findings.len() <= MAX_FINDINGS);
        let long = Artifact::new("a", ArtifactKind::Rust, " ".repeat(super::super::MAX_BYTES + 1));
        assert_eq!(SyntaxGate.check(&Context::new(), &long).await.unwrap_err().kind(), ErrorKind::Invalid);
    }

    #[tokio::test]
    async fn deep_nesting_does_no_harm() {
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "")] {
            let code = format!("{}{}", open.repeat(20_000), close.repeat(20_000));
            check(ArtifactKind::Javascript, &code).await;
            check(ArtifactKind::Python, &code).await;
        }
    }

    #[tokio::test]
    async fn a_cancelled_call_does_not_parse() {
        let cx = Context::new();
        cx.cancel.cancel();
        let artifact = Artifact::new("a", ArtifactKind::Rust, "fn f() {}");
        assert_eq!(SyntaxGate.check(&cx, &artifact).await.unwrap_err().kind(), ErrorKind::Cancelled);
    }

    proptest! {
        #[test]
        fn any_text_gets_a_verdict(text in "\\PC{0,120}", kind in 0..3_usize) {
            let kind = [ArtifactKind::Rust, ArtifactKind::Python, ArtifactKind::Javascript][kind];
            let found = findings(&Context::new(), &text, &language(kind).unwrap()).unwrap();
            let lines = text.lines().count().max(1) + 1;
            prop_assert!(found.iter().all(|finding| finding.line.is_some_and(|line| line >= 1 && line <= lines)));
        }
    }
}
