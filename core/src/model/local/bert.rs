//! Encoders of the BERT architecture: texts of any lengths side by side, without padding.

use std::{collections::HashMap, ops::Range};

use serde::Deserialize;

use super::{
    kernel::{Activations, Isa, Matrix, Out, PAGE, Pool, Query, add, add_row, attend, gelu, layer_norm},
    safetensors::Numbers,
};
use crate::error::{Error, ErrorKind, Result};

/// What `config.json` says, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Config {
    pub(super) model_type: Option<String>,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: String,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "epsilon")]
    pub(super) layer_norm_eps: f32,
}

fn epsilon() -> f32 {
    1e-12
}

/// The weights of an encoder.
#[derive(Debug)]
pub(super) struct Bert {
    words: Vec<f32>,
    /// Of each position, with that of the first kind of tokens added: there is no other here.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    width: usize,
    heads: usize,
    epsilon: f32,
    isa: Isa,
}

#[derive(Debug)]
struct Layer {
    /// Queries, keys and values in one product.
    attention: Dense,
    mixed: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    norm: Norm,
}

#[derive(Debug)]
struct Dense {
    weight: Matrix,
    bias: Vec<f32>,
}

#[derive(Debug)]
struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Bert {
    /// The encoder that `config` describes, of `tensors`.
    ///
    /// # Errors
    /// `Corrupt` when a tensor is missing or of another shape; `Unsupported` for another activation than GELU.
    pub(super) fn new(config: &Config, tensors: HashMap<String, Numbers>) -> Result<Self> {
        if config.hidden_act != "gelu" {
            let message = format!("the activation \"{}\" is not supported; \"gelu\" is", config.hidden_act);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let width = config.hidden_size;
        let mut tensors = Tensors(tensors);
        let kinds = tensors.of("embeddings.token_type_embeddings.weight", None, width)?;
        let mut positions =
            tensors.of("embeddings.position_embeddings.weight", Some(config.max_position_embeddings), width)?;
        for position in positions.chunks_exact_mut(width) {
            position.iter_mut().zip(&kinds).for_each(|(number, kind)| *number += kind);
        }
        Ok(Self {
            words: tensors.of("embeddings.word_embeddings.weight", Some(config.vocab_size), width)?,
            positions,
            norm: tensors.norm("embeddings.LayerNorm", width)?,
            layers: (0..config.num_hidden_layers).map(|at| tensors.layer(at, config)).collect::<Result<_>>()?,
            width,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            isa: Isa::detect(),
        })
    }

    /// The mean of the output over the tokens of each text, not brought to length 1. No text is empty, and none longer
    /// than there are positions.
    pub(super) fn embed(&self, texts: &[&[u32]], pool: &mut Pool) -> Vec<Vec<f32>> {
        let mut rows = Vec::with_capacity(texts.len());
        let mut hidden = Vec::new();
        for text in texts {
            let first = hidden.len() / self.width;
            for (position, &token) in text.iter().enumerate() {
                let word = &self.words[token as usize * self.width..][..self.width];
                let place = &self.positions[position * self.width..][..self.width];
                hidden.extend(word.iter().zip(place).map(|(word, place)| word + place));
            }
            rows.push(first..first + text.len());
        }
        self.norm.apply(self.isa, self.epsilon, &mut hidden);
        let mut inputs = Activations::default();
        for layer in &self.layers {
            self.layer(layer, &rows, &mut hidden, &mut inputs, pool);
        }
        let mean = |rows: &Range<usize>| {
            let mut mean = vec![0.0; self.width];
            for row in hidden[rows.start * self.width..rows.end * self.width].chunks_exact(self.width) {
                add(self.isa, &mut mean, row);
            }
            for number in &mut mean {
                *number /= rows.len() as f32;
            }
            mean
        };
        rows.iter().map(mean).collect()
    }

    fn layer(
        &self,
        layer: &Layer,
        texts: &[Range<usize>],
        hidden: &mut [f32],
        inputs: &mut Activations,
        pool: &mut Pool,
    ) {
        let isa = self.isa;
        inputs.set_exact(hidden, self.width);
        let attention = layer.attention.apply(isa, inputs, pool);
        let mixed = self.attend(&attention, texts, pool);
        inputs.set_exact(&mixed, self.width);
        add(isa, hidden, &layer.mixed.apply(isa, inputs, pool));
        layer.attention_norm.apply(isa, self.epsilon, hidden);

        inputs.set_exact(hidden, self.width);
        let mut up = layer.up.apply(isa, inputs, pool);
        gelu(isa, &mut up);
        inputs.set_exact(&up, layer.down.weight.cols());
        add(isa, hidden, &layer.down.apply(isa, inputs, pool));
        layer.norm.apply(isa, self.epsilon, hidden);
    }

    /// Every token looks at all tokens of its text. `all` has the queries, keys and values of each row.
    fn attend(&self, all: &[f32], texts: &[Range<usize>], pool: &mut Pool) -> Vec<f32> {
        let (width, head) = (self.width, self.width / self.heads);
        let scale = 1.0 / (head as f32).sqrt();
        let mut out = vec![0.0; all.len() / 3];
        let results = Out::new(&mut out, width);
        let tasks: Vec<_> = texts.iter().flat_map(|text| (0..self.heads).map(move |at| (text, at))).collect();
        pool.run(tasks.len(), &|at| {
            let (text, at) = &tasks[at];
            // The part of a row: 0 its query, 1 its key, 2 its value.
            let part = |row: usize, part: usize| &all[(row * 3 + part) * width + at * head..][..head];
            let pages = text.len().div_ceil(PAGE);
            let (mut keys, mut values) = (vec![0.0; pages * PAGE * head], vec![0.0; pages * PAGE * head]);
            for (position, row) in (*text).clone().enumerate() {
                let (page, slot) = (position / PAGE, position % PAGE);
                let places = keys[page * PAGE * head..].iter_mut().skip(slot).step_by(PAGE);
                places.zip(part(row, 1)).for_each(|(place, number)| *place = *number);
                values[position * head..][..head].copy_from_slice(part(row, 2));
            }
            let scaled: Vec<_> = (*text).clone().flat_map(|row| part(row, 0)).map(|number| number * scale).collect();
            let mut queries: Vec<_> =
                scaled.chunks_exact(head).map(|numbers| Query::new(numbers, 0..text.len())).collect();
            let mut found = vec![0.0; scaled.len()];
            for (page, (keys, values)) in keys.chunks(PAGE * head).zip(values.chunks(PAGE * head)).enumerate() {
                attend(self.isa, &mut queries, page * PAGE, keys, values, &mut found);
            }
            for ((row, query), result) in (*text).clone().zip(&queries).zip(found.chunks_exact_mut(head)) {
                query.finish(result);
                results.put(row, at * head, result);
            }
        });
        out
    }
}

impl Dense {
    fn apply(&self, isa: Isa, inputs: &Activations, pool: &mut Pool) -> Vec<f32> {
        let mut out = vec![0.0; inputs.rows() * self.weight.rows()];
        self.weight.multiply(inputs, &mut out, isa, pool);
        add_row(isa, &mut out, &self.bias);
        out
    }
}

impl Norm {
    fn apply(&self, isa: Isa, epsilon: f32, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.weight.len()) {
            layer_norm(isa, row, &self.weight, &self.bias, epsilon);
        }
    }
}

