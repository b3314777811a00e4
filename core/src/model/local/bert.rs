//! The forward pass of BERT and its kin: texts of any lengths side by side, without padding.

use std::ops::Range;

use super::{
    checkpoint::{Config, Dense, Layer, Norm, Table, Weights},
    device::OnDevice,
    kernel::{Activations, Isa, Out, PAGE, Pool, Query, add, add_row, attend, gelu, layer_norm},
    safetensors::Tensors,
};
use crate::{error::Result, model::Precision};

/// A text as an encoder reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tokens<'a> {
    /// Not empty, and no more than there are positions.
    pub(super) all: &'a [u32],
    /// Where the second text of a pair begins; the number of tokens when there is none.
    pub(super) second: usize,
}

/// Which part of the output stands for a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pooling {
    /// The mean over its tokens.
    #[default]
    Mean,
    /// The first token, `[CLS]`.
    First,
    /// The last token.
    Last,
}

/// The weights of an encoder.
#[derive(Debug)]
pub(super) struct Bert {
    table: Table,
    layers: Layers,
    /// Scores pairs, where the model was trained for that.
    head: Option<(Dense, Dense)>,
    width: usize,
    heads: usize,
    epsilon: f32,
    precision: Precision,
    isa: Isa,
}

/// What layers compute on the way, in memory that each of them uses again.
#[derive(Debug, Default)]
struct Work {
    /// Queries, keys and values of each row.
    all: Vec<f32>,
    /// What the attention gives.
    mixed: Activations,
    up: Activations,
    /// What is added to the rows next.
    out: Vec<f32>,
}

/// Who computes the layers.
#[derive(Debug)]
enum Layers {
    Here(Vec<Layer>),
    On(OnDevice),
}

impl Bert {
    /// The encoder that `config` describes, of `tensors`, computed on `device` where there is one; with the head that
    /// scores pairs when it `scores`.
    ///
    /// # Errors
    /// `Corrupt` when a tensor is missing or of another shape; `Unsupported` for sizes that the precision does not allow.
    pub(super) fn new(
        config: &Config,
        tensors: Tensors,
        precision: Precision,
        device: Option<&candle_core::Device>,
        scores: bool,
    ) -> Result<Self> {
        let mut weights = Weights { config, tensors, precision };
        let layers = 0..config.num_hidden_layers;
        Ok(Self {
            table: weights.table()?,
            layers: match device {
                None => Layers::Here(layers.map(|at| weights.layer(at)).collect::<Result<_>>()?),
                Some(device) => Layers::On(OnDevice::new(device, &mut weights)?),
            },
            head: if scores { Some(weights.score_head()?) } else { None },
            width: config.hidden_size,
            heads: config.num_attention_heads,
            epsilon: config.layer_norm_eps,
            precision,
            isa: Isa::detect(),
        })
    }

