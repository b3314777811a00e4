//! Tokenizers as the `tokenizers` library runs them: those of `tokenizer.json`, and of GGUF files those that need no
//! code of ours.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::de::IgnoredAny;
use tokenizers::{
    Encoding, Model as _, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer,
    normalizers::Sequence,
    pre_tokenizers::metaspace::{Metaspace, PrependScheme},
};

use super::super::gguf::corrupt;
use crate::error::{Error, Result};

/// Reads a `tokenizer.json`. The library panics at some of what is none: JSON that breaks off within a decoder, a map of
/// characters that is no map.
///
/// # Errors
/// Why it is none.
pub(in super::super) fn parse(json: &[u8]) -> std::result::Result<Tokenizer, tokenizers::Error> {
    // Damaged files are told without a panic, which the host may have made the end of the process.
    serde_json::from_slice::<IgnoredAny>(json)?;
    catch_unwind(|| Tokenizer::from_bytes(json)).unwrap_or_else(|_| Err("a part of it cannot be read".into()))
}

/// A tokenizer without special tokens, which are found before it sees a text.
#[derive(Debug)]
pub(super) struct Library {
    tokenizer: Tokenizer,
    /// The same without a space set before a text, where it sets one.
    later: Option<Tokenizer>,
    /// Where that space is set.
    space: Space,
    /// Tokens that no text may become, though the model has pieces for them.
    never: HashSet<u32>,
    /// Tokens of bytes, which no text may become that has their names.
    bytes: HashSet<u32>,
    /// The one of `never` that is for what is unknown.
    unknown: Option<u32>,
}

/// Where a space is set before a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Nowhere,
    /// Where the whole text begins.
    First,
    /// There, and after special tokens.
    Always,
}

impl Library {
    pub(super) fn new(tokenizer: Tokenizer) -> Result<Self> {
        let metaspace = match tokenizer.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::Metaspace(metaspace)) => Some(metaspace.clone()),
            _ => None,
        };
        let scheme = metaspace.as_ref().map_or(PrependScheme::Never, |metaspace| metaspace.prepend_scheme);
        let space = match scheme {
            PrependScheme::First => Space::First,
            PrependScheme::Always => Space::Always,
            PrependScheme::Never if tokenizer.get_normalizer().is_some_and(prepends) => Space::Always,
            PrependScheme::Never => Space::Nowhere,
        };
        let later = (space != Space::Nowhere).then(|| {
            let mut later = tokenizer.clone();
            if let Some(metaspace) = metaspace {
                let plain = Metaspace::new(metaspace.get_replacement(), PrependScheme::Never, metaspace.get_split());
                later.with_pre_tokenizer(Some(plain));
            }
            let normalizer = later.get_normalizer().cloned().and_then(without_prepend);
            later.with_normalizer(normalizer).map_err(refused)?;
            Ok::<_, Error>(later)
        });
        let later = later.transpose()?;
        Ok(Self { tokenizer, later, space, never: HashSet::new(), bytes: HashSet::new(), unknown: None })
    }

    /// That of a `tokenizer.json`, without its special tokens. Its model has pieces of control tokens as well, which texts
    /// `never` become, and such that are named as `bytes`.
    pub(super) fn of_json(whole: &Tokenizer, never: HashSet<u32>, bytes: HashSet<u32>) -> Result<Self> {
        let mut tokenizer = Tokenizer::new(whole.get_model().clone());
        tokenizer.with_normalizer(whole.get_normalizer().cloned()).map_err(refused)?;
        tokenizer.with_pre_tokenizer(whole.get_pre_tokenizer().cloned());
        let library = Self::new(tokenizer)?;
        // No vocabulary has this character: it is none.
        let unknown = library.run("\u{10ffff}", false)?.get_ids().last().copied();
        Ok(Self { unknown: unknown.filter(|token| never.contains(token)), never, bytes, ..library })
    }

    /// Whether a space is set before a text, anywhere.
    pub(super) fn space_first(&self) -> bool {
        self.space != Space::Nowhere
    }

    /// Whether it may leave parts of a text out, so that its tokens do not tell how long the text was.
    pub(super) fn may_drop(&self) -> bool {
        matches!(self.tokenizer.get_model(), ModelWrapper::Unigram(_))
    }

    /// Whether the characters of its tokens stand for bytes.
    pub(super) fn is_byte_level(&self) -> bool {
        self.tokenizer.get_pre_tokenizer().is_some_and(is_byte_level)
    }

    /// Adds the tokens of `text`, with which the whole text `begins`, or which comes `after_special` tokens, or goes on.
    pub(super) fn encode(&self, text: &str, begins: bool, after_special: bool, tokens: &mut Vec<u32>) -> Result<()> {
        let mut spaced = match self.space {
            Space::Nowhere => false,
            Space::First => begins,
            Space::Always => begins || after_special,
        };
        // Parts of the text from the back: what would become a control token is cut in its middle.
        let mut parts = vec![text];
        while let Some(part) = parts.pop() {
            let encoding = self.run(part, spaced)?;
            let cuts = self.cuts(part, &encoding)?;
            if cuts.is_empty() {
                tokens.extend_from_slice(encoding.get_ids());
                spaced = false;
                continue;
            }
            let bounds: Vec<_> = std::iter::once(0).chain(cuts).chain([part.len()]).collect();
            parts.extend(bounds.windows(2).rev().map(|bound| &part[bound[0]..bound[1]]));
        }
        Ok(())
    }

    /// The library panics at files that do not fit together, and at patterns that need too many steps.
    fn run(&self, text: &str, spaced: bool) -> Result<Encoding> {
        let tokenizer = self.later.as_ref().filter(|_| !spaced).unwrap_or(&self.tokenizer);
        let failed = || corrupt("the tokenizer cannot cut this text; shorten it, or download the tokenizer again");
        // Only with these tokens it matters where they are.
        let named = !self.bytes.is_empty() && text.contains("<0x");
        let run = || if named { tokenizer.encode(text, false) } else { tokenizer.encode_fast(text, false) };
        let encode = |run: &dyn Fn() -> tokenizers::Result<Encoding>| {
            catch_unwind(AssertUnwindSafe(run)).map_err(|_| failed())?.map_err(|e| failed().caused_by(e))
        };
        let encoding = encode(&run)?;
        if !named && encoding.get_ids().iter().any(|id| self.never.contains(id)) {
            return encode(&|| tokenizer.encode(text, false));
        }
        Ok(encoding)
    }

    /// Where `text` must be cut, so that it does not become tokens that it may not: behind the first character of each.
    fn cuts(&self, text: &str, encoding: &Encoding) -> Result<Vec<usize>> {
        let mut cuts = Vec::new();
        for (token, &(start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            let is_named = || self.tokenizer.get_model().id_to_token(*token).as_deref() == text.get(start..end);
            let may_not = if self.never.contains(token) {
                self.unknown != Some(*token) || is_named()
            } else {
                self.bytes.contains(token) && is_named()
            };
            if !may_not {
                continue;
            }
            let first = text.get(start..end).and_then(|piece| piece.chars().next()).map_or(0, char::len_utf8);
            // Of a token of one character, and of one that stands for nothing, no part is left.
            if first == 0 || start + first >= end {
                return Err(Error::invalid(
                    "the text has a character that is a control token of this model; leave it out",
                ));
            }
            if cuts.last().is_none_or(|&last| last < start + first) {
                cuts.push(start + first);
            }
        }
        Ok(cuts)
    }
}

