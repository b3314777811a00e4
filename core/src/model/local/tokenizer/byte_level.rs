//! Byte-level BPE: a text is cut the way the model was trained with, and in each part neighbours are merged, the first
//! merge of the file first.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BinaryHeap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, SplitDelimiterBehavior,
    pre_tokenizers::{
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};
use unicode_normalization::UnicodeNormalization;

use super::{
    super::gguf::{Gguf, corrupt},
    Kind, Pieces,
    slots::{Slots, hash},
};
use crate::error::{Error, ErrorKind, Result};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// No token, and no symbol.
const NONE: u32 = u32::MAX;

pub(super) fn is_llama3(pre: &str) -> bool {
    matches!(pre, "llama-bpe" | "llama3" | "llama-v3")
}

/// The merges of a vocabulary. They are kept by number: maps of texts, as the library has them, take ten times the memory
/// and most of the time that a small model takes to load.
#[derive(Debug)]
pub(super) struct ByteLevel {
    cut: PreTokenizerWrapper,
    /// Whether characters are composed first (NFC).
    composes: bool,
    /// Tokens of single bytes, `NONE` for a byte that has none and is left out.
    bytes: Box<[u32; 256]>,
    /// In the order of the file, which is that in which they are done.
    merges: Vec<Merge>,
    /// Merges by their two tokens.
    by_pair: Slots,
    /// Tokens by their bytes, where a part that is a token is not cut further.
    whole: Option<Slots>,
}

#[derive(Debug)]
struct Merge {
    pair: [u32; 2],
    token: u32,
}

/// A token of a part, among others.
#[derive(Clone, Copy, Debug)]
struct Symbol {
    /// `NONE` once it was merged into the one before.
    token: u32,
    before: u32,
    next: u32,
}

impl ByteLevel {
    /// Text may become every token but control tokens.
    pub(super) fn new(gguf: &Gguf, pre: &str, pieces: &Pieces, kind: impl Fn(usize) -> Kind) -> Result<Self> {
        let cut = pre_tokenizer(pre)?;
        let (by_char, tokens) = (ByteOfChar::new(), gguf.texts("tokenizer.ggml.tokens")?);
        // Only of normal tokens the piece is what the text stands for.
        let written = |token: usize| {
            if kind(token) == Kind::Normal {
                return Cow::Borrowed(pieces.get(token as u32));
            }
            let mut bytes = Vec::new();
            by_char.add_bytes(&tokens[token], &mut bytes);
            Cow::Owned(bytes)
        };
        let mut vocabulary = Slots::new(pieces.len());
        let mut bytes = Box::new([NONE; 256]);
        // The last of equal tokens counts, so it is found first.
        for token in (0..pieces.len()).rev().filter(|&token| kind(token) != Kind::Control) {
            let text = written(token);
            vocabulary.insert(hash(&text), token as u32, |other| *written(other as usize) == *text)?;
            if let [byte] = *text
                && bytes[usize::from(byte)] == NONE
            {
                bytes[usize::from(byte)] = token as u32;
            }
        }
        let token = |bytes: &[u8]| vocabulary.find(hash(bytes), |token| *written(token as usize) == *bytes);
        let mut both = Vec::new();
        let texts = gguf.texts("tokenizer.ggml.merges")?;
        let mut merges = Vec::with_capacity(texts.len());
        for merge in texts.iter() {
            let Some((left, right)) = merge.split_once(' ') else {
                return Err(corrupt("a merge of the tokenizer is no pair; expected two texts"));
            };
            both.clear();
            by_char.add_bytes(left, &mut both);
            let middle = both.len();
            by_char.add_bytes(right, &mut both);
            let (Some(left), Some(right), Some(whole)) = (token(&both[..middle]), token(&both[middle..]), token(&both))
            else {
                return Err(corrupt(
                    "a merge of the tokenizer names texts that are no tokens; download the file again",
                ));
            };
            merges.push(Merge { pair: [left, right], token: whole });
        }
        let mut by_pair = Slots::new(merges.len());
        // The last of equal merges counts.
        for (at, merge) in merges.iter().enumerate().rev() {
            by_pair.insert(hash_pair(merge.pair), at as u32, |other| merges[other as usize].pair == merge.pair)?;
        }
        let whole = is_llama3(pre).then_some(vocabulary);
        // As the models were trained; llama.cpp leaves it out.
        Ok(Self { cut, composes: pre == "qwen2", bytes, merges, by_pair, whole })
    }

