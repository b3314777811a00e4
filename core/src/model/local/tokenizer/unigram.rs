//! Unigram vocabularies of GGUF files: of all ways to cut a text, the one whose pieces have the highest scores together.
//! The `tokenizers` library finds it; what is done before is that of `llm_tokenizer_ugm` in llama.cpp.

use tokenizers::{
    NormalizerWrapper, Tokenizer,
    models::unigram::Unigram,
    normalizers::{Precompiled, Replace, Sequence, Strip, replace::ReplacePattern},
    pre_tokenizers::metaspace::{Metaspace, PrependScheme},
};

use super::{
    super::gguf::{Gguf, Texts, corrupt},
    Kind,
    sentencepiece::SPACE,
};
use crate::error::{Error, Result};

/// The tokenizer of a file; `kind` says which tokens text may become, and `unknown` is that for all else.
pub(super) fn load(gguf: &Gguf, texts: &Texts, kind: impl Fn(usize) -> Kind, unknown: u32) -> Result<Tokenizer> {
    let scores = gguf.floats("tokenizer.ggml.scores")?;
    if scores.len() != texts.len() || scores.iter().any(|score| !score.is_finite()) {
        return Err(corrupt("the tokens and their scores do not fit together; expected one score for each token"));
    }
    let piece = |(token, text): (usize, &str)| {
        // No text has a space any more when pieces are looked for, so one with a space is never found.
        let text = if kind(token) == Kind::Normal { text.to_owned() } else { format!(" {token}") };
        (text, f64::from(scores[token]))
    };
    let pieces = texts.iter().enumerate().map(piece).collect();
    let unigram = Unigram::from(pieces, Some(unknown as usize), false)
        .map_err(|e| corrupt("the pieces of the tokenizer cannot be used").caused_by(e))?;
    let mut tokenizer = Tokenizer::new(unigram);
    let mut steps: Vec<NormalizerWrapper> = Vec::new();
    if let Some(map) = charsmap(gguf)? {
        steps.push(map.into());
    }
    if gguf.bool_if_any("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false) {
        let several = ReplacePattern::Regex(" {2,}".into());
        let one = Replace::new(several, " ").map_err(|e| Error::unexpected("a pattern is refused").caused_by(e))?;
        steps.extend([one.into(), Strip::new(true, true).into()]);
    }
    tokenizer
        .with_normalizer(Some(Sequence::new(steps)))
        .map_err(|e| Error::unexpected("the tokenizer refuses its normalizer").caused_by(e))?;
    let first = gguf.bool_if_any("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let scheme = if first { PrependScheme::Always } else { PrependScheme::Never };
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(SPACE, scheme, true)));
    Ok(tokenizer)
}

/// What characters are replaced by, in the form of SentencePiece.
fn charsmap(gguf: &Gguf) -> Result<Option<Precompiled>> {
    let Some(numbers) = gguf.integers_if_any("tokenizer.ggml.precompiled_charsmap")? else { return Ok(None) };
    if numbers.is_empty() {
        return Ok(None);
    }
    // The bytes may be told as signed ones.
    let bytes: Vec<_> = numbers.iter().map(|&number| number as u8).collect();
    if !is_sound(&bytes) {
        return Err(corrupt("the tokenizer's precompiled_charsmap is damaged; download the file again"));
    }
    let map = Precompiled::from(&bytes);
    map.map(Some).map_err(|e| corrupt("the tokenizer's precompiled_charsmap is damaged").caused_by(e))
}

