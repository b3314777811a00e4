//! Byte-level BPE, cut the way the model was trained with.

use std::collections::HashMap;

use tokenizers::{
    PreTokenizerWrapper, SplitDelimiterBehavior, Tokenizer,
    models::bpe::{BPE, Vocab},
    normalizers::unicode::NFC,
    pre_tokenizers::{
        byte_level::ByteLevel,
        digits::Digits,
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
};

use super::super::gguf::{Gguf, corrupt};
use crate::error::{Error, ErrorKind, Result};

const LLAMA3: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

pub(super) fn is_llama3(pre: &str) -> bool {
    matches!(pre, "llama-bpe" | "llama3" | "llama-v3")
}

/// The tokenizer of a file with merges; `ordinary` says which tokens text may become.
pub(super) fn load(gguf: &Gguf, pre: &str, texts: &[String], ordinary: impl Fn(usize) -> bool) -> Result<Tokenizer> {
    let cut = pre_tokenizer(pre)?;
    let vocabulary: Vocab = texts
        .iter()
        .enumerate()
        .filter(|&(token, _)| ordinary(token))
        .map(|(token, text)| (text.clone(), token as u32))
        .collect();
    let merges = gguf.texts("tokenizer.ggml.merges")?.iter().map(|merge| {
        let pair =
            merge.split_once(' ').ok_or_else(|| corrupt("a merge of the tokenizer is no pair; expected two texts"))?;
        Ok((pair.0.to_owned(), pair.1.to_owned()))
    });
    let bpe = BPE::builder()
        .vocab_and_merges(vocabulary, merges.collect::<Result<Vec<_>>>()?)
        .ignore_merges(is_llama3(pre))
        .build()
        .map_err(|e| corrupt("the merges of the tokenizer do not fit its tokens").caused_by(e))?;
    let mut tokenizer = Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(cut));
    if pre == "qwen2" {
        // As the model was trained; llama.cpp leaves it out.
        tokenizer
            .with_normalizer(Some(NFC))
            .map_err(|e| Error::unexpected("the tokenizer refuses its normalizer").caused_by(e))?;
    }
    Ok(tokenizer)
}

/// How text is cut before merges apply. A wrong cut gives wrong tokens without any error, so only known ones are made.
fn pre_tokenizer(pre: &str) -> Result<PreTokenizerWrapper> {
    let split = |pattern: &str| {
        let split = Split::new(SplitPattern::Regex(pattern.into()), SplitDelimiterBehavior::Isolated, false)
            .map_err(|e| Error::unexpected("a pattern of the tokenizer is refused").caused_by(e))?;
        Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into())
    };
    match pre {
        "smollm" => Ok(Sequence::new(vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()]).into()),
        "gpt-2" | "gpt2" => Ok(ByteLevel::new(false, true, true).into()),
        _ if is_llama3(pre) => split(LLAMA3),
        "qwen2" => split(QWEN2),
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
pub(super) fn bytes_by_char() -> HashMap<char, u8> {
    let mut next = 0x100;
    let chars = (0..=u8::MAX).map(|byte| {
        let itself = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let c = if itself { u32::from(byte) } else { next };
        next += u32::from(!itself);
        (char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), byte)
    });
    chars.collect()
}
