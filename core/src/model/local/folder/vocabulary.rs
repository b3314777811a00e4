//! The tokenizer and the chat template of a folder, as the metadata of a GGUF file.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_json::Value as Json;
use tokenizers::{ModelWrapper, Tokenizer};

use super::{
    super::{
        gguf::{Gguf, Value},
        tokenizer::parse,
    },
    config::Config,
    corrupt, if_there,
};
use crate::error::{Error, ErrorKind, Result};

/// Tokens at most, sixty times those of the largest vocabulary.
const MOST_TOKENS: u64 = 1 << 24;

/// `tokenizer_config.json`, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    chat_template: Option<Templates>,
}

/// A token, by its text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Described { content: String },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Many(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

/// `generation_config.json`, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Generation {
    eos_token_id: Option<Json>,
}

/// Reads the tokenizer, and adds what it and the files beside it say to the metadata of `head`.
pub(super) fn read(folder: &Path, config: &Config, head: &mut Gguf) -> Result<Tokenizer> {
    let json = fs::read(folder.join("tokenizer.json")).map_err(|e| {
        let message = "the folder has no tokenizer.json; save the tokenizer with the fast tokenizer of transformers";
        Error::not_found(message).caused_by(e)
    })?;
    let tokenizer =
        parse(&json).map_err(|e| corrupt("tokenizer.json is not what it should be; download it again").caused_by(e))?;
    let bytes = match tokenizer.get_model() {
        ModelWrapper::BPE(bpe) => bpe.byte_fallback,
        ModelWrapper::Unigram(unigram) => unigram.byte_fallback(),
        ModelWrapper::WordPiece(_) | ModelWrapper::WordLevel(_) => {
            return Err(Error::new(ErrorKind::Unsupported, "chat models have tokenizers of the kind BPE or Unigram"));
        }
    };
    let settings: Settings = if_there(folder, "tokenizer_config.json")?.unwrap_or_default();
    let generation: Generation = if_there(folder, "generation_config.json")?.unwrap_or_default();

    let (texts, kinds) = tokens(&tokenizer, config.vocab_size, bytes)?;
    let of_text = |token: Option<&Named>| {
        let (Named::Text(text) | Named::Described { content: text }) = token?;
        tokenizer.token_to_id(text).map(i64::from)
    };
    let begin = of_text(settings.bos_token.as_ref()).or_else(|| ids(config.bos_token_id.as_ref()).first().copied());
    let mut ends = ids(generation.eos_token_id.as_ref().or(config.eos_token_id.as_ref()));
    ends.extend(of_text(settings.eos_token.as_ref()));
    let end = of_text(settings.eos_token.as_ref()).or_else(|| ends.first().copied());
    let unfit = |token: &i64| !(0..texts.len() as i64).contains(token);
    if ends.iter().chain(&begin).any(unfit) {
        return Err(corrupt(
            "the files name begin or end tokens that the tokenizer has not; expected files of one model",
        ));
    }
    // The tokenizer says what it sets before a text by doing so.
    let empty = tokenizer.encode_fast("", true).map_err(|e| corrupt("the tokenizer cannot be used").caused_by(e))?;
    let adds = begin.is_some() && empty.get_ids().first().map(|&token| i64::from(token)) == begin;

    let mut set = |key: &str, value: Value| drop(head.metadata.insert(key.into(), value));
    set("tokenizer.ggml.tokens", Value::Texts(texts.iter().map(String::as_str).collect()));
    set("tokenizer.ggml.token_type", Value::Integers(kinds));
    set("tokenizer.ggml.add_bos_token", Value::Bool(adds));
    set("tokenizer.ggml.eos_token_ids", Value::Integers(ends));
    for (key, token) in [("bos", begin), ("eos", end)] {
        if let Some(token) = token {
            set(&format!("tokenizer.ggml.{key}_token_id"), Value::Integer(token));
        }
    }
    if let Some(template) = template(folder, settings)? {
        set("tokenizer.chat_template", Value::Text(template));
    }
    Ok(tokenizer)
}

/// Texts of the tokens by number, and their kinds as GGUF files number them. A model may have more rows than tokens.
fn tokens(tokenizer: &Tokenizer, rows: u64, bytes: bool) -> Result<(Vec<String>, Vec<i64>)> {
    let (vocabulary, added) = (tokenizer.get_vocab(true), tokenizer.get_added_tokens_decoder());
    let most = vocabulary.values().max().map_or(0, |&last| u64::from(last) + 1);
    if most > rows || rows > MOST_TOKENS {
        let message = format!("the tokenizer has {most} tokens and the model {rows}; expected files of one model");
        return Err(corrupt(message));
    }
    let mut texts: Vec<_> = (0..rows).map(|token| format!("[PAD{token}]")).collect();
    let mut kinds = vec![5; rows as usize];
    for (text, token) in vocabulary {
        let token = token as usize;
        kinds[token] = match added.get(&(token as u32)) {
            Some(added) if added.special => 3,
            Some(_) => 4,
            None if bytes && text.starts_with("<0x") => 6,
            None => 1,
        };
        texts[token] = text;
    }
    Ok((texts, kinds))
}

/// The number, or the numbers, of tokens.
fn ids(value: Option<&Json>) -> Vec<i64> {
    match value {
        Some(Json::Array(all)) => all.iter().filter_map(Json::as_i64).collect(),
        Some(one) => one.as_i64().into_iter().collect(),
        None => Vec::new(),
    }
}

/// The file of its own goes before the settings; of several, the one called "default".
fn template(folder: &Path, settings: Settings) -> Result<Option<String>> {
    match fs::read_to_string(folder.join("chat_template.jinja")) {
        Ok(template) => return Ok(Some(template)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(corrupt("chat_template.jinja cannot be read").caused_by(e)),
    }
    Ok(settings.chat_template.and_then(|templates| match templates {
        Templates::One(template) => Some(template),
        Templates::Many(all) => all.into_iter().find(|one| one.name == "default").map(|one| one.template),
    }))
}
