//! A chat model in a folder, as transformers saves it: its files say the same as a GGUF file, under other names. What
//! `convert_hf_to_gguf.py` of llama.cpp writes to a file is made here in memory, but for the weights, which stay as they
//! are until they are read.

mod config;
mod vocabulary;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
    time::SystemTime,
};

use candle_core::quantized::GgmlDType;
use serde::{Deserialize, de::DeserializeOwned};

use self::config::Config;
use super::{
    gguf::{Gguf, TensorInfo},
    safetensors::Tensors,
};
use crate::error::{Error, ErrorKind, Result};

/// The name of the embedding in transformers.
const EMBEDDING: &str = "model.embed_tokens.weight";

/// The weights and the tokenizer of a folder.
#[derive(Debug)]
pub(super) struct Folder {
    shards: Vec<Tensors>,
    /// By their names in a GGUF file.
    places: BTreeMap<String, Place>,
    tokenizer: tokenizers::Tokenizer,
    changed: Option<SystemTime>,
}

/// Where numbers come from.
#[derive(Debug)]
enum Place {
    Shard {
        at: usize,
        name: String,
        /// What is added to each.
        plus: f32,
    },
    /// They follow from the settings.
    Made(Vec<f32>),
}

/// Which file holds a tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Folder {
    /// Reads what the model in the folder is, and where its weights are.
    ///
    /// # Errors
    /// `NotFound` for a missing file; `Corrupt` for files that are not whole or do not fit together; `Unsupported` for a
    /// model that cannot be loaded.
    pub(super) fn open(path: &Path) -> Result<(Gguf, Self)> {
        let config: Config = required(path, "config.json")?;
        let mut head = Gguf { metadata: config.metadata()?, ..Gguf::default() };
        let (shards, changed) = shards(path)?;
        // So many tokens are made room for, whatever the tokenizer has.
        let rows = shards.iter().flat_map(Tensors::shapes).find(|(name, _)| *name == EMBEDDING);
        if rows.is_some_and(|(_, shape)| shape.first() != Some(&config.vocab_size)) {
            return Err(corrupt("vocab_size in config.json is not that of the weights; expected files of one model"));
        }
        let tokenizer = vocabulary::read(path, &config, &mut head)?;
        let mut places = BTreeMap::new();
        for (at, shard) in shards.iter().enumerate() {
            for (name, shape) in shard.shapes() {
                // The output of a model that is tied is another name for its embedding.
                if name.ends_with(".inv_freq") || name == "lm_head.weight" && config.is_tied() {
                    continue;
                }
                let known = config.tensor(name).ok_or_else(|| {
                    let message = format!(
                        "the model has the tensor \"{name}\", which is none of its architecture as it is supported, and \
                         without which it would give wrong answers"
                    );
                    Error::new(ErrorKind::Unsupported, message)
                })?;
                let dims: Vec<_> = shape.iter().rev().copied().collect();
                if dims.is_empty() || dims.contains(&0) {
                    return Err(corrupt(format!("tensor \"{name}\" has the shape {shape:?}; expected numbers in it")));
                }
                let plus = if config.norms_are_from_one() && known.ends_with("norm.weight") { 1.0 } else { 0.0 };
                let place = Place::Shard { at, name: name.to_owned(), plus };
                if places.insert(known.clone(), place).is_some() {
                    return Err(corrupt(format!("tensor \"{name}\" is in two files; expected it once")));
                }
                head.tensors.insert(known, info(dims));
            }
        }
        // In a GGUF file that means that the embedding is the output too; here it means that a part was lost.
        if !config.is_tied() && !places.contains_key("output.weight") {
            return Err(corrupt(
                "tensor \"lm_head.weight\" is missing; expected it where tie_word_embeddings is not set",
            ));
        }
        for (name, numbers) in config.rope_factors()? {
            head.tensors.insert(name.into(), info(vec![numbers.len() as u64]));
            places.insert(name.into(), Place::Made(numbers));
        }
        Ok((head, Self { shards, places, tokenizer, changed }))
    }

    /// Some of the numbers of a tensor, by its name in a GGUF file.
    pub(super) fn numbers(&self, name: &str, which: Range<u64>) -> Result<Vec<f32>> {
        match self.places.get(name) {
            None => Err(corrupt(format!("tensor \"{name}\" is missing"))),
            Some(Place::Made(numbers)) => Ok(numbers[which.start as usize..which.end as usize].to_vec()),
            Some(Place::Shard { at, name, plus }) => {
                let mut numbers = self.shards[*at].some(name, which)?;
                for number in &mut numbers {
                    *number += plus;
                }
                Ok(numbers)
            }
        }
    }

    pub(super) fn tokenizer(&self) -> &tokenizers::Tokenizer {
        &self.tokenizer
    }

    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> u64 {
        self.shards.iter().map(Tensors::bytes).sum()
    }

    /// When a file of weights was last written.
    pub(super) fn changed(&self) -> Option<SystemTime> {
        self.changed
    }
}

fn info(dims: Vec<u64>) -> TensorInfo {
    // The folder says where it is, and in what form.
    TensorInfo { dims, dtype: GgmlDType::F32, offset: 0, size: 0 }
}

/// The files of weights: those of the index, or the one file there is.
fn shards(folder: &Path) -> Result<(Vec<Tensors>, Option<SystemTime>)> {
    let index: Option<Index> = if_there(folder, "model.safetensors.index.json")?;
    let names: BTreeSet<String> = match index {
        Some(index) => index.weight_map.into_values().collect(),
        None => ["model.safetensors".to_owned()].into(),
    };
    if let Some(odd) = names.iter().find(|name| name.contains(['/', '\\', ':']) || !name.ends_with(".safetensors")) {
        return Err(corrupt(format!("the index names the file \"{odd}\"; expected safetensors of the same folder")));
    }
    let changed = names.iter().filter_map(|name| fs::metadata(folder.join(name)).ok()?.modified().ok()).max();
    let shards = names.iter().map(|name| Tensors::open(&folder.join(name))).collect::<Result<Vec<_>>>()?;
    Ok((shards, changed))
}

fn required<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    if_there(folder, name)?.ok_or_else(|| {
        Error::not_found(format!(
            "the folder has no {name}; expected a model as transformers saves it: config.json, tokenizer.json and \
             safetensors"
        ))
    })
}

fn if_there<T: DeserializeOwned>(folder: &Path, name: &str) -> Result<Option<T>> {
    let text = match fs::read(folder.join(name)) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(corrupt(format!("{name} cannot be read")).caused_by(e)),
        Ok(text) => text,
    };
    let value = serde_json::from_slice(&text)
        .map_err(|e| corrupt(format!("{name} is not what it should be; download it again")).caused_by(e))?;
    Ok(Some(value))
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests;