    /// Adds the tokens of `text`.
    pub(super) fn encode(&self, pieces: &Pieces, text: &str, tokens: &mut Vec<u32>) -> Result<()> {
        let mut parts = if self.composes {
            PreTokenizedString::from(text.nfc().collect::<String>())
        } else {
            PreTokenizedString::from(text)
        };
        // The library of the patterns panics where a match takes too many steps, as over millions of spaces.
        let cut = catch_unwind(AssertUnwindSafe(|| self.cut.pre_tokenize(&mut parts)));
        cut.map_err(|_| Error::invalid("the text has too much white space in one place to be cut into tokens"))?
            .map_err(|e| Error::unexpected("a text cannot be cut into tokens; please report this").caused_by(e))?;
        let (mut symbols, mut pairs) = (Vec::new(), BinaryHeap::new());
        for (part, ..) in parts.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            let part = part.as_bytes();
            let is = |token| pieces.get(token) == part;
            match self.whole.as_ref().and_then(|vocabulary| vocabulary.find(hash(part), is)) {
                Some(token) => tokens.push(token),
                None => self.merge(part, &mut symbols, &mut pairs, tokens),
            }
        }
        Ok(())
    }

    /// Adds the tokens of a part of a text. `symbols` and `pairs` are empty, and used again.
    fn merge(
        &self,
        part: &[u8],
        symbols: &mut Vec<Symbol>,
        pairs: &mut BinaryHeap<Reverse<(u32, u32)>>,
        tokens: &mut Vec<u32>,
    ) {
        symbols.clear();
        for token in part.iter().map(|&byte| self.bytes[usize::from(byte)]).filter(|&token| token != NONE) {
            let at = symbols.len() as u32;
            symbols.push(Symbol { token, before: at.wrapping_sub(1), next: at + 1 });
        }
        let Some(last) = symbols.last_mut() else { return };
        last.next = NONE;
        // The first merge that can be done, and of equal ones that further to the left.
        for left in 0..symbols.len() as u32 {
            pairs.extend(self.pair(symbols, left).map(|merge| Reverse((merge, left))));
        }
        while let Some(Reverse((merge, left))) = pairs.pop() {
            // Either of the two may have become another since.
            if self.pair(symbols, left) != Some(merge) {
                continue;
            }
            let Symbol { before, next: right, .. } = symbols[left as usize];
            let next = symbols[right as usize].next;
            symbols[right as usize].token = NONE;
            symbols[left as usize] = Symbol { token: self.merges[merge as usize].token, before, next };
            if let Some(next) = symbols.get_mut(next as usize) {
                next.before = left;
            }
            for left in [before, left] {
                pairs.extend(self.pair(symbols, left).map(|merge| Reverse((merge, left))));
            }
        }
        tokens.extend(symbols.iter().map(|symbol| symbol.token).filter(|&token| token != NONE));
    }

    /// The merge of the symbol at `left` and the one after it.
    fn pair(&self, symbols: &[Symbol], left: u32) -> Option<u32> {
        let first = symbols.get(left as usize).filter(|first| first.token != NONE)?;
        let pair = [first.token, symbols.get(first.next as usize)?.token];
        self.by_pair.find(hash_pair(pair), |merge| self.merges[merge as usize].pair == pair)
    }
}

/// Fibonacci hashing of both numbers.
fn hash_pair([left, right]: [u32; 2]) -> usize {
    let hash = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ hash >> 32) as usize
}

/// How text is cut before merges apply. A wrong cut gives wrong tokens without any error, so only known ones are made.
fn pre_tokenizer(pre: &str) -> Result<PreTokenizerWrapper> {
    let split = |pattern: &str| {
        Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Isolated, false)
            .map_err(|e| Error::unexpected("a pattern of the tokenizer is refused").caused_by(e))
    };
    match pre {
        "smollm" => Ok(Sequence::new(vec![Digits::new(true).into(), split(GPT2)?.into()]).into()),
        "gpt-2" | "gpt2" => Ok(split(GPT2)?.into()),
        _ if is_llama3(pre) => Ok(split(LLAMA3)?.into()),
        "qwen2" => Ok(split(QWEN2)?.into()),
        other => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the tokenizer cuts text in the way \"{other}\"; \"smollm\", \"gpt-2\", \"llama-bpe\" and \"qwen2\" are supported"
            ),
        )),
    }
}

/// The byte that each character of a byte-level vocabulary stands for: printable Latin-1 for itself, the others from
/// U+0100 on.
pub(super) struct ByteOfChar([Option<u8>; 0x144]);

impl ByteOfChar {
    pub(super) fn new() -> Self {
        let mut bytes = [None; 0x144];
        let mut next = 0x100;
        for byte in 0..=u8::MAX {
            if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
                bytes[usize::from(byte)] = Some(byte);
            } else {
                bytes[next] = Some(byte);
                next += 1;
            }
        }
        Self(bytes)
    }

    /// Adds the bytes that `text` stands for; a character that stands for none is itself.
    pub(super) fn add_bytes(&self, text: &str, bytes: &mut Vec<u8>) {
        for c in text.chars() {
            match self.0.get(c as usize).copied().flatten() {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}
