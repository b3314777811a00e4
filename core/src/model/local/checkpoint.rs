//! What the files of an encoder say: the sizes in `config.json`, the names of its tensors, and the weights.

use std::{fs, path::Path};

use serde::Deserialize;

use super::{
    kernel::{Matrix, Quantised},
    safetensors::{Numbers, Tensors},
};
use crate::{
    error::{Error, ErrorKind, Result},
    model::Precision,
};

/// Weights that share a scale in eight bits.
const BLOCK: usize = 32;

/// The encoders that are supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) enum Family {
    /// `MiniLM`, BGE, E5 and GTE are of this one.
    #[default]
    #[serde(rename = "bert")]
    Bert,
    /// Positions begin after the one for padding.
    #[serde(rename = "roberta")]
    Roberta,
    /// As `Roberta`, for many languages: multilingual E5 and BGE-M3 are of this one.
    #[serde(rename = "xlm-roberta")]
    XlmRoberta,
    /// Without kinds of tokens.
    #[serde(rename = "distilbert")]
    DistilBert,
}

/// What `config.json` says, as far as it matters here. The second names are those of `DistilBERT`.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default, rename = "model_type")]
    pub(super) family: Family,
    pub(super) vocab_size: usize,
    #[serde(alias = "dim")]
    pub(super) hidden_size: usize,
    #[serde(alias = "n_layers")]
    pub(super) num_hidden_layers: usize,
    #[serde(alias = "n_heads")]
    pub(super) num_attention_heads: usize,
    #[serde(alias = "hidden_dim")]
    pub(super) intermediate_size: usize,
    #[serde(alias = "activation")]
    hidden_act: String,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    pub(super) layer_norm_eps: f32,
    #[serde(default)]
    pad_token_id: usize,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

fn epsilon() -> f32 {
    1e-12
}

impl Config {
    /// Reads `config.json` in `folder`.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Unsupported` for another model; `Corrupt` for sizes that do not fit together.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let text = fs::read(folder.join("config.json")).map_err(|e| missing("config.json").caused_by(e))?;
        let config: Self = serde_json::from_slice(&text).map_err(|e| {
            let message = "config.json is of no supported encoder; supported are the types \"bert\", \"roberta\", \
                           \"xlm-roberta\" and \"distilbert\", such as all-MiniLM-L6-v2, BGE, E5 and GTE";
            Error::new(ErrorKind::Unsupported, message).caused_by(e)
        })?;
        let heads = config.num_attention_heads;
        if heads == 0
            || config.hidden_size == 0
            || config.intermediate_size == 0
            || !config.hidden_size.is_multiple_of(heads)
            || config.positions() < 3
        {
            return Err(corrupt("the sizes in config.json do not fit together; expected heads that divide the width"));
        }
        let positions = config.position_embedding_type.as_deref().unwrap_or("absolute");
        for (what, is, wanted) in
            [("activation", config.hidden_act.as_str(), "gelu"), ("positions", positions, "absolute")]
        {
            if is != wanted {
                let message = format!("{what} of the kind \"{is}\" are not supported; \"{wanted}\" are");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        Ok(config)
    }

    /// The position of the first token.
    pub(super) fn first_position(&self) -> usize {
        match self.family {
            Family::Roberta | Family::XlmRoberta => self.pad_token_id.saturating_add(1),
            Family::Bert | Family::DistilBert => 0,
        }
    }

    /// Tokens of a text at most.
    pub(super) fn positions(&self) -> usize {
        self.max_position_embeddings.saturating_sub(self.first_position())
    }
}

/// Names of the tensors of a layer.
struct Names {
    layers: &'static str,
    attention: [&'static str; 3],
    mixed: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
}

impl Family {
    /// What the names of an encoder's tensors begin with inside a larger model.
    fn prefix(self) -> &'static str {
        match self {
            Self::Bert => "bert.",
            Self::Roberta | Self::XlmRoberta => "roberta.",
            Self::DistilBert => "distilbert.",
        }
    }

    fn names(self) -> Names {
        match self {
            Self::Bert | Self::Roberta | Self::XlmRoberta => Names {
                layers: "encoder.layer",
                attention: ["attention.self.query", "attention.self.key", "attention.self.value"],
                mixed: "attention.output.dense",
                attention_norm: "attention.output.LayerNorm",
                up: "intermediate.dense",
                down: "output.dense",
                norm: "output.LayerNorm",
            },
            Self::DistilBert => Names {
                layers: "transformer.layer",
                attention: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
                mixed: "attention.out_lin",
                attention_norm: "sa_layer_norm",
                up: "ffn.lin1",
                down: "ffn.lin2",
                norm: "output_layer_norm",
            },
        }
    }
}

/// A layer, with products in a form of the one who computes them.
#[derive(Debug)]
pub(super) struct Layer<D = Dense> {
    /// Queries, keys and values in one product.
    pub(super) attention: D,
    pub(super) mixed: D,
    pub(super) attention_norm: Norm,
    pub(super) up: D,
    pub(super) down: D,
    pub(super) norm: Norm,
}

#[derive(Debug)]
pub(super) struct Dense {
    pub(super) weight: Matrix,
    pub(super) bias: Vec<f32>,
}

#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

/// The vectors that tokens begin with.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) words: Vec<f32>,
    /// Of each position from the first token's on, with that of the first kind of tokens added.
    pub(super) positions: Vec<f32>,
    /// What the second kind has more than the first; empty when there is one kind.
    pub(super) second_kind: Vec<f32>,
    pub(super) norm: Norm,
}