/// Whether no text leads outside of the map, which the library takes for granted: the length of a trie, the trie as a
/// double array of 32-bit units, and the texts that its leaves point into, each ended by a zero.
fn is_sound(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    let Some((trie, texts)) = rest.split_at_checked(length) else { return false };
    let Ok(texts) = std::str::from_utf8(texts) else { return false };
    let units: Vec<_> = trie.as_chunks::<4>().0.iter().map(|&unit| u32::from_le_bytes(unit)).collect();
    // The 21 bits of an offset are shifted by eight where the tenth bit is set.
    let below = |at: usize, unit: u32| at ^ ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
    let Some(&root) = units.first() else { return false };
    let mut open = vec![below(0, root)];
    let mut seen = vec![false; units.len()];
    while let Some(node) = open.pop() {
        for byte in 1..=usize::from(u8::MAX) {
            let at = node ^ byte;
            let Some(&unit) = units.get(at) else { return false };
            if unit & (1 << 31 | 0xff) != byte as u32 || std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let next = below(at, unit);
            if unit >> 8 & 1 == 1 {
                let leaf = units.get(next).map(|leaf| (leaf & (u32::MAX >> 1)) as usize);
                if leaf.is_none_or(|start| !texts.is_char_boundary(start)) {
                    return false;
                }
            }
            open.push(next);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::{super::gguf::Value, Tokenizer as Whole},
        *,
    };

    const PIECES: [(&str, f64, i64); 14] = [
        ("<pad>", 0.0, 3),
        ("</s>", 0.0, 3),
        ("<unk>", 0.0, 2),
        ("\u{2581}", -3.0, 1),
        ("a", -4.0, 1),
        ("b", -4.0, 1),
        ("c", -4.0, 1),
        ("ab", -3.0, 1),
        ("bc", -2.0, 1),
        ("abc", -5.5, 1),
        ("\u{2581}a", -3.5, 1),
        ("<", -6.0, 1),
        ("</s", -5.0, 1),
        ("[x]", 0.0, 4),
    ];

    fn file(extra: &[(&str, Value)]) -> Gguf {
        let metadata = [
            ("tokenizer.ggml.model", Value::Text("t5".into())),
            ("tokenizer.ggml.tokens", Value::Texts(PIECES.iter().map(|(text, ..)| *text).collect())),
            ("tokenizer.ggml.scores", Value::Floats(PIECES.map(|(_, score, _)| score).to_vec())),
            ("tokenizer.ggml.token_type", Value::Integers(PIECES.map(|(.., kind)| kind).to_vec())),
        ];
        let all = metadata.into_iter().chain(extra.iter().cloned());
        let metadata: BTreeMap<_, _> = all.map(|(key, value)| (key.to_owned(), value)).collect();
        Gguf { metadata, ..Gguf::default() }
    }

    fn texts(tokenizer: &Whole, text: &str) -> Vec<&'static str> {
        let tokens = tokenizer.encode_plain(text).unwrap();
        tokens.into_iter().map(|token| PIECES[token as usize].0).collect()
    }

    #[test]
    fn a_text_becomes_the_pieces_with_the_highest_sum() {
        let tokenizer = Whole::new(&file(&[])).unwrap();
        for (text, pieces) in [
            ("", vec![]),
            ("a", vec!["\u{2581}a"]),
            // -3.5 and -2 are more than -3 and -5.5, which merging by score would have come to.
            ("abc", vec!["\u{2581}a", "bc"]),
            ("abab", vec!["\u{2581}", "ab", "ab"]),
            ("b abc", vec!["\u{2581}", "b", "\u{2581}a", "bc"]),
            // What is no piece is unknown, in one token.
            ("bééb", vec!["\u{2581}", "b", "<unk>", "b"]),
            // A text never becomes a control token; one that is defined is found first.
            ("</s>a", vec!["\u{2581}", "</s", "<unk>", "a"]),
            ("a[x]a", vec!["\u{2581}a", "[x]", "\u{2581}a"]),
        ] {
            assert_eq!(texts(&tokenizer, text), pieces, "{text:?}");
        }
        assert_eq!(
            tokenizer.encode_prompt("a</s>", None).unwrap(),
            [10, 1],
            "no begin token, and the end token is seen"
        );
        assert!(tokenizer.is_end(1) && tokenizer.fewest_tokens(1000) == 0);
        let mut tokens = vec![10];
        tokenizer.go_on(&mut tokens, "bc a").unwrap();
        assert_eq!(tokens, [10, 8, 10], "no space is set before what goes on");
        assert_eq!((tokenizer.bytes_after(1, 10), tokenizer.bytes_after(4, 10)), (&b"a"[..], &b" a"[..]));
        let bare = Whole::new(&file(&[("tokenizer.ggml.add_space_prefix", Value::Bool(false))])).unwrap();
        assert_eq!(texts(&bare, "abc a"), ["abc", "\u{2581}a"]);
        let trims = Whole::new(&file(&[("tokenizer.ggml.remove_extra_whitespaces", Value::Bool(true))])).unwrap();
        assert_eq!(texts(&trims, "  b   a "), ["\u{2581}", "b", "\u{2581}a"]);
    }

    /// A map that makes "B" to "bc", as SentencePiece writes it: a root, a node at its offset, and a leaf.
    fn map() -> Vec<u8> {
        let mut units = vec![0_u32; 512];
        // The root leads to 256 ^ 'B', and that, its leaf, to 0 ^ that place.
        units[0] = 256 << 10;
        let node = 256 ^ usize::from(b'B');
        units[node] = u32::from(b'B') | 1 << 8 | 1 << 10;
        units[node ^ 1] = 1 << 31;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, b"bc\0"].concat()
    }

    fn with_map(map: &[u8]) -> Result<Whole> {
        let bytes = map.iter().map(|&byte| i64::from(byte as i8)).collect();
        Whole::new(&file(&[("tokenizer.ggml.precompiled_charsmap", Value::Integers(bytes))]))
    }

    #[test]
    fn characters_are_replaced_as_the_file_says() {
        let tokenizer = with_map(&map()).unwrap();
        assert_eq!(texts(&tokenizer, "aB"), ["\u{2581}a", "bc"]);
        for damaged in [&map()[..40], &[255; 4], &[map(), vec![255]].concat()] {
            assert!(with_map(damaged).is_err());
        }
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for (key, value) in [
            ("scores", Value::Floats(vec![0.0])),
            ("scores", Value::Floats(vec![f64::NAN; PIECES.len()])),
            ("unknown_token_id", Value::Integer(99)),
        ] {
            let error = Whole::new(&file(&[(&format!("tokenizer.ggml.{key}"), value)])).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Corrupt, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_changed_map_never_panics(at in 0_usize..2055, value: u8, text in "[aAbBcC zé]{0,12}") {
            let mut map = map();
            map[at] = value;
            if let Ok(tokenizer) = with_map(&map) {
                tokenizer.encode_plain(&text).unwrap();
            }
        }
    }
}
