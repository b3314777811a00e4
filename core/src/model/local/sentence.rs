//! What the files of sentence-transformers say of an encoder: how its output becomes one vector, how much of a text it
//! reads, and what stands before a query and before a passage.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    bert::Pooling,
    checkpoint::{corrupt, missing},
};
use crate::error::{Error, ErrorKind, Result};

/// How an encoder is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sentence {
    /// The folder of the encoder itself.
    pub(super) encoder: PathBuf,
    pub(super) pooling: Pooling,
    /// Tokens of a text that are read; none when the files do not say.
    pub(super) max_tokens: Option<usize>,
    pub(super) lowercase: bool,
    pub(super) prompts: Prompts,
}

/// What stands before a text, the blank between them included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompts {
    pub(super) query: String,
    pub(super) passage: String,
}

#[derive(Deserialize)]
struct Module {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Of `1_Pooling/config.json`. Older files have a switch for each mode, newer ones its name.
#[derive(Deserialize)]
struct PoolingFile {
    pooling_mode: Option<Modes>,
    #[serde(default = "yes")]
    include_prompt: bool,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Modes {
    One(String),
    Several(Vec<String>),
}

fn yes() -> bool {
    true
}

/// Of `sentence_bert_config.json`.
#[derive(Deserialize)]
struct EncoderFile {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

/// Of `tokenizer_config.json`.
#[derive(Deserialize)]
struct TokenizerFile {
    /// Beyond all whole numbers where there is no limit.
    model_max_length: Option<f64>,
}

#[derive(Default, Deserialize)]
struct PromptsFile {
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// Reads the files in `folder`. Without `modules.json` it is an encoder with mean pooling, as all-MiniLM-L6-v2 is.
///
/// # Errors
/// `Corrupt` for a file that cannot be read, `Unsupported` for modules or poolings that are not supported.
pub(super) fn read(folder: &Path, id: &str) -> Result<Sentence> {
    let mut sentence = Sentence { encoder: folder.to_owned(), ..Sentence::default() };
    let mut include_prompt = true;
    for Module { path, kind } in read_file::<Vec<Module>>(&folder.join("modules.json"))?.unwrap_or_default() {
        if Path::new(&path).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(corrupt("modules.json names a folder outside the model; expected one inside"));
        }
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" => sentence.encoder = folder.join(path),
            "Pooling" => {
                let file = read_file::<PoolingFile>(&folder.join(path).join("config.json"))?;
                let file = file.ok_or_else(|| missing("1_Pooling/config.json"))?;
                include_prompt = file.include_prompt;
                sentence.pooling = pooling(&file)?;
            }
            // Vectors have length 1 in any case.
            "Normalize" => {}
            other => {
                let message =
                    format!("the module \"{other}\" is not supported; Transformer, Pooling and Normalize are");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
    }
    sentence.max_tokens = max_tokens(&sentence.encoder)?;
    if let Some(file) = read_file::<EncoderFile>(&sentence.encoder.join("sentence_bert_config.json"))? {
        sentence.lowercase = file.do_lower_case;
        // Fewer than begin, end and a token between them is no limit.
        let limit = file.max_seq_length.filter(|limit| *limit >= 3).or(sentence.max_tokens).unwrap_or(usize::MAX);
        sentence.max_tokens = Some(limit.min(sentence.max_tokens.unwrap_or(limit)));
    }
    let file = read_file::<PromptsFile>(&folder.join("config_sentence_transformers.json"))?.unwrap_or_default();
    sentence.prompts = prompts(&file).unwrap_or_else(|| known_prompts(id));
    if !include_prompt && sentence.prompts != Prompts::default() {
        let message = "a pooling that leaves the prompt out is not supported; take a model that pools over all tokens";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    Ok(sentence)
}

/// Tokens of a text that are read, as the tokenizer's file in `folder` says.
pub(super) fn max_tokens(folder: &Path) -> Result<Option<usize>> {
    let file = read_file::<TokenizerFile>(&folder.join("tokenizer_config.json"))?;
    Ok(file.and_then(|file| file.model_max_length).filter(|limit| *limit >= 3.0).map(|limit| limit as usize))
}

/// A file of JSON; none when there is no such file.
fn read_file<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let unusable = || {
        corrupt("a file of the model cannot be read; expected JSON as sentence-transformers writes it")
            .with("file", path.display())
    };
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| unusable().caused_by(e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable().caused_by(error)),
    }
}

fn pooling(file: &PoolingFile) -> Result<Pooling> {
    let switched = file.rest.iter().filter(|(_, on)| on.as_bool() == Some(true));
    let modes: Vec<&str> = match &file.pooling_mode {
        Some(Modes::One(mode)) => vec![mode],
        Some(Modes::Several(modes)) => modes.iter().map(String::as_str).collect(),
        None => switched.filter_map(|(name, _)| name.strip_prefix("pooling_mode_")).collect(),
    };
    match modes[..] {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        ["lasttoken"] => Ok(Pooling::Last),
        _ => {
            let message = format!("the pooling \"{}\" is not supported; mean, cls and lasttoken are", modes.join("+"));
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

/// The prompts that sentence-transformers' `encode_query` and `encode_document` would choose; none when there are none.
fn prompts(file: &PromptsFile) -> Option<Prompts> {
    let any = file.default_prompt_name.as_ref().and_then(|name| file.prompts.get(name));
    let first = |names: &[&str]| names.iter().find_map(|name| file.prompts.get(*name)).or(any).cloned();
    let (query, passage) = (first(&["query"]), first(&["document", "passage", "corpus"]));
    let prompts = Prompts { query: query.unwrap_or_default(), passage: passage.unwrap_or_default() };
    (prompts != Prompts::default()).then_some(prompts)
}

/// The prompts of models that were trained with them, but whose files do not have them: by the name of the model.
fn known_prompts(id: &str) -> Prompts {
    let name = id.trim_end_matches('/').rsplit(['/', '\\']).next().unwrap_or_default().to_lowercase();
    let name = name.rsplit("--").next().unwrap_or_default();
    let (query, passage) = if name.contains("instruct") {
        ("", "")
    } else if name.starts_with("e5-") || name.starts_with("multilingual-e5-") {
        ("query: ", "passage: ")
    } else if name.starts_with("bge-") && name.contains("-en") {
        ("Represent this sentence for searching relevant passages: ", "")
    } else {
        ("", "")
    };
    Prompts { query: query.to_owned(), passage: passage.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn of(files: &[(&str, serde_json::Value)]) -> Result<Sentence> {
        let folder = tempfile::tempdir().unwrap();
        for (name, json) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, json.to_string()).unwrap();
        }
        let mut sentence = read(folder.path(), "some/model")?;
        sentence.encoder = sentence.encoder.strip_prefix(folder.path()).unwrap().to_owned();
        Ok(sentence)
    }

    fn modules(kinds: &[(&str, &str)]) -> serde_json::Value {
        let module = |(at, (path, kind)): (usize, &(&str, &str))| json!({"idx": at, "name": at.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")});
        kinds.iter().enumerate().map(module).collect()
    }

    #[test]
    fn poolings_of_older_and_newer_files() {
        let file = |json: serde_json::Value| pooling(&serde_json::from_value(json).unwrap());
        for (json, wanted) in [
            (json!({"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true}), Pooling::Mean),
            (json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}), Pooling::First),
            (json!({"pooling_mode_lasttoken": true, "include_prompt": true}), Pooling::Last),
            (json!({"embedding_dimension": 8, "pooling_mode": "cls", "include_prompt": true}), Pooling::First),
            (json!({"pooling_mode": ["mean"]}), Pooling::Mean),
        ] {
            assert_eq!(file(json.clone()).unwrap(), wanted, "{json}");
        }
        for json in [json!({}), json!({"pooling_mode": "max"}), json!({"pooling_mode": ["cls", "mean"]})] {
            let error = file(json).unwrap_err();
            assert!(error.kind() == ErrorKind::Unsupported && error.message().contains("mean, cls and lasttoken"));
        }
    }

    #[test]
    fn a_folder_says_how_its_encoder_is_used() {
        assert_eq!(of(&[]).unwrap(), Sentence::default());
        let modules =
            modules(&[("0_Transformer", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]);
        let found = of(&[
            ("modules.json", modules),
            ("1_Pooling/config.json", json!({"pooling_mode_cls_token": true})),
            ("0_Transformer/sentence_bert_config.json", json!({"max_seq_length": 512, "do_lower_case": true})),
            ("config_sentence_transformers.json", json!({"prompts": {"query": "q: ", "document": "d: "}})),
        ]);
        let prompts = Prompts { query: "q: ".into(), passage: "d: ".into() };
        let wanted = Sentence {
            encoder: "0_Transformer".into(),
            pooling: Pooling::First,
            max_tokens: Some(512),
            lowercase: true,
            prompts,
        };
        assert_eq!(found.unwrap(), wanted);
    }

    #[test]
    fn the_smallest_limit_counts() {
        let limit = |encoder: serde_json::Value, tokenizer: serde_json::Value| {
            of(&[("sentence_bert_config.json", encoder), ("tokenizer_config.json", tokenizer)]).unwrap().max_tokens
        };
        assert_eq!(limit(json!({"max_seq_length": 128}), json!({"model_max_length": 512})), Some(128));
        assert_eq!(limit(json!({"max_seq_length": null}), json!({"model_max_length": 512})), Some(512));
        assert_eq!(limit(json!({}), json!({"model_max_length": 1e30})), Some(usize::MAX));
        assert_eq!(limit(json!({}), json!({})), Some(usize::MAX), "all positions there are");
    }

    #[test]
    fn what_would_be_half_done_is_refused() {
        let pooled = |kinds: &[(&str, &str)], pooling: serde_json::Value| {
            let prompts = json!({"prompts": {"query": "q: "}});
            let files = [
                ("modules.json", modules(kinds)),
                ("1_Pooling/config.json", pooling),
                ("config_sentence_transformers.json", prompts),
            ];
            of(&files).unwrap_err().kind()
        };
        let mean = || json!({"pooling_mode_mean_tokens": true});
        let (encoder, pooling) = (("", "Transformer"), ("1_Pooling", "Pooling"));
        assert_eq!(pooled(&[encoder, pooling, ("2_Dense", "Dense")], mean()), ErrorKind::Unsupported);
        assert_eq!(pooled(&[("../elsewhere", "Transformer")], mean()), ErrorKind::Corrupt);
        let without = json!({"pooling_mode_mean_tokens": true, "include_prompt": false});
        assert_eq!(pooled(&[encoder, pooling], without), ErrorKind::Unsupported);
        assert_eq!(pooled(&[encoder, pooling], json!([1])), ErrorKind::Corrupt);
    }

    #[test]
    fn prompts_are_those_of_sentence_transformers() {
        let file = |json| prompts(&serde_json::from_value(json).unwrap()).map(|found| (found.query, found.passage));
        let pair = |query: &str, passage: &str| Some((query.to_owned(), passage.to_owned()));
        assert_eq!(file(json!({})), None);
        assert_eq!(file(json!({"prompts": {"query": "", "document": ""}})), None);
        assert_eq!(file(json!({"prompts": {"query": "q", "passage": "p", "other": "o"}})), pair("q", "p"));
        assert_eq!(file(json!({"prompts": {"query": "q", "o": "x"}, "default_prompt_name": "o"})), pair("q", "x"));
        assert_eq!(file(json!({"prompts": {"o": "x"}, "default_prompt_name": null})), None);
        for (id, query, passage) in [
            ("intfloat/e5-small-v2", "query: ", "passage: "),
            ("/models/intfloat--multilingual-e5-small/", "query: ", "passage: "),
            ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
            ("BAAI/bge-m3", "", ""),
            ("intfloat/multilingual-e5-large-instruct", "", ""),
            ("all-minilm-l6-v2", "", ""),
        ] {
            assert_eq!(known_prompts(id), Prompts { query: query.into(), passage: passage.into() }, "{id}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "\\PC{0,60}|[\\[{][a-z\":,{}\\[\\]0-9]{0,60}") {
            let folder = tempfile::tempdir().unwrap();
            for name in ["modules.json", "sentence_bert_config.json", "tokenizer_config.json"] {
                fs::write(folder.path().join(name), &text).unwrap();
            }
            let _ = read(folder.path(), &text);
        }
    }
}