/// The weights in a folder, read part by part.
pub(super) struct Weights<'a> {
    pub(super) config: &'a Config,
    pub(super) tensors: Tensors,
    pub(super) precision: Precision,
}

impl Weights<'_> {
    pub(super) fn table(&mut self) -> Result<Table> {
        let (config, width) = (self.config, self.config.hidden_size);
        let words = self.of("embeddings.word_embeddings.weight", Some(config.vocab_size), width)?;
        let mut positions =
            self.of("embeddings.position_embeddings.weight", Some(config.max_position_embeddings), width)?;
        positions.drain(..config.first_position() * width);
        let kinds = match config.family {
            Family::DistilBert => vec![0.0; width],
            _ => self.of("embeddings.token_type_embeddings.weight", None, width)?,
        };
        let (first, second) = kinds.split_at(width);
        for position in positions.chunks_exact_mut(width) {
            position.iter_mut().zip(first).for_each(|(number, kind)| *number += kind);
        }
        let second_kind = second.iter().take(width).zip(first).map(|(second, first)| second - first).collect();
        Ok(Table { words, positions, second_kind, norm: self.norm("embeddings.LayerNorm", width)? })
    }

    pub(super) fn layer(&mut self, at: usize) -> Result<Layer> {
        let precision = self.precision;
        self.layer_as(at, |rows, cols, weight, bias| Ok(Dense { weight: matrix(precision, rows, cols, weight)?, bias }))
    }

    /// A layer with what `make` makes of each product: of the rows and columns of its matrix, the weights row after row,
    /// and what is added.
    pub(super) fn layer_as<D>(
        &mut self,
        at: usize,
        make: impl Fn(usize, usize, &[f32], Vec<f32>) -> Result<D>,
    ) -> Result<Layer<D>> {
        let (width, wide, names) = (self.config.hidden_size, self.config.intermediate_size, self.config.family.names());
        let name = |part: &str| format!("{}.{at}.{part}", names.layers);
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in names.attention {
            weight.extend(self.of(&format!("{}.weight", name(part)), Some(width), width)?);
            bias.extend(self.of(&format!("{}.bias", name(part)), None, width)?);
        }
        let mut dense = |part: &str, rows: usize, cols: usize| {
            let weight = self.of(&format!("{}.weight", name(part)), Some(rows), cols)?;
            make(rows, cols, &weight, self.of(&format!("{}.bias", name(part)), None, rows)?)
        };
        let (mixed, up, down) =
            (dense(names.mixed, width, width)?, dense(names.up, wide, width)?, dense(names.down, width, wide)?);
        Ok(Layer {
            attention: make(3 * width, width, &weight, bias)?,
            mixed,
            attention_norm: self.norm(&name(names.attention_norm), width)?,
            up,
            down,
            norm: self.norm(&name(names.norm), width)?,
        })
    }

    /// The head that scores a pair: a layer on the first token, and one number of it.
    pub(super) fn score_head(&mut self) -> Result<(Dense, Dense)> {
        let (hidden, score) = match self.config.family {
            Family::Bert => ("pooler.dense", "classifier"),
            Family::Roberta | Family::XlmRoberta => ("classifier.dense", "classifier.out_proj"),
            Family::DistilBert => {
                return Err(Error::new(ErrorKind::Unsupported, "a reranker is of type \"bert\" or \"xlm-roberta\""));
            }
        };
        let width = self.config.hidden_size;
        // Two small products: as exact as they are.
        self.precision = Precision::F32;
        Ok((self.dense(hidden, width, width)?, self.dense(score, 1, width)?))
    }

    fn dense(&mut self, name: &str, rows: usize, cols: usize) -> Result<Dense> {
        let weight = self.of(&format!("{name}.weight"), Some(rows), cols)?;
        Ok(Dense {
            weight: matrix(self.precision, rows, cols, &weight)?,
            bias: self.of(&format!("{name}.bias"), None, rows)?,
        })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.of(&format!("{name}.weight"), None, width)?,
            bias: self.of(&format!("{name}.bias"), None, width)?,
        })
    }

    /// The numbers of a tensor of so many rows, or of any number of them, or of one row without a second dimension.
    fn of(&mut self, name: &str, rows: Option<usize>, cols: usize) -> Result<Vec<f32>> {
        let found = match self.tensors.take(name)? {
            None => self.tensors.take(&format!("{}{name}", self.config.family.prefix()))?,
            found => found,
        };
        let Some(Numbers { shape, values }) = found else {
            return Err(corrupt(format!("model.safetensors has no tensor \"{name}\"; expected all of the model")));
        };
        let fits = match (rows, shape.as_slice()) {
            (Some(rows), shape) => shape == [rows, cols],
            (None, [.., last]) => *last == cols && !values.is_empty(),
            (None, []) => false,
        };
        if fits {
            return Ok(values);
        }
        Err(corrupt(format!("tensor \"{name}\" has the shape {shape:?}, which is not what config.json says")))
    }
}