fn refused(cause: tokenizers::Error) -> Error {
    Error::unexpected("the tokenizer refuses its normalizer").caused_by(cause)
}

fn is_byte_level(cut: &PreTokenizerWrapper) -> bool {
    match cut {
        PreTokenizerWrapper::ByteLevel(_) => true,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().any(is_byte_level),
        _ => false,
    }
}

fn prepends(normalizer: &NormalizerWrapper) -> bool {
    match normalizer {
        NormalizerWrapper::Prepend(_) => true,
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().any(prepends),
        _ => false,
    }
}

/// The same without what it sets before a text.
fn without_prepend(normalizer: NormalizerWrapper) -> Option<NormalizerWrapper> {
    match normalizer {
        NormalizerWrapper::Prepend(_) => None,
        NormalizerWrapper::Sequence(all) => {
            let kept = all.as_ref().iter().cloned().filter_map(without_prepend).collect();
            Some(NormalizerWrapper::Sequence(Sequence::new(kept)))
        }
        other => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{
        super::{
            super::gguf::{Gguf, Value},
            Tokenizer as Whole,
        },
        *,
    };

    /// A tokenizer of these pieces and then those of all bytes. Token 0 is for what is unknown, 1 begins and 2 ends.
    fn whole(pieces: &[&str], model: impl Fn(&[String]) -> Json, normalizer: &Json, before: &Json) -> Whole {
        let mut texts: Vec<_> = ["<unk>", "<s>", "</s>"].iter().chain(pieces).map(ToString::to_string).collect();
        texts.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
        let added: Vec<_> = (0..3)
            .map(|id| {
                json!({"id": id, "content": &texts[id], "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": true})
            })
            .collect();
        let whole = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": before, "post_processor": null, "decoder": null,
            "model": model(&texts)});
        let kinds = (0..texts.len()).map(|token| match token {
            0..3 => 3,
            _ if texts[token].starts_with("<0x") => 6,
            _ => 1,
        });
        let metadata = [
            ("tokenizer.ggml.token_type", Value::Integers(kinds.collect())),
            ("tokenizer.ggml.tokens", Value::Texts(texts.iter().map(String::as_str).collect())),
            ("tokenizer.ggml.eos_token_id", Value::Integer(2)),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        let whole: Tokenizer = whole.to_string().parse().unwrap();
        Whole::of_library(&Gguf { metadata, ..Gguf::default() }, &whole).unwrap()
    }

    fn unigram(normalizer: &Json, bytes: bool) -> Whole {
        let model = move |texts: &[String]| {
            let score = |text: &str| if text.starts_with('<') && text.len() > 1 { 0.0 } else { -4.0 };
            let vocab: Vec<_> = texts.iter().map(|text| json!([text, score(text)])).collect();
            json!({"type": "Unigram", "unk_id": 0, "byte_fallback": bytes, "vocab": vocab})
        };
        let before = json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always", "split": true});
        whole(&["\u{2581}", "a", "<", "/", "s", ">", "0", "x", "A"], model, normalizer, &before)
    }

    fn bpe() -> Whole {
        let model = |texts: &[String]| {
            let vocab: serde_json::Map<_, _> =
                texts.iter().zip(0..).map(|(text, at)| (text.clone(), json!(at))).collect();
            let merges = json!([["<", "/"], ["</", "s"], ["</s", ">"], ["\u{2581}", "a"]]);
            json!({"type": "BPE", "vocab": vocab, "unk_token": "<unk>", "byte_fallback": true, "merges": merges})
        };
        let steps = json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]});
        whole(&["\u{2581}", "\u{2581}a", "a", "<", "/", "s", ">", "</", "</s"], model, &steps, &Json::Null)
    }

    fn text(tokenizer: &Whole, tokens: &[u32]) -> String {
        tokens.iter().map(|&token| tokenizer.text(token)).collect()
    }

    #[test]
    fn no_text_becomes_a_control_token_or_the_byte_it_names() {
        let folded = unigram(&json!({"type": "NFKC"}), true);
        for tokenizer in [unigram(&Json::Null, true), unigram(&Json::Null, false), bpe(), folded] {
            for given in ["a</s>a", "</s></s>", "<s></s>a", "<unk>", "</</s>s>", "a \u{ff1c}/\u{ff53}>a"] {
                let tokens = tokenizer.encode_plain(given).unwrap();
                assert!(!tokens.contains(&1) && !tokens.contains(&2), "{given}: {tokens:?}");
            }
        }
        for tokenizer in [unigram(&Json::Null, true), bpe()] {
            for given in ["a</s>a", "</s></s>", "<s>a</</s>s>", "<unk>"] {
                let tokens = tokenizer.encode_plain(given).unwrap();
                assert!(tokens.iter().all(|token| *token != 0), "{given}: {tokens:?}");
            }
            let tokens = tokenizer.encode_plain("a</s>a\u{e9}").unwrap();
            let end: Vec<_> = tokens.iter().rev().take(2).map(|&token| tokenizer.bytes(token).to_vec()).collect();
            assert_eq!(end, [[0xa9], [0xc3]], "bytes of what is no piece are there");
        }
        let tokenizer = unigram(&Json::Null, true);
        assert_eq!(text(&tokenizer, &tokenizer.encode_plain("a<0x0A>a").unwrap()), " a<0x0A>a");
        assert_eq!(text(&tokenizer, &tokenizer.encode_plain("a\na").unwrap()), " a\na");
        assert_eq!(unigram(&Json::Null, false).encode_plain("a\u{e9}").unwrap().last(), Some(&0), "what is unknown");
    }

    #[test]
    fn what_goes_on_gets_no_space_before_it() {
        for tokenizer in [unigram(&Json::Null, true), bpe()] {
            let mut tokens = tokenizer.encode_prompt("<s>a", None).unwrap();
            tokenizer.go_on(&mut tokens, "a a").unwrap();
            assert_eq!(text(&tokenizer, &tokens), "<s> aa a");
        }
    }

    #[test]
    fn many_control_tokens_in_a_text_take_no_time_of_their_own() {
        let given = "</s>".repeat(20_000);
        let tokens = bpe().encode_plain(&given).unwrap();
        assert_eq!(tokens.len(), 20_000 * 4 + 1);
    }

    #[test]
    fn what_is_no_tokenizer_is_an_error() {
        let whole = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
            "post_processor": null, "decoder": {"type": "ByteFallback"}, "truncation": null, "padding": null,
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"#;
        assert_eq!(parse(whole.as_bytes()).unwrap().get_vocab_size(true), 1);
        for end in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        let with = |normalizer: &str| whole.replace("\"normalizer\": null", &format!("\"normalizer\": {normalizer}"));
        for normalizer in [r#"{"type": "Precompiled", "precompiled_charsmap": 7}"#, r#"{"type": "Precompiled"}"#, "7"] {
            assert!(parse(with(normalizer).as_bytes()).is_err(), "{normalizer}");
        }
    }
}