    /// A vector for each text, not brought to length 1.
    pub(super) fn embed(&self, texts: &[Tokens<'_>], pooling: Pooling, pool: &mut Pool) -> Result<Vec<Vec<f32>>> {
        let (hidden, rows) = self.run(texts, pool)?;
        let row = |at: usize| &hidden[at * self.width..][..self.width];
        let vector = |rows: &Range<usize>| match pooling {
            Pooling::First => row(rows.start).to_vec(),
            Pooling::Last => row(rows.end - 1).to_vec(),
            Pooling::Mean => {
                let mut mean = vec![0.0; self.width];
                rows.clone().for_each(|at| add(self.isa, &mut mean, row(at)));
                for number in &mut mean {
                    *number /= rows.len() as f32;
                }
                mean
            }
        };
        Ok(rows.iter().map(vector).collect())
    }

    /// The score of each pair, as the model gives it: any number. None without a head for that.
    pub(super) fn score(&self, pairs: &[Tokens<'_>], pool: &mut Pool) -> Result<Option<Vec<f32>>> {
        let Some((hidden, score)) = &self.head else { return Ok(None) };
        let firsts = self.embed(pairs, Pooling::First, pool)?.concat();
        let mut inputs = Activations::default();
        inputs.set_exact(&firsts, self.width);
        let mut firsts = hidden.apply(self.isa, &inputs, pool);
        for number in &mut firsts {
            *number = number.tanh();
        }
        inputs.set_exact(&firsts, self.width);
        Ok(Some(score.apply(self.isa, &inputs, pool)))
    }

    /// The output for all tokens, and which rows of it are those of each text.
    fn run(&self, texts: &[Tokens<'_>], pool: &mut Pool) -> Result<(Vec<f32>, Vec<Range<usize>>)> {
        let Table { words, positions, second_kind, norm } = &self.table;
        let mut rows = Vec::with_capacity(texts.len());
        let mut hidden = Vec::new();
        for text in texts {
            let first = hidden.len() / self.width;
            for (position, &token) in text.all.iter().enumerate() {
                let word = &words[token as usize * self.width..][..self.width];
                let place = &positions[position * self.width..][..self.width];
                let start = hidden.len();
                hidden.extend(word.iter().zip(place).map(|(word, place)| word + place));
                if position >= text.second && !second_kind.is_empty() {
                    add(self.isa, &mut hidden[start..], second_kind);
                }
            }
            rows.push(first..first + text.all.len());
        }
        norm.apply(self.isa, self.epsilon, &mut hidden);
        match &self.layers {
            Layers::On(device) => hidden = device.run(&hidden, &rows)?,
            Layers::Here(layers) => hidden = self.compute(layers, &hidden, &rows, pool),
        }
        Ok((hidden, rows))
    }

    /// What `layers` make of `hidden`, whose rows are those of the `texts`.
    fn compute(&self, layers: &[Layer], hidden: &[f32], texts: &[Range<usize>], pool: &mut Pool) -> Vec<f32> {
        let (rows, width) = (hidden.len() / self.width, self.width);
        let mut work = Work { all: vec![0.0; rows * 3 * width], out: vec![0.0; rows * width], ..Work::default() };
        let mut stream = Activations::default();
        self.fill(&mut stream, rows, width, pool, |row, out| out.copy_from_slice(&hidden[row * width..][..width]));
        for layer in layers {
            self.layer(layer, texts, &mut stream, &mut work, pool);
        }
        stream.into_values()
    }

    /// Has `make` change the rows of `inputs`, and makes them ready for the next product.
    fn fill(
        &self,
        inputs: &mut Activations,
        rows: usize,
        cols: usize,
        pool: &mut Pool,
        make: impl Fn(usize, &mut [f32]) + Sync,
    ) {
        match self.precision {
            Precision::F32 => inputs.fill_exact(rows, cols, pool, make),
            Precision::Int8 => inputs.fill(rows, cols, self.isa, pool, make),
        }
    }

    fn layer(&self, layer: &Layer, texts: &[Range<usize>], stream: &mut Activations, work: &mut Work, pool: &mut Pool) {
        let (isa, rows) = (self.isa, stream.rows());
        let Work { all, mixed, up, out } = work;
        layer.attention.weight.multiply(stream, all, isa, pool);
        self.attend(all, &layer.attention.bias, texts, mixed.room(rows, self.width), pool);
        self.fill(mixed, rows, self.width, pool, |_, _| {});
        layer.mixed.weight.multiply(mixed, out, isa, pool);
        self.add_and_norm(stream, out, &layer.mixed.bias, &layer.attention_norm, pool);

        let wide = layer.up.weight.rows();
        layer.up.weight.multiply(stream, up.room(rows, wide), isa, pool);
        self.fill(up, rows, wide, pool, |_, numbers| {
            add(isa, numbers, &layer.up.bias);
            gelu(isa, numbers);
        });
        layer.down.weight.multiply(up, out, isa, pool);
        self.add_and_norm(stream, out, &layer.down.bias, &layer.norm, pool);
    }

    /// Adds the results of a product, and what is added to each of its rows, to `stream`, and norms it.
    fn add_and_norm(&self, stream: &mut Activations, results: &[f32], bias: &[f32], norm: &Norm, pool: &mut Pool) {
        self.fill(stream, stream.rows(), self.width, pool, |row, numbers| {
            add(self.isa, numbers, &results[row * self.width..][..self.width]);
            add(self.isa, numbers, bias);
            norm.apply(self.isa, self.epsilon, numbers);
        });
    }

    /// Every token looks at all tokens of its text. `all` has the queries, keys and values of each row, to which `bias` is
    /// yet to be added.
    fn attend(&self, all: &[f32], bias: &[f32], texts: &[Range<usize>], out: &mut [f32], pool: &mut Pool) {
        let (width, head) = (self.width, self.width / self.heads);
        let scale = 1.0 / (head as f32).sqrt();
        let results = Out::new(out, width);
        let tasks: Vec<_> = texts.iter().flat_map(|text| (0..self.heads).map(move |at| (text, at))).collect();
        pool.run(tasks.len(), &|at| {
            let (text, at) = &tasks[at];
            // The part of a row: 0 its query, 1 its key, 2 its value.
            let part = |row: usize, part: usize| {
                let numbers = &all[(row * 3 + part) * width + at * head..][..head];
                numbers.iter().zip(&bias[part * width + at * head..][..head]).map(|(number, bias)| number + bias)
            };
            let pages = text.len().div_ceil(PAGE);
            let (mut keys, mut values) = (vec![0.0; pages * PAGE * head], vec![0.0; pages * PAGE * head]);
            let mut scaled = Vec::with_capacity(text.len() * head);
            for (position, row) in (*text).clone().enumerate() {
                let (page, slot) = (position / PAGE, position % PAGE);
                let places = keys[page * PAGE * head..].iter_mut().skip(slot).step_by(PAGE);
                places.zip(part(row, 1)).for_each(|(place, number)| *place = number);
                values[position * head..][..head].iter_mut().zip(part(row, 2)).for_each(|(to, number)| *to = number);
                scaled.extend(part(row, 0).map(|number| number * scale));
            }
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
