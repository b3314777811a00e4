//! Tokenizers as the `tokenizers` library runs them: those of `tokenizer.json`, and of GGUF files those that need no
//! code of ours.

use tokenizers::{
    ModelWrapper, NormalizerWrapper, PreTokenizerWrapper, Tokenizer,
    pre_tokenizers::metaspace::{Metaspace, PrependScheme},
};

use crate::error::{Error, Result};

/// A tokenizer without special tokens, which are found before it sees a text.
#[derive(Debug)]
pub(super) struct Library {
    tokenizer: Tokenizer,
    /// For what does not begin the text, where that makes a difference.
    later: Option<Tokenizer>,
    /// Whether a space is set before a text.
    pub(super) space_first: bool,
}

impl Library {
    pub(super) fn new(tokenizer: Tokenizer) -> Self {
        let metaspace = match tokenizer.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::Metaspace(metaspace)) => Some(metaspace.clone()),
            _ => None,
        };
        let scheme = metaspace.as_ref().map_or(PrependScheme::Never, |metaspace| metaspace.prepend_scheme);
        let space_first = scheme != PrependScheme::Never || tokenizer.get_normalizer().is_some_and(prepends);
        let later = metaspace.filter(|_| scheme == PrependScheme::First).map(|metaspace| {
            let mut later = tokenizer.clone();
            let plain = Metaspace::new(metaspace.get_replacement(), PrependScheme::Never, metaspace.get_split());
            later.with_pre_tokenizer(Some(plain));
            later
        });
        Self { tokenizer, later, space_first }
    }

    /// That of a `tokenizer.json`, without its special tokens.
    pub(super) fn of_json(whole: &Tokenizer) -> Result<Self> {
        let mut tokenizer = Tokenizer::new(whole.get_model().clone());
        tokenizer
            .with_normalizer(whole.get_normalizer().cloned())
            .map_err(|e| Error::unexpected("the tokenizer refuses its normalizer").caused_by(e))?;
        tokenizer.with_pre_tokenizer(whole.get_pre_tokenizer().cloned());
        Ok(Self::new(tokenizer))
    }

    /// Whether it may leave parts of a text out, so that its tokens do not tell how long the text was.
    pub(super) fn may_drop(&self) -> bool {
        matches!(self.tokenizer.get_model(), ModelWrapper::Unigram(_))
    }

    /// Whether the characters of its tokens stand for bytes.
    pub(super) fn is_byte_level(&self) -> bool {
        self.tokenizer.get_pre_tokenizer().is_some_and(is_byte_level)
    }

    /// Adds the tokens of `text`, with which the whole text `begins` or goes on.
    pub(super) fn encode(&self, text: &str, begins: bool, tokens: &mut Vec<u32>) -> Result<()> {
        let tokenizer = self.later.as_ref().filter(|_| !begins).unwrap_or(&self.tokenizer);
        let encoding = tokenizer
            .encode_fast(text, false)
            .map_err(|e| Error::unexpected("a text cannot be cut into tokens; please report this").caused_by(e))?;
        tokens.extend_from_slice(encoding.get_ids());
        Ok(())
    }
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
