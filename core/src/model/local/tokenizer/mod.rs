//! The tokenizer that a GGUF file carries in its metadata, and that of a `tokenizer.json`.

mod byte_level;
mod library;
mod sentencepiece;
mod slots;
mod special;
mod unigram;

use std::collections::HashSet;

use self::{
    byte_level::{ByteLevel, ByteOfChar},
    library::Library,
    sentencepiece::{SPACE, SentencePiece},
    special::{Part, Special, SpecialTokens},
};
use super::gguf::{Gguf, Texts, corrupt};
use crate::error::{Error, ErrorKind, Result};

pub(super) use self::library::parse;

/// Texts that end an answer, whatever the file names as its end token; such a token is a control token, whatever the
/// file says.
const END_TEXTS: [&str; 7] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|end_of_text|>", "<end_of_turn>"];

/// Tokens of the largest vocabulary that is cut as that of GPT-2.
const MOST_GPT2: usize = 60_000;

/// Texts to token numbers, and token numbers to bytes.
#[derive(Debug)]
pub(super) struct Tokenizer {
    model: Model,
    pieces: Pieces,
    special: SpecialTokens,
    end_tokens: HashSet<u32>,
    begin: Option<u32>,
    add_begin: bool,
    names: [String; 2],
    longest: usize,
}

/// How a text without special tokens is encoded.
#[derive(Debug)]
enum Model {
    ByteLevel(ByteLevel),
    Library(Box<Library>),
    SentencePiece(SentencePiece),
}

/// The bytes of every token one after the other; token `n` ends at `ends[n]`.
#[derive(Debug, Default)]
struct Pieces {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn push(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.bytes.extend(bytes);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of `token`; none of one there is not.
    fn get(&self, token: u32) -> &[u8] {
        let token = token as usize;
        let start = token.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        self.ends.get(token).map_or(&[], |&end| &self.bytes[start..end])
    }
}

/// What a token is, by the number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Normal,
    /// Unknown and control tokens.
    Control,
    /// Found in text before anything else.
    UserDefined,
    /// Its place is taken, and it stands for nothing.
    Unused,
    Byte(u8),
}

impl Kind {
    fn of(number: i64, text: &str) -> Self {
        match number {
            _ if END_TEXTS.contains(&text) => Self::Control,
            2 | 3 => Self::Control,
            // An HTML tag of Gemma's, which llama.cpp does not look for since it ends the answers of others.
            4 if text == "</s>" => Self::Normal,
            4 if steers(text) => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => {
                let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
                digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).map_or(Self::Normal, Self::Byte)
            }
            _ => Self::Normal,
        }
    }
}

/// Whether a token with that text steers the model, though its file calls it one that is defined by a user: what a user
/// writes would begin turns of the assistant by it. Mostly as `does_token_look_special` of llama.cpp's converter has it.
fn steers(text: &str) -> bool {
    let within = |open, close| text.strip_prefix(open).is_some_and(|rest: &str| rest.ends_with(close));
    within("<|", "|>")
        || within("<\u{ff5c}", "\u{ff5c}>")
        || within("<unused", ">")
        || ["<pad>", "<mask>", "<2mass>", "[@BOS@]", "<start_of_turn>", "<end_of_turn>"].contains(&text)
}

/// The tokens that a file names.
struct Vocabulary<'a> {
    texts: &'a Texts,
    kinds: Option<&'a [i64]>,
    /// Tokens that begin or end a text. They are control tokens, where the file does not call them ordinary ones.
    bounds: HashSet<u64>,
}

impl<'a> Vocabulary<'a> {
    fn of(gguf: &'a Gguf) -> Result<Self> {
        let texts = gguf.texts("tokenizer.ggml.tokens")?;
        let kinds = gguf.integers_if_any("tokenizer.ggml.token_type")?;
        if texts.is_empty() || kinds.is_some_and(|kinds| kinds.len() != texts.len()) {
            return Err(corrupt("the tokens and their types differ in number; expected one type for each token"));
        }
        let mut bounds = HashSet::new();
        for key in ["bos", "eos", "eot", "eom"] {
            bounds.extend(gguf.integer_if_any(&format!("tokenizer.ggml.{key}_token_id"))?);
        }
        Ok(Self { texts, kinds, bounds })
    }

    fn kind(&self, token: usize) -> Kind {
        match self.kinds.map_or(1, |kinds| kinds[token]) {
            4 if self.bounds.contains(&(token as u64)) => Kind::Control,
            number => Kind::of(number, &self.texts[token]),
        }
    }