/// The tensors that are not used yet.
struct Tensors(HashMap<String, Numbers>);

impl Tensors {
    fn layer(&mut self, at: usize, config: &Config) -> Result<Layer> {
        let (width, wide) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{at}.{part}");
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in ["query", "key", "value"] {
            let name = name(&format!("attention.self.{part}"));
            weight.extend(self.of(&format!("{name}.weight"), Some(width), width)?);
            bias.extend(self.of(&format!("{name}.bias"), None, width)?);
        }
        Ok(Layer {
            attention: Dense { weight: Matrix::float(3 * width, width, &weight), bias },
            mixed: self.dense(&name("attention.output.dense"), width, width)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), width)?,
            up: self.dense(&name("intermediate.dense"), wide, width)?,
            down: self.dense(&name("output.dense"), width, wide)?,
            norm: self.norm(&name("output.LayerNorm"), width)?,
        })
    }

    fn dense(&mut self, name: &str, rows: usize, cols: usize) -> Result<Dense> {
        let weight = self.of(&format!("{name}.weight"), Some(rows), cols)?;
        Ok(Dense { weight: Matrix::float(rows, cols, &weight), bias: self.of(&format!("{name}.bias"), None, rows)? })
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        Ok(Norm {
            weight: self.of(&format!("{name}.weight"), None, width)?,
            bias: self.of(&format!("{name}.bias"), None, width)?,
        })
    }

    /// The numbers of a tensor of so many rows, or of any number of them, or of one row without a second dimension.
    fn of(&mut self, name: &str, rows: Option<usize>, cols: usize) -> Result<Vec<f32>> {
        let found = self.0.remove(name).or_else(|| self.0.remove(&format!("bert.{name}")));
        let Some(Numbers { shape, values }) = found else {
            return Err(corrupt(format!("model.safetensors has no tensor \"{name}\"; expected a BERT encoder")));
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

fn corrupt(message: String) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}
