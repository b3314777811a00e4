//! What of an artifact is checked: the content itself, without one code fence around it.

/// The content without the one code fence that models like to put around it, and the number of its first line.
/// Content with prose around a fence is left as it is: a program that asked for JSON or code gets nothing else.
pub(crate) fn unfenced(content: &str) -> (&str, usize) {
    inside_fence(content).unwrap_or((content, 1))
}

fn inside_fence(content: &str) -> Option<(&str, usize)> {
    let body = content.trim_start();
    let lines_before = content[..content.len() - body.len()].matches('\n').count();
    let ticks = body.len() - body.trim_start_matches('`').len();
    if ticks < 3 {
        return None;
    }
    let (info, inner) = body[ticks..].split_once('\n')?;
    if info.contains('`') {
        return None;
    }
    let fence = &body[..ticks];
    let inner = inner.trim_end().strip_suffix(fence)?;
    // The closing fence stands on a line of its own, and there is no other fence between.
    let closed = inner.is_empty() || inner.ends_with('\n');
    let alone = !inner.lines().any(|line| line.trim_start().starts_with(fence));
    (closed && alone).then_some((inner, lines_before + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_fence_is_taken_off() {
        let cases = [
            ("{}", "{}", 1),
            ("```json\n{}\n```", "{}\n", 2),
            ("\n\n```\n{}\n```  \n", "{}\n", 4),
            ("````md\n```\n````", "```\n", 2),
            ("```\n```", "", 2),
            ("Here it is:\n```json\n{}\n```", "Here it is:\n```json\n{}\n```", 1),
            ("```a\n1\n```\n```b\n2\n```", "```a\n1\n```\n```b\n2\n```", 1),
            ("```{}```", "```{}```", 1),
            ("```json\n{}", "```json\n{}", 1),
        ];
        for (content, inner, line) in cases {
            assert_eq!(unfenced(content), (inner, line), "{content:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_fenced_comes_back(text in "[^`]{0,200}") {
            let fenced = format!("```x\n{text}\n```");
            let whole = format!("{text}\n");
            prop_assert_eq!(unfenced(&fenced).0, whole.as_str());
        }

        #[test]
        fn the_result_is_a_part_of_the_content(text in "(`{0,4}|\\n|\\PC{0,3}){0,30}") {
            prop_assert!(text.contains(unfenced(&text).0));
        }
    }
}