fn matrix(precision: Precision, rows: usize, cols: usize, weights: &[f32]) -> Result<Matrix> {
    match precision {
        Precision::F32 => Ok(Matrix::float(rows, cols, weights)),
        Precision::Int8 if cols.is_multiple_of(BLOCK) => {
            Ok(Matrix::quantised(Quantised::Q8_0, rows, cols, &eight_bits(weights)))
        }
        Precision::Int8 => {
            let message = format!("int8 needs layers whose width is a multiple of {BLOCK}, not {cols}; use f32");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

/// `weights` in blocks of type `Q8_0`: a scale of 16 bits, and 32 numbers of eight.
pub(super) fn eight_bits(weights: &[f32]) -> Vec<u8> {
    let mut blocks = Vec::with_capacity(weights.len() / BLOCK * Quantised::Q8_0.file_bytes());
    for block in weights.as_chunks::<BLOCK>().0 {
        let largest = block.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        let scale = half::f16::from_f32(largest / 127.0);
        let inverse = if scale > half::f16::ZERO { 1.0 / scale.to_f32() } else { 0.0 };
        blocks.extend(scale.to_le_bytes());
        blocks.extend(block.iter().map(|weight| (weight * inverse).round().clamp(-127.0, 127.0) as i8 as u8));
    }
    blocks
}

pub(super) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

pub(super) fn missing(file: &str) -> Error {
    Error::not_found(format!(
        "the folder has no {file} that can be read; `triune models pull all-minilm-l6-v2` gets one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let mut sizes = serde_json::json!({
            "model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 16, "hidden_act": "gelu", "max_position_embeddings": 12, "pad_token_id": 1,
        });
        let change: serde_json::Map<String, serde_json::Value> = serde_json::from_str(change).unwrap();
        sizes.as_object_mut().unwrap().extend(change);
        fs::write(folder.path().join("config.json"), sizes.to_string()).unwrap();
        Config::read(folder.path())
    }

    #[test]
    fn families_have_their_positions() {
        for (family, first, positions) in
            [("bert", 0, 12), ("distilbert", 0, 12), ("roberta", 2, 10), ("xlm-roberta", 2, 10)]
        {
            let config = config(&format!("{{\"model_type\": \"{family}\"}}")).unwrap();
            assert_eq!((config.first_position(), config.positions()), (first, positions), "{family}");
        }
    }

    #[test]
    fn what_is_not_supported_or_sound_is_said() {
        for (change, kind) in [
            (r#"{"model_type": "mpnet"}"#, ErrorKind::Unsupported),
            (r#"{"hidden_act": "relu"}"#, ErrorKind::Unsupported),
            (r#"{"position_embedding_type": "relative_key"}"#, ErrorKind::Unsupported),
            (r#"{"num_attention_heads": 0}"#, ErrorKind::Corrupt),
            (r#"{"num_attention_heads": 3}"#, ErrorKind::Corrupt),
            (r#"{"model_type": "roberta", "max_position_embeddings": 1}"#, ErrorKind::Corrupt),
            (r#"{"model_type": "roberta", "pad_token_id": 18446744073709551615}"#, ErrorKind::Corrupt),
        ] {
            assert_eq!(config(change).unwrap_err().kind(), kind, "{change}");
        }
        assert!(config(r#"{"model_type": "mpnet"}"#).unwrap_err().message().contains("\"xlm-roberta\""));
    }

    #[test]
    fn eight_bits_are_near() {
        let weights: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin() / (1 + i / 32) as f32).collect();
        let matrix = Matrix::quantised(Quantised::Q8_0, 3, 32, &eight_bits(&weights));
        let mut row = [0.0; 32];
        for (at, wanted) in weights.chunks(32).enumerate() {
            matrix.row(at, &mut row);
            assert!(row.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 0.005), "{row:?}");
        }
        assert!(eight_bits(&[0.0; 32]).iter().all(|&byte| byte == 0));
        assert_eq!(eight_bits(&[f32::NAN; 32]).len(), 34);
    }
}
