//! Tokens that stand for themselves: they are found in a text before the rest of it is encoded.

use std::collections::{BTreeSet, HashMap};

/// The special tokens of a vocabulary.
#[derive(Debug)]
pub(super) struct SpecialTokens {
    /// Longest first: the order in which texts are cut.
    tokens: Vec<Special>,
    by_text: HashMap<String, usize>,
    by_token: HashMap<u32, usize>,
    /// Lengths of those that begin with a byte.
    lengths: HashMap<u8, BTreeSet<usize>>,
    longest: usize,
}

/// A token that stands for itself.
#[derive(Debug)]
pub(super) struct Special {
    pub(super) text: String,
    pub(super) token: u32,
    /// Steers the model: only the chat template may write it.
    pub(super) control: bool,
    /// White space after it is left out.
    pub(super) strips: bool,
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Token(u32),
}

impl SpecialTokens {
    pub(super) fn new(mut tokens: Vec<Special>) -> Self {
        tokens.retain(|special| !special.text.is_empty());
        tokens.sort_by_key(|special| std::cmp::Reverse(special.text.len()));
        let mut lengths: HashMap<u8, BTreeSet<usize>> = HashMap::new();
        for special in &tokens {
            lengths.entry(special.text.as_bytes()[0]).or_default().insert(special.text.len());
        }
        let numbered = || tokens.iter().enumerate();
        Self {
            by_text: numbered().map(|(at, special)| (special.text.clone(), at)).collect(),
            by_token: numbered().map(|(at, special)| (special.token, at)).collect(),
            longest: tokens.first().map_or(0, |special| special.text.len()),
            lengths,
            tokens,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Special> {
        self.tokens.iter()
    }

    pub(super) fn get(&self, token: u32) -> Option<&Special> {
        self.by_token.get(&token).map(|&at| &self.tokens[at])
    }

    /// `text`, cut at special tokens, the longest ones first, as llama.cpp does; at control tokens only where `control`.
    pub(super) fn cut<'a>(&self, text: &'a str, control: bool) -> Vec<Part<'a>> {
        let present: BTreeSet<_> = (0..text.len()).flat_map(|at| self.at(text, at)).collect();
        let mut parts = vec![Part::Text(text)];
        for special in present.into_iter().map(|at| &self.tokens[at]).filter(|special| control || !special.control) {
            let mut cut = Vec::with_capacity(parts.len() + 2);
            for part in parts {
                let Part::Text(mut rest) = part else {
                    cut.push(part);
                    continue;
                };
                while let Some((text, after)) = rest.split_once(&special.text) {
                    cut.extend([Part::Text(text), Part::Token(special.token)]);
                    rest = if special.strips { after.trim_ascii_start() } else { after };
                }
                cut.push(Part::Text(rest));
            }
            parts = cut;
        }
        parts.retain(|part| *part != Part::Text(""));
        parts
    }

    /// `content` with `guard` inside every text that is, or could become at its end, that of a control token.
    pub(super) fn guarded(&self, content: &str, guard: char) -> String {
        let whole = content.trim_end();
        let mut guarded = String::with_capacity(content.len());
        for (at, c) in content.char_indices() {
            guarded.push(c);
            // Beginnings of control tokens are looked for where one could still be cut off by the end.
            let end = whole.get(at..).filter(|end| !end.is_empty() && end.len() < self.longest);
            let begun = |end: &str| self.iter().any(|special| special.control && special.text.starts_with(end));
            let known = self.lengths.contains_key(&content.as_bytes()[at]);
            if known && (self.at(content, at).any(|found| self.tokens[found].control) || end.is_some_and(begun)) {
                guarded.push(guard);
            }
        }
        guarded
    }

    /// Those that `text` has at `at`.
    fn at(&self, text: &str, at: usize) -> impl Iterator<Item = usize> {
        let lengths = self.lengths.get(&text.as_bytes()[at]).into_iter().flatten();
        lengths.filter_map(move |length| self.by_text.get(text.get(at..at + length)?).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn special(text: &str, token: u32, control: bool, strips: bool) -> Special {
        Special { text: text.to_owned(), token, control, strips }
    }

    #[test]
    fn the_longest_are_cut_first_and_control_tokens_only_where_they_may() {
        let tokens = [
            special("\n", 1, false, false),
            special("\n\n", 2, false, false),
            special("<|end|>", 3, true, true),
            special("", 4, true, false),
            special("é", 5, false, false),
            special("\t", 6, false, true),
        ];
        let special = SpecialTokens::new(tokens.into());
        let (text, token) = (Part::Text, Part::Token);
        for (given, control, parts) in [
            ("", true, vec![]),
            ("a\n\n\nb", false, vec![text("a"), token(2), token(1), text("b")]),
            ("\né<|end|> \t x", true, vec![token(1), token(5), token(3), text("x")]),
            ("\né<|end|> x", false, vec![token(1), token(5), text("<|end|> x")]),
            ("\t \t\tx", false, vec![token(6), text("x")]),
            ("<|end|>\n<|end|>", true, vec![token(3), token(3)]),
        ] {
            assert_eq!(special.cut(given, control), parts, "{given:?}");
        }
        assert_eq!(special.get(3).unwrap().text, "<|end|>");
        assert!(special.get(4).is_none());
    }
}