    /// The token that the file names for `key`, or the one it is `otherwise`.
    fn token(&self, gguf: &Gguf, key: &str, otherwise: Option<u32>) -> Result<Option<u32>> {
        let there = self.texts.len() as u64;
        match gguf.integer_if_any(&format!("tokenizer.ggml.{key}_token_id"))? {
            Some(token) if token >= there => {
                Err(corrupt(format!("the {key} token is {token}; expected one of {there} tokens")))
            }
            Some(token) => Ok(Some(token as u32)),
            None => Ok(otherwise.filter(|&token| u64::from(token) < there)),
        }
    }
}

impl Tokenizer {
    /// The tokenizer of a file.
    ///
    /// # Errors
    /// `Unsupported` for a kind of tokenizer that would be cut wrongly; `Corrupt` when it is not whole.
    pub(super) fn new(gguf: &Gguf) -> Result<Self> {
        // Numbers of the begin, end and unknown token that files leave out.
        let (spaced, usual) = match gguf.text("tokenizer.ggml.model")? {
            "gpt2" => (false, [None; 3]),
            "llama" => (true, [Some(1), Some(2), Some(0)]),
            "t5" => (true, [None, Some(1), Some(2)]),
            model => {
                let message = format!(
                    "the file's tokenizer is of kind \"{model}\"; supported are \"gpt2\" (byte-level BPE), \"llama\" \
                     (SentencePiece BPE) and \"t5\" (Unigram)"
                );
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        let vocabulary = Vocabulary::of(gguf)?;
        let (texts, kind) = (vocabulary.texts, |token| vocabulary.kind(token));
        let (pieces, special) = (pieces(texts, kind, spaced, false), special(gguf, texts, kind)?);
        let unknown = vocabulary.token(gguf, "unknown", usual[2])?;
        let pre = match gguf.text_if_any("tokenizer.ggml.pre")? {
            Some(pre) => pre,
            None if spaced => "",
            None => unnamed_cut(texts)?,
        };
        let model = match usual {
            [None, None, None] => Model::ByteLevel(ByteLevel::new(gguf, pre, &pieces, kind)?),
            [None, ..] => {
                let unknown = unknown.ok_or_else(|| corrupt("the tokenizer has no token for what is unknown"))?;
                let tokenizer = unigram::load(gguf, texts, kind, unknown)?;
                Model::Library(Box::new(Library::new(tokenizer)?))
            }
            _ => Model::SentencePiece(load_sentencepiece(gguf, &pieces, kind, unknown)?),
        };
        let (begin, end) = (vocabulary.token(gguf, "bos", usual[0])?, vocabulary.token(gguf, "eos", usual[1])?);
        let ends = [end, vocabulary.token(gguf, "eot", None)?, vocabulary.token(gguf, "eom", None)?];
        let add_begin = gguf.bool_if_any("tokenizer.ggml.add_bos_token")?;
        let add_begin = add_begin.unwrap_or(usual[0].is_some() || byte_level::is_llama3(pre));
        let ends = ends.into_iter().flatten().collect();
        Self::of_parts(texts, (model, pieces, special), (begin, end), ends, add_begin)
    }

    /// The tokenizer of a `tokenizer.json`, with what `head` says of it.
    ///
    /// # Errors
    /// As for [`Tokenizer::new`].
    pub(super) fn of_library(head: &Gguf, whole: &tokenizers::Tokenizer) -> Result<Self> {
        let vocabulary = Vocabulary::of(head)?;
        let (texts, kind) = (vocabulary.texts, |token| vocabulary.kind(token));
        let of = |wanted: fn(Kind) -> bool| {
            (0..texts.len()).filter(|&token| wanted(kind(token))).map(|token| token as u32).collect()
        };
        let never = of(|kind| matches!(kind, Kind::Control | Kind::Unused));
        let library = Library::of_json(whole, never, of(|kind| matches!(kind, Kind::Byte(_))))?;
        let spaced = !library.is_byte_level();
        let pieces = pieces(texts, kind, spaced, spaced);
        let added = whole.get_added_tokens_decoder();
        let special = texts.iter().enumerate().filter_map(|(token, text)| {
            let control = match kind(token) {
                Kind::Control => true,
                Kind::UserDefined => false,
                _ => return None,
            };
            let strips = added.get(&(token as u32)).is_some_and(|added| added.rstrip);
            Some(Special { text: text.to_owned(), token: token as u32, control, strips })
        });
        let special = SpecialTokens::new(special.collect());
        let (begin, end) = (vocabulary.token(head, "bos", None)?, vocabulary.token(head, "eos", None)?);
        // Checked where they were read.
        let ends = head.integers_if_any("tokenizer.ggml.eos_token_ids")?.unwrap_or_default();
        let ends = ends.iter().map(|&token| token as u32).chain(end).collect();
        let add_begin = head.bool_if_any("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        let model = Model::Library(Box::new(library));
        Self::of_parts(texts, (model, pieces, special), (begin, end), ends, add_begin)
    }

    fn of_parts(
        texts: &Texts,
        (model, pieces, special): (Model, Pieces, SpecialTokens),
        (begin, end): (Option<u32>, Option<u32>),
        mut end_tokens: HashSet<u32>,
        add_begin: bool,
    ) -> Result<Self> {
        end_tokens.extend(special.iter().filter(|s| END_TEXTS.contains(&s.text.as_str())).map(|s| s.token));
        if end_tokens.is_empty() {
            return Err(corrupt("the file names no end token; expected tokenizer.ggml.eos_token_id"));
        }
        let name = |token: Option<u32>| token.map(|token| texts[token as usize].to_owned()).unwrap_or_default();
        let longest = match &model {
            Model::Library(library) if library.may_drop() => usize::MAX,
            _ => texts.iter().map(str::len).max().unwrap_or(1).max(1),
        };
        Ok(Self { model, pieces, special, end_tokens, begin, add_begin, names: [name(begin), name(end)], longest })
    }

    /// The tokens of a text in which control tokens mean nothing: what a user wrote.
    pub(super) fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.encode_into(&mut tokens, text, false, None)?;
        Ok(tokens)
    }

    /// The tokens of what a chat template wrote. `guard` marks where control tokens must not be seen, see
    /// [`Tokenizer::guarded`]; it is taken out. An end token is never added: the answer comes next.
    pub(super) fn encode_prompt(&self, text: &str, guard: Option<char>) -> Result<Vec<u32>> {
        let mut tokens = Vec::new();
        self.encode_into(&mut tokens, text, true, guard)?;
        match self.begin {
            Some(begin) if self.add_begin && tokens.first() != Some(&begin) => tokens.insert(0, begin),
            _ => {}
        }
        Ok(tokens)
    }

    /// Adds the tokens of `text` to such of a text that goes on with it; control tokens in it mean nothing.
    pub(super) fn go_on(&self, tokens: &mut Vec<u32>, text: &str) -> Result<()> {
        self.encode_into(tokens, text, false, None)
    }

    /// `content` with `guard` inside every text that is, or could become at its end, that of a control token.
    pub(super) fn guarded(&self, content: &str, guard: char) -> String {
        self.special.guarded(content, guard)
    }

    /// The bytes of `token`; none for control tokens. They may end inside a character.
    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// The bytes that `token` adds to a text after `before`: less the space that is only there because the text begins.
    pub(super) fn bytes_after(&self, before: u32, token: u32) -> &[u8] {
        let bytes = self.bytes(token);
        let space_first = match &self.model {
            Model::SentencePiece(model) => model.space_first,
            Model::ByteLevel(_) => false,
            Model::Library(library) => library.space_first(),
        };
        if space_first && self.special.get(before).is_some() {
            return bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        bytes
    }

    /// A token after `before` as a text for a person: less the space that is only there because the text begins.
    pub(super) fn text_after(&self, before: u32, token: u32) -> String {
        match self.special.get(token) {
            Some(special) if special.control => special.text.clone(),
            _ => String::from_utf8_lossy(self.bytes_after(before, token)).into_owned(),
        }
    }

    /// The same of a token in the middle of a text.
    #[cfg(test)]
    pub(super) fn text(&self, token: u32) -> String {
        self.text_after(u32::MAX, token)
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the answer is over after `token`.
    pub(super) fn is_end(&self, token: u32) -> bool {
        self.end_tokens.contains(&token)
    }

    /// Control tokens and their texts.
    pub(super) fn controls(&self) -> impl Iterator<Item = (u32, &str)> {
        self.special.iter().filter(|special| special.control).map(|special| (special.token, special.text.as_str()))
    }

    /// The tokens after which an answer is over; at least one.
    pub(super) fn end_tokens(&self) -> impl Iterator<Item = u32> {
        self.end_tokens.iter().copied()
    }

    /// Texts of the begin and the end token, for templates.
    pub(super) fn names(&self) -> &[String; 2] {
        &self.names
    }

    /// Fewest tokens that a text of `bytes` bytes can have.
    pub(super) fn fewest_tokens(&self, bytes: usize) -> usize {
        bytes / self.longest
    }

    fn encode_into(&self, tokens: &mut Vec<u32>, text: &str, control: bool, guard: Option<char>) -> Result<()> {
        let special = |token: &u32| self.special.get(*token).is_some();
        let (mut after_special, mut begins) = (tokens.last().is_none_or(special), tokens.is_empty());
        for part in self.special.cut(text, control) {
            let text = match part {
                Part::Token(token) => {
                    tokens.push(token);
                    (after_special, begins) = (true, false);
                    continue;
                }
                Part::Text(text) => text,
            };
            let without = guard.filter(|&guard| text.contains(guard)).map(|guard| text.replace(guard, ""));
            let text = without.as_deref().unwrap_or(text);
            match &self.model {
                Model::ByteLevel(model) => model.encode(&self.pieces, text, tokens)?,
                Model::Library(library) => library.encode(text, begins, after_special, tokens)?,
                Model::SentencePiece(model) => model.encode(&self.pieces, text, after_special, tokens),
            }
            (after_special, begins) = (false, false);
        }
        Ok(())
    }
}

/// The tokens that a `tokenizer.json` gives `text`.
#[cfg(fuzzing)]
pub(super) fn encode_with(whole: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    Library::of_json(whole, HashSet::new(), HashSet::new())?.encode(text, true, &mut tokens)?;
    Ok(tokens)
}

/// The cut of a byte-level vocabulary whose file names none, as files from before May 2024 do not: what is known of the
/// models of that time.
fn unnamed_cut(texts: &Texts) -> Result<&'static str> {
    let is = |token: usize, text: &str| token < texts.len() && &texts[token] == text;
    if is(128_000, "<|begin_of_text|>") {
        return Ok("llama-bpe");
    }
    if is(151_643, "<|endoftext|>") && is(151_644, "<|im_start|>") {
        return Ok("qwen2");
    }
    if texts.len() <= MOST_GPT2 {
        return Ok("gpt-2");
    }
    let message = "the file does not say how its tokenizer cuts text (tokenizer.ggml.pre), as files from before May 2024; \
                   take one that was converted since";
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// What each token adds to a text; spaces of those that users defined are written as in pieces where they are `spaced`.
fn pieces(texts: &Texts, kind: impl Fn(usize) -> Kind, sentencepiece: bool, spaced: bool) -> Pieces {
    let by_char = ByteOfChar::new();
    let mut pieces = Pieces { bytes: Vec::new(), ends: Vec::with_capacity(texts.len()) };
    for (number, text) in texts.iter().enumerate() {
        match kind(number) {
            Kind::Control | Kind::Unused => pieces.push([]),
            Kind::UserDefined if spaced => pieces.push(text.replace(SPACE, " ").into_bytes()),
            Kind::UserDefined => pieces.push(text.bytes()),
            Kind::Byte(byte) => pieces.push([byte]),
            Kind::Normal if sentencepiece => pieces.push(text.replace(SPACE, " ").into_bytes()),
            Kind::Normal => {
                by_char.add_bytes(text, &mut pieces.bytes);
                pieces.push([]);
            }
        }
    }
    pieces
}

fn special(gguf: &Gguf, texts: &Texts, kind: impl Fn(usize) -> Kind) -> Result<SpecialTokens> {
    let name = gguf.text_if_any("general.name")?.unwrap_or_default().to_lowercase();
    // Files do not tell which tokens swallow the white space after them. Of the models here, only those of Phi-3 do.
    let phi3 = name.contains("phi-3") || name.contains("phi3");
    let special = texts.iter().enumerate().filter_map(|(number, text)| {
        let control = match kind(number) {
            Kind::Control => true,
            Kind::UserDefined => false,
            _ => return None,
        };
        let strips = phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&text);
        Some(Special { text: text.to_owned(), token: number as u32, control, strips })
    });
    Ok(SpecialTokens::new(special.collect()))
}

fn load_sentencepiece(
    gguf: &Gguf,
    pieces: &Pieces,
    kind: impl Fn(usize) -> Kind,
    unknown: Option<u32>,
) -> Result<SentencePiece> {
    let scores = gguf.floats("tokenizer.ggml.scores")?;
    if scores.len() != pieces.len() {
        return Err(corrupt("the tokens and their scores differ in number; expected one score for each token"));
    }
    let mut bytes = [unknown; 256];
    for token in 0..pieces.len() {
        if let Kind::Byte(byte) = kind(token) {
            bytes[usize::from(byte)] = Some(token as u32);
        }
    }
    if bytes.contains(&None) {
        return Err(corrupt("the tokenizer has tokens for some bytes only, and none for what is unknown"));
    }
    let space_first = gguf.bool_if_any("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let ordinary = |token| match kind(token) {
        Kind::Normal => !pieces.get(token as u32).is_empty(),
        // Pieces have no spaces in the file, so one with a space is only found before text is encoded.
        Kind::UserDefined => !pieces.get(token as u32).contains(&b' '),
        _ => false,
    };
    SentencePiece::new(pieces, scores, ordinary, Box::new(bytes.map(Option::unwrap_or_default)), space_first)
}

#[cfg(test)]
mod tests;
